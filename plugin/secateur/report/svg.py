"""Pictures of the HTML report as inline SVG. Colours are the page's CSS variables.

Every picture is role="img" with a title and a description, so that it reads without being seen;
figures in it are also in a table of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape as _html

from secateur.names import shown

from .details import Details, Histogram
from .units import show

_ROW = 30


def escape(text: str) -> str:
    return _html(shown(text))


def _open(key: str, width: int, height: int, title: str, text: str) -> list[str]:
    return [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-labelledby="{key}-t {key}-d">',
        f'<title id="{key}-t">{escape(title)}</title><desc id="{key}-d">{escape(text)}</desc>',
    ]


def _text(x: float, y: float, text: str, css: str = "", anchor: str = "start") -> str:
    cls = f' class="{css}"' if css else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{cls}>{escape(text)}</text>'


def _rect(x: float, y: float, w: float, h: float, css: str, tip: str) -> str:
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{max(w, 0.6):.2f}" height="{max(h, 0.6):.2f}" '
        f'class="{css}"><title>{escape(tip)}</title></rect>'
    )


def waterfall(stages: Sequence[tuple[str, int]], entropy: float) -> str:
    """Bytes after each stage as bars on one scale, and a line where the entropy bound lies."""
    width, left, right = 440, 84, 76
    top = max(size for _, size in stages) or 1
    scale = (width - left - right) / top
    height = _ROW * len(stages) + 26
    text = "; ".join(f"{name}: {size:,} bytes" for name, size in stages)
    out = _open("wf", width, height, "Size of the weights after each step", text)
    for i, (name, size) in enumerate(stages):
        y = i * _ROW
        out.append(_text(left - 10, y + 20, name, anchor="end"))
        css = "bar accent" if i == len(stages) - 1 else "bar"
        out.append(_rect(left, y + 5, size * scale, _ROW - 10, css, f"{name}: {size:,} bytes"))
        out.append(_text(left + size * scale + 8, y + 20, show(size, "bytes"), "value"))
    x = left + entropy * scale
    out.append(f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height - 22}" class="mark"/>')
    out.append(_text(x + 4, height - 6, f"entropy {show(entropy, 'bytes')}", "small"))
    return "".join([*out, "</svg>"])


def weights(h: Histogram, key: str) -> str:
    """The non-zero values of one layer; the bars are its codebook."""
    width, height, base = 300, 120, 98
    text = f"{h.levels} levels, {h.zeros:,} zeros of {h.zeros + sum(h.counts):,} weights. " + (
        f"Values from {h.values[0]} to {h.values[-1]}." if h.values else ""
    )
    out = _open(key, width, height, f"Weights of {h.layer}", text)
    if h.values:
        span = max(abs(h.values[0]), abs(h.values[-1]), 1)
        step = (width - 20) / (2 * span + 1)
        tall = max(h.counts)
        bar = min(max(step * 0.8, 0.8), 24)
        for value, count in zip(h.values, h.counts, strict=True):
            x = width / 2 + value * step - bar / 2
            tip = f"{value}: {count:,}"
            size = 84 * count / tall
            out.append(_rect(x, base - size, bar, size, "bar accent", tip))
        out.append(_text(10, 114, f"{-span}", "small"))
        out.append(_text(width - 10, 114, f"{span}", "small", "end"))
    out.append(_text(width / 2, 114, "0", "small", "middle"))
    out.append(f'<line x1="10" y1="{base}" x2="{width - 10}" y2="{base}" class="axis"/>')
    return "".join([*out, "</svg>"])


def arena(d: Details) -> str:
    """Offsets over time: each block of the arena as a rectangle from its first to its last step."""
    steps = len(d.steps)
    width, left, foot, body = 440, 60, 26, 200
    top = max(d.arena, 1)
    column = (width - left - 8) / steps
    text = f"{d.arena:,} bytes over {steps} steps. " + " ".join(
        f"{b.name}: {b.size:,} bytes at {b.offset:,}, {d.steps[b.first]} to {d.steps[b.last]}."
        for b in d.blocks
    )
    out = _open("arena", width, body + foot + 8, "The arena over time", text)
    for share in (0.0, 0.5, 1.0):
        y = 4 + body * (1 - share)
        out.append(f'<line x1="{left}" y1="{y}" x2="{width - 8}" y2="{y}" class="grid"/>')
        out.append(_text(left - 6, y + 4, show(top * share, "bytes"), "small", "end"))
    for b in d.blocks:
        x, w = left + b.first * column, (b.last - b.first + 1) * column
        h = body * b.size / top
        y = 4 + body * (1 - (b.offset + b.size) / top)
        css = "bar alt" if b.name.startswith("scratch:") else "bar block"
        tip = f"{b.name}: {b.size:,} bytes at {b.offset:,}"
        out.append(_rect(x + 0.5, y + 0.5, w - 1, h - 1, css, tip))
        room = int((w - 8) / 6.5)  # characters
        if h >= 16 and room >= 6:
            name = b.name.removeprefix("scratch:").split(" = ")[0]
            name = name if len(name) <= room else name[: room - 1] + "…"
            out.append(_text(x + 5, y + min(h / 2, 90) + 4, name, "inside"))
    for i in range(0, steps, -(-steps // 3)):
        name = d.steps[i] if len(d.steps[i]) < 13 else d.steps[i][:11] + "…"
        x, late = left + i * column, i * column > 0.8 * (width - left)
        out.append(
            _text(width if late else x, body + foot, name, "small", "end" if late else "start")
        )
    return "".join([*out, "</svg>"])


def scatter(points: Sequence[tuple[str, float, float]]) -> str:
    """Accuracy against stored bytes; points are (label, bytes, accuracy)."""
    width, height, left, foot = 440, 260, 62, 34
    xs, ys = [p[1] for p in points], [p[2] for p in points]
    x1 = max(xs) * 1.15
    y0, y1 = min(ys), max(ys)
    pad = max((y1 - y0) * 0.2, 0.005)
    y0, y1 = max(0.0, y0 - pad), min(1.0, y1 + pad)
    text = "; ".join(f"{n}: {show(y, 'fraction')} in {show(x, 'bytes')}" for n, x, y in points)
    out = _open("sc", width, height, "Accuracy against size", text)
    for i in range(4):
        v = y0 + (y1 - y0) * i / 3
        y = 10 + (height - foot - 10) * (1 - i / 3)
        out.append(f'<line x1="{left}" y1="{y:.1f}" x2="{width - 8}" y2="{y:.1f}" class="grid"/>')
        out.append(_text(left - 6, y + 4, show(v, "fraction"), "small", "end"))
    for i in range(4):
        x = left + (width - left - 60) * i / 3
        out.append(_text(x, height - 12, show(x1 * i / 3, "bytes"), "small", "middle"))
    places = []
    for label, size, accuracy in points:
        x = left + (width - left - 60) * size / x1
        y = 10 + (height - foot - 10) * (1 - (accuracy - y0) / (y1 - y0))
        places.append((y, x, label))
        out.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" class="dot">'
            f"<title>{escape(label)}</title></circle>"
        )
    # Names from the bottom up, each above the last: runs that lie together stay legible.
    ceiling = float(height - foot)
    for y, x, label in sorted(places, reverse=True):
        ceiling = min(y + 4, ceiling)
        right = x > width * 0.55
        end = "end" if right else "start"
        out.append(_text(x + (-10 if right else 10), ceiling, label, "", end))
        ceiling -= 17
    return "".join([*out, "</svg>"])
