"""The measured part of docs/slimming.md, and its charts."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from secateur.callbacks.line_chart import line_chart

Row = dict[str, Any]
BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->\n"
FLOAT, TERNARY = "float", "ternary"


def write_page(docs: Path, results: dict[str, Any]) -> Path:
    """Replace what stands between the marks of docs/slimming.md."""
    page = docs / "slimming.md"
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    text = "\n".join(_parts(docs, results))
    page.write_text(f"{before}{BEGIN}{text}\n{END}{after}", encoding="utf-8")
    return page


def _parts(docs: Path, results: dict[str, Any]) -> list[str]:
    settings, rows = results["settings"], results["rows"]
    out = []
    for name, task in settings["tasks"].items():
        mine = [r for r in rows if r["task"] == name and r["method"] != TERNARY]
        slimmed = [r for r in mine if r["method"] != FLOAT]
        if not slimmed:
            continue
        whole = next(r for r in mine if r["method"] == FLOAT)
        out += [f"### {task['title']}\n", _how(task, slimmed, whole), _table(mine)]
        if len({r["left"] for r in slimmed}) > 1:
            picture = f"slimming-{name}.svg"
            _curves(docs / picture, task["title"], slimmed, whole)
            out.append(f"![Accuracy against operations, {task['title']}]({picture})\n")
        out.append(_summary(slimmed, whole, task["test"]))
    front = [r for r in rows if r["method"] == TERNARY]
    if front:
        out += _front(docs, front, settings)
    return out + _untrained(results["untrained"], settings)


def _untrained(rows: list[Row], settings: Row) -> list[str]:
    lines = [
        "| network | whole | L1, constants folded | L1, constants dropped | ThiNet |",
        "|---|---|---|---|---|",
    ]
    for r in rows:
        title = settings["tasks"][r["task"]]["title"]
        cells = " | ".join(f"{r[k]:.1f} %" for k in ("whole", "fold", "drop", "ThiNet"))
        lines.append(f"| {title} | {cells} |")
    return [
        "### Before any training\n",
        f"Float accuracy right after {1 - rows[0]['keep']:.0%} of each layer's channels have gone, "
        "on the held-out part of the training files: what folding the constants is worth. (ThiNet "
        "leaves residual additions whole.)\n",
        "\n".join(lines) + "\n",
    ]


def _how(task: Row, rows: list[Row], whole: Row) -> str:
    seeds = sorted({len(r["seeds"]) for r in rows})
    many = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return (
        f"{task['training']:,} training samples; epochs after slimming: {task['epochs']}, half the "
        f"labels the float network's answers; from scratch: {task['scratch_epochs']} of the "
        f"same; {many} seed{'s' if many != '1' else ''}. Accuracy is the integer model's on "
        f"{task['test']:,} test samples (median; in brackets lowest and highest). The float "
        f"network has {whole['float_accuracy']:.1f} %.\n"
    )


def _table(rows: list[Row]) -> str:
    lines = [
        "| method | MACs left | accuracy | parameters | MACs | RAM | flash | M4 instructions |",
        "|---|---|---|---|---|---|---|---|",
    ]
    whole = next(r for r in rows if r["method"] == FLOAT)
    for r in rows:
        name = "whole network, int8" if r["method"] == FLOAT else r["method"]
        lines.append(
            f"| {name} | {r['flops'] / whole['flops']:.0%} | {_accuracy(r)} | {r['parameters']:,} "
            f"| {r['flops']:,} | {r['ram']:,} | {r['flash']:,} | {r['instructions']:,} |"
        )
    return "\n".join(lines) + "\n"


def _accuracy(r: Row) -> str:
    median = f"{statistics.median(r['accuracies']):.1f} %"
    if len(r["accuracies"]) == 1:
        return median
    low, high, n = min(r["accuracies"]), max(r["accuracies"]), len(r["accuracies"])
    return f"{median} ({low:.1f} to {high:.1f}, {n} seeds)"


def _curves(path: Path, title: str, rows: list[Row], whole: Row) -> None:
    series: dict[str, list[tuple[float, float]]] = {}
    for r in rows:
        point = (100 * r["flops"] / whole["flops"], statistics.median(r["accuracies"]))
        series.setdefault(r["method"], []).append(point)
    line_chart(
        path, {k: sorted(v) for k, v in series.items()}, title,
        "multiply-accumulates left (%)", "top-1, integers (%)",
        {"whole": statistics.median(whole["accuracies"])},
    )  # fmt: skip


def _summary(rows: list[Row], whole: Row, tested: int) -> str:
    """What wins at half the operations, and what of that the test set cannot tell apart."""
    half = [r for r in rows if r["left"] == 0.5]
    if not half:
        return ""
    rank = sorted(half, key=lambda r: -statistics.median(r["accuracies"]))
    float_ = whole["float_accuracy"]
    parts = [
        f"{r['method']} {round(statistics.median(r['accuracies']) - float_, 1) + 0.0:+.1f}"
        for r in rank
    ]
    error = math.sqrt(float_ * (100 - float_) / tested)
    return (
        f"At half the operations, points against the float network: {', '.join(parts)}. One "
        f"standard error of this test set is {error:.1f} points: smaller gaps say little.\n"
    )


def _front(docs: Path, rows: list[Row], settings: Row) -> list[str]:
    def name(r: Row) -> str:
        return "ternary alone" if r["left"] == 1 else "slim, then ternary"

    series: dict[str, list[tuple[float, float]]] = {}
    for r in rows:
        series.setdefault(name(r), []).append((r["instructions"] / 1e6, r["accuracy"]))
    line_chart(
        docs / "slimming-front.svg", {k: sorted(v) for k, v in series.items()},
        "Keyword spotting: ternary alone, and after slimming",
        "million instructions on a Cortex-M4", "top-1, integers (%)",
    )  # fmt: skip
    lines = [
        "| MACs left before | zeros | accuracy | held out | stored | flash | RAM "
        "| M4 instructions |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in sorted(rows, key=lambda r: -r["instructions"]):
        before = "all" if r["left"] == 1 else f"{r['left']:.0%}, {r['by']}"
        lines.append(
            f"| {before} | {r['zeros']:.0%} | {_accuracy(r)} "
            f"| {statistics.median(r['held_out']):.1f} % | {r['stored']:,} "
            f"| {r['flash']:,} | {r['ram']:,} | {r['instructions']:,} |"
        )
    return [
        "### Slim, then ternary\n",
        "The keyword spotter with ternary pointwise and dense layers, from the float network or "
        f"from a slimmed one; {settings['ternary_epochs']} epochs (the slimmed one has had "
        f"{settings['tasks']['kws']['epochs']} before), one seed where no others are named. The "
        "points at 40 % and that of ThiNet at 50 % with 40 % zeros were chosen by held-out clips. "
        "Every plan is a `Point` in `benchmarks/recipes/slimming.py`.\n",
        "\n".join(lines) + "\n",
        "![Accuracy against instructions](slimming-front.svg)\n",
        _gain(rows),
    ]


def _gain(rows: list[Row]) -> str:
    """Instructions saved at equal accuracy, on test clips and on those that chose points."""
    parts = []
    for of, right in (("test", "accuracies"), ("held-out", "held_out")):
        each = ", ".join(f"{share:.0%} at {a:.1f} %" for a, share in saved(rows, right))
        if each:
            parts.append(
                "Against the straight lines between the front of ternary alone, at equal accuracy "
                f"on {of} clips (medians): {each} fewer instructions."
            )
    return (" ".join(parts) or "No slimmed ternary network is as accurate as one alone.") + "\n"


def saved(rows: list[Row], right: str) -> list[tuple[float, float]]:
    """(median accuracy, share of instructions saved) of each slimmed network within the front of
    those that are ternary alone; right: "accuracies" or "held_out"."""

    def point(r: Row) -> tuple[float, float]:
        return statistics.median(r[right]), r["instructions"]

    alone = sorted(point(r) for r in rows if r["left"] == 1)
    line = [(a, i) for a, i in alone if all(i < j for b, j in alone if b > a)]  # the front
    slimmed = sorted(point(r) for r in rows if r["left"] < 1)
    return [
        (a, 1 - i / float(np.interp(a, *zip(*line, strict=True))))
        for a, i in slimmed
        if line[0][0] <= a <= line[-1][0]
    ]
