"""What is a recurrent layer's own: gates and states, and the way through time.

Its products are fully connected layers (`QSums`), executed by those layers' kernels.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ...lowering.operators.recurrent import (
    Curve,
    QGruReset,
    QGruState,
    QLstmCell,
    QLstmHidden,
    QNarrow,
    QRnnHidden,
)
from ...lowering.qgraph import QOp, QPutTime, QTakeTime
from ...names import layer as c_layer
from ...names import model as c_model
from ..emit import CArray, CFunction, Emission, render
from ..tables import Table
from .base import Kernel, Layer, register


def curve_function(c: Curve) -> CFunction:
    """The C of a curve: its table is an argument."""
    name = f"curve_{c.reach}_{c.point}"
    title = f"A function between -{2**c.reach} and {2**c.reach}, of numbers with {c.point} bits"

    def text(isa: str) -> str:
        return render(
            "recurrent.c.j2", kind="curve", name=name, isa=isa, c=c, title=title,
            top=2 ** (c.reach + c.point),
        )  # fmt: skip

    return CFunction(name, text("plain"), {"dsp": text("dsp")})


def curve_pair(c: Curve) -> CFunction:
    """The same of two numbers in the lanes of a word, for cores with the DSP extension."""
    name = f"{curve_function(c).name}_two"
    title = f"A function between -{2**c.reach} and {2**c.reach}"
    text = render("recurrent.c.j2", kind="curve_two", name=name, c=c, title=title)
    return CFunction(name, "", {"dsp": text})


def curve_array(layer: Layer[Any], c: Curve) -> CArray:
    """Its table, which all layers of a model share that have it."""
    words = c_layer(f"{c.name}_{c.reach}", [f"{c.name}_{c.reach}"])
    name = f"{c_model(layer.graph.name)}_shared_{words}"
    bits = {"value": 16 * c.table.size}
    return CArray(name, "int16_t", c.table, f"{words}: a function between its pieces", bits)


class _Cell(Kernel[QOp, Table]):
    """Element by element of the units."""

    wide = True
    plain_factor = 1.3
    each: ClassVar[float]  #: instructions a unit
    #: the same where two units at a time have a form of their own
    each_of_two: ClassVar[float | None] = None

    def curves(self, op: Any) -> tuple[Curve, ...]:
        """What it looks up."""
        found = (getattr(op, "gate", None), getattr(op, "function", None))
        return tuple(c for c in found if c is not None)

    def table(self, layer: Layer[Any]) -> Table:
        arrays = {a.name: a for a in (curve_array(layer, c) for c in self.curves(layer.op))}
        return Table(tuple(arrays.values()))

    def cost(self, layer: Layer[Any]) -> float:
        return self.each * layer.out_size

    def pairs(self, op: Any) -> bool:
        """Whether it takes two units at a time on cores with the DSP extension."""
        return self.each_of_two is not None and all(c.shift for c in self.curves(op))

    def dsp_work(self, layer: Layer[Any]) -> dict[str, float]:
        if self.each_of_two is None or not self.pairs(layer.op):
            return self.work(layer)
        return {"instructions": self.each_of_two * layer.out_size}

    def emit(self, layer: Layer[Any], table: Table) -> Emission:
        op = layer.op
        u = layer.out_size
        pairs = self.pairs(op)
        functions = [curve_function(c) for c in self.curves(op)]
        functions += [curve_pair(c) for c in self.curves(op) if pairs]
        gate, function = (getattr(op, k, None) for k in ("gate", "function"))
        state = layer.graph.states.get(op.inputs[-1])
        same = isinstance(op, QLstmCell) and state is not None and state.next == op.output
        name = f"{op.kind}_{u}{'_same' if same else ''}"
        t = layer.graph.tensors[op.output]

        def text(pairs: bool) -> str:
            return render(
                "recurrent.c.j2", kind=op.kind, name=name, op=op, u=u, zero=t.zero_point, same=same,
                gate=curve_function(gate).name if gate else "", pairs=pairs,
                function=curve_function(function).name if function else "",
            )  # fmt: skip

        args = [curve_array(layer, c).name for c in self.curves(op)]
        args += [typed(layer, i) for i in range(len(op.inputs) - same)]
        args.append(f"(int16_t *)(void *)({layer.output})" if t.dtype == "int16" else layer.output)
        call = f"{name}({', '.join(args)});"
        own = CFunction(name, text(False), {"dsp": text(True)} if pairs else {})
        return Emission(call, [*functions, own])


def typed(layer: Layer[Any], i: int) -> str:
    """C pointer to operand i in its own type."""
    if layer.graph.tensors[layer.op.inputs[i]].dtype == "int16":
        return f"(const int16_t *)(const void *)({layer.inputs[i]})"
    return layer.inputs[i]


@register
class LstmCell(_Cell, Kernel[QLstmCell, Table]):
    """Cell state of an LSTM."""

    name = "lstm_cell"
    each = 48.0
    each_of_two = 35.5

    def overwrites(self, layer: Layer[Any]) -> tuple[int, ...]:
        return (2,)


@register
class LstmHidden(_Cell, Kernel[QLstmHidden, Table]):
    """Hidden state of an LSTM."""

    name = "lstm_hidden"
    each = 32.0
    each_of_two = 25.0


@register
class GruReset(_Cell, Kernel[QGruReset, Table]):
    """Reset hidden state of a GRU."""

    name = "gru_reset"
    each = 22.0


@register
class GruState(_Cell, Kernel[QGruState, Table]):
    """State of a GRU."""

    name = "gru_state"
    each = 54.0

    def overwrites(self, layer: Layer[Any]) -> tuple[int, ...]:
        return (len(layer.op.inputs) - 1,)


@register
class RnnHidden(_Cell, Kernel[QRnnHidden, Table]):
    """Hidden state of a simple RNN."""

    name = "rnn_hidden"
    each = 24.0


@register
class Narrow(_Cell, Kernel[QNarrow, Table]):
    """Codes of a 16-bit state."""

    name = "narrow"
    each = 7.0


class _Time(Kernel[QOp, Table]):
    """A copy to or from an element of time."""

    def table(self, layer: Layer[Any]) -> Table:
        return Table()

    def _sizes(self, layer: Layer[Any]) -> tuple[int, int]:
        """(channels, turns)."""
        sizes = [layer.graph.tensors[t].size for t in (layer.op.inputs[0], layer.op.output)]
        return min(sizes), max(sizes) // min(sizes)

    def cost(self, layer: Layer[Any]) -> float:
        return 5.0 * self._sizes(layer)[0]

    def emit(self, layer: Layer[Any], table: Table) -> Emission:
        u, turns = self._sizes(layer)
        kind = layer.op.kind
        name = f"{kind}_{u}x{turns}"
        text = render("recurrent.c.j2", kind=kind, name=name, u=u, turns=turns)
        at = f" + {turns - 1} - turn" if layer.op.reverse else " + turn"
        source, to = layer.inputs[0], layer.output
        if isinstance(layer.op, QTakeTime):
            source += at
        else:
            to += at
        return Emission(f"{name}({source}, {to});", [CFunction(name, text)])


@register
class TakeTime(_Time, Kernel[QTakeTime, Table]):
    """The input of a turn."""

    name = "take_time"


@register
class PutTime(_Time, Kernel[QPutTime, Table]):
    """The output of a turn."""

    name = "put_time"
