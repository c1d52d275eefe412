"""Networks within a budget of RAM, beside what `balanced` makes of them without one.

    python -m benchmarks.limits [--targets cortex-m4]

ResNet-8 within 26,000 bytes and the keyword spotter within 9,000, one-shot projections as in
`benchmarks.bench`: instructions counted in the simulator and outputs that are the reference's.
Writes benchmarks/results/limits.json, a list of rows as bench.json has them.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import asdict

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.bench import Job, Row, measure, table, write
from benchmarks.networks import CALIBRATION, ENCODINGS, all_networks, projected
from benchmarks.render import RESULTS

import secateur
from secateur.codegen.plan import Budget, make_plan

OUT = RESULTS.parents[1] / "build" / "limits"
TARGETS = ("cortex-m4",)

#: Bytes of RAM that each network gets, and the weights with which it takes more without a budget.
LIMITS = {"resnet8": 26_000, "kws": 9_000}
KINDS = {
    "resnet8": ("sparse int8 80 %", "ternary 80 %"),
    "kws": ("dense int8", "sparse int8 80 %", "clustered 4 bit", "ternary 80 %"),
}


def jobs(cores: list[str], inputs: int = 2) -> Iterator[Job]:
    """Every network on every core, free and within its limit."""
    networks = {n.name: n for n in all_networks() if n.name in LIMITS}
    for name, kind in ((n, k) for n, kinds in KINDS.items() for k in kinds):
        network, encoding = networks[name], next(e for e in ENCODINGS if e.name == kind)
        compiled = secateur.convert(
            projected(network.graph, encoding), network.inputs[:CALIBRATION], name=name
        )
        x = compiled.quantize(network.inputs[-inputs:])
        expected = compiled.run(x).reshape(inputs, -1)
        for core in cores:
            for what, budget in (("free", Budget()), ("within", Budget(ram=LIMITS[name]))):
                compiled.plan = make_plan(compiled.qgraph, budget=budget, core=core)
                folder = compiled.save(OUT / core / f"{name}-{kind.split()[0]}-{what}" / "library")
                yield Job(name, f"{kind}, {what}", core, folder, x, expected)


def main() -> int:
    """Command line; returns 1 if any output differs from the reference's, or a limit is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--targets", default=",".join(TARGETS))
    args = parser.parse_args()
    rows: list[Row] = [measure(job) for job in jobs(args.targets.split(","))]
    print(table(rows))
    if args.targets == ",".join(TARGETS):
        write(RESULTS / "limits.json", [asdict(r) for r in rows])
    over = [r for r in rows if r.encoding.endswith("within") and r.arena > LIMITS[r.network]]
    return 0 if not over and all(r.identical == r.total for r in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
