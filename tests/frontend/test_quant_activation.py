"""QuantActivation, from memory and from a file: the graph computes what Keras predicts."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.load import load

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.train

KINDS = {
    "sign": {"bits": 1, "kind": "sign"},
    "1 bit": {"bits": 1},
    "2 bits": {"bits": 2, "max_value": 1.5},
    "4 bits": {"bits": 4},
    "8 bits": {"bits": 8, "max_value": 3.0},
    "2 learned": {"bits": 2, "levels": "learned"},
    "4 learned": {"bits": 4, "levels": "learned", "max_value": 2.0},
}


def network(**options: object) -> keras.Model:
    import secateur.callbacks as sc

    layers = keras.layers
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(12, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            sc.QuantActivation(name="act", **options),
            layers.Conv2D(10, 1),
            sc.QuantActivation(name="act2", **options),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )
    rng = np.random.default_rng(4)
    for v in model.weights:
        if "moving" in v.name or v.name in ("gamma", "beta"):
            v.assign(np.abs(rng.normal(1, 0.3, v.shape)))
        if v.name == "basis":
            v.assign(np.sort(rng.uniform(0.4, 0.6, v.shape) * 1.9 ** np.arange(v.shape[0])))
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_float_execution_is_keras(kind: str, tmp_path: Path) -> None:
    model = network(**KINDS[kind])
    x = np.random.default_rng(0).normal(size=(40, 8, 8, 3)).astype(np.float32)
    want = model.predict(x, verbose=0)
    model.save(tmp_path / "m.keras")
    for graph in (load(model), load(tmp_path / "m.keras")):
        got = execute.run(graph, x)
        # a value within float32's rounding of a threshold may fall on either side of it
        same = np.isclose(got, want, atol=1e-4).all(axis=1)
        assert same.mean() > 0.9
        assert graph.node("act").attrs.get("parameters") == (
            KINDS[kind]["bits"] if kind in ("2 learned", "4 learned") else None
        )


def test_another_layer_of_the_same_name_is_refused(tmp_path: Path) -> None:
    network(bits=2).save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        parts = {n: archive.read(n) for n in archive.namelist()}
    text = parts["config.json"].decode()
    parts["config.json"] = text.replace("secateur.callbacks.quant_activation", "evil.code").encode()
    assert json.loads(parts["config.json"])
    with zipfile.ZipFile(tmp_path / "bad.keras", "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(ModelError, match=r"'act' .* uses evil\.code\.QuantActivation"):
        load(tmp_path / "bad.keras")
