"""Every method on the keyword spotter and on LeNet-5, trained and measured: `make bench-methods`.

    python -m benchmarks.methods [--network kws] [--only Binary ...] [--train-only | --trained]

Trained networks and figures are kept in build/methods; `--measure` takes the figures again with the
present package, `--trained` leaves out methods that are not trained yet. Writes
build/bench/methods.json, a list of {method, network, accuracy, stored_bytes, bits_per_weight,
instructions, energy_uj, identical, total, ...}, and docs/methods.md with its charts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from benchmarks import reproduce
from benchmarks.recipes import kws, measure, methods, options
from benchmarks.recipes.cache import digest, timed, write_json
from benchmarks.recipes.methods_page import Row, write_page

import secateur

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "methods"
RESULTS = ROOT / "build" / "bench" / "methods.json"
#: A Cortex-M4 whose current is known; instructions are counted in the simulator.
BOARD = "nucleo_l4r5zi"
#: outputs compared with the reference, byte by byte
COMPARED = 8
FLOAT, INT8 = "float", "int8"
Model = keras.Model | Path  #: a file also has what SmartDeal left with the weights


def main() -> None:
    """Train what is missing, measure, write."""
    names = [m.name for m in (*methods.METHODS, *methods.CURVE)]
    parser = options.parser("every compression method, trained and measured")
    parser.add_argument("--network", nargs="+", choices=list(methods.TITLES), default=None)
    parser.add_argument("--only", nargs="+", choices=[FLOAT, INT8, *names], default=None)
    args = options.parse(parser)
    FOLDER.mkdir(parents=True, exist_ok=True)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    benches = [methods.Bench(n, _BASELINES[n]) for n in args.network or methods.TITLES]
    if not args.trained:
        # seed by seed, so that what is interrupted has few seeds, not few methods
        for seed, bench in product(methods.SEEDS, benches):
            for method in _chosen(bench, args.only):
                timed(_file(bench.network, method, seed), partial(bench.train, method, seed))
    if args.train_only:
        return
    rows = [row for bench in benches for row in _rows(bench, args.only, args.measure)]
    if args.network is None and args.only is None:
        write_json(RESULTS, rows)
        print(f"wrote {RESULTS}")
        print(f"wrote {write_page(ROOT / 'docs' / 'methods.md', rows)}")


def _chosen(bench: methods.Bench, only: list[str] | None) -> list[methods.Method]:
    return [m for m in bench.methods() if only is None or m.name in only]


def _rows(bench: methods.Bench, only: list[str] | None, again: bool) -> list[Row]:
    """The figures of what is trained on one network."""
    rows = []
    for what in (FLOAT, INT8):
        if only is None or what in only:
            note = FOLDER / f"{bench.network}-{what}.json"
            rows.append(_kept(note, again, partial(_unchanged, bench, what)))
    for method in _chosen(bench, only):
        files = [_file(bench.network, method, seed) for seed in methods.SEEDS]
        files = [f for f in files if f.is_file()]
        if not files:
            print(f"{bench.network} {method.name} is not trained yet: left out")
            continue
        note = _file(bench.network, method, f"row{len(files)}").with_suffix(".json")
        rows.append(_kept(note, again, partial(_measured, bench, method, files, again)))
    return rows


#: network -> its float network, of (x, y): the keyword spotter's is given, LeNet-5's is trained and
#: shared with `make reproduce`
_BASELINES: dict[str, methods.Baseline] = {
    "kws": lambda x, y: kws.float_network(),
    "lenet5": partial(reproduce.baseline, "lenet5", 0),
}


def _kept(note: Path, again: bool, make: Callable[[], Row]) -> Row:
    if again or not note.is_file():
        write_json(note, make())
    row = json.loads(note.read_text())
    print(f"{row['network']} {row['method']}: {row['accuracy']:.2f} %", flush=True)
    return row


def _unchanged(bench: methods.Bench, what: str) -> Row:
    """The float network, as it is or at 8 bits."""
    model = bench.baseline()
    if what == INT8:
        return _row(bench, INT8, "trained, then 8 bits", model, [_top1(bench, model)])
    accuracies = [measure.float_top1(model, bench.x_test, bench.y_test)]
    size = 4 * model.count_params()
    return _figures(bench.network, FLOAT, "32 bits", accuracies) | {
        "stored_bytes": size, "smallest_bytes": size, "bits_per_weight": 32.0,
        "smallest_bits_per_weight": 32.0, "zeros": 0.0,
        "instructions": None, "energy_uj": None, "identical": None, "total": None,
    }  # fmt: skip


def _measured(bench: methods.Bench, method: methods.Method, files: list[Path], again: bool) -> Row:
    """The figures of a method: accuracies of all its fits, the rest of the median one."""
    accuracies = [_accuracy(bench, file, again) for file in files]
    middle = sorted(range(len(files)), key=lambda i: accuracies[i])[len(files) // 2]
    row = _row(bench, method.name, method.what, files[middle], accuracies)
    return row | {"ternary": method.ternary}


def _accuracy(bench: methods.Bench, file: Path, again: bool) -> float:
    """Top-1 of a fit as an integer model, percent; kept beside it."""
    note = file.with_suffix(".top1.json")
    if again or not note.is_file():
        write_json(note, _top1(bench, file))
    return json.loads(note.read_text())


def _top1(bench: methods.Bench, model: Model) -> float:
    graph = measure.integers(model, bench.calibration)
    return measure.top1(graph, bench.x_test, bench.y_test)


def _row(bench: methods.Bench, name: str, what: str, model: Model, accuracies: list[float]) -> Row:
    """Size, instructions and energy of one network, with the accuracies given."""
    compiled = secateur.convert(
        model, bench.calibration, name=f"{bench.network}_{_plain(name)}", board=BOARD
    )
    report = secateur.deploy(
        compiled, BOARD, inputs=bench.x_test[:COMPARED], emulator="sim", builder="gcc",
        build_dir=FOLDER / "firmware" / f"{bench.network}-{_plain(name)}",
    )  # fmt: skip
    chosen = [x for x in compiled.layers if x.name in bench.main()]
    assert len(chosen) == len(bench.main()), "a layer was renamed"
    smallest = measure.layers_of(measure.integers(model, bench.calibration))
    main = [x for x in smallest if x.name in bench.main()]
    return _figures(bench.network, name, what, accuracies) | {
        "stored_bytes": report.size.stored,
        "smallest_bytes": sum(x.stored + x.rest for x in smallest),
        "bits_per_weight": round(
            8 * sum(compiled.plan.encoded[x.name].stored_bytes for x in chosen)
            / sum(x.parameters for x in chosen), 3
        ),
        "smallest_bits_per_weight": round(
            8 * sum(x.stored for x in main) / sum(x.weights for x in main), 3
        ),
        "zeros": round(1 - sum(x.nonzeros for x in chosen) / sum(x.parameters for x in chosen), 4),
        "instructions": report.latency.instructions,
        "energy_uj": report.energy.uj,
        "identical": report.outputs.identical,
        "total": report.outputs.total,
    }  # fmt: skip


def _figures(network: str, name: str, what: str, accuracies: list[float]) -> Row:
    middle = sorted(accuracies)[len(accuracies) // 2]
    return {
        "method": name,
        "network": network,
        "what": what,
        "accuracy": round(middle, 4),
        "accuracies": [round(a, 4) for a in accuracies],
    }


def _file(network: str, method: methods.Method, what: int | str) -> Path:
    return FOLDER / f"{network}-{_plain(method.name)}-{what}-{_digest(network, method)}.keras"


def _digest(network: str, method: methods.Method) -> str:
    how = (methods.STEPS[network], methods.LENET_RATE, methods.LENET_TEACHER)
    return digest(how, method.callbacks, method.activations)


def _plain(name: str) -> str:
    """The name as part of a file's name or of a C identifier."""
    return "".join(c if c.isalnum() else "_" for c in name.replace(" %", ""))


if __name__ == "__main__":
    main()
