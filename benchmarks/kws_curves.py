"""The keyword spotter's accuracy against its stored bytes: docs/kws-curves.md and its figure.

    python -m benchmarks.kws_curves [--only ternary80 ...] [--trained] [--threads 1]

Every trained network is kept in build/kws-curves; one whose plan is the same is not trained again.
`--trained` writes the page of those that are there.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from benchmarks.recipes import kws, measure, options
from benchmarks.recipes.cache import digest, spent, timed

from secateur.callbacks.line_chart import line_chart

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "kws-curves"
PAGE = ROOT / "docs" / "kws-curves.md"


@dataclass(frozen=True)
class Result:
    """One trained plan, measured as integers."""

    name: str
    plan: kws.Plan
    top1: float  #: of the integer model on the held-out clips, percent
    float_top1: float  #: the same weights in float
    weights: int  #: bytes of the coded weights, codebooks and tables included
    rest: int  #: bytes of offsets and multipliers
    zeros: float  #: of pointwise and dense weights
    cpu_seconds: float


def main() -> None:
    """Train what is missing, measure, write."""
    parser = options.parser("keyword spotting: accuracy against bytes")
    names = {**kws.NAMED} | {
        f"{curve} {plan.zeros:.0%}": plan for curve, plans in kws.CURVES.items() for plan in plans
    }
    parser.add_argument("--only", nargs="+", choices=list(names), default=list(names))
    args = options.parse(parser)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (x, y), (x_test, y_test) = kws.load()
    results = []
    for name in args.only:
        plan = names[name]
        path = _file(name, plan)
        if args.trained and not path.is_file():
            print(f"{name} is not trained yet: left out")
            continue
        _train(name, plan, x, y)
        if not args.train_only:
            results.append(_measure(name, plan, path, x[:1000], x_test, y_test))
            print(results[-1], flush=True)
    if results and (args.trained or len(results) == len(names)):
        _write(results, measure.float_top1(kws.float_network(), x_test, y_test))


def _file(name: str, plan: kws.Plan) -> Path:
    plain = "".join(c for c in name if c.isalnum() or c in "-+%")
    return FOLDER / f"{plain}-{digest(plan)}.keras"


def _train(name: str, plan: kws.Plan, x: np.ndarray, y: np.ndarray) -> keras.Model:
    """The network under a plan, trained unless it is kept."""
    path = _file(name, plan)

    def fit() -> keras.Model:
        before = kws.float_network() if start is None else start
        return kws.train(plan, before, x, y)

    start = None
    if plan.start is not None and not path.is_file():
        start = _train(plan.start, kws.NAMED[plan.start], x, y)
    timed(path, fit)
    return keras.saving.load_model(path, safe_mode=True)


def _measure(
    name: str,
    plan: kws.Plan,
    path: Path,
    calibration: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
) -> Result:
    model = keras.saving.load_model(path, safe_mode=True)
    graph = measure.integers(model, calibration)
    layers = measure.layers_of(graph)
    main = [model.get_layer(name).kernel.numpy() for name in kws.groups(model).main]
    return Result(
        name,
        plan,
        measure.top1(graph, x, y),
        measure.float_top1(model, x, y),
        sum(layer.stored for layer in layers),
        sum(layer.rest for layer in layers),
        1 - sum(np.count_nonzero(w) for w in main) / sum(w.size for w in main),
        spent(path)["cpu_seconds"],
    )


def _write(results: list[Result], reference: float) -> None:
    bytes_float = 4 * kws.float_network().count_params()
    curves = {
        curve: sorted((r.weights / 1000, r.top1) for r in results if r.name.startswith(curve + " "))
        for curve in kws.CURVES
        if any(r.name.startswith(curve + " ") for r in results)
    }
    curves |= {r.name: [(r.weights / 1000, r.top1)] for r in results if r.name in kws.NAMED}
    line_chart(
        PAGE.with_suffix(".svg"),
        curves,
        "Keyword spotting: accuracy against stored weights",
        "stored weights (kB)",
        "top-1 on 1,038 held-out clips (%)",
        {"float": reference, "88.5 %": 88.5},
    )
    rows = [
        f"| {r.name} | {_epochs(r.plan)} | {r.zeros:.0%} | {r.weights:,} | {r.rest:,} | "
        f"{bytes_float / r.weights:.1f}x | {bytes_float / (r.weights + r.rest):.1f}x | "
        f"{r.float_top1:.2f} | {r.top1:.2f} | {r.cpu_seconds:.0f} |"
        for r in results
    ]
    text = _PAGE.format(reference=reference, bytes=bytes_float, rows="\n".join(rows))
    partial = PAGE.with_name("." + PAGE.name)
    partial.write_text(text, encoding="utf-8")
    partial.replace(PAGE)
    print(f"wrote {PAGE} ({time.strftime('%H:%M')})")


def _epochs(plan: kws.Plan) -> str:
    """Its own, and those of the plans it goes on from."""
    before = kws.NAMED[plan.start] if plan.start else None
    return f"{_epochs(before)} + {plan.epochs}" if before else str(plan.epochs)


_PAGE = """# Keyword spotting: accuracy against bytes

Written by `python -m benchmarks.kws_curves`. MLPerf Tiny's DS-CNN, {bytes:,} bytes in float32,
{reference:.2f} % top-1 on the 1,038 held-out clips as a float network. Top-1 is that of the integer
model (8-bit activations, NumPy reference, which the generated C equals byte for byte); bytes are
those of the coded weights with their codebooks and tables, each layer in its smallest encoding.
*Rest* is multipliers and offsets, which hold biases and batch normalisation. One seed; with 1,038
clips one of them is 0.1 points. The clips are not untouched: `all-ternary` and `fortieth` got
more training after shorter fits had been measured on them (the former's first eight epochs are in
the table; two plans of twelve epochs for a fortieth came to 86.2 and 87.3 %).

![accuracy against stored weights](kws-curves.svg)

| plan | epochs | zeros | weights, bytes | rest, bytes | float32 / weights | float32 / all | \
top-1 float | top-1 integer | CPU s |
|---|---|---|---|---|---|---|---|---|---|
{rows}

The points of the curves are short fits from the float network, the named ones longer; 8 + 8 epochs
are two fits, the second from the first one's network, its learning rate starting anew. *Zeros* are
those of pointwise and dense layers. `ternary80` leaves the first convolution and the depthwise
layers at 8 bits; `all-ternary` and `fortieth` have three levels everywhere.
`benchmarks/recipes/kws.py` has every plan.
CPU seconds are those of the training.
"""


if __name__ == "__main__":
    main()
