"""Pruning x quantization on two networks: `python -m benchmarks.combinations [--task lenet5 kws]`.

`secateur.combinations` on LeNet-5 (MNIST, the last training images validate) and on MLPerf Tiny's
DS-CNN (its training clips, held-out speakers validate). No test set is looked at. What is trained
stays in build/combinations, and an interrupted run goes on. Writes
benchmarks/results/combinations.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from benchmarks.recipes import kws, lenet, mnist, slimming
from benchmarks.recipes.cache import timed, write_json

import secateur as sc

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "combinations"
RESULTS = ROOT / "benchmarks" / "results" / "combinations.json"
BOARD = "nucleo_l4r5zi"

Parts = tuple[keras.Model, mnist.Split, mnist.Split]  #: model, training, held out


def digits() -> Parts:
    """LeNet-5 as its recipe trains it, on the images that do not validate."""
    (x, y), _ = mnist.load()
    path = FOLDER / "lenet5-float.keras"
    timed(path, partial(lenet.train_baseline, "lenet5", x[: -mnist.HELD], y[: -mnist.HELD], 0))
    train, held, _ = mnist.parts()
    return keras.saving.load_model(path, safe_mode=True), train, held


def words() -> Parts:
    """The DS-CNN as MLPerf Tiny trained it; the parts of `benchmarks.slim`."""
    train, held, _ = slimming.TASKS["kws"].parts
    return kws.float_network(), train, held


TASKS: dict[str, Callable[[], Parts]] = {"lenet5": digits, "kws": words}


def main() -> None:
    """Train the grids, write them."""
    parser = argparse.ArgumentParser(description="pruning x quantization on two networks")
    parser.add_argument("--task", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--epochs", type=float, default=1.0, help="of every combination")
    args = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in args.task:
        model, train, held = TASKS[name]()
        began = time.process_time()
        made = sc.combinations(
            model, train, held, epochs=args.epochs, board=BOARD, out=FOLDER / name
        )
        row: dict[str, Any] = made.to_dict() | {
            "epochs": args.epochs, "rows": len(train[1]), "held_out": len(held[1]),
        }  # fmt: skip
        kept = (json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}) | {name: row}
        write_json(RESULTS, {t: kept[t] for t in TASKS if t in kept})
        print(f"{name}: {time.process_time() - began:.0f} s of processor time")
        print(made.table("accuracy"), made.table("quality"), sep="\n\n", flush=True)
    print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main()
