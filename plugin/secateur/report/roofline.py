"""The roofline of a core with the network in it, as SVG.

Williams, Waterman, Patterson, "Roofline: An Insightful Visual Performance Model", 2009.
"""

from __future__ import annotations

import math

from .metrics import Metrics

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 560, 260, 60, 46, 14
#: Decades of MACs a byte (x) and MACs a cycle (y) that are shown.
_X, _Y = (-2.0, 3.0), (-3.0, 1.2)


def fits(m: Metrics) -> bool:
    """Whether everything that is drawn is known."""
    return bool(m.intensity and m.cycles and m.peak_macs and m.peak_bytes and m.effectual_macs)


def svg(m: Metrics) -> str:
    """Effectual MACs a cycle against MACs a byte moved, under what the core can do at most."""
    if not (m.intensity and m.cycles and m.peak_macs and m.peak_bytes):
        raise ValueError("a roofline needs cycles, bytes moved and the core's ceilings")
    reached = m.effectual_macs / m.cycles
    ridge = m.peak_macs / m.peak_bytes
    low = 10 ** _X[0]
    roof = [(low, low * m.peak_bytes), (ridge, m.peak_macs), (10 ** _X[1], m.peak_macs)]
    path = " ".join(f"{_x(a):.1f},{_y(b):.1f}" for a, b in roof)
    at_most = min(m.peak_macs, m.intensity * m.peak_bytes)
    said = (
        f"{m.intensity:.2f} MACs a byte moved, {reached:.3f} MACs a cycle; the core's ceiling "
        f"there is {at_most:.2f}"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-labelledby="roofline-title"><title id="roofline-title">Roofline: {said}</title>',
    ]
    for d in range(int(_X[0]), int(_X[1]) + 1):
        x = _x(10.0**d)
        parts.append(
            f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_HEIGHT - _BOTTOM}" '
            'stroke="currentColor" stroke-opacity="0.15"/>'
            f'<text x="{x:.1f}" y="{_HEIGHT - 28}" text-anchor="middle" font-size="12" '
            f'fill="currentColor">{10.0**d:g}</text>'
        )
    for d in range(math.ceil(_Y[0]), int(_Y[1]) + 1):
        y = _y(10.0**d)
        parts.append(
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - 10}" y2="{y:.1f}" '
            'stroke="currentColor" stroke-opacity="0.15"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" font-size="12" '
            f'fill="currentColor">{10.0**d:g}</text>'
        )
    parts += [
        f'<polyline points="{path}" fill="none" stroke="currentColor" stroke-width="2"/>',
        f'<circle cx="{_x(m.intensity):.1f}" cy="{_y(reached):.1f}" r="6" fill="currentColor"/>',
        f'<text x="{(_LEFT + _WIDTH) / 2}" y="{_HEIGHT - 8}" text-anchor="middle" font-size="12" '
        'fill="currentColor">effectual MACs a byte moved</text>',
        f'<text x="{_LEFT + 6}" y="{_TOP + 12}" font-size="12" fill="currentColor">'
        "effectual MACs a cycle</text>",
        "</svg>",
    ]
    return "".join(parts)


def _x(value: float) -> float:
    at = (min(max(math.log10(value), _X[0]), _X[1]) - _X[0]) / (_X[1] - _X[0])
    return _LEFT + at * (_WIDTH - _LEFT - 10)


def _y(value: float) -> float:
    at = (min(max(math.log10(value), _Y[0]), _Y[1]) - _Y[0]) / (_Y[1] - _Y[0])
    return _HEIGHT - _BOTTOM - at * (_HEIGHT - _BOTTOM - _TOP)
