"""Ten minutes of `explore` beside one guess: `python -m benchmarks.explore_small [--time 10m]`.

A 1-D CNN on inertial signals (users held out) and LeNet-300-100 on MNIST. The guess is
`Ternarize(0.8)` on every layer, trained as long as the points of the front; the search is given its
flash and its latency (both by the planner) as budgets, so that what it makes ready can be laid
beside it. Accuracies are the integer networks' on test rows, bytes those of the linked image,
instructions counted on a Cortex-M4, of all on the same test rows. Float networks and studies are
kept in build/explore_small. Writes benchmarks/results/explore_small.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from benchmarks.recipes import lenet, measure, mnist, slimming
from benchmarks.recipes.cache import timed, write_json

import secateur as sc
from secateur.exploration.judge import figures
from secateur.exploration.ready import COMPARED
from secateur.exploration.space import roles_of
from secateur.exploration.training import retrain

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "explore_small"
RESULTS = ROOT / "benchmarks" / "results" / "explore_small.json"
BOARD = "nucleo_l4r5zi"
#: Passes of a point of the front, and of the guess.
EPOCHS, POINTS, ZEROS = 9.0, 3, 0.8
#: What is compared, and which way is better.
GOALS = {"accuracy": 1, "flash": -1, "instructions": -1}

Parts = tuple[mnist.Split, mnist.Split, mnist.Split]


def hapt() -> tuple[keras.Model, Parts]:
    """The network of `bench-slim`, and its parts, each of other users."""
    task = slimming.TASKS["hapt"]
    return task.baseline(task), task.parts


def digits() -> tuple[keras.Model, Parts]:
    """LeNet-300-100, three epochs old."""
    parts = mnist.parts()

    def train() -> keras.Model:
        keras.utils.set_random_seed(0)
        model = lenet.lenet300()
        return retrain(model, {}, parts[0], epochs=3)

    path = FOLDER / "mnist-float.keras"
    timed(path, train)
    return keras.saving.load_model(path, safe_mode=True), parts


TASKS = {"hapt": hapt, "mnist": digits}


def guess(model: keras.Model, parts: Parts, path: Path) -> dict[str, Any]:
    """Every layer ternary with `ZEROS`, as `explore` would train and measure it."""
    settings: dict[str, Any] = {}
    for role in roles_of(model):
        settings |= {f"{role}.method": "ternary", f"{role}.zeros": ZEROS}
    timed(path, lambda: retrain(model, settings, parts[0], epochs=EPOCHS))
    small = keras.saving.load_model(path, safe_mode=True)
    made = sc.convert(small, parts[0][0][:256], name=path.stem, board=BOARD)
    report = sc.deploy(
        made, board=BOARD, inputs=parts[2][0][:COMPARED], emulator="sim", builder="gcc",
        build_dir=FOLDER / "firmware" / path.stem,
    )  # fmt: skip
    graph = measure.integers(path, parts[0][0][:256])
    planned = figures(made, BOARD)
    return {
        "accuracy": round(measure.top1(graph, *parts[2]), 3),
        **measure.counted(report),
        "settings": settings,
        "budgets": {name: planned[name] for name in ("flash", "latency")},
    }


def beats(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """At least as good in every goal, better in one."""
    gains = [sign * (a[goal] - b[goal]) for goal, sign in GOALS.items()]
    return min(gains) >= 0 and max(gains) > 0


def compared(name: str, limit: str, jobs: int) -> dict[str, Any]:
    """The front of an exploration of `limit`, and the guess beside it."""
    model, parts = TASKS[name]()
    by_hand = guess(model, parts, FOLDER / f"{name}-guess.keras")
    print(name, "guess", by_hand, flush=True)
    wall, cpu = time.monotonic(), time.process_time()
    found = sc.explore(
        model, *parts, board=BOARD, **by_hand["budgets"], time_limit=limit,
        final_epochs=EPOCHS, points=POINTS,
        emulator="sim", builder="gcc", out=FOLDER / name, jobs=jobs,
    )  # fmt: skip
    keys = (*GOALS, "identical", "total")
    front = [
        {k: p.measured[k] for k in keys} | {"settings": dict(p.settings)}
        for p in found.finals
        if p.measured is not None
    ]
    return {
        "task": name, "limit": limit, "jobs": jobs, "seconds": round(time.monotonic() - wall),
        "cpu_seconds": round(time.process_time() - cpu),
        "trials": len(found.points), "notes": list(found.notes),
        "float_accuracy": found.baseline["float_accuracy"], "guess": by_hand, "front": front,
        "beating": sum(beats(p, by_hand) for p in front),
        "beaten": sum(beats(by_hand, p) for p in front),
    }  # fmt: skip


def main() -> None:
    """Explore, compare, write."""
    parser = argparse.ArgumentParser(description="ten minutes of explore beside one guess")
    parser.add_argument("--time", default="10m", help="of each exploration")
    parser.add_argument("--jobs", type=int, default=2, help="processes that train")
    parser.add_argument("--task", nargs="+", choices=list(TASKS), default=list(TASKS))
    args = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in args.task:
        row = compared(name, args.time, args.jobs)
        rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
        rows = sorted([r for r in rows if r["task"] != name] + [row], key=lambda r: r["task"])
        write_json(RESULTS, rows)
        print({k: v for k, v in row.items() if k not in ("front", "guess")}, flush=True)
        for point in row["front"]:
            print("  ", point, flush=True)
    print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main()
