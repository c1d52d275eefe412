"""Float graph and calibration data to the integer graph. docs/integer-spec.md is the definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Graph, Node
from secateur.lowering import levels
from secateur.lowering.calibrate import Method, Range, calibrate
from secateur.lowering.factored import factored
from secateur.lowering.qgraph import (
    QAdd,
    QConv,
    QDense,
    QGraph,
    QOp,
    QPad,
    QPool,
    QRescale,
    QSoftmax,
    QTensor,
    Requant,
    Thresholds,
)
from secateur.lowering.requant import DoesNotFitError, add_constants, requantize
from secateur.lowering.simplify import simplify
from secateur.lowering.views import place_reshapes, planar
from secateur.lowering.weights import QWeights, quantize_weights


def lower(graph: Graph, calibration: np.ndarray, *, method: Method = "minmax") -> QGraph:
    """Quantize `graph` with ranges seen on `calibration` (float [N, ...], the model's real inputs).

    Raises DataError for unusable calibration data and ModelError where the integer arithmetic
    cannot hold the model.
    """
    simple = simplify(graph)
    ranges = calibrate(simple, calibration, method)
    lowering = _Lowering(place_reshapes(simple), ranges)
    q = lowering.run()
    for n in graph.nodes:
        own = n.attrs.get("parameters") or sum(p.size for p in n.params.values())
        if own:
            q.parameters[n.name] = int(own)
    q.float_bytes = 4 * sum(q.parameters.values())
    return q


@dataclass(frozen=True)
class _Value:
    """Where a float tensor lives: a stored tensor, and the order of a flattened image in it.

    order[i] is the row-major index of what is stored at i; None where storage is the natural one.
    """

    stored: str
    order: np.ndarray | None = None


class _Lowering:
    def __init__(self, graph: Graph, ranges: dict[str, Range]) -> None:
        self.graph = graph
        self.ranges = ranges
        self.q = QGraph(graph.name, [], {}, graph.input, graph.output)
        self.values: dict[str, _Value] = {}
        self.after: dict[str, list[QOp]] = {}  #: Rescales that must follow the tensor's operator

    def run(self) -> QGraph:
        for node in self.graph.nodes:
            getattr(self, f"_{node.op}")(node)
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

    # -- tensors ---------------------------------------------------------------------------------

    def _new(self, node: Node, like: QTensor | None = None) -> QTensor:
        """Declare the output of `node`: its own range, or scale and zero point of `like`."""
        if like is None:
            low, high = node.attrs.get("range", self.ranges[node.output])
            scale, zero = affine(low, high)
            t = QTensor(node.output, _stored_shape(node.shape), scale, zero)
        else:
            t = replace(like, name=node.output, shape=_stored_shape(node.shape))
        self.q.tensors[t.name] = t
        self.values[node.output] = _Value(t.name)
        return t

    def _image(self, node: Node, i: int = 0) -> QTensor:
        """Operand i as an image of the shape the float graph gives it."""
        name = node.inputs[i]
        value, shape = self.values[name], self._shape(name)
        t = self.q.tensors[value.stored]
        if value.order is not None or len(shape) not in (1, 3):
            raise self._misplaced(node)
        want = (shape[0], 1, 1) if len(shape) == 1 else _stored_shape(shape)
        if t.shape != want:
            if len(t.shape) != 1:
                raise self._misplaced(node)
            t = replace(t, shape=want)
            self.q.tensors[t.name] = t
        return t

    def _shape(self, tensor: str) -> tuple[int, ...]:
        return self.graph.node(tensor).shape

    def _misplaced(self, node: Node) -> ModelError:
        return ModelError(
            f"layer '{node.name}' ({node.op}) reads a tensor reshaped in a way that would move its "
            "elements on the device; reshape only right behind the input or a Dense layer"
        )

    def _source(self, node: Node, i: int = 0) -> QTensor:
        return self.q.tensors[self.values[node.inputs[i]].stored]

    def _emit(self, op: QOp) -> None:
        self.q.ops.append(op)
        self.q.ops += self.after.pop(op.output, [])

    # -- operators -------------------------------------------------------------------------------

    def _input(self, node: Node) -> None:
        self._new(node)

    def _conv2d(self, node: Node) -> None:
        x = self._image(node)
        rows = node.params["kernel"].transpose(3, 2, 0, 1)
        self._conv(node, x, rows, groups=1)

    def _depthwise_conv2d(self, node: Node) -> None:
        x = self._image(node)
        rows = node.params["kernel"].transpose(2, 3, 0, 1)
        self._conv(node, x, rows, groups=len(rows))

    def _conv(self, node: Node, x: QTensor, rows: np.ndarray, groups: int) -> None:
        _, ci, kh, kw = rows.shape
        pair = node.attrs.get("factors")
        flat = rows.reshape(len(rows), -1)
        made = factored(flat, pair, (ci, kh, kw), (kh * kw, kw, 1))
        weights = made[0] if made else quantize_weights(flat)
        residual = self._image(node, 1) if len(node.inputs) > 1 else None
        y, requant, r = self._weighted(node, x, weights, residual)
        names = (x.name,) if residual is None else (x.name, residual.name)
        self._emit(
            QConv(
                node.name,
                names,
                y.name,
                weights.values.reshape(rows.shape),
                requant,
                node.attrs["strides"],
                node.attrs["pads"],
                groups,
                r,
                weights.bits,
                made[1] if made else None,
            )
        )

    def _dense(self, node: Node) -> None:
        value = self.values[node.inputs[0]]
        if len(self._shape(node.inputs[0])) != 1:
            raise self._misplaced(node)
        x = self.q.tensors[value.stored]
        rows = node.params["kernel"].T
        if value.order is not None:
            rows = rows[:, value.order]
        dims, strides = (1, 1, rows.shape[1]), (0, 0, 1)
        if len(x.shape) == 3:
            c, h, w = x.shape
            dims, strides = (h, w, c), (w, 1, h * w)
        made = factored(rows, node.attrs.get("factors"), dims, strides)
        weights = made[0] if made else quantize_weights(rows)
        y, requant, _ = self._weighted(node, x, weights, None)
        self._emit(
            QDense(
                node.name,
                (x.name,),
                y.name,
                weights.values,
                requant,
                weights.bits,
                made[1] if made else None,
            )
        )

    def _weighted(
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
            y, steps = self._levels(node, x, m, bias, zero_sum, low, high)
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

        y = self._new(node)
        y, (requant, r) = self._fit(node, y, constants)
        return y, requant, r

    def _levels(
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
        y = levels.tensor(node.output, _stored_shape(node.shape), node.attrs["levels"])
        self.q.tensors[y.name] = y
        self.values[node.output] = _Value(y.name)
        spec = node.attrs["levels"]
        return y, levels.thresholds(spec, y.planes, m, bias, zero_sum, low, high)

    def _quant_activation(self, node: Node) -> None:
        x, value = self._source(node), self.values[node.inputs[0]]
        one = np.ones(1)
        zero = float(x.zero_point)
        y, requant = self._levels(node, x, x.scale * one, 0 * one, zero * one, 0 * one, x.top * one)
        self.q.tensors[y.name] = replace(y, shape=x.shape)
        self.values[node.output] = _Value(y.name, value.order)
        self._emit(QRescale(node.name, (x.name,), y.name, requant))

    def _fit(
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
                cap_to_y = _rescale(wide, y)[0]
                rescale = QRescale(f"{node.name}_cap", (wide.name,), y.name, cap_to_y)
                self.after[wide.name] = [rescale]
            self.q.tensors[wide.name] = wide
            try:
                return wide, constants(wide)
            except DoesNotFitError as e:
                error = e
        raise ModelError(
            f"layer '{node.name}' ({node.op}) amplifies its input more than the fixed-point "
            "arithmetic can follow; check its batch normalisation and calibration data"
        ) from error

    def _batch_norm(self, node: Node) -> None:
        """A lone normalisation is a depthwise 1x1 convolution whose weights are all one."""
        value = self.values[node.inputs[0]]
        scale, shift = node.params["scale"], node.params["shift"]
        if value.order is not None:
            scale, shift = scale[value.order], shift[value.order]
            x = self.q.tensors[value.stored]
            raise ModelError(
                f"layer '{node.name}' (batch_norm) normalises a flattened image of shape "
                f"{x.shape}; put it before Flatten"
            )
        x = self._image(node)
        weights = QWeights(np.ones((len(scale), 1), np.int8), np.ones(len(scale)), 1.0, "ternary")
        as_conv = replace(node, params={"factor": scale, "bias": shift})
        y, requant, _ = self._weighted(as_conv, x, weights, None)
        for name in {y.name, node.output} if len(y.shape) == 1 else ():
            self.q.tensors[name] = replace(self.q.tensors[name], shape=x.shape)
        kernel = weights.values.reshape(-1, 1, 1, 1)
        self._emit(
            QConv(node.name, (x.name,), y.name, kernel, requant, groups=len(scale), weight_bits=1.0)
        )

    def _relu(self, node: Node) -> None:
        x = self._source(node)
        value = self.values[node.inputs[0]]
        if x.zero_point == 0 and node.attrs.get("max_value") is None:
            self.values[node.output] = value  # already non-negative
            return
        y = replace(self._new(node), shape=x.shape)
        self.q.tensors[y.name] = y
        self.values[node.output] = _Value(y.name, value.order)

        y, (requant, _) = self._fit(node, y, lambda y: _rescale(x, y))
        self._emit(QRescale(node.name, (x.name,), y.name, requant))

    def _softmax(self, node: Node) -> None:
        x = self._source(node)
        value = self.values[node.inputs[0]]
        shape = self._shape(node.inputs[0])
        if int(np.prod(shape[:-1])) != 1:
            raise ModelError(
                f"layer '{node.name}' (softmax) acts on every position of shape {shape}; only a "
                "softmax over one vector can be converted"
            )
        if x.size > 32768:
            raise ModelError(
                f"layer '{node.name}' (softmax) has {x.size} elements; at most 32768 fit its sum"
            )
        self.q.tensors[node.output] = QTensor(node.output, x.shape, 1 / 256, 0)
        self.values[node.output] = _Value(node.output, value.order)
        beta = min(max(round(x.scale * np.log2(np.e) * 2**16), 1), 2**23)
        self._emit(QSoftmax(node.name, (x.name,), node.output, beta))

    def _max_pool(self, node: Node) -> None:
        x = self._image(node)
        y = self._new(node, like=x)
        a = node.attrs
        self._emit(QPool(node.name, (x.name,), y.name, "max", a["window"], a["strides"], a["pads"]))

    def _avg_pool(self, node: Node) -> None:
        x = self._image(node)
        y = self._new(node)
        a = node.attrs
        counts = _pool_counts(x.shape[1:], a["window"], a["strides"], a["pads"], y.shape[1:])
        n = np.array(counts, np.float64)

        def constants(y: QTensor) -> tuple[Requant, int | None]:
            return requantize(
                x.scale / y.scale / n,
                np.full(len(n), float(y.zero_point)),
                x.zero_point * n,
                np.zeros(len(n)),
                255 * n,
            )

        y, (requant, _) = self._fit(node, y, constants)
        self._emit(
            QPool(
                node.name,
                (x.name,),
                y.name,
                "avg",
                a["window"],
                a["strides"],
                a["pads"],
                requant,
                counts,
            )
        )

    def _add(self, node: Node) -> None:
        a, b = self._source(node, 0), self._source(node, 1)
        first, second = (self.values[t] for t in node.inputs)
        orders = (first.order, second.order)
        same = all(o is None for o in orders) or (
            orders[0] is not None and orders[1] is not None and np.array_equal(orders[0], orders[1])
        )
        if not same:
            raise self._misplaced(node)
        y = self._new(node)
        if len(y.shape) == 1 and a.shape == b.shape:
            y = replace(y, shape=a.shape)
            self.q.tensors[y.name] = y
        self.values[node.output] = _Value(y.name, first.order)
        ratios = (a.scale / y.scale, b.scale / y.scale)
        zeros = (a.zero_point, b.zero_point)
        try:
            multipliers, offset, shift = add_constants(ratios, zeros, y.zero_point)
        except DoesNotFitError as e:
            raise ModelError(
                f"layer '{node.name}' (add) has operands of too different ranges; check the "
                "calibration data"
            ) from e
        self._emit(QAdd(node.name, (a.name, b.name), y.name, multipliers, offset, shift))

    def _zero_pad(self, node: Node) -> None:
        x = self._image(node)
        y = self._new(node, like=x)
        if x.planes and x.zero_point not in x.codes:  # a padded sign: 0 is neither -1 nor 1
            y = replace(y, planes=())
            self.q.tensors[y.name] = y
        self._emit(QPad(node.name, (x.name,), y.name, node.attrs["pads"]))

    def _flatten(self, node: Node) -> None:
        value, shape = self.values[node.inputs[0]], self._shape(node.inputs[0])
        order = value.order if len(shape) == 1 else self._order(value, shape)
        if order is not None and np.array_equal(order, np.arange(len(order))):
            order = None
        self.values[node.output] = _Value(value.stored, order)

    def _reshape(self, node: Node) -> None:
        value, shape = self.values[node.inputs[0]], self._shape(node.inputs[0])
        order = self._order(value, shape)
        if not np.array_equal(order, planar(node.shape)):
            raise self._misplaced(node)
        self.values[node.output] = _Value(value.stored)

    def _order(self, value: _Value, shape: tuple[int, ...]) -> np.ndarray:
        return planar(shape) if value.order is None else value.order


def _rescale(x: QTensor, y: QTensor) -> tuple[Requant, int | None]:
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


def _stored_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[2], shape[0], shape[1]) if len(shape) == 3 else shape


def _pool_counts(
    size: tuple[int, ...],
    window: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    out: tuple[int, ...],
) -> tuple[int, ...]:
    """Every number of valid pixels a window can hold, ascending."""
    sides = []
    for axis in (0, 1):
        starts = np.arange(out[axis]) * strides[axis] - pads[axis]
        valid = np.minimum(starts + window[axis], size[axis]) - np.maximum(starts, 0)
        sides.append(np.unique(valid))
    return tuple(int(c) for c in np.unique(np.outer(*sides)))
