"""Small networks, small data, and a hand-written gradient to compare with."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf


def network(optimizer: object = None) -> keras.Model:
    """Convolution, depthwise, pointwise, dense: every kind of kernel, 10x10x2 -> 4."""
    layers = keras.layers
    return compiled(
        keras.Sequential(
            [
                layers.Input((10, 10, 2)),
                layers.Conv2D(8, 3, strides=2, name="conv"),
                layers.BatchNormalization(name="bn"),
                layers.ReLU(name="relu"),
                layers.DepthwiseConv2D(3, padding="same", name="depthwise"),
                layers.Conv2D(16, 1, name="pointwise"),
                layers.ReLU(name="relu2"),
                layers.Flatten(name="flatten"),
                layers.Dense(4, name="dense"),
            ]
        ),
        optimizer,
    )


def dense(optimizer: object = None, bias: bool = True) -> keras.Model:
    """One dense layer 12 -> 4, for gradients by hand."""
    layers = [keras.layers.Input((12,)), keras.layers.Dense(4, use_bias=bias, name="dense")]
    return compiled(keras.Sequential(layers), optimizer or keras.optimizers.SGD(0.1))


def compiled(model: keras.Model, optimizer: object = None) -> keras.Model:
    """`model` with a classification loss, without XLA."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.Adam(1e-2), loss, jit_compile=False)
    return model


def samples(model: keras.Model, count: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Random inputs and labels that fit `model`."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(count, *model.input_shape[1:])).astype(np.float32)
    return x, rng.integers(0, 4, count)


def fit(model: keras.Model, *callbacks: object, epochs: int = 2, **more: object) -> dict:
    """Eight steps an epoch in a fixed order; the history."""
    x, y = samples(model)
    options = {"batch_size": 8, "verbose": 0, "shuffle": False, **more}
    return model.fit(x, y, epochs=epochs, callbacks=list(callbacks), **options).history


class EveryStep(keras.callbacks.Callback):
    """Calls `check(step)` after every step, counted from 1."""

    def __init__(self, check: Callable[[int], None]) -> None:
        super().__init__()
        self.check, self.step = check, 0

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self.step += 1
        self.check(self.step)


def gradient(
    model: keras.Model, weight: np.ndarray, x: np.ndarray, y: np.ndarray, layer: str = "dense"
) -> np.ndarray:
    """dL/dw of `layer`'s kernel, were the kernel `weight`; the model is left as it was."""
    kernel = model.get_layer(layer).kernel
    before = kernel.numpy()
    kernel.assign(weight)
    with tf.GradientTape() as tape:
        loss = model.loss(y, model(x, training=True))
    slope = tape.gradient(loss, kernel.value).numpy()
    kernel.assign(before)
    return slope


def kernel(model: keras.Model, layer: str) -> np.ndarray:
    """A copy of a layer's kernel."""
    return np.array(model.get_layer(layer).kernel.numpy())
