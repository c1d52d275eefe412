"""LeNet-300-100 and LeNet-5 (Caffe's), their float baselines and their Deep Compression recipes.

Hyper-parameters were chosen on the last 5,000 training images, with seed 0; the runs that are
reported train on all 60,000.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from benchmarks.recipes.mnist import batches, images
from benchmarks.recipes.plain import plain

from secateur.callbacks import DeepCompression

BATCH = 256


def lenet300() -> keras.Model:
    """784-300-100-10, 266,610 parameters."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Flatten(name="flatten"),
            layers.Dense(300, "relu", name="ip1"),
            layers.Dense(100, "relu", name="ip2"),
            layers.Dense(10, name="ip3"),
        ],
        name="lenet300",
    )


def lenet5() -> keras.Model:
    """Caffe's LeNet: two 5x5 convolutions with pooling, 500 units, 10; 431,080 parameters."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(20, 5, activation="relu", name="conv1"),
            layers.MaxPooling2D(name="pool1"),
            layers.Conv2D(50, 5, activation="relu", name="conv2"),
            layers.MaxPooling2D(name="pool2"),
            layers.Flatten(name="flatten"),
            layers.Dense(500, "relu", name="ip1"),
            layers.Dense(10, name="ip2"),
        ],
        name="lenet5",
    )


def lenet5_blocks(baseline: keras.Model, pool_first: bool = False) -> keras.Model:
    """LeNet-5 with batch norm and ReLU as layers, as low-bit activations need them.

    Kernels are those of `baseline`, a `lenet5`. pool_first: poolings come before the norms, as
    XNOR-Net has them.
    """
    layers = keras.layers
    order = list(baseline.layers)
    parts: list[keras.layers.Layer] = []
    for i, layer in enumerate(order):
        config = layer.get_config()
        if layer.name in ("conv1", "conv2", "ip1"):
            parts.append(type(layer).from_config(config | {"activation": None, "use_bias": False}))
            if pool_first and layer.name != "ip1":
                parts.append(_copy(order[i + 1]))
            # its averages start from nothing and have few steps
            parts.append(layers.BatchNormalization(momentum=0.9, name=f"{layer.name}_norm"))
            parts.append(layers.ReLU(name=f"{layer.name}_relu"))
        elif not (pool_first and layer.name.startswith("pool")):
            parts.append(_copy(layer))
    model = keras.Sequential([keras.Input((28, 28, 1)), *parts], name="lenet5")
    for layer in baseline.layers:
        if layer.weights:
            model.get_layer(layer.name).kernel.assign(layer.kernel)
    return model


def _copy(layer: keras.layers.Layer) -> keras.layers.Layer:
    return type(layer).from_config(layer.get_config())


@dataclass(frozen=True)
class Baseline:
    """How the float network is trained: Adam, cosine decay, the same augmentation as later."""

    epochs: int
    rate: float
    shift: int = 1


@dataclass(frozen=True)
class Recipe:
    """How it is compressed: one fit with `DeepCompression`, starting from the baseline.

    Training images move by up to one pixel; labels are half the truth and half the baseline's own
    probabilities (distillation), so nothing but the baseline and its training set is used.
    """

    sparsity: dict[str, float]
    bits: dict[str, int]
    epochs: int
    rate: float
    prune_until: float
    cluster_from: float
    l1: float
    rounds: int = 40
    shift: int = 1
    teacher: float = 0.5


NETWORKS = {"lenet300": lenet300, "lenet5": lenet5}

BASELINES = {"lenet300": Baseline(10, 1e-3), "lenet5": Baseline(4, 2e-3)}

RECIPES = {
    ("lenet300", "paper"): Recipe(
        {"ip1": 0.905, "ip2": 0.86, "ip3": 0.4}, {"ip1": 4, "ip2": 4, "ip3": 4},
        18, 1e-3, 0.45, 0.8, 3e-6,
    ),
    ("lenet300", "beyond"): Recipe(
        {"ip1": 0.965, "ip2": 0.93, "ip3": 0.6}, {"ip1": 3, "ip2": 3, "ip3": 3},
        14, 1e-3, 0.6, 0.8, 1e-5,
    ),
    ("lenet5", "paper"): Recipe(
        {"conv1": 0.3, "conv2": 0.8, "ip1": 0.915, "ip2": 0.75},
        {"conv1": 5, "conv2": 4, "ip1": 4, "ip2": 4},
        6, 1.2e-3, 0.35, 0.8, 0.0,
    ),
    ("lenet5", "beyond"): Recipe(
        {"conv1": 0.55, "conv2": 0.93, "ip1": 0.988, "ip2": 0.86},
        {"conv1": 4, "conv2": 3, "ip1": 3, "ip2": 3},
        6, 1.5e-3, 0.6, 0.8, 5e-6,
    ),
}  # fmt: skip


@keras.saving.register_keras_serializable("secateur_benchmarks")
class PipelineRate(keras.optimizers.schedules.LearningRateSchedule):
    """Constant while pruning, cosine to 2 % while retraining, again from 30 % for the centroids."""

    def __init__(self, rate: float, prune_until: float, cluster_from: float, steps: int) -> None:
        self.rate, self.prune_until, self.cluster_from = rate, prune_until, cluster_from
        self.steps = steps

    def __call__(self, step: Any) -> Any:
        """The learning rate of `step`."""
        at = tf.cast(step, tf.float32) / self.steps
        retraining = (at - self.prune_until) / max(1e-6, self.cluster_from - self.prune_until)
        centroids = (at - self.cluster_from) / (1 - self.cluster_from)
        return self.rate * tf.where(
            at < self.cluster_from, 0.02 + 0.98 * _cosine(retraining), 0.3 * _cosine(centroids)
        )

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return dict(vars(self))


def train_baseline(network: str, x: np.ndarray, y: np.ndarray, seed: int) -> keras.Model:
    """The float network. x uint8 [n, 28, 28], y [n]."""
    keras.utils.set_random_seed(seed)
    model, how = NETWORKS[network](), BASELINES[network]
    steps = len(x) // BATCH
    rate = keras.optimizers.schedules.CosineDecay(how.rate, how.epochs * steps)
    _compile(model, rate)
    truth = np.eye(10, dtype=np.float32)[y]
    model.fit(
        batches(x, truth, BATCH, how.shift, seed),
        epochs=how.epochs,
        steps_per_epoch=steps,
        verbose=0,
    )
    return _plain(model)


def compress(
    baseline: keras.Model, recipe: Recipe, x: np.ndarray, y: np.ndarray, seed: int
) -> keras.Model:
    """A compressed copy of `baseline`. x uint8 [n, 28, 28], y [n]."""
    keras.utils.set_random_seed(1000 + seed)
    model = keras.models.clone_model(baseline)
    model.set_weights(baseline.get_weights())
    labels = taught(baseline, recipe.teacher, x, y)
    steps = len(x) // BATCH
    total = recipe.epochs * steps
    rate = PipelineRate(recipe.rate, recipe.prune_until, recipe.cluster_from, total)
    _regularize(model, keras.regularizers.L1(recipe.l1))
    _compile(model, rate)
    callback = DeepCompression(
        recipe.sparsity,
        recipe.bits,
        rounds=recipe.rounds,
        prune_until=recipe.prune_until,
        cluster_from=recipe.cluster_from,
    )
    model.fit(
        batches(x, labels, BATCH, recipe.shift, seed),
        epochs=recipe.epochs,
        steps_per_epoch=steps,
        callbacks=[callback],
        verbose=0,
    )
    return _plain(model)


def fit(
    model: keras.Model,
    callbacks: Sequence[keras.callbacks.Callback],
    data: tuple[np.ndarray, np.ndarray],
    rate: float,
    steps: int,
    seed: int,
) -> keras.Model:
    """Train `model` for `steps` under `callbacks`, cosine decay; a copy without optimizer.

    data: x uint8 [n, 28, 28] and labels float32 [n, 10], probabilities.
    """
    _compile(model, keras.optimizers.schedules.CosineDecay(rate, steps))
    moving = batches(*data, BATCH, 1, seed)
    model.fit(moving, steps_per_epoch=steps, callbacks=list(callbacks), verbose=0)
    return plain(model)


def taught(baseline: keras.Model, teacher: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Labels [n, 10] of which the share `teacher` is `baseline`'s probabilities."""
    logits = baseline.predict(images(x), batch_size=1000, verbose=0)
    truth = np.eye(10, dtype=np.float32)[y]
    soft = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    return (1 - teacher) * truth + teacher * soft


def _regularize(model: keras.Model, regularizer: Any) -> None:
    for layer in model.layers:
        if layer.weights:
            layer.kernel.regularizer = regularizer


def _compile(model: keras.Model, rate: Any) -> None:
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)


def _plain(model: keras.Model) -> keras.Model:
    """The same network and weights without optimizer and regularizers."""
    clone = NETWORKS[model.name]()
    clone.set_weights(model.get_weights())
    return clone


def _cosine(share: Any) -> Any:
    return 0.5 * (1.0 + tf.cos(math.pi * tf.clip_by_value(share, 0.0, 1.0)))
