"""Several tensors into one: sums, products, concatenations."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..trace import Constant, Tracer, rule


@rule(
    "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum",
    "Divide", "TrueDivide", "DivideNoNan", "Power", "SquaredDifference",
)  # fmt: skip
def elementwise(t: Tracer) -> None:
    """Channels at the same place go together; one that is spread over all others stays."""
    rank = len(t.out_shapes[0])
    if any(len(s) != rank for s in t.shapes) or _has_arrays(t.node):
        t.whole(f"'{t.op.name}' spreads a tensor of another shape")
        return
    axes = {
        x.axis for x, s in zip(t.inputs, t.shapes, strict=True) if x is not None and s[x.axis] != 1
    }
    axes = axes or {x.axis for x in t.inputs if x is not None}
    if len(axes) > 1:
        t.whole(f"'{t.op.name}' joins channels on different axes")
        return
    if not axes:
        return
    axis = axes.pop()
    size = t.out_shapes[0][axis]
    index: list[np.ndarray | None] = []
    for x, s in zip(t.inputs, t.shapes, strict=True):
        if x is not None and x.axis == axis and s[axis] == size:
            index.append(np.arange(size or 1))
        else:
            index.append(None)
            if x is not None:
                t.freeze(x.ids, f"'{t.op.name}' spreads it over channels")
    if any(i is None and (s[axis] == size != 1) for i, s in zip(index, t.shapes, strict=True)):
        t.whole(f"'{t.op.name}' joins channels with what has none")
        return
    t.keep(axis, index)
    node, op = t.node, t.op
    product = type(op).__name__ == "Multiply"

    def constant(_output: int, inputs: list[Constant | None]) -> Constant:
        known = [c for c in inputs if c is not None]
        everywhere = np.logical_and.reduce([c[1] for c in known])
        if len(known) < len(inputs):
            # an operand that changes from input to input: only a product with 0 is constant
            value = np.prod([c[0] for c in known], axis=0)
            return (np.where(value == 0, value, 0.0), everywhere & (value == 0) & product)
        fed = {id(x): c[0] for x, c in zip(node.input_tensors, known, strict=True)}
        return _evaluate(op, node, fed), everywhere

    t.constant = constant


def _evaluate(op: Any, node: Any, values: dict[int, np.ndarray]) -> np.ndarray:
    """`op` as called at `node`, of vectors [n] in place of its tensors."""
    import keras

    tensors = {
        key: keras.ops.convert_to_tensor(v[None].astype(np.float32)) for key, v in values.items()
    }
    args, kwargs = node.arguments.fill_in(tensors)
    kwargs = {k: v for k, v in kwargs.items() if k != "mask"}
    return np.asarray(op.call(*args, **kwargs))[0].astype(np.float64)


def _has_arrays(node: Any) -> bool:
    """Whether an operand is an array that is part of the graph."""
    import keras

    flat = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    return any(not isinstance(x, keras.KerasTensor) and getattr(x, "shape", ()) != () for x in flat)


@rule("Concatenate")
def concatenate(t: Tracer) -> None:
    """Along the channels one after the other; along another axis, side by side."""
    axis = t.op.axis % len(t.out_shapes[0])
    axes = {x.axis for x in t.inputs if x is not None}
    if any(x is None for x in t.inputs) or len(axes) > 1:
        t.whole(f"'{t.op.name}' joins channels on different axes")
        return
    if axes != {axis}:
        n = len(t.inputs[0].ids)  # type: ignore[union-attr]
        t.keep(axes.pop(), [np.arange(n)] * len(t.inputs))
        t.constant = _one_of_many
        return
    sizes = [len(x.ids) for x in t.inputs if x is not None]
    ends = np.cumsum(sizes)
    index: list[np.ndarray | None] = []
    for end, n in zip(ends, sizes, strict=True):
        where = np.full(ends[-1], -1)
        where[end - n : end] = np.arange(n)
        index.append(where)
    t.keep(axis, index)

    def constant(_output: int, inputs: list[Constant | None]) -> Constant:
        parts = [c for c in inputs if c is not None]
        value = sum(c[0] for c in parts)  # 0 where an input has no part
        return np.asarray(value), np.logical_and.reduce([c[1] for c in parts])

    t.constant = constant


def _one_of_many(_output: int, inputs: list[Constant | None]) -> Constant:
    """Side by side: one constant only if all agree."""
    known = [c for c in inputs if c is not None]
    values = np.stack([c[0] for c in known])
    everywhere = np.logical_and.reduce([c[1] for c in known])
    return values.mean(0), everywhere & (values == values[0]).all(0)
