"""An encoding that the package does not know: weights of -8..7, two to a byte, rows from a byte."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from secateur.coding import Encoded, Encoding, Stream, register, sources
from secateur.coding.base import as_matrix

HEADER = """
#ifndef SC_NIBBLES_H
#define SC_NIBBLES_H

#include "sc_rows.h"

typedef struct {
    const uint8_t *data;
    uint32_t size;
    uint16_t cols;
} sc_nibbles_stream;

typedef struct {
    const sc_nibbles_stream *d;
    uint32_t at;
} sc_nibbles;

static inline int sc_nibbles_open(sc_nibbles *s, const sc_nibbles_stream *d)
{
    s->d = d;
    s->at = 0u;
    return 0;
}

static inline int sc_nibbles_row(sc_nibbles *s, int8_t *row)
{
    const uint32_t bytes = (s->d->cols + 1u) >> 1;
    if (s->d->size - s->at < bytes) {
        return SC_CODING_ERROR;
    }
    for (uint32_t c = 0u; c < s->d->cols; c++) {
        const uint8_t both = s->d->data[s->at + (c >> 1)];
        row[c] = (int8_t)((int32_t)((both >> (4u * (c & 1u))) & 15u) - 8);
    }
    s->at += bytes;
    return 0;
}

#endif
"""
sources.add("sc_nibbles.h", HEADER)


@register
class Nibbles(Encoding):
    """Stream "w": w + 8 in four bits, the first of two in the lower ones."""

    name: ClassVar[str] = "nibbles"
    form: ClassVar[str] = "dense"
    decoder: ClassVar[str | None] = "sc_nibbles.h"
    c_name: ClassVar[str] = "nibbles"
    family: ClassVar[str] = "nibbles"

    def applies(self, weight: np.ndarray) -> bool:
        """Weights of four bits."""
        return bool(weight.min() >= -8 and weight.max() <= 7)

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = as_matrix(weight)
        codes = np.pad(w + 8, ((0, 0), (0, w.shape[1] % 2))).astype(np.uint8)
        data = (codes[:, ::2] | codes[:, 1::2] << 4).tobytes()
        return self._encoded(w, (Stream("w", "value", data, 4 * w.size),))

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        data = np.frombuffer(encoded.stream("w").data, np.uint8).reshape(encoded.rows, -1)
        codes = np.stack([data & 15, data >> 4], axis=2).reshape(encoded.rows, -1)
        return codes[:, : encoded.cols].astype(np.int8) - 8

    def work(self, encoded: Encoded) -> dict[str, float]:
        """See the base class."""
        return {"instructions": 8.0 * encoded.rows * encoded.cols}

    def c_stream(self, encoded: Encoded, arrays: dict[str, str]) -> str:
        """See the base class."""
        size = len(encoded.stream("w").data)
        return f"{{.data = {arrays['w']}, .size = {size}, .cols = {encoded.cols}}}"
