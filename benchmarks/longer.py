"""What more steps give ternary weights with and without the sphere: docs/longer-fits.md.

    python -m benchmarks.longer [--threads 1] [--train-only] [--seeds 0 1 2]

The fits of `make bench-methods` on the keyword spotter, by `Ternarize` and by
`HypersphericalTernary`, with four times the steps. Trained networks are kept in build/longer; one
that is there is not trained again.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path
from statistics import median

from benchmarks.methods import _BASELINES
from benchmarks.recipes import measure, methods, options
from benchmarks.recipes.cache import digest, timed

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "longer"
TIMES = 4
NAMES = ("Ternarize", "HypersphericalTernary", "Ternarize 85%", "HypersphericalTernary 85%")


def main() -> None:
    """Train what is missing, measure, write."""
    parser = options.parser("longer fits of two ternary methods")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(methods.SEEDS))
    args = options.parse(parser)
    FOLDER.mkdir(parents=True, exist_ok=True)
    bench = methods.Bench("kws", _BASELINES["kws"])
    chosen = [m for m in bench.methods() if m.name in NAMES]
    for seed, method in product(args.seeds, chosen):
        timed(_file(method, seed), partial(bench.train, method, seed, TIMES))
    if args.train_only:
        return
    found = {m.name: [_top1(bench, _file(m, seed)) for seed in args.seeds] for m in chosen}
    text = page(found)
    print(text)
    path = ROOT / "docs" / "longer-fits.md"
    part = path.with_name("." + path.name)
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _file(method: methods.Method, seed: int) -> Path:
    how = digest(TIMES * methods.STEPS["kws"], method.callbacks)
    return FOLDER / f"{method.name.replace(' ', '-').rstrip('%')}-{seed}-{how}.keras"


def _top1(bench: methods.Bench, file: Path) -> float:
    return measure.top1(measure.integers(file, bench.calibration), bench.x_test, bench.y_test)


def page(found: dict[str, list[float]]) -> str:
    """The text of docs/longer-fits.md; found: top-1 in percent of every fit, by method."""
    steps = TIMES * methods.STEPS["kws"]
    lines = [
        "# Longer fits of ternary weights",
        "",
        "Written by `python -m benchmarks.longer`. The fits of [every method](methods.md) on the",
        f"keyword spotter with {steps:,} steps of 100 clips instead of {methods.STEPS['kws']}, for",
        "the two methods whose order the short ones leave open. At equal zeros both store the same",
        "bytes. Top-1 of the integer model on 1,038 clips, percent; one float network, all seeds.",
        "",
        "These are fits of the callback before two faults of HypersphericalTernary were mended,",
        "which cost it most at 85 % zeros: [every method at its strength](methods-long.md).",
        "",
        "| method | zeros | median | runs |",
        "|---|---|---|---|",
    ]
    for name, runs in found.items():
        zeros = name.partition(" ")[2] or "70%"
        each = " ".join(f"{a:.2f}" for a in runs)
        lines.append(f"| {name.partition(' ')[0]} | {zeros} | {median(runs):.2f} | {each} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
