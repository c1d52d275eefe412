"""MNIST: full, in its original order, and batches of it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from secateur import data

Split = tuple[np.ndarray, np.ndarray]
SIDE = 28
HELD = 6000  #: training images, the last ones, that validate where settings are chosen


def load() -> tuple[Split, Split]:
    """((x, y) of 60,000 training images, (x, y) of 10,000 test images); x uint8 [n, 28, 28].

    From the data folder beside the repository where there is one, else from keras.datasets (which
    downloads it once).
    """
    folder = data.full_data()
    if folder is None or not (folder / "mnist_test_0.npz").is_file():
        print("no MNIST beside the repository: taking keras.datasets.mnist")
        return keras.datasets.mnist.load_data()
    train = [_read(folder / f"mnist_train_{i}.npz") for i in range(3)]
    return (
        (np.concatenate([x for x, _ in train]), np.concatenate([y for _, y in train])),
        _read(folder / "mnist_test_0.npz"),
    )


def images(x: np.ndarray) -> np.ndarray:
    """uint8 [n, 28, 28] as float32 [n, 28, 28, 1] in 0..1."""
    return x[..., None].astype(np.float32) / 255.0


def parts() -> tuple[Split, Split, Split]:
    """(x, y) of training, held out and test: float32 [n, 28, 28, 1] in 0..1, int64 [n]."""
    (x, y), test = load()
    cut = ((x[:-HELD], y[:-HELD]), (x[-HELD:], y[-HELD:]), test)
    train, held, tested = ((images(a), b.astype(np.int64)) for a, b in cut)
    return train, held, tested


def batches(x: np.ndarray, labels: np.ndarray, batch: int, shift: int, seed: int) -> Any:
    """An endless tf.data.Dataset of shuffled batches, every image moved by up to `shift` pixels.

    Args:
        x: uint8 [n, 28, 28].
        labels: float32 [n, 10], probabilities.
        batch: images a batch; the last, smaller one of an epoch is dropped.
        shift: pixels, independently in x and y; 0 for none.
        seed: of shuffling.
    """
    wide = SIDE + 2 * shift
    row, column = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    start = tf.constant(((row + shift) * wide + column + shift).ravel(), tf.int32)

    def prepare(images: Any, targets: Any) -> tuple[Any, Any]:
        if shift:
            padded = tf.pad(images, [[0, 0], [shift, shift], [shift, shift]])
            moves = tf.random.uniform([batch, 2], -shift, shift + 1, tf.int32)
            at = start[None] + moves[:, :1] * wide + moves[:, 1:]
            images = tf.gather(tf.reshape(padded, [batch, wide * wide]), at, batch_dims=1)
        return tf.reshape(tf.cast(images, tf.float32) / 255.0, [batch, SIDE, SIDE, 1]), targets

    rows = tf.data.Dataset.from_tensor_slices((x, labels))
    rows = rows.shuffle(len(x), seed=seed, reshuffle_each_iteration=True)
    return rows.batch(batch, drop_remainder=True).map(prepare).prefetch(2).repeat()


def _read(path: Any) -> Split:
    with np.load(path, allow_pickle=False) as z:
        return z["x"], z["y"]
