"""How a layer's requantization constants lie in flash, and the C that reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..lowering.qgraph import Requant, ShortRequant, Thresholds, WideRequant
from .emit import CArray, CFunction, render


@dataclass(frozen=True)
class RequantTable:
    """Multipliers and offsets of one layer as one array, read channel by channel through `q`.

    Where all channels share a multiplier it becomes a constant of the code. Offsets take two
    bytes where they are all multiples of a power of two that brings them into int16.
    """

    array: CArray
    get: tuple[str, str]  #: C expressions of m and of c, in order, that read and advance q
    pre_shift: int
    shift: int
    unit_bits: int  #: offsets are stored in units of 2**unit_bits
    out: str = "uint8_t"  #: C type of what `code` gives
    bits: int = 8  #: of a code of that type: it is clamped to 0 .. 2**bits - 1

    @property
    def ctype(self) -> str:
        """Element type of the array."""
        return self.array.ctype

    @property
    def load(self) -> str:
        """C statements that set int32_t m, c and advance q."""
        return self.load_as("m", "c")

    def load_as(self, m: str, c: str) -> str:
        """The same under other names."""
        return f"const int32_t {m} = {self.get[0]};\nconst int32_t {c} = {self.get[1]};"

    def code(self, acc: str, add: str = "{}") -> str:
        """C expression: the code of an int32 accumulator; `add` wraps what is shifted."""
        v = f"sc_macw({acc}, m, c)" if self.pre_shift else f"sc_mac({acc}, m, c)"
        return self._clamped(add.format(v))

    def lane_code(self, word: str, half: str, add: str = "{}") -> str:
        """C expression: the code of one lane of `word`; half is "lo" or "hi"."""
        v = f"sc_mac{'w' if self.pre_shift else ''}_{half}({word}, m, c)"
        return self._clamped(add.format(v))

    def _clamped(self, v: str) -> str:
        if self.bits < 8:
            return f"sc_level({v}, {self.shift}, {self.bits})"
        return f"{'sc_code' if self.out == 'uint8_t' else 'sc_short'}({v}, {self.shift})"

    def lanes4(
        self, even: str, odd: str, add: tuple[str, str, str, str] | None = None, short: bool = False
    ) -> str:
        """C expression: the four codes of an even and an odd lane word, packed in one word.

        `short`: what is clamped to them fits 16 bits.
        """
        if self.shift == 16 and not self.pre_shift and add is None:
            name, bits = ("sc_codes4", "") if self.bits == 8 else ("sc_levels4", f", {self.bits}")
            return f"{name}({even}, {odd}, m, c{bits})"
        w = add or ("{}",) * 4
        if short and self.pre_shift and self.shift == 0:
            e0, o0 = (w[i].format(f"sc_macw_lo({x}, m, c)") for i, x in enumerate((even, odd)))
            e1, o1 = (w[i].format(f"sc_macw_hi({x}, m, c)") for i, x in enumerate((even, odd), 2))
            return f"sc_clamp16({e0},\n    {e1}) |\n    sc_clamp16({o0},\n        {o1}) << 8"
        return (
            f"{self.lane_code(even, 'lo', w[0])} |\n    {self.lane_code(odd, 'lo', w[1])} << 8 |\n"
            f"    {self.lane_code(even, 'hi', w[2])} << 16 |\n"
            f"    {self.lane_code(odd, 'hi', w[3])} << 24"
        )


@dataclass(frozen=True)
class ThresholdTable(RequantTable):
    """Thresholds of one layer in the same place: `m` is the flip; `c` the threshold where there is
    one, else where in the array the channel's begin."""

    codes: tuple[int, ...] = (0, 1)

    def load_as(self, m: str, c: str) -> str:
        text = super().load_as(m, c)
        return text if len(self.codes) == 2 else f"{text}\nq += {len(self.codes)};"

    def code(self, acc: str, add: str = "{}") -> str:
        if len(self.codes) == 2:
            return f"((({acc}) ^ m) >= c ? {self.codes[1]}u : {self.codes[0]}u)"
        n = len(self.codes) - 1
        bits = 16 if self.ctype == "int16_t" else 32
        passed = f"sc_passed{bits}(({acc}) ^ m, {self.array.name} + c, {n})"
        if self.codes == tuple(range(n + 1)):
            return passed
        return f"(uint32_t){self.array.name}[{self.array.values.size - n - 1}u + {passed}]"

    def lane_code(self, word: str, half: str, add: str = "{}") -> str:
        return self.code(f"sc_lane_{half}({word})")


@dataclass(frozen=True)
class WideTable(RequantTable):
    """Multipliers and offsets, all int32, of an operator with a 16-bit end; its code calls
    `wide_code` (kernels/wide.py)."""

    low: int = 0
    high: int = 0

    def code(self, acc: str, add: str = "{}") -> str:
        unit = f" * {1 << self.unit_bits}" if self.unit_bits else ""
        v = add.format(f"(int64_t)({acc}) * m + (int64_t)c{unit}")
        return f"wide_code({v}, {self.shift}, {self.low}, {self.high})"


def _wide_table(name: str, r: WideRequant) -> WideTable:
    values = np.stack([r.multiplier.astype(np.int64), r.offset >> r.unit_bits], axis=1)
    note = "per output channel: multiplier, offset"
    array = CArray(f"{name}_q", "int32_t", values, note, {"requant": 32 * values.size})
    return WideTable(array, ("*q++", "*q++"), 0, r.shift, r.unit_bits, low=r.low, high=r.high)


def inlined(r: Requant) -> tuple[int, int]:
    """(m, c) of the only entry, as `RequantTable.code` takes them from the code itself."""
    c = int(r.offset[0])
    return int(r.multiplier[0]), c >> r.unit_bits if isinstance(r, WideRequant) else c


def wide_code(r: Requant | Thresholds | None) -> list[CFunction]:
    """What the code of `r` calls: a function where 64 bits are brought to a code."""
    if not isinstance(r, WideRequant):
        return []
    return [CFunction("wide_code", render("wide_code.c.j2"))]


def _threshold_table(name: str, r: Thresholds) -> ThresholdTable:
    n = r.values.shape[1]
    values = np.concatenate([r.flip[:, None], r.values], axis=1).astype(np.int64)
    ctype = "int16_t" if np.abs(values).max() <= 32767 else "int32_t"
    note = "per output channel: flip, thresholds"
    get = ("*q++", "*q++")
    if n > 1:
        get = ("*q", f"(int32_t)(q - {name}_q) + 1")
        if r.codes != tuple(range(n + 1)):
            note += "; then the codes"
            values = np.concatenate([values.reshape(-1), r.codes]).reshape(1, -1)
    array = CArray(f"{name}_q", ctype, values, note)
    return ThresholdTable(array, get, 0, 0, 0, codes=r.codes)


def trailing_zero_bits(values: np.ndarray) -> int:
    """How many low bits are zero in every value (31 if all are zero)."""
    both = int(np.bitwise_or.reduce(np.abs(values.astype(np.int64)))) if values.size else 0
    return 31 if both == 0 else (both & -both).bit_length() - 1


def multiplied(r: Requant | Thresholds) -> Requant | None:
    """What of `r` is a multiplication, an offset and a shift; None where thresholds are counted."""
    return r.line if isinstance(r, Thresholds) else r


def one_shift(r: Requant | Thresholds) -> bool:
    """Whether codes are one product and an offset, shifted once by 1 to 31 bits."""
    m = multiplied(r)
    return m is not None and m.pre_shift == 0 and 0 < m.shift < 32


def code_bits(r: Requant | Thresholds) -> int:
    """Bits to whose range `multiplied(r)` is clamped."""
    return len(r.planes) if isinstance(r, Thresholds) else 8


def requantization(name: str, r: Requant | Thresholds, bits: int = 8) -> RequantTable:
    """Lay `r` out as the array `name`_q; bits: of codes, where thresholds do not say."""
    if isinstance(r, Thresholds):
        if r.line is None:
            return _threshold_table(name, r)
        return requantization(name, r.line, code_bits(r))
    if isinstance(r, WideRequant):
        return _wide_table(name, r)
    m = np.asarray(r.multiplier, np.int64).reshape(-1)
    c = np.asarray(r.offset, np.int64).reshape(-1)
    k = min(trailing_zero_bits(c), r.shift)
    narrow = bool(np.all((c >> k) >= -32768) and np.all((c >> k) <= 32767))
    shared = m.size > 1 and bool(np.all(m == m[0]))
    unit = f" * {1 << k}" if k else ""
    note = "per output channel: " + ("offset" if shared else "multiplier, offset")
    cols = [c >> k] if narrow else [c]
    if not shared:
        cols.insert(0, m)
    ctype = "int16_t" if narrow else "int32_t"
    get_c = f"(int32_t)*q++{unit}" if narrow else "*q++"
    get = (str(int(m[0])) if shared else "*q++", get_c)
    values = np.stack(cols, axis=1)
    stored = {"requant": values.size * (16 if narrow else 32)}
    array = CArray(f"{name}_q", ctype, values, note, stored)
    out = "int16_t" if isinstance(r, ShortRequant) else "uint8_t"
    return RequantTable(array, get, r.pre_shift, r.shift, k if narrow else 0, out, bits)
