"""Fully connected ternary layers as bytes that each stand for a string of weights.

Tunstall's code (B. P. Tunstall, 1967) turns Huffman's around: strings of varying length, as equally
probable as can be, for codes of one length. It comes within a few hundredths of the entropy, and a
byte and a look-up decode eight or nine weights at 80 % zeros, without a bit to shift.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from ... import names
from ...coding.base import is_ternary
from ...lowering.qgraph import QDense
from ..emit import CArray, CFunction, Emission, render
from ..requant import requantization
from ..tables import RequantizedTable
from .base import Kernel, Layer, register

SIZE = 256  #: strings of a book
LONGEST, MOST = 31, 3  #: weights of a string, and those of them that are there
STEPS = 40  #: densities for which there is a book: multiples of 1 / STEPS, so that layers share

String = tuple[int, ...]  #: of -1, 0, 1


@cache
def book(density: int) -> tuple[String, ...]:
    """The strings for weights of which density / STEPS are there: prefix-free, and complete but for
    strings whose end is in no other."""
    p = density / STEPS
    chance = {0: 1 - p, 1: p / 2, -1: p / 2}
    leaves: list[tuple[float, String]] = [(-1.0, ())]
    done: list[String] = []
    while leaves and len(leaves) + len(done) + 2 <= SIZE:
        minus, string = heapq.heappop(leaves)
        if len(string) == LONGEST or np.count_nonzero(string) == MOST:
            done.append(string)
            continue
        for weight, q in chance.items():
            heapq.heappush(leaves, (minus * q, (*string, weight)))
    return tuple(sorted(done + [s for _, s in leaves]))


def entry(string: String) -> int:
    """What the decoder reads of a string: of up to three weights where their input lies, a byte
    each from the lowest on, 0 for none; four times the string's length from bit 24.

    An input has four bytes, the two upper ones for what it is negated, and the first four are
    nobody's: so a place is never 0.
    """
    places = [4 + 4 * i + 2 * (w < 0) for i, w in enumerate(string) if w]
    return len(string) << 26 | sum(place << 8 * k for k, place in enumerate(places))


@lru_cache(16)
def parse(weights: bytes, cols: int, density: int) -> tuple[int, ...]:
    """Places in the book of the strings that make int8 rows of `cols` weights, row by row; zeros
    behind a row's end may be part of its last."""
    where = {s: i for i, s in enumerate(book(density))}
    out: list[int] = []
    for row in np.frombuffer(weights, np.int8).reshape(-1, cols):
        string: String = ()
        for w in row.tolist():
            string = (*string, w)
            if string in where:
                out.append(where[string])
                string = ()
        if string:
            while string not in where:
                string = (*string, 0)
            out.append(where[string])
    return tuple(out)


def density_of(weight: np.ndarray) -> int:
    """Which book a layer takes."""
    return int(np.clip(round(STEPS * np.count_nonzero(weight) / weight.size), 2, STEPS // 2))


@dataclass(frozen=True, kw_only=True)
class StringTable(RequantizedTable):
    """Codes by row, the book, the requantization."""

    codes: int


@register
class DenseStrings(Kernel[QDense, StringTable]):
    """Codes, looked up one by one."""

    name = "dense_strings"
    forms = frozenset({"ternary"})
    plain_factor = 1.3

    def applies(self, layer: Layer[QDense]) -> bool:
        return is_ternary(layer.op.weight)

    def scratch(self, layer: Layer[QDense]) -> int:
        return 4 + 4 * layer.op.weight.shape[1]

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        n, cols = layer.op.weight.shape
        return {
            "inputs": float(cols),
            "codes": float(self.table(layer).codes),
            "nonzeros": float(np.count_nonzero(layer.op.weight)),
            "rows": float(n),
        }

    def table(self, layer: Layer[QDense]) -> StringTable:
        w, q = layer.op.weight, requantization(layer.prefix, layer.op.requant)
        density = density_of(w)
        codes = np.array(parse(w.astype(np.int8).tobytes(), w.shape[1], density), np.uint8)
        note = (
            f"{layer.op.name}: strings of weights, by row; {8 * codes.size / w.size:.2f} bits each"
        )
        words = np.array([entry(s) for s in book(density)], np.uint32)
        shared = f"{names.model(layer.graph.name)}_shared_strings{density}"
        arrays = (
            CArray(f"{layer.prefix}_s", "uint8_t", codes, note, {"joint": 8 * codes.size}),
            CArray(
                shared, "uint32_t", words, "shared: the strings", {"table": 32 * words.size},
                shared=True,
            ),
            q.array,
        )  # fmt: skip
        return StringTable(arrays=arrays, q=q, codes=codes.size)

    def emit(self, layer: Layer[QDense], table: StringTable) -> Emission:
        n, cols = layer.op.weight.shape
        name = f"fc_strings_{cols}x{n}"
        text = render("dense_strings.c.j2", name=name, n=n, cols=cols, q=table.q)
        args = [*table.names, layer.inputs[0], layer.output, layer.scratch]
        return Emission(f"{name}({', '.join(args)});", [CFunction(name, text)])
