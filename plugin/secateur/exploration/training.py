"""A network under settings: filters out, callbacks on, soft labels, trained."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from secateur import tasks
from secateur.errors import DataError, ModelError

from .space import Settings, Value, roles_of

if TYPE_CHECKING:
    import keras

#: Changes a batch of inputs (a TensorFlow tensor [batch, *input shape]) while training.
Augment = Callable[[Any], Any]

RATE, BATCH = 2e-3, 64
#: Share of the steps in which zeros grow.
RAMP = 0.5
#: Filters are kept in multiples of this; kernels read words.
ROUND_TO = 4
#: Inputs that calibrate, and that filter criteria look at.
CALIBRATION = 256


def _ternary(layers: list[str], zeros: float, steps: int) -> list[Any]:
    from secateur import callbacks as sc

    end = max(1, round(RAMP * steps))
    return [
        sc.Ternarize(sparsity=zeros, end_step=end, initial_sparsity=min(0.3, zeros), include=layers)
    ]


def _pruned(quantizer: Callable[[list[str], int], Any]) -> Callable[..., list[Any]]:
    """Pruning first, then few levels for what is left."""

    def make(layers: list[str], zeros: float, steps: int) -> list[Any]:
        from secateur import callbacks as sc

        end = max(1, round(RAMP * steps))
        out: list[Any] = [] if not zeros else [sc.Prune(zeros, 0, end, include=layers)]
        last = quantizer(layers, end)
        return out if last is None else [*out, last]

    return make


def _cluster(layers: list[str], begin: int) -> Any:
    from secateur.callbacks import Cluster

    return Cluster(clusters=16, begin_step=begin, include=layers)


def _power_of_two(layers: list[str], begin: int) -> Any:
    from secateur.callbacks import PowerOfTwo

    return PowerOfTwo(bits=4, begin_step=begin, include=layers)


def _uniform(layers: list[str], begin: int) -> Any:
    from secateur.callbacks import Uniform

    return Uniform(bits=4, begin_step=begin, include=layers)


#: method -> callbacks for layers at a share of zeros in a fit of so many steps
WEIGHTS: dict[str, Callable[[list[str], float, int], list[Any]]] = {
    "int8": _pruned(lambda layers, begin: None),
    "ternary": _ternary,
    "cluster": _pruned(_cluster),
    "power_of_two": _pruned(_power_of_two),
    "uniform": _pruned(_uniform),
}


def _criterion(name: str, keep: float, x: np.ndarray) -> Any:
    from secateur import slimming as sc

    if name == "nisp":
        return sc.NISP(flops=keep, data=x)
    if name == "thinet":
        return sc.ThiNet(flops=keep, data=x)
    return {"l1": sc.L1Filters, "fpgm": sc.FPGM, "slimming": sc.Slimming}[name](flops=keep)


def callbacks(model: Any, settings: Mapping[str, Value], steps: int) -> list[Any]:
    """The callbacks of `settings` for a fit of `steps` optimizer steps."""
    out: list[Any] = []
    for role, layers in roles_of(model).items():
        method = str(settings.get(f"{role}.method", "int8"))
        zeros = float(settings.get(f"{role}.zeros", 0.0))
        out += WEIGHTS[method](layers, zeros, steps)
    return out


def slimmed(model: Any, settings: Mapping[str, Value], x: np.ndarray) -> Any:
    """A copy of `model` with the filters and activations that `settings` leave, untrained.

    x: float32 [n, *input shape], for criteria that look at activations.
    """
    import keras

    from secateur.callbacks import quantize_activations
    from secateur.slimming import prune_filters

    keep, bits = float(settings.get("keep", 1.0)), int(settings.get("activation_bits", 8))
    if keep < 1:
        criterion = _criterion(str(settings.get("slim", "l1")), keep, x[:CALIBRATION])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # floors and borders; training mends them
            out = prune_filters(model, criterion, round_to=ROUND_TO)
    else:
        out = keras.models.clone_model(model)
        out.set_weights(model.get_weights())
    return quantize_activations(out, bits) if bits < 8 else out


def retrain(
    model: Any,
    settings: Mapping[str, Value],
    train: tuple[np.ndarray, np.ndarray],
    *,
    epochs: float = 10,
    seed: int = 0,
    rate: float = RATE,
    batch: int = BATCH,
    augment: Augment | None = None,
    soft: np.ndarray | None = None,
) -> keras.Model:
    """The network of a point: `model` slimmed and trained under `settings`.

    Args:
        model: a built Keras 3 classifier or the path of a `.keras` file, with its float weights.
        settings: of `Space`; roles that are not named stay at 8 bits.
        train: (x, y): float32 [n, *input shape], labels as `secateur.deploy` takes them.
        epochs: passes over the rows; a fraction is a part of one.
        seed: of initial values and order.
        rate, batch: Adam's first rate (it falls along a cosine) and rows a step.
        augment: see `Augment`.
        soft: float32 [n, classes], the float network's answers to x if they are known already.

    Returns:
        A `keras.Model` that is not compiled. The given one is unchanged.

    Raises:
        DataError, ModelError: data, settings or a model that do not fit.
    """
    import keras
    import tensorflow as tf

    source = opened(model)
    keras.utils.set_random_seed(seed)
    x = np.asarray(train[0], np.float32)
    small = slimmed(source, settings, x)
    task = tasks.read(train[1], len(x), source.output_shape[1:], ends_in(source, "sigmoid"))
    truth, loss = _goal(source, task)
    distil = float(settings.get("distil", 0.0))
    if distil:
        if soft is None:
            soft = source.predict(x, batch_size=256, verbose=0)
        truth = (1 - distil) * truth + distil * _shares(source, np.asarray(soft))
    for layer in small.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0  # few levels regularize enough
    rows = min(batch, len(x))
    steps = max(1, round(epochs * (len(x) // rows)))
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    small.compile(keras.optimizers.Adam(schedule), loss, jit_compile=False)
    given = tf.data.Dataset.from_tensor_slices((x, truth.astype(np.float32)))
    given = given.shuffle(len(x), seed=seed).batch(rows, drop_remainder=True)
    if augment is not None:
        given = given.map(lambda a, b: (augment(a), b))
    small.fit(
        given.prefetch(2).repeat(), steps_per_epoch=steps, verbose=0,
        callbacks=callbacks(small, settings, steps),
    )  # fmt: skip
    fresh = keras.models.clone_model(small)
    fresh.set_weights(small.get_weights())
    return fresh


def ends_in(model: Any, function: str) -> bool:
    """Whether the last layer's activation is called so."""
    last = getattr(model.layers[-1], "activation", None)
    return getattr(last, "__name__", "") == function


def _goal(model: Any, task: tasks.Task) -> tuple[np.ndarray, Any]:
    """Labels float32 [n, outputs], and the loss for them."""
    import keras

    outputs = int(model.output_shape[-1])
    if task.kind == tasks.TOP1:
        truth = np.eye(outputs, dtype=np.float32)[task.targets]
        if len(model.output_shape) != 2:
            raise DataError(f"model '{model.name}' gives a picture of classes; give a classifier")
        return truth, keras.losses.CategoricalCrossentropy(
            from_logits=not ends_in(model, "softmax")
        )
    if task.kind == tasks.REGRESSION:
        raise DataError("labels are targets of a regression; give those of a classifier")
    return (
        task.targets.reshape(len(task.targets), outputs).astype(np.float32),
        keras.losses.BinaryCrossentropy(from_logits=not ends_in(model, "sigmoid")),
    )


def _shares(model: Any, answers: np.ndarray) -> np.ndarray:
    """Answers of the float network as probabilities."""
    if ends_in(model, "softmax") or ends_in(model, "sigmoid"):
        return answers
    if answers.shape[-1] == 1:
        return 1 / (1 + np.exp(-answers))
    powers = np.exp(answers - answers.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def opened(model: Any) -> Any:
    """A Keras model, or the one in a `.keras` file. Raises ModelError."""
    import keras

    if isinstance(model, keras.Model):
        return model
    if not isinstance(model, str | os.PathLike):
        raise ModelError(f"model is {type(model).__name__}; give a Keras 3 model or a .keras file")
    from secateur.frontend.keras3 import open_model

    return open_model(Path(model))


def packed(model: Any) -> bytes:
    """A Keras model as the bytes of its `.keras` file, to send elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


def unpacked(raw: bytes) -> Any:
    """The model of `packed`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(raw)
        return opened(path)


def copies(settings: Sequence[Settings]) -> list[Settings]:
    """Settings, each once, in the given order."""
    out: list[Settings] = []
    for one in settings:
        if one not in out:
            out.append(one)
    return out
