"""Dense, sparse and ternary networks on a Cortex-M55 with Helium, which only QEMU has.

    python -m benchmarks.helium [--networks kws] [--optimize latency] [--page docs/helium.md]

Prints instructions per inference, counted in QEMU, with the peer's beside them, and writes
build/bench/helium.json. The simulator that `make bench` uses has no vectors, and no cycles are
estimated for this core (docs/cycle-model.md).
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.bench import OUT, Job, prepare, write

from secateur import targets
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
    parser.add_argument("--inputs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT / "helium.json")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    jobs = list(prepare(args.networks.split(","), [CORE], args.optimize, args.inputs))
    rows = [measure(job) for job in jobs]
    write(args.out, [asdict(r) for r in rows])
    print(f"\n{table(rows)}\n\n{args.out}, planned for {args.optimize}")
    return 0 if all(r.identical == r.total for r in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
