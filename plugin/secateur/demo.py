"""The keyword spotter of `secateur demo`: fine-tuning with the callbacks on the packed clips.

The clips are few (data/README.md), so the original network helps: every clip is also shown shifted
in time, and the labels are mixed with what the original network says (Hinton et al., "Distilling
the Knowledge in a Neural Network", 2015). Settings were chosen on clips that are neither in
kws_train.npz nor in kws_test.npz.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur import data

if TYPE_CHECKING:
    import keras

BATCH = 100
LEARNING_RATE = 1.5e-3
COPIES = 5  #: shifted copies of each clip
SHIFT = 3  #: frames of 20 ms at most, either way
TEACHER = 0.9  #: weight of the original network's answer in the labels
POINTWISE = ("conv2d_1", "conv2d_2", "conv2d_3", "conv2d_4", "dense")


@dataclass(frozen=True)
class Recipe:
    """How long, and towards how many zeros in the ternary layers and in the first one."""

    epochs: int
    ternary_zeros: float
    first_layer_zeros: float
    ternary: tuple[str, ...] = POINTWISE


FULL = Recipe(epochs=32, ternary_zeros=0.65, first_layer_zeros=0.65)
#: Two minutes with all else: the layers that cost most accuracy stay at 8 bits.
QUICK = Recipe(12, ternary_zeros=0.5, first_layer_zeros=0.5, ternary=POINTWISE[1:4])


def load_model() -> keras.Model:
    """MLPerf Tiny's keyword spotter with its float weights."""
    import keras

    return keras.saving.load_model(data.KWS_MODEL, compile=False, safe_mode=True)


def shifted(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each clip [n, 49, 10, 1] moved by up to SHIFT frames, edge frames repeated."""
    padded = np.pad(x, ((0, 0), (SHIFT, SHIFT), (0, 0), (0, 0)), "edge")
    starts = rng.integers(0, 2 * SHIFT + 1, len(x))
    frames = starts[:, None] + np.arange(x.shape[1])
    return padded[np.arange(len(x))[:, None], frames]


def training_set(teacher: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """Clips and their shifted copies, with soft labels [n, 12]."""
    x, y = data.load("kws_train")
    rng = np.random.default_rng(0)
    clips = np.concatenate([x, *(shifted(x, rng) for _ in range(COPIES))])
    hard = np.tile(np.eye(len(data.KWS_WORDS), dtype=np.float32)[y], (COPIES + 1, 1))
    soft = teacher.predict(clips, batch_size=1000, verbose=0)
    return clips, (1 - TEACHER) * hard + TEACHER * soft


def fine_tune(
    recipe: Recipe = QUICK, epochs: int | None = None, verbose: int | str = "auto"
) -> keras.Model:
    """Prune and ternarise the keyword spotter while it trains; one epoch is 4,000 clips.

    epochs: in place of the recipe's.
    """
    import keras

    import secateur as sc

    keras.utils.set_random_seed(0)
    model, teacher = load_model(), load_model()
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0  # three levels regularise enough
    clips, labels = training_set(teacher)
    steps_per_epoch = len(clips) // ((COPIES + 1) * BATCH)
    epochs = epochs or recipe.epochs
    steps = epochs * steps_per_epoch
    order = np.random.default_rng(1).permutation(len(clips))
    repeats = -(-steps * BATCH // len(order))
    order = np.tile(order, repeats)[: steps * BATCH].reshape(steps, BATCH)
    model.compile(
        optimizer=keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
        ),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    ramp = int(0.4 * steps)
    model.fit(
        ((clips[i], labels[i]) for i in order),
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        shuffle=False,
        verbose=verbose,
        callbacks=[
            sc.Prune(recipe.first_layer_zeros, end_step=ramp, include=["conv2d"]),
            sc.Ternarize(sparsity=recipe.ternary_zeros, end_step=ramp, include=recipe.ternary),
        ],
    )
    return model


def accuracy(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    """Top-1 accuracy of the float model."""
    return float(np.mean(np.argmax(model.predict_on_batch(x), axis=1) == y))
