"""The grid of combinations on a small network, and the pages."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("optuna")

from secateur.errors import DataError
from secateur.exploration import page
from secateur.exploration.grid import combinations
from secateur.exploration.points import Point
from secateur.exploration.quality import quality
from secateur.exploration.result import Exploration
from secateur.exploration.study import Budgets

HOSTILE = "</script><script>alert(1)</script>\x1b[31m"


def content(text: str) -> dict[str, object]:
    """What the page's script is given."""
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', text, re.S)
    assert found
    return json.loads(found[1])


@pytest.mark.train
def test_every_combination_is_trained_and_ranked(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] > 0).astype(np.int64) + (x[:, 2] > 1)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((6,)), keras.layers.Dense(16, activation="relu"),
        keras.layers.Dense(3, activation="softmax"),
    ], name="toy")  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x[:300], y[:300], epochs=5, verbose=0)
    found = combinations(
        model, (x[:300], y[:300]), (x[300:], y[300:]), zeros=(0, 0.5), methods=("int8", "ternary"),
        epochs=1, out=tmp_path / "out", seed=1,
    )  # fmt: skip
    assert len(found.points) == 4
    for method in found.methods:
        for zeros in found.zeros:
            point = found.cell(zeros, method)
            assert point is not None
            f = point.figures
            stored, lost = f["stored"], f["lost"]
            assert stored is not None
            assert lost is not None
            assert f["quality"] is not None
            assert math.isclose(f["quality"], quality(4 * (6 * 16 + 16 + 16 * 3 + 3), stored, lost))
    table = found.table("quality").splitlines()
    assert table[0].endswith("| 0% zeros | 50% zeros |")
    assert len(table) == 4
    assert found.best.figures["quality"] == max(p.figures["quality"] or 0 for p in found.points)
    said = json.loads((tmp_path / "out" / "combinations.json").read_text())
    assert said["quality"] == found.values("quality")
    assert "log2" in said["formula"]
    text = (tmp_path / "out" / "combinations.html").read_text()
    assert content(text)


def test_levels_that_are_none_are_refused(tmp_path: Path) -> None:
    data = (np.zeros((4, 2), np.float32), np.arange(4))
    with pytest.raises(DataError, match=r"zeros \[1.5\] are not shares"):
        combinations("none.keras", data, data, zeros=(1.5,), out=tmp_path)
    with pytest.raises(DataError, match=r"methods \['fp8'\] are not all of"):
        combinations("none.keras", data, data, methods=("fp8",), out=tmp_path)


def test_a_page_is_one_file_and_nothing_foreign_runs_in_it(tmp_path: Path) -> None:
    figures = {
        "accuracy": 90.0, "lost": 1.0, "flash": 9000, "ram": 3000, "latency": 2.5, "energy": None,
        "quality": 3.0, "stored": 5000, "instructions": 1e5,
    }  # fmt: skip
    points = tuple(
        Point(i, {"keep": k, "dense.method": HOSTILE}, figures) for i, k in ((0, 1.0), (1, 0.5))
    )
    found = Exploration(
        HOSTILE, HOSTILE, {"float_accuracy": 91.0, "accuracy": 90.5, "flash": 12000}, points, (),
        Budgets({"flash": 16000.0}), 1.0, tmp_path, (HOSTILE,),
        ({"name": HOSTILE, "accuracy": 1.0},),
    )  # fmt: skip
    path = found.report()
    text = path.read_text(encoding="utf-8")
    assert "<script>alert(1)" not in text
    assert "\x1b" not in text
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?!data:)', text)
    assert len(re.findall("<main>", text)) == 1
    assert '<html lang="en">' in text
    assert content(text)
    assert page.OURS(path.read_bytes()[:4096])
    assert "<script>" not in found._repr_html_()
