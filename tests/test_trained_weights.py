"""Methods whose weights have a form of their own: trained on digits, stored and run as such."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from benchmarks import break_even

from secateur import cores
from secateur.codegen.plan import Plan, candidates, make_plan
from secateur.flow import CompiledModel, convert
from secateur.lowering import reference
from secateur.lowering.factored import Factors
from secateur.lowering.orient import transpose
from secateur.targets import tools

from .codegen import run_c

pytestmark = pytest.mark.train
keras = pytest.importorskip("keras")
sc = pytest.importorskip("secateur.callbacks")

DIGITS = Path(__file__).parent / "data" / "mnist_sample.npz"


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,000 MNIST digits, 14x14."""
    data = np.load(DIGITS)
    x = data["x"].astype(np.float32).reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)) / 255
    return x[..., None], data["y"].astype(np.int64)


def trained(callback: object) -> CompiledModel:
    """A small convolutional network, two epochs on digits with `callback`, converted."""
    keras.utils.set_random_seed(7)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((14, 14, 1)),
            layers.Conv2D(12, 3, strides=2, use_bias=False, name="first"),
            layers.BatchNormalization(name="bn1"),
            layers.ReLU(name="relu1"),
            layers.Conv2D(20, 1, use_bias=False, name="pointwise"),
            layers.BatchNormalization(name="bn2"),
            layers.ReLU(name="relu2"),
            layers.Conv2D(24, 3, padding="same", use_bias=False, name="window"),
            layers.BatchNormalization(name="bn3"),
            layers.ReLU(name="relu3"),
            layers.Flatten(name="flatten"),
            layers.Dense(40, name="hidden"),
            layers.ReLU(name="relu4"),
            layers.Dense(10, name="last"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, jit_compile=False)
    x, y = digits()
    history = model.fit(x, y, batch_size=50, epochs=2, verbose=0, callbacks=[callback]).history
    assert history["loss"][-1] < 2.2  # guessing: 2.3
    return convert(model, x[:100], name="net")


def runs_everywhere(
    compiled: CompiledModel, encodings: list[str | None], folder: Path
) -> list[Plan]:
    """Plans with encodings forced give the reference's bytes on the host and a Cortex-M4."""
    x = compiled.quantize(digits()[0][-4:])
    expected = reference.run(compiled.qgraph, x).reshape(len(x), -1)
    assert len(np.unique(expected, axis=0)) > 1
    plans = [run_c.plan(deepcopy(compiled.qgraph), f"m{i}", e) for i, e in enumerate(encodings)]
    inputs = [x] * len(plans)
    got = [run_c.on_host(plans, inputs, folder)]
    if tools.missing(cores.get("cortex-m4").compiler) is None:
        got.append(run_c.on_core("cortex-m4", plans, inputs, folder))
    for outputs in got:
        for p, y in zip(plans, outputs, strict=True):
            kernels = [(layer.kernel, layer.encoding) for layer in p.layers.values()]
            np.testing.assert_array_equal(y, expected, err_msg=str(kernels))
    return plans


def weight_of(compiled: CompiledModel, name: str) -> np.ndarray:
    """The int8 weights of a layer."""
    op = compiled.qgraph.op(name)
    return op.weight.reshape(len(op.weight), -1)  # type: ignore[attr-defined]


def test_sparse_binary_is_a_bitmap_below_six_tenths_of_a_bit(tmp_path: Path) -> None:
    compiled = trained(sc.SparseBinary(0.1, 0, 20, exclude=["first", "last"]))
    layers = ("pointwise", "window", "hidden")
    for name in layers:
        weight = weight_of(compiled, name)
        assert set(np.unique(weight)) == {0, 1}
        assert np.mean(weight) <= 0.1 + 1e-9
    encodings = ["ternary", "gap_ternary", "huffman_ternary", "range_ternary", "context_ternary"]
    plans = runs_everywhere(compiled, [None, *encodings], tmp_path)
    for p in plans[2:]:  # multipliers, offsets and the decoder's descriptor included
        assert 8 * p.library.bytes_of("hidden") < 0.6 * weight_of(compiled, "hidden").size


def test_binary_weights_add_the_rarer_half(tmp_path: Path) -> None:
    compiled = trained(sc.Binary(exclude=["first"]))
    for name in ("pointwise", "window", "hidden", "last"):
        assert set(np.unique(weight_of(compiled, name))) == {-1, 1}
    plans = runs_everywhere(compiled, ["two_level", "rice_levels", "ternary"], tmp_path)
    assert plans[0].layers["window"].kernel == "conv_two_level"
    assert plans[0].layers["hidden"].kernel == "dense_two_level"
    assert plans[0].library.bytes_of("window") < 0.6 * plans[2].library.bytes_of("window")
    (hidden,) = (op for op in compiled.qgraph if op.name == "hidden")
    (lists,) = candidates(hidden, compiled.qgraph, only="ternary/dense_ternary")
    assert plans[0].library.bytes_of("hidden") < 0.6 * lists.bytes


@pytest.mark.parametrize(
    ("callback", "sizes"),
    [
        (lambda: sc.PowerOfTwo(4), {1, 2, 4, 8, 16, 32, 64}),
        (lambda: sc.PowerOfTwo(3), {1, 2, 4}),
        (lambda: sc.Logarithmic(4), {12, 17, 24, 34, 48, 68, 96}),
        (lambda: sc.Logarithmic(4, base=2.0), {1, 2, 4, 8, 16, 32, 64}),
    ],
)
def test_powers_run_by_shifts(
    callback: Callable[[], object], sizes: set[int], tmp_path: Path
) -> None:
    compiled = trained(callback())
    nodes = {n.name: n for n in compiled.graph.nodes}
    for name in ("first", "pointwise", "window", "hidden", "last"):
        weight = weight_of(compiled, name)
        assert set(np.abs(np.unique(weight[weight != 0])).tolist()) <= sizes
        # the device's weights are the trained ones, to the fifth of a percent that 17/12 is off
        kernel = nodes[name].params["kernel"]
        rows = np.moveaxis(kernel, (-1, -2), (0, 1)).reshape(kernel.shape[-1], -1)
        if name != "hidden":  # whose columns are in planar order
            ratio = rows[weight != 0] / weight[weight != 0]
            assert np.ptp(ratio) < 2.5e-3 * ratio.max()
    plans = runs_everywhere(compiled, [None, "shift", "power_codes", "context_sparse"], tmp_path)
    for p, kernel in zip(plans[1:3], ("dense_shift", "dense_power_codes"), strict=True):
        assert p.layers["hidden"].kernel == p.layers["last"].kernel == kernel
    convs = [plans[1].layers[n].kernel for n in ("first", "pointwise", "window")]
    assert convs == ["conv_shift"] * 3


def test_smart_deal_stores_factors_and_rebuilds_without_multiplying(tmp_path: Path) -> None:
    compiled = trained(sc.SmartDeal(3, 4, row_threshold=0.5, exclude=["first"]))
    layers = ("pointwise", "window", "hidden", "last")
    for name in layers:
        assert compiled.qgraph.op(name).factors is not None  # type: ignore[attr-defined]
    assert compiled.qgraph.op("first").factors is None  # type: ignore[attr-defined]
    plans = runs_everywhere(compiled, [None, "deal", "dense"], tmp_path)
    assert {plans[1].layers[n].encoding for n in layers} == {"deal"}
    for name in ("window", "hidden"):
        assert plans[1].library.bytes_of(name) < 0.7 * plans[2].library.bytes_of(name)
    # the columns of images are stored in another order in the transposed graph
    turned = transpose(deepcopy(compiled.qgraph))
    x = compiled.quantize(digits()[0][-4:])
    turned_plan = run_c.plan(turned, "turned", "deal")
    (got,) = run_c.on_host([turned_plan], [x], tmp_path / "turned")
    np.testing.assert_array_equal(got, reference.run(compiled.qgraph, x).reshape(4, -1))
    if tools.missing(cores.get("cortex-m4").compiler) is None:
        row = run_c.instructions(tmp_path / "cortex-m4.elf", "sc_deal_row")
        assert [i for i in row if i.startswith(("lsl", "asr"))]
        assert not [i for i in row if i.startswith(("mul", "mla", "mls", "sm", "um"))]


def test_factors_survive_saving_and_are_dropped_with_the_weights(tmp_path: Path) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [layers.Input((14, 14, 1)), layers.Flatten(), layers.Dense(10, name="dense")]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, jit_compile=False)
    x, y = digits()
    checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "best.keras"))
    model.fit(x, y, epochs=1, verbose=0, callbacks=[sc.SmartDeal(4), checkpoint])
    model.save(tmp_path / "end.keras")

    def factors(source: object) -> Factors | None:
        return convert(source, x[:50], name="net").qgraph.op("dense").factors  # type: ignore

    made = factors(model)
    assert made is not None
    for name in ("end.keras", "best.keras"):
        again = factors(tmp_path / name)
        assert again is not None
        np.testing.assert_array_equal(again.weights(), made.weights())
    plain = keras.models.load_model(tmp_path / "end.keras")
    assert factors(plain) is None  # Keras alone does not know of them
    kernel = model.get_layer("dense").kernel
    weight = kernel.numpy() * np.float32(1.5)
    kernel.assign(weight)
    assert factors(model) is not None  # the same weights in another unit
    weight[3, 2] += 0.01
    kernel.assign(weight)
    assert factors(model) is None


@pytest.mark.emulator
def test_a_tenth_of_weights_present_runs_faster_than_dense_binary() -> None:
    """Instructions of a simulated Cortex-M4, 8-bit activations, each as planned for latency."""
    if why := tools.missing(cores.get("cortex-m4").compiler):
        pytest.skip(why)
    rng = np.random.default_rng(0)
    for family in break_even.FAMILIES[::2]:
        shape = family.weight
        layers = [
            ("present", (rng.random(shape) < 0.1).astype(np.int8)),
            ("binary", rng.choice([-1, 1], shape).astype(np.int8)),
        ]
        plan = make_plan(break_even.chain(family, layers), None, "latency")
        counts = break_even.run(plan, "cortex-m4", int(np.prod(family.shape)))
        assert counts["present"][0] < counts["binary"][0]
