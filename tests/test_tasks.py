"""Labels of every form: understood as what they are, or refused in one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur import tasks
from secateur.errors import DataError

#: outputs of 4 samples, 3 classes; the right answers are 0, 2, 1, 1
LOGITS = np.array([[3.0, 1, 0], [0, 1, 2], [-1, 5, 2], [0, 9, 1]])
ONE_HOT = np.eye(3)[[0, 2, 1, 0]]


@pytest.mark.parametrize(
    "labels",
    [
        [0, 2, 1, 0],
        np.array([0, 2, 1, 0], np.uint8),
        np.array([[0], [2], [1], [0]]),
        np.array([0.0, 2.0, 1.0, 0.0]),
        ONE_HOT,
        ONE_HOT.astype(bool),
        ONE_HOT.astype(np.float32),
    ],
)
def test_class_numbers_and_one_hot_rows_are_top1(labels: Any) -> None:
    task = tasks.read(labels, 4, (3,), False)
    assert task.kind == "top-1"
    assert task.accuracy(LOGITS) == 0.75


@pytest.mark.parametrize(
    ("sigmoid", "outputs"), [(False, [[-2.0], [3.0], [0.4], [-1]]), (True, [0.2, 0.9, 0.6, 0.4])]
)
@pytest.mark.parametrize("kind", [np.int64, np.float32, bool])
def test_one_output_against_0_and_1(sigmoid: bool, outputs: list, kind: Any) -> None:
    task = tasks.read(np.array([0, 1, 0, 0], kind), 4, (1,), sigmoid)
    assert task.kind == "binary"
    assert task.accuracy(np.array(outputs)) == 0.75


def test_signs_against_a_logit() -> None:
    task = tasks.read([-1, 1, -1, -1], 4, (1,), False)
    assert (task.kind, task.accuracy(np.array([-2.0, 3, 0.4, -1]))) == ("binary", 0.75)


def test_several_labels_a_sample() -> None:
    labels = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 1], [1, 1, 1]])
    task = tasks.read(labels, 4, (3,), True)
    assert task.kind == "multi-label"
    outputs = np.where(labels > 0, 0.9, 0.1)
    outputs[0] = 0.9  # one of twelve is wrong
    assert task.accuracy(outputs) == pytest.approx(11 / 12)


def test_targets_of_a_regression() -> None:
    targets = np.array([0.5, 1.5, 2.5, 3.5])
    task = tasks.read(targets, 4, (1,), False)
    assert task.kind == "regression"
    off = targets[:, None] + np.array([[0.5], [-0.5], [0.0], [0.0]])
    assert task.mae(off) == 0.25
    assert task.r2(off) == pytest.approx(1 - 0.5 / 5)  # variance about 2: 5
    assert tasks.read(np.full(4, 2.5), 4, (1,), False).r2(off) is None
    images = np.random.default_rng(0).normal(size=(4, 2, 3, 1))
    assert tasks.read(images, 4, (2, 3, 1), False).mae(images + 1) == pytest.approx(1)


def test_a_class_for_every_pixel() -> None:
    outputs = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    right = outputs.argmax(-1)
    wrong = right.copy()
    wrong[0, 0, 0] = (wrong[0, 0, 0] + 1) % 5
    assert tasks.read(right, 2, (3, 4, 5), False).accuracy(outputs) == 1
    assert tasks.read(wrong[..., None], 2, (3, 4, 5), False).accuracy(outputs) == 23 / 24
    assert tasks.read(np.eye(5)[right], 2, (3, 4, 5), False).accuracy(outputs) == 1
    mask = (outputs[..., :1] > 0).astype(int)
    assert tasks.read(mask, 2, (3, 4, 1), False).accuracy(outputs[..., :1]) == 1


def test_a_model_that_answers_with_class_numbers() -> None:
    task = tasks.read([0, 2, 1, 0], 4, (1,), False, indices=True)
    assert task.accuracy(np.array([0, 2, 1, 1], np.int32)) == 0.75
    with pytest.raises(DataError, match="answers with class numbers"):
        tasks.read([0.5, 2, 1, 0], 4, (1,), False, indices=True)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (["cat", "dog", "cat", "cow"], "text or objects"),
        (np.array([0, 1, None, 1], object), "text or objects"),
        ([[0], [1, 2], [0], [1]], "text or objects"),
        (np.array([0, 1, 2, 1j]), "not real numbers"),
        (2, "one entry an input"),
        ([0, 1, 2], "3 labels for 4 inputs"),
        ([0, 1, 2, np.nan], "NaN"),
        ([1, 2, 3, 1], r"labels are 1 to 3 and the model has 3 outputs; count from 0 \(labels - 1"),
        ([0, 1, 2, 3], "labels are 0 to 3 and the model has 3 outputs; give class numbers 0 to 2"),
        ([-1, 0, 1, 2], "labels are -1 to 2"),
        ([0.1, 0.9, 0.5, 1.5], "with fractions and the model has 3 outputs"),
        (np.zeros((4, 2)), r"shape \[4, 2\] and the model gives \[3\]"),
        (np.eye(4), r"shape \[4, 4\]"),
    ],
)
def test_what_is_refused(labels: Any, says: str) -> None:
    with pytest.raises(DataError, match=says) as info:
        tasks.read(labels, 4, (3,), False)
    assert "\n" not in str(info.value)


def test_a_sigmoid_cannot_answer_other_numbers() -> None:
    with pytest.raises(DataError, match=r"ends in a sigmoid.*labels are 1 to 2"):
        tasks.read([1, 2, 1, 2], 4, (1,), True)
    assert tasks.read([0.1, 0.9, 0.3, 0.5], 4, (1,), True).kind == "regression"
