"""Training, validation and test rows, looked at before any time is spent on them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from secateur import tasks
from secateur.errors import DataError

#: Share of a part's rows that may stand in the training rows, too, before it is an error.
LEAK = 0.01


@dataclass(frozen=True)
class Samples:
    """One part: x float32 [n, *input shape], y as the user gave it, and what y means."""

    x: np.ndarray
    y: np.ndarray
    task: tasks.Task


def read(part: Any, what: str, shape: tuple[int, ...], output: tuple[int, ...],
         sigmoid: bool) -> Samples:  # fmt: skip
    """`part` (x, y) for a model with inputs [n, *shape] and outputs [n, *output].

    Raises DataError: no pair, other shapes, labels that fit no task, targets of a regression.
    """
    if not isinstance(part, tuple | list) or len(part) != 2:
        raise DataError(f"{what} is {type(part).__name__}; give a pair (x, y) of arrays")
    x, y = np.asarray(part[0]), np.asarray(part[1])
    if x.dtype.kind not in "fiu" or x.ndim < 2 or not len(x):
        raise DataError(f"{what}: x is {x.dtype} {list(x.shape)}; give numbers [n, ...] with n > 0")
    if tuple(x.shape[1:]) != tuple(shape):
        raise DataError(
            f"{what}: each x has the shape {list(x.shape[1:])} and the model takes {list(shape)}"
        )
    x = x.astype(np.float32)
    if not np.isfinite(x).all():
        raise DataError(f"{what}: x holds NaN or infinite values; remove those samples")
    try:
        task = tasks.read(y, len(x), output, sigmoid)
    except DataError as e:
        raise DataError(f"{what}: {e}") from None
    if task.kind == tasks.REGRESSION:
        raise DataError(
            f"{what}: labels are targets of a regression; an exploration ranks by right answers"
        )
    return Samples(x, y, task)


def same_labels(parts: Mapping[str, Samples]) -> None:
    """DataError unless all parts pose the same kind of task."""
    kinds = {name: part.task.kind for name, part in parts.items()}
    if len(set(kinds.values())) > 1:
        said = ", ".join(f"{name} is {kind}" for name, kind in kinds.items())
        raise DataError(f"labels differ in kind: {said}; give labels of one form")


def leaks(parts: Mapping[str, Samples], allow: bool = False) -> list[str]:
    """Sentences about identical rows in two parts.

    Raises DataError where more than `LEAK` of a part's rows stand in one before it, unless `allow`.
    """
    hashes = {name: _hashes(part.x) for name, part in parts.items()}
    names, said = list(parts), []
    for i, later in enumerate(names):
        for earlier in names[:i]:
            seen = set(hashes[earlier])
            count = sum(h in seen for h in hashes[later])
            if not count:
                continue
            sentence = (
                f"{count:,} of {len(hashes[later]):,} rows of {later} are rows of {earlier}, too"
            )
            if count > LEAK * len(hashes[later]) and not allow:
                raise DataError(
                    f"{sentence}: accuracies would be of what was trained on; take them out, or "
                    "allow it (allow_overlap=True, --allow-overlap)"
                )
            said.append(sentence)
    return said


def _hashes(x: np.ndarray) -> list[bytes]:
    rows = np.ascontiguousarray(x).reshape(len(x), -1)
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]
