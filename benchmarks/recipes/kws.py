"""The keyword spotter (MLPerf Tiny's DS-CNN) at chosen sizes: data, plans, training.

Every plan starts from the trained float network or goes on from another plan's, and is one fit with
the callbacks. The float network also teaches: labels are half the truth, half its probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from benchmarks.recipes.plain import plain

from secateur import data
from secateur.callbacks import Cluster, Compression, Prune, Ternarize
from secateur.errors import DataError

BATCH, RATE, SHIFT, TEACHER = 100, 2e-3, 1, 0.5
FRAMES = 49


@dataclass(frozen=True)
class Plan:
    """What happens to the pointwise and dense layers, the depthwise ones and the first.

    Shares are of zeros; clusters are codebook sizes by layer; None leaves layers at 8 bits.
    """

    method: str  #: "ternary" or "cluster" for pointwise and dense layers
    zeros: float
    epochs: int
    clusters: int = 0  #: of the pointwise and dense layers, with "cluster"
    depthwise_clusters: int | None = None
    depthwise_zeros: float | None = None  #: ternary
    first_zeros: float | None = None  #: ternary with "ternary", else pruned and clustered
    ramp: float = 0.5  #: share of the fit in which zeros grow
    start: str | None = None  #: named plan whose network it goes on from; None: the float network


_ALL_TERNARY = Plan("ternary", 0.5, 8, depthwise_zeros=0.3, first_zeros=0.4, ramp=0.3)
#: Plans with a name of their own, for what the issue of each promises.
NAMED = {
    "ternary80": Plan("ternary", 0.8, 15),
    "fortieth": Plan(
        "ternary", 0.85, 16, depthwise_zeros=0.4, first_zeros=0.7, start="all-ternary"
    ),
    "all-ternary, 8 epochs": _ALL_TERNARY,
    "all-ternary": replace(_ALL_TERNARY, start="all-ternary, 8 epochs"),
}
#: The curve accuracy against bytes.
CURVES = {
    "prune + ternary": [
        Plan("ternary", 0.6, 2, depthwise_clusters=16, first_zeros=0.5),
        Plan("ternary", 0.8, 2, depthwise_clusters=8, first_zeros=0.6),
        Plan("ternary", 0.9, 2, depthwise_clusters=5, first_zeros=0.75),
    ],
    "prune + cluster": [
        Plan("cluster", 0.6, 2, 16, depthwise_clusters=16, first_zeros=0.5),
        Plan("cluster", 0.8, 2, 8, depthwise_clusters=8, first_zeros=0.6),
        Plan("cluster", 0.9, 2, 5, depthwise_clusters=5, first_zeros=0.75),
    ],
}


def load(
    augmented: bool = True,
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """((x, y) for training; (x, y) of the 1,038 held-out clips).

    augmented: train on the augmented clips besides the clean ones.

    x float32 [n, 49, 10, 1], y int [n]. DataError if the full set is not there.
    """
    folder = data.full_data()
    if folder is None or not (folder / "kws12_test.npz").is_file():
        raise DataError(
            "the full keyword data (kws12_*.npz) are not beside the repository; set SECATEUR_DATA "
            "to the folder that has them"
        )
    clean, test = (_read(folder / f"kws12_{n}.npz") for n in ("train_clean", "test"))
    if not augmented:
        return clean, test
    more = _read(folder / "kws12_train_aug1.npz")
    return (np.concatenate([clean[0], more[0]]), np.concatenate([clean[1], more[1]])), test


def float_network() -> keras.Model:
    """The network with its trained weights."""
    return keras.saving.load_model(data.KWS_MODEL, safe_mode=True)


@dataclass(frozen=True)
class Groups:
    """Names of the layers with kernels."""

    first: list[str]
    depthwise: list[str]
    main: list[str]  #: pointwise and dense


def groups(model: keras.Model) -> Groups:
    """The layers of the network, by what they are."""
    out = Groups([], [], [])
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            out.depthwise.append(layer.name)
        elif isinstance(layer, keras.layers.Conv2D) and layer.kernel_size != (1, 1):
            out.first.append(layer.name)
        elif isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            out.main.append(layer.name)
    return out


def train(
    plan: Plan, model: keras.Model, x: np.ndarray, y: np.ndarray, seed: int = 0
) -> keras.Model:
    """`model` trained further under `plan`. x float32 [n, 49, 10, 1], y [n]."""
    keras.utils.set_random_seed(seed)
    steps = plan.epochs * (len(x) // BATCH)
    return fit(model, _callbacks(plan, model, steps), (x, taught(x, y)), steps, seed)


def taught(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Labels float32 [n, 12] of which the share `TEACHER` is the float network's probabilities."""
    truth = np.eye(12, dtype=np.float32)[y]
    return (1 - TEACHER) * truth + TEACHER * float_network().predict(x, batch_size=500, verbose=0)


def fit(
    model: keras.Model,
    callbacks: Sequence[keras.callbacks.Callback],
    data: tuple[np.ndarray, np.ndarray],
    steps: int,
    seed: int,
    rate: float = RATE,
) -> keras.Model:
    """Train `model` for `steps` of `BATCH` clips under `callbacks`; a copy without optimizer.

    data: x float32 [n, 49, 10, 1] and labels float32 [n, 12], probabilities. rate: of
    the first step; it falls to 0 along a cosine.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0  # few levels regularize enough
    loss = keras.losses.CategoricalCrossentropy()
    falling = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(keras.optimizers.Adam(falling), loss, jit_compile=False)
    batches = _batches(*data, seed)
    model.fit(batches, steps_per_epoch=steps, callbacks=list(callbacks), verbose=0)
    return plain(model)


def _callbacks(plan: Plan, model: keras.Model, steps: int) -> list[Compression]:
    layers = groups(model)
    main, depthwise, first = layers.main, layers.depthwise, layers.first
    end = round(plan.ramp * steps)
    later = round(0.7 * steps)
    ternary = plan.method == "ternary"
    out: list[Compression] = []
    if ternary:
        out.append(Ternarize(sparsity=plan.zeros, end_step=end, include=main))
    else:
        out.append(Prune(plan.zeros, 0, end, include=main))
        out.append(Cluster(clusters=plan.clusters, begin_step=later, include=main))
    if plan.first_zeros is not None and ternary:
        out.append(Ternarize(sparsity=plan.first_zeros, end_step=end, include=first))
    elif plan.first_zeros is not None:
        out.append(Prune(plan.first_zeros, 0, end, include=first))
        out.append(Cluster(clusters=plan.clusters, begin_step=later, include=first))
    if plan.depthwise_zeros is not None:
        share = plan.depthwise_zeros
        out.append(Ternarize(sparsity=share, initial_sparsity=0.2, end_step=end, include=depthwise))
    elif plan.depthwise_clusters is not None:
        begin = end if ternary else later
        clusters = plan.depthwise_clusters
        out.append(Cluster(clusters=clusters, begin_step=begin, include=depthwise))
    return out


def _batches(x: np.ndarray, labels: np.ndarray, seed: int) -> Any:
    """An endless dataset; every clip moved by up to `SHIFT` frames."""

    def move(clips: Any, targets: Any) -> tuple[Any, Any]:
        wide = tf.pad(clips[..., 0], [[0, 0], [SHIFT, SHIFT], [0, 0]], "SYMMETRIC")
        by = tf.random.uniform([BATCH, 1], 0, 2 * SHIFT + 1, tf.int32)
        return tf.gather(wide, tf.range(FRAMES)[None] + by, batch_dims=1)[..., None], targets

    rows = tf.data.Dataset.from_tensor_slices((x, labels)).shuffle(len(x), seed=seed)
    return rows.batch(BATCH, drop_remainder=True).map(move).prefetch(2).repeat()


def _read(path: Any) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as z:
        x = (z["q"].astype(np.float32) - data.KWS_ZERO_POINT) * data.KWS_SCALE
        return x[..., None].astype(np.float32), z["y"].astype(np.int64)
