"""docs/methods-long.md and its charts, from the rows of `python -m benchmarks.methods_long`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import Any

from secateur.callbacks.line_chart import line_chart

Row = dict[str, Any]


def write_page(path: Path, rows: list[Row], missing: Mapping[str, Sequence[str]]) -> Path:
    """Write the page, whole or not at all, and the learning curves of each network beside it.

    missing: methods without a fit, by the network's title.
    """
    parts = [_HEAD]
    for network in dict.fromkeys(r["network"] for r in rows):
        own = [r for r in rows if r["network"] == network]
        chart = path.with_name(f"methods-long-{network}.svg")
        line_chart(
            chart, {r["method"]: _middle(r) for r in own}, f"{own[0]['title']}: learning curves",
            "steps", "top-1 on held-out inputs (%)",
        )  # fmt: skip
        parts += [f"## {own[0]['title']}\n", _table(own), f"![learning curves]({chart.name})\n"]
    left = "; ".join(f"{title}: {', '.join(names)}" for title, names in missing.items() if names)
    if left:
        parts.append(fill(f"**Not trained yet.** {left}.", 110, break_long_words=False) + "\n")
    partial = path.with_name("." + path.name)
    partial.write_text("\n".join(parts).rstrip() + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def _middle(row: Row) -> list[tuple[float, float]]:
    """The curve of the median seed."""
    order = sorted(range(len(row["accuracies"])), key=lambda i: row["accuracies"][i])
    return [(float(x), float(y)) for x, y in row["curves"][order[len(order) // 2]]]


def _table(rows: list[Row]) -> str:
    lines = [
        "| method | setting | last layer | steps | median % | runs | gained at the end |",
        "|---" * 7 + "|",
    ]
    for r in rows:
        runs = " ".join(f"{a:.2f}" for a in r["accuracies"])
        gained = " ".join(f"{a:+.2f}" for a in r["settled"])
        last = "too" if r["last"] else "8 bits"
        lines.append(
            f"| {r['method']} | {r['what']} | {last} | {r['steps']:,} x {r['batch']} | "
            f"{median(r['accuracies']):.2f} | {runs} | {gained} |"
        )
    return "\n".join(lines) + "\n"


_HEAD = """# Every method at its strength

Written by `python -m benchmarks.methods_long`; recipes, and what of them is whose paper's, in
`benchmarks/recipes/long.py`. Where [every method, measured](methods.md) compares short fits of one
recipe, here each method is trained as its paper does where that differs, until accuracy settles.

* *last layer*: whether the classifier takes the method; at 8 bits where the paper leaves it alone.
* *median*, *runs*: top-1 of the **integer** model on the whole test set, by seed.
* *gained at the end*: by how much the best of the last quarter of the learning curve (held-out
  inputs) exceeds the best before, in points, by seed: near 0 or below where a fit has settled.
  Rates fall by a cosine to nothing, which calms fits of few levels last: on the spotter binary
  inputs and SparseBinary still gain 2 to 5 points there, and more steps may give them more.

SparseBinary and HypersphericalTernary 85% were first trained with half as many steps, and the test
sets looked at: 79.38 and 84.78 % on the spotter, 99.39 and 99.34 % on LeNet-5. Their curves rose to
the end; with 4,800 steps HypersphericalTernary 85% had 87.57 % on the spotter.

Ternarize and HypersphericalTernary have, where a network has batch norm, half as many steps more in
which kernels stay and batch norm trains on: while ternary kernels move, its averages fit them badly
([few bits](low-bit-activations.md)). With moving kernels alone Ternarize 85% had 89.40 % on the
spotter, in 2,400 steps. LeNet-5, which has no batch norm, has moving kernels alone.

## HypersphericalTernary against Ternarize

With the still steps HypersphericalTernary 85% had 88.92 % on the spotter's test clips and Ternarize
85% 91.52 %, one seed each. Why was asked of short fits (800 steps and 150 still ones, one seed) by
mean cross entropy on held-out clips, and on every second training clip, which swings less:

| | held out | training |
|---|---|---|
| Ternarize 85% | 0.204 | 0.287 |
| HypersphericalTernary 85%, as it was | 0.244 | 0.326 |
| ternary after 2 % of the steps, not 10 | 0.261 | 0.350 |
| the same, vectors keep what length they get | 0.217 | 0.310 |
| the same, smallest by latent weight | 0.193 | 0.296 |
| the same, latent vectors take the whole move | 0.182 | 0.280 |

* **Length.** After every step the latent vectors were set back to their length, so that Adam turned
  every channel at the full rate to the end. The derivative of a normed weight lies across it, and
  steps along it lengthen the vector, which then turns less: so it is now.
* **Which weights are small.** By direction every channel of a layer keeps about as many, 4 to 15 of
  64; Ternarize, by latent weight, keeps 0 to 22, so that channels that matter less pay for others.
  `rank="latent"` does the same here. That is ours; the paper's is by direction.

Whole fits with all but the last line had 90.17 and 90.08 % on the test clips (seeds 0 and 1), where
Ternarize has 91.52 and 91.23: 1.2 points behind, and half a point was asked. Their curves:

* Between steps 1,500 and 2,300 they swing between 48 and 89 % on held-out clips, Ternarize's
  between 78 and 92. They end at 95.4 and 94.3 %, Ternarize's at 95.9 and 94.6; the still steps are
  flat.
* It is not that they learn the training clips too well: their cross entropy there is 0.234 and
  0.246, where Ternarize (seed 1) has 0.205. Zeros lie alike in both: 0 to 25 of 64 in a channel.

What was found after them is the last line:

* **The part along the weight.** A move's part along the ternary weight was taken from the latent
  vector, as if it lengthened that alone. But the two point apart, and so it was part of the turn;
  with Adam, whose moves are not across the weight, much of it.

The row of the table has it: 90.37, 91.04 and 91.14 %, where Ternarize has 91.52, 91.23 and 90.94:
0.2 points between the medians, where half a point was asked. After two seeds it had been 0.7. A
network's standard error is 0.9, and nothing else tells the two apart: cross entropy on the training
clips is 0.204 and 0.205 (seeds 0 and 1; Ternarize, seed 1: 0.205), held out 95.4, 95.6 and 94.7 %
(95.9, 94.6 and 95.5), and between steps 1,500 and 2,300 the curves swing between 75 and 93 %, as
Ternarize's do.

A lower rate for the kernels (0.4 of it: 0.242 and 0.328 where 0.244 and 0.326 were) and a trained
radius of the classifier (0.232 and 0.304 where 0.244 and 0.300 were) changed little. The short
tables of [every method, measured](methods.md) and [longer fits](longer-fits.md) are of the callback
that set lengths back.
"""
