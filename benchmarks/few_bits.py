"""Ternary networks whose activations have four bits, beside those of eight.

    python -m benchmarks.few_bits [--targets cortex-m4] [--optimize latency]

The keyword spotter with 80 % zeros in every layer, one-shot projections as in `benchmarks.bench`:
instructions counted in the simulator and outputs that are the reference's. Writes
benchmarks/results/few_bits.json, a list of rows as bench.json has them.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import asdict

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from benchmarks.bench import Job, Row, measure, table, write
from benchmarks.networks import CALIBRATION, ENCODINGS, kws, projected
from benchmarks.render import RESULTS

import secateur
from secateur import data
from secateur.callbacks import quantize_activations
from secateur.codegen.plan import make_plan
from secateur.frontend.load import load

OUT = RESULTS.parents[1] / "build" / "few-bits"
TARGETS = ("cortex-m4", "cortex-m0plus", "rv32imac")


def jobs(cores: list[str], optimize: str, inputs: int = 2) -> Iterator[Job]:
    """Both networks on every core."""
    network = kws()
    ternary = next(e for e in ENCODINGS if e.name == "ternary 80 %")
    model = keras.saving.load_model(data.KWS_MODEL, safe_mode=True)
    for name, graph in (
        ("8 bits", network.graph),
        ("4 bits", load(quantize_activations(model, 4))),
    ):
        compiled = secateur.convert(
            projected(graph, ternary), network.inputs[:CALIBRATION], name="kws", optimize=optimize
        )
        x = compiled.quantize(network.inputs[-inputs:])
        expected = compiled.run(x).reshape(inputs, -1)
        for core in cores:
            compiled.plan = make_plan(compiled.qgraph, None, optimize, core=core)
            folder = compiled.save(OUT / core / name.replace(" ", "-") / "library")
            yield Job(network.name, name, core, folder, x, expected)


def main() -> int:
    """Command line; returns 1 if any output differs from the reference's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--optimize", default="latency")
    args = parser.parse_args()
    rows: list[Row] = [measure(job) for job in jobs(args.targets.split(","), args.optimize)]
    print(table(rows))
    if args.targets == ",".join(TARGETS) and args.optimize == "latency":
        write(RESULTS / "few_bits.json", [asdict(r) for r in rows])
    return 0 if all(r.identical == r.total for r in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
