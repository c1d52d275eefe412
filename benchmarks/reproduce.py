"""Deep Compression on MNIST, trained, converted, coded and counted: `make reproduce`.

    python -m benchmarks.reproduce [--network lenet5] [--seeds 0 1] [--train-only | --trained]

Every run (network, goal, seed), trained network and figures, is kept in build/reproduce and not
repeated as long as its recipe is the same, so an interrupted reproduction goes on where it stopped;
`--measure` takes the figures again with the present package, `--trained` writes what there is.
Writes build/reproduce/reproduce.json and, when all runs are there, docs/reproduction.md.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from benchmarks.recipes import lenet, measure, mnist, options
from benchmarks.recipes.cache import digest, spent, timed, write_json
from benchmarks.recipes.reproduction_page import write_page

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "reproduce"
GOALS = ("beyond", "paper")


def main() -> None:
    """Run what is missing, then write the results."""
    parser = options.parser("Deep Compression on MNIST, reproduced")
    parser.add_argument("--network", nargs="+", choices=list(lenet.NETWORKS), default=None)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    args = options.parse(parser)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (x, y), (x_test, y_test) = mnist.load()
    runs = []
    for seed in args.seeds:
        for network in args.network or lenet.NETWORKS:
            for goal in GOALS:
                files = _files(network, goal, seed)
                if args.trained and not all(f.is_file() for f in files):
                    print(f"{network} {goal} seed {seed} is not trained yet: left out")
                    continue
                _train(network, goal, seed, files, x, y)
                if not args.train_only:
                    note = files[1].with_suffix(".run.json")
                    if args.measure or not note.is_file():
                        run = _measured(network, goal, seed, files, x, x_test, y_test)
                        write_json(note, run)
                    runs.append(json.loads(note.read_text()))
    if args.train_only:
        return
    keys = ("network", "goal", "seed", "baseline_error", "error", "ratio")
    write_json(FOLDER / "reproduce.json", [{k: run[k] for k in keys} for run in runs])
    print(f"wrote {FOLDER / 'reproduce.json'}")
    if args.trained or len(runs) == len(lenet.NETWORKS) * len(GOALS) * 5:
        write_page(ROOT / "docs" / "reproduction.md", runs)
        print(f"wrote {ROOT / 'docs' / 'reproduction.md'}")


def baseline(network: str, seed: int, x: np.ndarray, y: np.ndarray) -> keras.Model:
    """The float network of `seed`, trained unless it is kept. x uint8 [n, 28, 28], y [n]."""
    path = _baseline_file(network, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    timed(path, lambda: lenet.train_baseline(network, x, y, seed))
    return _load(path)


def _baseline_file(network: str, seed: int) -> Path:
    return FOLDER / f"{network}-{seed}-baseline-{digest(lenet.BASELINES[network])}.keras"


def _files(network: str, goal: str, seed: int) -> tuple[Path, Path]:
    """Where the baseline and the compressed network are kept."""
    recipes = lenet.BASELINES[network], lenet.RECIPES[network, goal]
    compressed = FOLDER / f"{network}-{seed}-{goal}-{digest(*recipes)}.keras"
    return _baseline_file(network, seed), compressed


def _train(
    network: str, goal: str, seed: int, files: tuple[Path, Path], x: np.ndarray, y: np.ndarray
) -> None:
    """Train what is not there yet."""
    before = baseline(network, seed, x, y)
    recipe = lenet.RECIPES[network, goal]
    timed(files[1], lambda: lenet.compress(before, recipe, x, y, seed))


def _load(path: Path) -> keras.Model:
    return keras.saving.load_model(path, safe_mode=True)


def _measured(
    network: str,
    goal: str,
    seed: int,
    files: tuple[Path, Path],
    x: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
) -> dict[str, Any]:
    """The run's figures; the test set is looked at here and nowhere else."""
    baseline, model = _load(files[0]), _load(files[1])
    graph = measure.integers(model, mnist.images(x[:1000]))
    layers = measure.layers_of(graph)
    stored = sum(layer.stored + layer.rest for layer in layers)
    before, compression = (spent(p) for p in files)
    run = {
        "network": network,
        "goal": goal,
        "seed": seed,
        "baseline_error": _error(baseline, x_test, y_test),
        "float_error": _error(model, x_test, y_test),
        "error": round(100 - measure.top1(graph, mnist.images(x_test), y_test), 4),
        "ratio": round(graph.float_bytes / stored, 2),
        "float_bytes": graph.float_bytes,
        "stored_bytes": stored,
        "seconds": compression["seconds"],
        "baseline_seconds": before["seconds"],
        "cpu_seconds": compression["cpu_seconds"],
        "baseline_cpu_seconds": before["cpu_seconds"],
        "layers": [asdict(layer) for layer in layers],
    }
    print(
        f"{network} {goal} seed {seed}: baseline {run['baseline_error']:.2f} %, "
        f"{run['error']:.2f} %, {run['ratio']:.1f}x",
        flush=True,
    )
    return run


def _error(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    found = model.predict(mnist.images(x), batch_size=500, verbose=0).argmax(1)
    return round(100.0 * float((found != y).mean()), 4)


if __name__ == "__main__":
    main()
