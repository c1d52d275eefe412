"""Fixed-rate forms of few levels: 2-bit ternary, base 3, bitmaps."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from ..errors import StreamError
from .base import Encoded, Encoding, Stream, as_matrix, is_ternary, register
from .bits import pack, pack_rows, unpack, unpack_rows
from .codebook import Indexed

_POWERS = 3 ** np.arange(5)


class _FixedRate(Encoding):
    """What they share: rows begin at a byte, and one header decodes them all."""

    decoder: ClassVar[str | None] = "sc_bitmaps.h"
    family: ClassVar[str] = "bitmap"

    def work(self, encoded: Encoded) -> dict[str, float]:
        """See the base class."""
        size, rows = float(encoded.rows * encoded.cols), float(encoded.rows)
        return {"weights": size, "nonzeros": float(encoded.meta["nnz"]), "rows": rows}

    def c_stream(self, encoded: Encoded, arrays: dict[str, str]) -> str:
        """See the base class."""
        first = encoded.streams[0]
        text = f"{{.data = {arrays[first.name]}, .size = {len(first.data)}"
        if "s" in arrays:
            size = len(encoded.stream("s").data)
            text += f", .values = {arrays['s']}, .values_size = {size}"
        if "b" in arrays:
            levels = len(encoded.stream("b").data)
            text += f", .book = {arrays['b']}, .levels = {levels}"
        return f"{text}, .rows = {encoded.rows}, .cols = {encoded.cols}}}"

    def ram(self, encoded: Encoded) -> int:
        """See the base class."""
        return 12


class _Ternary(_FixedRate):
    form: ClassVar[str] = "ternary"

    def applies(self, weight: np.ndarray) -> bool:
        """Weights in -1, 0, 1."""
        return is_ternary(weight)

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = as_matrix(weight)
        if not is_ternary(w):
            raise ValueError("not a ternary matrix")
        return self._encoded(w, self._streams(w))

    @abstractmethod
    def _streams(self, w: np.ndarray) -> tuple[Stream, ...]:
        """The streams of w int8 [rows, cols]."""


@register
class TernaryPacked2(_Ternary):
    """Two bits a weight, two's complement (0, 1, 3), rows start at a byte: stream "w"."""

    name: ClassVar[str] = "ternary_packed2"
    family: ClassVar[str] = "ternary"
    c_name: ClassVar[str] = "ternary_packed2"

    def _streams(self, w: np.ndarray) -> tuple[Stream, ...]:
        data, bits = pack_rows(w & 3, 2)
        return (Stream("w", "value", data, bits),)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        codes = unpack_rows(encoded.stream("w").data, 2, encoded.rows, encoded.cols, "stream w")
        if np.any(codes == 2):
            raise StreamError("code 2 in a ternary layer")
        return np.where(codes == 3, -1, codes).astype(np.int8)


@register
class Base3(_Ternary):
    """Five weights a byte, digit w + 1, first weight in the lowest digit: stream "w".

    Rows start at a byte; missing digits of the last byte are weight 0.
    """

    name: ClassVar[str] = "base3"
    family: ClassVar[str] = "base3"
    c_name: ClassVar[str] = "base3"

    def _streams(self, w: np.ndarray) -> tuple[Stream, ...]:
        rows, cols = w.shape
        digits = np.ones((rows, -(-cols // 5) * 5), np.int64)
        digits[:, :cols] += w
        data = (digits.reshape(rows, -1, 5) @ _POWERS).astype(np.uint8).tobytes()
        # A weight's share is 8/5 bit; what the last byte of a row has left over is padding.
        bits = rows * -(-8 * cols // 5)
        return (Stream("w", "value", data, bits),)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        raw = np.frombuffer(encoded.stream("w").data, np.uint8).astype(np.int64)
        per_row = -(-encoded.cols // 5)
        if raw.size != encoded.rows * per_row or (raw.size and raw.max() > 242):
            raise StreamError(f"base-3 layer of {raw.size} bytes, or a byte above 242")
        digits = raw.reshape(encoded.rows, per_row, 1) // _POWERS % 3 - 1
        return digits.reshape(encoded.rows, -1)[:, : encoded.cols].astype(np.int8)


@register
class BitmapTernary(_Ternary):
    """Streams "m" (1 = non-zero, rows start at a byte), "s" (1 = negative, one run, no gaps)."""

    name: ClassVar[str] = "bitmap_ternary"
    c_name: ClassVar[str] = "bitmap_ternary"

    def _streams(self, w: np.ndarray) -> tuple[Stream, ...]:
        bitmap, bits = pack_rows(w != 0, 1)
        signs, sign_bits = pack(w[w != 0] < 0, 1)
        return (Stream("m", "index", bitmap, bits), Stream("s", "sign", signs, sign_bits))

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        present = unpack_rows(encoded.stream("m").data, 1, encoded.rows, encoded.cols, "stream m")
        out = present.astype(np.int8)
        signs = unpack(encoded.stream("s").data, 1, int(present.sum()), "stream s")
        out[out != 0] = 1 - 2 * signs
        return out


@register
class Bitmap(Indexed, _FixedRate):
    """Two levels: streams "m" (1 = the rarer level), "b" (both levels)."""

    name: ClassVar[str] = "bitmap"
    c_name: ClassVar[str] = "bitmap"
    most: ClassVar[int] = 2
    stored: ClassVar[tuple[str, str]] = ("m", "index")
