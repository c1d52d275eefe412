"""The report as one HTML file: no scripts, no fonts, nothing fetched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from secateur.files import looks_like, write
from secateur.names import shown

from . import budget, metrics, roofline, svg
from .changes import FigureChange
from .details import Details, Histogram
from .figures import Report
from .layers import total
from .units import show

#: Whether a file is such a page, which another one may replace.
OURS = looks_like(rb'<!doctype html>.*<meta name="generator" content="Secateur">')


@dataclass(frozen=True)
class MetricTables:
    """Metrics for the page: (level, rows of name, value and kind), and the roofline if known."""

    tables: list[tuple[str, list[tuple[str, str, str]]]]
    roofline: Markup | None


@dataclass(frozen=True)
class _Tile:
    name: str
    value: str
    note: str
    css: str = ""


def _tiles(r: Report) -> list[_Tile]:
    a = r.accuracy
    tiles = [
        _Tile("Size", f"{r.size.ratio:.1f}x", f"smaller: {r.size.stored:,} bytes of weights"),
        _Tile("Flash", str(r.flash), f"model {r.flash.model:,}, code {r.flash.runtime:,} bytes"),
        _Tile("RAM", str(r.ram), f"arena {r.ram.arena:,}, stack {r.ram.stack:,} bytes"),
    ]
    if a.headline is not None:
        loss = f"{show(a.float, 'fraction')} in float" if a.float is not None else a.kind
        tiles.insert(0, _Tile("Accuracy", str(a), loss))
    if r.regression is not None:
        error, r2 = r.regression.mae["device"], r.regression.r2["device"]
        note = f"mean absolute; R2 {show(r2, 'number')}"
        tiles.insert(0, _Tile("Error", show(error, "number"), note))
    if r.latency.instructions is not None or r.latency.ms is not None:
        count = r.latency.instructions
        note = r.latency.kind if r.latency.ms is not None else "instructions"
        if r.latency.ms is None:
            tiles.append(_Tile("Latency", f"{count:,}", note))
        else:
            detail = "" if count is None else f", {count:,} instructions"
            if r.latency.low is not None and r.latency.high is not None:
                between = f"{show(r.latency.low, 'ms')} to {show(r.latency.high, 'ms')}"
                note = f"{note}, {between}"
            elif r.latency.low is not None:
                note = f"{note}, at least {show(r.latency.low, 'ms')}"
            tiles.append(_Tile("Latency", str(r.latency), note + detail))
    if r.energy.uj is not None:
        tiles.append(_Tile("Energy", str(r.energy), f"{r.energy.kind}, per inference"))
    if r.outputs.total:
        value = f"{r.outputs.identical} of {r.outputs.total}"
        css = "good" if r.bit_exact else "bad"
        tiles.append(_Tile("Outputs identical", value, "byte by byte with the reference", css))
    return tiles


def _budgets(report: Report, limits: Mapping[str, budget.Value]) -> list[_Tile]:
    """Whether what was asked for is kept, a broken one first."""
    verdicts = sorted(budget.check(report, limits), key=lambda v: v.kept is not False)
    if not verdicts:
        return []
    kept = sum(v.kept is True for v in verdicts)
    said = []
    for v in verdicts:
        figure = budget.FIGURES[v.figure]
        most = "at least" if figure.higher_is_better else "at most"
        said.append(f"{v.figure} {figure.show(v.measured)}, {most} {figure.show(v.limit)}")
    css = "good" if kept == len(verdicts) else "bad"
    return [_Tile("Budgets", f"{kept} of {len(verdicts)} kept", "; ".join(said), css)]


def _since(report: Report, previous: Report | None) -> list[tuple[str, str, str, str]]:
    """Figure, then, now and how far, of every figure that either run knows."""
    rows: list[tuple[str, str, str, str]] = []
    if previous is None:
        return rows
    for name, figure in budget.FIGURES.items():
        change = FigureChange(name, figure.read(previous), figure.read(report))
        if change.before is not None or change.after is not None:
            far = change.text or "as before"
            if change.before is None or change.after is None:
                far = "not known of both"
            rows.append((name, figure.show(change.before), figure.show(change.after), far))
    return rows


def _energies(report: Report, d: Details) -> dict[str, float]:
    """Microjoules by operator: the figure of the whole, shared out by what each one did."""
    if report.energy.uj is None:
        return {}
    return {name: report.energy.uj * share for name, share in d.shares.items()}


def _quantized(report: Report, d: Details) -> int:
    """Bytes of the non-zero weights in the fewest bits that tell the levels of a layer apart.

    Without histograms: 8 bits.
    """
    levels = {h.layer: len(h.values) for h in d.histograms}
    bits = sum(x.nonzeros * (levels.get(x.name, 256) - 1).bit_length() for x in report.layers)
    return -(-bits // 8)


def _positions(report: Report) -> int:
    """Bytes that tell which weights are zero, at least: the entropy of each layer's mask."""
    bits = 0.0
    for x in report.layers:
        if 0 < x.nonzeros < x.parameters:
            p = x.nonzeros / x.parameters
            bits -= x.parameters * (p * math.log2(p) + (1 - p) * math.log2(1 - p))
    return math.ceil(bits / 8)


def _shares(h: Histogram) -> str:
    """Of few levels how often each occurs."""
    whole = h.zeros + sum(h.counts)
    counted = sorted([*zip(h.values, h.counts, strict=True), *([(0, h.zeros)] if h.zeros else [])])
    return ", ".join(f"{v}: {100 * n / whole:.0f} %" for v, n in counted)


#: What a layer is stored as, in words.
CODES = {
    "dense": "every weight a byte",
    "sparse": "the weights that are not zero, and their columns",
    "ternary": "columns of the +1 and of the -1",
    "context": "adaptive range code with a context from the weights around",
    "range": "adaptive binary range code",
    "runlength": "values and the lengths of runs of zeros",
    "gap": "gaps to the next weight",
    "levels": "an index into the layer's values",
    "power": "exponents of powers of two",
    "rice": "gaps to the next weight in Rice code",
    "patched": "four bits a step to the next weight, longer steps mended afterwards",
    "huffman": "gaps and values in Huffman code",
    "bitmap": "a bit a weight that tells zeros, then the others",
    "base3": "five ternary weights a byte",
    "codebook": "an index into the layer's values",
    "planes": "a bit a weight",
    "shift": "signs and powers of two",
    "columns": "columns of fixed width",
    "deal": "products of factors",
    "two_level": "columns of the rarer of two values",
}


def code_in_words(name: str) -> str:
    """What an encoding's name says, by its parts; empty for one that has none here."""
    found = [text for part, text in CODES.items() if part in name]
    return "; ".join(found)


def _metrics(report: Report) -> MetricTables | None:
    m = report.metrics
    if m is None:
        return None
    return MetricTables(metrics.levels(m), Markup(roofline.svg(m)) if roofline.fits(m) else None)


def _label(r: Report) -> str:
    return f"{r.model} on {r.board}" + (f" ({r.emulator})" if r.emulator else "")


def _finalize(value: object) -> object:
    """What goes into the page: names without characters that act on the text around them."""
    return shown(value, keep="\n") if type(value) is str else value


def environment() -> jinja2.Environment:
    """For the pages' templates: everything escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("secateur.report"), autoescape=True, trim_blocks=False,
        finalize=_finalize,
    )  # fmt: skip


def render(
    report: Report, details: Details | None = None, others: Sequence[Report] = (), *,
    limits: Mapping[str, budget.Value] | None = None, previous: Report | None = None,
) -> str:  # fmt: skip
    """The page. `others` are further runs or boards to compare with, `limits` the budgets of this
    run by figure (`budget.FIGURES`), `previous` what the same model was on the same board before.
    """
    layers = report.layers
    d = details or Details()
    whole = total(layers)
    zeros = whole.parameters - whole.nonzeros
    known = sum(d.stored.values())
    rest = report.size.stored - known
    coded: dict[str, float] = {"": report.size.stored}
    if d.stored:
        coded = {**d.stored, "other": rest}
    stages: list[tuple[str, dict[str, float]]] = [
        ("float32", {"": report.size.float32}),
        ("pruned", {"": max(report.size.float32 - 4 * zeros, 0)}),
        ("quantized", {"values": _quantized(report, d), "positions": _positions(report)}),
        ("coded", coded),
    ]
    runs = [(_label(r), r) for r in (report, *others)]
    points = [
        (label, float(r.size.stored), r.accuracy.headline)
        for label, r in runs
        if r.accuracy.headline is not None
    ]
    most = {
        name: max((getattr(r, name).headline or 0 for _, r in runs), default=0)
        for name in ("size", "flash", "ram", "latency", "energy")
    }

    def share(part: float, whole: float) -> str:
        return f"{100 * part / whole:.1f}%" if whole else "0%"

    return (
        environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            metrics=_metrics(report),
            tiles=[*_tiles(report), *_budgets(report, limits or {})],
            since=_since(report, previous),
            waterfall=Markup(svg.waterfall(stages, whole.entropy_bytes)),
            total=whole,
            most_bytes=max((x.stored_bytes for x in layers), default=0),
            most_macs=max((x.macs for x in layers), default=0),
            share=share,
            costs=d.costs,
            most_instructions=max((n for n, _ in d.costs.values()), default=0),
            energies=_energies(report, d),
            causes=d.causes,
            code_in_words=code_in_words,
            shares=_shares,
            stored=d.stored,
            histograms=[(h, Markup(svg.weights(h, f"h{i}"))) for i, h in enumerate(d.histograms)],
            arena=Markup(svg.arena(d)) if d.blocks else None,
            blocks=d.blocks,
            classes=report.classes,
            steps=d.steps,
            most=most,
            runs=runs,
            scatter=Markup(svg.scatter(points)) if len(points) > 1 else None,
        )
    )


def save(
    path: str | Path,
    report: Report,
    details: Details | None = None,
    others: Sequence[Report] = (),
    *,
    limits: Mapping[str, budget.Value] | None = None,
    previous: Report | None = None,
) -> Path:
    """Write the page in one step. Raises FileError if something else is there."""
    page = render(report, details, others, limits=limits, previous=previous)
    return write(path, page, OURS)
