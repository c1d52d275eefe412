"""Train a small keyword spotter on espeak-ng's words, and write it as a C library that listens.

    apt-get install espeak-ng
    python make_listener.py [--quick]
    cc -O2 -I ears/src main.c ears/src/*.c -o listen
    arecord -q -t raw -f S16_LE -r 16000 -c 1 | ./listen

Voices of a synthesizer teach no more than how the parts fit together: for a product, train on
recordings of people. Two voices are in no training clip; the share of their words that are right is
printed.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import wave
from itertools import product
from pathlib import Path

import keras
import numpy as np

import secateur as sc

HERE = Path(__file__).parent
WORDS = ("yes", "no", "stop", "go")  #: main.c has the same, behind "(nothing)"
VOICES = ("en", "en-us", "en+m3", "en+m7", "en+f1", "en+f2", "en-us+f4", "en-us+m1")
HELD_OUT = ("en+f3", "en-us+m5")
RATE = 16000


def spoken(word: str, voice: str, speed: int, pitch: int) -> np.ndarray:
    """A word as float64 samples at 16 kHz."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", word]
    sound = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(sound)) as w:
        own = w.getframerate()
        heard = np.frombuffer(w.readframes(w.getnframes()), "<i2").astype(np.float64)
    at = np.arange(int(heard.size * RATE / own)) * own / RATE
    return np.interp(at, np.arange(heard.size), heard)


def clips(voices: tuple[str, ...], takes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(int16 [n, 16000], labels [n]): a word that has just ended, or none, in some noise."""
    rng = np.random.default_rng(seed)
    samples, labels = [], []
    for (i, word), voice in product(enumerate(("", *WORDS)), voices):
        for _ in range(takes):
            clip = rng.normal(0, rng.uniform(3, 120), RATE)
            if word:
                sound = spoken(word, voice, int(rng.integers(130, 210)), int(rng.integers(20, 80)))
                sound = sound[: RATE - 1600] * rng.uniform(0.2, 0.9)
                end = RATE - int(rng.integers(0, 1600))
                clip[end - sound.size : end] += sound
            samples.append(np.clip(np.rint(clip), -32768, 32767).astype(np.int16))
            labels.append(i)
    return np.stack(samples), np.array(labels)


def network() -> keras.Model:
    """A DS-CNN, causal in time: 49 frames of 10 MFCCs to a word."""
    layers = keras.layers
    x = keras.Input((49, 10, 1))
    y = layers.ZeroPadding2D(((9, 0), (1, 1)))(x)
    y = layers.Conv2D(24, (10, 4), strides=2, activation="relu")(y)
    for _ in range(2):
        y = layers.ZeroPadding2D(((2, 0), (1, 1)))(y)
        y = layers.DepthwiseConv2D(3, activation="relu")(y)
        y = layers.Conv2D(24, 1, activation="relu")(y)
    return keras.Model(x, layers.Dense(1 + len(WORDS))(layers.GlobalAveragePooling2D()(y)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="a few clips, to see that it runs")
    quick = parser.parse_args().quick
    keras.utils.set_random_seed(0)
    definition = sc.Mfcc()  # MLPerf Tiny's: frames of 30 ms every 20 ms

    def features(samples: np.ndarray) -> np.ndarray:
        return np.stack([definition.real(s) for s in samples])[..., None].astype("float32")

    sounds, labels = clips(VOICES[: 2 if quick else None], 2 if quick else 12, 0)
    x = features(sounds)
    model = network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    model.fit(x, labels, batch_size=32, epochs=1 if quick else 20, verbose=0)
    others, truth = clips(HELD_OUT, 1 if quick else 10, 1)
    right = model.predict(features(others), verbose=0).argmax(1) == truth
    print(f"voices that were not trained on: {right.mean():.1%} of {right.size} clips right")

    listener = sc.convert(model, x, name="ears", streaming=True)
    listener.add_features(definition)
    print(listener.stream_report)
    listener.save(HERE / "ears")


if __name__ == "__main__":
    main()
