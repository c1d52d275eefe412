"""Callbacks reach kernel and recurrent kernel; what they promise arrives in the integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import secateur as sc
from secateur.lowering.qgraph import QSums

keras = pytest.importorskip("keras")
L = keras.layers


def trained(callback: Any) -> tuple[Any, np.ndarray]:
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 6), name="x")
    y = L.Bidirectional(L.GRU(6, return_sequences=True), name="both")(x)
    model = keras.Model(x, L.Dense(3, name="out")(L.LSTM(8, name="memory")(y)))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    data = rng.normal(size=(64, 8, 6)).astype(np.float32)
    model.fit(data, rng.integers(0, 3, 64), epochs=3, verbose=0, callbacks=[callback])
    return model, data


def matrices(model: Any, data: np.ndarray) -> dict[str, np.ndarray]:
    q = sc.convert(model, data, name="net").qgraph
    return {op.name: op.weight for op in q.ops if isinstance(op, QSums)}


def test_prune_reaches_all_six_matrices() -> None:
    model, data = trained(sc.Prune(0.75, end_step=4, every=1))
    found = matrices(model, data)
    assert len(found) == 6
    for name, w in found.items():
        assert 0.7 <= (w == 0).mean() <= 0.8, name


def test_blocks_of_kernel_and_recurrent_kernel_go_as_one() -> None:
    with pytest.warns(UserWarning, match="block_size .* does not divide .*out"):
        model, data = trained(sc.Prune(0.75, end_step=4, every=1, block_size=(2, 4)))
    for name, w in matrices(model, data).items():
        if name.startswith("memory"):  # rows are outputs
            blocks = (w != 0).reshape(len(w) // 4, 4, w.shape[1] // 2, 2)
            there = blocks.any(axis=(1, 3))
            assert 0.7 <= (~there).mean() <= 0.8, name
            assert blocks.transpose(0, 2, 1, 3)[there].mean() > 0.9, name  # int8 may round to 0


def test_a_layers_name_means_its_cell() -> None:
    model, data = trained(sc.Prune(0.75, end_step=4, every=1, include=["memory"]))
    zeros = {name: (w == 0).mean() for name, w in matrices(model, data).items()}
    assert all((share > 0.6) == name.startswith("memory") for name, share in zeros.items())


def test_ternary_rows_have_scales_of_their_own() -> None:
    model, data = trained(sc.Ternarize())
    for name, w in matrices(model, data).items():
        assert set(np.unique(w)) <= {-1, 0, 1}, name


def test_clusters_stay() -> None:
    model, data = trained(sc.Cluster(bits=3))
    for name, w in matrices(model, data).items():
        assert len(np.unique(w)) <= 9, name
