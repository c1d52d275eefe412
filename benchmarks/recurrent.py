"""Recurrent networks, trained and measured in integers: inertial signals and a language model.

    python -m benchmarks.recurrent [--task hapt text] [--only WORDS] [--train-only | --trained]
                                   [--measure]

HAPT: LSTM and GRU of 32 and 64 units on 64 time steps (every second sample of a window), users held
out; float, int8, and trained on to 4-bit weights (QuantizedNN), to ternary ones with 60 % zeros
(Ternarize) and, an LSTM of 64 units, to 80 % zeros anywhere and in blocks (Prune); answers that an
int8 TensorFlow Lite model of the same network gives alike. Text: the next character of the Python
sources of the Keras package (Apache-2.0) as installed, an LSTM of 64 units, in bits per character;
the last tenth of its files is held out. Its weights have 4, 3 and 2 bits, then its hidden states as
well (quantize_activations).

Trained networks are kept in build/recurrent, so that what is interrupted goes on;
benchmarks/results/recurrent.json has the rows that there are. `--trained` measures what is trained.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from benchmarks.recipes import measure, options, slimming
from benchmarks.recipes.cache import digest, spent, timed, write_json
from benchmarks.recipes.plain import plain

import secateur as sc
from secateur.errors import SecateurError
from secateur.flow.against import run_tflite
from secateur.lowering import reference

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "recurrent"
RESULTS = ROOT / "benchmarks" / "results" / "recurrent.json"

EPOCHS, MORE = 8, 3  #: of HAPT in float, and behind it
LONGER, MANY = ", longer", 16  #: of what is pruned
CLASSES = 6
STEPS, MORE_STEPS, BATCH = 3000, 4000, 64  #: of text
RATE = 4e-3  #: of text behind float, at its start
LENGTH = 64  #: characters of a sample
CALIBRATED, TESTED = 128, 256  #: samples of text
CHARACTERS = 63  #: the most frequent ones; all others are one more

#: What is trained on from float: name -> callback for so many steps.
KINDS: dict[str, Callable[[int], keras.callbacks.Callback]] = {
    "float, trained on": lambda steps: keras.callbacks.Callback(),
    "4 bit": lambda steps: sc.QuantizedNN(weight_bits=4),
    "3 bit": lambda steps: sc.QuantizedNN(weight_bits=3),
    "2 bit": lambda steps: sc.QuantizedNN(weight_bits=2),
    "80 % zeros": lambda steps: _pruned(steps, None),
    "80 % zeros in blocks of 2 by 4": lambda steps: _pruned(steps, (2, 4)),
    "ternary, 60 % zeros": lambda steps: sc.Ternarize(sparsity=0.6, end_step=steps // 2),
}
STATES = ", states too"  #: hidden states of as many bits as the weights
HAPT_KINDS, TEXT_KINDS = (
    ("4 bit", "ternary, 60 % zeros"),
    ("4 bit", "3 bit", "2 bit", *(f"{n} bit{STATES}" for n in (4, 3, 2)), "float, trained on"),
)
#: Of the LSTM of 64 units; those with LONGER behind it for so many epochs, at another rate.
PRUNED = tuple(f"{kind}{longer}" for longer in ("", LONGER) for kind in KINDS if "80 %" in kind)
CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


def _pruned(steps: int, block: tuple[int, int] | None) -> sc.Prune:
    return sc.Prune(0.8, end_step=steps // 2, block_size=block, include=["lstm*"])


def main() -> None:
    """Train what is missing, measure, write."""
    parser = options.parser("recurrent networks: accuracy and bits per character")
    parser.add_argument("--task", nargs="+", choices=["hapt", "text"], default=["hapt", "text"])
    parser.add_argument("--only", default="", help="runs whose name has these words")
    args = options.parse(parser)
    FOLDER.mkdir(parents=True, exist_ok=True)
    runs = [*_hapt_runs()] * ("hapt" in args.task) + [*_text_runs()] * ("text" in args.task)
    rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    wanted = [key for key, *_ in runs if args.only in key]
    for key, train, row in runs:
        path = _path(key)
        started = key.endswith("float") and any(w.startswith(key[: -len("float")]) for w in wanted)
        if not args.trained and (key in wanted or started):
            timed(path, partial(train, path))
        if key not in wanted or args.train_only or not path.is_file():
            continue
        note = path.with_suffix(".row.json")
        if args.measure or not note.is_file():
            write_json(note, {**row(keras.saving.load_model(path, safe_mode=True)), **spent(path)})
        rows[key] = json.loads(note.read_text())
        rows = {k: rows[k] for k in dict.fromkeys([*(k for k, *_ in runs), *rows]) if k in rows}
        write_json(RESULTS, rows)
        print(key, rows[key], flush=True)


Run = tuple[str, Callable[[Path], keras.Model], Callable[[keras.Model], dict[str, Any]]]


def _started(key: str) -> keras.Model:
    """The float network that a run goes on from."""
    return keras.saving.load_model(_path(key), safe_mode=True)


def _path(key: str) -> Path:
    """Where a trained network is kept: another recipe has another file."""
    steps = (EPOCHS, MORE) if key.startswith("hapt") else (STEPS, MORE_STEPS, RATE)
    started = steps[:1] if key.endswith("float") else steps
    return FOLDER / f"{digest(key, *started)}.keras"


# Inertial signals ------------------------------------------------------------------------


@cache
def _hapt() -> tuple[slimming.Pair, ...]:
    parts = slimming.TASKS["hapt"].load()
    return tuple((np.ascontiguousarray(x[:, ::2]), y) for x, y in parts)


def _hapt_runs() -> Iterator[Run]:
    for units in (32, 64):
        for cell in CELLS:
            key = f"hapt {cell} {units} float"
            yield key, partial(_hapt_float, cell, units), partial(_hapt_row, beside=True)
            more = PRUNED if (cell, units) == ("lstm", 64) else ()
            for kind in (*HAPT_KINDS, *more):
                yield f"hapt {cell} {units} {kind}", partial(_hapt_more, key, kind), _hapt_row


def _hapt_fit(
    model: keras.Model, epochs: int, rate: float, callbacks: list[keras.callbacks.Callback]
) -> keras.Model:
    x, y = _hapt()[0]
    steps = epochs * -(-len(x) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    optimizer = keras.optimizers.Adam(schedule, clipnorm=1.0)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(x, y, BATCH, epochs, callbacks=callbacks, verbose=0)
    return plain(model)


def _hapt_float(cell: str, units: int, path: Path) -> keras.Model:
    keras.utils.set_random_seed(0)
    x = keras.Input(_hapt()[0][0].shape[1:])
    y = keras.layers.Dense(CLASSES, activation="softmax")(CELLS[cell](units)(x))
    return _hapt_fit(keras.Model(x, y, name="hapt"), EPOCHS, 4e-3, [])


def _hapt_more(start: str, kind: str, path: Path) -> keras.Model:
    keras.utils.set_random_seed(0)
    epochs, rate = (MANY, 4e-3) if kind.endswith(LONGER) else (MORE, 2e-3)
    steps = epochs * -(-len(_hapt()[0][0]) // BATCH)
    callback = KINDS[kind.removesuffix(LONGER)](steps)
    return _hapt_fit(_started(start), epochs, rate, [callback])


def _hapt_row(model: keras.Model, beside: bool = False) -> dict[str, Any]:
    """Percent of right answers; `beside`: with those that LiteRT gives alike."""
    (x, _), _, (tested, y) = _hapt()
    q = measure.integers(model, x[:CALIBRATED])
    answers = model.predict(tested, batch_size=500, verbose=0).argmax(1)
    codes = reference.run(q, reference.quantize_input(q, tested)).reshape(len(tested), -1)
    out = {
        "float": 100.0 * float((answers == y).mean()),
        "integer": 100.0 * float((codes.argmax(1) == y).mean()),
    }
    recurrent = model.layers[1].cell.recurrent_kernel.numpy()
    out["zeros"] = 100.0 * float((recurrent == 0).mean())
    if beside:
        out |= _against_tflite(model, x[:CALIBRATED], tested, codes.argmax(1))
    return out


def _against_tflite(
    model: keras.Model, given: np.ndarray, tested: np.ndarray, ours: np.ndarray
) -> dict[str, Any]:
    """Share of equal answers with the int8 .tflite of the same network: TensorFlow Lite's own LSTM,
    which the converter makes of Keras 2's; a GRU unrolled, as it has none."""
    layer = model.layers[1]
    fused = isinstance(layer, keras.layers.LSTM)
    try:
        if fused:
            path = _fused(model, given)
        else:
            x = keras.Input(model.input_shape[1:])
            same = type(layer).from_config({**layer.get_config(), "unroll": True})
            head = type(model.layers[2]).from_config(model.layers[2].get_config())
            copy = keras.Model(x, head(same(x)), name="unrolled")
            copy.set_weights(model.get_weights())
            path = sc.to_tflite(copy, given, FOLDER / "unrolled.tflite")
        theirs, runtime = run_tflite(path, tested)
    except SecateurError as e:
        return {"tflite": str(e)}
    equal = theirs.reshape(len(tested), -1).argmax(1) == ours
    return {"tflite": runtime, "fused": fused, "agreement": 100.0 * float(equal.mean())}


def _fused(model: keras.Model, given: np.ndarray) -> Path:
    """The int8 file with UNIDIRECTIONAL_SEQUENCE_LSTM of a network of one LSTM and a Dense."""
    import tensorflow as tf
    import tf_keras

    x = tf_keras.Input(model.input_shape[1:], batch_size=1)
    y = tf_keras.layers.LSTM(model.layers[1].units)(x)
    copy = tf_keras.Model(x, tf_keras.layers.Dense(CLASSES, activation="softmax")(y))
    copy.set_weights(model.get_weights())
    converter = tf.lite.TFLiteConverter.from_keras_model(copy)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([one[None]] for one in given)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    path = FOLDER / "fused.tflite"
    path.write_bytes(converter.convert())
    return path


# Text ------------------------------------------------------------------------------------


@cache
def _text() -> tuple[np.ndarray, np.ndarray]:
    """Characters as numbers: of training, and held out."""
    folder = Path(keras.__file__).parent
    files = sorted(p for p in folder.rglob("*.py") if "_test" not in p.name)
    texts = [p.read_text(encoding="utf-8") for p in files]
    counts = np.bincount(np.frombuffer("".join(texts).encode("ascii", "replace"), np.uint8))
    known = np.argsort(-counts, kind="stable")[:CHARACTERS]
    number = np.full(256, CHARACTERS)
    number[known] = np.arange(len(known))

    def numbers(part: list[str]) -> np.ndarray:
        return number[np.frombuffer("".join(part).encode("ascii", "replace"), np.uint8)]

    cut = len(texts) * 9 // 10
    return numbers(texts[:cut]), numbers(texts[cut:])


def _samples(text: np.ndarray, starts: np.ndarray) -> slimming.Pair:
    """(one-hot float32 [n, LENGTH, CHARACTERS + 1], next characters [n, LENGTH])."""
    whole = text[starts[:, None] + np.arange(LENGTH + 1)]
    return np.eye(CHARACTERS + 1, dtype=np.float32)[whole[:, :-1]], whole[:, 1:]


def _text_runs() -> Iterator[Run]:
    key = "text lstm 64 float"
    yield key, _text_float, _text_row
    for kind in TEXT_KINDS:
        yield f"text lstm 64 {kind}", partial(_text_more, key, kind), _text_row


def _text_fit(
    model: keras.Model, steps: int, rate: float, callbacks: list[keras.callbacks.Callback]
) -> keras.Model:
    rng, (text, _) = np.random.default_rng(0), _text()

    def batches() -> Iterator[slimming.Pair]:
        while True:
            yield _samples(text, rng.integers(0, len(text) - LENGTH, BATCH))

    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule, clipnorm=1.0), loss, jit_compile=False)
    model.fit(batches(), steps_per_epoch=steps, callbacks=callbacks, shuffle=False, verbose=0)
    return plain(model)


def _text_float(path: Path) -> keras.Model:
    keras.utils.set_random_seed(0)
    x = keras.Input((LENGTH, CHARACTERS + 1))
    y = keras.layers.LSTM(64, return_sequences=True)(x)
    model = keras.Model(x, keras.layers.Dense(CHARACTERS + 1)(y), name="text")
    return _text_fit(model, STEPS, 8e-3, [])


def _text_more(start: str, kind: str, path: Path) -> keras.Model:
    keras.utils.set_random_seed(0)
    model, weights = _started(start), kind.removesuffix(STATES)
    if weights != kind:
        model = sc.quantize_activations(model, int(kind.split()[0]))
    return _text_fit(model, MORE_STEPS, RATE, [KINDS[weights](MORE_STEPS)])


def _text_row(model: keras.Model) -> dict[str, Any]:
    text, held = _text()
    rng = np.random.default_rng(1)
    x, _ = _samples(text, rng.integers(0, len(text) - LENGTH, CALIBRATED))
    tested, y = _samples(held, rng.integers(0, len(held) - LENGTH, TESTED))
    q = measure.integers(model, x)
    codes = reference.run(q, reference.quantize_input(q, tested))
    reals = reference.dequantize_output(q, codes)
    float_bits = _bits(model.predict(tested, verbose=0), y)
    return {"float": float_bits, "integer": _bits(reals, y)}


def _bits(logits: np.ndarray, y: np.ndarray) -> float:
    """Bits per character, the first half of each sample left out: it lacks what comes before."""
    v = logits.reshape(*y.shape, -1).astype(np.float64)
    v -= v.max(axis=-1, keepdims=True)
    right = np.take_along_axis(v, y[..., None], axis=-1)[..., 0]
    bits = (np.log(np.exp(v).sum(axis=-1)) - right) / np.log(2.0)
    return float(bits[:, LENGTH // 2 :].mean())


if __name__ == "__main__":
    main()
