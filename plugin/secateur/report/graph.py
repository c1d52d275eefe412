"""A model's graph as Mermaid, DOT or a page. Netron opens the saved .keras or .onnx for more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from secateur.files import looks_like
from secateur.frontend.ir import Graph
from secateur.names import shown

#: Whether a file is one of these, which another one may replace.
OURS = looks_like(
    rb"%% Secateur|// Secateur|<!doctype html>.*<meta name=\"generator\" content=\"Sec"
)
_WIDE, _HIGH, _GAP = 190, 44, 26


@dataclass(frozen=True)
class _Box:
    key: str
    name: str
    what: str  #: operator, shape, weights
    inputs: tuple[str, ...]  #: keys


def _boxes(graph: Graph) -> list[_Box]:
    keys = {n.output: f"n{i}" for i, n in enumerate(graph.nodes)}
    out = []
    for n in graph.nodes:
        parameters = sum(int(p.size) for p in n.params.values())
        what = f"{n.op} {'x'.join(map(str, n.shape))}"
        what += f", {parameters:,} weights" if parameters else ""
        inputs = tuple(keys[t] for t in n.inputs)
        out.append(_Box(keys[n.output], shown(n.name), what, inputs))
    return out


def mermaid(graph: Graph) -> str:
    """For Markdown pages: a flow chart."""
    lines = ["%% Secateur", "flowchart TD"]
    for b in _boxes(graph):
        text = "".join(f"#{ord(c)};" if c in '"#&<>`\\|[]{}()' else c for c in b.name)
        lines.append(f'    {b.key}["{text}<br/>{b.what}"]')
        lines += [f"    {source} --> {b.key}" for source in b.inputs]
    return "\n".join(lines) + "\n"


def dot(graph: Graph) -> str:
    """For Graphviz."""
    lines = ["// Secateur", "digraph model {", '    node [shape=box, fontname="sans-serif"];']
    for b in _boxes(graph):
        text = b.name.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'    {b.key} [label="{text}\\n{b.what}"];')
        lines += [f"    {source} -> {b.key};" for source in b.inputs]
    return "\n".join([*lines, "}"]) + "\n"


def html(graph: Graph) -> str:
    """A page without scripts: rows by depth, lines from what is read to what reads it."""
    boxes = _boxes(graph)
    depth: dict[str, int] = {}
    rows: dict[int, list[_Box]] = defaultdict(list)
    for b in boxes:
        depth[b.key] = 1 + max((depth[i] for i in b.inputs), default=-1)
        rows[depth[b.key]].append(b)
    widest = max((len(r) for r in rows.values()), default=1)
    width = widest * (_WIDE + _GAP) + _GAP
    height = len(rows) * (_HIGH + _GAP) + _GAP
    place: dict[str, tuple[float, float]] = {}
    for d, row in rows.items():
        for i, b in enumerate(row):
            x = width / 2 + (i - (len(row) - 1) / 2) * (_WIDE + _GAP)
            place[b.key] = (x, _GAP + d * (_HIGH + _GAP))
    lines, shapes = [], []
    for b in boxes:
        x, y = place[b.key]
        for source in b.inputs:
            sx, sy = place[source][0], place[source][1] + _HIGH
            lines.append(f'<path d="M{sx:.0f} {sy:.0f} C{sx:.0f} {y - 8:.0f} {x:.0f} '
                         f'{sy + 8:.0f} {x:.0f} {y:.0f}"/>')  # fmt: skip
        name = b.name if len(b.name) <= 26 else b.name[:25] + "…"
        what = b.what if len(b.what) <= 30 else b.what[:29] + "…"
        shapes.append(
            f"<g><title>{escape(b.name)}: {escape(b.what)}</title>"
            f'<rect x="{x - _WIDE / 2:.0f}" y="{y:.0f}" width="{_WIDE}" height="{_HIGH}" rx="6"/>'
            f'<text x="{x:.0f}" y="{y + 18:.0f}">{escape(name)}</text>'
            f'<text x="{x:.0f}" y="{y + 35:.0f}" class="soft">{escape(what)}</text></g>'
        )
    title = escape(shown(graph.name))
    listed = "".join(f"<li>{escape(b.name)}: {escape(b.what)}</li>" for b in boxes)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="generator" content="Secateur">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<title>{title}</title><style>
:root {{ --bg: #fbfbf9; --card: #fff; --ink: #1d2320; --soft: #565f59; --line: #7c877f; }}
@media (prefers-color-scheme: dark) {{ :root {{ --bg: #131614; --card: #1b201d; --ink: #e9ece9;
  --soft: #a8b2ac; --line: #8b968f; }} }}
body {{ margin: 1rem; background: var(--bg); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }}
main > div {{ overflow-x: auto; }} rect {{ fill: var(--card); stroke: var(--line); }}
path {{ fill: none; stroke: var(--line); }}
text {{ fill: var(--ink); text-anchor: middle; font: 13px system-ui, sans-serif; }}
.soft {{ fill: var(--soft); font-size: 11px; }}
</style></head><body><main><h1>{title}</h1>
<div tabindex="0" role="region" aria-label="Graph of the model">
<svg width="{width}" height="{height}"
viewBox="0 0 {width} {height}" role="img" aria-label="The layers of {title} in order">
{"".join(lines)}{"".join(shapes)}</svg></div>
<details><summary>The same as a list</summary><ol>{listed}</ol></details></main></body></html>
"""


FORMS: dict[str, Callable[[Graph], str]] = {"mermaid": mermaid, "dot": dot, "html": html}
