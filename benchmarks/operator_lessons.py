"""Networks of the rarer operators, that the cost model and the sizes of code are learned from.

Layers in the order in which they are called, with random weights; no network that is measured
elsewhere holds any of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _images(keras: Any, side: int, channels: int) -> Any:
    """What is done to images."""
    k = keras.layers
    x = keras.Input((side, side, channels))
    y = k.Conv2D(2 * channels, 3, padding="same", groups=2, activation="relu")(x)
    y = k.Conv2D(channels, 3, padding="same", dilation_rate=2, activation="relu")(y)
    y = k.Conv2DTranspose(channels, 2, strides=2, activation="relu")(y)
    y = k.Conv2DTranspose(channels, 3, strides=2, padding="same", activation="relu")(y)
    y = k.AveragePooling2D(4)(y)
    z = k.GlobalAveragePooling2D(keepdims=True)(y)
    z = k.Conv2D(channels, 1, activation="sigmoid")(z)
    y = k.Multiply()([y, z])
    y = k.Concatenate()([y, k.Cropping2D(1)(k.ZeroPadding2D(1)(x))])
    y = k.UpSampling2D(2)(y)
    y = k.UpSampling2D(2, interpolation="bilinear")(y)
    y = k.MaxPooling2D(4)(y)
    y = k.PReLU(shared_axes=[1, 2])(y)
    y = k.Conv2D(channels, 1, activation="tanh")(y)
    y = k.Permute((2, 1, 3))(y)
    y = k.LayerNormalization()(y)
    y = k.Conv2D(channels, 1, activation="gelu")(y)
    y = k.Softmax()(y)
    return keras.Model(x, k.Flatten()(y))


def _sequences(keras: Any, length: int, width: int) -> Any:
    """What is done to sequences."""
    k, ops = keras.layers, keras.ops
    x = keras.Input((length, width))
    q, key, v = (k.Dense(width)(x) for _ in range(3))
    scores = k.Softmax()(ops.matmul(q, ops.transpose(key, (0, 2, 1))))
    y = k.LayerNormalization()(k.Add()([x, ops.matmul(scores, v)]))
    y = k.Conv1D(width, 3, padding="causal", dilation_rate=2, activation="relu")(y)
    y = k.Maximum()([y, x])
    y = k.Subtract()([y, x])
    y = ops.max(y, axis=1)
    return keras.Model(x, k.Dense(width)(y))


MAKERS: dict[str, Callable[[Any], Any]] = {
    "images_6": lambda keras: _images(keras, 6, 4),
    "images_10": lambda keras: _images(keras, 10, 12),
    "sequences_12": lambda keras: _sequences(keras, 12, 8),
    "sequences_40": lambda keras: _sequences(keras, 40, 16),
}


def operators() -> Iterator[tuple[Any, np.ndarray]]:
    """(integer graph, input int8 [1, size]) of each."""
    import keras

    import secateur

    for name, make in MAKERS.items():
        keras.utils.set_random_seed(3)
        model = make(keras)
        rng = np.random.default_rng(3)
        x = rng.normal(0, 1, (32, *model.input_shape[1:])).astype(np.float32)
        compiled = secateur.convert(model, x, name=name, encodings="dense", optimize="latency")
        yield compiled.qgraph, compiled.quantize(x[:1]).reshape(1, -1)
