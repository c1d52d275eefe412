"""Dense, sparse and ternary networks on a Cortex-M55 with Helium, which only QEMU has.

    python -m benchmarks.helium [--networks kws] [--optimize latency]
    python -m benchmarks.helium --fit

The first prints instructions per inference, counted in QEMU, with the peer's beside them, and
writes build/bench/helium.json. The second counts layers of benchmarks/lessons.py, one a run, and
fits the prices by which layers are planned for this core. The simulator that `make bench` uses has
no vectors, and no cycles are estimated for this core (docs/cycle-model.md).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.bench import OUT, Job, prepare, write
from benchmarks.cost_model import PRICES, Sample, fit, save

from secateur import targets
from secateur.codegen.costs import price_key, price_of, work_of
from secateur.codegen.kernels import Kernel, Layer, get
from secateur.codegen.kernels.small import end_work
from secateur.codegen.kernels.unpack import is_coded
from secateur.codegen.plan import make_plan
from secateur.lowering.qgraph import QGraph, QOp
from secateur.targets.qemu import Qemu

CORE, BOARD = "cortex-m55", "mps3_an547"

#: Multiply-accumulates of a network, and instructions for each that TFLite Micro + CMSIS-NN with
#: Helium needs on the same emulated board (GCC 12.2, measured in QEMU Nov 2026).
PEERS = {"kws": (2_656_768, 0.68), "resnet8": (12_501_632, 0.39)}


@dataclass(frozen=True)
class Row:
    """One measurement."""

    network: str
    weights: str
    instructions: int
    arena: int  #: bytes
    flash: int  #: bytes of model and runtime
    identical: int
    total: int


def measure(job: Job) -> Row:
    """Build and run one image."""
    image = targets.build(job.library, BOARD, job.library.parent / "firmware")
    result = Qemu(run_time=600.0, estimate=False).run(image, job.inputs)
    assert result.instructions is not None
    same = np.all(result.outputs.reshape(job.expected.shape) == job.expected, axis=1)
    flash = image.sizes.total - image.sizes.harness
    return Row(
        job.network, job.encoding, result.instructions, image.sizes.arena, flash,
        int(same.sum()), len(same),
    )  # fmt: skip


def lessons() -> Iterator[Sample]:
    """Layers to learn from, each in an image of its own; the model's two ends are taken off."""
    from benchmarks.lessons import prepared

    seen: Counter[tuple[object, ...]] = Counter()
    for graph, plan, x in prepared(CORE):
        for op in graph:
            encoded = plan.encoded.get(op.name)
            key = (plan.layers[op.name].kernel, graph.name.rsplit("_", 1)[0], *_shape(graph, op))
            if is_coded(encoded) or seen[key] == 2:
                continue
            seen[key] += 1
            tensors = {t: graph.tensors[t] for t in (*op.inputs, op.output)}
            one = replace(graph, ops=[op], tensors=tensors, output=op.output)
            way = f"{encoded.encoding}/{plan.layers[op.name].kernel}" if encoded else ""
            p = make_plan(one, {op.name: way}, "latency", core=CORE)
            with tempfile.TemporaryDirectory() as tmp:
                library = p.library.save(Path(tmp) / "library")
                image = targets.build(library, BOARD, Path(tmp) / "build")
                counted = Qemu(run_time=600.0, estimate=False).run(image, x).instructions
            assert counted is not None
            ends = price_of(end_work(one), "ends", "cortex-m33").instructions
            n = counted - ends
            kernel = get(p.layers[op.name].kernel)
            work = work_of(kernel, Layer(op, one, encoded), CORE)
            keys = {price_key(kernel.name, unit): amount for unit, amount in work.items()}
            yield Sample(f"{graph.name}.{op.name}", CORE, kernel.name, keys, (0.0, 0.0), (n, n))


def _shape(graph: QGraph, op: QOp) -> tuple[object, ...]:
    weight = getattr(op, "weight", None)
    return (op.kind, graph.tensors[op.output].shape, None if weight is None else weight.shape)


def refit() -> None:
    """Write the prices of this core: fitted where a layer was counted, else the instructions of a
    Cortex-M33, whose scalar code it executes. No cycles are known: instructions stand for them."""
    prices = json.loads(PRICES.read_text(encoding="utf-8"))
    learned = []
    for sample in lessons():
        learned.append(sample)
        print(f"  {sample.source}: {sample.kernel}, {sample.counted[0]:,.0f}", flush=True)
    alike = prices["cortex-m33"]
    own = {family: {u: [p[0], p[0]] for u, p in units.items()} for family, units in alike.items()}
    for family, units in fit(learned).items():
        vectors = type(get(family)).vector_work is not Kernel.vector_work
        own[family] = {**({} if vectors else own.get(family, {})), **units}
    prices[CORE] = own
    save(prices)
    errors: dict[str, list[float]] = defaultdict(list)
    for s in learned:
        value = sum(own[f][u][0] * n for (f, u), n in s.work.items())
        errors[s.kernel].append(abs(value / s.counted[0] - 1))
    for kernel, e in sorted(errors.items()):
        print(f"{kernel:16} {len(e):4} layers, mean error {np.mean(e):.1%}, largest {max(e):.1%}")
    print(PRICES)


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| network | weights | instructions | per dense MAC | the peer, int8 | flash | arena "
        "| identical |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        macs, each = PEERS.get(r.network, (0, 0.0))
        per = f"{r.instructions / macs:.2f}" if macs else ""
        peer = f"{each:.2f} ({each * macs / r.instructions:.1f} x)" if macs else ""
        lines.append(
            f"| {r.network} | {r.weights} | {r.instructions:,} | {per} | {peer} | {r.flash:,} "
            f"| {r.arena:,} | {r.identical}/{r.total} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Command line; returns 1 if any output differs from the reference's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--networks", default="kws,resnet8,lenet5,lenet300")
    parser.add_argument("--optimize", default="latency")
    parser.add_argument("--fit", action="store_true", help="fit this core's prices in costs.json")
    parser.add_argument("--inputs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT / "helium.json")
    args = parser.parse_args()
    if args.fit:
        refit()
        return 0
    args.out.parent.mkdir(parents=True, exist_ok=True)
    jobs = list(prepare(args.networks.split(","), [CORE], args.optimize, args.inputs))
    rows = [measure(job) for job in jobs]
    write(args.out, [asdict(r) for r in rows])
    print(f"\n{table(rows)}\n\n{args.out}, planned for {args.optimize}")
    return 0 if all(r.identical == r.total for r in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
