"""What labels mean beside a model's outputs, and how well the outputs answer them.

Labels come as users have them: class numbers, one-hot rows, 0/1 for a single logit or sigmoid,
several 0/1 for each sample, or real targets. What cannot be told apart from a mistake is refused:
an accuracy against labels that mean something else is worse than none. Needs NumPy alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secateur.errors import DataError

TOP1, BINARY, MULTI_LABEL, REGRESSION = "top-1", "binary", "multi-label", "regression"


@dataclass(frozen=True)
class Task:
    """Labels understood. `targets`: class numbers [n], 0/1 [n, labels] or reals [n, values].

    An image of classes (a segmentation) is so many samples of one pixel: n is samples x pixels.
    """

    kind: str
    targets: np.ndarray
    threshold: float = 0.0  #: of an output, above which it says 1

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """Class numbers int64 [samples], of "top-1": where the largest output is."""
        rows = np.asarray(outputs).reshape(len(self.targets), -1)
        said = rows.argmax(axis=1) if rows.shape[1] > 1 else rows[:, 0]
        return said.astype(np.int64)

    def accuracy(self, outputs: np.ndarray) -> float:
        """Share of right answers in 0..1: of samples (pixels), for "multi-label" of all labels.

        Args:
            outputs: real outputs [samples, ...]; of a regression there is no such share.
        """
        given = np.asarray(outputs)
        if self.kind == TOP1:
            said = self.answers(given)
        else:
            said = (given.reshape(self.targets.shape) > self.threshold).astype(np.int64)
        return float(np.mean(said == self.targets))

    def mae(self, outputs: np.ndarray) -> float:
        """Mean absolute error of a regression, in the targets' unit."""
        return float(np.abs(self._residual(outputs)).mean())

    def r2(self, outputs: np.ndarray) -> float | None:
        """R2, the share of the targets' variance explained; None where they do not vary."""
        spread = np.square(self.targets - self.targets.mean(axis=0)).sum()
        if not spread:
            return None
        return float(1.0 - np.square(self._residual(outputs)).sum() / spread)

    def _residual(self, outputs: np.ndarray) -> np.ndarray:
        return np.asarray(outputs, np.float64).reshape(self.targets.shape) - self.targets


def read(
    labels: object, samples: int, shape: tuple[int, ...], sigmoid: bool, indices: bool = False
) -> Task:
    """The task that `labels` pose to a model.

    Args:
        labels: an array, one entry a sample.
        samples: their number.
        shape: of the model's output without the batch; its last axis are the classes.
        sigmoid: the outputs end in a sigmoid, so 0.5 is where 0 turns to 1; else 0 is.
        indices: the model itself answers with class numbers.

    Raises:
        DataError: one sentence about what the labels are and what they could be.
    """
    y = _numbers(labels, samples)
    size = int(np.prod(shape))
    classes = 1 if indices else (int(shape[-1]) if shape else 1)
    places = size // classes  # 1, or pixels
    each = y.size // samples
    if each not in (places, size):
        raise DataError(
            f"labels have the shape {list(y.shape)} and the model gives {list(shape)} for each of "
            f"{samples} inputs; give class numbers [{samples}], one-hot rows or targets "
            f"[{samples}, {size}]"
        )
    values = np.unique(y)
    whole = np.array_equal(values, np.rint(values))
    if classes > 1 and each == places:
        return _class_numbers(y, values, classes, whole)
    if indices:
        if not whole or values[0] < 0:
            raise DataError(
                f"the model answers with class numbers and the labels are {_span(y)}; give class "
                "numbers from 0"
            )
        return Task(TOP1, y.reshape(-1).astype(np.int64))
    rows = y.reshape(samples * places, classes)
    if set(values) <= {0.0, 1.0}:
        if classes > 1 and np.all(rows.sum(axis=1) == 1):
            return Task(TOP1, rows.argmax(axis=1))
        kind = MULTI_LABEL if classes > 1 else BINARY
        return Task(kind, rows.astype(np.int64), 0.5 if sigmoid else 0.0)
    if set(values) == {-1.0, 1.0} and not sigmoid:
        return Task(BINARY if classes == 1 else MULTI_LABEL, (rows > 0).astype(np.int64))
    if sigmoid and (values[0] < 0 or values[-1] > 1):
        raise DataError(
            f"the model ends in a sigmoid, between 0 and 1, and the labels are {_span(y)}; give 0 "
            "and 1, or targets in that range"
        )
    return Task(REGRESSION, y.reshape(samples, -1).astype(np.float64))


def _numbers(labels: object, samples: int) -> np.ndarray:
    try:
        y = np.asarray(labels)
    except ValueError:  # rows of different lengths
        y = np.empty(0, object)
    if y.dtype.kind in "USO":
        raise DataError(
            "labels are text or objects, not numbers; give class numbers in the order of the "
            "model's outputs"
        )
    if y.dtype.kind not in "biuf" or not y.ndim:
        raise DataError(f"labels are {y.dtype}, not real numbers, one entry an input; give numbers")
    if len(y) != samples:
        raise DataError(f"{len(y)} labels for {samples} inputs; give one label an input")
    y = y.astype(np.float64)
    if not np.isfinite(y).all():
        raise DataError("labels hold NaN or infinite values; remove those samples")
    return y


def _class_numbers(y: np.ndarray, values: np.ndarray, classes: int, whole: bool) -> Task:
    if not whole:
        raise DataError(
            f"labels are {_span(y)} with fractions and the model has {classes} outputs; give class "
            f"numbers 0 to {classes - 1}, or a row of {classes} for each input"
        )
    if values[0] < 0 or values[-1] >= classes:
        shifted = values[0] >= 1 and values[-1] == classes
        way = "count from 0 (labels - 1)" if shifted else f"give class numbers 0 to {classes - 1}"
        raise DataError(f"labels are {_span(y)} and the model has {classes} outputs; {way}")
    return Task(TOP1, y.reshape(-1).astype(np.int64))


def _span(y: np.ndarray) -> str:
    low, high = float(y.min()), float(y.max())
    return f"{low:g} to {high:g}" if low < high else f"all {low:g}"
