"""The weights a Keras layer computes with, where they are not the variables it stores.

LoRA adds the product of two thin matrices to the kernel; Keras' own quantization stores codes and
scales. What counts is the kernel these stand for. Codes of int8 and int4 come back exactly when
lowering quantizes that kernel again, since its scale is the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.errors import ModelError


def effective_weights(layer: Any, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`weights` (by short name) with the kernel that `layer` really has; ModelError if unknown."""
    inner = layer._flatten_layers(include_self=False) if hasattr(layer, "_flatten_layers") else ()
    for part in inner:
        if _changed(part):
            raise _refused(part, f"inside layer '{layer.name}' has {_how(part)}")
    if not _changed(layer):
        return weights
    kind, mode = type(layer).__name__, getattr(layer, "quantization_mode", None)
    if mode not in (None, "int8", "int4"):
        raise _refused(layer, f"is quantized to {mode} by Keras")
    if kind == "Embedding":
        return {"embeddings": _array(layer(np.arange(layer.input_dim))).astype(np.float32)}
    if mode is None:
        kernel = _array(layer.kernel).astype(np.float32)
    elif kind == "Dense":
        kernel = _dequantized(layer)
    elif kind == "EinsumDense":
        kernel = _einsum_kernel(layer) if mode == "int8" else _dequantized(layer)
    else:
        raise _refused(layer, f"is quantized to {mode} by Keras")
    bias = {n: v for n, v in weights.items() if n == "bias"}
    return {"kernel": kernel, **bias}


def _dequantized(layer: Any) -> np.ndarray:
    """Kernel of a Dense layer in int8 or int4 or an EinsumDense layer in int4, its LoRA added."""
    import keras

    codes, flat = layer._kernel, hasattr(layer, "_int4_unpacked_column_size")
    if layer.quantization_mode == "int4":
        columns = layer._int4_unpacked_column_size if flat else layer._orig_output_dim
        codes = keras.quantizers.unpack_int4(codes, columns, axis=-1)
    kernel, scale = _array(codes).astype(np.float64), _array(layer.kernel_scale).astype(np.float64)
    if getattr(layer, "kernel_zero", None) is not None:  # a scale for each group of inputs
        group = _array(layer.g_idx).astype(int)
        kernel = (kernel - _array(layer.kernel_zero).astype(np.float64)[group]) * scale[group]
    else:
        kernel = kernel / scale
    if flat:  # an EinsumDense layer's lies as [inputs, outputs]
        kernel = kernel.reshape(layer.original_kernel_shape)
    if layer.lora_enabled:
        a, b = _array(layer.lora_kernel_a), _array(layer.lora_kernel_b)
        kernel = kernel + layer.lora_alpha / layer.lora_rank * (a.astype(np.float64) @ b)
    return kernel.astype(np.float32)


def _einsum_kernel(layer: Any) -> np.ndarray:
    """Kernel of an EinsumDense layer in int8, its LoRA added; the scale lies along the outputs."""
    scale = _array(layer._adjust_scale_for_dequant(layer.kernel_scale)).astype(np.float64)
    kernel = _array(layer._kernel).astype(np.float64) / scale
    if layer.lora_enabled:
        a, b = _array(layer.lora_kernel_a), _array(layer.lora_kernel_b)
        kernel = kernel + layer.lora_alpha / layer.lora_rank * (a.astype(np.float64) @ b)
    return kernel.astype(np.float32)


def _array(tensor: Any) -> np.ndarray:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(tensor))


def _changed(layer: Any) -> bool:
    return bool(getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None))


def _how(layer: Any) -> str:
    mode = getattr(layer, "quantization_mode", None)
    return f"{mode} quantization by Keras" if mode else "LoRA"


def _refused(layer: Any, what: str) -> ModelError:
    return ModelError(
        f"layer '{layer.name}' ({type(layer).__name__}) {what}, which is not supported; convert "
        "the model before it is quantized, or merge it into the kernel first"
    )
