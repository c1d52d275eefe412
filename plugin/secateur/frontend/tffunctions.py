"""tf functions on Keras tensors (tf_keras' TFOpLambda), as the keras.ops of the same meaning."""

from __future__ import annotations

from typing import Any

from secateur.frontend.keras3 import shown_as
from secateur.frontend.layers import SourceLayer

#: By tf's name: keras.ops' class name, then tf's parameters in order; "$" marks operands, "a:b" an
#: option that keras.ops calls b, "a:b=1" with tf's default.
_FUNCTIONS: dict[str, str] = {
    **{f"{m}.{n}": f"{k} $x $y" for m, names in {
        "math": {"add": "Add", "subtract": "Subtract", "multiply": "Multiply",
                 "divide": "Divide", "truediv": "Divide", "maximum": "Maximum",
                 "minimum": "Minimum", "pow": "Power"},
        "__operators__": {"add": "Add", "sub": "Subtract", "mul": "Multiply",
                          "truediv": "Divide", "pow": "Power", "matmul": "Matmul"},
    }.items() for n, k in names.items()},
    "linalg.matmul": "Matmul $a $b",
    **{f"math.{n}": f"{k} $x" for n, k in {
        "abs": "Absolute", "negative": "Negative", "square": "Square", "sqrt": "Sqrt",
        "rsqrt": "Rsqrt", "exp": "Exp", "log": "Log", "log1p": "Log1p", "expm1": "Expm1",
        "erf": "Erf", "floor": "Floor", "ceil": "Ceil", "sign": "Sign", "sin": "Sin",
        "cos": "Cos", "tanh": "Tanh", "sigmoid": "Sigmoid", "reciprocal": "Reciprocal",
        "log_sigmoid": "LogSigmoid",
    }.items()},
    "__operators__.neg": "Negative $x", "__operators__.abs": "Absolute $x",
    "math.softplus": "Softplus $features", "nn.softplus": "Softplus $features",
    "nn.relu": "Relu $features", "nn.relu6": "Relu6 $features", "nn.selu": "Selu $features",
    "nn.elu": "Elu $features alpha=1.0", "nn.softsign": "Softsign $features",
    "nn.leaky_relu": "LeakyRelu $features alpha:negative_slope=0.2", "nn.sigmoid": "Sigmoid $x",
    "nn.tanh": "Tanh $x", "nn.silu": "Silu $features beta=1.0", "nn.swish": "Silu $features",
    "nn.gelu": "Gelu $features approximate=False",
    "nn.softmax": "Softmax $logits axis=-1", "nn.log_softmax": "LogSoftmax $logits axis=-1",
    "math.softmax": "Softmax $logits axis=-1",
    "math.l2_normalize": "Normalize $x axis epsilon:square",
    "nn.l2_normalize": "Normalize $x axis epsilon:square",
    "clip_by_value": "Clip $t clip_value_min:x_min clip_value_max:x_max",
    "cast": "Cast $x dtype", "identity": "Copy $input", "stop_gradient": "StopGradient $input",
    **{f"math.reduce_{n}": f"{k} $input_tensor axis keepdims" for n, k in {
        "mean": "Mean", "sum": "Sum", "max": "Max", "min": "Min", "prod": "Prod",
        "variance": "Var", "std": "Std",
    }.items()},
    "math.argmax": "Argmax $input axis", "math.argmin": "Argmin $input axis",
    "reshape": "Reshape $tensor shape:newshape", "expand_dims": "ExpandDims $input axis",
    "squeeze": "Squeeze $input axis", "transpose": "Transpose $a perm:axes",
    "compat.v1.transpose": "Transpose $a perm:axes",
    "concat": "Concatenate $values axis", "stack": "Stack $values axis=0",
    "tile": "Tile $input multiples:repeats", "reverse": "Flip $tensor axis",
    "repeat": "Repeat $input repeats axis", "broadcast_to": "BroadcastTo $input shape",
    "pad": "Pad $tensor paddings:pad_width mode=CONSTANT constant_values",
    "compat.v1.pad": "Pad $tensor paddings:pad_width mode=CONSTANT name constant_values",
    "split": "Split $value num_or_size_splits:indices_or_sections axis=0",
    "unstack": "Unstack $value num axis=0", "gather": "Take $params $indices axis=0",
    "compat.v1.gather": "Take $params $indices validate_indices axis=0",
    "nn.depth_to_space": "DepthToSpace $input block_size",
    "nn.space_to_depth": "SpaceToDepth $input block_size",
    "image.resize": "Resize $images size method:interpolation=bilinear",
    "math.top_k": "TopK $input k=1", "nn.top_k": "TopK $input k=1",
    "__operators__.getitem": "GetItem $tensor $slice_spec",
}  # fmt: skip


def called(function: str, name: str, args: list[Any], kwargs: dict[str, Any]) -> SourceLayer:
    """The layer for a call of `tf.<function>`."""
    words = _FUNCTIONS.get(function, "").split()
    shown = shown_as(words[0] if words else f"tf.{function}", args, kwargs)
    if not words:
        return SourceLayer(f"TFOpLambda (tf.{function})", name, {}, shown=shown)
    bound = dict(kwargs)
    operands, config = [], {}
    for i, word in enumerate(words[1:]):
        given, _, default = word.partition("=")
        parameter, _, option = given.lstrip("$").partition(":")
        value = args[i] if i < len(args) else bound.get(parameter, default or None)
        if word.startswith("$"):
            operands.append(_slices(value) if parameter == "slice_spec" else value)
        else:
            config[option or parameter] = _literal(value)
    if "square" in config:  # tf limits the sum of squares, Keras its root
        config["epsilon"] = float(config.pop("square") or 1e-12) ** 0.5
    if "indices_or_sections" in config and isinstance(config["indices_or_sections"], list | tuple):
        sizes = config["indices_or_sections"]
        config["indices_or_sections"] = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    if words[0] in ("Mean", "Sum", "Max", "Min", "Prod", "Var", "Std", "Normalize"):
        config.setdefault("keepdims", False)
    return SourceLayer(f"ops.{words[0]}", name, config, {}, operands, {}, shown=shown)


def _literal(value: Any) -> Any:
    """A default of the table as what it stands for."""
    if isinstance(value, str):
        if value in ("False", "True"):
            return value == "True"
        try:
            number = float(value)
        except ValueError:
            return value
        return int(number) if number.is_integer() and "." not in value else number
    return getattr(value, "name", value) if type(value).__name__ == "DType" else value


def _slices(spec: Any) -> Any:
    """tf_keras writes slices as dictionaries where a model was loaded."""
    if isinstance(spec, dict):
        return slice(spec.get("start"), spec.get("stop"), spec.get("step"))
    return tuple(_slices(s) for s in spec) if isinstance(spec, list | tuple) else spec
