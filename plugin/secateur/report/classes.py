"""Right answers by class, what is taken for what, and which inputs changed their answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Of a confusion matrix, and of the list of inputs that changed their answer.
MOST_CLASSES = 100
MOST_CHANGED = 1000


@dataclass(frozen=True)
class Classes:
    """Of a classification with labels. Classes are numbered from 0, as the model's outputs.

    counts: inputs of each class. float: how many of them the float model gets right, None where it
    was not run. device: the same on the device. confusion: rows are labels, columns the device's
    answers; None above 100 classes. changed: numbers of the inputs (at most the first 1000) that
    the device answers otherwise than the float model, changed_total how many there are.
    """

    counts: tuple[int, ...]
    device: tuple[int, ...]
    float: tuple[int, ...] | None = None
    confusion: tuple[tuple[int, ...], ...] | None = None
    changed: tuple[int, ...] = ()
    changed_total: int = 0

    @property
    def worst(self) -> int:
        """The class with the smallest share of right answers; the first where several have it."""
        shares = [d / c if c else 2.0 for d, c in zip(self.device, self.counts, strict=True)]
        return int(np.argmin(shares))

    def sentence(self) -> str:
        """The worst class, its commonest mistake, and how many answers conversion changed."""
        w = self.worst
        share = 100 * self.device[w] / self.counts[w] if self.counts[w] else 0.0
        text = f"class {w} is the worst: {share:.1f} % of {self.counts[w]:,}"
        if self.confusion is not None:
            row = [0 if i == w else n for i, n in enumerate(self.confusion[w])]
            if max(row):
                text += f", {max(row)} taken for class {int(np.argmax(row))}"
        if self.float is not None:
            text += (
                f"; {self.changed_total:,} of {sum(self.counts):,} answered otherwise than in float"
            )
        return text


def of(labels: np.ndarray, device: np.ndarray, real: np.ndarray | None, classes: int) -> Classes:
    """From class numbers [n]: labels, the device's answers, the float model's or None."""
    n = max(classes, int(max(labels.max(), device.max())) + 1)
    right = labels == device
    confusion = None
    if n <= MOST_CLASSES:
        flat = np.bincount(labels * n + device, minlength=n * n).reshape(n, n)
        confusion = tuple(_counts(row) for row in flat)
    float_right, changed = None, np.empty(0, np.int64)
    if real is not None:
        float_right = _counts(np.bincount(labels[labels == real], minlength=n))
        changed = np.flatnonzero(real != device)
    return Classes(
        _counts(np.bincount(labels, minlength=n)),
        _counts(np.bincount(labels[right], minlength=n)),
        float_right,
        confusion,
        _counts(changed[:MOST_CHANGED]),
        len(changed),
    )


def _counts(values: Sequence[int] | np.ndarray) -> tuple[int, ...]:
    return tuple(int(v) for v in values)
