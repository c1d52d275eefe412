"""Fully connected layers on bit planes: XOR and population count, counted by full adders."""

from __future__ import annotations

import numpy as np

from ...lowering.qgraph import QConv, QDense, Thresholds
from ..emit import CArray, CFunction, Emission, render
from ..packing import is_dense
from ..requant import table
from .base import Kernel, Layer, register
from .binary import Counted, counted, toggles, words


@register
class DenseBinary(Kernel):
    """Rows of few weight planes on few input planes; also windows as large as the image."""

    name = "dense_binary"
    forms = frozenset({"planes"})

    def reads(self, layer: Layer) -> bool:
        return layer.graph.tensors[layer.op.inputs[0]].packed

    def applies(self, layer: Layer) -> bool:
        op = layer.op
        x = layer.graph.tensors[op.inputs[0]]
        return isinstance(op, QConv | QDense) and is_dense(op, x)

    def _parts(self, layer: Layer) -> tuple[Counted, int]:
        """The numbers, and words of an input plane of all channels."""
        op = layer.op
        assert isinstance(op, QConv | QDense)
        x = layer.graph.tensors[op.inputs[0]]
        return counted(op, x), x.rows[0] * x.pitch // 4

    def scratch(self, layer: Layer) -> int:
        c, n = self._parts(layer)
        return 4 * n * len(c.q) if self._gathers(layer) else 0

    def _gathers(self, layer: Layer) -> bool:
        """Whether the planes have to be brought together first: several, of several channels."""
        x = layer.graph.tensors[layer.op.inputs[0]]
        return x.rows[0] > 1 and len(x.planes) > 1

    plain_factor = 1.6
    code_bytes = 500

    def work(self, layer: Layer) -> dict[str, float]:
        c, n = self._parts(layer)
        rows = float(len(c.p))
        return {
            "words": rows * c.pairs * n,
            "pairs": rows * c.pairs,
            "rows": rows,
            "steps": rows * c.steps.shape[1],
            "gathered": float(n * len(c.q)),
        }

    def emit(self, layer: Layer) -> Emission:
        op = layer.op
        assert isinstance(op, QConv | QDense)
        x, y = (layer.graph.tensors[t] for t in (op.inputs[0], op.output))
        c, n = self._parts(layer)
        channels, pixels = x.rows
        bits = c.bits.reshape(*c.bits.shape[:2], channels, pixels)
        rows = words(bits).reshape(*c.bits.shape[:2], n).transpose(1, 0, 2)
        p = layer.prefix
        arrays = [
            CArray(
                f"{p}_b", "uint32_t", rows,
                f"{op.name}: {len(c.bits)} bit plane{'s' if len(c.bits) > 1 else ''} a row",
            )
        ]  # fmt: skip
        thresholds = c.steps.shape[1]
        same = bool(np.all(c.p == c.p[0]))
        constants = np.concatenate(
            ([] if same else [c.p]) + [c.steps if thresholds else c.zero[:, None]], axis=1
        )
        ctype = "int16_t" if np.abs(constants).max() <= 32767 else "int32_t"
        note = ("" if same else "planes, ") + ("thresholds" if thresholds else "count of 0")
        arrays.append(CArray(f"{p}_t", ctype, constants, f"per neuron: {note}"))
        parameters = f"const {ctype} *step"
        q = None
        if not thresholds:
            q = table(p, op.requant)
            arrays.append(q.array)
            parameters += f", const {q.ctype} *q"
        name = f"binary_{c.bits.shape[2]}x{len(c.p)}"
        text = render(
            "dense_binary.c.j2", name=name, parameters=parameters, q=q, n=n, rows=len(c.p),
            p=len(c.bits), k=len(c.q), weights=c.q, shared=[int(v) for v in c.p[0]] if same
            else None, thresholds=thresholds, gather=self._gathers(layer), x=x, y=y,
            toggles=toggles(op.requant.planes) if isinstance(op.requant, Thresholds) else [],
            width=constants.shape[1], channels=channels,
        )  # fmt: skip
        args = [a.name for a in arrays] + [layer.inputs[0], layer.output]
        if self._gathers(layer):
            args.append(layer.scratch)
        functions = [CFunction("differ", render("binary_differ.c.j2")), CFunction(name, text)]
        return Emission(f"{name}({', '.join(args)});", functions, arrays)
