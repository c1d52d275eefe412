"""Whether plans execute no more than those of the planner before its wing was rebuilt.

    python -m benchmarks.rebuilt

Four networks with every kind of weights on six cores. What the last planner before the rebuild
(commit cbe6f1b) made of them, `balanced`, was counted with that commit's own benchmarks and stays
in benchmarks/results/rebuilt.json as `before_instructions` and `before_flash`. Beside it are
today's `balanced` plans: five cores' are those of bench.json, a Cortex-M55's are counted here.

`balanced` weighs time against bytes, and by better estimates of both it often takes a smaller
image than it did. Where it executes more than TOLERANCE more, the fastest plan in the bytes of the
old one is counted as well (`within_*`, None elsewhere): a planner that had become worse would find
none as fast. Prints every row that is slower and returns 1 if one is within the old one's bytes,
too.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks import helium
from benchmarks.bench import OUT, Job, Row, measure, write
from benchmarks.networks import (
    CALIBRATION,
    ENCODINGS,
    Encoding,
    Network,
    all_networks,
    projected,
)
from benchmarks.render import RESULTS, results

import secateur
from secateur.codegen.plan import Budget, make_plan

FILE = RESULTS / "rebuilt.json"

#: Share of instructions more that counts as the same.
TOLERANCE = 0.005

#: The first budget, in bytes of the old image: what is estimated may be too much. Then, so many
#: times, it is lowered by what the linked image has too many.
FIRST, TRIALS = 1.02, 8


@dataclass(frozen=True)
class Model:
    """A network with a kind of weights, inputs and the reference's outputs."""

    network: str
    encoding: Encoding
    compiled: Any
    inputs: np.ndarray
    expected: np.ndarray

    @classmethod
    def of(cls, network: Network, encoding: Encoding) -> Model:
        """Converted."""
        graph = projected(network.graph, encoding)
        compiled = secateur.convert(graph, network.inputs[:CALIBRATION], name=network.name)
        x = compiled.quantize(network.inputs[-2:])
        return cls(network.name, encoding, compiled, x, compiled.run(x).reshape(len(x), -1))

    def count(self, core: str, optimize: str, budget: Budget) -> Row:
        """Of a plan, built and run."""
        model = self.compiled
        model.plan = make_plan(
            model.qgraph, self.encoding.force, optimize, core=core, budget=budget
        )
        folder = model.save(OUT / core / f"{self.network}-rebuilt-{optimize}" / "library")
        job = Job(self.network, self.encoding.name, core, folder, self.inputs, self.expected)
        row = helium.measure(job) if core == helium.CORE else measure(job)
        assert row.identical == row.total, f"{job.network}, {job.encoding}, {core} differs"
        return row

    def fastest_within(self, core: str, flash: int) -> Row:
        """Of the fastest plan in so many bytes, linked."""
        limit = round(FIRST * flash)
        for _ in range(TRIALS):
            row = self.count(core, "latency", Budget(flash=limit))
            if row.flash <= flash:
                return row
            limit = min(limit, self.compiled.plan.flash) - (row.flash - flash)
        raise SystemExit(f"{self.network}, {self.encoding.name}, {core}: no plan in {flash} bytes")


def main() -> int:
    """Command line; returns 1 where a plan is slower within the old one's bytes."""
    argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0]).parse_args()
    known = json.loads(FILE.read_text(encoding="utf-8"))
    rows = [row for n in all_networks() for row in _rows(n, known)]
    write(FILE, rows)
    print(page(rows))
    others = slower(rows)
    worse = [r for r in others if _more(r, "within_") > TOLERANCE]
    print(
        f"{len(rows)} rows: {len(rows) - len(others)} balanced plans execute no more than before; "
        f"within the old one's bytes {len(others) - len(worse)} of the other {len(others)} do not"
    )
    return 1 if worse else 0


def slower(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those whose balanced plan executes more than before."""
    return [r for r in rows if _more(r) > TOLERANCE]


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The table of those, in Markdown."""
    lines = [
        "| network, weights, core | before | `balanced` now | fastest in those bytes |",
        "|---|---|---|---|",
    ]
    for r in slower(rows):
        cells = [f"{r['network']}, {r['encoding']}, {r['target']}", _of(r, "before_")]
        cells += [f"{_of(r, what)} ({_more(r, what):+.1%})" for what in ("", "within_")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _of(r: dict[str, Any], what: str = "") -> str:
    return f"{r[f'{what}instructions']:,} in {r[f'{what}flash']:,} bytes"


def _more(r: dict[str, Any], what: str = "") -> float:
    """Share of instructions more than before."""
    return float(r[f"{what}instructions"] / r["before_instructions"] - 1)


def _rows(network: Network, known: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows of a network, in the order of encodings and cores of the file."""
    counted = {
        (r["encoding"], r["target"]): r for r in results("bench") if r["network"] == network.name
    }
    for encoding in ENCODINGS:
        old = [r for r in known if (r["network"], r["encoding"]) == (network.name, encoding.name)]
        if not old:
            continue
        model = Model.of(network, encoding)
        for r in old:
            core = r["target"]
            now: dict[str, Any] | None = counted.get((encoding.name, core))
            if core == helium.CORE:
                now = vars(model.count(core, "balanced", Budget()))
            assert now is not None, f"bench.json has no {network.name}, {encoding.name}, {core}"
            row = {k: r[k] for k in ("network", "encoding", "target")}
            row |= {k: r[k] for k in ("before_instructions", "before_flash")}
            row |= {k: now[k] for k in ("instructions", "flash")}
            found = None
            if _more(row) > TOLERANCE:
                found = model.fastest_within(core, row["before_flash"])
            row["within_instructions"] = found and found.instructions
            row["within_flash"] = found and found.flash
            yield row
            print(f"  {network.name}, {encoding.name}, {core}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
