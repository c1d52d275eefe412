"""What every lowering rule works with: the integer graph as it grows, and its tensors.

A rule is a function marked `@lowers("operator")` in lowering/operators/; it reads a node of the
simplified float graph and emits integer operators.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Graph, Node
from secateur.lowering import levels
from secateur.lowering.calibrate import Range
from secateur.lowering.qgraph import QGraph, QOp, QRescale, QTensor, Requant, Thresholds
from secateur.lowering.registry import lowering_of
from secateur.lowering.requant import DoesNotFitError, requantize
from secateur.lowering.views import planar
from secateur.lowering.weights import QWeights


@dataclass(frozen=True)
class Value:
    """Where a float tensor lives: a stored tensor, and the order of a flattened image in it.

    order[i] is the row-major index of what is stored at i; None where storage is the natural one.
    """

    stored: str
    order: np.ndarray | None = None


class Lowering:
    """A float graph, simplified and calibrated, on its way to integers."""

    def __init__(self, graph: Graph, ranges: dict[str, Range]) -> None:
        self.graph = graph
        self.ranges = ranges
        self.q = QGraph(graph.name, [], {}, graph.input, graph.output)
        self.values: dict[str, Value] = {}
        self.after: dict[str, list[QOp]] = {}  #: Rescales that must follow the tensor's operator

    def run(self) -> QGraph:
        for node in self.graph.nodes:
            lowering_of(node)(self, node)
        out = self.values[self.graph.output]
        shape = self.q.tensors[out.stored].shape
        if out.order is not None and not (
            len(shape) == 3 and np.array_equal(out.order, planar((*shape[1:], shape[0])))
        ):
            raise ModelError(
                f"the output '{self.graph.output}' of model '{self.graph.name}' is a flattened "
                "image that was computed on; end the model with a Dense layer"
            )
        self.q.output = out.stored
        return self.q

    def new(self, node: Node, like: QTensor | None = None) -> QTensor:
        """Declare the output of `node`: its own range, or scale and zero point of `like`."""
        if like is None:
            low, high = node.attrs.get("range", self.ranges[node.output])
            scale, zero = affine(low, high)
            t = QTensor(node.output, stored_shape(node.shape), scale, zero)
        else:
            t = replace(like, name=node.output, shape=stored_shape(node.shape))
        self.q.tensors[t.name] = t
        self.values[node.output] = Value(t.name)
        return t

    def image(self, node: Node, i: int = 0) -> QTensor:
        """Operand i as an image of the shape the float graph gives it."""
        name = node.inputs[i]
        value, shape = self.values[name], self.shape(name)
        t = self.q.tensors[value.stored]
        if value.order is not None or len(shape) not in (1, 3):
            raise self.misplaced(node)
        want = (shape[0], 1, 1) if len(shape) == 1 else stored_shape(shape)
        if t.shape != want:
            if len(t.shape) != 1:
                raise self.misplaced(node)
            t = replace(t, shape=want)
            self.q.tensors[t.name] = t
        return t

    def shape(self, tensor: str) -> tuple[int, ...]:
        return self.graph.node(tensor).shape

    def misplaced(self, node: Node) -> ModelError:
        return ModelError(
            f"layer '{node.name}' ({node.op}) reads a tensor reshaped in a way that would move its "
            "elements on the device; reshape only right behind the input or a Dense layer"
        )

    def source(self, node: Node, i: int = 0) -> QTensor:
        return self.q.tensors[self.values[node.inputs[i]].stored]

    def emit(self, op: QOp) -> None:
        self.q.ops.append(op)
        self.q.ops += self.after.pop(op.output, [])

    def weighted(
        self, node: Node, x: QTensor, weights: QWeights, residual: QTensor | None
    ) -> tuple[QTensor, Requant | Thresholds, int | None]:
        w = weights.values.astype(np.int64)
        low, high = x.top * np.minimum(w, 0).sum(axis=1), x.top * np.maximum(w, 0).sum(axis=1)
        if low.min() < -(2**31) or high.max() >= 2**31:
            raise ModelError(
                f"layer '{node.name}' ({node.op}) sums {w.shape[1]} products, which can leave the "
                "32-bit accumulator; split the layer or prune it"
            )
        factor = node.params.get("factor", np.ones(len(w))).astype(np.float64)
        bias = node.params.get("bias", np.zeros(len(w))).astype(np.float64)

        zero_sum = x.zero_point * w.sum(axis=1)
        if "levels" in node.attrs:
            m = x.scale * weights.scale * factor
            y, steps = self.levels(node, x, m, bias, zero_sum, low, high)
            return y, steps, None

        def constants(y: QTensor) -> tuple[Requant, int | None]:
            return requantize(
                x.scale * weights.scale * factor / y.scale,
                y.zero_point + bias / y.scale,
                zero_sum,
                low,
                high,
                (residual.scale / y.scale, residual.zero_point) if residual else None,
            )

        y = self.new(node)
        y, (requant, r) = self.fit(node, y, constants)
        return y, requant, r

    def levels(
        self,
        node: Node,
        x: QTensor,
        m: np.ndarray,
        bias: np.ndarray,
        zero_sum: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
    ) -> tuple[QTensor, Thresholds]:
        """An operator whose output has few levels: m * (acc - zero_sum) + bias, by thresholds."""
        y = levels.tensor(node.output, stored_shape(node.shape), node.attrs["levels"])
        self.q.tensors[y.name] = y
        self.values[node.output] = Value(y.name)
        spec = node.attrs["levels"]
        return y, levels.thresholds(spec, y.planes, m, bias, zero_sum, low, high)

    def fit(
        self,
        node: Node,
        y: QTensor,
        constants: Callable[[QTensor], tuple[Requant, int | None]],
    ) -> tuple[QTensor, tuple[Requant, int | None]]:
        """`constants(y)`; where the multiplier would not fit, y gets a wider scale.

        If that scale would reach past a ReLU's cap, the operator writes a wider tensor and a
        Rescale behind it makes y.
        """
        try:
            return y, constants(y)
        except DoesNotFitError as e:
            error, growth = e, e.growth * 1.001
        if growth > 1:
            wide = replace(y, scale=y.scale * growth)
            cap = node.attrs.get("clamp", (0, None))[1]
            if cap is not None and 255 * wide.scale > cap:
                wide = replace(wide, name=f"{y.name}_wide")
                cap_to_y = rescale(wide, y)[0]
                capped = QRescale(f"{node.name}_cap", (wide.name,), y.name, cap_to_y)
                self.after[wide.name] = [capped]
            self.q.tensors[wide.name] = wide
            try:
                return wide, constants(wide)
            except DoesNotFitError as e:
                error = e
        raise ModelError(
            f"layer '{node.name}' ({node.op}) amplifies its input more than the fixed-point "
            "arithmetic can follow; check its batch normalisation and calibration data"
        ) from error

    def order(self, value: Value, shape: tuple[int, ...]) -> np.ndarray:
        return planar(shape) if value.order is None else value.order


def rescale(x: QTensor, y: QTensor) -> tuple[Requant, int | None]:
    one = np.ones(1)
    return requantize(
        x.scale / y.scale * one, y.zero_point * one, x.zero_point * one, 0 * one, 255 * one
    )


def affine(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of the codes 0..255 over [low, high], which is made to include 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    if not scale > 1e-30:
        return 1 / 255, 0  # a tensor that is always zero
    return scale, int(np.clip(np.floor(-low / scale + 0.5), 0, 255))


def stored_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[2], shape[0], shape[1]) if len(shape) == 3 else shape
