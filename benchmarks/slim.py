"""Structured pruning, trained and measured: `make bench-slim`.

    python -m benchmarks.slim [--task kws ...] [--train-only | --trained] [--measure]

Trained networks are kept in build/slim; `--trained` leaves out what is not trained yet. Writes
benchmarks/results/slim.json, the charts and the measured part of docs/slimming.md.
"""

from __future__ import annotations

import json
import os
import statistics
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from benchmarks.recipes import measure, options, slimming
from benchmarks.recipes.cache import digest, spent, timed, write_json
from benchmarks.recipes.slimming_page import write_page

import secateur as sc
from secateur.slimming.network import Network

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "slim"
RESULTS = ROOT / "benchmarks" / "results" / "slim.json"
#: A Cortex-M4 whose current is known; instructions are counted in the simulator.
BOARD = "nucleo_l4r5zi"
COMPARED = 4  #: outputs compared with the reference, byte by byte
FLOAT, TERNARY = "float", "ternary"
KEPT = 0.9  #: of each layer's channels, to see what a cut costs before training mends it
_SHOWN = ("task", "method", "left", "zeros", "accuracy")


def main() -> None:
    """Train what is missing, measure, write."""
    parser = options.parser("structured pruning: accuracy against operations")
    parser.add_argument("--task", nargs="+", choices=list(slimming.TASKS), default=None)
    args = options.parse(parser)
    warnings.simplefilter("ignore", UserWarning)  # floors and borders: the plans say so
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not args.trained:
        for task, run in _order(args.task or list(slimming.TASKS)):
            timed(_file(task, *run), partial(_train, task, *run))
    if args.train_only:
        return
    rows = []
    for name, task in slimming.TASKS.items():
        if args.task is None or name in args.task:
            rows += list(_rows(task, args.measure))
    if args.task is None:
        untrained = [
            _kept(FOLDER / f"{t.name}-untrained.json", args.measure, partial(_untrained, t))
            for t in slimming.TASKS.values()
        ]
        write_json(RESULTS, {"settings": _settings(), "rows": rows, "untrained": untrained})
        print(f"wrote {RESULTS}")
        print(f"wrote {write_page(ROOT / 'docs', json.loads(RESULTS.read_text()))}")


def _order(tasks: list[str]) -> Iterator[tuple[slimming.Task, tuple[Any, ...]]]:
    """Half the operations first, seed by seed, so that what is interrupted lacks seeds alone."""
    for seed in range(3):
        for task in map(slimming.TASKS.__getitem__, tasks):
            shares = sorted(task.shares, key=lambda left: abs(left - 0.5))
            for left in shares if seed in task.seeds else ():
                for method in slimming.METHODS:
                    yield task, (method, left, seed)
            if task.name == "kws":
                for point in slimming.FRONT:
                    if seed in point.seeds:
                        yield task, (TERNARY, point, seed)


def _train(task: slimming.Task, method: str, what: Any, seed: int) -> keras.Model:
    if method == TERNARY:
        start = task.baseline(task)
        if what.left < 1:
            path = _file(task, what.method, what.left, seed)
            timed(path, partial(_train, task, what.method, what.left, seed))
            start = keras.saving.load_model(path, safe_mode=True)
        return slimming.ternary(task, what, start, seed)
    start = task.baseline(task)
    if method == "slimming":
        path = _file(task, "sparse scales", 1.0, seed)
        timed(path, partial(_sparse_scales, task, seed))
        start = keras.saving.load_model(path, safe_mode=True)
    return slimming.slim(task, method, what, seed, start)


def _sparse_scales(task: slimming.Task, seed: int) -> keras.Model:
    callback = sc.NetworkSlimming(slimming.STRENGTH)
    return task.fit(task.baseline(task), task.epochs, seed, [callback])


def _rows(task: slimming.Task, again: bool) -> Iterator[dict[str, Any]]:
    """The float network at 8 bits, then every method at every share, then the ternary front."""
    path = FOLDER / f"{task.name}-float.keras"
    if again or not path.is_file():
        task.baseline(task).save(path)
    yield _said(_row(task, FLOAT, 1.0, [path], again) | _alone(task, path, again))
    for method in slimming.METHODS:
        for left in task.shares:
            there = _there(task, method, left, task.seeds)
            if not there:
                print(f"{task.name} {method} {left:.0%}: not trained, left out")
                continue
            yield _said(_row(task, method, left, [f for _, f in there], again) | {
                "seeds": [s for s, _ in there],
                "epochs": task.scratch if method == "from scratch" else task.epochs,
                "seconds": round(statistics.mean(spent(f)["seconds"] for _, f in there), 1),
            })  # fmt: skip
    if task.name == "kws":
        for point in slimming.FRONT:
            there = _there(task, TERNARY, point, point.seeds)
            if there:
                yield _said(_row(task, TERNARY, point.left, [f for _, f in there], again) | {
                    "zeros": point.zeros,
                    "by": point.method if point.left < 1 else None,
                    "seeds": [s for s, _ in there],
                })  # fmt: skip


def _there(
    task: slimming.Task, method: str, what: Any, seeds: tuple[int, ...]
) -> list[tuple[int, Path]]:
    """Seeds that are trained, and their networks."""
    files = [(s, _file(task, method, what, s)) for s in seeds]
    return [(s, f) for s, f in files if f.is_file()]


def _said(row: dict[str, Any]) -> dict[str, Any]:
    print(" ".join(f"{v}" for k, v in row.items() if k in _SHOWN), flush=True)
    return row


def _kept(note: Path, again: bool, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `make` gives, made once."""
    if again or not note.is_file():
        write_json(note, make())
    kept: dict[str, Any] = json.loads(note.read_text())
    return kept


def _row(
    task: slimming.Task, method: str, left: float, files: list[Path], again: bool
) -> dict[str, Any]:
    """Accuracies of all fits, costs of the first: others differ in which filters are left."""
    right = [_kept(f.with_suffix(".top1.json"), again, partial(_top1, task, f)) for f in files]
    note = files[0].with_suffix(".costs.json")
    costs = _kept(note, again, partial(_costs, task, method, left, files[0]))
    test = [r["test"] for r in right]
    return {
        "task": task.name, "method": method, "left": left,
        "accuracy": round(statistics.median(test), 3), "accuracies": test,
        "held_out": [r["held_out"] for r in right],
    } | costs  # fmt: skip


def _top1(task: slimming.Task, file: Path) -> dict[str, Any]:
    """Of the integers, percent."""
    model = keras.saving.load_model(file, safe_mode=True)
    return {"test": round(task.top1(model, 2), 3), "held_out": round(task.top1(model, 1), 3)}


def _alone(task: slimming.Task, file: Path, again: bool) -> dict[str, Any]:
    """Of the float network, percent."""

    def make() -> dict[str, Any]:
        model, (x, y) = keras.saving.load_model(file, safe_mode=True), task.parts[2]
        right = (model.predict(x, batch_size=500, verbose=0).argmax(1) == y).mean()
        return {"float_accuracy": 100.0 * float(right)}

    return _kept(file.with_suffix(".alone.json"), again, make)


def _costs(task: slimming.Task, method: str, left: float, file: Path) -> dict[str, Any]:
    """Sizes, and the firmware's figures from the simulator."""
    model = keras.saving.load_model(file, safe_mode=True)
    network = Network(model)
    costs = network.costs(network.all())
    name = f"{task.name}_{_plain(method)}_{round(100 * left)}"
    compiled = sc.convert(model, task.calibration, name=name, board=BOARD)
    report = sc.deploy(
        compiled, board=BOARD, inputs=task.parts[2][0][:COMPARED], emulator="sim", builder="gcc",
        build_dir=FOLDER / "firmware" / name,
    )  # fmt: skip
    return {
        "parameters": costs.parameters,
        "flops": costs.flops,
        "stored": report.size.stored,
        "ram": report.ram.arena + report.ram.stack + report.ram.static,
        **measure.counted(report),
    }


def _untrained(task: slimming.Task) -> dict[str, Any]:
    """Float top-1 on the held-out part right after the cut, with and without the constants."""
    model, (x, y) = task.baseline(task), task.parts[1]

    def top1(m: keras.Model) -> float:
        return round(100.0 * float((m.predict(x, verbose=0).argmax(1) == y).mean()), 2)

    criteria = {
        "fold": sc.L1Filters(keep=KEPT),
        "drop": sc.L1Filters(keep=KEPT, constants="drop"),
        "ThiNet": sc.ThiNet(keep=KEPT, data=task.calibration),
    }
    cut = {k: top1(sc.prune_filters(model, c)) for k, c in criteria.items()}
    return {"task": task.name, "keep": KEPT, "whole": top1(model), **cut}


def _settings() -> dict[str, Any]:
    """What was run, and how."""
    return {
        "board": BOARD,
        "round_to": slimming.ROUND_TO,
        "strength": slimming.STRENGTH,
        "ternary_epochs": slimming.TERNARY_EPOCHS,
        "tasks": {
            t.name: {
                "title": t.title, "epochs": t.epochs, "scratch_epochs": t.scratch,
                "rate": t.rate, "batch": t.batch,
                "training": len(t.parts[0][1]), "held_out": len(t.parts[1][1]),
                "test": len(t.parts[2][1]),
            }
            for t in slimming.TASKS.values()
        },
    }  # fmt: skip


def _file(task: slimming.Task, method: str, what: Any, seed: int) -> Path:
    share = what.name if method == TERNARY else f"{round(100 * what)}"
    how = (task.epochs, task.scratch, task.rate, task.batch, slimming.ROUND_TO, slimming.STRENGTH)
    return FOLDER / f"{task.name}-{_plain(method)}-{share}-{seed}-{digest(how)}.keras"


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


if __name__ == "__main__":
    main()
