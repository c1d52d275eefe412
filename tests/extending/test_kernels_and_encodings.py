"""An encoding, a row executor and a layer from outside the package, each registered in one file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import secateur
from secateur import coding, cores
from secateur.codegen.kernels import base
from secateur.codegen.plan import Plan, candidates, make_plan
from secateur.coding import base as encodings
from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.build import Builder
from secateur.frontend.layers import base as readers
from secateur.frontend.load import load
from secateur.frontend.ops import OPS
from secateur.lowering import reference
from secateur.lowering.qgraph import QGraph
from secateur.targets import tools
from tests.codegen import run_c
from tests.codegen.qgraphs import Chain, codes

CORES = ("host", *run_c.CORES)


@pytest.fixture(scope="module", autouse=True)
def toys() -> Iterator[None]:
    """Registered here alone: no other test's plans shall choose them."""
    from tests.extending import every_weight, mirror, nibbles

    yield
    encodings._REGISTRY.pop(nibbles.Nibbles.name)
    readers._HANDLERS.pop("toys>Mirror")
    OPS.pop("mirror")
    for name in (every_weight.EveryWeight.name, mirror.Mirror.name):
        base._REGISTRY.pop(name)


def same_bytes(graph: QGraph, plan: Plan, core: str, folder: Path) -> None:
    """The generated C gives the reference's bytes."""
    if core != "host" and (why := tools.missing(cores.get(core).compiler)):
        pytest.skip(why)
    x = codes(graph, 4)
    run = run_c.on_host if core == "host" else lambda *a: run_c.on_core(core, *a)
    (got,) = run([plan], [x], folder)
    np.testing.assert_array_equal(got, reference.run(graph, x).reshape(4, -1))


def small_weights() -> QGraph:
    """Windows, pointwise and depthwise layers and a fully connected one, of four bits."""
    c = Chain("toy", (5, 9, 13), seed=6, zero=7)
    shapes = ((8, 5, 3, 3), (7, 8, 1, 1), (7, 1, 3, 3), (6, 7, 2, 3))
    for i, shape in enumerate(shapes):
        weight = c.rng.integers(-8, 8, shape).astype(np.int8)
        pads = (1, 1, 1, 1) if i == 0 else (0, 0, 0, 0)
        stride = (2, 1) if i == 3 else (1, 1)
        c.conv(shape[0], shape[2:], "", stride, pads, weight=weight, depthwise=i == 2)
    return c.dense(9, "", weight=c.rng.integers(-8, 8, (9, c.top.size)).astype(np.int8)).graph


@pytest.mark.parametrize("core", CORES)
def test_an_encoding_is_one_file(core: str, tmp_path: Path) -> None:
    graph = small_weights()
    plan = make_plan(graph, "nibbles")
    assert {p.encoding for p in plan.layers.values()} == {"nibbles"}
    for op in graph:
        (kind,) = {c.bytes for c in candidates(op, graph, only="nibbles")}
        assert kind == plan.library.bytes_of(op.name)
        w = op.weight.reshape(len(op.weight), -1)
        np.testing.assert_array_equal(
            coding.get("nibbles").decode(coding.get("nibbles").encode(w)), w
        )
    same_bytes(graph, plan, core, tmp_path)


@pytest.mark.parametrize("core", CORES)
def test_a_row_executor_is_one_file(core: str, tmp_path: Path) -> None:
    graph = small_weights()
    convs = [op.name for op in graph if op.kind == "conv" and op.groups == 1]
    plan = make_plan(graph, dict.fromkeys(convs, "dense/conv_every_weight"))
    assert {plan.layers[n].kernel for n in convs} == {"conv_every_weight"}
    same_bytes(graph, plan, core, tmp_path)


@pytest.mark.parametrize("core", CORES)
def test_a_layer_is_one_file(core: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    b = Builder("mirrored")
    x = b.add_input("x", (5, 4, 3))
    kernel = rng.normal(0, 0.5, (3, 3, 3, 4)).astype(np.float32)
    attrs = {"strides": (1, 1), "pads": (1, 1, 1, 1)}
    x = b.emit("conv2d", "conv", [x], (5, 4, 4), attrs, {"kernel": kernel})
    x = b.emit("mirror", "mirror", [x], (5, 4, 4))
    samples = rng.normal(size=(16, 5, 4, 3)).astype(np.float32)
    compiled = secateur.convert(b.finish(x), samples)
    assert "mirror" in {p.kernel for p in compiled.plan.layers.values()}
    same_bytes(compiled.qgraph, compiled.plan, core, tmp_path)


@pytest.mark.train
def test_a_layer_of_keras_is_read_computed_and_run(tmp_path: Path) -> None:
    """Its reader, its float operator beside Keras' own output, its integers and their C."""
    keras = pytest.importorskip("keras")

    class Mirror(keras.layers.Layer):  # type: ignore[misc, name-defined]
        """-x."""

        def call(self, x: object) -> object:
            return keras.ops.negative(x)

    class Stranger(Mirror):
        """Of the same name, but registered by nobody."""

    Stranger.__name__ = "Mirror"
    keras.saving.register_keras_serializable("toys")(Mirror)
    x = keras.Input((5, 4, 3))
    y = keras.layers.Conv2D(4, 3, activation="relu")(Mirror()(x))
    model = keras.Model(x, Mirror()(y))
    samples = np.random.default_rng(7).normal(size=(16, 5, 4, 3)).astype(np.float32)
    want = np.asarray(model(samples))
    graph = load(model)
    assert [n.op for n in graph.nodes].count("mirror") == 2
    np.testing.assert_allclose(execute.run(graph, samples), want, atol=1e-5)
    compiled = secateur.convert(model, samples)
    assert np.abs(compiled.predict(samples).reshape(want.shape) - want).mean() < 0.02
    same_bytes(compiled.qgraph, compiled.plan, "host", tmp_path)
    with pytest.raises(ModelError, match=r"Mirror \(custom code\), which cannot be converted"):
        load(keras.Model(x, Stranger()(x)))
