"""Pictures of the HTML report as inline SVG. Colours are the page's CSS variables.

Every picture is role="img" with a title and a description, so that it reads without being seen;
figures in it are also in a table of the page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


def waterfall(stages: Sequence[tuple[str, Mapping[str, float]]], entropy: float) -> str:
    """Bytes after each stage on one scale, each bar of its parts, and a line at the entropy."""
    width, left, right = 440, 84, 76
    sums = {name: sum(parts.values()) for name, parts in stages}
    top = max(sums.values()) or 1
    scale = (width - left - right) / top
    height = _ROW * len(stages) + 26
    text = "; ".join(
        f"{name}: {round(sums[name]):,} bytes"
        + (f" ({_parts(parts)})" if sum(1 for v in parts.values() if v) > 1 else "")
        for name, parts in stages
    )
    out = _open("wf", width, height, "Size of the weights after each step", text)
    for i, (name, parts) in enumerate(stages):
        y, x = i * _ROW, float(left)
        out.append(_text(left - 10, y + 20, name, anchor="end"))
        for part, size in parts.items():
            if size <= 0:
                continue
            css = f"bar part-{part if part in _PARTS else 'other'}" if len(parts) > 1 else "bar"
            tip = f"{name}, {part}: {size:,.0f} bytes" if len(parts) > 1 else (
                f"{name}: {size:,.0f} bytes"
            )  # fmt: skip
            out.append(_rect(x, y + 5, size * scale, _ROW - 10, css, tip))
            x += size * scale
        out.append(_text(x + 8, y + 20, show(sums[name], "bytes"), "value"))
    x = left + entropy * scale
    out.append(f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height - 22}" class="mark"/>')
    out.append(_text(x + 4, height - 6, f"entropy {show(entropy, 'bytes')}", "small"))
    return "".join([*out, "</svg>"])


#: Parts of a bar that have a colour of their own.
_PARTS = ("values", "positions")


def _parts(parts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {size:,.0f}" for name, size in parts.items() if size)


def weights(h: Histogram, key: str) -> str:
    """The values of one layer, zeros pale; the bars are its codebook."""
    width, height, base, left = 300, 132, 98, 34
    text = f"{h.levels} levels, {h.zeros:,} zeros of {h.zeros + sum(h.counts):,} weights. " + (
        f"Values from {h.values[0]} to {h.values[-1]}." if h.values else ""
    )
    out = _open(key, width, height, f"Weights of {h.layer}", text)
    span = max((abs(v) for v in h.values), default=1)
    step = (width - left - 10) / (2 * span + 1)
    middle = left + (width - left - 10) / 2
    tall = max((*h.counts, 1))
    bar = min(max(step * 0.8, 0.8), 24)
    if h.zeros:  # often far above all others: cut off, and its count is written
        size = min(84.0, 84 * h.zeros / tall)
        out.append(_rect(middle - bar / 2, base - size, bar, size, "bar", f"0: {h.zeros:,}"))
    for value, count in zip(h.values, h.counts, strict=True):
        size = 84 * count / tall
        x = middle + value * step - bar / 2
        out.append(_rect(x, base - size, bar, size, "bar accent", f"{value}: {count:,}"))
    out.append(_text(left - 4, base - 78, f"{tall:,}", "small", "end"))
    out.append(_text(left - 4, base + 3, "0", "small", "end"))
    out.append(f'<line x1="{left}" y1="{base - 84}" x2="{left}" y2="{base}" class="axis"/>')
    out.append(f'<line x1="{left}" y1="{base}" x2="{width - 10}" y2="{base}" class="axis"/>')
    for value in sorted({-span, 0, span}):
        out.append(_text(middle + value * step, base + 15, f"{value}", "small", "middle"))
    out.append(_text(middle, base + 30, "code of the weight", "small", "middle"))
    return "".join([*out, "</svg>"])


def arena(d: Details) -> str:
    """Offsets over time: each block of the arena as a rectangle from its first to its last step."""
    steps = len(d.steps)
    width, left, foot, body = 960, 64, 26, 260
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
        if h >= 14 and room >= 4:
            name = b.name.removeprefix("scratch:").split(" = ")[0]
            name = name if len(name) <= room else name[: room - 1] + "…"
            out.append(_text(x + 5, y + min(h / 2, 90) + 4, name, "inside"))
    for i in range(0, steps, -(-steps // 8)):
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


def course(
    key: str, title: str, points: Sequence[tuple[str, float]], write: Callable[[float], str]
) -> str:
    """A figure from run to run, oldest first; points are (label, value), at least one.

    key: tells the picture from others of the page; write: a value for people.
    """
    width, height, left, right, foot, top = 440, 200, 74, 14, 30, 12
    values = [v for _, v in points]
    low, high = min(values), max(values)
    pad = (high - low) * 0.1 or abs(high) * 0.02 or 1.0
    low, high = (max(0.0, low - pad) if low >= 0 else low - pad), high + pad
    text = "; ".join(f"{label}: {write(v)}" for label, v in points)
    out = _open(key, width, height, title, text)
    for i in range(3):
        y = top + (height - foot - top) * i / 2
        value = write(high - (high - low) * i / 2)
        out.append(
            f'<line x1="{left}" y1="{y:.1f}" x2="{width - right}" y2="{y:.1f}" class="grid"/>'
        )
        out.append(_text(left - 6, y + 4, value, "small", "end"))
    step = (width - left - right - 12) / max(len(points) - 1, 1)
    places = [
        (left + 6 + i * step, top + (height - foot - top) * (high - v) / (high - low))
        for i, v in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    out.append(f'<polyline points="{line}" class="course"/>')
    for (x, y), (label, v) in zip(places, points, strict=True):
        out.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="dot">'
            f"<title>{escape(f'{label}: {write(v)}')}</title></circle>"
        )
    out.append(_text(left, height - 8, points[0][0], "small"))
    if len(points) > 1:
        out.append(_text(width - right, height - 8, points[-1][0], "small", "end"))
    return "".join([*out, "</svg>"])
