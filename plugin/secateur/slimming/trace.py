"""One call of one operation, as the rules see it; and the register of the rules.

A rule says what an operation does with channels. It is a function of a `Tracer`, registered under
the class names of the Keras layers and operations it is for, in a file of `rules/`. What has no
rule keeps all its channels: nothing is cut on a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from .channels import Axis, Ids

#: kept elements of an id vector
Count = Callable[[np.ndarray], int]
#: ids whose kept elements are the new value of a configuration entry, or a function of `Count`
Size = np.ndarray | Callable[[Count], Any]
#: the value that removed elements have, [size]; whether it is one everywhere, bool [size]
Constant = tuple[np.ndarray, np.ndarray]


@dataclass
class TracedWeight:
    """A variable of a layer and the channel ids along its axes.

    macs: multiply-accumulates of an inference with one element; 0 for biases, norms and the like.
    """

    variable: Any
    axes: dict[int, np.ndarray]
    macs: int = 0


@dataclass
class LayerView:
    """What slimming needs of a layer, over all its calls."""

    op: Any
    name: str  #: with the names of nested models before it
    made: np.ndarray | None = None  #: ids of the channels it makes
    held: np.ndarray | None = None  #: ids of the channels it has weights for, one by one
    read: np.ndarray | None = None  #: ids of the channels it mixes
    weights: dict[str, TracedWeight] = field(default_factory=dict)
    sizes: dict[str, Size] = field(default_factory=dict)
    #: removed inputs' values [read] -> what they add to the outputs [made], True if everywhere
    absorb: Callable[[np.ndarray], tuple[np.ndarray, bool]] | None = None
    border: str = ""  #: why it is not everywhere
    #: sum of |kernel| over space: [read, made], or [held] of a layer that mixes nothing
    strength: Callable[[], np.ndarray] | None = None
    norm: bool = False  #: a norm: its scale and shift are per channel

    def array(self, name: str) -> np.ndarray:
        """The value of a weight, float32 or float64."""
        return np.asarray(self.weights[name].variable.value)


@dataclass
class Visit:
    """One call: the channels in and out, and which element of which input an output comes from."""

    op: Any
    node: Any
    inputs: list[Axis | None]
    outputs: list[Axis | None]
    layer: LayerView | None
    #: output -> input -> index into that input's ids, -1 for none; None: not element by element
    links: list[list[np.ndarray | None] | None]
    #: values of removed elements, by input (gathered by the links) -> by output
    constant: Callable[[int, list[Constant | None]], Constant] | None
    rearrange: Callable[[tuple[Any, ...], dict[str, Any], Count], Any] | None
    inplace: bool  #: takes no memory of its own on a device: fused or done in place
    inner: Any = None  #: the nested model this is a call of


class Tracer:
    """The interface between a rule and the graph."""

    def __init__(
        self,
        ids: Ids,
        layers: dict[int, LayerView],
        op: Any,
        node: Any,
        inputs: Sequence[Axis | None],
        prefix: str = "",
    ) -> None:
        self.ids = ids
        self.op = op
        self.node = node
        self.inputs = list(inputs)
        self.shapes: list[tuple[int | None, ...]] = [tuple(t.shape) for t in node.input_tensors]
        self.out_shapes: list[tuple[int | None, ...]] = [tuple(t.shape) for t in node.outputs]
        self.outputs: list[Axis | None] = [None] * len(self.out_shapes)
        self.links: list[list[np.ndarray | None] | None] = [None] * len(self.out_shapes)
        self.constant: Callable[[int, list[Constant | None]], Constant] | None = None
        self.rearrange: Callable[[tuple[Any, ...], dict[str, Any], Count], Any] | None = None
        self.inplace = False
        self._layers = layers
        self._prefix = prefix

    # What a layer with weights says ------------------------------------------------------------

    @property
    def layer(self) -> LayerView:
        """This operation's view; the same for every call of a shared layer."""
        return self._layers.setdefault(id(self.op), LayerView(self.op, self._prefix + self.op.name))

    def read(self, axis: int, k: int = 0) -> np.ndarray:
        """The ids along `axis` of input k, which this operation mixes."""
        view = self.layer
        ids = self.along(axis, k)
        if view.read is None:
            view.read = ids
        else:
            self.ids.unite(view.read, ids)
        return view.read

    def along(self, axis: int, k: int = 0) -> np.ndarray:
        """The ids along `axis` of input k; frozen ones if its channels are on another axis."""
        axis %= len(self.shapes[k])
        x = self.inputs[k]
        if x is not None and x.axis == axis:
            return x.ids
        if x is not None:
            self.freeze(x.ids, f"'{self.op.name}' works across another axis than the channels'")
        ids = self.ids.fresh(self.shapes[k][axis] or 1)
        self.ids.freeze(ids, "not a channel axis")
        return ids

    def make(self, n: int, axis: int = -1, output: int = 0) -> np.ndarray:
        """n new channels along `axis` of the output."""
        view = self.layer
        if view.made is None:
            view.made = self.ids.fresh(n)
        self.outputs[output] = Axis(axis % len(self.out_shapes[output]), view.made)
        return view.made

    def weight(
        self, name: str, axes: Mapping[int, np.ndarray], macs: int = 0, of: Any = None
    ) -> None:
        """`name` (an attribute of the layer or of `of`) has ids along these axes.

        macs: multiply-accumulates of this call with each element.
        """
        variable = getattr(of if of is not None else self.op, name, None)
        if variable is None:
            return
        rank = len(variable.shape)
        known = self.layer.weights.get(name)
        if known is None:
            self.layer.weights[name] = TracedWeight(
                variable, {a % rank: v for a, v in axes.items()}, macs
            )
            return
        known.macs += macs
        for a, ids in axes.items():
            self.ids.unite(known.axes[a % rank], ids)

    def resize(self, **sizes: Size) -> None:
        """Entries of the layer's configuration that follow from what is kept."""
        self.layer.sizes.update(sizes)

    # What an operation that keeps channels apart says ------------------------------------------

    def keep(self, axis: int, index: Sequence[np.ndarray | None], output: int = 0) -> np.ndarray:
        """Element e of the output is made of element index[k][e] of every input k (-1: none)."""
        size = len(next(i for i in index if i is not None))
        ids = np.full(size, -1, np.int64)
        for x, where in zip(self.inputs, index, strict=True):
            if where is None or x is None:
                continue
            found = where >= 0
            source = x.ids[where[found]]
            both = ids[found] >= 0
            if both.any():
                self.ids.unite(ids[found][both], source[both])
            ids[found] = np.where(both, ids[found], source)
        missing = ids < 0
        if missing.any():
            new = self.ids.fresh(int(missing.sum()))
            self.freeze(new, f"'{self.op.name}' fills it in")
            ids[missing] = new
        self.outputs[output] = Axis(axis % len(self.out_shapes[output]), ids)
        self.links[output] = list(index)
        return ids

    def same(self) -> np.ndarray | None:
        """The output has the input's channels, on the same axis."""
        x = self.inputs[0]
        if x is None:
            return None
        index: list[np.ndarray | None] = [None] * len(self.inputs)
        index[0] = np.arange(len(x.ids))
        return self.keep(x.axis, index)

    def moved(self, axis: int) -> np.ndarray | None:
        """The output has the input's channels, on `axis`."""
        x = self.inputs[0]
        return None if x is None else self.keep(axis, [np.arange(len(x.ids))])

    # What cannot be cut ------------------------------------------------------------------------

    def freeze(self, ids: np.ndarray, why: str) -> None:
        """`ids` stay."""
        self.ids.freeze(ids, why)

    def whole(self, why: str) -> None:
        """All channels in and out of this operation stay."""
        for x in self.inputs:
            if x is not None:
                self.freeze(x.ids, why)
        for k, shape in enumerate(self.out_shapes):
            if len(shape) > 1 and shape[-1]:
                ids = self.ids.fresh(int(shape[-1]))
                self.freeze(ids, why)
                self.outputs[k] = Axis(len(shape) - 1, ids)

    def visit(self) -> Visit:
        """What was said."""
        return Visit(
            self.op, self.node, self.inputs, self.outputs, self._layers.get(id(self.op)),
            self.links, self.constant, self.rearrange, self.inplace,
        )  # fmt: skip


Rule = Callable[[Tracer], None]
_F = TypeVar("_F", bound=Rule)
_RULES: dict[str, Rule] = {}
#: modules whose classes are what their names say; a subclass elsewhere may do anything
_TRUSTED = ("keras.", "secateur.")


def rule(*names: str) -> Callable[[_F], _F]:
    """Register a rule for these class names."""

    def register(f: _F) -> _F:
        for name in names:
            _RULES[name] = f
        return f

    return register


def rule_for(op: Any) -> Rule:
    """The rule of an operation; all channels stay where there is none."""
    kind = type(op)
    if kind.__module__.startswith(_TRUSTED) and kind.__name__ in _RULES:
        for state in ("quantization_mode", "lora_enabled"):
            if getattr(op, state, None):
                return lambda t: t.whole(f"'{op.name}' has weights of another kind ({state})")
        return _RULES[kind.__name__]
    return lambda t: t.whole(f"{kind.__name__} '{op.name}' is not known to keep channels apart")


def kinds() -> list[str]:
    """Class names that have a rule."""
    return sorted(_RULES)
