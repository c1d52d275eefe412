"""Every method beside Keras' other callbacks, in any order, over several fits: nothing is undone,
and what did not happen is said."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import keras
import numpy as np
import pytest

from secateur import callbacks as package
from secateur.callbacks import Compression, Prune, QuantActivation, Ternarize
from secateur.errors import ModelError, SecateurError

from .nets import kernel

pytestmark = pytest.mark.train

METHODS: dict[str, type[Compression]] = {
    name: value
    for name in package.__all__
    if inspect.isclass(value := getattr(package, name))
    and issubclass(value, Compression)
    and value is not Compression
}

#: what makes a method begin after 5 steps and end within 6; where it has no `begin_step`
_SHORT: dict[str, dict[str, Any]] = {
    "Prune": {"begin_step": 5, "end_step": 6, "every": 1},
    "SparseBinary": {"begin_step": 5, "end_step": 6},
    "HypersphericalTernary": {"begin_step": 5, "ternary_step": 6, "end_step": 6},
    "DeepCompression": {"rounds": 1, "prune_until": 0.5, "cluster_from": 0.6},
}
_NEVER: dict[str, dict[str, Any]] = {
    "Prune": {"begin_step": 800, "end_step": 900},
    "SparseBinary": {"begin_step": 800, "end_step": 900},
    "HypersphericalTernary": {"begin_step": 800, "ternary_step": 801, "end_step": 802},
    "DeepCompression": {"steps": 1000},
}


def make(name: str, **more: Any) -> Compression:
    """The method, beginning at step 5 of ten."""
    return METHODS[name](**{**_SHORT.get(name, {"begin_step": 5}), **more})


def network(policy: str = "float32") -> keras.Model:
    """Two dense layers with a sign between them, which some methods insist on; eager: 10 steps."""
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((6,)),
            layers.Dense(8, name="first", dtype=policy),
            QuantActivation(1, "sign", name="sign"),
            layers.Dense(4, name="second", dtype=policy),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), loss, run_eagerly=True)
    return model


def fit(model: keras.Model, *callbacks: Any, epochs: int = 5, **more: Any) -> dict[str, list]:
    """Two steps an epoch."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(16, 6)).astype(np.float32), rng.integers(0, 4, 16)
    options = {"batch_size": 8, "verbose": 0, "shuffle": False, "epochs": epochs, **more}
    return model.fit(x, y, callbacks=list(callbacks), **options).history


class Score(keras.callbacks.Callback):
    """Writes its own figure into the logs; the best one is early, the best that counts is 3."""

    values = (9, 8, 1, 3, 2)

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[list[np.ndarray]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["score"] = self.values[epoch]
        self.weights.append(self.model.get_weights())


@pytest.fixture
def quiet() -> Iterator[None]:
    """Our own warnings are errors: nothing was left undone."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(training ended|something changed|frozen).*")
        yield


def test_every_method_is_walked_over() -> None:
    assert len(METHODS) >= 15
    assert all(name in METHODS for name in [*_SHORT, *_NEVER])


@pytest.mark.parametrize(
    ("name", "first"), [*((n, True) for n in METHODS), ("Ternarize", False), ("Cluster", False)]
)
@pytest.mark.usefixtures("quiet")
def test_restored_weights_are_those_of_the_compressed_phase(name: str, first: bool) -> None:
    model, score, method = network(), Score(), make(name)
    stop = keras.callbacks.EarlyStopping("score", mode="max", patience=9, restore_best_weights=True)
    fit(model, *([method, score, stop] if first else [score, stop, method]))
    assert stop.best_epoch == 3
    for got, wanted in zip(model.get_weights(), score.weights[3], strict=True):
        np.testing.assert_array_equal(got, wanted)
    for path, (levels, scale) in method.levels().items():
        weight = model.get_layer("first" if "first" in path else "second").kernel.numpy()
        if name == "Logarithmic":
            value = np.sign(levels) * scale[np.abs(levels)]
        elif np.ndim(scale) == 1 and name != "SmartDeal":
            value = scale[levels]
        else:
            value = levels * scale
        np.testing.assert_allclose(value, weight, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", METHODS)
def test_a_schedule_that_never_began_is_said_once(name: str) -> None:
    model = network()
    with pytest.warns(UserWarning, match=f"{name}: training ended after 4 steps") as seen:
        fit(model, METHODS[name](**_NEVER.get(name, {"begin_step": 800})), epochs=2)
    ours = [w for w in seen if name in str(w.message)]
    assert len(ours) == 1
    if name != "DeepCompression":
        assert "where the schedule begins; first/kernel, second/kernel" in str(ours[0].message)
        assert np.unique(kernel(model, "first")).size == 48


@pytest.mark.parametrize(
    "name", [n for n in METHODS if "end_step" in inspect.signature(METHODS[n]).parameters]
)
def test_a_schedule_that_never_ended_is_said(name: str) -> None:
    more = {"initial_sparsity": 0.1, "sparsity": 0.6} if name == "Ternarize" else {}
    method = METHODS[name](**{"begin_step": 1, "end_step": 900, **more})
    with pytest.warns(UserWarning, match="before the last step of the schedule \\(900\\)"):
        fit(network(), method, epochs=2)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.usefixtures("quiet")
def test_float64_weights_hold_the_same_levels(name: str) -> None:
    plain, double = network(), network("float64")
    double.set_weights(plain.get_weights())
    for model in (plain, double):
        keras.utils.set_random_seed(7)
        fit(model, make(name))
    assert kernel(double, "first").dtype == np.float64
    np.testing.assert_array_equal(
        kernel(double, "first").astype(np.float32).astype(np.float64), kernel(double, "first")
    )
    near = 0.02 if name == "SmartDeal" else 1e-4  # its roundings to powers fall either way
    np.testing.assert_allclose(kernel(plain, "first"), kernel(double, "first"), atol=near)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_too_coarse_for_levels_are_refused_and_mixed_precision_is_not(dtype: str) -> None:
    with pytest.raises(ModelError, match=f"weights are {dtype}.*mixed_{dtype}"):
        fit(network(dtype), Ternarize())
    model = network(f"mixed_{dtype}")
    fit(model, Ternarize())
    assert all(np.unique(np.abs(c)).size <= 2 for c in kernel(model, "first").T)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.usefixtures("quiet")
def test_a_layer_unfrozen_between_two_fits_is_compressed_in_the_second(name: str) -> None:
    model, method = network(), make(name)
    model.get_layer("second").trainable = False
    model.compile(keras.optimizers.SGD(0.05), model.loss, run_eagerly=True)
    before = kernel(model, "second")
    fit(model, method)
    np.testing.assert_array_equal(kernel(model, "second"), before)
    model.get_layer("second").trainable = True
    model.compile(keras.optimizers.SGD(0.05), model.loss, run_eagerly=True)
    fit(model, method)
    first, second = (p.bits(kernel(model, p.path.split("/")[0])) for p in method.projections[-2:])
    assert len({p.path for p in method.projections}) == 2
    if name == "Prune":
        assert np.mean(kernel(model, "second") == 0) == pytest.approx(0.75)
    else:
        assert first < 32
        assert second < 32


def test_a_layer_frozen_before_its_schedule_ended_is_named() -> None:
    model, method = network(), Prune(0.5, 0, 20)
    with pytest.warns(UserWarning, match="before the last step"):
        fit(model, method)
    model.get_layer("second").trainable = False
    model.compile(keras.optimizers.SGD(0.05), model.loss, run_eagerly=True)
    share = np.mean(kernel(model, "second") == 0)
    with pytest.warns(UserWarning, match="second/kernel cannot be trained any more, frozen"):
        fit(model, method)
    assert np.mean(kernel(model, "first") == 0) == 0.5
    assert np.mean(kernel(model, "second") == 0) == share
    assert set(method.levels()) == {"first/kernel", "second/kernel"}


@pytest.mark.parametrize("name", METHODS)
def test_loops_of_ones_own_need_no_epochs(name: str) -> None:
    more = {"steps": 10} if name == "DeepCompression" else {}
    model, method = network(), make(name, **more)
    crowd = keras.callbacks.CallbackList([method], model=model)
    rng = np.random.default_rng(3)
    for _ in range(2):  # the second time nothing calls set_model
        crowd.on_train_begin()
        for i in range(10):
            crowd.on_train_batch_begin(i)
            model.train_on_batch(rng.normal(size=(8, 6)).astype("float32"), np.arange(8) % 4)
            crowd.on_train_batch_end(i)
        crowd.on_train_end()
    assert method.projections[-1].steps == 20
    assert not hasattr(model, "_secateur_state")
    assert crowd.callbacks == [method]


@pytest.mark.parametrize("name", METHODS)
def test_arguments_of_the_wrong_kind_are_named(name: str) -> None:
    hints = get_type_hints(inspect.unwrap(METHODS[name].__init__))
    numbers = [k for k, v in hints.items() if v in (int, float, int | None, float | None)]
    assert numbers
    for argument in numbers:
        for wrong in ("80%", [1, 2], float("nan"), True):
            with pytest.raises(ModelError, match=f"^{name}: {argument}=.* is not a "):
                METHODS[name](**{argument: wrong})
    with pytest.raises(ModelError, match=f"^{name}: include=5 is not a list"):
        METHODS[name](include=5)


def test_other_arguments_of_the_wrong_kind() -> None:
    with pytest.raises(ModelError, match=r"^Prune: sparsity='80%' is not a number"):
        Prune(sparsity="80%")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"pattern='2:4' is not \(a whole number, a whole"):
        Prune(pattern="2:4")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"per_layer=.* is not a mapping from text to a number"):
        Prune(per_layer={"conv": "80%"})  # type: ignore[dict-item]
    Prune(np.float32(0.5), np.int64(0), 4)  # type: ignore[arg-type]
    with pytest.raises(SecateurError, match="QuantActivation: bits='2' is not a whole number"):
        QuantActivation("2")  # type: ignore[arg-type]


@pytest.mark.parametrize("order", [0, 1])
def test_logs_are_there_for_everyone(order: int, tmp_path: Path) -> None:
    seen: list[dict] = []
    look = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(dict(logs)))
    stop = keras.callbacks.EarlyStopping("sparsity", mode="max", patience=1)
    file = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    others, method = [look, stop, file], Prune(0.5, 0, 4, every=1)
    history = fit(network(), *([*others, method] if order else [method, *others]))
    assert len(history["sparsity"]) == 3  # complete after the second epoch, no better in the third
    assert all({"sparsity", "bits"} <= set(logs) for logs in seen)
    assert "sparsity" in (tmp_path / "log.csv").read_text().splitlines()[0]


@pytest.mark.parametrize("order", [0, 1])
def test_a_checkpoint_of_the_best_epoch_is_compressed(order: int, tmp_path: Path) -> None:
    score, method = Score(), Ternarize(begin_step=5)
    save = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.keras", "score", mode="max", save_best_only=True
    )
    model = network()
    fit(model, *([score, save, method] if order else [method, score, save]))
    best = keras.models.load_model(tmp_path / "best.keras")
    for got, wanted in zip(best.get_weights(), score.weights[3], strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert save.best == 3


def test_patience_begins_with_the_compressed_phase() -> None:
    score = Score()
    stop = keras.callbacks.EarlyStopping("score", mode="max", patience=1)
    slow = keras.callbacks.ReduceLROnPlateau("score", 0.1, mode="max", patience=1)
    model = network()
    history = fit(model, score, stop, slow, Ternarize(begin_step=5))
    assert len(history["loss"]) == 5  # 9, 8, 1 do not count
    assert history["learning_rate"][:4] == pytest.approx([0.05] * 4)


def test_an_early_stop_of_a_fit_that_never_got_there_restores_nothing() -> None:
    score = Score()
    stop = keras.callbacks.EarlyStopping("score", mode="max", restore_best_weights=True, patience=9)
    model = network()
    with pytest.warns(UserWarning, match="never|where the schedule begins"):
        fit(model, score, stop, Ternarize(begin_step=100))
    for got, wanted in zip(model.get_weights(), score.weights[-1], strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_weights_changed_behind_the_schedule_are_projected_and_said() -> None:
    class Undo(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self.start = self.model.get_weights()

        def on_train_end(self, logs: Any = None) -> None:
            self.model.set_weights(self.start)

    model = network()
    with pytest.warns(UserWarning, match="Ternarize: something changed the weights after"):
        fit(model, Ternarize(), Undo())
    assert all(np.unique(np.abs(c)).size <= 2 for c in kernel(model, "first").T)


@pytest.mark.parametrize("every_epoch", [False, True])
@pytest.mark.parametrize("name", ["Ternarize", "LQNet"])
def test_averaged_weights_are_projected_before_they_are_judged(
    name: str, every_epoch: bool, tmp_path: Path
) -> None:
    model = network()
    optimizer = keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5)
    model.compile(optimizer, model.loss, run_eagerly=True)
    judged: list[np.ndarray] = []
    look = keras.callbacks.LambdaCallback(
        on_test_end=lambda logs: judged.append(kernel(model, "first"))
    )
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=every_epoch)
    save = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    method = make(name)
    x, y = np.ones((8, 6), np.float32), np.zeros(8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(model, look, swap, save, method, validation_data=(x, y))
    assert len(judged) == 5
    assert np.unique(judged[0]).size == 48
    np.testing.assert_allclose(judged[-1], kernel(model, "first"), atol=1e-6)
    assert len(np.unique(np.round(judged[-1], 5))) < 40
    last = keras.models.load_model(tmp_path / "5.keras", compile=False)
    if every_epoch:
        np.testing.assert_allclose(kernel(last, "first"), kernel(model, "first"), atol=1e-6)


@pytest.mark.parametrize("order", [0, 1])
def test_backup_and_restore_on_either_side(order: int, tmp_path: Path) -> None:
    def listed(*more: Any) -> list[Any]:
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        method = make("Cluster")
        return [*more, *([backup, method] if order else [method, backup])]

    def stop(epoch: int, logs: Any = None) -> None:
        if epoch == 4:
            raise KeyboardInterrupt

    straight, broken = network(), network()
    broken.set_weights(straight.get_weights())
    start = broken.get_weights()
    fit(straight, make("Cluster"))
    with pytest.raises(KeyboardInterrupt):
        fit(broken, *listed(keras.callbacks.LambdaCallback(on_epoch_begin=stop)))
    again = network()
    again.set_weights(start)
    fit(again, *listed())
    np.testing.assert_array_equal(kernel(straight, "first"), kernel(again, "first"))


def test_without_a_list_the_method_closes_itself() -> None:
    model, method = network(), Ternarize()
    method.set_model(model)
    method.on_train_begin()
    for _ in range(3):
        method.on_train_batch_begin(0)
        model.train_on_batch(np.ones((8, 6), np.float32), np.zeros(8))
    method.on_train_end()
    assert not hasattr(model, "_secateur_state")
    assert all(np.unique(np.abs(c)).size <= 2 for c in kernel(model, "first").T)
