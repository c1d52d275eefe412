"""Maxima of windows by words, for cores with the DSP extension: two instructions take the larger
bytes of two words, so that four columns of the rows are looked at together, then neighbours."""

from __future__ import annotations

from dataclasses import dataclass

from ...lowering.qgraph import QPool
from .base import Layer

#: Widths of windows that lie side by side, of which a word holds whole ones.
WIDTHS = (1, 2, 4)


@dataclass(frozen=True)
class PoolWords:
    """Windows of kh by kw pixels, in planes whose rows have `w`, to rows of `ow`."""

    kh: int
    kw: int
    w: int
    ow: int

    @classmethod
    def of(cls, layer: Layer[QPool]) -> PoolWords | None:
        """Those of a layer without padding; None where they overlap in a row or are no bytes."""
        op = layer.op
        t_in, t_out = layer.graph.tensors[op.inputs[0]], layer.graph.tensors[op.output]
        kinds = {layer.ctype(op.inputs[0]), layer.ctype(op.output)}
        kh, kw = op.window
        if op.mode != "max" or kinds != {"uint8_t"} or len(t_out.shape) != 3 or any(op.pads):
            return None
        if kw not in WIDTHS or op.stride[1] != kw:
            return None
        out = cls(kh, kw, t_in.shape[2], t_out.shape[2])
        return out if out.fours or out.two else None

    @property
    def fours(self) -> int:
        """Fours of a row of the output."""
        return self.ow // 4

    @property
    def two(self) -> bool:
        """Whether two more are made of one word."""
        return self.kw == 2 and self.ow % 4 > 1

    @property
    def rest(self) -> int:
        """What is left of a row, made byte by byte."""
        return self.ow - 4 * self.fours - 2 * self.two

    @property
    def halves(self) -> tuple[int, ...]:
        """By how many bits a word is moved for the maximum of neighbours, one after the other."""
        return {1: (), 2: (8,), 4: (16, 8)}[self.kw]

    def work(self, lines: int) -> dict[str, float]:
        """Units of `lines` rows of the output."""
        words = self.fours * self.kw + self.two
        return {
            "max_lines": float(lines),
            "max_words": float(lines * words * self.kh),
            f"max_fours_{self.kw}": float(lines * self.fours),
            "max_twos": float(lines * self.two),
            "max_outputs": float(lines * self.rest),
            "max_taps": float(lines * self.rest * self.kh * self.kw),
        }
