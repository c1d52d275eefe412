"""Random graphs of all operators: the reference's bytes on this computer and on every core.

    python -m benchmarks.random_graphs                 100 graphs: results/random_graphs.json
    python -m benchmarks.random_graphs --graphs 20     fewer; nothing is written

Hypothesis draws graphs of three to eight operators, with branches, tensors read many times, one to
three inputs and outputs (tests/codegen/test_operators.py draws the same, and fewer). Each runs on
three inputs, the extremes among them: on this computer under AddressSanitizer and
UndefinedBehaviorSanitizer, and compiled for Cortex-M0+, M4, M55 and RV32IMAC in emulators.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from tests.codegen import run_c
from tests.codegen.test_operators import graphs_of_operators, planned

from secateur import cores
from secateur.codegen.ends import split
from secateur.frontend.ir import Graph
from secateur.targets import tools

RESULTS = Path(__file__).resolve().parent / "results" / "random_graphs.json"
GRAPHS, BATCH, PLAIN = 100, 20, 2

Run = Callable[..., list[np.ndarray]]


def targets() -> dict[str, Run]:
    """What there is to run on here."""
    found: dict[str, Run] = {"host": run_c.on_host}
    for core in run_c.CORES:
        if not tools.missing(cores.get(core).compiler):
            found[core] = partial(run_c.on_core, core)
    if not tools.missing("qemu-system-arm"):
        found["cortex-m55"] = run_c.on_qemu
    return found


def drawn(count: int, first: int = 0) -> list[Graph]:
    """The same graphs for the same numbers; Hypothesis' first ones, the plainest, are left out."""
    found: list[Graph] = []

    @seed(first)
    @settings(
        max_examples=count + PLAIN, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(graphs_of_operators())
    def draw(graph: Graph) -> None:
        found.append(graph)

    draw()
    return found[-count:]


def wrong(graphs: list[Graph], on: Run) -> list[int]:
    """Which of `graphs` give other bytes than the reference."""
    plans, inputs, expected, laid = planned(graphs)
    with tempfile.TemporaryDirectory() as folder:
        got = on(plans, inputs, Path(folder))
    return [
        i
        for i, (outs, a, b) in enumerate(zip(laid, got, expected, strict=True))
        if not all(map(np.array_equal, split(outs, a), split(outs, b)))
    ]


def main() -> None:
    """Draw, run, count, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=GRAPHS)
    args = parser.parse_args()
    where = targets()
    same, operators, nodes = Counter[str](), Counter[str](), 0
    done = 0
    for number, start in enumerate(range(0, args.graphs, BATCH)):
        graphs = drawn(min(BATCH, args.graphs - start), number)
        done += len(graphs)
        for g in graphs:
            names = [n.attrs.get("function", "") or n.op for n in g if n.op != "input"]
            operators.update(names)
            nodes += len(names)
        for name, run in where.items():
            bad = wrong(graphs, run)
            same[name] += len(graphs) - len(bad)
            for i in bad:
                print(f"{name}: graph {i} of batch {number} differs", flush=True)
        print(
            f"{done} graphs, the same: " + ", ".join(f"{n} {c}" for n, c in same.items()),
            flush=True,
        )
    result = {
        "graphs": done, "nodes": nodes, "same": dict(same),
        "operators": dict(sorted(operators.items())),
    }  # fmt: skip
    print(json.dumps(result))
    if args.graphs == GRAPHS:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
