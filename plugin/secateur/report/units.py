"""Quantities with units, so that a budget reads like one: `report.flash < "32 kB"`."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from secateur.errors import SecateurError

#: Factor to the base unit: bytes, milliseconds, microjoules. kB is 1000 bytes, KiB 1024.
UNITS: dict[str, dict[str, float]] = {
    "bytes": {
        "b": 1,
        "byte": 1,
        "bytes": 1,
        "k": 1e3,
        "kb": 1e3,
        "mb": 1e6,
        "kib": 1024,
        "mib": 1024**2,
    },
    "ms": {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1, "s": 1e3},
    "uj": {"nj": 1e-3, "uj": 1, "µj": 1, "mj": 1e3, "j": 1e6},
    "fraction": {"": 1, "%": 0.01},
    "number": {"": 1},  #: in whatever unit a user's targets are
}

#: Of base units: what no microcontroller has or takes.
_MOST = 1e15

_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)\s*([a-zA-Zµ%]*)\s*\Z")


def parse(text: str | float, unit: str) -> float:
    """`"32 kB"` in bytes, `"20 ms"` in milliseconds ...; a bare number is in the base unit.

    `unit` is a key of UNITS. Raises SecateurError when the text is no quantity of that unit.
    """
    if isinstance(text, (int, float)):
        return _within(float(text), text)
    match = _QUANTITY.match(text)
    known = UNITS[unit]
    if match is not None:
        number, suffix = float(match[1]), match[2].lower()
        if suffix in known:
            return _within(number * known[suffix], text)
        if not suffix:
            return _within(number, text)
    names = ", ".join(sorted(k for k in known if k)) or "no unit"
    raise SecateurError(f"{text!r} is not a quantity: write a number and one of {names}.")


def _within(value: float, text: str | float) -> float:
    if not 0 <= value <= _MOST:
        raise SecateurError(f"{text!r} is no size or time: give a number from 0 to {_MOST:.0e}.")
    return value


def show(value: float | None, unit: str) -> str:
    """A short human form: 31.2 kB, 8.40 ms, 120 uJ, 90.1 %; "-" for an unknown value."""
    if value is None:
        return "-"
    if unit == "bytes":
        if abs(value) < 1000:
            return f"{value:.0f} B"
        return f"{value / 1e3:.1f} kB" if abs(value) < 1e6 else f"{value / 1e6:.2f} MB"
    if unit == "ms":
        return f"{value * 1e3:.0f} us" if abs(value) < 1 else f"{value:.2f} ms"
    if unit == "uj":
        return f"{value / 1e3:.2f} mJ" if abs(value) >= 1000 else f"{value:.1f} uJ"
    if unit == "number":
        return f"{value:.4g}"
    return f"{100 * value:.2f} %"


def change(before: float | None, after: float | None, unit: str) -> str:
    """How far a value has come: in points for shares, else in percent; empty where it has not,
    where one is unknown, or where there is nothing to compare with."""
    if before is None or after is None or before == after:
        return ""
    if unit == "fraction":
        return f"{100 * (after - before):+.2f} points"
    return f"{100 * (after / before - 1):+.2f} %" if before else ""


class Quantity:
    """Mixin: compares like its headline value, with numbers or with text such as "32 kB"."""

    unit: ClassVar[str]
    report: Any = None  #: the report this figure belongs to

    @property
    def headline(self) -> float | None:
        """The value that comparisons use, in `unit`; None if it is not known."""
        raise NotImplementedError

    def _pair(self, other: object) -> tuple[float, float]:
        if isinstance(other, Quantity):
            right = other.headline
        elif isinstance(other, (str, int, float)):
            right = parse(other, self.unit)
        else:
            raise TypeError(f"cannot compare {type(self).__name__} with {type(other).__name__}")
        left = self.headline
        if left is None or right is None:
            raise SecateurError(
                f"{type(self).__name__.lower()} was not determined in this run, so it cannot be "
                "compared: choose an emulator or board that measures it."
            )
        return left, right

    def __lt__(self, other: object) -> bool:
        left, right = self._pair(other)
        return left < right

    def __le__(self, other: object) -> bool:
        left, right = self._pair(other)
        return left <= right

    def __gt__(self, other: object) -> bool:
        left, right = self._pair(other)
        return left > right

    def __ge__(self, other: object) -> bool:
        left, right = self._pair(other)
        return left >= right

    def __float__(self) -> float:
        value = self.headline
        if value is None:
            raise SecateurError(f"{type(self).__name__.lower()} was not determined in this run.")
        return float(value)

    def __str__(self) -> str:
        return show(self.headline, self.unit)
