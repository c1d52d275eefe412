"""Functions on tensors in a functional model: `x * 0.5`, `x[:, 1:]`, keras.ops and their tf twins.

A front end gives each as a SourceLayer of the kind "ops.Name", keras.ops' class name, with its
arguments in `args` (tensors as Ref, anything else as it was given) and its options in `config`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from secateur.frontend.build import Builder, Operand

from .activation import source_axis
from .base import Handler, Ref, SourceLayer, add_layer, handles, refuse, spreads
from .dense import dense, einsum_dense


def operand(layer: SourceLayer, i: int) -> Operand:
    """Argument i: a tensor's name, or a constant without the batch axis."""
    if i >= len(layer.args):
        raise refuse(layer, f"lacks its argument {i + 1}", "call it with all arguments")
    return _as_operand(layer, layer.args[i])


def _as_operand(layer: SourceLayer, value: Any) -> Operand:
    if isinstance(value, Ref):
        return str(value)
    if value is None or isinstance(value, str):
        raise refuse(layer, f"is called with {value!r}", "call it with tensors and numbers")
    found = np.asarray(value)
    if found.dtype.kind not in "fiub":
        raise refuse(layer, "is called with something that is no number", "use numbers")
    return found.astype(np.float32) if found.dtype.kind != "i" else found


def _without_batch(layer: SourceLayer, value: Operand, rank: int) -> Operand:
    """A constant whose rank counts the batch loses that axis, which must have size 1."""
    if isinstance(value, str) or value.ndim <= rank:
        return value
    if value.ndim == rank + 1 and value.shape[0] == 1:
        return value[0]
    raise refuse(
        layer, f"combines with a constant of shape {value.shape}, one for each sample",
        "use a constant that is the same for every sample",
    )  # fmt: skip


def tensor(layer: SourceLayer, i: int = 0) -> str:
    """Argument i, which must be a tensor."""
    found = operand(layer, i)
    if not isinstance(found, str):
        raise refuse(layer, "has a constant where a tensor is needed", "compute it beforehand")
    return found


_BINARY = {
    "Add": "add", "Subtract": "sub", "Multiply": "mul", "Divide": "div", "TrueDivide": "div",
    "Maximum": "maximum", "Minimum": "minimum",
}  # fmt: skip


@handles(*(f"ops.{k}" for k in _BINARY))
def _binary(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    pair = [operand(layer, i) for i in (0, 1)]
    rank = max(len(b.nominal(t)) for t in pair if isinstance(t, str))
    first, second = (_without_batch(layer, t, rank) for t in pair)
    return b.arithmetic(_BINARY[layer.kind.removeprefix("ops.")], layer.name, first, second)


#: keras.ops' class name: function and how its options are called there.
_UNARY: dict[str, tuple[str, dict[str, str]]] = {
    "Absolute": ("abs", {}), "Abs": ("abs", {}), "Negative": ("neg", {}),
    "Square": ("square", {}), "Sqrt": ("sqrt", {}), "Rsqrt": ("rsqrt", {}),
    "Reciprocal": ("reciprocal", {}), "Exp": ("exponential", {}), "Log": ("log", {}),
    "Log1p": ("log1p", {}), "Expm1": ("expm1", {}), "Erf": ("erf", {}), "Floor": ("floor", {}),
    "Ceil": ("ceil", {}), "Sign": ("signum", {}), "Sin": ("sin", {}), "Cos": ("cos", {}),
    "Tan": ("tan", {}), "Sinh": ("sinh", {}), "Cosh": ("cosh", {}), "Arcsin": ("arcsin", {}),
    "Arccos": ("arccos", {}), "Arctan": ("arctan", {}), "Arcsinh": ("arcsinh", {}),
    "Arccosh": ("arccosh", {}), "Arctanh": ("arctanh", {}),
    "Tanh": ("tanh", {}), "Sigmoid": ("sigmoid", {}), "Softplus": ("softplus", {}),
    "Softsign": ("softsign", {}), "Silu": ("silu", {}), "LogSigmoid": ("log_sigmoid", {}),
    "HardSigmoid": ("hard_sigmoid", {}), "HardSilu": ("hard_silu", {}),
    "HardTanh": ("hard_tanh", {}), "TanhShrink": ("tanh_shrink", {}), "Selu": ("selu", {}),
    "Mish": ("mish", {}), "Elu": ("elu", {"alpha": "alpha"}), "Celu": ("celu", {"alpha": "alpha"}),
    "LeakyRelu": ("leaky_relu", {"slope": "negative_slope"}),
    "HardShrink": ("hard_shrink", {"threshold": "threshold"}),
    "SoftShrink": ("soft_shrink", {"threshold": "threshold", "offset": "threshold"}),
}  # fmt: skip


@handles(*(f"ops.{k}" for k in _UNARY))
def _unary(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    function, names = _UNARY[layer.kind.removeprefix("ops.")]
    arguments = {k: float(layer.config[v]) for k, v in names.items()}
    return b.activation(layer.name, tensor(layer), function, **arguments)


@handles("ops.Relu", "ops.Relu6")
def _relu(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    cap = 6.0 if layer.kind == "ops.Relu6" else None
    return b.emit("relu", layer.name, [tensor(layer)], None, {"max_value": cap})


@handles("ops.Gelu")
def _gelu(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    name = "gelu_tanh" if layer.config.get("approximate", True) else "gelu"
    return b.activation(layer.name, tensor(layer), name)


@handles("ops.Clip")
def _clip(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    c = layer.config
    ends = [None if c.get(k) is None else float(np.asarray(c[k])) for k in ("x_min", "x_max")]
    if ends[0] == 0:
        return b.emit("relu", layer.name, [tensor(layer)], None, {"max_value": ends[1]})
    return b.activation(layer.name, tensor(layer), "clip", low=ends[0], high=ends[1])


@handles("ops.Power")
def _power(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    exponent = operand(layer, 1)
    if isinstance(exponent, str) or exponent.size != 1:
        raise refuse(layer, "raises to a power that is no number", "use a constant exponent")
    return b.power(layer.name, tensor(layer), float(exponent.ravel()[0]))


@handles("ops.Softmax", "ops.LogSoftmax")
def _softmax(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    t, axis = tensor(layer), layer.config.get("axis", -1)
    at = source_axis(layer, -1 if axis is None else axis, len(b.nominal(t)))
    return b.softmax(layer.name, t, at, log=layer.kind == "ops.LogSoftmax")


@handles("ops.Cast", "ops.StopGradient", "ops.Copy", "ops.SaturateCast", "ops.ConvertToTensor")
def _same(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    dtype = str(layer.config.get("dtype") or "float32")
    if "float" not in dtype and not dtype.startswith("int"):
        raise refuse(layer, f"casts to {dtype}", "cast to float32 or int32")
    kind = "int32" if dtype.startswith("int") else "float32"
    if layer.kind not in ("ops.Cast", "ops.SaturateCast"):
        return tensor(layer)
    return b.emit("cast", layer.name, [tensor(layer)], None, {"dtype": kind})


# -- shapes ----------------------------------------------------------------------------------------


def _tail(layer: SourceLayer, shape: Sequence[Any]) -> tuple[int, ...]:
    """A shape argument behind its batch."""
    if len(shape) < 1 or any(d is None or isinstance(d, Ref) for d in shape[1:]):
        raise refuse(layer, "has a shape known at run time alone", "give it numbers")
    return tuple(int(d) for d in shape[1:])


@handles("ops.Reshape", "ops.ExpandDims", "ops.Squeeze", "ops.Ravel")
def _reshape(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    t = tensor(layer)
    if out is None:
        raise refuse(layer, "makes a tensor of unknown shape", "build the model first")
    if int(np.prod(out)) != int(np.prod(b.shape(t))):
        raise refuse(layer, f"turns {b.nominal(t)} into {out}", "leave the batch axis alone")
    return b.reshape(layer.name, t, out)


@handles("ops.Transpose", "ops.Swapaxes", "ops.Moveaxis")
def _transpose(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    t, c = tensor(layer), layer.config
    order = list(range(len(b.nominal(t)) + 1))
    if layer.kind == "ops.Transpose":
        axes = c.get("axes")
        order = [int(a) % len(order) for a in axes] if axes is not None else order[::-1]
    elif layer.kind == "ops.Swapaxes":
        i, j = (int(c[k]) % len(order) for k in ("axis1", "axis2"))
        order[i], order[j] = order[j], order[i]
    else:
        source, target = (
            [int(a) % len(order) for a in np.ravel(c[k])] for k in ("source", "destination")
        )
        order = [a for a in order if a not in source]
        for to, a in sorted(zip(target, source, strict=True)):
            order.insert(to, a)
    if order[0] != 0:
        raise refuse(layer, "moves the batch axis", "permute the axes behind it")
    return b.transpose(layer.name, t, [a - 1 for a in order[1:]])


@handles("ops.Concatenate", "ops.Stack")
def _concatenate(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    parts = layer.args[0] if isinstance(layer.args[0], list | tuple) else layer.args
    given = [_as_operand(layer, p) for p in parts]
    first = next((t for t in given if isinstance(t, str)), None)
    if first is None:
        raise refuse(layer, "joins constants alone", "compute them beforehand")
    rank = len(b.nominal(first))
    stacked = layer.kind == "ops.Stack"
    at = source_axis(layer, layer.config.get("axis", 0 if stacked else -1), rank + stacked)
    tensors = []
    for i, t in enumerate(given):
        plain = _without_batch(layer, t, rank)
        name = b.tensor(f"{layer.name}_constant{i}", plain)
        if stacked:
            shape = b.nominal(name)
            name = b.reshape(f"{layer.name}_{i}", name, (*shape[:at], 1, *shape[at:]))
        tensors.append(name)
    return b.concat(layer.name, tensors, at)


@handles("ops.GetItem")
def _get_item(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    t, key = tensor(layer), layer.args[1] if len(layer.args) > 1 else layer.kwargs.get("key")
    return take(b, layer, t, key)


def take(b: Builder, layer: SourceLayer, t: str, key: Any) -> str:
    """`t[key]` with Python's slices, integers, Ellipsis and None; the first is the batch's."""
    nominal = b.nominal(t)
    keys = list(key) if isinstance(key, tuple | list) else [key]
    plain = [k for k in keys if k is not None]
    if Ellipsis in [k for k in plain if not isinstance(k, np.ndarray)]:
        i = next(i for i, k in enumerate(keys) if k is Ellipsis)
        missing = len(nominal) + 1 - (len(plain) - 1)
        keys[i : i + 1] = [slice(None)] * missing
    keys += [slice(None)] * (len(nominal) + 1 - sum(k is not None for k in keys))
    whole = keys[0] if keys else slice(None)
    if whole != slice(None) and whole != slice(None, None, 1):
        raise refuse(layer, "takes single samples of the batch", "index the axes behind it")
    begin, size, strides, shape = [], [], [], []
    rest = iter(nominal)
    for k in keys[1:]:
        if k is None:
            shape.append(1)
            continue
        n = next(rest, 0)
        if isinstance(k, slice):
            if any(isinstance(v, Ref) for v in (k.start, k.stop, k.step)):
                raise refuse(layer, "slices at places known at run time alone", "use numbers")
            places = range(n)[k]
            if not places:
                raise refuse(layer, f"takes nothing of {n} elements", "take one or more")
            begin.append(places.start)
            size.append(len(places))
            strides.append(places.step)
            shape.append(len(places))
        elif isinstance(k, int | np.integer):
            begin.append(range(n)[int(k)])
            size.append(1)
            strides.append(1)
        else:
            raise refuse(layer, f"indexes with {k!r}", "use slices and whole numbers")
    y = b.cut(layer.name, t, begin, size, strides)
    return b.reshape(f"{layer.name}_axes", y, tuple(shape))


@handles("ops.Take")
def _take(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    t, indices = tensor(layer), operand(layer, 1)
    if isinstance(indices, str):
        raise refuse(layer, "takes elements at computed places", "use an Embedding or constants")
    axis = source_axis(layer, layer.config.get("axis"), len(b.nominal(t)))
    n = b.nominal(t)[axis]
    places = tuple(int(i) % n for i in indices.ravel())
    attrs = {"axis": b.axis(t, axis), "indices": places}
    nominal = (*b.nominal(t)[:axis], len(places), *b.nominal(t)[axis + 1 :])
    y = b.emit("gather", layer.name, [t], None, attrs, nominal=nominal)
    whole = (*nominal[:axis], *indices.shape, *nominal[axis + 1 :])
    return b.reshape(f"{layer.name}_axes", y, whole)


@handles("ops.Flip")
def _flip(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    t, axes = tensor(layer), layer.config.get("axis")
    nominal = b.nominal(t)
    if axes is None:
        raise refuse(layer, "turns the batch around", "name the axes")
    turned = {source_axis(layer, a, len(nominal)) for a in np.ravel(axes)}
    begin = [n - 1 if i in turned else 0 for i, n in enumerate(nominal)]
    return b.cut(
        layer.name, t, begin, nominal, [-1 if i in turned else 1 for i in range(len(nominal))]
    )


@handles("ops.Pad")
def _pad(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    t = tensor(layer)
    width = np.broadcast_to(np.asarray(layer.config["pad_width"], int), (len(b.nominal(t)) + 1, 2))
    if width[0].any():
        raise refuse(layer, "pads the batch axis", "pad the axes behind it")
    value = layer.args[1] if len(layer.args) > 1 else layer.kwargs.get("constant_values")
    mode = str(layer.config.get("mode", "constant")).lower()
    pads = [(int(p), int(q)) for p, q in width[1:]]
    return b.pad(layer.name, t, pads, mode, float(value or 0))


@handles("ops.Repeat", "ops.Tile", "ops.BroadcastTo")
def _repeat(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    t, c = tensor(layer), layer.config
    nominal = b.nominal(t)
    if layer.kind == "ops.Repeat":
        if c.get("axis") is None or np.size(c["repeats"]) != 1:
            raise refuse(layer, "repeats elements unevenly", "repeat along one axis, evenly")
        axis, k = source_axis(layer, c["axis"], len(nominal)), int(np.ravel(c["repeats"])[0])
        n = nominal[axis]
        attrs = {"axis": b.axis(t, axis), "indices": tuple(i // k for i in range(n * k))}
        shape = (*nominal[:axis], n * k, *nominal[axis + 1 :])
        return b.emit("gather", layer.name, [t], None, attrs, nominal=shape)
    if layer.kind == "ops.Tile":
        repeats = [int(r) for r in np.ravel(c["repeats"])]
        repeats = [1] * (len(nominal) + 1 - len(repeats)) + repeats
    else:
        target = [1 if d is None else int(d) for d in c["shape"]]
        repeats = [1, *(m // n for m, n in zip(target[1:], nominal, strict=True))]
    if len(repeats) != len(nominal) + 1 or repeats[0] != 1:
        raise refuse(layer, "repeats the batch", "repeat the axes behind it")
    return b.tile(layer.name, t, repeats[1:])


@handles("ops.DepthToSpace", "ops.SpaceToDepth")
def _blocks(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    op = "depth_to_space" if layer.kind == "ops.DepthToSpace" else "space_to_depth"
    attrs = {"block": int(layer.config["block_size"])}
    return b.emit(op, layer.name, [tensor(layer)], None, attrs)


@handles("ops.Resize")
def _resize(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    size = layer.config["size"]
    config = {**layer.config, "height": size[0], "width": size[1]}
    plain = SourceLayer("Resizing", layer.name, config, keras2=layer.keras2)
    return add_layer(b, plain, [tensor(layer)], out)


@spreads("ops.Split", "ops.Unstack")
def _split(b: Builder, layer: SourceLayer, inputs: list[str]) -> list[str]:
    t, c = tensor(layer), layer.config
    nominal = b.nominal(t)
    axis = source_axis(layer, c.get("axis", 0), len(nominal))
    n = nominal[axis]
    parts: Any = n if layer.kind == "ops.Unstack" else c["indices_or_sections"]
    if np.ndim(parts) == 0:
        ends = [n // int(parts) * (i + 1) for i in range(int(parts))]
    else:
        ends = [*(int(p) % n for p in parts), n]
    found = []
    for i, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        begin = [start if j == axis else 0 for j in range(len(nominal))]
        size = [end - start if j == axis else d for j, d in enumerate(nominal)]
        y = b.cut(f"{layer.name}_{i}", t, begin, size)
        if layer.kind == "ops.Unstack":
            y = b.without(y, axis)
        found.append(y)
    return found


@spreads("ops.TopK")
def _top(b: Builder, layer: SourceLayer, inputs: list[str]) -> list[str]:
    t = tensor(layer)
    attrs = {"axis": len(b.shape(t)) - 1, "k": int(layer.config["k"])}
    return [
        b.emit(op, f"{layer.name}_{op[6:] or 'values'}", [t], None, attrs)
        for op in ("top_k", "top_k_indices")
    ]


# -- reductions ------------------------------------------------------------------------------------

_REDUCTIONS = {
    "Mean": "mean", "Sum": "sum", "Max": "max", "Min": "min", "Prod": "prod", "Amax": "max",
    "Amin": "min",
}  # fmt: skip


def _axes(b: Builder, layer: SourceLayer, t: str) -> list[int]:
    axis = layer.config.get("axis")
    if axis is None:
        raise refuse(layer, "reduces the batch", "name the axes behind it")
    return [source_axis(layer, a, len(b.nominal(t))) for a in np.ravel(axis)]


@handles(*(f"ops.{k}" for k in _REDUCTIONS))
def _reduce(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    t = tensor(layer)
    function = _REDUCTIONS[layer.kind.removeprefix("ops.")]
    return b.reduce(function, layer.name, t, _axes(b, layer, t), bool(layer.config.get("keepdims")))


@handles("ops.Var", "ops.Std")
def _variance(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    t = tensor(layer)
    axes = _axes(b, layer, t)
    mean = b.reduce("mean", f"{layer.name}_mean", t, axes, keep=True)
    centred = b.arithmetic("sub", f"{layer.name}_centred", t, mean)
    square = b.activation(f"{layer.name}_square", centred, "square")
    y = b.reduce("mean", layer.name, square, axes, bool(layer.config.get("keepdims")))
    return y if layer.kind == "ops.Var" else b.activation(f"{layer.name}_root", y, "sqrt")


@handles("ops.Argmax", "ops.Argmin")
def _argmax(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    t = tensor(layer)
    (axis,) = _axes(b, layer, t)
    attrs = {"axis": b.axis(t, axis), "smallest": layer.kind == "ops.Argmin"}
    nominal = tuple(1 if i == axis else n for i, n in enumerate(b.nominal(t)))
    y = b.emit("arg_max", layer.name, [t], None, attrs, nominal=nominal)
    return y if layer.config.get("keepdims") else b.without(y, axis)


@handles("ops.Normalize")
def _normalize(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    t, c = tensor(layer), layer.config
    if c.get("order", 2) != 2:
        raise refuse(layer, f"has order={c['order']}", "use order=2")
    epsilon = float(c.get("epsilon") or 1e-12)
    at = source_axis(layer, c.get("axis", -1), len(b.nominal(t)))
    attrs = {"axes": (b.axis(t, at),), "epsilon": epsilon**2}
    return b.emit("l2_norm", layer.name, [t], None, attrs)


# -- products --------------------------------------------------------------------------------------


@handles("ops.Matmul")
def _matmul(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    first, second = operand(layer, 0), operand(layer, 1)
    if isinstance(first, str) and not isinstance(second, str) and second.ndim == 2:
        return dense(b, layer.name, first, second)
    pair = [
        b.tensor(f"{layer.name}_constant", _without_batch(layer, t, 2)) for t in (first, second)
    ]
    return b.emit("matmul", layer.name, pair, None, {})


@handles("ops.Einsum")
def _einsum(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
    equation = str(layer.config.get("subscripts") or layer.config.get("equation"))
    flat = [a for x in layer.args for a in (x if isinstance(x, list | tuple) else [x])]
    operands = [_as_operand(layer, a) for a in flat]
    if len(operands) == 2 and isinstance(operands[0], str) and not isinstance(operands[1], str):
        return einsum_dense(b, layer.name, operands[0], equation, operands[1])
    raise refuse(layer, f"has the equation '{equation}' of two tensors", "use matmul and transpose")


def pool_or_conv(kind: str) -> Handler:
    """keras.ops' windows, as the layers of that name."""

    def handler(b: Builder, layer: SourceLayer, inputs: list[str], out: Any) -> str:
        t = tensor(layer)
        one_d = len(b.nominal(t)) == 2
        config = dict(layer.config)
        weights = {}
        if "Conv" in kind:
            kernel = operand(layer, 1)
            if isinstance(kernel, str):
                raise refuse(layer, "has a computed kernel", "use a layer with weights")
            weights = {"depthwise_kernel" if "Depth" in kind else "kernel": kernel}
        plain = SourceLayer(f"{kind}{1 if one_d else 2}D", layer.name, config, weights)
        return add_layer(b, plain, [t], out)

    return handler


handles("ops.MaxPool")(pool_or_conv("MaxPooling"))
handles("ops.AveragePool")(pool_or_conv("AveragePooling"))
handles("ops.Conv")(pool_or_conv("Conv"))
handles("ops.DepthwiseConv")(pool_or_conv("DepthwiseConv"))
