"""How far the cost model is off: predicted against counted instructions, layer by layer.

    python -m benchmarks.cost_model [--targets cortex-m4] [--networks kws,lenet5]
    python -m benchmarks.cost_model --fit [--short] [--targets ...]

The first runs the four networks of the benchmark in four encodings on every core in the simulator,
compares with the planner's estimates, and writes docs/cost-model.md. The second counts the layers
of benchmarks/lessons.py, which belong to no network, and fits the prices of
plugin/secateur/codegen/costs.json to them. Counts are kept in build/bench/counts.json, so that only
what has changed is counted again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.bench import BOARDS

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from secateur import cores
from secateur.codegen.choose import WAYS
from secateur.codegen.costs import SLOWER, price_in, price_key, work_of
from secateur.codegen.ends import end_work
from secateur.codegen.kernels import Layer, get
from secateur.codegen.plan import Plan, make_plan
from secateur.lowering.qgraph import QGraph
from secateur.targets import boards
from secateur.targets.builders import gcc
from secateur.targets.runners.profile import profile

TARGETS = {**BOARDS, "cortex-m3": "mps2_an385"}
COUNTS = Path("build/bench/counts.json")
PRICES = Path("plugin/secateur/codegen/costs.json")
PAGE = Path("docs/cost-model.md")

#: How many inputs a network is counted on where its time depends on them.
INPUTS = 24

Key = tuple[str, str]  #: (family, unit)


@dataclass(frozen=True)
class Sample:
    """One layer on one core: what it does, what was predicted, what was counted."""

    source: str  #: network and encoding, or the lesson
    core: str
    kernel: str
    work: dict[Key, float]
    predicted: tuple[float, float]  #: instructions, cycles
    counted: tuple[float, float]
    small: bool = False  #: compiled for size


#: How much a price far from what is usual weighs, against a relative error of a layer.
PULL = 0.05


class Counter:
    """Counts layers in the simulator, and remembers."""

    def __init__(self, path: Path = COUNTS) -> None:
        self.path = path
        self.known: dict[str, dict[str, list[float]]] = {}
        if path.is_file():
            self.known = json.loads(path.read_text(encoding="utf-8"))

    def count(self, plan: Plan, core: str, x: np.ndarray) -> dict[str, list[float]]:
        """[instructions, cycles] by layer, the mean over the inputs x int8 [n, size]."""
        key = _digest(plan, core, x.tobytes())
        if key not in self.known:
            with tempfile.TemporaryDirectory() as tmp:
                folder = plan.library.save(Path(tmp) / "library")
                found = profile(
                    folder, TARGETS[core], Path(tmp) / "build", x, runs=len(x), accesses=False
                )
            steps: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
            for s in found.steps:
                steps[s.layer][0] += s.instructions
                steps[s.layer][1] += s.cycles
            self.known[key] = dict(steps)
            write(self.path, json.dumps(self.known) + "\n")
        return self.known[key]

    def flash(self, plan: Plan, core: str) -> float:
        """Bytes of model and runtime in a linked image, the serial harness excluded."""
        key = _digest(plan, core, b"flash")
        if key not in self.known:
            with tempfile.TemporaryDirectory() as tmp:
                folder = plan.library.save(Path(tmp) / "library")
                sizes = gcc.build(folder, boards.load(TARGETS[core]), Path(tmp) / "build").sizes
            self.known[key] = {"flash": [sizes.total - sizes.harness]}
            write(self.path, json.dumps(self.known) + "\n")
        return self.known[key]["flash"][0]


def _digest(plan: Plan, core: str, more: bytes) -> str:
    digest = hashlib.sha256(core.encode() + more)
    for name, text in sorted(plan.library.files.items()):
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()


def samples(
    source: str, graph: QGraph, plan: Plan, core: str, counted: dict[str, list[float]]
) -> Iterator[Sample]:
    """Every layer of a plan, and its ends."""
    for op in graph:
        p = plan.layers[op.name]
        kernel = get(p.kernel)
        layer = Layer(op, graph, plan.encoded.get(op.name), plan.weight)
        work = work_of(kernel, layer, core)
        keys = {price_key(kernel.name, unit): amount for unit, amount in work.items()}
        a, b = counted[op.name]
        predicted = (p.instructions, p.cycles)
        yield Sample(source, core, p.kernel, keys, predicted, (a, b), layer.small)
    keys = {price_key("ends", unit): amount for unit, amount in end_work(graph).items()}
    a, b = (sum(counted[end][i] for end in ("input", "output")) for i in (0, 1))
    ends = (plan.ends.instructions, plan.ends.cycles)
    yield Sample(source, core, "ends", keys, ends, (a, b), plan.library.small)


def lessons(
    targets: list[str], counter: Counter, short: bool = False
) -> Iterator[tuple[str, list[Sample]]]:
    """The layers to learn from, core by core; those of small layers in every way to compile, and if
    `short` those alone.

    Their libraries are the same on every core: what executes a layer is asked for.
    """
    from benchmarks.lessons import LONGER, SHORT, prepared

    made = list(prepared(targets[0], (*SHORT, *LONGER) if short else None))
    made += prepared(targets[0], ("short",), WAYS[1])  # where lists are walked in a loop
    made += prepared(targets[0], SHORT, WAYS[2])
    for core in targets:
        out: list[Sample] = []
        for graph, plan, x in made:
            out += samples(graph.name, graph, plan, core, counter.count(plan, core, x))
        yield core, out


@dataclass(frozen=True)
class Image:
    """Flash of a whole network, bytes."""

    source: str
    core: str
    predicted: float
    linked: float


def networks(
    names: list[str], targets: list[str], counter: Counter
) -> Iterator[tuple[list[Sample], Image]]:
    """The benchmark's networks in its encodings, planned for every core."""
    from benchmarks.networks import CALIBRATION, all_networks, encodings_of, projected

    import secateur

    for network in all_networks():
        if network.name not in names:
            continue
        for encoding in encodings_of(network.graph):
            compiled = secateur.convert(
                projected(network.graph, encoding),
                network.inputs[:CALIBRATION],
                name=network.name,
                encodings=encoding.force,
            )
            x = compiled.quantize(network.unseen(INPUTS))
            x = x.reshape(len(x), -1)
            for core in targets:
                plan = make_plan(compiled.qgraph, encoding.force, core=core)
                # more than one input where time depends on it
                skips = any(get(p.kernel).skips_zeros for p in plan.layers.values())
                counted = counter.count(plan, core, x if skips else x[:1])
                source = f"{network.name}, {encoding.name}"
                image = Image(source, core, plan.flash, counter.flash(plan, core))
                yield list(samples(source, compiled.qgraph, plan, core, counted)), image
                print(f"  {core}: {source}", flush=True)


def solve(rows: list[dict[Key, float]], y: np.ndarray, usual: dict[Key, float]) -> np.ndarray:
    """Prices >= 0 with the least squared relative error, by key of `usual` (Lawson and Hanson
    1974); drawn to what it says there by PULL, those that are 0 stay, NaN says nothing."""
    keys = list(usual)
    column = {key: j for j, key in enumerate(keys)}
    told = [key for key, price in usual.items() if price and not math.isnan(price)]
    a = np.zeros((len(rows) + len(told), len(keys)))
    for i, row in enumerate(rows):
        for key, amount in row.items():
            a[i, column[key]] = amount / y[i]
    for i, key in enumerate(told):
        a[len(rows) + i, column[key]] = PULL / usual[key]
    wanted = np.concatenate([np.ones(len(rows)), np.full(len(told), PULL)])
    closed = np.array([usual[key] == 0 for key in keys])
    size = np.maximum(np.linalg.norm(a, axis=0), 1e-30)  # columns of length 1 solve better
    a /= size
    price, free = np.zeros(len(keys)), np.zeros(len(keys), bool)
    for _ in range(3 * len(keys)):
        gain = np.where(free | closed, -np.inf, a.T @ (wanted - a @ price))
        if gain.max() < 1e-9:
            break
        free[gain.argmax()] = True
        while True:
            trial = np.zeros(len(keys))
            trial[free] = np.linalg.lstsq(a[:, free], wanted, rcond=None)[0]
            below = free & (trial <= 0)
            if not below.any():
                price = trial
                break
            price += (trial - price) * (price[below] / (price[below] - trial[below])).min()
            free &= price > 1e-12
    return np.asarray(price / size)


Table = dict[str, dict[str, list[float]]]  #: family -> unit -> price


def _fitted(learned: list[Sample], usual: dict[Key, float]) -> tuple[np.ndarray, np.ndarray]:
    """Instructions and cycles by key of `usual`, which says about how many instructions, or NaN."""
    rows = [s.work for s in learned]
    counts, times = (np.array([s.counted[i] for s in learned]) for i in (0, 1))
    instructions = solve(rows, counts, usual)
    # a unit's cycles are near its instructions': what samples leave open is not set at random
    ratio = float(np.mean(times / counts))
    near = {k: ratio * float(p) for k, p in zip(usual, instructions, strict=True)}
    return instructions, solve(rows, times, near)


def fit(learned: list[Sample], known: Table | None = None, isa: str = "plain") -> Table:
    """family -> unit -> [instructions, cycles] of one core, and behind them those of code compiled
    for size where there are samples of it. Drawn to what is `known`."""
    known = known or {}
    fast = [s for s in learned if not s.small]
    keys = sorted({key for s in fast for key in s.work})
    # a price of 0 says that others stood for it
    there = {(f, u): known.get(f, {}).get(u, [0.0])[0] or math.nan for f, u in keys}
    prices = {k: list(p) for k, *p in zip(keys, *_fitted(fast, there), strict=True)}
    if small := [s for s in learned if s.small]:
        keys = sorted({key for s in small for key in s.work})
        every = {(f, u): p[:2] for f, units in known.items() for u, p in units.items()} | prices
        near = {k: SLOWER[isa] * every.get(k, [0.0])[0] or math.nan for k in keys}
        for k, *p in zip(keys, *_fitted(small, near), strict=True):
            prices[k] = [*every.get(k, [p[0] / SLOWER[isa], p[1] / SLOWER[isa]]), *p]
    out: Table = {}
    for (family, unit), price in prices.items():
        out.setdefault(family, {})[unit] = [float(f"{p:.4g}") for p in price]
    return out


def refit(targets: list[str], counter: Counter, short: bool = False) -> None:
    """Write the prices of `targets`; those of others stay. `short`: learn from small layers alone,
    and draw prices to what they were."""
    for core, learned in lessons(targets, counter, short):
        table = json.loads(PRICES.read_text(encoding="utf-8"))  # another run may have written it
        mine, isa = table.setdefault(core, {}), cores.get(core).isa
        for family, units in fit(learned, mine if short else None, isa).items():
            mine.setdefault(family, {}).update(units)  # what no lesson has keeps its price
        errors = []
        for s in learned:
            value = sum(price_in(mine[f][u], s.small, isa)[0] * n for (f, u), n in s.work.items())
            errors.append(value / s.counted[0] - 1)
            if abs(errors[-1]) > 0.3:
                print(f"    {s.source}, {s.kernel}: {errors[-1]:+.0%} of {s.counted[0]:,.0f}")
        spread = np.abs(errors)
        print(f"{core}: fitted to {len(learned)} layers, mean error {spread.mean():.1%}")
        save(table)
    print(PRICES)


def save(table: dict[str, dict[str, dict[str, list[float]]]]) -> None:
    """Write the prices of all cores."""
    lines = [
        f' "{core}": {{\n'
        + ",\n".join(f'  "{f}": {json.dumps(table[core][f])}' for f in sorted(table[core]))
        + "\n }"
        for core in sorted(table)
    ]
    write(PRICES, "{\n" + ",\n".join(lines) + "\n}\n")


def error(s: Sample, which: int) -> float:
    """Relative error of a prediction; 0 is exact."""
    return s.predicted[which] / s.counted[which] - 1


def totals(found: list[Sample], which: int) -> dict[tuple[str, str], float]:
    """Relative error of every whole network: (source, core) -> error."""
    sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for s in found:
        sums[s.source, s.core][0] += s.predicted[which]
        sums[s.source, s.core][1] += s.counted[which]
    return {key: a / b - 1 for key, (a, b) in sums.items()}


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(r) + " |" for r in [head, ["---"] * len(head), *rows]]


def page(found: list[Sample], images: list[Image]) -> str:
    """docs/cost-model.md."""
    targets = list(dict.fromkeys(s.core for s in found))
    sources = list(dict.fromkeys(s.source for s in found))
    out = [_HEAD]
    for which, what in ((0, "instructions"), (1, "estimated cycles")):
        whole = totals(found, which)
        worst = {c: max((abs(v) for (_, k), v in whole.items() if k == c)) for c in targets}
        out.append(f"## Whole networks, {what}\n")
        out.append("Relative error of the prediction of one inference.\n")
        rows = [[n, *(f"{whole[n, c]:+.1%}" if (n, c) in whole else "" for c in targets)]
                for n in sources]  # fmt: skip
        rows.append(["**largest**", *(f"**{worst[c]:.1%}**" for c in targets)])
        out += [*_table(["network, weights", *targets], rows), ""]
    out.append("## Whole networks, flash\n")
    out.append(
        "Relative error of model and runtime in the linked image, harness excluded. RAM is exact:"
        " the arena is planned before code is generated.\n"
    )
    flash = {(i.source, i.core): i.predicted / i.linked - 1 for i in images}
    rows = [[n, *(f"{flash[n, c]:+.1%}" if (n, c) in flash else "" for c in targets)]
            for n in sources]  # fmt: skip
    largest = (max(abs(v) for (_, k), v in flash.items() if k == c) for c in targets)
    rows.append(["**largest**", *(f"**{v:.1%}**" for v in largest)])
    out += [*_table(["network, weights", *targets], rows), ""]
    out.append("## Layers, instructions\n")
    out.append(
        "Mean / largest absolute error, and how many layers; the largest are small layers.\n"
    )
    kernels = sorted({s.kernel for s in found})
    rows = []
    for kernel in kernels:
        row = [kernel]
        for core in targets:
            errors = [abs(error(s, 0)) for s in found if (s.kernel, s.core) == (kernel, core)]
            row.append(
                f"{np.mean(errors):.1%} / {max(errors):.1%} ({len(errors)})" if errors else ""
            )
        rows.append(row)
    return "\n".join([*out, *_table(["kernel", *targets], rows)]) + "\n"


_HEAD = """# The cost model and its error

Written by `make bench` (`python -m benchmarks.cost_model`); do not edit.

The planner predicts what a layer costs before any code exists. A kernel counts its *work* in units
of its own (`Kernel.work`): weights, tiles stored, bytes copied, streams decoded. Every unit has a
price in instructions and in cycles on each core, in one table,
`plugin/secateur/codegen/costs.json`, and another where code is compiled for size. The prices are
fitted by `python -m benchmarks.cost_model --fit` to layers on every core that belong to no network
(`benchmarks/lessons.py`), counted in the simulator: prices >= 0 with the least squared relative
error. `--short` counts the small layers among them alone, each in every way to compile, and draws
prices to what they were. Cycles are the estimates of docs/cycle-model.md for memory without wait
states, not measurements.

Below, the four networks of `make bench` in its four kinds of weights, planned for each core: what
was predicted, against what was then counted. None of these layers was fitted to. Kernels that pass
over zero inputs are predicted with the share of zeros seen in calibration, and counted as the mean
over up to 24 inputs that were not in it.
"""


def write(path: Path, text: str) -> None:
    """Write in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def main() -> int:
    """Command line; returns 1 if a whole network is predicted worse than `--limit`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--networks", default="kws,resnet8,lenet5,lenet300")
    parser.add_argument("--fit", action="store_true", help="fit the prices in costs.json")
    parser.add_argument("--short", action="store_true", help="with --fit: to small layers alone, "
                        "near what prices were")  # fmt: skip
    parser.add_argument("--out", type=Path, default=PAGE)
    parser.add_argument("--limit", type=float, default=0.15, help="of instructions; default 0.15")
    args = parser.parse_args()
    targets = args.targets.split(",")
    counter = Counter()
    if args.fit:
        refit(targets, counter, args.short)
        return 0
    both = list(networks(args.networks.split(","), targets, counter))
    found = [s for group, _ in both for s in group]
    text = page(found, [image for _, image in both])
    write(args.out, text)
    print(text[len(_HEAD) :])
    print(args.out)
    return 1 if max(abs(v) for v in totals(found, 0).values()) > args.limit else 0


if __name__ == "__main__":
    raise SystemExit(main())
