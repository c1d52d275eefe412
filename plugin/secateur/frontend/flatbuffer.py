"""As much of the FlatBuffers format as reading a `.tflite` file takes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np


class FlatTable:
    """A table at byte `pos` of `data`. Reading past the end raises struct.error or ValueError."""

    def __init__(self, data: bytes, pos: int) -> None:
        self.data, self.pos = data, pos
        self._vtable = pos - self._read("<i", pos)
        self._size = self._read("<H", self._vtable)

    @classmethod
    def root(cls, data: bytes) -> FlatTable:
        """The root table of a buffer."""
        return cls(data, struct.unpack_from("<I", data, 0)[0])

    def _read(self, form: str, pos: int) -> int:
        if pos < 0:
            raise ValueError("offset before the buffer")
        value: int = struct.unpack_from(form, self.data, pos)[0]
        return value

    def _field(self, i: int) -> int:
        """Byte position of field i, or 0 where it is absent (has its default)."""
        at = 4 + 2 * i
        offset = self._read("<H", self._vtable + at) if at < self._size else 0
        return self.pos + offset if offset else 0

    def integer(self, i: int, form: str = "<i", default: int = 0) -> int:
        """Scalar field i in `struct` notation."""
        at = self._field(i)
        return self._read(form, at) if at else default

    def real(self, i: int, default: float = 0.0) -> float:
        """float32 field i."""
        at = self._field(i)
        return float(struct.unpack_from("<f", self.data, at)[0]) if at else default

    def table(self, i: int) -> FlatTable | None:
        """Sub-table i."""
        at = self._field(i)
        return FlatTable(self.data, at + self._read("<I", at)) if at else None

    def _vector(self, i: int) -> tuple[int, int]:
        at = self._field(i)
        if not at:
            return 0, 0
        start = at + self._read("<I", at)
        return start + 4, self._read("<I", start)

    def array(self, i: int, dtype: str) -> np.ndarray:
        """Vector of scalars i."""
        start, n = self._vector(i)
        return np.frombuffer(self.data, np.dtype(dtype).newbyteorder("<"), n, start)

    def text(self, i: int) -> str:
        """String i."""
        return self.array(i, "u1").tobytes().decode("utf-8", "replace")

    def tables(self, i: int) -> Iterator[FlatTable]:
        """Vector of sub-tables i."""
        start, n = self._vector(i)
        if start + 4 * n > len(self.data):
            raise ValueError("vector past the end")
        for at in range(start, start + 4 * n, 4):
            yield FlatTable(self.data, at + self._read("<I", at))
