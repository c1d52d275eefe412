"""Adaptive binary range coder.

A 32-bit range coder as LZMA's (Pavlov; Martin 1979), with probabilities that start by counting and
end in exponential forgetting, so that small layers learn fast and large ones settle close to the
entropy. Nothing is stored but the code bytes; zero bytes at the end are left out.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from ..errors import StreamError
from .base import Encoded, Encoding, as_matrix

#: Layers that need more bins are left to Huffman: coding them takes seconds here and on the device.
MOST_BINS = 3_000_000
#: Shift of the adaptation by number of bins seen in a context; the last holds from then on.
#: 2**-shift follows 1 / (n + 1.6), the step of an estimator that counts, down to 1/128. (Slower or
#: faster forgetting costs size on pruned MNIST and keyword networks.)
SHIFTS = [max(1, round(math.log2(n + 1.6))) for n in range(90)]
RAW = -1  #: context of a bin that is coded with probability one half
HALF = 1 << 15


_STEADY = SHIFTS[-1]


@lru_cache(maxsize=1)
def _fours() -> tuple[memoryview, np.ndarray]:
    """What four bins do to a probability past its first ones, by probability << 4 | bins: the next
    probability, and what each of the four is expected to be, uint16 [.., 4]."""
    state = np.arange(65536)
    after = np.stack([state + ((65536 - state) >> _STEADY), state - (state >> _STEADY)], axis=1)
    expected = np.empty((65536 * 16, 4), np.uint16)
    path = state[:, None]
    for i in range(4):
        expected[:, i] = np.repeat(path.reshape(-1), 16 >> i)
        path = after[path].reshape(65536, -1)
    return memoryview(path.astype(np.uint16).tobytes()).cast("H"), expected


def _expected(ones: np.ndarray) -> np.ndarray:
    """Probabilities of a 0, in 1/65536, that one context expects of each of its bins."""
    first = []
    prob = HALF
    for one, shift in zip(ones[: len(SHIFTS)].tolist(), SHIFTS, strict=False):
        first.append(prob)
        prob += -(prob >> shift) if one else (65536 - prob) >> shift
    rest = ones[len(SHIFTS) :]
    if not rest.size:
        return np.array(first, np.uint16)
    after, expected = _fours()
    eights = np.packbits(rest)
    keys = []
    for four in np.stack([eights >> 4, eights & 15], axis=1).reshape(-1).tolist():
        key = prob << 4 | four
        keys.append(key)
        prob = after[key]
    later = expected[np.array(keys)].reshape(-1)[: rest.size]
    return np.concatenate([np.array(first, np.uint16), later])


def _probabilities(contexts: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """What the decoder expects each bin to be: probability of a 0, in 1/4096."""
    out = np.full(contexts.size, HALF, np.int32)
    # Contexts do not see each other, so each is followed on its own: far faster than in turns.
    order = np.argsort(contexts, kind="stable")
    order = order[np.searchsorted(contexts[order], 0) :]
    ends = np.nonzero(np.diff(contexts[order], append=-1))[0] + 1
    ones = np.split(bins[order], ends[:-1])
    if order.size:
        out[order] = np.concatenate([_expected(o) for o in ones])
    return out >> 4


def encode_bins(contexts: np.ndarray, bins: np.ndarray) -> bytes:
    """Code `bins` (0/1), each in its context (0 or more, or `RAW`)."""
    out = bytearray()
    low, span = 0, 0xFFFFFFFF
    probabilities = _probabilities(contexts, bins)
    for zero in np.where(bins, -probabilities, probabilities).tolist():  # below 0: a one
        part = (span >> 12) * zero
        if zero > 0:
            span = part
        else:
            span += part
            low -= part
        while span < 0x1000000:
            if low > 0xFFFFFFFF:
                _carry(out)
                low &= 0xFFFFFFFF
            out.append(low >> 24)
            low = (low & 0xFFFFFF) << 8
            span <<= 8
    for count in range(5):  # the fewest bytes that name a number within the span
        rest = (1 << (32 - 8 * count)) - 1
        value = (low + rest) & ~rest
        if value < low + span:
            break
    if value > 0xFFFFFFFF:
        _carry(out)
        value &= 0xFFFFFFFF
    return bytes(out) + value.to_bytes(4, "big")[:count]


#: Bits of a bin that has a chance of so many 4096ths.
_INFORMATION = 12 - np.log2(np.maximum(np.arange(4097), 1))


def coded_bytes(contexts: np.ndarray, bins: np.ndarray) -> int:
    """Length of what `encode_bins` gives, to a byte or two: in half of its time."""
    p = _probabilities(contexts, bins)
    return math.ceil(_INFORMATION[np.where(bins, 4096 - p, p)].sum() / 8)


def _carry(out: bytearray) -> None:
    at = len(out) - 1
    while out[at] == 0xFF:
        out[at] = 0
        at -= 1
    out[at] += 1


def ideal_bits(contexts: np.ndarray, bins: np.ndarray, size: int) -> float:
    """Zeroth-order entropy of `bins` by context plus what learning costs; to compare layouts by."""
    raw = contexts < 0
    ones = np.bincount(contexts[~raw], weights=bins[~raw], minlength=size)
    all_ = np.bincount(contexts[~raw], minlength=size).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = ones / all_
        h = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    learning = 0.5 * np.log2(all_ + 1)
    return float(np.nansum(h * all_) + learning.sum() + np.count_nonzero(raw))


class RangeDecoder:
    """Inverse of `encode_bins`, bin by bin. StreamError once more than 4 bytes are missing."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data = data
        self._at = 4
        self._span = 0xFFFFFFFF
        self._code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")
        self._prob = [HALF] * size
        self._seen = [0] * size

    def bin(self, context: int) -> int:
        """The next bin, coded in `context`."""
        p = self._prob[context]
        bound = (self._span >> 12) * (p >> 4)
        n = self._seen[context]
        if n < len(SHIFTS) - 1:
            self._seen[context] = n + 1
        if self._code < bound:
            self._span = bound
            self._prob[context] = p + ((65536 - p) >> SHIFTS[n])
            one = 0
        else:
            self._code -= bound
            self._span -= bound
            self._prob[context] = p - (p >> SHIFTS[n])
            one = 1
        if self._span < 0x1000000:
            self._refill()
        return one

    def raw(self, count: int) -> int:
        """`count` raw bins, the first one on top."""
        value = 0
        for _ in range(count):
            bound = (self._span >> 12) * (HALF >> 4)
            one = int(self._code >= bound)
            self._code -= bound * one
            self._span = self._span - bound if one else bound
            value = value << 1 | one
            if self._span < 0x1000000:
                self._refill()
        return value

    def _refill(self) -> None:
        while self._span < 0x1000000:
            self._span <<= 8
            byte = self._data[self._at] if self._at < len(self._data) else 0
            self._code = (self._code << 8 | byte) & 0xFFFFFFFF
            self._at += 1
        if self._at > len(self._data) + 8:
            raise StreamError("range-coded stream ends too early")


#: Contexts and bins -> code bytes.
Coder = Callable[[np.ndarray, np.ndarray], bytes]


class RangeCoded(Encoding):
    """What is coded bin by bin, and so sketched by what coding would come to."""

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        return self._coded(as_matrix(weight), encode_bins)

    def sketch(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = as_matrix(weight)
        return replace(self._coded(w, lambda *bins: bytes(coded_bytes(*bins))), sketch_of=w)

    @abstractmethod
    def _coded(self, w: np.ndarray, code: Coder) -> Encoded:
        """The matrix, its bins turned into bytes by `code`. Raises ValueError where `applies` is
        false."""
