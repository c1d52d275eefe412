"""Bit packing, least significant bit first, in whole-array NumPy."""

from __future__ import annotations

import numpy as np

from ..errors import StreamError


def pack(codes: np.ndarray, widths: np.ndarray | int) -> tuple[bytes, int]:
    """Concatenate codes, each in its width (0..32 bits), bit 0 first: (bytes, number of bits)."""
    codes = np.asarray(codes, dtype=np.int64).ravel()
    if codes.size == 0:
        return b"", 0
    if np.ndim(widths) == 0:
        width = int(np.asarray(widths))
        bits: np.ndarray = ((codes[:, None] >> np.arange(width)) & 1).astype(np.uint8).ravel()
    else:
        widths = np.asarray(widths, dtype=np.int64).ravel()
        ends = np.cumsum(widths)
        within = np.arange(int(ends[-1])) - np.repeat(ends - widths, widths)
        bits = ((np.repeat(codes, widths) >> within) & 1).astype(np.uint8)
    return np.packbits(bits, bitorder="little").tobytes(), int(bits.size)


def unpack(data: bytes, width: int, count: int, what: str = "stream") -> np.ndarray:
    """`count` codes of `width` bits, int64. StreamError if `data` is too short."""
    need = width * count
    if 8 * len(data) < need:
        raise StreamError(f"{what} is truncated: {need} bits expected, {8 * len(data)} there")
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=need, bitorder="little")
    return bits.reshape(count, width).astype(np.int64) @ (1 << np.arange(width, dtype=np.int64))


def pack_rows(codes: np.ndarray, width: int) -> tuple[bytes, int]:
    """Pack [rows, n] codes; every row starts at a byte. The bits counted exclude the padding."""
    rows, n = codes.shape
    bits = ((codes.astype(np.int64)[:, :, None] >> np.arange(width)) & 1).astype(np.uint8)
    packed = np.packbits(bits.reshape(rows, n * width), axis=1, bitorder="little")
    return packed.tobytes(), rows * n * width


def unpack_rows(data: bytes, width: int, rows: int, n: int, what: str = "stream") -> np.ndarray:
    """Inverse of `pack_rows`: int64 [rows, n]."""
    stride = (n * width + 7) // 8
    if len(data) != rows * stride:
        raise StreamError(f"{what} has {len(data)} bytes where {rows * stride} are expected")
    raw = np.frombuffer(data, np.uint8).reshape(rows, stride)
    bits = np.unpackbits(raw, axis=1, count=n * width, bitorder="little")
    return bits.reshape(rows, n, width).astype(np.int64) @ (1 << np.arange(width, dtype=np.int64))


def uint_array(values: np.ndarray, limit: int) -> tuple[bytes, str]:
    """Little-endian bytes of `values` and their C type: uint8_t if `limit` <= 255 else uint16_t."""
    if limit > 65535:
        raise ValueError(f"{limit} does not fit in uint16_t")
    dtype, ctype = (np.dtype("u1"), "uint8_t") if limit <= 255 else (np.dtype("<u2"), "uint16_t")
    return np.asarray(values).astype(dtype).tobytes(), ctype


def int_array(data: bytes, ctype: str, what: str = "stream") -> np.ndarray:
    """The elements of a stream of `ctype`, int64."""
    dtype = {"uint8_t": "u1", "int8_t": "i1", "uint16_t": "<u2"}[ctype]
    if len(data) % np.dtype(dtype).itemsize:
        raise StreamError(f"{what} ends within an element")
    return np.frombuffer(data, dtype).astype(np.int64)
