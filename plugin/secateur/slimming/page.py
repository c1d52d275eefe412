"""A plan for the terminal, and as an HTML page."""

from __future__ import annotations

from html import escape as _escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.files import looks_like, write
from secateur.names import shown

if TYPE_CHECKING:
    from .plan import FilterPlan

#: Whether a file is such a page or picture, which another one may replace.
PAGE = looks_like(rb'<!doctype html>.*<meta name="generator" content="Secateur filter plan">')
PICTURE = looks_like(rb'<svg xmlns.*<title id="c-t">Channels before and after</title>')

_ROW, _LEFT, _WIDTH = 22, 190, 640
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
  color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; } caption { text-align: left; font-weight: 600; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child, td.text { text-align: left; }
.scroll { overflow-x: auto; } svg { max-width: 100%; height: auto; }
.was { fill: #c9ced6; } .left { fill: #1b6e4f; } text { fill: currentColor; font-size: 12px; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #16181c; }
  th, td { border-color: #444; } .was { fill: #4a505a; } .left { fill: #57c49a; } }
"""


def escape(text: str) -> str:
    """For HTML; names are foreign."""
    return _escape(shown(text))


def _percent(after: int, before: int) -> str:
    return f"{100 * after / before:.0f} %" if before else "-"


def _totals(plan: FilterPlan) -> list[tuple[str, int, int]]:
    b, a = plan.before, plan.after
    return [
        ("parameters", b.parameters, a.parameters),
        ("multiply-accumulates", b.flops, a.flops),
        ("peak activations", b.memory, a.memory),
    ]


def _remarks(plan: FilterPlan) -> list[str]:
    """Everything that is to be said in words."""
    out = list(plan.notes)
    out += [f"'{g.name}' stays whole: {g.why}" for g in plan.groups if g.why]
    out += [
        f"folded constants are not exact at '{layer}': {why}" for layer, why in plan.inexact.items()
    ]
    return out


def _shares(plan: FilterPlan) -> list[float]:
    return sorted({s for curve in plan.sensitivity.values() for s in curve})


def terminal(plan: FilterPlan) -> Any:
    """For a rich console: layers, totals, sensitivity, remarks."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def table(title: str) -> Table:
        return Table(
            title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0), show_edge=False,
        )  # fmt: skip

    layers = table(f"{plan.criterion}, {plan.target}")
    layers.add_column("layer", overflow="ellipsis", no_wrap=True)
    layers.add_column("kind", overflow="ellipsis", no_wrap=True)
    layers.add_column("channels", justify="right", no_wrap=True)
    layers.add_column("", no_wrap=True)
    layers.add_column("parameters", justify="right", no_wrap=True)
    layers.add_column("MACs", justify="right", no_wrap=True)
    for r in plan.layers:
        if r.kind == "BatchNormalization":
            continue
        before, after = r.channels
        bar = (
            "█" * round(10 * after / before) + "·" * (10 - round(10 * after / before))
            if before
            else ""
        )
        layers.add_row(
            Text(shown(r.name)), Text(shown(r.kind)),
            f"{before} → {after}" if after != before else f"{before}", bar,
            f"{r.parameters[1]:,}", f"{r.flops[1]:,}",
        )  # fmt: skip
    totals = table("")
    totals.add_column("")
    for name in ("before", "after", "left"):
        totals.add_column(name, justify="right")
    for name, b, a in _totals(plan):
        totals.add_row(name, f"{b:,}", f"{a:,}", _percent(a, b))
    parts: list[Any] = [layers, totals]
    if plan.sensitivity:
        scan = table(
            f"top-1 with a share of one group cut, untrained (uncut {plan.baseline:.2f} %)"
        )
        scan.add_column("group", overflow="ellipsis", no_wrap=True)
        for s in _shares(plan):
            scan.add_column(f"{s:.0%}", justify="right")
        for name, curve in plan.sensitivity.items():
            scan.add_row(Text(shown(name)), *(f"{curve[s]:.2f} %" for s in _shares(plan)))
        parts.append(scan)
    parts += [Text(shown(f"note: {r}")) for r in _remarks(plan)]
    return Group(*parts)


def _svg(plan: FilterPlan) -> str:
    """Bars: channels before, and what is left of them."""
    rows = [r for r in plan.layers if r.channels[0] and r.kind != "BatchNormalization"]
    widest = max((r.channels[0] for r in rows), default=1)
    scale = (_WIDTH - _LEFT - 90) / widest
    height = _ROW * len(rows) + 10
    text = "; ".join(f"{r.name}: {r.channels[0]} to {r.channels[1]}" for r in rows)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        'font-family="sans-serif" font-size="12" aria-labelledby="c-t c-d">'
        '<title id="c-t">Channels before and after</title>'
        f'<desc id="c-d">{escape(text)}</desc>'
    ]
    for i, r in enumerate(rows):
        y = 6 + i * _ROW
        before, after = r.channels
        name = r.name if len(r.name) < 28 else r.name[:26] + "…"
        out.append(
            f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{_LEFT}" y="{y}" width="{before * scale:.1f}" height="16" class="was" '
            f'fill="#c9ced6"/><rect x="{_LEFT}" y="{y}" width="{after * scale:.1f}" height="16" '
            f'class="left" fill="#1b6e4f"/>'
            f'<text x="{_LEFT + before * scale + 6:.1f}" y="{y + 13}">{after} of {before}</text>'
        )
    return "".join([*out, "</svg>"])


def _table(caption: str, heads: list[str], rows: list[list[str]], text: int = 1) -> str:
    """Cells are escaped; the first `text` columns are words."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{' class=text' if i < text else ''}>{escape(c)}</td>" for i, c in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def write_html(plan: FilterPlan, path: Path) -> Path:
    """The plan as one page without scripts or anything fetched."""
    title = f"{plan.criterion}, {plan.target}"
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name="generator" content="Secateur filter plan">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>Filters: {escape(title)}</h1>",
        _table(
            "Costs", ["", "before", "after", "left"],
            [[n, f"{b:,}", f"{a:,}", _percent(a, b)] for n, b, a in _totals(plan)],
        ),
        "<h2>Channels</h2>", _svg(plan),
        _table(
            "Layers",
            ["layer", "kind", "channels", "left", "parameters", "left", "MACs", "left"],
            [
                [
                    r.name, r.kind, *_pair(r.channels), *_pair(r.parameters), *_pair(r.flops),
                ]
                for r in plan.layers
            ],
            text=2,
        ),
        _table(
            "Groups of channels that go together",
            ["group", "layers", "channels", "left", "whole because"],
            [
                [g.name, ", ".join(g.makers), *_pair(g.channels), g.why] for g in plan.groups
            ],
            text=2,
        ),
    ]  # fmt: skip
    if plan.sensitivity:
        shares = _shares(plan)
        parts.append(
            _table(
                f"Top-1 with a share of one group cut, untrained; uncut {plan.baseline:.2f} %",
                ["group", *(f"{s:.0%}" for s in shares)],
                [[n, *(f"{c[s]:.2f} %" for s in shares)] for n, c in plan.sensitivity.items()],
            )
        )
    remarks = _remarks(plan)
    if remarks:
        parts.append(
            "<h2>Notes</h2><ul>" + "".join(f"<li>{escape(r)}</li>" for r in remarks) + "</ul>"
        )
    return write(path, "".join([*parts, "</main></body></html>\n"]), PAGE)


def _pair(values: tuple[int, int]) -> tuple[str, str]:
    return f"{values[0]:,}", f"{values[1]:,}"


def write_svg(plan: FilterPlan, path: Path) -> Path:
    """The picture of the page alone."""
    return write(path, _svg(plan) + "\n", PICTURE)
