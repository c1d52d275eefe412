"""Three networks to be slimmed, with their data, their training and how filters are chosen.

Of the training files a part is held out, by speaker or by user where there are some: it is what
settings were chosen on. Test sets are looked at once, when the page is written.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from benchmarks.recipes import kws, measure
from benchmarks.recipes.plain import plain

import secateur as sc
from secateur import data
from secateur.errors import DataError

ROUND_TO = 4
SAMPLES = 256  #: inputs that activations are looked at with, and that calibrate
TESTED = 1000  #: images that accuracy is taken on; of the held-out ones, half as many
STRENGTH = 3e-4  #: of NetworkSlimming

Pair = tuple[np.ndarray, np.ndarray]


@dataclass
class Task:
    """A network and its data. epochs: after slimming; scratch: of the small one from nothing."""

    name: str
    title: str
    epochs: int
    scratch: int
    seeds: tuple[int, ...]
    rate: float
    batch: int
    load: Callable[[], tuple[Pair, Pair, Pair]]  #: training, held out, test
    baseline: Callable[[Task], keras.Model]
    vary: Callable[[Any], Any]  #: a batch of inputs, augmented
    shares: tuple[float, ...] = (0.7, 0.5, 0.3)  #: of the operations that are left
    teach: float = 0.5  #: share of the labels that is the float network's answer

    @cached_property
    def parts(self) -> tuple[Pair, Pair, Pair]:
        """(x, y) of training, held out, test."""
        return self.load()

    @cached_property
    def labels(self) -> np.ndarray:
        """Half the truth, half what the float network says; float32 [n, classes]."""
        x, y = self.parts[0]
        model = self.baseline(self)
        truth = np.eye(model.output_shape[-1], dtype=np.float32)[y]
        return (1 - self.teach) * truth + self.teach * model.predict(x, batch_size=500, verbose=0)

    def fit(
        self,
        model: keras.Model,
        epochs: int,
        seed: int,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        rate: float | None = None,
        labels: np.ndarray | None = None,
    ) -> keras.Model:
        """`model` trained; a copy without optimizer."""
        keras.utils.set_random_seed(seed)
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        x = self.parts[0][0]
        steps = epochs * (len(x) // self.batch)
        schedule = keras.optimizers.schedules.CosineDecay(rate or self.rate, steps)
        loss = keras.losses.CategoricalCrossentropy()
        model.compile(keras.optimizers.Adam(schedule), loss, jit_compile=False)
        targets = self.labels if labels is None else labels
        rows = tf.data.Dataset.from_tensor_slices((x, targets)).shuffle(len(x), seed=seed)
        rows = rows.batch(self.batch, drop_remainder=True)
        rows = rows.map(lambda a, b: (self.vary(a), b)).prefetch(2).repeat()
        model.fit(rows, steps_per_epoch=steps, callbacks=list(callbacks), verbose=0)
        return plain(model)

    def top1(self, model: keras.Model | Path, part: int) -> float:
        """Of the integer model, percent; part 1 is held out, 2 the test."""
        x, y = self.parts[part]
        return measure.top1(measure.integers(model, self.calibration), x, y)

    @property
    def calibration(self) -> np.ndarray:
        """The first training inputs."""
        return self.parts[0][0][:SAMPLES]


# Keyword spotting ------------------------------------------------------------------------


def _kws_data() -> tuple[Pair, Pair, Pair]:
    (x, y), test = kws.load()
    folder = data.full_data()
    assert folder is not None
    with np.load(folder / "kws12_train_clean.npz", allow_pickle=False) as z:
        held = z["speaker"] % 12 == 0  # silence has speakers, too
    n = len(held)
    out = np.concatenate([held, held]) if len(x) == 2 * n else np.append(held, np.zeros(len(x) - n))
    return (x[~out], y[~out]), (x[:n][held], y[:n][held]), test


def _kws_vary(x: Any) -> Any:
    wide = tf.pad(x[..., 0], [[0, 0], [1, 1], [0, 0]], "SYMMETRIC")
    by = tf.random.uniform([tf.shape(x)[0], 1], 0, 3, tf.int32)
    return tf.gather(wide, tf.range(49)[None] + by, batch_dims=1)[..., None]


# Images ----------------------------------------------------------------------------------


def _cifar(part: str) -> Pair:
    folder = data.full_data()
    files = sorted(folder.glob(f"cifar10_{part}_*.npz")) if folder else []
    if not files:
        raise DataError("the images (cifar10_*.npz) are not beside the repository")
    images, labels = [], []
    for file in files:
        with np.load(file, allow_pickle=False) as z:
            raw, at = z["jpeg"].tobytes(), z["offsets"]
            labels.append(z["y"].astype(np.int64))
            images += [
                tf.io.decode_jpeg(raw[a:b], channels=3).numpy() for a, b in itertools.pairwise(at)
            ]
    return np.stack(images).astype(np.float32), np.concatenate(labels)


def _images() -> tuple[Pair, Pair, Pair]:
    x, y = _cifar("train")
    x_test, y_test = _cifar("test")
    # the integer reference takes minutes for all ten thousand
    held, tested = slice(TESTED // 2), slice(TESTED)
    return (x[1500:], y[1500:]), (x[held], y[held]), (x_test[tested], y_test[tested])


def _resnet8(_task: Task) -> keras.Model:
    folder = data.full_data()
    if folder is None:
        raise DataError("MLPerf Tiny's ResNet-8 is not beside the repository")
    return keras.saving.load_model(
        folder.parent / "models" / "mlperf_ic_resnet8.keras", safe_mode=True, compile=False
    )


def _images_vary(x: Any) -> Any:
    wide = tf.pad(tf.image.random_flip_left_right(x), [[0, 0], [3, 3], [3, 3], [0, 0]], "REFLECT")
    return tf.image.random_crop(wide, tf.shape(x))


# Inertial signals ------------------------------------------------------------------------

_TEST_USERS = (2, 4, 9, 10, 12, 13, 18, 20, 24)
_HELD_USERS = (5, 16, 27)
WINDOW, STEP = 128, 64


def _hapt() -> tuple[Pair, Pair, Pair]:
    folder = data.full_data()
    files = sorted(folder.glob("hapt_users*.npz")) if folder else []
    if not files:
        raise DataError("the inertial signals (hapt_*.npz) are not beside the repository")
    windows, labels, users = [], [], []
    scale = np.array([1 / 720] * 3 + [3.0543262e-4] * 3, np.float32)
    for file in files:
        with np.load(file, allow_pickle=False) as z:
            x, label, user, exp = z["x"], z["label"], z["user"], z["exp"]
        for i in range(0, len(x) - WINDOW, STEP):
            part = slice(i, i + WINDOW)
            one = label[i]
            if 1 <= one <= 6 and (label[part] == one).all() and (exp[part] == exp[i]).all():
                windows.append(x[part].astype(np.float32) * scale)
                labels.append(one - 1)
                users.append(user[i])
    x, y, who = np.stack(windows), np.array(labels, np.int64), np.array(users)
    test, held = np.isin(who, _TEST_USERS), np.isin(who, _HELD_USERS)
    rest = ~test & ~held
    return (x[rest], y[rest]), (x[held], y[held]), (x[test], y[test])


def _hapt_network(task: Task) -> keras.Model:
    """Trained once and kept."""
    path = Path(__file__).parents[2] / "build" / "slim" / "hapt-float.keras"
    if not path.is_file():
        keras.utils.set_random_seed(0)
        x = y = keras.Input((WINDOW, 6))
        for n in (32, 48, 64):
            y = keras.layers.Conv1D(n, 5, padding="same", use_bias=False)(y)
            y = keras.layers.ReLU()(keras.layers.BatchNormalization()(y))
            y = keras.layers.MaxPooling1D(2)(y)
        y = keras.layers.GlobalAveragePooling1D()(y)
        y = keras.layers.Dropout(0.3)(y)
        model = keras.Model(x, keras.layers.Dense(6, activation="softmax")(y), name="hapt")
        truth = np.eye(6, dtype=np.float32)[task.parts[0][1]]
        model = task.fit(model, 12, 0, labels=truth)
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(path)
    return keras.saving.load_model(path, safe_mode=True)


def _hapt_vary(x: Any) -> Any:
    return x + tf.random.normal(tf.shape(x), 0, 0.02)


TASKS = {
    "kws": Task(
        "kws", "Keyword spotting, DS-CNN", 2, 6, (0, 1, 2), 2e-3, 100, _kws_data,
        lambda task: kws.float_network(), _kws_vary,
    ),
    "hapt": Task(
        "hapt", "Inertial signals, 1-D CNN", 3, 9, (0, 1, 2), 2e-3, 64, _hapt, _hapt_network,
        _hapt_vary,
    ),
    "resnet8": Task(
        "resnet8", "Images (CIFAR-10 as JPEG), ResNet-8", 1, 3, (0, 1, 2), 1e-3, 64, _images,
        _resnet8, _images_vary,
    ),
}  # fmt: skip

#: method -> the criterion for a share of the operations, on inputs, with a seed
METHODS: dict[str, Callable[[float, np.ndarray, int], Any]] = {
    "L1": lambda left, x, seed: sc.L1Filters(flops=left),
    "slimming": lambda left, x, seed: sc.Slimming(flops=left),
    "ThiNet": lambda left, x, seed: sc.ThiNet(flops=left, data=x, seed=seed),
    "NISP": lambda left, x, seed: sc.NISP(flops=left, data=x),
    "complexity": lambda left, x, seed: sc.Complexity("flops", flops=left, seed=seed),
    "random": lambda left, x, seed: sc.RandomFilters(flops=left, seed=seed),
    "from scratch": lambda left, x, seed: sc.L1Filters(flops=left),
}


def slim(task: Task, method: str, left: float, seed: int, start: keras.Model) -> keras.Model:
    """The network cut to the share `left`, and trained."""
    keras.utils.set_random_seed(seed)
    criterion = METHODS[method](left, task.calibration, seed)
    scratch = method == "from scratch"
    small = sc.prune_filters(start, criterion, round_to=ROUND_TO, reinitialise=scratch)
    return task.fit(small, task.scratch if scratch else task.epochs, seed)


# Slim, then ternary ----------------------------------------------------------------------

TERNARY_EPOCHS = 4


@dataclass(frozen=True)
class Point:
    """A ternary keyword spotter.

    left: the share of operations left first, by `method` (1: the whole network); zeros: the share
    of zeros of pointwise and dense layers.
    """

    left: float
    zeros: float
    method: str = "L1"
    seeds: tuple[int, ...] = (0,)

    @property
    def name(self) -> str:
        """For files; points of the whole network and of L1 have figures alone."""
        by = "" if self.left == 1 or self.method == "L1" else f"{self.method}-"
        return f"{by}{round(100 * self.left)}-{round(100 * self.zeros)}"


_ALL = (0, 1, 2)
#: Those that are compared at equal accuracy have three seeds. The last three were settled by the
#: held-out clips (one seed each) before anything of them was tried on test clips; which of the
#: others have three seeds was settled with their test figures known.
FRONT = (
    Point(1.0, 0.8, seeds=_ALL), Point(0.5, 0.4), Point(0.5, 0.6), Point(1.0, 0.9),
    Point(0.5, 0.75), Point(1.0, 0.6), Point(0.5, 0.5),
    Point(0.3, 0.3, "ThiNet", _ALL), Point(0.5, 0.6, "ThiNet", _ALL),
    Point(1.0, 0.85, seeds=_ALL),
    Point(0.5, 0.4, "ThiNet", _ALL), Point(0.4, 0.3, "ThiNet", _ALL),
    Point(0.4, 0.4, "ThiNet", _ALL),
)  # fmt: skip


def ternary(task: Task, point: Point, start: keras.Model, seed: int) -> keras.Model:
    """`start` (slimmed already) with ternary pointwise and dense layers."""
    steps = TERNARY_EPOCHS * (len(task.parts[0][0]) // task.batch)
    main = kws.groups(start).main
    callback = sc.Ternarize(sparsity=point.zeros, end_step=steps // 2, include=main)
    return task.fit(start, TERNARY_EPOCHS, seed, [callback])
