"""How far the planner's estimates of code are from linked images of whole networks.

    python -m benchmarks.code_networks [--networks kws,lenet5] [--targets cortex-m4]

Four networks in all kinds of weights are planned ("balanced") for six cores and built as firmware.
Writes benchmarks/results/code_networks.json, a list of {network, encoding, target, flash,
estimated, constants}: bytes of the image without the harness, the planner's estimate of it, and
the arrays in both, which are exact. What is left of both is code: kernels, decoders, `NAME_run`,
runtime and start-up code. Rows of networks and cores that were not asked for stay.

The prices behind the estimates (`python -m benchmarks.code_size`) are fitted to random networks, to
the planner's small ones and to these networks as "latency" and "flash" plan them, where that is
another plan than the one that is judged here; sizes of functions are measured one by one.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.bench import BOARDS as BENCHED
from benchmarks.bench import others, write
from benchmarks.promises import BOARDS as PROMISED

from secateur import targets
from secateur.codegen.plan import make_plan
from secateur.lowering.qgraph import QGraph

OUT = Path("benchmarks/results/code_networks.json")

NETWORKS = ("kws", "resnet8", "lenet5", "lenet300")

#: Core -> board whose image is linked.
BOARDS = {**BENCHED, **PROMISED}

#: Share of the linked code by which an estimate may be off.
ALLOWED = 0.08


@dataclass(frozen=True)
class Job:
    """A network in an encoding, to be planned for a core."""

    network: str
    encoding: str
    target: str
    graph: QGraph
    force: Mapping[str, str] | str | None


@dataclass(frozen=True)
class Row:
    """What became of it; bytes."""

    network: str
    encoding: str
    target: str
    flash: int  #: linked, without the harness
    estimated: int
    constants: int  #: arrays, in both

    @property
    def code(self) -> int:
        """Linked bytes of code."""
        return self.flash - self.constants

    @property
    def error(self) -> float:
        """Relative error of the estimated code."""
        return (self.estimated - self.constants) / self.code - 1


def measure(job: Job) -> Row:
    """Plan and build one image."""
    plan = make_plan(job.graph, job.force, "balanced", core=job.target)
    with tempfile.TemporaryDirectory() as tmp:
        folder = plan.library.save(Path(tmp) / "library")
        sizes = targets.build(folder, BOARDS[job.target], Path(tmp) / "firmware").sizes
    return Row(
        job.network, job.encoding, job.target, sizes.total - sizes.harness, plan.flash,
        plan.library.constant_bytes,
    )  # fmt: skip


def rows_of(names: Sequence[str], cores: Sequence[str]) -> list[Row]:
    """All rows of these networks and cores."""
    from benchmarks.networks import converted

    jobs = [
        Job(network.name, encoding.name, core, compiled.qgraph, encoding.force)
        for network, _, encoding, compiled in converted(names)
        for core in cores
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        return list(pool.map(measure, jobs))


def read(path: Path = OUT) -> list[Row]:
    """The rows of a result file."""
    return [Row(**r) for r in json.loads(path.read_text(encoding="utf-8"))]


def page(rows: Sequence[Row]) -> str:
    """Markdown: one line a core."""
    lines = [
        f"| core | networks | code within {ALLOWED:.0%} | mean error | largest |".replace(
            "%", " %"
        ),
        "|---|---|---|---|---|",
    ]
    for core in dict.fromkeys(r.target for r in rows):
        errors = [r.error for r in rows if r.target == core]
        inside = sum(abs(e) <= ALLOWED for e in errors)
        mean = sum(map(abs, errors)) / len(errors)
        largest = max(errors, key=abs)
        said = f"{mean:.1%} | {largest:+.1%}".replace("%", " %")
        lines.append(f"| {core} | {len(errors)} | {inside} | {said} |")
    return "\n".join(lines)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--targets", default=",".join(BOARDS))
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    rows = rows_of(args.networks.split(","), args.targets.split(","))
    for r in rows:
        flag = "" if abs(r.error) <= ALLOWED else "  more than allowed"
        print(
            f"{r.network:9} {r.encoding:29} {r.target:14} code {r.code:6,} linked, "
            f"{r.estimated - r.constants:6,} estimated, {r.error:+6.1%}{flag}"
        )
    kept = others(args.out, {(r.network, r.target) for r in rows})
    rows = [*(Row(**r) for r in kept), *rows]
    order = [(n, c) for n in NETWORKS for c in BOARDS]
    rows.sort(key=lambda r: order.index((r.network, r.target)))
    write(args.out, [asdict(r) for r in rows])
    print(page(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
