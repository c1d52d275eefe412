"""The architectures that slimming is promised for, small enough to be built in a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers as L  # noqa: N812


def _bn_relu(y: Any) -> Any:
    return L.ReLU()(L.BatchNormalization()(y))


def _conv(y: Any, n: int, k: int = 3, s: int = 1) -> Any:
    return L.Conv2D(n, k, strides=s, padding="same", use_bias=False)(y)


def _head(y: Any, classes: int = 10) -> Any:
    return L.Dense(classes, activation="softmax")(L.GlobalAveragePooling2D()(y))


def resnet(depth: int, width: int = 16, padded: bool = False) -> keras.Model:
    """He's CIFAR ResNet, with 1x1 projections or with padded shortcuts."""
    x = keras.Input((32, 32, 3))
    y = _bn_relu(_conv(x, width))
    for stage in range(3):
        n = width << stage
        for block in range((depth - 2) // 6):
            s = 2 if stage and not block else 1
            z = L.BatchNormalization()(_conv(_bn_relu(_conv(y, n, 3, s)), n))
            if s > 1 and padded:
                y = keras.ops.pad(y[:, ::2, ::2], [[0, 0], [0, 0], [0, 0], [n // 4, n // 4]])
            elif s > 1:
                y = L.BatchNormalization()(_conv(y, n, 1, s))
            y = L.ReLU()(L.Add()([y, z]))
    return keras.Model(x, _head(y), name=f"resnet{depth}")


def mobilenet_v2(size: int = 32, alpha: float = 0.35) -> keras.Model:
    """Keras' own, without its weights."""
    return keras.applications.MobileNetV2((size, size, 3), alpha, weights=None, classes=10)


def vgg() -> keras.Model:
    """VGG-small: Flatten into Dense."""
    x = y = keras.Input((32, 32, 3))
    for n in (16, 32, 64):
        for _ in range(2):
            y = L.ReLU()(L.BatchNormalization()(L.Conv2D(n, 3, padding="same")(y)))
        y = L.MaxPooling2D()(y)
    y = L.Dropout(0.5)(L.Dense(64, activation="relu")(L.Flatten()(y)))
    return keras.Model(x, L.Dense(10, activation="softmax")(y), name="vgg_small")


def densenet() -> keras.Model:
    """Two dense blocks of four pre-activated layers, growth 8, and a transition."""
    x = keras.Input((32, 32, 3))
    y = _conv(x, 16)
    for block in range(2):
        for _ in range(4):
            y = L.Concatenate()([y, _conv(_bn_relu(y), 8)])
        if not block:
            y = L.AveragePooling2D(2)(_conv(_bn_relu(y), y.shape[-1] // 2, 1))
    return keras.Model(x, _head(_bn_relu(y)), name="densenet_small")


def unet() -> keras.Model:
    """Two levels, transposed convolutions, skip connections by concatenation."""
    x = y = keras.Input((32, 32, 1))
    skips = []
    for n in (8, 16):
        y = _bn_relu(_conv(_bn_relu(_conv(y, n)), n))
        skips.append(y)
        y = L.MaxPooling2D()(y)
    y = _bn_relu(_conv(y, 32))
    for n in (16, 8):
        y = L.Conv2DTranspose(n, 2, 2, padding="same")(y)
        y = _bn_relu(_conv(L.Concatenate()([y, skips.pop()]), n))
    return keras.Model(x, L.Conv2D(1, 1, activation="sigmoid")(y), name="unet")


def senet() -> keras.Model:
    """Residual blocks with squeeze-and-excite."""
    x = keras.Input((32, 32, 3))
    y = _bn_relu(_conv(x, 16))
    for n, s in ((16, 1), (32, 2)):
        z = L.BatchNormalization()(_conv(_bn_relu(_conv(y, n, 3, s)), n))
        gate = L.Dense(n // 4, activation="relu")(L.GlobalAveragePooling2D()(z))
        gate = L.Reshape((1, 1, n))(L.Dense(n, activation="sigmoid")(gate))
        z = L.Multiply()([z, gate])
        y = L.BatchNormalization()(_conv(y, n, 1, s)) if s > 1 else y
        y = L.ReLU()(L.Add()([y, z]))
    return keras.Model(x, _head(y), name="senet")


def dscnn() -> keras.Model:
    """MLPerf Tiny's keyword spotter."""
    x = keras.Input((49, 10, 1))
    y = _bn_relu(L.Conv2D(64, (10, 4), strides=2, padding="same")(x))
    for _ in range(4):
        y = _bn_relu(L.DepthwiseConv2D(3, padding="same")(y))
        y = _bn_relu(L.Conv2D(64, 1)(y))
    return keras.Model(x, _head(y, 12), name="dscnn")


def cnn1d() -> keras.Model:
    """A small network on inertial signals."""
    x = y = keras.Input((128, 6))
    for n in (16, 32, 32):
        y = L.Conv1D(n, 5, padding="same")(y)
        y = L.MaxPooling1D(2)(L.ReLU()(L.BatchNormalization()(y)))
    y = L.Dense(32, activation="relu")(L.GlobalAveragePooling1D()(y))
    return keras.Model(x, L.Dense(6, activation="softmax")(y), name="cnn1d")


def two_inputs() -> keras.Model:
    """An image and a vector, joined."""
    image, vector = keras.Input((16, 16, 3), name="image"), keras.Input((8,), name="vector")
    y = L.MaxPooling2D()(_bn_relu(_conv(image, 16)))
    y = L.GlobalAveragePooling2D()(_bn_relu(_conv(y, 32)))
    v = L.Dense(16)(vector)
    v = L.ReLU()(L.BatchNormalization()(v))
    y = L.Dense(24, activation="relu")(L.Concatenate()([y, v]))
    return keras.Model([image, vector], L.Dense(4, activation="softmax")(y), name="two_inputs")


ZOO: dict[str, Callable[[], keras.Model]] = {
    "mobilenet_v2": mobilenet_v2,
    "resnet8": lambda: resnet(8),
    "resnet20": lambda: resnet(20),
    "resnet56": lambda: resnet(56),
    "vgg_small": vgg,
    "densenet_small": densenet,
    "unet": unet,
    "senet": senet,
    "dscnn": dscnn,
    "cnn1d": cnn1d,
    "two_inputs": two_inputs,
    "resnet8_padded": lambda: resnet(8, padded=True),
}
