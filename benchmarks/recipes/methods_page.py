"""docs/methods.md and its charts, from the rows of `make bench-methods`."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

from benchmarks.recipes.methods import SEEDS, STEPS, TITLES

from secateur.callbacks.line_chart import line_chart

Row = dict[str, Any]


def write_page(path: Path, rows: list[Row]) -> Path:
    """Write the page, whole or not at all, and a chart for each network beside it."""
    parts = [_HEAD.format(seeds=len(SEEDS), **STEPS)]
    for network, title in TITLES.items():
        own = [r for r in rows if r["network"] == network]
        chart = path.with_name(f"methods-{network}.svg")
        _chart(chart, title, own)
        parts += [f"## {title}\n", _table(own), f"![accuracy against bytes]({chart.name})\n"]
        parts.append(_front(own))
    partial = path.with_name("." + path.name)
    partial.write_text("\n".join(parts).rstrip() + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def pareto(rows: list[Row]) -> list[Row]:
    """The rows no other one beats: none has at least their accuracy in fewer smallest bytes."""
    return [
        r for r in rows
        if not any(_beats(other, r) for other in rows)
    ]  # fmt: skip


def _beats(a: Row, b: Row) -> bool:
    better = a["accuracy"] >= b["accuracy"], a["smallest_bytes"] <= b["smallest_bytes"]
    return all(better) and (a["accuracy"], -a["smallest_bytes"]) != (
        b["accuracy"], -b["smallest_bytes"]
    )  # fmt: skip


def _table(rows: list[Row]) -> str:
    lines = [
        "| method | setting | accuracy % | runs | zeros | stored | bits a weight | smallest | "
        "instructions | energy, uJ | identical |",
        "|---" * 11 + "|",
    ]
    for r in rows:
        runs = " ".join(f"{a:.2f}" for a in r["accuracies"])
        device = "| | | |"
        if r["instructions"] is not None:
            device = (
                f"| {r['instructions']:,} | {r['energy_uj']:.0f} | "
                f"{r['identical']} of {r['total']} |"
            )
        lines.append(
            f"| {r['method']} | {r['what']} | {r['accuracy']:.2f} | {runs} | {r['zeros']:.0%} | "
            f"{r['stored_bytes']:,} | {r['bits_per_weight']:.2f} | {r['smallest_bytes']:,} "
            f"({r['smallest_bits_per_weight']:.2f}) {device}"
        )
    return "\n".join(lines) + "\n"


def _chart(path: Path, title: str, rows: list[Row]) -> None:
    """Every method a point; Ternarize and HypersphericalTernary are lines over their zeros."""
    series: dict[str, list[tuple[float, float]]] = {}
    for r in rows:
        if r["instructions"] is not None:
            name = r["method"].rstrip(" %0123456789") if r.get("ternary") else "other methods"
            series.setdefault(name, []).append((r["smallest_bytes"] / 1000, r["accuracy"]))
    line_chart(
        path,
        {n: sorted(points) for n, points in series.items() if n != "other methods"},
        f"{title}: ternary methods",
        "everything stored, smallest coding (kB)",
        "top-1 of the integer model (%)",
        {r["method"]: r["accuracy"] for r in rows if r["method"] in ("float", "int8")},
    )


def _front(rows: list[Row]) -> str:
    front = pareto([r for r in rows if r.get("ternary")])
    names = [
        f"{r['method']} ({r['accuracy']:.2f} % in {r['smallest_bytes']:,} bytes)"
        for r in sorted(front, key=lambda r: r["smallest_bytes"])
    ]
    text = f"Pareto front of the ternary methods, accuracy against bytes: {', '.join(names)}.\n"
    hq = "HypersphericalTernary"
    if any(r["method"].startswith(hq) for r in front):
        return text
    accuracy = {r["method"]: r["accuracy"] for r in rows}
    pairs = ", ".join(
        f"{accuracy[m]:.2f} % against {accuracy[m.replace(hq, 'Ternarize')]:.2f} % ({m})"
        for m in accuracy
        if m.startswith(hq)
    )
    return f"{text}\n{fill(_NOT_ON_IT.format(pairs=pairs), 100, break_on_hyphens=False)}\n"


_NOT_ON_IT = """HypersphericalTernary is not on it here. At equal zeros it stores what Ternarize
stores, and came out below it: {pairs}. Of such a short fit it spends the first quarter on the
sphere, before any weight is ternary, so its ternary network trains for 3/4 of the steps that
Ternarize's has. With four times the steps it is ahead at 70 % zeros, and still behind at 85 %
([longer fits](longer-fits.md)). All of these are fits of the callback before two faults of it were
mended; since then it is 0.2 points behind at 85 %
([every method at its strength](methods-long.md))."""

_HEAD = """# Every method, measured

Written by `make bench-methods` (`benchmarks/methods.py`; settings in
`benchmarks/recipes/methods.py`). Every row is a short fit from the same trained float network, with
the same data, steps ({kws} of 100 clips, {lenet5} of 256 images), rate, distilled labels and order
of batches; nothing is tuned to a method, and longer training is worth points to all of them
([what it gives](kws-curves.md)). So the table compares methods; it is not what each can reach
([trained until they settle](methods-long.md)).

* On the keyword spotter the method takes the pointwise and dense layers; the first convolution and
  the depthwise layers stay at 8 bits. On LeNet-5 it takes conv2, ip1 and ip2, not conv1. Low-bit
  activations are those going into these layers (the spotter's dense layer gets 8-bit averages). For
  them and for SparseBinary LeNet-5 gets batch norm behind its layers, new at the fit's start.
* *Accuracy*: top-1 of the **integer** model (NumPy reference) on the whole test set, 1,038 clips or
  10,000 images; the median of {seeds} fits of different seeds, each under *runs* (there is one
  float network). The other figures are of the median run.
* *Stored*: bytes of everything, under the default plan; *bits a weight*: streams, tables and
  codebooks of the layers that take the method, over their weights. *Smallest*: bytes of everything
  where every layer has its smallest encoding, and bits a weight then.
* *Instructions*: of one inference under the default plan, counted in the simulated Cortex-M4.
  *Energy* is an estimate: estimated cycles at 120 MHz times the STM32L4R5's typical current.
* *Identical*: outputs of the simulated device that equal the reference's, byte for byte.
"""
