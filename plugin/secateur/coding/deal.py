"""SmartDeal: coefficients and bases in place of weights, which are rebuilt by shifts and adds."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..errors import StreamError
from ..factors import MOST_SHIFT, rebuild
from ..lowering.factored import Factors
from .base import Encoded, Encoding, Stream, as_matrix, register
from .bits import pack, unpack


class FactoredMatrix(np.ndarray):
    """An int8 matrix that knows its factors; a copy or a part of it does not."""

    factors: Factors

    @classmethod
    def of(cls, weight: np.ndarray, factors: Factors) -> FactoredMatrix:
        """`weight` with `factors`, which make it."""
        out = as_matrix(weight).view(cls)
        out.factors = factors
        return out


def _factors(weight: np.ndarray) -> Factors | None:
    return getattr(weight, "factors", None)


@register
class Deal(Encoding):
    """Streams "w" (bits, filter by filter), "b" (bases, int8), "s" (a filter's shift, uint8).

    "w": for each row of coefficients, if "sparse", a bit (0: all are zero, and nothing follows),
    then a code of "width" bits a coefficient: place << 1 | negative, place 0 for zero, else 1 for
    2^"low", 2 for twice that, and so on. Meta: these, and "side" (S), and "dims" and "strides" of
    the columns, see `Factors`.
    """

    name: ClassVar[str] = "deal"
    form: ClassVar[str] = "dense"
    decoder: ClassVar[str | None] = "sc_deal.h"
    family: ClassVar[str] = "deal"
    c_name: ClassVar[str] = "deal"

    def applies(self, weight: np.ndarray) -> bool:
        """Only to a `FactoredMatrix`."""
        return _factors(weight) is not None

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        made = _factors(weight)
        if made is None:
            raise ValueError("the weights have no factors")
        w = as_matrix(np.asarray(weight))
        coefficients = made.coefficients.astype(np.int64)
        size = np.abs(coefficients)
        used = np.unique(size[size > 0])
        low = int(np.log2(used[0])) if used.size else 0
        places = int(np.log2(used[-1])) - low + 1 if used.size else 0
        place = np.where(size > 0, np.log2(np.maximum(size, 1)).astype(np.int64) - low + 1, 0)
        codes = place << 1 | (coefficients < 0)
        width = (2 * places + 1).bit_length()
        there: np.ndarray = np.asarray(size.any(axis=2))
        sparse = int(codes.shape[2] * width * np.count_nonzero(~there) > there.size)
        # a row: its bit, then its codes
        widths = np.full((*there.shape, 1 + codes.shape[2]), width)
        widths[..., 0] = sparse
        if sparse:
            widths[..., 1:] *= there[..., None]
        fields = np.concatenate([there[..., None].astype(np.int64), codes], axis=2)
        data, bits = pack(fields.ravel(), widths.ravel())
        streams = (
            Stream("w", "value", data, bits),
            Stream("b", "codebook", made.basis.tobytes(), 8 * made.basis.size, "int8_t"),
            Stream("s", "codebook", made.shift.astype(np.uint8).tobytes(), 8 * len(w)),
        )
        meta = {"side": codes.shape[2], "width": width, "low": low, "sparse": sparse}
        for i in range(3):
            meta |= {f"dim{i}": made.dims[i], f"stride{i}": made.strides[i]}
        return self._encoded(w, streams, **meta)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        m, side = encoded.meta, encoded.meta["side"]
        rows = -(-encoded.cols // side)
        basis = np.frombuffer(encoded.stream("b").data, np.int8)
        shift = np.frombuffer(encoded.stream("s").data, np.uint8)
        if basis.size != encoded.rows * side * side or shift.size != encoded.rows:
            raise StreamError(f"{basis.size} numbers and {shift.size} shifts of bases")
        data = encoded.stream("w").data
        bits = unpack(data, 1, 8 * len(data), "stream w").ravel()
        codes = np.zeros((encoded.rows * rows, side), np.int64)
        at, weights = 0, 1 << np.arange(m["width"])
        for row in codes:
            size = side * m["width"]
            if m["sparse"]:
                at += 1
                size *= int(bits[at - 1 : at].sum())
            if at + size > bits.size:
                raise StreamError("stream w is truncated")
            row[:] = bits[at : at + size].reshape(-1, m["width"]) @ weights if size else 0
            at += size
        place = codes >> 1
        if place.max(initial=0) + m["low"] > 7:
            raise StreamError("a coefficient beyond the largest")
        power = np.where(place > 0, 1 << np.maximum(place - 1 + m["low"], 0), 0)
        coefficients = (power * (1 - 2 * (codes & 1))).reshape(encoded.rows, rows, side)
        flat = rebuild(
            coefficients, basis.reshape(-1, side, side), np.minimum(shift, MOST_SHIFT)
        ).reshape(encoded.rows, -1)
        made = Factors(
            coefficients, basis, (m["dim0"], m["dim1"], m["dim2"]),
            (m["stride0"], m["stride1"], m["stride2"]),
        )  # fmt: skip
        out = np.zeros((encoded.rows, encoded.cols), np.int8)
        out[:, made.columns] = flat[:, : encoded.cols].astype(np.int8)
        return out

    def work(self, encoded: Encoded) -> dict[str, float]:
        """See the base class."""
        size, rows = float(encoded.rows * encoded.cols), float(encoded.rows)
        return {"weights": size, "products": size * encoded.meta["side"], "rows": rows}

    def c_stream(self, encoded: Encoded, arrays: dict[str, str]) -> str:
        """See the base class."""
        m = encoded.meta
        s = [m[f"stride{i}"] for i in range(3)]
        d = [m[f"dim{i}"] for i in range(3)]
        # from the last weight of a run to the first of the next
        steps = f"{s[2]}, {s[1] - d[2] * s[2]}, {s[0] - d[1] * s[1]}"
        return (
            f"{{.data = {arrays['w']}, .size = {len(encoded.stream('w').data)}, "
            f".basis = {arrays['b']}, .shifts = {arrays['s']}, .steps = {{{steps}}}, "
            f".runs = {{{d[2]}, {d[1]}}}, .cols = {encoded.cols}, .side = {m['side']}, "
            f".entries = {m['side'] ** 2}, "
            f".width = {m['width']}, .low = {m['low']}, .sparse = {m['sparse']}}}"
        )

    def ram(self, encoded: Encoded) -> int:
        """See the base class."""
        return 60
