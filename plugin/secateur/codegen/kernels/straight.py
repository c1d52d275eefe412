"""Fully connected layers of few weights, written out: code says where an input lies, not a list.

For cores with the DSP extension, four rows at a time: eight inputs are loaded by one instruction,
so are eight weights of 16 bits, and each weight that is there is one multiplication between them.
That is a third of the instructions that lists take, for code of four bytes a weight beside its two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from ...lowering.qgraph import QDense
from ..emit import CArray, CFunction, Emission, render
from ..geometry import align4
from ..tables import RequantizedTable
from . import four_rows
from .base import Kernel, Layer, register

#: Weights of a layer, at most: its text grows with them.
_MOST = 8192

#: Inputs that the displacement of an instruction reaches, and what is added to an address.
_INPUTS = 1024

_WORDS = ("r6", "r7", "r8", "r9")  #: of two weights
_LANES = ("r10", "r11", "r12", "lr")  #: of two inputs


def _groups(weight: np.ndarray) -> np.ndarray:
    """int8 weights [rows / 4, cols, 4]: by four rows, in the order of multiplication."""
    rows, cols = weight.shape
    return weight.reshape(rows // 4, 4, cols).transpose(0, 2, 1)


def _loads(there: Sequence[bool]) -> Iterator[tuple[int, list[int]]]:
    """(first, which) words of two inputs, of each four, that columns which are `there` need."""
    for first in range(0, -(-len(there) // 2), 4):
        which = [k for k in range(first, first + 4) if any(there[2 * k : 2 * k + 2])]
        if which:
            yield first, which


def assembler(group: np.ndarray) -> list[str]:
    """The instructions that make the sums of four rows in r2 to r5.

    group: int8 [cols, 4]. r0: its weights, two to a word, behind which it ends; r1: the inputs, two
    to a word, where it ends, too. Takes r6 to r12 and lr.
    """
    words, left = -(-len(group) // 2), int(np.count_nonzero(group))
    columns = [[row for row, w in enumerate(column) if w] for column in group.tolist()]
    lines: list[str] = []
    at, done, fresh = 0, 0, [True] * 4  #: the word that r1 is at, weights so far
    for first, which in _loads([bool(c) for c in columns]):
        if len(which) == 1:
            lanes = {which[0]: _LANES[0]}
            lines.append(f"ldr {_LANES[0]}, [r1, #{4 * (which[0] - at)}]")
        else:
            if first > at:
                lines.append(f"addw r1, r1, #{4 * (first - at)}")
            at = min(first + 4, words)
            lanes = dict(zip(range(first, at), _LANES, strict=False))
            lines.append(f"ldmia r1!, {{{', '.join(lanes.values())}}}")
        for k in which:
            for half, rows in enumerate(columns[2 * k : 2 * k + 2]):
                for row in rows:
                    if done % 8 == 0:
                        some = _WORDS[: min(4, -(-(left - done) // 2))]
                        lines.append(f"ldmia r0!, {{{', '.join(some)}}}")
                    kind = f"{'bt'[half]}{'bt'[done % 2]}"
                    factors = f"{lanes[k]}, {_WORDS[done % 8 // 2]}"
                    s = f"r{row + 2}"
                    lines.append(
                        f"smul{kind} {s}, {factors}" if fresh[row]
                        else f"smla{kind} {s}, {factors}, {s}"
                    )  # fmt: skip
                    fresh[row] = False
                    done += 1
    lines += [f"mov r{row + 2}, #0" for row in range(4) if fresh[row]]
    if at:
        lines.append(f"subw r1, r1, #{4 * at}")
    return lines


def _plain(group: np.ndarray, first: int) -> list[str]:
    """The same in C, from word `first` of the weights on."""
    lines = []
    for done, (column, row) in enumerate(np.argwhere(group)):
        word = f"w[{first + done // 2}]"
        weight = f"((int32_t){word} >> 16)" if done % 2 else f"(int16_t){word}"
        lines.append(f"s{row} += {weight} * in[{column}];")
    return lines


@lru_cache(16)
def _written(weight: bytes, cols: int) -> tuple[list[list[str]], list[list[str]]]:
    """Assembler and C by four rows; the planner asks for a layer's more than once."""
    groups = _groups(np.frombuffer(weight, np.int8).reshape(-1, cols))
    ends = np.cumsum([0, *(-(-np.count_nonzero(g) // 2) for g in groups)])
    plain = [_plain(g, int(at)) for g, at in zip(groups, ends[:-1], strict=True)]
    return [assembler(g) for g in groups], plain


@register
class DenseStraight(Kernel[QDense, RequantizedTable]):
    """Every weight that is not 0 an instruction."""

    name = "dense_straight"
    forms = frozenset({"sparse"})
    plain_factor = 12.0  # more than lists take: C of this size is for nobody
    assembler = frozenset({"dsp"})

    def applies(self, layer: Layer[QDense]) -> bool:
        w = layer.op.weight
        stored = int(np.count_nonzero(w))
        small = w.shape[1] <= _INPUTS and 0 < stored <= _MOST
        return four_rows.fits(layer.op) and small and 2 * stored <= w.size

    def scratch(self, layer: Layer[QDense]) -> int:
        return 2 * align4(layer.op.weight.shape[1])

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        groups = _groups(layer.op.weight)
        return {
            "products": float(np.count_nonzero(groups)),
            "loads": float(sum(1 for g in (groups != 0).any(axis=2).tolist() for _ in _loads(g))),
            "groups": float(len(groups)),
            "inputs": float(groups.shape[1]),
        }

    def table(self, layer: Layer[QDense]) -> RequantizedTable:
        words: list[np.ndarray] = []
        for group in _groups(layer.op.weight):
            weights = group[group != 0].astype(np.int64)
            pairs = np.pad(weights, (0, len(weights) % 2)).reshape(-1, 2) & 0xFFFF
            words.append(pairs[:, 0] | pairs[:, 1] << 16)
        stream = np.concatenate(words)
        density = np.count_nonzero(layer.op.weight) / layer.op.weight.size
        note = f"{layer.op.name}: weights by four rows, as the code takes them; {density:.1%}"
        array = CArray(f"{layer.prefix}_w", "uint32_t", stream, note, {"value": 32 * stream.size})
        return RequantizedTable.of(four_rows.constants(layer), array)

    def emit(self, layer: Layer[QDense], table: RequantizedTable) -> Emission:
        n, cols = layer.op.weight.shape
        name = f"fc_straight_{layer.c_name}"
        dsp, plain = _written(layer.op.weight.astype(np.int8).tobytes(), cols)
        title = f"Fully connected, {cols} inputs, {n} outputs, weights that are not 0 written out."

        def text(isa: str) -> str:
            return render(
                "straight.c.j2", name=name, isa=isa, q=table.q, n=n, cols=cols, title=title,
                fours=align4(cols) // 4, plain=plain, dsp=dsp,
            )  # fmt: skip

        args = [*table.names, layer.inputs[0], layer.output, layer.scratch]
        function = CFunction(name, text("plain"), {"dsp": text("dsp")})
        return Emission(f"{name}({', '.join(args)});", [function])
