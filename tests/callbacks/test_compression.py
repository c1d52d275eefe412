"""What all callbacks share: selection, checkpoints, logs, a plain model at the end."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest

from secateur.callbacks import Cluster, Prune, Ternarize
from secateur.errors import ModelError

from .nets import EveryStep, compiled, dense, fit, kernel, network
from .test_ternarize import assert_ternary

pytestmark = pytest.mark.train


def both() -> list[keras.callbacks.Callback]:
    """A combination with every kind of state: mask, codebook, latent weights."""
    return [
        Prune(0.6, 0, 9, every=2),
        Cluster(bits=3, begin_step=5, include=["conv", "depthwise"]),
        Ternarize(begin_step=3, include=["pointwise", "dense"]),
    ]


def test_the_model_is_plain_keras_afterwards(tmp_path: Path) -> None:
    model = network()
    fit(model, *both())
    assert not hasattr(model, "_secateur_state")
    assert all(v.constraint is None for v in model.trainable_variables)
    model.save(tmp_path / "m.keras")
    script = f"""
        import sys, numpy, keras
        model = keras.models.load_model({str(tmp_path / "m.keras")!r}, safe_mode=True)
        numpy.save({str(tmp_path / "w.npy")!r}, model.get_layer("pointwise").kernel.numpy())
        assert not any(name.startswith("secateur") for name in sys.modules)
        """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "w.npy"), kernel(model, "pointwise"))
    assert_ternary(kernel(model, "pointwise"))


def test_a_later_fit_without_callbacks_trains_freely() -> None:
    model = network()
    fit(model, Ternarize())
    fit(model)
    assert np.unique(kernel(model, "pointwise")).size > 100


def test_an_earlier_fit_does_not_shut_the_callbacks_out() -> None:
    model = network()
    fit(model)
    fit(model, Ternarize(), EveryStep(lambda s: assert_ternary(kernel(model, "pointwise"))))


def test_resuming_from_a_checkpoint_gives_the_same_weights(tmp_path: Path) -> None:
    straight = network()
    straight.save(tmp_path / "start.keras")
    fit(straight, *both(), epochs=3)

    half = keras.models.load_model(tmp_path / "start.keras")
    file = tmp_path / "half.keras"
    with pytest.warns(UserWarning, match="promised"):  # the schedule ends in the second epoch
        fit(half, *both(), keras.callbacks.ModelCheckpoint(file), epochs=1)

    rest = keras.models.load_model(file)
    callbacks = both()
    for callback in callbacks:
        callback.resume = file
    fit(rest, *callbacks, initial_epoch=1, epochs=3)
    for a, b in zip(straight.get_weights(), rest.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_backup_and_restore_needs_no_help(tmp_path: Path) -> None:
    straight = network()
    straight.save(tmp_path / "start.keras")
    fit(straight, *both(), epochs=3)

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            if epoch == 2:
                raise KeyboardInterrupt

    broken = keras.models.load_model(tmp_path / "start.keras")
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        fit(broken, *both(), backup, Interrupt(), epochs=3)
    again = keras.models.load_model(tmp_path / "start.keras")
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    fit(again, backup, *both(), epochs=3)
    for a, b in zip(straight.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_checkpoint_of_a_running_fit_loads_as_a_plain_model(tmp_path: Path) -> None:
    model = network()
    file = tmp_path / "m.weights.h5"
    save = keras.callbacks.ModelCheckpoint(file, save_weights_only=True)
    fit(model, Ternarize(), save)
    other = network()
    other.load_weights(file)
    np.testing.assert_array_equal(kernel(other, "dense"), kernel(model, "dense"))


def test_resuming_from_the_wrong_file_says_so(tmp_path: Path) -> None:
    model = network()
    model.save(tmp_path / "plain.keras")
    with pytest.raises(ModelError, match="holds no compression state"):
        fit(model, Ternarize(resume=tmp_path / "plain.keras"))
    model = network()
    fit(model, Ternarize(), keras.callbacks.ModelCheckpoint(tmp_path / "t.keras"))
    with pytest.raises(ModelError, match="no Prune state"):
        fit(network(), Prune(0.5, 0, 4, resume=tmp_path / "t.keras"))
    with pytest.raises(ModelError, match="holds no compression state"):
        fit(network(), Prune(0.5, 0, 4, resume=tmp_path / "missing.keras"))


def test_after_an_interrupted_fit_a_new_one_starts_clean() -> None:
    def stop(step: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    model = network()
    with pytest.raises(KeyboardInterrupt):
        fit(model, Ternarize(), EveryStep(stop))
    fit(model, Cluster(bits=2))
    assert np.unique(kernel(model, "pointwise")).size <= 4


def test_the_same_callback_goes_on_counting() -> None:
    once, twice = network(), network()
    twice.set_weights(once.get_weights())
    fit(once, Ternarize(begin_step=5), epochs=2)
    callback = Ternarize(begin_step=5)
    fit(twice, callback, epochs=1)
    fit(twice, callback, epochs=1)
    np.testing.assert_array_equal(kernel(once, "conv"), kernel(twice, "conv"))


def test_logs_show_sparsity_and_bits() -> None:
    history = fit(network(), Prune(0.5, 0, 4), epochs=2)
    assert history["sparsity"] == pytest.approx([0.5, 0.5], abs=0.01)
    assert history["bits"] == [32, 32]


def test_include_and_exclude_by_name_type_and_class() -> None:
    model = network()
    fit(model, Prune(0.5, 0, 4, include=["*wise", keras.layers.Dense], exclude="DepthwiseConv2D"))
    assert np.mean(kernel(model, "conv") == 0) == 0
    assert np.mean(kernel(model, "depthwise") == 0) == 0
    assert np.mean(kernel(model, "pointwise") == 0) == 0.5
    assert np.mean(kernel(model, "dense") == 0) == 0.5


def test_frozen_layers_are_left_alone() -> None:
    model = network()
    model.get_layer("conv").trainable = False
    before = kernel(compiled(model), "conv")
    fit(model, Ternarize())
    np.testing.assert_array_equal(kernel(model, "conv"), before)
    model.trainable = False
    with pytest.raises(ModelError, match="no trainable kernel"):
        fit(compiled(model), Ternarize())


def test_a_shared_layer_is_one_weight_and_nested_models_are_followed() -> None:
    layers = keras.layers
    shared = layers.Dense(12, name="shared")
    inner = keras.Sequential([layers.Input((12,)), layers.Dense(6, name="inner")], name="nest")
    x = layers.Input((12,))
    y = layers.Dense(4, name="dense")(inner(shared(layers.ReLU()(shared(x)))))
    model = compiled(keras.Model(x, y))
    callback = Ternarize()
    fit(model, callback, EveryStep(lambda s: assert_ternary(shared.kernel.numpy())))
    assert len(callback.projections) == 3
    assert_ternary(model.get_layer("nest").get_layer("inner").kernel.numpy())


def test_separable_and_one_dimensional_layers() -> None:
    layers = keras.layers
    model = compiled(
        keras.Sequential(
            [
                layers.Input((16, 3)),
                layers.Conv1D(8, 3, name="conv1d"),
                layers.SeparableConv1D(8, 3, name="separable"),
                layers.GlobalAveragePooling1D(),
                layers.Dense(4, name="dense"),
            ]
        )
    )
    fit(model, Prune(0.5, 0, 4), Ternarize(begin_step=6))
    separable = model.get_layer("separable")
    assert_ternary(separable.pointwise_kernel.numpy())
    assert_ternary(kernel(model, "conv1d"))
    assert np.mean(separable.depthwise_kernel.numpy() == 0) == 0.5


def test_the_users_constraint_acts_on_the_latent_weight_and_comes_back() -> None:
    model = network()
    layer = keras.layers.Dense(4, kernel_constraint="non_neg", name="dense")
    model = compiled(keras.Sequential([keras.layers.Input((12,)), layer]))
    constraint = layer.kernel.constraint
    fit(model, Ternarize(), EveryStep(lambda s: assert_ternary(kernel(model, "dense"))))
    assert layer.kernel.constraint is constraint
    assert kernel(model, "dense").min() >= 0


def test_two_quantizers_on_one_weight_are_refused() -> None:
    with pytest.raises(ModelError, match=r"both want to quantize conv/kernel"):
        fit(network(), Cluster(), Ternarize())


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.AdamW(1e-2, weight_decay=0.1),
        lambda: keras.optimizers.SGD(1e-2, momentum=0.9, nesterov=True),
        lambda: keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.9),
        lambda: keras.optimizers.Adam(1e-2, use_ema=True, ema_overwrite_frequency=3),
        lambda: keras.optimizers.Adam(1e-2, gradient_accumulation_steps=2),
        lambda: keras.optimizers.Adam(1e-2, clipnorm=0.1),
    ],
)
def test_optimizers_that_do_more_than_step(optimizer: object) -> None:
    model = network(optimizer())
    callbacks = [
        Prune(0.5, 0, 6),
        Ternarize(begin_step=8, include=["pointwise", "dense"]),
        Cluster(bits=3, begin_step=8, include=["conv"]),
    ]
    fit(model, *callbacks)
    assert_ternary(kernel(model, "pointwise"))
    assert np.mean(kernel(model, "pointwise") == 0) >= 0.5
    assert np.mean(kernel(model, "conv") == 0) == pytest.approx(0.5, abs=0.01)
    assert np.unique(kernel(model, "conv")).size <= 9


@pytest.mark.parametrize(
    "options",
    [
        {"steps_per_execution": 4},
        {"run_eagerly": True},
        pytest.param({"jit_compile": True}, marks=pytest.mark.slow),
    ],
)
def test_several_steps_in_one_execution_and_eager_and_xla(options: dict) -> None:
    weights = []
    for more in ({}, options):
        keras.utils.set_random_seed(7)
        model = network()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.01), loss, **{"jit_compile": False, **more})
        fit(model, *both(), epochs=2)
        weights.append(kernel(model, "dense"))
    np.testing.assert_allclose(*weights, atol=1e-4)


def test_subclassed_models_and_layers() -> None:
    class Mine(keras.layers.Dense):
        pass

    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = Mine(8, name="first"), keras.layers.Dense(4, name="last")

        def call(self, inputs: object) -> object:
            return self.last(keras.ops.relu(self.first(inputs)))

    model = compiled(Net())
    x = np.random.default_rng(0).normal(size=(32, 12)).astype(np.float32)
    y = np.arange(32) % 4
    with pytest.raises(ModelError, match="call the model on a batch"):
        model.fit(x, y, verbose=0, callbacks=[Ternarize()])
    model(x)
    model.fit(x, y, verbose=0, callbacks=[Ternarize()])
    assert_ternary(model.first.kernel.numpy())
    assert_ternary(model.last.kernel.numpy())


def test_mixed_precision() -> None:
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = network()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    fit(model, Prune(0.5, 0, 6), Ternarize(begin_step=8))
    assert_ternary(kernel(model, "pointwise"))


def test_tf_keras_models_are_refused_in_words() -> None:
    with pytest.raises(ModelError, match="needs a Keras 3 model"):
        Ternarize().set_model(object())


def test_importing_the_package_imports_no_keras() -> None:
    code = "import sys, secateur; sys.exit('keras' in sys.modules or 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_dense_only_models() -> None:
    model = dense()
    fit(model, *[Prune(0.5, 0, 4), Ternarize(begin_step=6)])
    assert_ternary(kernel(model, "dense"))
