"""`explore.html` and `combinations.html`: one file each, offline.

Charts are drawn by Vega-Lite, inlined (vendor/). Vega with Vega-Lite takes 772 kB; Plotly's basic
bundle takes 1,192 kB and has no parallel coordinates, uPlot 51 kB but draws on a canvas that no
screen reader sees. Vega-Lite draws SVG with ARIA labels and roles, and has boxes to drag.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from secateur.files import looks_like, write
from secateur.names import shown

from .points import HEADINGS, MAPPED, Point, percent, row, settings_text
from .quality import formula

if TYPE_CHECKING:
    from .grid import Combinations
    from .result import Exploration

#: Whether a file is such a page, which another one may replace.
OURS = looks_like(rb'<!doctype html>.*<meta name="generator" content="Secateur exploration">')
#: Costs that accuracy is drawn against: title with unit, factor from the figure's unit.
COSTS = {
    "flash": ("flash, kB", 1e-3), "ram": ("RAM (arena), kB", 1e-3),
    "latency": ("latency, ms (estimated)", 1.0), "energy": ("energy, µJ (estimated)", 1.0),
}  # fmt: skip
_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
#: Seconds between two looks of a browser at a page that is still written.
REFRESH = 5


def render(found: Exploration, live: bool = False) -> str:
    """The page of an exploration; live: it reloads itself."""
    rows = _rows(found)
    costs = [c for c in COSTS if any(r.get(c) is not None for r in rows)]
    b, best = found.baseline, found.best
    lead = [
        f"{len(found.points)} trials on {found.board}; {len(found.finals)} points were retrained, "
        "built, run in the emulator and measured once on the test rows."
        if found.finals else f"{len(found.points)} trials on {found.board} so far.",
        f"The network as it is: {percent(b.get('float_accuracy'))} in float, "
        f"{percent(b.get('accuracy'))} at 8 bits.",
    ]  # fmt: skip
    if best is not None:
        lead.append(f"Best by quality: point {best.number}, {settings_text(best.settings)}.")
    if best is not None and best.folder:
        lead.append(f"It lies ready in {best.folder}: model, C library, report and recipe.")
    budgets = [
        {"name": c, "label": f"at most, {COSTS[c][0]}", "way": "most",
         "value": _scaled(found.limits.most.get(c), c)}
        for c in costs
    ]  # fmt: skip
    drop = found.limits.most.get("lost")
    floor = None if drop is None else round((b.get("float_accuracy") or 0.0) - drop, 3)
    budgets.append(
        {"name": "accuracy", "label": "at least, accuracy in %", "way": "least", "value": floor}
    )
    tables = [{
        "title": "The front", "headings": HEADINGS, "text": ("settings",),
        "caption": "No other point is better in accuracy, flash and latency at once",
        "rows": [_cells(p, best) for p in found.front],
    }, {
        "title": "All trials", "headings": HEADINGS, "text": ("settings",),
        "caption": "On validation rows, integers; costs by the planner's estimates",
        "rows": [_cells(p, None) for p in found.points],
    }]  # fmt: skip
    layers = [
        {"title": f"point {p.number}: {settings_text(p.settings)}", "rows": p.layers}
        for p in found.finals if p.layers
    ]  # fmt: skip
    charts = [
        {
            "title": "Accuracy against what it costs",
            "text": "Drag a box around what fits; move it by its middle. Hover for the settings.",
            "spec": _fronts(rows, costs),
        },
        {
            "title": "Settings",
            "text": "A line a point, through the value of each setting; darker is more accurate.",
            "spec": _parallel(found.points, rows),
        },
    ]
    return _page(
        f"{found.model} on {found.board}: explored", lead, formula(found.tau), found.notes,
        charts, tables, budgets, rows, layers, REFRESH if live else 0,
    )  # fmt: skip


def save(found: Exploration, live: bool = False) -> Path:
    """Write `explore.html` in one step. Raises FileError if something else is there."""
    return write(found.folder / "explore.html", render(found, live), OURS)


def save_combinations(found: Combinations) -> Path:
    """Write `combinations.html` in one step. Raises FileError if something else is there."""
    return write(found.folder / "combinations.html", render_combinations(found), OURS)


def render_combinations(found: Combinations) -> str:
    """Heat maps of every figure, and the same as tables."""
    charts, tables = [], []
    for figure, (title, form) in MAPPED.items():
        cells, values = [], found.values(figure)
        for method, line in zip(found.methods, values, strict=True):
            for zeros, value in zip(found.zeros, line, strict=True):
                text = "-" if value is None else form.format(value)
                cells.append(
                    {"method": method, "zeros": f"{zeros:.0%}", "value": value, "text": text}
                )
        more = figure in ("accuracy", "quality")
        charts.append({
            "title": title[:1].upper() + title[1:],
            "text": f"By share of zeros and method; {'more' if more else 'less'} is better.",
            "spec": _heat(cells, title, found, more),
        })  # fmt: skip
        tables.append({
            "title": f"Table: {title}", "caption": title, "text": ("method",),
            "headings": ("method", *(f"{z:.0%} zeros" for z in found.zeros)),
            "rows": [
                {"key": None, "best": False,
                 "cells": [m, *("-" if v is None else form.format(v) for v in line)]}
                for m, line in zip(found.methods, values, strict=True)
            ],
        })  # fmt: skip
    best, b = found.best, found.baseline
    lead = [
        f"{len(found.points)} combinations on {found.board}, each trained alike. The network as it "
        f"is: {percent(b.get('float_accuracy'))} in float, {percent(b.get('accuracy'))} at 8 bits.",
        f"Highest quality: {best.figures['quality']:.2f}, {settings_text(best.settings)}.",
    ]
    return _page(
        f"{found.model}: pruning x quantization", lead, formula(found.tau), (), charts, tables, [],
        [], [], 0,
    )  # fmt: skip


def _page(
    title: str, lead: Sequence[str], said: str, notes: Sequence[str],
    charts: Sequence[Mapping[str, Any]], tables: Sequence[Any], budgets: Sequence[Any],
    rows: Sequence[Any], layers: Sequence[Any], refresh: int,
) -> str:  # fmt: skip
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("secateur.exploration"), autoescape=True, finalize=_finalize
    )
    content = {"charts": [c["spec"] for c in charts], "points": rows}
    return environment.get_template("page.html.j2").render(
        title=title, lead=lead, formula=said, notes=notes, charts=charts, tables=tables,
        budgets=budgets, layers=layers, refresh=refresh,
        content=Markup(_json(content)), vega=_vendored("vega.min.js"),
        vega_lite=_vendored("vega-lite.min.js"), script=_vendored("page.js", "templates"),
    )  # fmt: skip


def _finalize(value: object) -> object:
    return shown(value) if type(value) is str else value


def _json(content: Any) -> str:
    """JSON that ends no script element, whatever names it holds."""
    text = json.dumps(_plain(content), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plain(value: Any) -> Any:
    """Names without characters that act on the text around them."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _vendored(name: str, folder: str = "vendor") -> Markup:
    text = (resources("secateur.exploration") / folder / name).read_text(encoding="utf-8")
    assert "</script" not in text
    return Markup(text)


def _scaled(value: float | None, cost: str) -> float | None:
    return None if value is None else round(value * COSTS[cost][1], 4)


def _rows(found: Exploration) -> list[dict[str, Any]]:
    """What charts are drawn of: trials, points made ready, the network as it is, and peers."""
    out = []
    done = {p.number for p in found.finals}
    for kind, points in (("trial", found.points), ("made ready", found.finals)):
        for p in points:
            if kind == "trial" and p.number in done:
                continue
            f = p.figures
            out.append({
                "number": p.number, "kind": kind, "name": f"point {p.number}",
                "settings": settings_text(p.settings), "accuracy": f.get("accuracy"),
                **{c: _scaled(f.get(c), c) for c in COSTS},
            })  # fmt: skip
    others: list[tuple[str, dict[str, Any]]] = [
        ("network as it is", {**found.baseline, "name": "8 bits"})
    ]
    others += [("peer", dict(p)) for p in found.peers]
    for i, (kind, f) in enumerate(others):
        out.append({
            "number": -1 - i, "kind": kind, "name": str(f.get("name", kind)), "settings": "",
            "accuracy": f.get("accuracy"), **{c: _scaled(f.get(c), c) for c in COSTS},
        })  # fmt: skip
    return [r for r in out if r["accuracy"] is not None]


def _cells(p: Point, best: Point | None) -> dict[str, Any]:
    return {"key": p.number, "best": best is not None and p.number == best.number, "cells": row(p)}


_KINDS = ["trial", "made ready", "network as it is", "peer"]


def _fronts(rows: Sequence[Mapping[str, Any]], costs: Sequence[str]) -> dict[str, Any]:
    """A chart a cost; a point counts if it is in every box and in the form's limits."""

    def one(cost: str) -> dict[str, Any]:
        return {
            "width": 420, "height": 260,
            "description": f"Accuracy in percent against {COSTS[cost][0]}, a mark a point",
            "params": [
                {"name": "box", "select": {"type": "interval", "resolve": "intersect"}}
            ],
            "transform": [{"filter": f"isValid(datum.{cost})"}],
            "mark": {"type": "point", "filled": True, "size": 70, "stroke": None},
            "encoding": {
                "x": {"field": cost, "type": "quantitative", "title": COSTS[cost][0],
                      "scale": {"zero": False}},
                "y": {"field": "accuracy", "type": "quantitative", "title": "accuracy, %",
                      "scale": {"zero": False}},
                "color": {"field": "kind", "type": "nominal", "title": None,
                          "scale": {"domain": _KINDS}},
                "shape": {"field": "kind", "type": "nominal", "title": None,
                          "scale": {"domain": _KINDS,
                                    "range": ["circle", "diamond", "square", "triangle-up"]}},
                "opacity": {
                    "condition": {"test": {"and": ["datum.inside", {"param": "box"}]}, "value": 1},
                    "value": 0.2,
                },
                "tooltip": [
                    {"field": "name"}, {"field": "settings"},
                    {"field": "accuracy", "format": ".2f"},
                    *({"field": c, "format": ".4~g", "title": COSTS[c][0]} for c in costs),
                ],
            },
        }  # fmt: skip

    return {
        "$schema": _SCHEMA,
        "usermeta": {"boxes": True},
        "datasets": {"points": [dict(r) for r in rows]},
        "data": {"name": "points"},
        "columns": 2,
        "concat": [one(c) for c in costs],
    }


def _parallel(points: Sequence[Point], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Parallel coordinates: settings from left to right, accuracy last."""
    names = [
        n for n in (points[0].settings if points else {})
        if len({p.settings.get(n) for p in points}) > 1
    ]  # fmt: skip
    values = {n: sorted({p.settings[n] for p in points}, key=_order) for n in names}
    right = [p.figures.get("accuracy") or 0.0 for p in points]
    low, high = min(right, default=0.0), max(right, default=1.0)
    long = []
    figures = {r["number"]: r for r in rows}
    for p in points:
        accuracy = p.figures.get("accuracy") or 0.0
        shared = {
            "number": p.number, "accuracy": accuracy, "settings": settings_text(p.settings),
            **{c: figures.get(p.number, {}).get(c) for c in COSTS},
        }  # fmt: skip
        for n in names:
            at = values[n].index(p.settings[n]) / max(1, len(values[n]) - 1)
            long.append({**shared, "axis": n, "at": at, "value": str(p.settings[n])})
        at = (accuracy - low) / (high - low) if high > low else 0.5
        long.append({**shared, "axis": "accuracy", "at": at, "value": f"{accuracy:.2f} %"})
    axes = [*names, "accuracy"]
    ticks = [
        {"axis": n, "at": i / max(1, len(values[n]) - 1), "label": str(v)}
        for n in names for i, v in enumerate(values[n])
    ]  # fmt: skip
    ticks += [
        {"axis": "accuracy", "at": 0.0, "label": f"{low:.1f} %"},
        {"axis": "accuracy", "at": 1.0, "label": f"{high:.1f} %"},
    ]
    x = {"field": "axis", "type": "nominal", "sort": axes, "title": None,
         "axis": {"labelAngle": -30, "grid": True}}  # fmt: skip
    y = {"field": "at", "type": "quantitative", "axis": None, "scale": {"domain": [0, 1]}}
    return {
        "$schema": _SCHEMA,
        "width": 960, "height": 340,
        "description": "Settings of every point and its accuracy, as parallel coordinates",
        "datasets": {"long": long},
        "layer": [
            {
                "data": {"name": "long"},
                "mark": {"type": "line", "point": True, "strokeWidth": 1.5},
                "encoding": {
                    "x": x, "y": y, "detail": {"field": "number"},
                    "color": {"field": "accuracy", "type": "quantitative",
                              "scale": {"scheme": "viridis", "reverse": True},
                              "title": "accuracy, %"},
                    "opacity": {"condition": {"test": "datum.inside", "value": 0.8},
                                "value": 0.08},
                    "tooltip": [{"field": "number", "title": "point"}, {"field": "axis"},
                                {"field": "value"}, {"field": "accuracy", "format": ".2f"},
                                {"field": "settings"}],
                },
            },
            {
                "data": {"values": ticks},
                "mark": {"type": "text", "align": "left", "dx": 6, "fontSize": 11},
                "encoding": {"x": x, "y": y, "text": {"field": "label"}},
            },
        ],
    }  # fmt: skip


def _order(value: Any) -> tuple[bool, Any]:
    return (isinstance(value, str), value)


def _heat(
    cells: list[dict[str, Any]], title: str, found: Combinations, more: bool
) -> dict[str, Any]:
    there = sorted(c["value"] for c in cells if c["value"] is not None)
    middle = (there[0] + there[-1]) / 2 if there else 0.0
    scheme = {"scheme": "viridis", "reverse": not more}
    dark = "datum.value < {0}" if more else "datum.value > {0}"
    x = {"field": "zeros", "type": "ordinal", "sort": None, "title": "zeros",
         "axis": {"labelAngle": 0}}  # fmt: skip
    y = {"field": "method", "type": "nominal", "sort": None, "title": None}
    return {
        "$schema": _SCHEMA,
        "width": {"step": 84}, "height": {"step": 34},
        "description": f"{title} by share of zeros (columns) and method (rows)",
        "datasets": {"cells": cells}, "data": {"name": "cells"},
        "encoding": {"x": x, "y": y},
        "layer": [
            {"mark": {"type": "rect"},
             "encoding": {"color": {"field": "value", "type": "quantitative", "scale": scheme,
                                    "title": title}}},
            {"mark": {"type": "text", "fontSize": 12},
             "encoding": {
                 "text": {"field": "text"},
                 "color": {"condition": {"test": dark.format(middle), "value": "#fff"},
                           "value": "#000"}}},
        ],
    }  # fmt: skip
