"""`make bench`: eight networks, four kinds of weights (and ternary depthwise layers), five cores.

    python -m benchmarks.bench [--networks kws,lenet5] [--targets cortex-m4] [--optimize balanced]

Prints a table and writes benchmarks/results/bench.json, a list of {network, encoding, target,
instructions, cycles, flash, arena, identical, total}: instructions per inference counted in the
simulator, cycles estimated (docs/cycle-model.md), flash of model and runtime without the serial
harness, arena in bytes, and how many of the outputs are the reference's, byte by byte. Rows of
networks and cores that were not asked for stay.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.render import results

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from secateur import targets
from secateur.targets.runners.sim import Sim

OUT = Path("build/bench")

#: Where the committed figures lie, from which README and docs are rendered.
RESULTS = Path("benchmarks/results/bench.json")

#: Core -> board whose image the simulator runs.
BOARDS = {
    "cortex-m0plus": "qemu_m0plus",
    "cortex-m4": "mps2_an386",
    "cortex-m7": "mps2_an500",
    "cortex-m33": "mps2_an505",
    "rv32imac": "qemu_rv32",
}

#: TFLite Micro + CMSIS-NN, int8, GCC 12.2, measured in QEMU Nov 2026: instructions per inference
#: on a Cortex-M4, flash of the whole image, arena.
PEERS = {
    r["network"]: (r["instructions"], r["flash"], r["arena"])
    for r in results("peers")
    if r["target"] == "cortex-m4"
}
PEER = "TFLite Micro + CMSIS-NN, GCC 12.2, measured in QEMU Nov 2026"


@dataclass(frozen=True)
class Job:
    """One image to build and run."""

    network: str
    encoding: str
    target: str
    library: Path
    inputs: np.ndarray  #: int8 [n, ...]
    expected: np.ndarray  #: int8 [n, outputs]


@dataclass(frozen=True)
class Row:
    """One measurement; sizes in bytes."""

    network: str
    encoding: str
    target: str
    instructions: int
    cycles: int | None  #: None where there is no estimate for the core
    flash: int
    arena: int
    identical: int
    total: int


def prepare(names: list[str], cores: list[str], optimize: str, inputs: int) -> Iterator[Job]:
    """Convert every network in every encoding; one job a core."""
    from benchmarks.networks import converted

    from secateur.codegen.plan import make_plan

    for network, i, encoding, compiled in converted(names, optimize):
        x = compiled.quantize(network.inputs[-inputs:])
        expected = compiled.run(x).reshape(inputs, -1)
        for core in cores:
            compiled.plan = make_plan(compiled.qgraph, encoding.force, optimize, core=core)
            folder = compiled.save(OUT / core / f"{network.name}-{i}" / "library")
            yield Job(network.name, encoding.name, core, folder, x, expected)


def measure(job: Job) -> Row:
    """Build and run one image."""
    image = targets.build(job.library, BOARDS[job.target], job.library.parent / "firmware")
    result = Sim(run_time=600.0).run(image, job.inputs)
    outputs = result.outputs.reshape(job.expected.shape)
    assert result.instructions is not None
    assert result.cycles is not None
    return Row(
        job.network,
        job.encoding,
        job.target,
        result.instructions,
        round(result.cycles),
        image.sizes.total - image.sizes.harness,
        image.sizes.arena,
        int(np.all(outputs == job.expected, axis=1).sum()),
        len(outputs),
    )


def table(rows: list[Row]) -> str:
    """The rows as text, with the peer's figures where they are known."""
    head = ("network", "weights", "core", "instructions", "est. cycles", "flash", "arena", "same")
    lines = [
        "{:11} {:27} {:14} {:>13} {:>13} {:>8} {:>7} {:>6}  {}".format(*head, "against the peer")
    ]
    for r in rows:
        ratio = ""
        peer = PEERS.get(r.network)
        if peer and r.target == "cortex-m4":
            a, b, c = peer
            ratio = (
                f"instructions / {a / r.instructions:.2f}, flash / {b / r.flash:.1f}, "
                f"arena x {r.arena / c:.2f}"
            )
        lines.append(
            f"{r.network:11} {r.encoding:27} {r.target:14} {r.instructions:13,} "
            f"{r.cycles or 0:13,} {r.flash:8,} {r.arena:7,} {r.identical:3}/{r.total:<2}  "
            f"{ratio}".rstrip()
        )
    return "\n".join(lines)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON in one step."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def others(path: Path, measured: Collection[tuple[str, str]]) -> list[dict[str, Any]]:
    """What the file holds of networks and cores that were not measured now."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return [r for r in old if (r["network"], r["target"]) not in measured]


def main() -> int:
    """Command line; returns 1 if any output differs from the reference's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--networks", default="kws,resnet8,lenet5,lenet300,vww,mobilenetv2,ad,sww")
    parser.add_argument("--targets", default=",".join(BOARDS))
    parser.add_argument("--optimize", default="balanced")
    parser.add_argument("--inputs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    started = time.monotonic()
    cores = args.targets.split(",")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    # Workers start afresh: a process that has loaded TensorFlow must not be forked.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), mp_context=context) as pool:
        jobs = [
            pool.submit(measure, job)
            for job in prepare(args.networks.split(","), cores, args.optimize, args.inputs)
        ]
        for job in jobs:
            rows.append(job.result())
            print(f"  {rows[-1].network}, {rows[-1].encoding}, {rows[-1].target}", flush=True)
    write(
        args.out,
        [*others(args.out, {(r.network, r.target) for r in rows}), *(asdict(r) for r in rows)],
    )
    print(f"\n{table(rows)}\n")
    print("Weights are one-shot projections of the float weights (pruned, clustered or ternarised")
    print("without training): sizes and counts are those of trained networks, accuracy is not.")
    print("Depthwise layers stay int8 where the weights are sparse.")
    print(f"Flash is model and runtime, the serial harness excluded. The peer: {PEER}.")
    print(f"{args.out}, {time.monotonic() - started:.0f} s, planned for {args.optimize}")
    return 0 if all(r.identical == r.total for r in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
