"""Fully connected layers of powers of two: sums by magnitude, or codes of sign and exponent."""

from __future__ import annotations

import numpy as np

from ...coding.base import Encoding
from ...coding.powers import chains, chains_of
from ...lowering.qgraph import QDense
from ..emit import CArray, CFunction, Emission, render
from ..requant import RequantTable, table
from .base import Kernel, Layer, register
from .conv_shift import times


@register
class DenseShift(Kernel):
    """Rows of powers of two; nothing is multiplied before requantization."""

    name = "dense_shift"
    forms = frozenset({"shift", "sparse"})

    def applies(self, layer: Layer) -> bool:
        return isinstance(layer.op, QDense) and bool(chains(layer.op.weight))

    def takes(self, encoding: Encoding) -> bool:
        """Lists of columns by magnitude, and packed codes, which it reads where they lie."""
        return encoding.name in ("shift", "power_codes")

    plain_factor = 1.1
    code_bytes = 160

    def work(self, layer: Layer) -> dict[str, float]:
        op, e = layer.op, layer.encoded
        assert isinstance(op, QDense)
        assert e is not None
        rows, nonzeros = float(len(op.weight)), float(np.count_nonzero(op.weight))
        if e.encoding == "power_codes":
            width = "codes" if e.meta["width"] == 4 else "odd_codes"
            return {width: float(op.weight.size), "coded_nonzeros": nonzeros, "coded_rows": rows}
        groups = float(sum(len(c.magnitudes) for c in chains_of(e)))
        return {"nonzeros": nonzeros, "groups": groups * rows, "rows": rows}

    def emit(self, layer: Layer) -> Emission:
        op, e = layer.op, layer.encoded
        assert isinstance(op, QDense)
        assert e is not None
        q = table(layer.prefix, op.requant)
        arrays = self._lists(layer) if e.encoding == "shift" else self._codes(layer)
        text, name = self._text(layer, q, arrays)
        args = [*(a.name for a in arrays), q.array.name, layer.inputs[0], layer.output]
        return Emission(f"{name}({', '.join(args)});", [CFunction(name, text)], [*arrays, q.array])

    def _text(self, layer: Layer, q: RequantTable, arrays: list[CArray]) -> tuple[str, str]:
        op, e = layer.op, layer.encoded
        assert isinstance(op, QDense)
        assert e is not None
        n, cols = op.weight.shape
        found = chains_of(e)
        total = " + ".join(times(f"a{i}", c.odd << c.low) for i, c in enumerate(found))
        name = f"{e.encoding}_{cols}x{n}"
        text = render(
            f"dense_{e.encoding}.c.j2", name=name, n=n, cols=cols, q=q, chains=found, total=total,
            arrays=arrays, width=e.meta.get("width", 0),
        )  # fmt: skip
        return text, name

    @staticmethod
    def _lists(layer: Layer) -> list[CArray]:
        e, op = layer.encoded, layer.op
        assert e is not None
        assert isinstance(op, QDense)
        values = ", ".join(str(m) for c in chains_of(e) for m in c.magnitudes)
        density = np.count_nonzero(op.weight) / op.weight.size
        notes = {
            "n": f"columns of -m and of +m by row, for each m of {values}",
            "c": f"{op.name}: columns; density {density:.1%}",
        }
        return [
            CArray(
                f"{layer.prefix}_{s.name}", s.ctype,
                np.frombuffer(s.data, "<u1" if s.ctype == "uint8_t" else "<u2"), notes[s.name],
                {s.kind: s.bits},
            )
            for s in (e.stream("c"), e.stream("n"))
        ]  # fmt: skip

    @staticmethod
    def _codes(layer: Layer) -> list[CArray]:
        e = layer.encoded
        assert e is not None
        data = np.frombuffer(e.stream("w").data, np.uint8)
        note = f"{layer.op.name}: {e.meta['width']}-bit codes of sign and exponent"
        bits = {"value": e.stream("w").bits}
        return [CArray(f"{layer.prefix}_w", "uint8_t", data, note, bits)]
