"""Random graphs of all operators: the reference's bytes on this computer and on every core.

    python -m benchmarks.random_graphs                 300 graphs: results/random_graphs.json
    python -m benchmarks.random_graphs --graphs 20     fewer; nothing is written

Hypothesis draws graphs of three to eight blocks of any operators, with branches, tensors read many
times, one to three inputs and up to four outputs (tests/codegen/operator_graphs.py; tests draw from
it, too, and fewer). Each runs on three inputs, the extremes among them: on this computer under
AddressSanitizer and UndefinedBehaviorSanitizer, and the first 100 compiled for Cortex-M0+, M4, M55
and RV32IMAC in emulators (`--on-cores` takes another number).
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
from tests.codegen.operator_graphs import graphs_of_operators
from tests.codegen.test_operators import planned

from secateur import cores
from secateur.codegen.ends import split
from secateur.frontend.ir import Graph
from secateur.targets import tools

RESULTS = Path(__file__).resolve().parent / "results" / "random_graphs.json"
GRAPHS, ON_CORES, BATCH, PLAIN = 300, 100, 20, 2

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
    parser.add_argument("--on-cores", type=int, default=ON_CORES, metavar="GRAPHS")
    args = parser.parse_args()
    where = targets()
    same, ran, operators, functions = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    done = 0
    for number, start in enumerate(range(0, args.graphs, BATCH)):
        graphs = drawn(min(BATCH, args.graphs - start), number)
        done += len(graphs)
        for n in (n for g in graphs for n in g):
            operators[n.op] += 1
            if n.op == "activation":
                functions[n.attrs["function"]] += 1
        for name, run in where.items():
            tried = graphs if name == "host" else graphs[: max(0, args.on_cores - start)]
            if not tried:
                continue
            bad = wrong(tried, run)
            ran[name] += len(tried)
            same[name] += len(tried) - len(bad)
            for i in bad:
                print(f"{name}: graph {i} of batch {number} differs", flush=True)
        counts = ", ".join(f"{n} {same[n]} of {ran[n]}" for n in where)
        print(f"{done} graphs, the same: {counts}", flush=True)
    result = {
        "graphs": done, "ran": dict(ran), "same": dict(same),
        "operators": dict(sorted(operators.items())), "functions": dict(sorted(functions.items())),
    }  # fmt: skip
    print(json.dumps(result))
    if (args.graphs, args.on_cores) == (GRAPHS, ON_CORES):
        RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
