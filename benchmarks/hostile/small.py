"""Small models, data and files that the cases break."""

from __future__ import annotations

import functools
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


def inputs(n: int = 16, shape: tuple[int, ...] = (6, 5, 2)) -> np.ndarray:
    """Float32 inputs [n, *shape]."""
    return np.random.default_rng(0).normal(size=(n, *shape)).astype(np.float32)


@functools.cache
def keras_bytes() -> bytes:
    """A small network as a .keras file."""
    import tempfile

    import keras

    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [
            keras.Input((6, 5, 2)),
            keras.layers.Conv2D(3, 3, activation="relu", name="conv"),
            keras.layers.Flatten(name="flat"),
            keras.layers.Dense(4, name="head"),
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.keras"
        net.save(path)
        return path.read_bytes()


def keras_file(folder: Path, **members: bytes | None) -> Path:
    """m.keras in `folder` with members replaced (None: left out); `config` is config.json."""
    named = {"config": "config.json", "metadata": "metadata.json", "weights": "model.weights.h5"}
    changes = {named[k]: v for k, v in members.items()}
    path = folder / "m.keras"
    with zipfile.ZipFile(io.BytesIO(keras_bytes())) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = changes.get(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return path


def config() -> dict[str, Any]:
    """config.json of the small network."""
    with zipfile.ZipFile(io.BytesIO(keras_bytes())) as z:
        return dict(json.loads(z.read("config.json")))


@functools.cache
def tflite_bytes() -> bytes:
    """The small network as a .tflite file."""
    import contextlib
    import os
    import tempfile

    import keras
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as null:
        path = Path(folder) / "m.keras"
        path.write_bytes(keras_bytes())
        net = keras.saving.load_model(path)
        with contextlib.redirect_stdout(null):
            converter = tf.lite.TFLiteConverter.from_keras_model(net)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([x[None]] for x in inputs(4))
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            return bytes(converter.convert())


def calibration(folder: Path) -> Path:
    """A good calibration file for it."""
    path = folder / "x.npz"
    np.savez(path, x=inputs())
    return path


@functools.cache
def compiled() -> Any:
    """The small network, converted."""
    import tempfile

    import secateur

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.keras"
        path.write_bytes(keras_bytes())
        return secateur.convert(path, calibration=inputs(), name="small")


def board(name: str = "nucleo_f446re") -> dict[str, Any]:
    """A manifest of the project, to be changed."""
    from secateur.targets import boards

    return json.loads(json.dumps(boards.load(name).manifest))


def report() -> dict[str, Any]:
    """A report.json that reads."""
    from secateur.report import Accuracy, Energy, Flash, Latency, Outputs, Ram, Report, Size

    made = Report(
        model="toy",
        board="mps2_an386",
        emulator="qemu",
        accuracy=Accuracy(0.9, 0.9, 0.9),
        outputs=Outputs(20, 20),
        size=Size(800, 200, 76),
        flash=Flash(3100, 800, 400, 1900),
        ram=Ram(200, 30, 10),
        latency=Latency(9000, 10000.0, 4.0, "estimated"),
        energy=Energy(1.5, "estimated", "datasheet"),
        layers=(),
    )
    return json.loads(json.dumps(made.to_dict()))
