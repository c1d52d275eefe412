"""Steps per second of a plain `fit` and of a `fit` with each callback, on the KWS network's shape.

    python benchmarks/callbacks.py [--steps 100] [--batch 128] [--only Prune ...]

Weights and data are random: only the time counts. Each figure is the median of three rounds of
`--steps` steps after a warm-up that also traces the step. Beside the steps per second stand the
CPU milliseconds of all threads a step takes, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import secateur.callbacks as sc


def kws() -> keras.Model:
    """The MLPerf Tiny keyword spotter's shape: a convolution and four separable blocks of 64."""
    layers = keras.layers
    x = inputs = layers.Input((49, 10, 1))
    x = layers.Conv2D(64, (10, 4), strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    for _ in range(4):
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Conv2D(64, 1, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dense(12, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    return model


class Clock(keras.callbacks.Callback):
    """Seconds of each epoch, on the wall and of the CPU."""

    def on_train_begin(self, logs: object = None) -> None:
        self.seconds: list[float] = []
        self.cpu: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self.begin, self.cpu_begin = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.seconds.append(time.perf_counter() - self.begin)
        self.cpu.append(time.process_time() - self.cpu_begin)


def measure(
    make: Callable[[int], list[keras.callbacks.Callback]], steps: int, batch: int
) -> tuple[float, float]:
    """(steps/s, CPU ms a step), median of three epochs; `make` gets the number of steps."""
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(steps * batch, 49, 10, 1)).astype(np.float32)
    y = rng.integers(0, 12, steps * batch)
    clock = Clock()
    callbacks = [clock, *make(4 * steps)]
    kws().fit(x, y, batch_size=batch, epochs=4, verbose=0, callbacks=callbacks)
    wall, cpu = float(np.median(clock.seconds[1:])), float(np.median(clock.cpu[1:]))
    return steps / wall, 1e3 * cpu / steps


#: name -> callbacks, given the number of steps of the whole fit
CASES: dict[str, Callable[[int], list[keras.callbacks.Callback]]] = {
    "plain fit": lambda n: [],
    "Prune": lambda n: [sc.Prune(0.75, 0, n - 1)],
    "Prune, global": lambda n: [sc.Prune(0.75, 0, n - 1, scope="global")],
    "Cluster": lambda n: [sc.Cluster(bits=4, begin_step=1)],
    "Ternarize": lambda n: [sc.Ternarize()],
    "Ternarize, 80 %": lambda n: [sc.Ternarize(sparsity=0.8, end_step=n - 1)],
    "Prune + Ternarize": lambda n: [sc.Prune(0.75, 0, n // 2), sc.Ternarize(begin_step=n // 2)],
    "TernaryTWN": lambda n: [sc.TernaryTWN()],
    "TernaryTTQ": lambda n: [sc.TernaryTTQ()],
    "Hyperspherical": lambda n: [sc.HypersphericalTernary(0.8, 0, n // 4, n - 1)],
    "LQNet, 2 bit": lambda n: [sc.LQNet(2)],
    "LQNet, 4 bit": lambda n: [sc.LQNet(4)],
    "Binary": lambda n: [sc.Binary()],
    "QuantizedNN, 2 bit": lambda n: [sc.QuantizedNN(2)],
    "SparseBinary": lambda n: [sc.SparseBinary(0.1, 0, n - 1)],
    "SmartDeal": lambda n: [sc.SmartDeal()],
    "PowerOfTwo": lambda n: [sc.PowerOfTwo()],
    "Uniform, 4 bit": lambda n: [sc.Uniform(4)],
    "Logarithmic": lambda n: [sc.Logarithmic()],
}


def main() -> None:
    """Print one line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--only", nargs="*", default=[])
    args = parser.parse_args()
    for name, make in CASES.items():
        if args.only and name not in args.only:
            continue
        rate, cpu = measure(make, args.steps, args.batch)
        print(f"{name:20s} {rate:8.1f} steps/s {cpu:8.1f} CPU ms/step", flush=True)


if __name__ == "__main__":
    main()
