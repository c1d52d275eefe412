"""What converting a network takes, in seconds of processor time.

    python -m benchmarks.conversion              MobileNetV2 of width 0.35 and 1.0 on 96x96 images
    python -m benchmarks.conversion --alpha 1.0  one of them

Weights are random floats (nothing pruned, nothing shared), the calibration data 64 images, the plan
`balanced`; from the Keras model to the C library. Nothing is written: processor time hangs on the
machine and on what else it does.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import secateur as sc

SIZE, CALIBRATION, CLASSES = 96, 64, 10


def seconds(alpha: float) -> tuple[int, float, int]:
    """Parameters, seconds of processor time, and bytes of constants in C."""
    keras.utils.set_random_seed(0)
    shape = (SIZE, SIZE, 3)
    model = keras.applications.MobileNetV2(shape, alpha=alpha, weights=None, classes=CLASSES)
    x = np.random.default_rng(0).uniform(-1, 1, (CALIBRATION, *shape)).astype(np.float32)
    started = time.process_time()
    compiled = sc.convert(model, x)
    spent = time.process_time() - started
    return model.count_params(), spent, compiled.plan.library.constant_bytes


def main() -> None:
    """Convert and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alpha", type=float, action="append")
    args = parser.parse_args()
    tiny = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    sc.convert(tiny, np.eye(4, dtype=np.float32))  # what is imported and read once
    for alpha in args.alpha or (0.35, 1.0):
        parameters, spent, constants = seconds(alpha)
        print(
            f"MobileNetV2 {alpha:g}, {SIZE}x{SIZE}: {parameters:,} parameters, "
            f"{spent:.1f} s of CPU, {constants:,} bytes of constants",
            flush=True,
        )


if __name__ == "__main__":
    main()
