"""Depthwise convolution along one axis: planes of a single column or row, filters of up to 16 taps.

With the DSP extension, taps i and i + 2 share a multiplication: widening the bytes of a word gives
codes that are two apart, each pair once for the outputs of a block, which are made at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from ...lowering.qgraph import QConv, Requant
from ..emit import CFunction, Emission, render
from ..requant import RequantTable
from .base import Kernel, Layer, register
from .depthwise import depthwise_name, is_depthwise, plane_over_plane
from .source import StoredTable, index_work, row_bytes, row_source, stored_rows

#: Most taps: with more, their pairs leave no registers for sums.
TAPS = 16

#: Registers of weights and sums; two hold pointers, two words of inputs.
_REGISTERS = ("r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr")

#: Instructions of a block beside its sums: constants, the next inputs, the loop.
_BLOCK = 5


def _terms(taps: int) -> list[tuple[int, bool]]:
    """(i, paired) of each multiplication: tap i alone, or with tap i + 2."""
    whole = taps & ~3
    pairs = [(i + j, True) for i in range(0, whole, 4) for j in (0, 1)]
    rest = taps - whole
    return pairs + [(whole + j, rest == 3 and j == 0) for j in range(min(rest, 2))]


def _weights(taps: int) -> Iterator[str]:
    """Instructions that load the terms' weights from r2; they take r3, too."""
    registers = iter(_REGISTERS)
    for i, paired in _terms(taps):
        if not paired:
            yield f"ldrsb {next(registers)}, [r2, #{i}]"
        elif i % 4 == 0 and i + 4 <= taps:
            yield f"ldr r3, [r2, #{i}]"
            yield f"sxtb16 {next(registers)}, r3"
            yield f"sxtb16 {next(registers)}, r3, ror #8"
        elif i % 4 == 0 and i > 0:  # of three taps the outer ones, behind another's
            yield f"ldr r3, [r2, #{i - 1}]"
            yield f"sxtb16 {next(registers)}, r3, ror #8"
        elif i % 4 == 0:
            w = next(registers)
            yield f"ldrsb {w}, [r2]"
            yield "ldrsb r3, [r2, #2]"
            yield f"pkhbt {w}, {w}, r3, lsl #16"


def _sums(taps: int, outputs: int) -> Iterator[str]:
    """Instructions that make so many sums from the inputs at r0, none of which lies behind those
    that they need. Words in r2 and r3."""
    terms = _terms(taps)
    sums = _REGISTERS[len(terms) : len(terms) + outputs]
    needs = defaultdict(list)  #: position -> (paired, sum, weights) of what is multiplied there
    for (i, paired), w in zip(terms, _REGISTERS, strict=False):
        for j, s in enumerate(sums):
            needs[i + j].append((paired, s, w))
    fresh = set(sums)

    def add(position: int, codes: str) -> Iterator[str]:
        for paired, s, w in needs.pop(position):
            if s in fresh:
                fresh.remove(s)
                yield f"{'smuad' if paired else 'smulbb'} {s}, {w}, {codes}"
            else:
                yield f"{'smlad' if paired else 'smlabb'} {s}, {w}, {codes}, {s}"

    def pair(position: int) -> bool:
        return any(paired for paired, _, _ in needs.get(position, ()))

    for p in range(taps + outputs):
        if p not in needs:
            continue
        if not pair(p):
            yield f"ldrb r3, [r0, #{p}]"
        elif pair(p + 1):
            yield f"ldr r2, [r0, #{p}]"
            yield "uxtb16 r3, r2"
            yield from add(p, "r3")
            yield "uxtb16 r2, r2, ror #8"
            yield from add(p + 1, "r2")
            continue
        elif p:
            yield f"ldr r2, [r0, #{p - 1}]"
            yield "uxtb16 r3, r2, ror #8"
        else:
            yield "ldrb r3, [r0]"
            yield "ldrb r2, [r0, #2]"
            yield "pkhbt r3, r3, r2, lsl #16"
        yield from add(p, "r3")


@dataclass(frozen=True)
class Blocks:
    """How the outputs of a line are made: so many at a time, and at the end what is left."""

    taps: int
    outputs: int
    block: int

    @property
    def weights(self) -> list[str]:
        """The instructions that load a channel's weights."""
        return list(_weights(self.taps))

    @property
    def rest(self) -> int:
        """Outputs of the last block, where they are fewer."""
        return self.outputs % self.block

    def parts(self) -> list[tuple[list[str], tuple[str, ...]]]:
        """The instructions of each block that is written out, and where its sums are."""
        n = len(_terms(self.taps))
        sizes = [self.block, *([self.rest] if self.rest else [])]
        return [(list(_sums(self.taps, m)), _REGISTERS[n : n + m]) for m in sizes]

    @property
    def executed(self) -> int:
        """Instructions of a channel."""
        whole, *rest = (len(lines) + 3 * len(sums) + _BLOCK for lines, sums in self.parts())
        return 7 + len(self.weights) + self.outputs // self.block * whole + sum(rest)

    @property
    def written(self) -> int:
        """Instructions of the routine."""
        return sum(len(lines) + 3 * len(sums) + _BLOCK for lines, sums in self.parts())


@cache
def blocks(taps: int, outputs: int, small: bool) -> Blocks:
    """Those that take the fewest instructions, one that is written counted as a few executed."""
    most = min(outputs, len(_REGISTERS) - len(_terms(taps)))
    ways = [Blocks(taps, outputs, m) for m in range(1, most + 1)]
    return min(ways, key=lambda b: b.executed + (100 if small else 0.5) * b.written)


@dataclass(frozen=True)
class Line:
    """The axis along which a layer filters."""

    inputs: int
    before: int  #: padding on either side
    behind: int
    taps: int

    @property
    def padded(self) -> int:
        """Bytes of a channel with its padding."""
        return self.before + self.inputs + self.behind

    @property
    def outputs(self) -> int:
        """Of a channel."""
        return self.padded - self.taps + 1

    @classmethod
    def of(cls, layer: Layer[QConv]) -> Line | None:
        """That of a layer; None where it filters along both."""
        op = layer.op
        (_, h, w), (kh, kw) = layer.graph.tensors[op.inputs[0]].shape, op.weight.shape[2:]
        top, left, bottom, right = op.pads
        if w == kw == 1 and not left + right:
            return cls(h, top, bottom, kh)
        return cls(w, left, right, kw) if h == kh == 1 and not top + bottom else None


@register
class DepthwiseLine(Kernel[QConv, StoredTable]):
    """Depthwise convolution along one axis."""

    name = "depthwise_line"
    forms = frozenset({"dense", "indices"})

    def applies(self, layer: Layer[QConv]) -> bool:
        op = layer.op
        if not is_depthwise(op) or op.stride != (1, 1) or not isinstance(op.requant, Requant):
            return False
        line = Line.of(layer)
        return line is not None and 2 <= line.taps <= TAPS and line.padded < 4096

    def _line(self, layer: Layer[QConv]) -> Line:
        line = Line.of(layer)
        assert line is not None
        return line

    def _copied(self, layer: Layer[QConv]) -> int:
        """Bytes of scratch of a channel, where it is padded."""
        line = self._line(layer)
        return line.padded if line.padded > line.inputs else 0

    def scratch(self, layer: Layer[QConv]) -> int:
        return (self._copied(layer) + 3 & ~3) + row_bytes(stored_rows(layer))

    def overwrites(self, layer: Layer[QConv]) -> tuple[int, ...]:
        return plane_over_plane(layer)

    plain_factor = 12.0  # in C it is no faster than planes with rows: for nobody
    assembler = frozenset({"dsp", "helium"})

    def work(self, layer: Layer[QConv]) -> dict[str, float]:
        op, line = layer.op, self._line(layer)
        channels = len(op.weight)
        return {
            "executed": float(channels * self._blocks(layer).executed),
            "channels": float(channels),
            "copied": float(channels * line.inputs) if self._copied(layer) else 0.0,
            **index_work(layer, float(op.weight.size)),
        }

    def _blocks(self, layer: Layer[QConv]) -> Blocks:
        line = self._line(layer)
        return blocks(line.taps, line.outputs, layer.small)

    def table(self, layer: Layer[QConv]) -> StoredTable:
        return StoredTable.make(layer, stored_rows(layer), layer.op.requant)

    def emit(self, layer: Layer[QConv], table: StoredTable) -> Emission:
        op, q, line = layer.op, table.q, self._line(layer)
        t_in = layer.graph.tensors[op.inputs[0]]
        c, oh, ow = layer.graph.tensors[op.output].shape
        copied = self._copied(layer)
        source = row_source(table.stored, f"scratch + {copied + 3 & ~3}")
        routine = _routine(self._blocks(layer), q)
        name = f"{depthwise_name(op, c, oh, ow)}_line{source.suffix}"
        text = render(
            "depthwise_line.c.j2", name=name, source=source, q=q, line=line, copied=copied, c=c,
            zero=t_in.zero_point, routine=routine.name,
            title=f"Depthwise convolution of {line.taps} taps along a line, {c} channels of "
            f"{line.outputs}.",
        )  # fmt: skip
        args = [*source.arguments, q.array.name, layer.inputs[0], layer.output]
        if copied or source.row_buffer:
            args.append(layer.scratch)
        return Emission(source.call(name, args), [routine, CFunction(name, text)], source.headers)


def _routine(b: Blocks, q: RequantTable) -> CFunction:
    """The routine that makes the outputs of a channel."""
    name = f"line_{b.taps}x{b.outputs}"
    values = {
        "name": name, "b": b, "q": q, "requant": "smlawb" if q.pre_shift else "smlabb",
        "asr": f", asr #{q.shift}" if q.shift else "",
    }  # fmt: skip
    return CFunction(
        name, render("depthwise_line_routine.c.j2", isa="plain", **values),
        {"dsp": render("depthwise_line_routine.c.j2", isa="dsp", **values)},
    )  # fmt: skip
