"""Every trained quantizer: the set after every step, on digits; the gradient, by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import secateur.callbacks as sc
from secateur.errors import ModelError

from .nets import EveryStep, compiled, dense, fit, gradient, kernel, network, samples

pytestmark = pytest.mark.train
DIGITS = Path(__file__).parents[1] / "data" / "mnist_sample.npz"


def rows(weight: np.ndarray) -> np.ndarray:
    """[channels, n]"""
    return weight.reshape(-1, weight.shape[-1]).T


def is_ternary(projection: sc.Projection, weight: np.ndarray) -> bool:
    return all(np.unique(np.abs(r[r != 0])).size <= 1 for r in rows(weight))


def is_two_sided(projection: sc.Projection, weight: np.ndarray) -> bool:
    return np.unique(weight[weight > 0]).size <= 1 and np.unique(weight[weight < 0]).size <= 1


def is_binary(projection: sc.Projection, weight: np.ndarray) -> bool:
    return all(np.unique(np.abs(r)).size == 1 for r in rows(weight))


def is_one(projection: sc.Projection, weight: np.ndarray) -> bool:
    return bool(np.all(np.abs(weight) == 1))


def is_sparse_binary(projection: sc.Projection, weight: np.ndarray) -> bool:
    return np.mean(weight != 0) <= 0.5 and all(np.unique(r[r != 0]).size <= 1 for r in rows(weight))


def on_levels(projection: sc.Projection, weight: np.ndarray) -> bool:
    """levels * scale is the weight, to a rounding."""
    levels, scale = projection.levels(weight)
    return bool(np.allclose(levels * scale, weight, rtol=1e-6, atol=0))


def on_basis(projection: sc.Projection, weight: np.ndarray) -> bool:
    """Sums of +- the channel's integer basis, times its scale."""
    basis, unit = (projection.state[name].numpy() for name in ("basis", "unit"))
    sums = np.rint(basis / unit[:, None]) @ projection.signs.T
    levels, _ = projection.levels(weight)
    member = (rows(levels)[:, :, None] == sums[:, None, :]).any(axis=-1).all()
    return bool(member) and np.abs(levels).max() <= 122 and on_levels(projection, weight)


def on_powers(projection: sc.Projection, weight: np.ndarray) -> bool:
    exact = np.log2(np.abs(weight[weight != 0]))
    return bool(np.all(exact == np.rint(exact))) and np.unique(exact).size <= 7


def on_logs(projection: sc.Projection, weight: np.ndarray) -> bool:
    levels, table = projection.levels(weight)
    return np.array_equal(np.sign(levels) * table[np.abs(levels)], weight)


def on_deal(projection: sc.Projection, weight: np.ndarray) -> bool:
    """A filter is coefficients (powers of two) times a basis of int8, rounded to int8."""
    coefficients, basis = (v.astype(np.int64) for v in projection.whole())
    sizes = np.abs(coefficients[coefficients != 0])
    product = coefficients @ basis
    most = np.abs(product).max(axis=(1, 2))
    shift = [next(k for k in range(16) if 2 * m < 255 << k) for m in most.tolist()]
    divisor = 2.0 ** np.array(shift)[:, None, None]
    whole = np.floor(product / divisor + 0.5).reshape(len(product), -1)
    levels, scale = projection.levels(weight)
    order = np.moveaxis(levels, (-1, -2), (0, 1)).reshape(len(product), -1)
    return bool(
        np.all(sizes & (sizes - 1) == 0)
        and sizes.max() <= 64
        and np.abs(basis).max() <= 127
        and np.array_equal(whole[:, : order.shape[1]], order)
        and np.abs(order).max() <= 127
        and np.allclose(levels * scale, weight, rtol=1e-5, atol=0)
    )


def hq() -> sc.HypersphericalTernary:
    return sc.HypersphericalTernary(0.8, 1, 6, 12, every=2)


#: name -> (callback, step from which the set holds, the set, most bits)
CASES: dict[str, tuple[Callable[[], sc.Compression], int, Callable, float]] = {
    "TernaryTWN": (sc.TernaryTWN, 1, is_ternary, 1.6),
    "TernaryTWN by layer": (lambda: sc.TernaryTWN(scale="layer"), 1, is_ternary, 1.6),
    "TernaryTTQ": (lambda: sc.TernaryTTQ(begin_step=3), 3, is_two_sided, 1.6),
    "TernaryTTQ sparse": (lambda: sc.TernaryTTQ(sparsity=0.6), 1, is_two_sided, 1.6),
    "HypersphericalTernary": (hq, 6, is_ternary, 1.6),
    "LQNet 1": (lambda: sc.LQNet(1), 1, on_basis, 1),
    "LQNet 3": (lambda: sc.LQNet(3, begin_step=2), 2, on_basis, 3),
    "Binary": (sc.Binary, 1, is_binary, 1),
    "BinaryConnect": (lambda: sc.Binary(scale=None), 1, is_one, 1),
    "QuantizedNN 1": (lambda: sc.QuantizedNN(1), 1, on_levels, 1),
    "QuantizedNN 3": (lambda: sc.QuantizedNN(3, begin_step=2), 2, on_levels, 3),
    "SparseBinary": (lambda: sc.SparseBinary(0.2, 1, 10), 1, is_sparse_binary, 1),
    "SmartDeal": (lambda: sc.SmartDeal(3, 4), 1, on_deal, 5),
    "PowerOfTwo": (lambda: sc.PowerOfTwo(4), 1, on_powers, 4),
    "Uniform": (lambda: sc.Uniform(4), 1, on_levels, 4),
    "Uniform by layer": (lambda: sc.Uniform(3, scale="layer"), 1, on_levels, 3),
    "Logarithmic": (lambda: sc.Logarithmic(5), 1, on_logs, 5),
}


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,000 MNIST digits, 14x14."""
    data = np.load(DIGITS)
    x = data["x"].astype(np.float32).reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)) / 255
    return x[..., None], data["y"].astype(np.int64)


def reader() -> keras.Model:
    """A convolution and a dense layer for digits()."""
    layers = keras.layers
    return compiled(
        keras.Sequential(
            [
                layers.Input((14, 14, 1)),
                layers.Conv2D(12, 3, strides=2, use_bias=False, name="conv"),
                layers.BatchNormalization(name="bn"),
                layers.ReLU(name="relu"),
                layers.Flatten(name="flatten"),
                layers.Dense(10, name="dense"),
            ]
        )
    )


@pytest.mark.parametrize("case", CASES)
def test_weights_are_in_the_set_after_every_step_and_digits_are_learnt(case: str) -> None:
    make, begin, member, bits = CASES[case]
    model, callback = reader(), make()
    x, y = digits()

    def look(step: int) -> None:
        for projection in callback.projections:
            if step >= begin:
                assert member(projection, projection.variable.numpy()), (step, projection.path)

    history = model.fit(
        x, y, batch_size=50, epochs=2, verbose=0, callbacks=[callback, EveryStep(look)]
    ).history
    assert history["loss"][-1] < min(0.75 * history["loss"][0], 2.3)  # 2.3 is guessing
    assert history["bits"][-1] <= bits + 1e-6
    assert all(v.constraint is None for v in model.trainable_variables)
    for projection in callback.projections:
        assert member(projection, projection.variable.numpy())


# One step of plain SGD at a time, against the paper's rule written out ------------------------

RATE = 0.1


def by_hand(callback: sc.Compression, steps: int = 4) -> list[tuple[np.ndarray, ...]]:
    """(weight, gradient there, latent before, latent after) of each step that had a latent."""
    model = dense(keras.optimizers.SGD(RATE), bias=False)
    x, y = samples(model, 8)
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def look(step: int) -> None:
        projection = callback.projections[0]
        seen.append((kernel(model, "dense"), np.array(projection.latent.numpy())))

    options = {"batch_size": 8, "shuffle": False, "verbose": 0}
    many = (np.tile(x, (steps, 1)), np.tile(y, steps))
    model.fit(*many, callbacks=[callback, EveryStep(look)], **options)
    return [
        (weight, gradient(model, weight, x, y), before, after)
        for (weight, before), (_, after) in pairwise(seen)
    ]


def assert_latent(got: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(got, wanted, atol=2e-6)


@pytest.mark.parametrize(
    "make",
    [
        sc.TernaryTWN,
        lambda: sc.LQNet(2),
        sc.Binary,
        lambda: sc.SmartDeal(3),
        lambda: sc.PowerOfTwo(3),
        lambda: sc.Uniform(3),
        lambda: sc.Logarithmic(4),
    ],
)
def test_plain_straight_through(make: Callable[[], sc.Compression]) -> None:
    for _, slope, before, after in by_hand(make()):
        assert_latent(after, before - RATE * slope)


def test_binary_connect_clips_the_latent_weight() -> None:
    for _, slope, before, after in by_hand(sc.Binary(scale=None)):
        assert_latent(after, np.clip(before - RATE * slope, -1, 1))


def test_twn_by_hand() -> None:
    for weight, _, latent, _ in by_hand(sc.TernaryTWN()):
        size = np.abs(latent)
        kept = size > 0.7 * size.mean(axis=0)
        scale = (size * kept).sum(axis=0) / kept.sum(axis=0)
        np.testing.assert_allclose(weight, scale * np.sign(latent) * kept, atol=1e-6)


def test_ttq_trains_both_scales_and_scales_the_gradient() -> None:
    callback = sc.TernaryTTQ(update="sum")
    steps = by_hand(callback)
    most = np.abs(steps[0][2]).max()  # the paper's latent weights are in this unit
    for index, (weight, slope, before, after) in enumerate(steps):
        up, down = weight > 0, weight < 0
        wp, wn = weight.max(), -weight.min()
        factor = np.where(up, wp / most, np.where(down, wn / most, 1))
        assert_latent(after, before - RATE * slope * factor)
        if index + 1 < len(steps):
            later = steps[index + 1][0]
            assert later.max() == pytest.approx(wp - RATE * slope[up].sum(), abs=1e-5)
            assert -later.min() == pytest.approx(wn + RATE * slope[down].sum(), abs=1e-5)


def test_xnor_gradient_is_the_papers_in_units_of_its_channel() -> None:
    layers = keras.layers
    signs = sc.QuantActivation(1, "sign", name="sign")
    model = compiled(
        keras.Sequential(
            [layers.Input((12,)), signs, layers.Dense(4, use_bias=False, name="dense")]
        ),
        keras.optimizers.SGD(RATE),
    )
    x, y = samples(model, 8)
    callback = sc.XNOR()
    model.fit(x, y, batch_size=8, verbose=0, callbacks=[callback])
    weight, before = kernel(model, "dense"), callback.projections[0].latent.numpy()
    slope = gradient(model, weight, x, y)
    model.fit(x, y, batch_size=8, verbose=0, callbacks=[callback])
    scale = np.abs(weight).max(axis=0)
    factor = (1 / 12 + scale * (np.abs(before) <= 1)) / (1 / 12 + scale)
    wanted = np.clip(before - RATE * slope * factor, -1, 1)
    assert_latent(callback.projections[0].latent.numpy(), wanted)
    assert is_binary(callback.projections[0], kernel(model, "dense"))


@pytest.mark.parametrize("make", [sc.XNOR, sc.TernaryTTQ, sc.Binary, lambda: sc.QuantizedNN(1)])
def test_adam_moves_a_latent_weight_at_its_rate(make: Callable[[], sc.Compression]) -> None:
    """A factor that a paper puts on the gradient is lost in Adam's ratio, and so must not make
    the rate smaller: the first step of Adam moves every weight by the rate."""
    layers = keras.layers
    signs = sc.QuantActivation(1, "sign", name="sign")
    model = compiled(
        keras.Sequential(
            [layers.Input((12,)), signs, layers.Dense(4, use_bias=False, name="dense")]
        ),
        keras.optimizers.Adam(1e-3),
    )
    x, y = samples(model, 8)
    callback = make()
    seen = []
    model.fit(
        np.tile(x, (2, 1)), np.tile(y, 2), batch_size=8, verbose=0, shuffle=False,
        callbacks=[callback, EveryStep(lambda step: seen.append(state(callback)))],
    )  # fmt: skip
    moved = np.abs(seen[1] - seen[0])
    assert np.percentile(moved, 90) > 0.2e-3  # by a few hundredths of the rate, it was


def state(callback: sc.Compression) -> np.ndarray:
    """The latent weight of its one projection."""
    return np.array(callback.projections[0].latent.numpy())


def test_sparse_binary_stops_where_a_weight_is_absent() -> None:
    callback = sc.SparseBinary(0.3, 0, 2)
    for weight, slope, before, after in by_hand(callback):
        sign = np.where(weight.sum(axis=0) < 0, -1, 1)
        there = (weight != 0).any(axis=0)
        wanted = sign * np.maximum(sign * (before - RATE * slope), 0)
        assert_latent(after[:, there], wanted[:, there])


def test_dorefa_gradient_goes_through_the_tanh() -> None:
    callback = sc.QuantizedNN(2)
    for weight, slope, before, after in by_hand(callback):
        scale, squashed = np.abs(weight).max(), np.tanh(before)
        most = np.abs(squashed).max()
        assert_latent(after, before - RATE * slope * scale * (1 - squashed**2) / most)
        share = np.rint(3 * (squashed / (2 * most) + 0.5)) / 3
        np.testing.assert_allclose(weight, scale * (2 * share - 1), atol=1e-6)


def test_one_bit_qnn_gradient_is_hard_tanh() -> None:
    callback = sc.QuantizedNN(1)
    for weight, slope, before, after in by_hand(callback):
        inside = np.abs(before) <= np.abs(weight).max()
        assert_latent(after, before - RATE * slope * inside)


@pytest.mark.parametrize("stretch", [False, True])
@pytest.mark.parametrize("rank", ["direction", "latent"])
def test_hyperspherical_by_hand(stretch: bool, rank: str) -> None:
    options = {"initial_sparsity": 0.4, "every": 1, "train_radius": stretch, "rank": rank}
    callback = sc.HypersphericalTernary(0.5, 0, 2, 4, **options)
    steps = by_hand(callback, 6)
    radius = np.linalg.norm(steps[0][0], axis=0)
    for index, (weight, slope, before, after) in enumerate(steps):
        direction = weight / np.linalg.norm(weight, axis=0)
        move = -RATE * slope
        radial = (move * direction).sum(axis=0)
        kept = after != 0  # the last reset is that of step 2
        assert kept.all() or index == 0
        assert_latent(after, (before + move) * kept)
        np.testing.assert_allclose(np.linalg.norm(weight, axis=0), radius, rtol=1e-5)
        radius = radius + radial if stretch else radius
    weight, _, latent, _ = steps[-1]
    size = np.abs(latent)
    if rank == "direction":
        size = size / np.linalg.norm(latent, axis=0)
    np.testing.assert_array_equal(weight != 0, size > np.median(size))
    np.testing.assert_array_equal(np.sign(weight), np.sign(latent) * (weight != 0))


def test_a_channel_that_has_turned_much_turns_slower() -> None:
    """k moves of the length of v, each across it, leave sqrt(k + 1) times that length."""
    callback = sc.HypersphericalTernary(0.5, 0, 8, 8, initial_sparsity=0.0)
    model = dense(keras.optimizers.SGD(RATE), bias=False)
    x, y = samples(model, 8)
    model.fit(x, y, batch_size=8, verbose=0, callbacks=[callback])
    (projection,), weight = callback.projections, kernel(model, "dense")
    projection.latent.assign(weight)
    projection.step.assign(2)  # the first one takes the radius from the weight
    rng, square = np.random.default_rng(0), (weight**2).sum(axis=0)
    for k in range(1, 30):
        move = rng.normal(size=weight.shape).astype(np.float32)
        move -= (move * weight).sum(axis=0) / square * weight
        move *= np.sqrt(square / (move**2).sum(axis=0))
        turned = projection.project(projection.absorb(move, weight), None).numpy()
        cosine = (turned * weight).sum(axis=0) / square
        np.testing.assert_allclose(cosine, np.sqrt(k / (k + 1)), rtol=1e-5)
        weight = turned


def test_sparse_binary_keeps_its_cap() -> None:
    model = network()
    fit(model, sc.SparseBinary(0.1, 0, 12))
    for name in ("conv", "pointwise", "dense"):
        assert np.mean(kernel(model, name) != 0) <= 0.1 + 1e-9


@pytest.mark.parametrize("make", [case[0] for case in CASES.values()])
def test_pruned_weights_stay_zero_under_every_quantizer(make: Callable) -> None:
    model = dense()
    fit(model, sc.Prune(0.5, schedule="constant", begin_step=1), make())
    assert np.mean(kernel(model, "dense") == 0) >= 0.5


@pytest.mark.parametrize("case", ["TernaryTTQ", "HypersphericalTernary", "LQNet 3", "SmartDeal"])
def test_every_state_resumes(case: str, tmp_path: Path) -> None:
    make = CASES[case][0]
    straight = dense(keras.optimizers.Adam(1e-2))
    straight.save(tmp_path / "start.keras")
    fit(straight, make())
    half = keras.models.load_model(tmp_path / "start.keras")
    fit(half, make(), keras.callbacks.ModelCheckpoint(tmp_path / "half.keras"), epochs=1)
    rest = keras.models.load_model(tmp_path / "half.keras")
    callback = make()
    callback.resume = tmp_path / "half.keras"
    fit(rest, callback, initial_epoch=1)
    np.testing.assert_array_equal(kernel(rest, "dense"), kernel(straight, "dense"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sc.LQNet(5), "weight_bits=5"),
        (lambda: sc.Binary(scale="row"), "scale 'row'"),
        (lambda: sc.SparseBinary(0.7), "max_density=0.7"),
        (lambda: sc.SmartDeal(power_bits=6), "power_bits=6"),
        (lambda: sc.SmartDeal(basis=1), "basis=1"),
        (lambda: sc.PowerOfTwo(5), "bits=5"),
        (lambda: sc.Uniform(1), "bits=1"),
        (lambda: sc.Logarithmic(base=1), "base=1"),
        (lambda: sc.TernaryTTQ(threshold=1.0), "threshold=1.0"),
        (lambda: sc.TernaryTTQ(update="max"), "update 'max'"),
        (lambda: sc.HypersphericalTernary(0.4), "initial_sparsity"),
        (lambda: sc.HypersphericalTernary(rank="row"), "rank 'row'"),
        (lambda: sc.QuantizedNN(9), "weight_bits=9"),
        (lambda: sc.TernaryTWN(begin_step=-1), "begin_step=-1"),
        (lambda: sc.SmartDeal(include=["depthwise"]), "is depthwise"),
        (lambda: sc.XNOR(), r"QuantActivation\(1, 'sign'\)"),
        (lambda: sc.LQNet(2, 2), "2-bit activations"),
        (lambda: sc.QuantActivation(3), "bits=3"),
        (lambda: sc.QuantActivation(2, "sign"), "kind 'sign'"),
        (lambda: sc.QuantActivation(8, levels="learned"), "levels 'learned'"),
    ],
)
def test_bad_arguments_are_named(make: Callable, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        fit(network(), make())


# Activations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: sc.QuantActivation(1, "sign"),
        lambda: sc.QuantActivation(1),
        lambda: sc.QuantActivation(2),
        lambda: sc.QuantActivation(4, max_value=2.0),
        lambda: sc.QuantActivation(8),
        lambda: sc.QuantActivation(2, levels="learned"),
    ],
)
def test_the_table_is_what_the_layer_computes(make: Callable[[], sc.QuantActivation]) -> None:
    layer = make()
    x = np.random.default_rng(1).normal(size=(4, 500)).astype(np.float32) * 2
    layer(x, training=True)
    values, thresholds = layer.table()
    assert values.size == 2**layer.bits
    assert np.all(np.diff(values) > 0)
    code = np.searchsorted(thresholds, x, side="right")
    np.testing.assert_allclose(np.array(layer(x)), values[code], atol=1e-6)


def test_activation_gradients_are_the_clipped_straight_through_ones() -> None:
    x = tf.constant([-1.5, -0.5, 0.3, 0.9, 1.7, 2.5])
    for layer, passes in (
        (sc.QuantActivation(1, "sign"), [0, 1, 1, 1, 0, 0]),
        (sc.QuantActivation(2, max_value=2.0), [0, 0, 1, 1, 1, 0]),
    ):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        np.testing.assert_array_equal(tape.gradient(y, x).numpy(), passes)


def test_the_learned_basis_follows_the_activations() -> None:
    layer = sc.QuantActivation(2, levels="learned", momentum=0.5)
    x = np.random.default_rng(1).choice([0.0, 0.7, 1.0, 1.7], 2000).astype(np.float32)
    for _ in range(60):
        layer(x, training=True)
    np.testing.assert_allclose(layer.table()[0], [0, 0.7, 1.0, 1.7], atol=0.02)


@pytest.mark.parametrize(
    ("bits", "kind", "make"),
    [
        (1, "sign", lambda: sc.XNOR(exclude=["conv"])),
        (2, "relu", lambda: sc.QuantizedNN(2, 2, exclude=["conv"])),
        (2, "learned", lambda: sc.LQNet(2, 2, exclude=["conv"])),
    ],
)
def test_low_bit_weights_and_activations_learn_digits(
    bits: int, kind: str, make: Callable, tmp_path: Path
) -> None:
    learned = kind == "learned"
    options = {"kind": "relu", "levels": "learned"} if learned else {"kind": kind}
    model = compiled(sc.quantize_activations(reader(), bits, **options))
    x, y = digits()
    history = model.fit(x, y, batch_size=50, epochs=3, verbose=0, callbacks=[make()]).history
    assert history["loss"][-1] < 1.6
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras", safe_mode=True)
    np.testing.assert_array_equal(again.predict(x[:8], verbose=0), model.predict(x[:8], verbose=0))
    assert again.get_layer("relu").get_config()["bits"] == bits


def test_quantize_activations_keeps_weights_and_splits_fused_relus() -> None:
    model = network()
    copy = sc.quantize_activations(model, 4)
    np.testing.assert_array_equal(kernel(copy, "pointwise"), kernel(model, "pointwise"))
    assert isinstance(copy.get_layer("relu2"), sc.QuantActivation)
    one = sc.quantize_activations(model, 1, "sign", include=["*2"])
    low = [x.name for x in one.layers if isinstance(x, sc.QuantActivation)]
    assert low == ["relu2"]
    with pytest.raises(ModelError, match="no ReLU or recurrent layer named nothing"):
        sc.quantize_activations(model, 2, include=["nothing"])
    layers = keras.layers
    fused = keras.Sequential([layers.Input((4,)), layers.Dense(3, activation="relu", name="d")])
    split = sc.quantize_activations(fused, 2)
    assert [x.name for x in split.layers] == ["d", "d_activation"]
    x = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    np.testing.assert_array_equal(kernel(split, "d"), kernel(fused, "d"))
    whole, step = fused.predict(x, verbose=0), 2.0 / 3
    expected = np.rint(np.clip(whole, 0, 2.0) / step) * step
    np.testing.assert_allclose(split.predict(x, verbose=0), expected, atol=1e-5)
    inputs = keras.Input((8, 3))
    conv = layers.Conv1D(4, 3, activation="relu", name="c")
    functional = keras.Model(
        inputs,
        layers.Flatten()(
            conv(
                conv.__class__.from_config({**conv.get_config(), "name": "b", "filters": 3})(inputs)
            )
        ),
    )
    names = [x.name for x in sc.quantize_activations(functional, 4, include=["c"]).layers]
    assert names[1:4] == ["b", "c", "c_activation"]
    with pytest.raises(ModelError, match="no ReLU or recurrent layer"):
        sc.quantize_activations(dense(), 2)
