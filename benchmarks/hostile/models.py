"""Archives and model files that are not what they seem, and activations that are others."""

from __future__ import annotations

import functools
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import Case, command
from .small import calibration, config, inputs, keras_bytes, keras_file, tflite_bytes

CONFIGS: dict[str, bytes] = {
    "list": b"[1,2]",
    "text": b'"hello"',
    "null": b"null",
    "number": b"7",
    "true": b"true",
    "empty": b"",
    "blank": b"   ",
    "broken": b'{"class_name": ',
    "object": b"{}",
    "class only": b'{"class_name": "Functional"}',
    "class a number": b'{"class_name": 5, "config": {}}',
    "config a list": b'{"class_name": "Sequential", "config": []}',
    "layers a number": b'{"class_name": "Sequential", "config": {"layers": 3}}',
    "layer null": b'{"class_name": "Sequential", "config": {"layers": [null]}}',
    "another class": b'{"class_name": "os.system", "config": {}}',
    "not UTF-8": b"\xff\xfe{}",
    "NaN": b"NaN",
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "big number": b"1" + b"0" * 100_000,
    "a lambda": b'{"class_name": "__lambda__", "config": {"code": "aaaa"}}',
    "NUL": b"\0" * 100,
}


def _convert(make: Callable[[Path], Path]) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        x = calibration(folder)
        command("convert", make(folder), "--calibration", x, "--out", folder / "library")

    return run


def _written(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    return make


def _changed(path: list[Any], value: object) -> Callable[[Path], Path]:
    """The model with one field of its configuration replaced."""

    def make(folder: Path) -> Path:
        document = config()
        at: Any = document
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value
        return keras_file(folder, config=json.dumps(document).encode())

    return make


def _bomb(member: str, megabytes: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "m.keras"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
            with z.open(zipfile.ZipInfo(member), "w", force_zip64=True) as f:
                for _ in range(megabytes):
                    f.write(bytes(1 << 20))
            for other in ("config.json", "metadata.json", "model.weights.h5"):
                if other != member:
                    z.writestr(other, b"{}")
        return path

    return make


def _special(what: str, name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        if what == "FIFO":
            os.mkfifo(path)
        elif what == "folder":
            path.mkdir()
        elif what == "loop":
            path.symlink_to(path)
        else:
            path.symlink_to(what)
        return path

    return make


def _flipped(seed: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        rng = np.random.default_rng(seed)
        data = bytearray(tflite_bytes())
        # in the tables, which lie at both ends; the weights in between may be anything
        for at in rng.integers(0, len(data), 40):
            data[at] = int(rng.integers(256))
        return _written("m.tflite", bytes(data))(folder)

    return make


def _layer(index: int, key: str) -> list[Any]:
    return ["config", "layers", index, "config", key]


def cases() -> Iterator[Case]:
    for name, content in CONFIGS.items():
        yield Case(
            "archives",
            f"config.json {name}",
            r"m\.keras",
            _convert(functools.partial(keras_file, config=content)),
        )
    for member in ("config", "metadata", "weights"):
        yield Case(
            "archives",
            f"without {member}",
            r"m\.keras",
            _convert(functools.partial(keras_file, **{member: None})),
        )
    for name, content in {"empty": b"", "noise": bytes(range(256)), "text": b"hello"}.items():
        yield Case(
            "archives",
            f"weights {name}",
            r"m\.keras",
            _convert(functools.partial(keras_file, weights=content)),
        )
    for member in ("config.json", "metadata.json", "model.weights.h5"):
        yield Case(
            "archives", f"{member} of 1 GB in 1 MB", r"m\.keras", _convert(_bomb(member, 1000))
        )
    for suffix in ("keras", "h5", "tflite"):
        for name, content in {
            "empty": b"",
            "one byte": b"\0",
            "noise": np.random.default_rng(0).bytes(5000),
            "text": b"model\n" * 50,
            "zip header": b"PK\x03\x04" + bytes(40),
            "HDF5 header": b"\x89HDF\r\n\x1a\n" + bytes(100),
            "TFL3": b"\x20\0\0\0TFL3" + bytes(60),
            "TFL3, far": b"\xff\xff\xff\x7fTFL3" + b"\xff" * 60,
        }.items():
            yield Case(
                "archives",
                f"{name} as .{suffix}",
                rf"m\.{suffix}",
                _convert(_written(f"m.{suffix}", content)),
            )
        for what in ("FIFO", "folder", "loop", "/dev/zero", "/dev/null", "/nonexistent"):
            yield Case(
                "archives",
                f"{what} as .{suffix}",
                rf"m\.{suffix}",
                _convert(_special(what, f"m.{suffix}")),
            )
    for share in (0.1, 0.5, 0.9, 0.99):
        yield Case(
            "archives",
            f".keras cut at {share}",
            r"m\.keras",
            lambda f, s=share: _convert(
                _written("m.keras", keras_bytes()[: int(s * len(keras_bytes()))])
            )(f),
        )
        yield Case(
            "archives",
            f".tflite cut at {share}",
            r"m\.tflite",
            lambda f, s=share: _convert(
                _written("m.tflite", tflite_bytes()[: int(s * len(tflite_bytes()))])
            )(f),
        )
    for key, values in {
        "strides": ([0, 0], [-1, 1], "x", None, [1.5, 1], [1] * 9),
        "filters": (0, -3, "x", None, 1e9),
        "kernel_size": ([0, 3], [-1, 3], "x", [99, 99]),
        "padding": ("", 3, "full"),
        "groups": (0, -1, 7),
        "dilation_rate": ([0, 0], [3, 3]),
        "activation": ("", "nope", 5, {}),
        "data_format": ("channels_last_but_one", 3),
    }.items():
        for value in values:
            yield Case(
                "archives",
                f"conv {key} {value!r}",
                r"m\.keras|conv",
                _convert(_changed(_layer(1, key), value)),
            )
    for value in (0, -1, "x", None, 2**40, 1.5, [4]):
        yield Case(
            "archives",
            f"dense units {value!r}",
            r"m\.keras|head",
            _convert(_changed(_layer(3, "units"), value)),
        )
    for name, make in _activations().items():
        yield Case("activations", name, r"odd|activation", _network(make))


def _network(make: Callable[[Any], list[Any]]) -> Callable[[Path], None]:
    """Convert a network in memory; if that works its output must be Keras' own."""

    def run(folder: Path) -> None:
        import keras

        import secateur

        keras.utils.set_random_seed(0)
        net = keras.Sequential([keras.Input((6, 5, 2)), *make(keras)])
        x = inputs(64)
        made = secateur.convert(net, calibration=x, name="net")
        t = made.qgraph.tensors[made.qgraph.output]
        got = (made.run(made.quantize(x)).reshape(64, -1) + 128.0 - t.zero_point) * t.scale
        wanted = np.asarray(net(x)).reshape(64, -1)
        error = float(np.abs(got - wanted).max() / (np.ptp(wanted) + 1e-9))
        assert error < 0.15, f"converted to another function: off by {error:.2f} of its range"
        from . import RefusedError

        raise RefusedError("activation: agrees with Keras")

    return run


def _activations() -> dict[str, Callable[[Any], list[Any]]]:
    def relu(t: Any) -> Any:  # a user's own function with a known name
        return -t

    def softmax(t: Any) -> Any:
        return t * 2

    class Relu:
        def __call__(self, t: Any) -> Any:
            return t * 0.5

    def odd(k: Any) -> dict[str, Any]:
        return {
            "lambda": lambda t: t * t,
            "own relu": relu,
            "own softmax": softmax,
            "callable object": Relu(),
            "partial relu": functools.partial(k.activations.relu, max_value=0.5),
            "partial leaky": functools.partial(k.activations.leaky_relu, negative_slope=0.3),
            "ops.sign": k.ops.sign,
            "ops.abs": k.ops.abs,
            "ops.square": k.ops.square,
            "ops.relu": k.ops.relu,
            "numpy": np.tanh,
            "relu6": k.activations.relu6,
            "gelu": k.activations.gelu,
            "tanh": k.activations.tanh,
            "linear": k.activations.linear,
            "hard_sigmoid": k.activations.hard_sigmoid,
            "log_softmax": k.activations.log_softmax,
        }

    import keras

    found: dict[str, Callable[[Any], list[Any]]] = {}
    for name in odd(keras):
        for where in ("Dense", "Conv2D", "Activation"):

            def make(k: Any, name: str = name, where: str = where) -> list[Any]:
                act = odd(k)[name]
                if where == "Conv2D":
                    return [k.layers.Conv2D(3, 3, activation=act, name="odd"), k.layers.Flatten()]
                if where == "Dense":
                    return [k.layers.Flatten(), k.layers.Dense(5, activation=act, name="odd")]
                return [k.layers.Flatten(), k.layers.Dense(5), k.layers.Activation(act, name="odd")]

            found[f"{name} in {where}"] = make
    return found
