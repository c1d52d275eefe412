"""Layer, RMS and l2 normalization that a source writes out: means, squares, a root, a quotient.

PyTorch before opset 17, the TensorFlow Lite converter and models that normalise by hand do. Piece
by piece nothing of it fits 8 bits (the reciprocal of a root spans decades); as one operator it
does.

Sources order the same sums in many ways, so no order is looked for. With u the tensor that is
normalised, m its mean and r one over a root, every tensor a u + b m + c + r (d u + e m + f) is
followed through sums, differences and products, whatever constants are multiplied in on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from secateur.frontend.ir import COMMON, Graph, Node
from secateur.frontend.ops.activation import arguments
from secateur.frontend.ops.base import Array
from secateur.lowering.rewrite import copy, one_value

Three = tuple[Array, Array, Array]
ZERO, ONE = np.zeros(()), np.ones(())
NONE: Three = (ZERO, ZERO, ZERO)


@dataclass(frozen=True)
class _Spread:
    """max(times * (mean of squares, minus `less` * squared mean) + epsilon, floor) ** power."""

    times: float = 1.0
    less: float = 0.0
    epsilon: float = 0.0
    floor: float = 0.0
    power: float = 1.0


@dataclass(frozen=True)
class _Squares:
    """Squares of u (centred: of u - m)."""

    centred: bool


@dataclass(frozen=True)
class _Linear:
    """plain . (u, m, 1) + scaled . (u, m, 1) * root ** -1/2, coefficients by normalised element."""

    plain: Three
    scaled: Three = NONE
    root: _Spread | None = None

    def times(self, k: Array) -> _Linear:
        p, s = ((v[0] * k, v[1] * k, v[2] * k) for v in (self.plain, self.scaled))
        return replace(self, plain=p, scaled=s)

    def plus(self, other: _Linear) -> _Linear | None:
        if self.root and other.root and self.root != other.root:
            return None
        p, s = (
            (v[0] + w[0], v[1] + w[1], v[2] + w[2])
            for v, w in ((self.plain, other.plain), (self.scaled, other.scaled))
        )
        return _Linear(p, s, self.root or other.root)

    def is_plain(self, *values: float) -> bool:
        """Whether it is `values` . (u, m, 1)."""
        return not self.root and all(
            np.array_equal(c, np.broadcast_to(v, c.shape))
            for c, v in zip(self.plain, values, strict=True)
        )


Form = _Linear | _Squares | _Spread


def find_norms(graph: Graph) -> Graph:
    """A graph with `layer_norm`, `rms_norm` and `l2_norm` where their pieces stood."""
    g = copy(graph)
    for u, axes in dict.fromkeys(_candidates(g)):
        walk = _Walk(g, u, axes)
        whole = {t: norm for t, form in walk.forms.items() if (norm := walk.norm(t, form))}
        for tensor, norm in whole.items():
            readers = [n for n in g.nodes if tensor in n.inputs]
            if tensor in g.outputs or any(n.output not in whole for n in readers):
                g.nodes[g.nodes.index(g.node(tensor))] = norm
    return g


def _candidates(g: Graph) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Tensors that might be normalised, and over which axes: the last ones."""
    for node in g.nodes:
        axes = _summed(node)
        if not axes:
            continue
        read = g.node(node.inputs[0])
        if axes == tuple(range(len(read.shape) - len(axes), len(read.shape))):
            yield node.inputs[0], axes
            if read.inputs and set(read.inputs) == {read.inputs[0]}:
                yield read.inputs[0], axes


def _summed(node: Node) -> tuple[int, ...]:
    """The axes over which a node takes means or sums."""
    if node.op != "reduce" or node.attrs["function"] not in ("mean", "sum"):
        return ()
    return tuple(sorted(a % len(node.shape) for a in node.attrs["axes"]))


class _Walk:
    """The forms of all tensors that one normalised tensor leads to."""

    def __init__(self, g: Graph, u: str, axes: tuple[int, ...]) -> None:
        self.g, self.u, self.axes = g, u, axes
        shape = g.node(u).shape
        outer, self.last = shape[: len(shape) - len(axes)], shape[len(shape) - len(axes) :]
        #: of tensors that broadcast as they should: a number an element, or one a row
        self.shapes = (shape, (*outer, *(1 for _ in axes)))
        self.constants = {n.output: self._constant(n) for n in g.nodes if n.op == "constant"}
        self.forms: dict[str, Form] = {u: _Linear((ONE, ZERO, ZERO))}
        for node in g.nodes:
            if node.output != u and any(t in self.forms for t in node.inputs):
                form = self._form(node)
                if form is not None:
                    self.forms[node.output] = form

    def _constant(self, node: Node) -> Array | None:
        """A constant by normalised element; None where it differs along another axis."""
        value = np.asarray(node.params["value"], np.float64)
        outer = value.shape[: max(value.ndim - len(self.last), 0)]
        return value.reshape(value.shape[len(outer) :]) if set(outer) <= {1} else None

    def _form(self, node: Node) -> Form | None:
        if node.op == "reduce":
            return self._reduced(node, self.forms[node.inputs[0]])
        if node.op == "reshape":  # as layouts are changed; rows stay in their order
            form = self.forms[node.inputs[0]]
            return form if _one_a_row(form) else None
        if node.op == "batch_norm":
            scale, shift = (node.params[k].astype(np.float64) for k in ("scale", "shift"))
            if node.shape not in self.shapes:
                ones = one_value(scale), one_value(shift)
                if None in ones:
                    return None
                scale, shift = map(np.asarray, ones)
            scaled = _times(self.forms[node.inputs[0]], scale)
            return None if scaled is None else _plus(scaled, shift)
        if node.op == "tile":  # one number a row, written out for each element
            one = set(self.g.node(node.inputs[0]).shape[-len(self.last) :]) == {1}
            outer = set(node.attrs["repeats"][: -len(self.last)]) <= {1}
            return self.forms[node.inputs[0]] if one and outer else None
        if node.op == "relu" and node.attr("max_value") is None:
            form = self.forms[node.inputs[0]]
            return form if isinstance(form, _Spread) and form.power > 0 else None
        if node.op == "activation":
            return _applied(node, self.forms[node.inputs[0]])
        if node.op in ("add", "sub", "mul", "div", "maximum"):
            if any(self.g.node(t).shape not in self.shapes for t in node.inputs if t in self.forms):
                return None
            a, b = (self.forms.get(t, self.constants.get(t)) for t in node.inputs)
            return None if a is None or b is None else _combined(node.op, a, b)
        return None

    def _reduced(self, node: Node, form: Form) -> Form | None:
        if _summed(node) != self.axes or self.g.node(node.inputs[0]).shape != self.shapes[0]:
            return None
        count = float(np.prod(self.last)) if node.attrs["function"] == "sum" else 1.0
        if isinstance(form, _Squares):
            return _Spread(times=count, less=float(form.centred))
        if isinstance(form, _Linear) and form.root is None and all(c.ndim == 0 for c in form.plain):
            u, m, one = form.plain
            return _Linear((ZERO, (u + m) * count, one * count))
        return None

    def norm(self, tensor: str, form: Form) -> Node | None:
        """The operator that a tensor of this form is; None where it is none."""
        node = self.g.node(tensor)
        if not isinstance(form, _Linear) or form.root is None:
            return None
        if node.shape != self.g.node(self.u).shape or any(c.any() for c in form.plain[:2]):
            return None
        (d, e, f), shift, root = form.scaled, form.plain[2], form.root
        k, epsilon, floor = root.times, root.epsilon / root.times, root.floor / root.times
        scale = d / np.sqrt(k)
        if f.any() or not d.any() or epsilon < 0:
            return None
        attrs = {key: v for key, v in node.attrs.items() if key in COMMON} | {"axes": self.axes}
        if root.less == 1 and np.allclose(e, -d) and not floor:
            op = "layer_norm"
        elif root.less == 0 and not e.any() and not floor:
            op = "rms_norm"
        elif root.less == 0 and not e.any() and not epsilon:
            count = float(np.prod(self.last))
            if shift.any() or not np.allclose(scale, count**-0.5):
                return None
            attrs["epsilon"] = floor * count
            return replace(node, op="l2_norm", inputs=(self.u,), attrs=attrs, params={})
        else:
            return None
        params = {
            key: np.broadcast_to(v, self.last).astype(np.float32)
            for key, v, without in (("scale", scale, 1.0), ("shift", shift, 0.0))
            if not np.allclose(v, without, rtol=0, atol=1e-12)
        }
        attrs["epsilon"] = epsilon
        return replace(node, op=op, inputs=(self.u,), attrs=attrs, params=params)


def _one_a_row(form: Form) -> bool:
    """Whether it is one number a row, of a spread alone."""
    if isinstance(form, _Linear):
        others = (*form.plain, *form.scaled[:2])
        return form.scaled[2].ndim == 0 and not any(c.any() for c in others)
    return isinstance(form, _Spread)


def _applied(node: Node, form: Form) -> Form | None:
    """A function of one element."""
    function, given = node.attrs["function"], arguments(node)
    if function == "neg":
        return _times(form, -ONE)
    if function == "square":
        return _combined("mul", form, form)
    if not isinstance(form, _Spread):
        return None
    if function == "clip" and given["high"] is None and given["low"] is not None:
        return _floored(form, np.asarray(float(given["low"])))
    powers = {"sqrt": 0.5, "rsqrt": -0.5, "reciprocal": -1.0, "power": given.get("exponent")}
    power = form.power * (powers.get(function) or 0.0)
    if function == "rsqrt":
        added = _plus(form, np.asarray(float(given["epsilon"])))
        if not isinstance(added, _Spread):
            return None
        form = added
    if not form.times or power not in (0.5, -0.5):
        return None
    return replace(form, power=power) if power == 0.5 else _inverse(form)


def _inverse(root: _Spread) -> _Linear:
    """One over a root."""
    return _Linear(NONE, (ZERO, ZERO, ONE), replace(root, power=1.0))


def _combined(op: str, a: Form | Array, b: Form | Array) -> Form | None:
    """Two operands, one of which may be a constant."""
    if op == "div":
        if isinstance(b, _Spread) and b.power == 0.5:
            return _combined("mul", a, _inverse(b))
        return _times(a, 1 / b) if isinstance(b, np.ndarray) and b.all() else None
    if op == "sub":
        negative = -b if isinstance(b, np.ndarray) else _times(b, -ONE)
        return None if negative is None else _combined("add", a, negative)
    if isinstance(a, np.ndarray):
        a, b = b, a
    if isinstance(a, np.ndarray):
        return None
    if isinstance(b, np.ndarray):
        return {"mul": _times, "add": _plus, "maximum": _floored}[op](a, b)
    if op == "add":
        if isinstance(a, _Spread) and isinstance(b, _Spread):
            return _difference(a, b)
        return a.plus(b) if isinstance(a, _Linear) and isinstance(b, _Linear) else None
    if op != "mul" or not isinstance(a, _Linear) or not isinstance(b, _Linear):
        return None
    if a.root is None and b.root is None:
        return _product(a, b)
    a, b = (a, b) if b.root else (b, a)
    if a.root is None and not any(c.any() for c in (*b.plain, *b.scaled[:2])):
        return _Linear(NONE, a.times(b.scaled[2]).plain, b.root)
    return None


def _product(a: _Linear, b: _Linear) -> Form | None:
    """u², (u - m)² or m², of either sign."""
    for sign in (1, -1):
        if all(v.is_plain(sign, 0, 0) for v in (a, b)):
            return _Squares(centred=False)
        if all(v.is_plain(sign, -sign, 0) for v in (a, b)):
            return _Squares(centred=True)
        if all(v.is_plain(0, sign, 0) for v in (a, b)):
            return _Spread(times=0, less=1)  # what a variance has less than the mean of squares
    return None


def _times(form: Form | Array, k: Array) -> Form | None:
    if isinstance(form, _Linear):
        return form.times(k)
    one = one_value(k)
    if not isinstance(form, _Spread) or form.power != 1 or one is None:
        return None
    if form.times == 0:  # a squared mean: its sign tells whether it is taken away
        return replace(form, less=form.less * one)
    if one <= 0:
        return None
    return replace(form, times=form.times * one, epsilon=form.epsilon * one, floor=form.floor * one)


def _plus(form: Form, c: Array) -> Form | None:
    if isinstance(form, _Linear):
        return form.plus(_Linear((ZERO, ZERO, c)))
    if not c.any():
        return form
    one = one_value(c)
    if not isinstance(form, _Spread) or form.power != 1 or form.floor or one is None:
        return None
    return replace(form, epsilon=form.epsilon + one) if form.times else None


def _floored(form: Form, c: Array) -> Form | None:
    """The larger of a spread, or of its root, and a constant."""
    low = one_value(c)
    if not isinstance(form, _Spread) or form.power < 0 or form.floor or low is None or low < 0:
        return None
    return replace(form, floor=low ** (1 / form.power)) if form.times else None


def _difference(a: _Spread, b: _Spread) -> _Spread | None:
    """The mean of squares with the squared mean taken away: a variance."""
    a, b = (a, b) if a.times else (b, a)
    if b.times or a.less or (a.power, b.power) != (1, 1) or a.epsilon or a.floor:
        return None
    return replace(a, less=1.0) if np.isclose(b.less, -a.times) else None
