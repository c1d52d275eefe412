"""Model inputs from .npz files."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from secateur import reading
from secateur.errors import DataError

#: Bytes of a file of inputs, and of its arrays.
LARGEST = 2 << 30


def load_inputs(path: str | Path) -> tuple[Any, np.ndarray | None]:
    """Inputs [n, ...] and labels [n, ...] or None from `path`.

    Inputs are float32 features, or int8 codes of the converted model's interface as they are.

    Keys: `x`, features as the Keras model takes them (a lone array, also an .npy, will do);
    optionally `y`, labels as `secateur.deploy` takes them, and `scale` and `zero_point` if
    `x` holds features as integers: feature = (x - zero_point) * scale. Pickled objects are never
    loaded. Raises DataError.
    """
    where = reading.regular(path, LARGEST, DataError)
    try:
        arrays, keys = _arrays(where)
    except (  # RuntimeError: members encrypted or of a later version of zip
        OSError, ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error,
    ) as e:  # fmt: skip
        raise DataError(f"{where} is not a readable .npz of plain arrays ({e}).") from e
    if "x" not in arrays and len(keys) > 1 and set(keys) - {"y", "scale", "zero_point"}:
        return _several(where, keys)
    if "x" not in arrays:
        found = ", ".join(keys) or "none"
        raise DataError(f"{where} has no array x (it has: {found}): save it with np.savez(x=...).")
    x = arrays["x"]
    if x.dtype.kind not in "fiu" or x.ndim < 2 or not len(x):
        raise DataError(
            f"{where}: x must be numbers of shape [n, ...] with n > 0, not {x.dtype} {x.shape}."
        )
    if ("scale" in arrays) != ("zero_point" in arrays):
        raise DataError(f"{where} has only one of scale and zero_point: give both or neither.")
    if x.dtype != np.int8 or "scale" in arrays:
        x = x.astype(np.float32)
    if "scale" in arrays:
        both = (arrays["scale"], arrays["zero_point"])
        if any(a.size != 1 or a.dtype.kind not in "fiu" or not np.isfinite(a).all() for a in both):
            raise DataError(f"{where}: scale and zero_point must be single numbers.")
        if not float(arrays["scale"].item()) > 0:
            raise DataError(
                f"{where} has scale {arrays['scale'].item():g}; give the positive step from one "
                "integer to the next."
            )
        x = (x - np.float32(arrays["zero_point"].item())) * np.float32(arrays["scale"].item())
    if not np.isfinite(x).all():
        raise DataError(f"{where}: x holds NaN or infinite values: remove those samples.")
    y = arrays.get("y")
    if y is not None and (y.dtype.kind not in "biuf" or not y.ndim or len(y) != len(x)):
        raise DataError(
            f"{where}: y must be numbers, one entry for each of {len(x)} inputs (class numbers, "
            f"one-hot rows or targets), not {y.dtype} of shape {y.shape}."
        )
    return x, y


def _several(where: Path, keys: Sequence[str]) -> tuple[Any, np.ndarray | None]:
    """Inputs by name, and labels `y`, of a file for a model of several inputs."""
    with np.load(where, allow_pickle=False) as z:
        arrays = {k: z[k] for k in keys}
    y = arrays.pop("y", None)
    counts = {k: len(v) if v.ndim else 0 for k, v in arrays.items()}
    for k, v in arrays.items():
        if v.dtype.kind not in "fiu" or v.dtype == np.int8 or v.ndim < 2 or not len(v):
            raise DataError(
                f"{where}: {k} must be real numbers or indices of shape [n, ...] with n > 0, not "
                f"{v.dtype} {v.shape}."
            )
        if not np.isfinite(v).all():
            raise DataError(f"{where}: {k} holds NaN or infinite values: remove those samples.")
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{k} {n}" for k, n in counts.items())
        raise DataError(f"{where}: inputs of different numbers of samples ({listed}).")
    n = next(iter(counts.values()))
    if y is not None and (y.dtype.kind not in "biuf" or not y.ndim or len(y) != n):
        raise DataError(f"{where}: y must be numbers, one entry for each of {n} inputs.")
    return arrays, y


def _arrays(where: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of an .npz or .npy by key, and all keys; what they declare is looked at first."""
    if not zipfile.is_zipfile(where):  # an .npy
        with where.open("rb") as file:
            _declared(file, where.stat().st_size, str(where))
        return {"x": np.load(where, allow_pickle=False)}, ["x"]
    with zipfile.ZipFile(where) as archive:
        there = reading.members(archive, where, LARGEST, DataError)
        keys = [name.removesuffix(".npy") for name in there]
        wanted = [k for k in keys if k in ("x", "y", "scale", "zero_point") or len(keys) == 1]
        for name, member in there.items():
            with archive.open(member) as file:
                _declared(file, member.file_size, f"{name} in {where}")
    with np.load(where, allow_pickle=False) as loaded:
        arrays = {k: loaded[k] for k in wanted}
    return ({"x": arrays[keys[0]]} if len(keys) == 1 else arrays), keys  # np.savez(path, features)


def _declared(file: IO[bytes], size: int, what: str) -> None:
    """ValueError unless the .npy in `file`, of `size` bytes, declares what is there."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else (
        np.lib.format.read_array_header_2_0
    )  # fmt: skip
    try:
        shape, _, dtype = read(file, max_header_size=10_000)
    except (tokenize.TokenError, SyntaxError) as e:  # it tokenizes what is no literal
        raise ValueError(f"{what} has a damaged header") from e
    declared = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or file.tell() + declared != size:
        raise ValueError(f"{what} declares {declared:,} bytes and has {size - file.tell():,}")


def load_calibration(path: str | Path) -> Any:
    """Features float32 [n, ...] from `path`; DataError if they are int8 without their scale."""
    return as_calibration(load_inputs(path)[0], path)


def as_calibration(x: Any, path: str | Path) -> Any:
    """`x` unless it is int8: calibration is what finds the meaning of those codes."""
    if getattr(x, "dtype", None) == np.int8:
        raise DataError(
            f"{path}: int8 x cannot calibrate a model: give float features as --calibration, or "
            "add scale and zero_point to the file."
        )
    return x
