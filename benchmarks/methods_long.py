"""Every method at its strength: trained as its paper does, until accuracy has settled.

    python -m benchmarks.methods_long [--network kws lenet5 hapt] [--only XNOR ...] [--seeds 0 1 2]
                                      [--train-only | --trained] [--share 0.01] [--threads 1]

Trains what is not in build/methods-long, one fit after the other (seed by seed, the methods whose
short fits say least first), so that it may be stopped and started again at any time. Then writes
benchmarks/results/methods_long.json, a list of {network, method, accuracies, curves, ...}, and
docs/methods-long.md with its charts, of what is trained; rows and seeds that the file has of other
machines, of as many steps, stay. `--share`: of the steps, for a trial in a
folder of its own, without a page. The recipes are in benchmarks/recipes/long.py.
"""

from __future__ import annotations

import json
import os
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from benchmarks.recipes import long, measure, options
from benchmarks.recipes.cache import digest, spent, timed, write_json
from benchmarks.recipes.long_page import write_page

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "methods-long"
RESULTS = ROOT / "benchmarks" / "results" / "methods_long.json"
Row = dict[str, Any]


def main() -> None:
    """Train what is missing, measure, write."""
    names = [m.name for m in long.METHODS]
    parser = options.parser("every compression method, trained until it settles")
    parser.add_argument("--network", nargs="+", choices=list(long.NETWORKS), default=None)
    parser.add_argument("--only", nargs="+", choices=names, default=None)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(long.SEEDS))
    parser.add_argument("--share", type=float, default=1.0, help="of the steps, for a trial")
    args = options.parse(parser)
    folder = FOLDER if args.share == 1 else FOLDER.with_name(f"methods-long-{args.share:g}")
    folder.mkdir(parents=True, exist_ok=True)
    networks = [long.NETWORKS[n] for n in args.network or long.NETWORKS]
    chosen = [m for m in long.METHODS if args.only is None or m.name in args.only]
    if not args.trained:
        for seed, method, network in product(args.seeds, chosen, networks):
            _train(network, method, seed, args.share, _file(folder, network, method, seed))
    if args.train_only:
        return
    rows = [r for n in networks for m in chosen if (r := _row(folder, n, m, args.measure))]
    if args.share == 1:
        networks, chosen = list(long.NETWORKS.values()), list(long.METHODS)
        rows = _with_known(rows, json.loads(RESULTS.read_text(encoding="utf-8")))
        write_json(RESULTS, rows)
        print(f"wrote {RESULTS}")
        there = {(r["network"], r["method"]) for r in rows}
        missing = {
            n.title: [m.name for m in chosen if (n.name, m.name) not in there] for n in networks
        }
        print(f"wrote {write_page(ROOT / 'docs' / 'methods-long.md', rows, missing)}")


def _with_known(rows: list[Row], known: list[Row]) -> list[Row]:
    """The rows of this run, with seeds that only `known` has, and the known ones of others; in the
    order of networks and methods."""
    found = {(r["network"], r["method"]): r for r in known}
    for r in rows:
        key = r["network"], r["method"]
        old = found.get(key)
        if old and all(old[k] == r[k] for k in ("steps", "batch", "last", "what")):
            r = _joined(r, old)
        found[key] = r
    order = [(n, m.name) for n in long.NETWORKS for m in long.METHODS]
    return [found[key] for key in order if key in found]


def _joined(new: Row, old: Row) -> Row:
    """Both rows' seeds, in order; a seed of both is the new one."""
    lists = ("accuracies", "settled", "curves")
    by_seed = {
        seed: [r[k][i] for k in lists] for r in (old, new) for i, seed in enumerate(r["seeds"])
    }
    seeds = sorted(by_seed)
    columns = zip(*(by_seed[s] for s in seeds), strict=True)
    return {**new, "seeds": seeds, **dict(zip(lists, map(list, columns), strict=True))}


def _train(network: long.Network, method: long.Long, seed: int, share: float, file: Path) -> None:
    def train() -> keras.Model:
        model, curve = network.train(method, seed, share)
        write_json(file.with_suffix(".curve.json"), curve)
        print(
            f"{network.name} {method.name} {seed}: {curve[-1][1] if curve else '-'} %", flush=True
        )
        return model

    timed(file, train)


def _row(folder: Path, network: long.Network, method: long.Long, again: bool) -> Row | None:
    """The figures of a method on a network, of the seeds that are trained; None if none is."""
    files = [(s, _file(folder, network, method, s)) for s in long.SEEDS]
    files = [(s, f) for s, f in files if f.is_file()]
    if not files:
        print(f"{network.name} {method.name} is not trained yet: left out")
        return None
    curves = [json.loads(f.with_suffix(".curve.json").read_text()) for _, f in files]
    accuracies = [_accuracy(network, f, again) for _, f in files]
    row = {
        "network": network.name, "title": network.title,
        "method": method.name, "what": method.method.what,
        "steps": round(method.times * network.steps) + network.still(method),
        "batch": network.batch,
        "last": method.last, "seeds": [s for s, _ in files],
        "accuracies": [round(a, 2) for a in accuracies],
        "settled": [round(long.settled(c), 2) for c in curves],
        "seconds": round(sum(spent(f)["seconds"] for _, f in files) / len(files)),
        "curves": curves,
    }  # fmt: skip
    print(f"{network.name} {method.name}: {row['accuracies']}", flush=True)
    return row


def _accuracy(network: long.Network, file: Path, again: bool) -> float:
    """Top-1 of a fit as an integer model on the test set, percent; kept beside it."""
    note = file.with_suffix(".top1.json")
    if again or not note.is_file():
        graph = measure.integers(file, network.calibration)
        write_json(note, measure.top1(graph, *network.parts[2]))
    accuracy: float = json.loads(note.read_text())
    return accuracy


def _file(folder: Path, network: long.Network, method: long.Long, seed: int) -> Path:
    how = digest(
        network.steps, network.batch, network.rate, network.names, method.method.callbacks,
        method.method.activations, method.last, method.times, method.still,
    )  # fmt: skip
    plain = "".join(c if c.isalnum() else "_" for c in method.name.replace("%", ""))
    return folder / f"{network.name}-{plain}-{seed}-{how}.keras"


if __name__ == "__main__":
    main()
