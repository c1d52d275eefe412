"""Quality, samples and spaces: no training."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from secateur.errors import DataError
from secateur.exploration import samples
from secateur.exploration.api import _gentle, _known, seconds
from secateur.exploration.points import Point, front, settings_text
from secateur.exploration.quality import formula, quality
from secateur.exploration.space import Space, default_space

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 5)).astype(np.float32)
Y = RNG.integers(0, 3, 300)


def read(x: object, y: object) -> samples.Samples:
    return samples.read((x, y), "validation", (5,), (3,), False)


def test_quality_counts_halvings_net_of_accuracy() -> None:
    assert quality(32_000, 1_000, 0) == 5
    assert quality(32_000, 1_000, 2) == 3
    assert quality(32_000, 1_000, 2, tau=4) == 4.5
    assert quality(32_000, 1_000, -3) == 5  # a gain counts as nothing
    assert "tau = 1 point " in formula()
    assert "tau = 2 points" in formula(2)
    with pytest.raises(DataError, match="after=0 is not above 0"):
        quality(1, 0, 0)


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (X, Y[:-1], "299 labels for 300 inputs"),
        (X, Y + 1, "labels are 1 to 3 and the model has 3 outputs; count from 0"),
        (X[:, :4], Y, r"each x has the shape \[4\] and the model takes \[5\]"),
        (X, RNG.normal(size=(300, 3)), "targets of a regression"),
        (np.full_like(X, np.nan), Y, "NaN"),
    ],
)
def test_data_that_do_not_fit_are_refused(x: np.ndarray, y: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=f"validation: .*{said}"):
        read(x, y)


def test_rows_in_two_parts_are_found() -> None:
    parts = {"train": read(X[:200], Y[:200]), "validation": read(X[200:], Y[200:])}
    assert samples.leaks(parts) == []
    two = np.concatenate([X[200:], X[:2]])
    parts["validation"] = read(two, np.concatenate([Y[200:], Y[:2]]))
    with pytest.raises(DataError, match="2 of 102 rows of validation are rows of train, too"):
        samples.leaks(parts)
    assert len(samples.leaks(parts, allow=True)) == 1
    few = np.concatenate([X[200:], X[200:], X[:1]])
    parts["validation"] = read(few, np.zeros(len(few), int))
    assert samples.leaks(parts) == ["1 of 201 rows of validation are rows of train, too"]


def test_labels_of_two_kinds_are_refused() -> None:
    binary = samples.read((X, Y % 2), "train", (5,), (1,), True)
    with pytest.raises(DataError, match="labels differ in kind"):
        samples.same_labels({"train": binary, "validation": read(X, Y)})


def test_a_space_knows_its_settings() -> None:
    space = Space(("first", "dense"), optimize=("balanced", "flash"))
    assert space.plain()["dense.method"] == "int8"
    assert space.plain()["keep"] == 1.0
    least = space.least()
    assert (least["dense.method"], least["dense.zeros"], least["keep"]) == ("ternary", 0.9, 0.3)
    assert len(space.grid({"keep": [0.5, 1.0], "dense.zeros": [0.0, 0.3, 0.9]})) == 6
    with pytest.raises(DataError, match="no setting 'gain'"):
        space.parameters({"gain": 1})
    with pytest.raises(DataError, match=r"keep=0\.55 is none of"):
        space.parameters({"keep": 0.55})
    with pytest.raises(DataError, match="methods has 'fp8'"):
        Space(("dense",), methods=("fp8",))
    assert settings_text(space.plain()) == "int8"
    said = settings_text(least)
    assert said == "l1 30%, first ternary 90% zeros, dense ternary 90% zeros, for flash"


def test_the_front_is_what_nothing_beats() -> None:
    def point(n: int, accuracy: float, flash: float, latency: float) -> Point:
        return Point(n, {}, {"accuracy": accuracy, "flash": flash, "latency": latency})

    points = [point(0, 90, 10, 5), point(1, 91, 12, 5), point(2, 89, 11, 6), point(3, 80, 12, 1)]
    assert [p.number for p in front([*points, point(4, 90, 10, 5)])] == [0, 1, 3]


@pytest.mark.parametrize(("text", "value"), [("2h", 7200), ("10m", 600), ("90", 90), (5, 5)])
def test_times(text: str | int, value: float) -> None:
    assert seconds(text) == value


def test_times_that_are_none() -> None:
    for text in ("soon", "0m", "-3", 0):
        with pytest.raises(DataError, match="no time"):
            seconds(text)


def test_the_first_layer_is_spared_only_where_few_of_the_weights_lie() -> None:
    layers = keras.layers
    mlp = keras.Sequential([keras.Input((64,)), layers.Dense(30, "relu"), layers.Dense(4)])
    conv = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Conv2D(4, 3), layers.Conv2D(8, 3), layers.Flatten(),
         layers.Dense(4)]
    )  # fmt: skip
    spared = [_gentle(m) for m in (mlp, conv)]
    assert "first" not in spared[0]
    assert "first" in spared[1]
    first = [_known(default_space(m), s) for m, s in zip((mlp, conv), spared, strict=True)]
    assert {s["first.method"] for s in first[0]} == {"ternary", "cluster"}
    assert {s["first.method"] for s in first[1]} == {"int8"}
