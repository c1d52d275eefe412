"""What changed between two commits for networks that both convert: size, instructions, the C.

    python -m benchmarks.commits 10c0f34^ 10c0f34

Both commits' packages (`git archive`) convert the same networks with the same random weights and
calibration data, in processes of their own: a small DS-CNN, LeNet-300-100, LeNet-5 and a residual
network, dense and ternary at 80 % zeros. Printed are bytes of constants and of code, instructions
of an inference on a Cortex-M4 (all but constants estimated by that commit's own planner), and
whether the C is the same but for comments: then nothing else can have changed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("plugin", "boards", "firmware")


def networks() -> dict[str, Any]:
    """Keras models by name, the same in every process."""
    import keras
    import numpy as np

    layers = keras.layers

    def conv(y: Any, width: int, size: int = 3, stride: int = 1, **more: Any) -> Any:
        return layers.Conv2D(width, size, strides=stride, padding="same", **more)(y)

    def dscnn() -> Any:
        x = keras.Input((49, 10, 1))
        y = layers.Conv2D(64, (10, 4), strides=2, padding="same", activation="relu")(x)
        for _ in range(4):
            y = layers.DepthwiseConv2D(3, padding="same", activation="relu")(y)
            y = conv(y, 64, 1, activation="relu")
        return keras.Model(x, layers.Dense(12)(layers.GlobalAveragePooling2D()(y)))

    def lenet300() -> Any:
        x = keras.Input((28, 28, 1))
        y = layers.Dense(300, activation="relu")(layers.Flatten()(x))
        return keras.Model(x, layers.Dense(10)(layers.Dense(100, activation="relu")(y)))

    def lenet5() -> Any:
        x = y = keras.Input((28, 28, 1))
        for width in (20, 50):
            y = layers.MaxPooling2D()(layers.Conv2D(width, 5, activation="relu")(y))
        y = layers.Dense(500, activation="relu")(layers.Flatten()(y))
        return keras.Model(x, layers.Dense(10)(y))

    def residual() -> Any:
        x = keras.Input((32, 32, 3))
        y = conv(x, 16, activation="relu")
        for width, stride in ((16, 1), (32, 2), (64, 2)):
            z = conv(conv(y, width, stride=stride, activation="relu"), width)
            y = y if stride == 1 else conv(y, width, 1, stride)
            y = layers.ReLU()(layers.Add()([z, y]))
        return keras.Model(x, layers.Dense(10)(layers.Flatten()(layers.AveragePooling2D(8)(y))))

    found = {}
    for make in (dscnn, lenet300, lenet5, residual):
        for kind in ("dense", "ternary"):
            keras.utils.set_random_seed(0)
            model = make()
            for layer in model.layers if kind == "ternary" else ():
                weights = layer.get_weights()
                if weights:
                    size = np.abs(weights[0])
                    kept = np.sign(weights[0]) * (size > np.quantile(size, 0.8)) * size.mean()
                    layer.set_weights([kept, *weights[1:]])
            found[f"{make.__name__}, {kind}"] = model
    return found


def convert() -> None:
    """In the process of one commit: a line of JSON a network."""
    import numpy as np

    import secateur as sc

    for name, model in networks().items():
        shape = (32, *model.input_shape[1:])
        x = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
        plan = sc.convert(model, x, name="net").plan
        c = {k: v for k, v in plan.library.files.items() if k.endswith((".c", ".h"))}
        text = "".join(k + re.sub(r"/\*.*?\*/", "", v, flags=re.S) for k, v in sorted(c.items()))
        row = {
            "network": name, "constants": plan.library.constant_bytes, "code": plan.code_bytes,
            "instructions": round(plan.instructions), "arena": plan.arena,
            "c": hashlib.sha256(text.encode()).hexdigest(),
        }  # fmt: skip
        print(json.dumps(row), flush=True)


def rows_of(commit: str) -> list[dict[str, Any]]:
    """What a commit makes of the networks."""
    command = ["git", "archive", commit, *PARTS]
    packed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
        done = subprocess.run(
            [sys.executable, str(Path(__file__).resolve()), "--convert"], cwd=folder, check=True,
            env={**os.environ, "PYTHONPATH": f"{folder}/plugin", "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commits", nargs="*", metavar="COMMIT")
    parser.add_argument("--convert", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.convert:
        convert()
        return
    if len(args.commits) != 2:
        parser.error("name two commits")
    before, after = (rows_of(c) for c in args.commits)
    for a, b in zip(before, after, strict=True):
        figures = ", ".join(
            f"{key} {a[key]:,} -> {b[key]:,}" if a[key] != b[key] else f"{key} {a[key]:,}"
            for key in ("constants", "code", "instructions", "arena")
        )
        print(f"{a['network']}: {'same C' if a['c'] == b['c'] else 'other C'}; {figures}")


if __name__ == "__main__":
    main()
