"""Whole networks as people build them: the float executor against Keras to 1e-5 of the scale."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from .test_keras_operators import check

keras = pytest.importorskip("keras")
pytestmark = [pytest.mark.train, pytest.mark.slow]
L, K, A = keras.layers, keras.ops, keras.applications


def unet() -> Any:
    x = y = keras.Input((16, 16, 2))
    skips = []
    for width in (4, 8):
        y = L.Conv2D(width, 3, padding="same", activation="relu")(y)
        skips.append(y)
        y = L.MaxPooling2D()(y)
    y = L.Conv2D(16, 3, padding="same", activation="relu")(y)
    for width, skip in ((8, skips[1]), (4, skips[0])):
        y = L.Conv2DTranspose(width, 2, strides=2)(y)
        y = L.Conv2D(width, 3, padding="same", activation="relu")(L.Concatenate()([y, skip]))
    return keras.Model(x, L.Conv2D(1, 1, activation="sigmoid")(y))


def tcn() -> Any:
    x = y = keras.Input((40, 3))
    for dilation in (1, 2, 4):
        z = L.Conv1D(8, 3, dilation_rate=dilation, padding="causal", activation="relu")(y)
        z = L.BatchNormalization()(z)
        y = L.ReLU()(L.Add()([z, L.Conv1D(8, 1)(y)]))
    return keras.Model(x, L.Dense(4, activation="softmax")(y[:, -1]))


def fomo() -> Any:
    x = y = keras.Input((32, 32, 3))
    y = L.Rescaling(1 / 127.5, offset=-1)(y)
    for width in (8, 16):
        y = L.SeparableConv2D(width, 3, strides=2, padding="same", activation="relu6")(y)
    return keras.Model(x, L.Softmax()(L.Conv2D(3, 1)(y)))


def squeeze_and_excite() -> Any:
    x = y = keras.Input((12, 12, 4))
    for _ in range(2):
        z = L.Conv2D(8, 3, padding="same", activation="swish")(y)
        s = L.GlobalAveragePooling2D(keepdims=True)(z)
        s = L.Conv2D(8, 1, activation="hard_sigmoid")(L.Conv2D(2, 1, activation="relu")(s))
        y = L.Multiply()([z, s])
    return keras.Model(x, L.Dense(3)(L.GlobalMaxPooling2D()(y)))


def siamese() -> Any:
    a, b = keras.Input((12, 12, 1)), keras.Input((12, 12, 1))
    tower = keras.Sequential([keras.Input((12, 12, 1)), L.Conv2D(4, 3, activation="relu"),
                              L.Flatten(), L.Dense(8), L.UnitNormalization()])  # fmt: skip
    p, q = tower(a), tower(b)
    return keras.Model([a, b], [K.abs(p - q), L.Dot(1)([p, q])])


def keyword_transformer() -> Any:
    x = keras.Input((20, 10))
    y = L.Dense(16)(x) + np.random.default_rng(0).normal(size=(20, 16)).astype("f4")
    for _ in range(2):
        y = L.LayerNormalization()(y + L.MultiHeadAttention(2, 8)(y, y))
        y = L.LayerNormalization()(y + L.Dense(16)(L.Dense(32, activation="gelu")(y)))
    return keras.Model(x, L.Dense(5)(K.mean(y, axis=1)))


def autoencoder() -> Any:
    x = y = keras.Input((16, 16, 1))
    for width in (8, 4):
        y = L.Conv2D(width, 3, strides=2, padding="same", activation="elu")(y)
    for width in (4, 8):
        y = L.Conv2DTranspose(width, 3, strides=2, padding="same", activation="elu")(y)
    return keras.Model(x, L.Conv2D(1, 3, padding="same", activation="tanh")(y))


def fusion() -> Any:
    image, motion = keras.Input((16, 16, 3), name="image"), keras.Input((25, 6), name="motion")
    a = L.GlobalAveragePooling2D()(L.Conv2D(8, 3, strides=2, activation="relu")(image))
    b = L.GlobalMaxPooling1D()(L.Conv1D(8, 5, activation="relu")(motion))
    y = L.Concatenate()([a, b, L.Maximum()([a, b])])
    return keras.Model([image, motion], [L.Dense(4, activation="softmax")(y), L.Dense(1)(y)])


SMALL: dict[str, Callable[[], Any]] = {
    f.__name__: f
    for f in (unet, tcn, fomo, squeeze_and_excite, siamese, keyword_transformer, autoencoder,
              fusion)
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_small_networks(name: str) -> None:
    check(SMALL[name]())


def _convnext() -> Any:
    """ConvNeXt's blocks, whose own LayerScale is a layer of keras.applications."""
    x = keras.Input((32, 32, 3))
    y = L.LayerNormalization(epsilon=1e-6)(L.Conv2D(8, 4, strides=4)(x))
    for _ in range(2):
        z = L.LayerNormalization(epsilon=1e-6)(L.DepthwiseConv2D(7, padding="same")(y))
        y = y + L.Dense(8)(L.Dense(32, activation="gelu")(z)) * 0.1
    return keras.Model(x, L.Dense(5)(L.GlobalAveragePooling2D()(y)))


def _inner(module: str) -> Any:
    """The module behind a family, which takes widths that the public functions do not."""
    return importlib.import_module(f"keras.src.applications.{module}")


APPLICATIONS: dict[str, Callable[[], Any]] = {
    "MobileNet": lambda: A.MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=5),
    "MobileNetV2": lambda: A.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=5),
    "MobileNetV3Small": lambda: A.MobileNetV3Small(
        (32, 32, 3), alpha=0.35, weights=None, classes=5, include_preprocessing=True),
    "EfficientNetB0": lambda: A.EfficientNetB0(weights=None, input_shape=(32, 32, 3), classes=5),
    "MobileNetV3Large": lambda: A.MobileNetV3Large(
        (32, 32, 3), alpha=0.25, weights=None, classes=5, minimalistic=True),
    "DenseNet": lambda: _inner("densenet").DenseNet(
        [2, 2, 2, 2], weights=None, input_shape=(32, 32, 3), classes=5),
    "NASNetMobile": lambda: _inner("nasnet").NASNet(
        (32, 32, 3), penultimate_filters=96, num_blocks=1, stem_block_filters=8, weights=None,
        classes=5, default_size=32),
    "ResNet": lambda: _inner("resnet").ResNet(
        lambda x: _inner("resnet").stack_residual_blocks_v1(x, 8, 2, stride1=1, name="s"),
        False, True, weights=None, input_shape=(32, 32, 3), classes=5),
    "ResNetV2": lambda: _inner("resnet").ResNet(
        lambda x: _inner("resnet").stack_residual_blocks_v2(x, 8, 2, name="s"),
        True, True, weights=None, input_shape=(32, 32, 3), classes=5),
    "ConvNeXt": _convnext,
}  # fmt: skip


@pytest.mark.parametrize("name", APPLICATIONS)
def test_applications_at_small_width(name: str) -> None:
    model = APPLICATIONS[name]()
    rng = np.random.default_rng(0)
    for v in model.weights:  # as trained: activations keep their scale through the depth
        shape = tuple(v.shape)
        if "variance" in v.name or "gamma" in v.name:
            v.assign(rng.uniform(0.5, 1.5, shape))
        elif "kernel" in v.name:
            fan = int(np.prod(shape[:-1])) if "depthwise" not in v.name else int(np.prod(shape[:2]))
            v.assign(rng.normal(0, 1 / np.sqrt(fan), shape))
        elif v.name in ("bias", "beta", "moving_mean"):
            v.assign(rng.normal(0, 0.1, shape))
    check(model, trained=True)
