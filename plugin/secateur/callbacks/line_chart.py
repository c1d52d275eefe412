"""A line chart as SVG, without a plotting library: for sensitivity scans and benchmark curves."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

#: distinguishable in print and for the colour-blind (Okabe and Ito)
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555", "#b8a800")
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 720, 420, 64, 40, 190, 52

Points = Sequence[tuple[float, float]]


def line_chart(
    path: str | os.PathLike[str],
    series: Mapping[str, Points],
    title: str,
    x_label: str,
    y_label: str,
    marks: Mapping[str, float] | None = None,
) -> Path:
    """Write `series` (name -> points, ascending in x) to an SVG file, atomically.

    Args:
        path: file to write.
        series: at least one, with at least one point each.
        title, x_label, y_label: captions.
        marks: dashed horizontal lines, name -> y.

    Returns:
        The path.

    Raises:
        ValueError: nothing to draw.
    """
    marks = marks or {}
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points] + list(marks.values())
    if not xs:
        raise ValueError("a chart needs at least one point")
    x_ticks, y_ticks = _ticks(min(xs), max(xs)), _ticks(min(ys), max(ys))
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def px(x: float) -> float:
        return _LEFT + (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (right - _LEFT)

    def py(y: float) -> float:
        return bottom - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (bottom - _TOP)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="22" font-size="15" fill="#222">{escape(title)}</text>',
    ]
    for y in y_ticks:
        out.append(
            f'<path d="M{_LEFT} {py(y):.1f}H{right}" stroke="#ddd"/><text x="{_LEFT - 8}" '
            f'y="{py(y) + 4:.1f}" text-anchor="end" fill="#444">{y:g}</text>'
        )
    for x in x_ticks:
        out.append(
            f'<path d="M{px(x):.1f} {bottom}v5" stroke="#444"/><text x="{px(x):.1f}" '
            f'y="{bottom + 18}" text-anchor="middle" fill="#444">{x:g}</text>'
        )
    out.append(
        f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 12}" text-anchor="middle" fill="#222">'
        f'{escape(x_label)}</text><text transform="translate(16 {(_TOP + bottom) / 2}) rotate(-90)"'
        f' text-anchor="middle" fill="#222">{escape(y_label)}</text>'
    )
    for name, y in marks.items():
        out.append(
            f'<path d="M{_LEFT} {py(y):.1f}H{right}" stroke="#777" stroke-dasharray="5 4"/>'
            f'<text x="{right + 8}" y="{py(y) + 4:.1f}" fill="#555">{escape(name)}</text>'
        )
    for i, (name, points) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        d = "L".join(f"{px(x):.1f} {py(y):.1f}" for x, y in points)
        out.append(f'<path d="M{d}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="3" fill="{colour}"/>'
                for x, y in points]  # fmt: skip
        row = _HEIGHT - _BOTTOM - 20 * (len(series) - i)
        out.append(
            f'<path d="M{right + 10} {row}h18" stroke="{colour}" stroke-width="3"/>'
            f'<text x="{right + 34}" y="{row + 4}" fill="#222">{escape(name)}</text>'
        )
    out.append("</svg>\n")
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    partial.write_text("\n".join(out), encoding="utf-8")
    partial.replace(target)
    return target


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers around [low, high], about six of them."""
    span = (high - low) or max(abs(high), 1.0)
    power = 10.0 ** math.floor(math.log10(span / 5))
    step = min((f * power for f in (1, 2, 2.5, 5, 10)), key=lambda s: abs(span / s - 5))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 10) for k in range(first, max(last, first + 1) + 1)]
