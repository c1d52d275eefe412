"""Whether plans execute no more than those of the planner before its wing was rebuilt.

    python -m benchmarks.rebuilt

Four networks with every kind of weights on six cores. What the last planner before the rebuild
(commit cbe6f1b) made of them, `balanced`, was counted with that commit's own benchmarks and stays
in benchmarks/results/rebuilt.json as `before_instructions` and `before_flash`. Beside it are today's
`balanced` plans: five cores' are those of bench.json, those of a Cortex-M55 are counted here.

`balanced` weighs time against bytes, and by better estimates of both it often takes a smaller image
than it did. Where it executes more than TOLERANCE more, the fastest plan in the bytes of the old one
is counted as well (`within_*`, None elsewhere): a planner that had become worse would find none as fast.
Prints every row that is slower and returns 1 if one is within the old one's bytes, too.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from dataclasses import replace
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks import helium
from benchmarks.bench import OUT, Job, Row, measure, write
from benchmarks.networks import CALIBRATION, ENCODINGS, Network, all_networks, projected
from benchmarks.render import RESULTS, results

import secateur
from secateur.codegen.plan import Budget, make_plan

FILE = RESULTS / "rebuilt.json"

#: Share of instructions more that counts as the same.
TOLERANCE = 0.005

#: The first budget, in bytes of the old image: what is estimated may be too much. Then, so many times,
#: it is lowered by what the linked image has too many.
FIRST, TRIALS = 1.02, 4

Key = tuple[str, str]  #: encoding, core


def main() -> int:
    """Command line; returns 1 where a plan is slower, or an output differs."""
    argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0]).parse_args()
    known: dict[str, dict[Key, dict[str, Any]]] = defaultdict(dict)
    for r in json.loads(FILE.read_text(encoding="utf-8")):
        known[r["network"]][r["encoding"], r["target"]] = r
    rows = [r for n in all_networks() for r in _network(n, known[n.name])]
    write(FILE, rows)
    slower = [r for r in rows if _more(r["instructions"], r) > TOLERANCE]
    for r in slower:
        within = ", ".join(
            f"{r[f'{what}instructions']:,} ({_more(r[f'{what}instructions'], r):+.1%}) in "
            f"{r[f'{what}flash']:,} bytes"
            for what in ("", "within_")
        )
        print(
            f"{r['network']}, {r['encoding']}, {r['target']}: {r['before_instructions']:,} in "
            f"{r['before_flash']:,} bytes before; now {within}"
        )
    worse = [r for r in slower if _more(r["within_instructions"], r) > TOLERANCE]
    print(f"{len(rows)} rows: {len(rows) - len(slower)} balanced plans execute no more than before, "
          f"{len(slower) - len(worse)} of the others do not within the old one's bytes")  # fmt: skip
    return 1 if worse else 0


def _more(instructions: int, r: dict[str, Any]) -> float:
    """Share of instructions more than before."""
    return float(instructions / r["before_instructions"] - 1)


def _network(network: Network, known: dict[Key, dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a network, in the order of encodings and cores of the file."""
    counted = {
        (r["encoding"], r["target"]): r for r in results("bench") if r["network"] == network.name
    }
    rows = []
    for encoding in ENCODINGS:
        mine = [(core, r) for (name, core), r in known.items() if name == encoding.name]
        if not mine:
            continue
        compiled = secateur.convert(
            projected(network.graph, encoding), network.inputs[:CALIBRATION], name=network.name
        )
        x = compiled.quantize(network.inputs[-2:])
        expected = compiled.run(x).reshape(2, -1)

        def count(core: str, optimize: str, budget: Budget) -> Row:
            compiled.plan = make_plan(
                compiled.qgraph, encoding.force, optimize, core=core, budget=budget
            )
            folder = compiled.save(OUT / core / f"{network.name}-rebuilt-{optimize}" / "library")
            job = Job(network.name, encoding.name, core, folder, x, expected)
            row = helium.measure(job) if core == helium.CORE else measure(job)
            assert row.identical == row.total, f"{job.network}, {job.encoding}, {core} differs"
            return row

        for core, r in mine:
            now = counted.get((encoding.name, core))
            if core == helium.CORE:
                found = count(core, "balanced", Budget())
                now = {"instructions": found.instructions, "flash": found.flash}
            assert now is not None, f"bench.json has no {network.name}, {encoding.name}, {core}"
            row = {k: r[k] for k in ("network", "encoding", "target")}
            row |= {k: r[k] for k in ("before_instructions", "before_flash")}
            row |= {k: now[k] for k in ("instructions", "flash")}
            within: Row | None = None
            if _more(row["instructions"], row) > TOLERANCE:
                budget = Budget(flash=round(FIRST * row["before_flash"]))
                for _ in range(TRIALS):
                    within = count(core, "latency", budget)
                    over = within.flash - row["before_flash"]
                    if over <= 0:
                        break
                    assert budget.flash is not None
                    budget = replace(budget, flash=budget.flash - over)
            row["within_instructions"] = within and within.instructions
            row["within_flash"] = within and within.flash
            rows.append(row)
            print(f"  {network.name}, {encoding.name}, {core}", flush=True)
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
