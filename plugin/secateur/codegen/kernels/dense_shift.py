"""Fully connected layers of powers of two: sums by magnitude, or codes of sign and exponent."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from ...coding.powers import chains, chains_of
from ...lowering.qgraph import QDense
from ..emit import CFunction, Emission, render
from ..requant import requantization
from ..tables import RequantizedTable, stream_array
from .base import Kernel, Layer, register
from .rows.powers import times


class _Powers(Kernel[QDense, RequantizedTable]):
    """Rows of powers of two; nothing is multiplied before requantization."""

    kind: ClassVar[str]
    plain_factor = 1.1

    def applies(self, layer: Layer[QDense]) -> bool:
        return bool(chains(layer.op.weight))

    @abstractmethod
    def _notes(self, layer: Layer[QDense]) -> dict[str, str]:
        """The streams it reads, each with its comment."""

    def table(self, layer: Layer[QDense]) -> RequantizedTable:
        arrays = [
            stream_array(layer.prefix, layer.weights.stream(name), note)
            for name, note in self._notes(layer).items()
        ]
        return RequantizedTable.of(requantization(layer.prefix, layer.op.requant), *arrays)

    def emit(self, layer: Layer[QDense], table: RequantizedTable) -> Emission:
        n, cols = layer.op.weight.shape
        found = chains_of(layer.weights)
        total = " + ".join(times(f"a{i}", c.odd << c.low) for i, c in enumerate(found))
        name = f"fc_{self.kind}_{cols}x{n}"
        text = render(
            f"dense_{self.kind}.c.j2", name=name, n=n, cols=cols, q=table.q, chains=found,
            total=total, arrays=table.arrays, width=layer.weights.meta.get("width", 0),
        )  # fmt: skip
        args = [*table.names, layer.inputs[0], layer.output]
        return Emission(f"{name}({', '.join(args)});", [CFunction(name, text)])


@register
class DenseShift(_Powers):
    """Lists of columns by magnitude."""

    name = "dense_shift"
    kind = "shift"
    forms = frozenset({"shift"})

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        rows = float(len(layer.op.weight))
        groups = float(sum(len(c.magnitudes) for c in chains_of(layer.weights)))
        nonzeros = float(np.count_nonzero(layer.op.weight))
        return {"nonzeros": nonzeros, "groups": groups * rows, "rows": rows}

    def _notes(self, layer: Layer[QDense]) -> dict[str, str]:
        values = ", ".join(str(m) for c in chains_of(layer.weights) for m in c.magnitudes)
        density = np.count_nonzero(layer.op.weight) / layer.op.weight.size
        return {
            "c": f"{layer.op.name}: columns; density {density:.1%}",
            "n": f"columns of -m and of +m by row, for each m of {values}",
        }


@register
class DensePowerCodes(_Powers):
    """Packed codes, read where they lie."""

    name = "dense_power_codes"
    kind = "power_codes"
    forms = frozenset({"power_codes"})

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        op = layer.op
        unit = "codes" if layer.weights.meta["width"] == 4 else "odd_codes"
        return {
            f"dense_shift.{unit}": float(op.weight.size),
            "dense_shift.packed_nonzeros": float(np.count_nonzero(op.weight)),
            "dense_shift.packed_rows": float(len(op.weight)),
        }

    def _notes(self, layer: Layer[QDense]) -> dict[str, str]:
        width = layer.weights.meta["width"]
        return {"w": f"{layer.op.name}: {width}-bit codes of sign and exponent"}
