"""Layers without weights: pooling, add, rescale, padding, softmax; and the model's two ends."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ...lowering.qgraph import (
    QAdd,
    QPad,
    QPool,
    QRescale,
    QSoftmax,
    Requant,
    Thresholds,
)
from ..emit import WRITTEN_OUT, CFunction, Emission, environment, render
from ..geometry import Ring, Stripe
from ..requant import RequantTable, inlined, multiplied, requantization, wide_code
from ..tables import Table
from .base import Kernel, Layer, Op, Plain, register
from .by_element import ByElement, planes_of_bytes, runs
from .pool_words import PoolWords


def _macro(macro: str, *args: object) -> str:
    module = environment().get_template("small.j2").module
    return str(getattr(module, macro)(*args))


class Elementwise(Plain[Op]):
    """A kernel whose work is in proportion to its output."""

    def work(self, layer: Layer[Op]) -> dict[str, float]:
        return {"elements": float(layer.out_size)}


@dataclass(frozen=True, kw_only=True)
class OptionalTable(Table):
    """A requantization, where there is one."""

    q: RequantTable | None = None

    @classmethod
    def of(cls, layer: Layer[Op], r: Requant | Thresholds | None) -> OptionalTable:
        """`r` of `layer`."""
        q = requantization(layer.prefix, r) if r else None
        return cls(arrays=(q.array,) if q else (), q=q)


@register
class Pool(Kernel[QPool, OptionalTable]):
    """Max and mean pooling."""

    name = "pool"
    wide = True

    def work(self, layer: Layer[QPool]) -> dict[str, float]:
        op = layer.op
        outputs = float(layer.graph.tensors[op.output].size)
        taps = outputs * op.window[0] * op.window[1]
        kind = "padded" if any(op.pads) or self._numbered(layer) else op.mode
        t_in = layer.graph.tensors[op.inputs[0]]
        if op.window == t_in.shape[1:]:
            kind = f"whole_{kind}"
        if self._whole(op, t_in.shape) and not t_in.wide:  # four codes at a time, then the rest
            size = op.window[0] * op.window[1]
            return {
                f"{kind}_outputs": outputs,
                f"{kind}_words": outputs * (size // 4),
                f"{kind}_taps": outputs * (size % 4),
            }
        return {f"{kind}_outputs": outputs, f"{kind}_taps": taps}

    def dsp_work(self, layer: Layer[QPool]) -> dict[str, float]:
        words = self._words(layer)
        if words is None:
            return self.work(layer)
        c, oh, _ = layer.graph.tensors[layer.op.output].shape
        return words.work(c * oh)

    def _words(self, layer: Layer[QPool]) -> PoolWords | None:
        """How cores with the DSP extension take maxima, where it is not byte by byte."""
        return None if self._numbered(layer) else PoolWords.of(layer)

    @staticmethod
    def _whole(op: QPool, shape: tuple[int, ...]) -> bool:
        """Whether each plane becomes its mean, which has a loop of its own."""
        return op.mode == "avg" and op.window == shape[1:] and not any(op.pads)

    def overwrites(self, layer: Layer[QPool]) -> tuple[int, ...]:
        op = layer.op
        t_in, t_out = layer.graph.tensors[op.inputs[0]], layer.graph.tensors[op.output]
        if layer.stripe or not layer.shrinks:
            return ()
        if t_out.size == t_in.shape[0]:  # one value a plane: written behind what is read
            return (0,)
        # windows that do not overlap are read before anything at or behind them is written
        apart = op.stride[0] >= op.window[0] and op.stride[1] >= op.window[1]
        return (0,) if apart and not any(op.pads) else ()

    def chains(self, layer: Layer[QPool]) -> bool:
        tensors = [layer.graph.tensors[t] for t in (layer.op.inputs[0], layer.op.output)]
        return all(len(t.shape) == 3 and not t.wide for t in tensors)

    def straight(self, layer: Layer[QPool]) -> bool:
        op = layer.op
        assert layer.stripe is not None
        ring = layer.stripe.held[0] < layer.graph.tensors[op.inputs[0]].shape[1]
        return not any(op.pads) and (op.stride[0] >= op.window[0] or not ring)

    def _numbered(self, layer: Layer[QPool]) -> bool:
        """Whether it is told which row is its first, and looks where each lies."""
        return layer.stripe is not None and not self.straight(layer)

    def table(self, layer: Layer[QPool]) -> OptionalTable:
        return OptionalTable.of(layer, layer.op.requant)

    def emit(self, layer: Layer[QPool], table: OptionalTable) -> Emission:
        op = layer.op
        c, h, w = layer.graph.tensors[op.inputs[0]].shape
        t_out = layer.graph.tensors[op.output]
        oh, ow = t_out.shape[1:] if len(t_out.shape) == 3 else (1, 1)
        s = layer.stripe or Stripe(oh, 1, (h,), oh)
        numbered = self._numbered(layer)
        oh = s.rows
        q = table.q
        whole = self._whole(op, (c, h, w))
        name = f"{op.mode}_pool_{op.window[0]}x{op.window[1]}_{c}_{h}x{w}"
        name += f"_{oh}_rows" if layer.stripe else ""
        form = partial(
            render, "pool.c.j2",
            title=f"{'Maximum' if op.mode == 'max' else 'Mean'} of {op.window[0]}x{op.window[1]} "
            f"windows, {c} planes of {h}x{w}.",
            name=name, c=c, h=h, w=w, oh=oh, ow=ow, kh=op.window[0], kw=op.window[1],
            sy=op.stride[0], sx=op.stride[1], pads=op.pads, padded=any(op.pads) or numbered,
            mode=op.mode, q=q, whole=whole, counts=op.counts,
            stride=q.array.values.shape[1] if q else 0, numbered=numbered,
            ring=Ring(s.held[0], h, w, op.stride[0], op.pads), in_plane=s.held[0] * w,
            out_gap=s.out * ow - oh * ow, kind=layer.ctype(op.inputs[0]),
            out=layer.ctype(op.output), least=layer.graph.tensors[op.inputs[0]].bottom,
        )  # fmt: skip
        words = self._words(layer)
        forms = {"dsp": form(words=words)} if words else {}
        args = [*table.names, *layer.pointers]
        args += [layer.first] if numbered else []
        return Emission(
            f"{name}({', '.join(args)});",
            [*wide_code(op.requant), CFunction(name, form(words=None), forms)],
        )


@register
class Add(ByElement[QAdd, Table]):
    """Sum of two tensors where no convolution takes it in."""

    name = "add"

    def overwrites(self, layer: Layer[QAdd]) -> tuple[int, ...]:
        return (0, 1)

    def table(self, layer: Layer[QAdd]) -> Table:
        return Table()

    def emit(self, layer: Layer[QAdd], table: Table) -> Emission:
        name, run = f"add_{layer.c_name}", runs(layer)
        call = run.around(f"{name}({', '.join(run.pointers)});")
        return Emission(call, [CFunction(name, _macro("add", name, run.size, layer.op))])


@register
class Rescale(ByElement[QRescale, OptionalTable]):
    """Change of scale of single codes."""

    name = "rescale"
    wide = True

    def overwrites(self, layer: Layer[QRescale]) -> tuple[int, ...]:
        return (0,) if layer.shrinks else ()

    def table(self, layer: Layer[QRescale]) -> OptionalTable:
        r = layer.op.requant
        several = isinstance(r, Thresholds) and r.values.size > 1 and r.line is None
        return OptionalTable.of(layer, r if several else None)

    def emit(self, layer: Layer[QRescale], table: OptionalTable) -> Emission:
        op = layer.op
        name, run = f"rescale_{layer.c_name}", runs(layer)
        q, r = table.q or requantization(layer.prefix, op.requant), op.requant
        line = multiplied(r)
        if line is not None:
            m, c = inlined(line)
        else:
            assert isinstance(r, Thresholds)
            m, c = int(r.flip[0]), int(r.values[0, 0]) if r.values.size == 1 else 1
        kinds = layer.ctype(op.inputs[0]), layer.ctype(op.output)
        text = _macro("rescale", name, run.size, q, m, c, *kinds)
        call = run.around(f"{name}({', '.join(run.pointers)});")
        return Emission(call, [*wide_code(r), CFunction(name, text)])


@register
class Pad(Elementwise[QPad]):
    """Explicit padding."""

    name = "pad"
    wide = True

    def chains(self, layer: Layer[QPad]) -> bool:
        return planes_of_bytes(layer)

    def work(self, layer: Layer[QPad]) -> dict[str, float]:
        c, h, w = layer.graph.tensors[layer.op.inputs[0]].shape
        if s := layer.stripe:
            rows = float(s.calls * c * s.rows)
            return {"chained_rows": rows, "copied" if w > WRITTEN_OUT else "moved": rows * w}
        return {"elements": float(layer.out_size), "rows": float(c * h)}

    def emit(self, layer: Layer[QPad], table: Table) -> Emission:
        op, s = layer.op, layer.stripe
        t = layer.graph.tensors[op.inputs[0]]
        c, h, w = t.shape
        _, oh, ow = layer.graph.tensors[op.output].shape
        if s:
            name = f"pad_{c}_{h}x{w}_{s.rows}_rows_of_{ow}"
            ring = Ring(s.held[0], h, w, 1, op.pads)
            text = render(
                "pad_rows.c.j2", name=name, c=c, h=h, w=w, ow=ow, pads=op.pads, ring=ring,
                zero=t.zero_point, rows=s.rows, in_plane=s.held[0] * w, out_plane=s.out * ow,
            )  # fmt: skip
            call = f"{name}({', '.join([*layer.pointers, layer.first])});"
            return Emission(call, [CFunction(name, text)])
        name = f"pad_{c}_{h}x{w}_{oh}x{ow}"
        text = _macro("pad", name, c, h, w, oh, ow, op.pads, t.zero_point, layer.ctype(op.output))
        return Emission(f"{name}({', '.join(layer.pointers)});", [CFunction(name, text)])


@register
class Softmax(Elementwise[QSoftmax]):
    """Softmax over a vector."""

    name = "softmax"

    def overwrites(self, layer: Layer[QSoftmax]) -> tuple[int, ...]:
        return (0,)

    def emit(self, layer: Layer[QSoftmax], table: Table) -> Emission:
        op = layer.op
        n = layer.graph.tensors[op.output].size
        name = f"softmax_{n}"
        text = _macro("softmax", name, n, op.beta)
        return Emission(f"{name}({layer.inputs[0]}, {layer.output});", [CFunction(name, text)])
