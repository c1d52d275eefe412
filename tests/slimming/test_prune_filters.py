"""What a user asks for and gets: targets, limits, passes, warnings, pages, the command line."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers as L  # noqa: N812

import secateur as sc
from secateur.cli import main
from secateur.errors import BudgetError, DataError, ModelError, SecateurError
from secateur.slimming.network import Network
from secateur.targets import boards

from .graphs import settle
from .test_oracle import close, outputs_of
from .zoo import cnn1d, densenet, dscnn, resnet, two_inputs

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def spotter() -> keras.Model:
    return settle(dscnn(), np.random.default_rng(1))


def small_net(activation: str = "relu", padding: str = "same") -> keras.Model:
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 1))
    y = L.BatchNormalization(name="bn")(L.Conv2D(8, 3, padding="same", name="first")(x))
    y = L.Conv2D(6, 3, padding=padding, name="second")(L.Activation(activation)(y))
    y = L.Dense(2, name="out")(L.GlobalAveragePooling2D()(y))
    return settle(keras.Model(x, y, name="small"), np.random.default_rng(2))


# Targets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["parameters", "flops", "memory"])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_targets_are_met_and_closely(spotter: keras.Model, kind: str, scope: str) -> None:
    plan = sc.filter_plan(spotter, sc.L1Filters(**{kind: 0.5}, scope=scope))
    left = getattr(plan.after, kind) / getattr(plan.before, kind)
    assert 0.4 < left <= 0.5
    small = plan.apply()
    assert (
        small.count_params()
        == plan.after.parameters
        == Network(small).costs(Network(small).all()).parameters
    )
    absolute = int(getattr(plan.before, kind) * 0.5)
    same = sc.filter_plan(spotter, sc.L1Filters(**{kind: absolute}, scope=scope))
    assert same.removed == plan.removed


@pytest.mark.parametrize(
    ("kind", "unit", "figure"),
    [
        ("flash", "B", lambda p: p.flash),
        ("ram", "B", lambda p: p.arena),
        ("latency", "us", lambda p: p.cycles / 120),
        ("energy", "uJ", lambda p: p.cycles / 120e6 * 12.8e-3 * 3.3 * 1e6),
    ],
)
def test_what_the_board_pays(kind: str, unit: str, figure: Any) -> None:
    """A nucleo_l4r5zi runs at 120 MHz and takes 12.8 mA at 3.3 V."""
    board = "nucleo_l4r5zi"
    assert boards.load(board).power.active_ma == 12.8
    model = small_net()
    x = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype(np.float32)
    before = figure(sc.convert(model, x, board=board).plan)
    target = {kind: f"{before * 0.7:.3f} {unit}", "board": board, "calibration": x}
    if kind == "flash":
        target["flash"] = f"{before * 0.9:.0f} B"
    small = sc.filter_plan(model, sc.L1Filters(**target)).apply()
    after = figure(sc.convert(small, x, board=board).plan)
    assert 0 < after < before


def test_random_calibration_is_said() -> None:
    plan = sc.filter_plan(small_net(), sc.Complexity(ram="900 B"), round_to=2)
    assert plan.after.flops < plan.before.flops
    assert any("random calibration" in n for n in plan.notes)


def test_several_inputs_are_calibrated_each() -> None:
    a, b = keras.Input((4,), name="a"), keras.Input((6,), name="b")
    y = L.Concatenate()([L.Dense(8)(a), L.Dense(8)(b)])
    model = keras.Model([a, b], L.Dense(2)(y))
    plan = sc.filter_plan(model, sc.L1Filters(flash="7 kB", board="nucleo_l4r5zi"))
    assert any("random calibration" in n for n in plan.notes)


@pytest.mark.parametrize(
    ("criterion", "match"),
    [
        (lambda: sc.L1Filters(), "exactly one"),
        (lambda: sc.L1Filters(keep=0.5, flops=0.5), "keep and flops"),
        (lambda: sc.L1Filters(keep=0), "keep=0"),
        (lambda: sc.L1Filters(keep={"a": 1.5}), "keep=1.5"),
        (lambda: sc.L1Filters(keep=0.5, scope="stage"), "scope='stage'"),
        (lambda: sc.Complexity("time", flops=0.5), "'time'"),
    ],
)
def test_criteria_refuse_nonsense(criterion: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        criterion()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"flops": 1.5}, "flops=1.5"),
        ({"flops": -1}, "flops=-1"),
        ({"flash": "many"}, "'many'"),
        ({"latency": "2 ms"}, "give board"),
        ({"ram": 0}, "leaves nothing"),
    ],
)
def test_targets_refuse_nonsense(options: Any, match: str) -> None:
    with pytest.raises(SecateurError, match=match):
        sc.filter_plan(small_net(), sc.L1Filters(**options))


def test_a_target_out_of_reach_says_how_far_it_went() -> None:
    with pytest.raises(BudgetError, match=r"with every layer at its floor it is .*'out'"):
        sc.filter_plan(small_net(), sc.L1Filters(flops=0.001))
    with pytest.raises(BudgetError):
        sc.filter_plan(small_net(), sc.Complexity(flops=0.001))
    plan = sc.filter_plan(small_net(), sc.L1Filters(flops=10**9))
    assert not plan.removed
    assert "as it is" in plan.notes[0]


# Limits -------------------------------------------------------------------------------------------


def test_round_to_minimum_max_share_exclude() -> None:
    model = small_net()

    def left(**options: Any) -> list[int]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            small = sc.prune_filters(model, sc.L1Filters(keep=0.3), **options)
        return [small.get_layer(n).filters for n in ("first", "second")]

    assert left() == [2, 2]
    assert left(round_to=4) == [4, 4]
    assert left(round_to=16) == [8, 6]
    assert left(minimum=5) == [5, 5]
    assert left(max_share=0.5) == [4, 3]
    assert left(max_share={"first": 0.25}) == [6, 2]
    assert left(exclude=["sec*"]) == [2, 6]
    for options in ({"round_to": 0}, {"minimum": 0}, {"max_share": 2.0}, {"round_to": True}):
        with pytest.raises(DataError):
            left(**options)
    for options in ({"exclude": ["nope"]}, {"max_share": {"nope": 0.5}}):
        with pytest.raises(ModelError, match="nope"):
            left(**options)
    with pytest.raises(ModelError, match="nope"):
        sc.filter_plan(model, sc.L1Filters(keep={"nope": 0.5}))


def test_a_layer_at_its_floor_is_named() -> None:
    with pytest.warns(UserWarning, match="'first' is at its floor of 1 channel"):
        sc.prune_filters(small_net(), sc.L1Filters(keep=0.01))


# What is left behind ------------------------------------------------------------------------------


def test_a_border_is_announced_and_exact_inside() -> None:
    """sigmoid(beta) reaches a padded convolution: right inside, not in the outermost pixels."""
    model = small_net("sigmoid")
    probe = keras.Model(model.inputs, model.get_layer("second").output)
    plan = sc.filter_plan(probe, sc.L1Filters(keep={"first": 0.5}))
    assert plan.inexact == {"second": "zero padding"}
    assert "not exact at 'second': zero padding" in str(plan)
    from .oracle import masked

    x = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32)
    (expected,) = masked(probe, [x], plan.removed)
    out = plan.apply()(x).numpy()
    np.testing.assert_allclose(out[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-5)
    assert np.abs(out - expected).max() > 1e-3
    with pytest.warns(UserWarning, match="constants='drop'"):
        sc.prune_filters(probe, sc.L1Filters(keep={"first": 0.5}))


def test_without_padding_the_fold_is_exact() -> None:
    model = small_net("sigmoid", padding="valid")
    plan = sc.filter_plan(model, sc.L1Filters(keep=0.5))
    assert plan.inexact == {}
    from .oracle import masked

    x = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32)
    assert close(outputs_of(plan.apply(), [x]), masked(model, [x], plan.removed))


@pytest.mark.parametrize(("kind", "layer"), [("sum", "head"), ("padded", "second")])
def test_constants_that_no_bias_can_hold_are_announced(kind: str, layer: str) -> None:
    """A sum over a side of unknown length, and what a picture is padded with."""
    x = y = keras.Input((None if kind == "sum" else 4, 8, 2))
    y = L.Conv2D(4, 1, activation="sigmoid", name="first")(y)
    if kind == "sum":
        y = keras.ops.sum(y, axis=(1, 2))
    else:
        y = L.Resizing(8, 8, pad_to_aspect_ratio=True)(y)
        y = L.GlobalMaxPooling2D()(L.Conv2D(4, 1, name="second")(y))
    model = settle(keras.Model(x, L.Dense(3, name="head")(y)), np.random.default_rng(0))
    plan = sc.filter_plan(model, sc.L1Filters(keep={"first": 0.5}))
    assert plan.inexact == {layer: "what it read of removed channels is not constant"}


def test_dropped_constants_leave_the_kept_weights_alone() -> None:
    model = small_net("sigmoid")
    small = sc.prune_filters(model, sc.L1Filters(keep={"first": 0.5}, constants="drop"))
    kept = [i for i in range(8) if i not in sc.filter_plan(
        model, sc.L1Filters(keep={"first": 0.5})).removed["first"]]  # fmt: skip
    old, new = model.get_layer("second"), small.get_layer("second")
    assert np.array_equal(new.kernel, np.asarray(old.kernel)[:, :, kept])
    assert np.array_equal(new.bias, old.bias)


# Models -------------------------------------------------------------------------------------------


def test_names_structure_and_settings_stay() -> None:
    model = two_inputs()
    dense = next(layer for layer in model.layers if isinstance(layer, L.Dense))
    dense.trainable = False
    small = sc.prune_filters(model, sc.L1Filters(flops=0.5))
    assert [layer.name for layer in small.layers] == [layer.name for layer in model.layers]
    assert [t.name for t in small.inputs] == [t.name for t in model.inputs]
    assert small.name == model.name
    assert not small.get_layer(dense.name).trainable
    assert not small.compiled


def test_a_sequential_and_what_is_no_model() -> None:
    model = keras.Sequential([keras.Input((4,)), L.Dense(8, name="a"), L.Dense(2)])
    small = sc.prune_filters(model, sc.L1Filters(keep=0.5))
    assert small.get_layer("a").units == 4
    with pytest.raises(ModelError, match="cannot be read"):
        sc.prune_filters(keras.Sequential([L.Dense(8)]), sc.L1Filters(keep=0.5))
    with pytest.raises(ModelError, match="not in a str"):
        sc.prune_filters("model.keras", sc.L1Filters(keep=0.5))
    with pytest.raises(DataError, match="no criterion"):
        sc.prune_filters(model, 0.5)  # type: ignore[arg-type]


def test_layers_of_nested_models_have_the_models_name_before_them() -> None:
    def inner(name: str) -> keras.Model:
        x = keras.Input((4,))
        return keras.Model(x, L.Dense(6, name="same")(x), name=name)

    x = keras.Input((4,))
    y = L.Dense(4, name="between")(inner("one")(x))
    model = keras.Model(x, L.Dense(2)(inner("two")(y)))
    plan = sc.filter_plan(model, sc.L1Filters(keep={"one/same": 0.5, "between": 0.75}))
    assert {k: len(v) for k, v in plan.removed.items()} == {"one/same": 3, "between": 1}
    both = sc.filter_plan(model, sc.L1Filters(keep={"same": 0.5}))
    assert set(both.removed) == {"one/same", "two/same"}
    small = plan.apply()
    assert small.get_layer("one").get_layer("same").units == 3
    assert small.get_layer("two").input_shape == (None, 3)


def test_what_is_not_known_is_left_whole() -> None:
    class Odd(L.Layer):
        def call(self, x: Any) -> Any:
            return x[..., ::-1]

    x = keras.Input((4,))
    y = Odd(name="odd")(L.Dense(6, name="before")(x))
    y = L.Dense(6, name="after")(y)
    model = keras.Model(x, L.Dense(2)(y))
    plan = sc.filter_plan(model, sc.L1Filters(keep=0.5))
    assert set(plan.removed) == {"after"}
    assert "Odd 'odd' is not known to keep channels apart" in " ".join(str(plan).split())


def test_an_attention_head_is_left_whole() -> None:
    x = keras.Input((5, 4))
    y = L.Dense(8, name="embed")(x)
    y = L.MultiHeadAttention(2, 4, name="attention")(y, y)
    model = keras.Model(x, L.Dense(2)(L.Dense(6, name="mlp")(y)))
    plan = sc.filter_plan(model, sc.L1Filters(keep=0.5))
    assert set(plan.removed) == {"mlp"}
    assert plan.apply()(np.zeros((1, 5, 4))).shape == (1, 5, 2)


def test_padded_shortcuts_cut_the_inside_of_blocks_only() -> None:
    """Li et al.: with shortcuts that have no weights, only a block's first convolution."""
    plan = sc.filter_plan(resnet(8, 8, padded=True), sc.L1Filters(keep=0.5, shortcuts="skip"))
    makers = [g for g in plan.groups if g.channels[1] < g.channels[0]]
    assert [len(g.makers) for g in makers] == [1, 1, 1]


def test_densenet_groups_are_single_layers() -> None:
    network = Network(densenet())
    assert all(len(g.makers) == 1 for g in network.groups)
    assert not network.added.any()


def test_frozen_layers_of_nested_models_stay_frozen() -> None:
    x = keras.Input((4,))
    inner = keras.Model(x, L.Dense(4, name="b")(L.Dense(6, name="a")(x)), name="inner")
    inner.get_layer("a").trainable = False
    y = keras.Input((4,))
    model = keras.Model(y, L.Dense(2, name="c")(inner(y)))
    small = sc.prune_filters(model, sc.L1Filters(keep=0.5)).get_layer("inner")
    assert [small.get_layer(n).trainable for n in "ab"] == [False, True]
    inner.trainable = False
    small = sc.prune_filters(model, sc.L1Filters(keep=0.5)).get_layer("inner")
    assert [small.get_layer(n).trainable for n in "ab"] == [False, False]


def test_weights_without_a_name_of_their_own_are_copied() -> None:
    @keras.saving.register_keras_serializable("tests")
    class Scale(L.Layer):
        def build(self, shape: Any) -> None:
            self.one = keras.Variable(np.full(shape[-1], 3.0, np.float32))

        def call(self, x: Any) -> Any:
            return x * self.one

    x = keras.Input((4,))
    y = L.Dense(6, name="cut")(x)
    model = keras.Model(x, Scale()(L.Dense(3)(y)))
    small = sc.prune_filters(model, sc.L1Filters(keep=0.5))
    assert small.get_layer("cut").units == 3
    assert small.layers[-1].one.numpy().tolist() == [3.0] * 3


def test_what_is_smaller_goes_on_like_any_model() -> None:
    """Filters out, activations quantized before or after, ternary weights, then integers."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 8, 8, 1)).astype(np.float32), np.zeros(16, int)
    small = sc.prune_filters(small_net(), sc.L1Filters(keep=0.5, constants="drop"))
    quantized = sc.quantize_activations(small, 4)
    again = sc.prune_filters(quantized, sc.L1Filters(keep=0.5, constants="drop"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for model in (small, quantized, again):
        model.compile("sgd", loss, jit_compile=False)
        model.fit(
            x, y, verbose=0, epochs=2,
            callbacks=[sc.Prune(sparsity=0.5, end_step=1), sc.Ternarize(begin_step=1)],
        )  # fmt: skip
        compiled = sc.convert(model, x)
        assert compiled.run(x).shape[0] == 16
    assert again.get_layer("first").filters == 2


# Training -----------------------------------------------------------------------------------------


def trained(model: keras.Model) -> keras.Model:
    rng = np.random.default_rng(0)
    model.compile(keras.optimizers.Adam(1e-3), "mse", metrics=["mae"], run_eagerly=True)
    model.train_on_batch(rng.normal(size=(2, *model.input_shape[1:])), np.zeros((2, 2)))
    return model


def test_compiled_as_before_with_a_fresh_optimizer() -> None:
    model = trained(small_net())
    with pytest.warns(UserWarning, match="optimizer's state"):
        small = sc.prune_filters(model, sc.L1Filters(keep=0.5, constants="drop"), compile=True)
    assert small.compiled
    assert type(small.optimizer).__name__ == "Adam"
    assert int(small.optimizer.iterations) == 0
    small.train_on_batch(np.zeros((2, 8, 8, 1)), np.zeros((2, 2)))
    with pytest.raises(DataError, match="not compiled"):
        sc.prune_filters(small_net(), sc.L1Filters(keep=0.5, constants="drop"), compile=True)


def test_reinitialised_has_the_size_and_not_the_weights() -> None:
    model = small_net()
    kept = sc.prune_filters(model, sc.Complexity(flops=0.5, constants="drop"))
    new = sc.prune_filters(model, sc.Complexity(flops=0.5, constants="drop"), reinitialise=True)
    assert new.count_params() == kept.count_params()
    assert not np.array_equal(new.get_layer("first").kernel, kept.get_layer("first").kernel)
    with pytest.raises(DataError, match="reinitialise"):
        sc.prune_filters(model, sc.L1Filters(keep=0.5), reinitialise=True, fit=lambda m: None)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_passes_alternate_with_fits() -> None:
    model = trained(small_net())
    seen: list[tuple[int, bool]] = []

    def fit(m: Any) -> None:
        seen.append((m.get_layer("first").filters, m.compiled))

    small = sc.prune_filters(model, sc.L1Filters(keep=0.25), passes=2, fit=fit)
    assert seen == [(4, True), (2, True)]
    assert small.get_layer("first").filters == 2
    seen.clear()
    flops = Network(model).costs(Network(model).all()).flops
    small = sc.prune_filters(model, sc.Slimming(flops=0.36), passes=2, fit=fit)
    assert len(seen) == 2
    n = Network(small)
    assert n.costs(n.all()).flops <= 0.36 * flops
    for options in ({"passes": 0}, {"passes": 2}):
        with pytest.raises(DataError, match="passes"):
            sc.prune_filters(model, sc.L1Filters(keep=0.5), **options)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_thinet_fits_after_each_layer() -> None:
    model = cnn1d()
    x = np.random.default_rng(0).normal(size=(4, 128, 6)).astype(np.float32)
    sizes = []
    small = sc.prune_filters(
        model, sc.ThiNet(keep=0.5, data=x), fit=lambda m: sizes.append(m.count_params())
    )
    assert len(sizes) == 4
    assert sizes == sorted(sizes, reverse=True)
    at_once = sc.filter_plan(model, sc.ThiNet(keep=0.5, data=x))
    assert small.count_params() == at_once.after.parameters


def test_sensitivity_of_groups() -> None:
    model = small_net()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 8, 8, 1)).astype(np.float32)
    y = model.predict(x, verbose=0).argmax(1)
    plan = sc.filter_plan(model, sc.L1Filters(keep=0.5), sensitivity=(x, y))
    assert plan.baseline == 100.0
    assert set(plan.sensitivity) == {"first", "second"}
    assert all(set(c) == {0.25, 0.5, 0.75} for c in plan.sensitivity.values())
    assert "uncut 100.00 %" in str(plan)
    with pytest.raises(DataError, match="labels"):
        sc.filter_plan(model, sc.L1Filters(keep=0.5), sensitivity=x)


# Pages and the command line -----------------------------------------------------------------------


def test_pages_escape_names(tmp_path: Path) -> None:
    x = keras.Input((4,))
    y = L.Dense(6, name="<b>[red]x")(x)
    plan = sc.filter_plan(keras.Model(x, L.Dense(2)(y)), sc.L1Filters(keep=0.5))
    page = plan.html(tmp_path / "plan.html").read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;[red]x" in page
    assert "3 of 6" in page
    assert "<b>[red]x" in str(plan)
    assert "&lt;b&gt;" in plan.picture(tmp_path / "plan.svg").read_text()


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(args))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_command_line(tmp_path: Path) -> None:
    model, out, page = (str(tmp_path / n) for n in ("m.keras", "s.keras", "p.html"))
    data = str(tmp_path / "d.npz")
    small_net().save(model)
    np.savez(data, x=np.zeros((4, 8, 8, 1), np.float32), y=np.zeros(4, int))
    args = ("slim", model, "--flops", "0.5", "--out", out, "--html", page, "--json")
    code, text, _ = run(*args)
    assert code == 0
    result = json.loads(text)
    assert result["out"] == out
    assert result["after"]["flops"] <= result["before"]["flops"] / 2
    assert keras.models.load_model(out).count_params() == result["after"]["parameters"]
    assert Path(page).exists()
    assert run("slim", model, "--method", "nisp", "--data", data, "--keep", "0.5")[0] == 0
    assert run("slim", model, "--method", "taylor", "--data", data, "--keep", "0.5")[0] == 0
    macs = result["before"]["flops"] // 2
    args = ("slim", model, "--flops", str(macs), "--sensitivity", data, "--json")
    many = json.loads(run(*args)[1])
    assert many["after"] == result["after"]
    assert set(many["sensitivity"]) == {"first", "second"}
    np.savez(str(tmp_path / "bare.npz"), x=np.zeros((4, 8, 8, 1), np.float32))
    for bad, match in (
        (("slim", model, "--flops", "0.5", "--out", out), "exists"),
        (("slim", model, "--flops", "0.5", "--out", model, "--overwrite"), "exists"),
        (("slim", model, "--flops", "0.5", "--out", "x.txt"), "must end in .keras"),
        (("slim", model), "no target"),
        (("slim", model, "--flops", "1.5"), "flops=1.5"),
        (("slim", model, "--flops", "half"), "'half' is no number"),
        (("slim", model, "--keep", "0.5", "--sensitivity", str(tmp_path / "bare.npz")), "labels"),
        (("slim", model, "--keep", "0.5", "--method", "magic"), "magic"),
        (("slim", model, "--keep", "0.5", "--by", "flops"), "takes no --by"),
        (("slim", model, "--keep", "0.5", "--method", "nisp"), "give --data"),
        (("slim", model, "--keep", "0.5", "--data", data), "leave --data out"),
        (("slim", "nope.keras", "--keep", "0.5"), "nope.keras"),
    ):
        code, _, error = run(*bad)
        assert code == 2
        assert match in error
