"""tf_keras (Keras 2) models, in memory or on disk, with TFMOT's wrappers taken off.

TFMOT 0.8 serves tf_keras alone. Pruning and clustering wrappers give the weights they would
export; quantization-aware ones give their fake-quantized weights, which lowering recognises as a
grid, and the ranges of activations that training has found: attrs["range"], which calibration does
not move. Clusters that quantization-aware training has kept (CQAT) stay clusters: their values are
taken before each channel's grid has moved them apart.
"""

from __future__ import annotations

import importlib
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from secateur import extras, reading
from secateur.errors import ModelError
from secateur.frontend import hdf5
from secateur.frontend.build import Builder
from secateur.frontend.genuine import check
from secateur.frontend.ir import Graph
from secateur.frontend.keras3 import (
    as_argument,
    import_keras,
    input_dtype,
    load_safely,
    read_config,
    refuse_code,
)
from secateur.frontend.larq import from_larq, input_sign
from secateur.frontend.layers import SourceLayer, add_layer, add_layers, kind_of_others
from secateur.frontend.tffunctions import called

_TFMOT = "tensorflow_model_optimization"


def from_tf_keras(model_or_path: Any, name: str | None = None, *, tolerant: bool = False) -> Graph:
    """The float graph of a tf_keras model, a `.keras` file it wrote, or an `.h5` file.

    Sequential and functional models, nested ones included; TFMOT wrappers are stripped, the model
    itself is not changed. Raises ModelError for whatever cannot be converted; `tolerant` puts an
    `opaque` node in its place.
    """
    model = model_or_path
    if isinstance(model, str | Path):
        model = _load(Path(model))
        if type(model).__module__.startswith("keras."):  # an .h5 file of Keras 3
            from secateur.frontend.keras3 import from_keras

            return from_keras(model, name, tolerant=tolerant)
    title = name or str(model.name)
    _check(model, title)
    b = Builder(title, tolerant)
    starts = [
        b.add_input(n, tuple(t.shape[1:]), input_dtype(t.dtype.name))
        for n, t in zip(model.input_names, model.inputs, strict=True)
    ]
    return b.finish(_walk(b, model, starts), model.output_names)


def _check(model: Any, title: str) -> None:
    if not getattr(model, "_is_graph_network", False):
        if not model.built:
            raise ModelError(
                f"model '{title}' has not been built, so its shapes are unknown; start it with "
                "tf_keras.Input(shape) or call model.build((None, ...)) first"
            )
        raise ModelError(
            f"model '{title}' is a subclassed {type(model).__name__}, whose graph cannot be read; "
            "export it with model.export(folder) and give that folder, or rebuild it with the "
            "functional API"
        )


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _walk(b: Builder, model: Any, starts: list[str]) -> list[str]:
    tensors = {id(t): s for t, s in zip(model.inputs, starts, strict=True)}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            layer, outs = node.layer, _list(node.outputs)
            inputs = [tensors[id(t)] for t in node.keras_inputs]
            if hasattr(layer, "_nodes_by_depth"):
                _check(layer, layer.name)
                found = _walk(b, layer, inputs)
            elif type(layer).__name__ == "QuantizeLayer":
                found = inputs
                _keep_range(b, inputs[0], layer, layer.name)
            else:
                if getattr(layer, "input_quantizer", None) is not None:
                    inputs = [add_layer(b, input_sign(layer), inputs)]
                shapes = [tuple(int(d) for d in t.shape[1:] if d is not None) for t in outs]
                made = _layer(layer, node, tensors)
                made.keras2, made.key = True, id(layer)
                found = add_layers(b, made, inputs, shapes)
                if type(layer).__name__.startswith("QuantizeWrapper"):
                    _keep_ranges(b, layer, found[0])
            tensors.update((id(t), f) for t, f in zip(outs, found, strict=True))
    return [tensors[id(t)] for t in model.outputs]


def _keep_ranges(b: Builder, wrapper: Any, output: str) -> None:
    """What TFMOT has found for a layer's result and for what its softmax or sigmoid reads."""
    made = b.maker(output)
    _keep_range(b, output, wrapper, "post_activation")
    _keep_range(b, output, wrapper, "output")
    if made.op in ("softmax", "activation", "log_softmax"):
        _keep_range(b, made.inputs[0], wrapper, "pre_activation")


def _keep_range(b: Builder, tensor: str, layer: Any, prefix: str) -> None:
    """attrs["range"] of the tensor's node from the quantizer's variables, where it has 8 bits.

    As in TensorFlow's fake quantization, the range holds 0; one of no extent says nothing.
    """
    own = _weights(layer)
    least, most = own.get(f"{prefix}_min"), own.get(f"{prefix}_max")
    if least is None or most is None or least.size != 1 or most.size != 1:
        return
    low, high = min(float(least.reshape(())), 0.0), max(float(most.reshape(())), 0.0)
    if _bits(layer) == 8 and np.isfinite([low, high]).all() and low < high:
        b.maker(tensor).attrs["range"] = (low, high)


def _bits(layer: Any) -> int:
    """Of a wrapper's or input's quantizers of activations; 0 where they differ."""
    quantizers = [getattr(layer, "quantizer", None)]
    config = getattr(layer, "quantize_config", None)
    if config is not None:
        quantizers = [q for _, q in config.get_activations_and_quantizers(layer.layer)]
        quantizers += config.get_output_quantizers(layer.layer)
    found = {int(getattr(q, "num_bits", 0)) for q in quantizers if q is not None}
    return found.pop() if len(found) == 1 else 0


def _layer(layer: Any, node: Any = None, tensors: dict[int, str] | None = None) -> SourceLayer:
    kind, package = type(layer).__name__, type(layer).__module__.split(".")[0]
    try:
        check(layer)
    except ModelError as e:
        return SourceLayer(kind, layer.name, {}, refused=str(e))
    if package == _TFMOT:
        return _strip(layer)
    if package == "larq":
        return from_larq(layer, _weights(layer))
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    if node is not None and tensors is not None:
        args = [as_argument(a, tensors) for a in node.call_args]
        kwargs = {k: as_argument(a, tensors) for k, a in node.call_kwargs.items()}
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        return called(str(layer.get_config()["function"]), layer.name, args, kwargs)
    if kind == "Lambda" or package != "tf_keras":
        from tf_keras.saving import get_registered_name

        kind = kind_of_others(kind, get_registered_name(type(layer)))
    return SourceLayer(kind, layer.name, layer.get_config(), _weights(layer), args, kwargs)


def _weights(layer: Any) -> dict[str, np.ndarray]:
    found = {_short(v.name): np.asarray(v.numpy()) for v in layer.weights}
    nested = {
        f"{inner.name}/{_short(v.name)}": np.asarray(v.numpy())
        for inner in layer._flatten_layers(include_self=False)
        for v in inner.weights
    }
    return nested if len(found) < len(layer.weights) else {**found, **nested}


def _short(name: str) -> str:
    return name.split("/")[-1].split(":")[0]


def _strip(wrapper: Any) -> SourceLayer:
    """The layer inside a TFMOT wrapper, with the weights the wrapper stands for."""
    kind, inner = type(wrapper).__name__, getattr(wrapper, "layer", None)
    if kind == "PruneLowMagnitude":
        plain = _layer(inner)
        for v, mask, _ in wrapper.pruning_vars:
            plain.weights[_short(v.name)] = np.asarray(v.numpy() * mask.numpy())
        return plain
    if kind == "ClusterWeights":
        plain = _layer(inner)
        wrapper.update_clustered_weights_associations()
        for name in wrapper.position_original_weights.values():
            value = wrapper.get_weight_from_layer(name)
            plain.weights[_short(name)] = np.asarray(value)
        return plain
    if kind.startswith("QuantizeWrapper"):
        plain = _layer(inner)
        plain.config = {**plain.config, "activation": _activation(plain.config.get("activation"))}
        own = _weights(wrapper)
        for name in ("kernel", "depthwise_kernel"):
            if f"{name}_min" in own:  # the wrapper took this variable over
                if _clustered(own, name):
                    plain.weights[name] = own[name]
                    continue
                low, high = own[f"{name}_min"], own[f"{name}_max"]
                plain.weights[name] = fake_quant(own[name], low, high)
        return plain
    raise ModelError(
        f"layer '{wrapper.name}' is wrapped in TFMOT's {kind}, which cannot be taken off; strip it "
        "with TFMOT first"
    )


def _clustered(own: dict[str, np.ndarray], name: str) -> bool:
    """Whether a quantization-aware wrapper has kept the clusters of a weight, which it then holds
    as they are: each channel's grid would make several values of one."""
    centroids = [v for key, v in own.items() if key.startswith("cluster_centroids")]
    if not centroids or name not in own:
        return False
    return len(np.unique(own[name])) <= max(v.size for v in centroids)


def fake_quant(kernel: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """TFMOT's symmetric 8-bit weights (narrow range, codes -127..127) as real numbers."""
    peak = np.maximum(np.abs(low), np.abs(high)).astype(np.float64)
    scale = np.where(peak > 0, peak, 1.0) / 127
    quantized = np.clip(np.rint(kernel / scale), -127, 127) * scale
    return np.where(peak > 0, quantized, kernel).astype(np.float32)


def _activation(spec: Any) -> Any:
    """The activation inside TFMOT's QuantizeAwareActivation."""
    if not isinstance(spec, dict):
        return spec
    if spec.get("class_name") == "QuantizeAwareActivation":
        return _activation(spec.get("config", {}).get("activation"))
    return "linear" if spec.get("class_name") == "NoOpActivation" else spec


def _load(path: Path) -> Any:
    if path.suffix in (".h5", ".hdf5"):
        config, version = _read_h5(path)
    else:
        config, version = read_config(path), "2"
    wrapped = _TFMOT in json.dumps(config) or _wrapped_by_name(config)
    refuse_code(config, path, ("keras", "tf_keras", "builtins", "larq", _TFMOT))
    try:
        framework: Any
        if version.startswith("3"):
            framework = import_keras()
        else:
            framework = importlib.import_module("tf_keras")
    except ImportError as e:
        raise ModelError(
            f"{path} was written by tf_keras and needs it to be read ({e}); run: "
            f"{extras.install('train', 'tfmot')}"
        ) from e
    if '"larq.' in json.dumps(config):
        _import_larq(path)
    with ExitStack() as scopes:
        if wrapped:
            for scope in _tfmot_scopes(path):
                scopes.enter_context(scope)
        return load_safely(framework.models.load_model, path)


def _wrapped_by_name(config: Any) -> bool:
    text = json.dumps(config)
    return any(w in text for w in ("PruneLowMagnitude", "ClusterWeights", "QuantizeWrapper"))


def _import_larq(path: Path) -> None:
    """Importing Larq makes its layers known to tf_keras."""
    try:
        import larq  # noqa: F401
    except (ImportError, AttributeError) as e:  # AttributeError: Larq found Keras 3
        raise ModelError(
            f"{path} holds Larq layers, and Larq cannot be imported ({e}); run: pip install larq, "
            "and set TF_USE_LEGACY_KERAS=1"
        ) from e


def _tfmot_scopes(path: Path) -> list[Any]:
    try:
        import tensorflow_model_optimization as tfmot
    except ImportError as e:
        raise ModelError(
            f"{path} holds TFMOT wrappers and needs that package ({e}); strip them before saving "
            f"or run: {extras.install('train', 'tfmot')}"
        ) from e
    return [
        tfmot.sparsity.keras.prune_scope(),
        tfmot.clustering.keras.cluster_scope(),
        tfmot.quantization.keras.quantize_scope(),
    ]


def _read_h5(path: Path) -> tuple[dict[str, Any], str]:
    """The model configuration of an `.h5` file and the Keras version that wrote it."""
    if not path.is_file():
        raise ModelError(f"{path} does not exist or is no file; give the path of a saved model")
    h5py = hdf5.library(path)
    try:
        hdf5.readable(path)
        with h5py.File(path, "r") as f:
            text, version = f.attrs.get("model_config"), f.attrs.get("keras_version", "2")
            if text is None:
                raise ModelError(f"{path} holds weights alone; save the whole model: model.save()")
            version = version.decode("ascii", "replace") if isinstance(version, bytes) else version
            if not isinstance(text, str | bytes) or not isinstance(version, str):
                raise ModelError(f"{path} has no model_config that is text; save the model again")
            what = f"model_config in {path}"
            config = reading.json_of(text, what, ModelError, finite=False)
            if not isinstance(config, dict):
                raise ModelError(f"{what} is no JSON object; save the model again")
            return config, version
    except (OSError, ValueError) as e:
        raise ModelError(f"{path} is not an intact .h5 file ({e}); save the model again") from e
