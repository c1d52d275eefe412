"""Inputs, labels and calibration that are something else than they should be."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from secateur.errors import RangeWarning

from . import Case, WarnedError, command
from .small import compiled, inputs, keras_file

N = 24


def _npz(write: Callable[[Path], None]) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        path = folder / "x.npz"
        write(path)
        model = keras_file(folder)
        command("convert", model, "--calibration", path, "--out", folder / "library")

    return run


def _saved(**arrays: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **arrays)


def _header(shape: str, dtype: str = "<f4") -> Callable[[Path], None]:
    """A member whose header declares a shape that it does not hold."""

    def write(path: Path) -> None:
        text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
        text += " " * (63 - (len(text) + 10) % 64) + "\n"
        with zipfile.ZipFile(path, "w") as z:
            z.writestr(
                "x.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
            )

    return write


def _bomb(path: Path) -> None:
    body = io.BytesIO()
    np.save(body, np.zeros((1, 6, 5, 2), np.float32))
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z,
        z.open(zipfile.ZipInfo("x.npy"), "w", force_zip64=True) as f,
    ):
        f.write(body.getvalue())
        for _ in range(1500):
            f.write(bytes(1 << 20))


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pickled",)


def _pickled(path: Path) -> None:
    np.savez(path, x=np.array([_Evil()], dtype=object))


def normalised() -> Any:
    """A network whose batch normalisation knows what its inputs look like."""
    import keras

    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6, 5, 2)),
            keras.layers.Conv2D(3, 3, name="conv"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Flatten(name="flat"),
            keras.layers.Dense(4, name="head"),
        ]
    )


def _calibrate(x: Any, warned: bool = False) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        import secateur

        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", RangeWarning)
            model = normalised() if warned else keras_file(folder)
            secateur.convert(model, calibration=x, name="net")
        if warned and said:
            raise WarnedError(" ".join(str(w.message).replace("\n", " ") for w in said))

    return run


def _labels(labels: Any, x: Any = None) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        import secateur

        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            report = secateur.deploy(
                compiled(),
                "host",
                inputs=inputs(N) if x is None else x,
                labels=labels,
                build_dir=folder / "build",
            )
        if said:
            raise WarnedError(" ".join(str(w.message).replace("\n", " ") for w in said))
        raise AssertionError(f"accuracy {report.accuracy}")

    return run


def cases() -> Iterator[Case]:
    x = inputs()
    bad: dict[str, Callable[[Path], None]] = {
        "no x": _saved(z=x, w=x),
        "x a scalar": _saved(x=3.0),
        "x a vector": _saved(x=x[0, 0, 0]),
        "x empty": _saved(x=x[:0]),
        "x of text": _saved(x=np.array([["a"]])),
        "x of dates": _saved(x=np.zeros((3, 6, 5, 2), "M8[s]")),
        "x complex": _saved(x=x + 1j),
        "x bool": _saved(x=x > 0),
        "x NaN": _saved(x=np.where(x > 1, np.nan, x)),
        "x infinite": _saved(x=np.where(x > 1, np.inf, x)),
        "x of another shape": _saved(x=x[:, :3]),
        "x flat": _saved(x=x.reshape(16, -1)),
        "x int8": _saved(x=x.astype(np.int8)),
        "x records": _saved(x=np.zeros((3, 2), [("a", "f4")])),
        "x pickled": _pickled,
        "scale text": _saved(x=x.astype(np.int8), scale="a", zero_point=0),
        "scale NaN": _saved(x=x.astype(np.int8), scale=np.nan, zero_point=0),
        "scale 0": _saved(x=x.astype(np.int8), scale=0.0, zero_point=0),
        "scale negative": _saved(x=x.astype(np.int8), scale=-1.0, zero_point=0),
        "scale infinite": _saved(x=x.astype(np.int8), scale=np.inf, zero_point=0),
        "scale a list": _saved(x=x.astype(np.int8), scale=[1, 2], zero_point=0),
        "scale alone": _saved(x=x.astype(np.int8), scale=1.0),
        "zero_point text": _saved(x=x.astype(np.int8), scale=1.0, zero_point="b"),
        "petabytes": _header("(1000000, 1000000, 1000)"),
        "negative shape": _header("(-1, 6, 5, 2)"),
        "overflowing shape": _header("(9223372036854775807, 2)"),
        "no data": _header("(16, 6, 5, 2)"),
        "shape of text": _header("('a', 2)"),
        "an object's header": _header("(2, 2)", "|O"),
        "expanding": _bomb,
        "not a zip": lambda p: p.write_bytes(b"hello"),
        "empty": lambda p: p.write_bytes(b""),
        "a folder": lambda p: p.mkdir(),
        "a FIFO": lambda p: os.mkfifo(p),
        "/dev/zero": _link("/dev/zero"),
        "a loop": lambda p: p.symlink_to(p),
        "missing": lambda p: None,
        "zip of text": lambda p: zipfile.ZipFile(p, "w").writestr("x.npy", b"hello"),
        "zip of nothing": lambda p: zipfile.ZipFile(p, "w").close(),
        "a pickle": lambda p: p.write_bytes(b"\x80\x04\x95" + bytes(30)),
    }
    for name, write in bad.items():
        yield Case("archives", f"npz, {name}", r"x\.npz|calibration", _npz(write))
    big = inputs(64)
    refused: dict[str, Any] = {
        "NaN": np.where(x > 1, np.nan, x),
        "infinite": x * np.float32(np.inf),
        "empty": x[:0],
        "another shape": x[:, :2],
        "a vector": x[0, 0, 0],
        "text": np.array(["a", "b"]),
        "None": None,
        "objects": np.array([object()] * 4),
        "complex": x * 1j,
        "int8 codes": x.astype(np.int8),
        "a list of text": ["a"],
        "a dict": {},
        "a number": 5,
        "ragged": [[1], [1, 2]],
    }
    for name, value in refused.items():
        yield Case("calibration", name, r"calibration|input", _calibrate(value))
    for name, value in {
        "constant": np.ones_like(big),
        "zeros": np.zeros_like(big),
        "one sample": big[:1],
        "huge": big * np.float32(1e30),
        "tiny": big * np.float32(1e-30),
    }.items():
        yield Case(
            "calibration", name, r"calibration|sample|input|constant", _calibrate(value, True)
        )
    yield Case("calibration", "bool, which is 0 and 1", None, _calibrate(x > 0))
    y = np.arange(N) % 4
    labels: dict[str, Any] = {
        "shifted by one": y + 1,
        "out of range": y * 50,
        "negative": y - 2,
        "text": np.array(list("abcd") * 6),
        "too few": y[:-1],
        "too many": np.append(y, 0),
        "a column": y[:, None] * np.ones((1, 2), int),
        "objects": np.array([object()] * N),
        "NaN": np.full(N, np.nan),
        "floats between": y + 0.5,
        "two dimensions of other width": np.zeros((N, 7)),
        "complex": y * 1j,
        "dates": np.zeros(N, "M8[s]"),
        "a number": 3,
        "empty": np.array([]),
        "a dict": {},
        "None in a list": [None] * N,
        "bytes": np.array([b"a"] * N),
        "huge": y + 2**40,
    }
    for name, value in labels.items():
        yield Case("labels", name, r"label|class", _labels(value))
    for name, value in {
        "uint8 as codes": np.zeros((N, 6, 5, 2), np.uint8),
        "inputs of another shape": inputs(N)[:, :2],
        "inputs NaN": inputs(N) * np.float32(np.nan),
        "inputs text": np.array([["a"]] * N),
        "inputs empty": inputs(N)[:0],
        "inputs None and labels": np.array(None),
    }.items():
        yield Case("labels", name, r"input|label", _labels(y, value))
