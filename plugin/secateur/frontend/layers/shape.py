"""Layers that move elements: padding, cropping, resizing, permuting, reshaping."""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.frontend.build import Builder

from .base import SourceLayer, add_layer, handles, refuse
from .geometry import image, pair


def _both_sides(value: Any, one_d: bool) -> tuple[tuple[int, int], ...]:
    """Keras' padding or cropping argument as (before, after) for each axis."""
    if one_d:
        value = (value, value) if isinstance(value, int) else value
        return ((int(value[0]), int(value[1])),)
    y, x = (value, value) if isinstance(value, int) else value
    sides = [(v, v) if isinstance(v, int) else v for v in (y, x)]
    return tuple((int(a), int(b)) for a, b in sides)


@handles("ZeroPadding2D", "ZeroPadding1D")
def _zero_pad(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    image(b, layer, inputs[0])
    sides = _both_sides(layer.config["padding"], layer.kind.endswith("1D"))
    y, x = sides if len(sides) == 2 else ((0, 0), sides[0])
    return b.emit("zero_pad", layer.name, inputs, None, {"pads": (y[0], x[0], y[1], x[1])})


@handles("Cropping2D", "Cropping1D")
def _crop(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    sides = _both_sides(layer.config["cropping"], layer.kind.endswith("1D"))
    return b.pad(layer.name, inputs[0], [*((-x, -y) for x, y in sides), (0, 0)])


@handles("CenterCrop")
def _center_crop(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    h, w, c = image(b, layer, inputs[0])
    size = (int(layer.config["height"]), int(layer.config["width"]))
    if size[0] > h or size[1] > w:
        raise refuse(layer, f"enlarges an image ({h}, {w}) to {size}", "crop to a smaller size")
    begin = ((h - size[0]) // 2, (w - size[1]) // 2, 0)
    return b.cut(layer.name, inputs[0], begin, (*size, c))


_INTERPOLATIONS = ("nearest", "bilinear")


@handles("UpSampling2D", "UpSampling1D")
def _upsample(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    h, w, _ = image(b, layer, inputs[0])
    y, x = pair(layer.config["size"], layer.kind.endswith("1D"))
    return resize(b, layer, inputs[0], (h * y, w * x))


@handles("Resizing")
def _resizing(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    c = layer.config
    for key in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"):
        if c.get(key):
            raise refuse(layer, f"has {key}=True", f"use {key}=False")
    image(b, layer, inputs[0])
    return resize(b, layer, inputs[0], (int(c["height"]), int(c["width"])))


def resize(b: Builder, layer: SourceLayer, tensor: str, size: tuple[int, int]) -> str:
    """An image resampled as Keras does: pixel centres, nearest or bilinear."""
    mode = str(layer.config.get("interpolation", "nearest"))
    if mode not in _INTERPOLATIONS:
        raise refuse(layer, f"has interpolation='{mode}'", "use 'nearest' or 'bilinear'")
    h, w, _ = b.shape(tensor)
    attrs: dict[str, Any] = {"size": size, "mode": mode}
    if mode == "nearest" and size[0] % h == 0 and size[1] % w == 0:
        attrs |= {"grid": "asymmetric", "rounding": "floor"}
    else:
        attrs |= {"grid": "half_pixel", "rounding": "round"}
    return b.emit("resize", layer.name, [tensor], None, attrs)


@handles("Permute")
def _permute(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    return b.transpose(layer.name, inputs[0], [int(d) - 1 for d in layer.config["dims"]])


@handles("RepeatVector")
def _repeat(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    n, c = int(layer.config["n"]), b.shape(inputs[0])[-1]
    y = b.reshape(f"{layer.name}_row", inputs[0], (1, c))
    return b.emit("tile", layer.name, [y], None, {"repeats": (1, n, 1)})


@handles("Flatten")
def _flatten(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    shape = b.shape(inputs[0])
    if len(shape) == 1:
        return inputs[0]
    return b.emit("flatten", layer.name, inputs, (int(np.prod(shape)),))


@handles("Reshape")
def _reshape(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    size = int(np.prod(b.shape(inputs[0])))
    target = [int(d) for d in layer.config["target_shape"]]
    if -1 in target:
        known = int(np.prod([d for d in target if d != -1]))
        target[target.index(-1)] = size // known
    return b.reshape(layer.name, inputs[0], tuple(target))


@handles("TimeDistributed")
def _time_distributed(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    inner = layer.config["layer"]
    kind, config = str(inner["class_name"]), dict(inner["config"])
    everywhere = ("Dense", "Activation", "ReLU", "LeakyReLU", "Dropout", "BatchNormalization",
                  "LayerNormalization", "Rescaling", "Softmax", "ELU")  # fmt: skip
    if kind == "Flatten":
        nominal = b.nominal(inputs[0])
        return b.reshape(layer.name, inputs[0], (nominal[0], int(np.prod(nominal[1:]))))
    if kind not in everywhere or config.get("axis", -1) not in (-1, [-1]):
        raise refuse(layer, f"repeats a {kind}", f"use {', '.join(everywhere)} or Flatten inside")
    config["name"] = layer.name
    plain = SourceLayer(kind, layer.name, config, layer.weights, keras2=layer.keras2)
    return add_layer(b, plain, inputs)
