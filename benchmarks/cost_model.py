"""How far the cost model is off: predicted against counted instructions, layer by layer.

    python -m benchmarks.cost_model [--targets cortex-m4] [--networks kws,lenet5]
    python -m benchmarks.cost_model --fit [--short | --decoders] [--targets ...]
    python -m benchmarks.cost_model --like cortex-m4 --targets cortex-m33,cortex-m7

The first runs the four networks of the benchmark in four encodings on every core in the simulator,
compares with the planner's estimates, and writes docs/cost-model.md. The second counts the layers
of benchmarks/lessons.py, which belong to no network, and fits the prices of
plugin/secateur/codegen/costs.json to them. The third counts nothing: of a core that executes the
same code as another it takes that one's instructions. Counts are kept in build/bench/counts.json,
so that only what has changed is counted again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.bench import BOARDS

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from secateur import coding, cores
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


#: How much a price far from what is usual weighs, against a relative error of a layer; and one of
#: code compiled for size, which small layers alone tell, far from a family's usual.
PULL, PULL_SMALL = 0.05, 0.3


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
    targets: list[str], counter: Counter, part: str = "all"
) -> Iterator[tuple[str, list[Sample]]]:
    """The layers to learn a part from, core by core, small ones in every way to compile; part:
    "all", "short" (what small layers tell) or "decoders".

    Their libraries are the same on every core: what executes a layer is asked for.
    """
    from benchmarks.lessons import DECODED, LONGER, SHORT, prepared

    decoded = [lesson.name for lesson in DECODED]
    if part == "decoders":
        made = list(prepared(targets[0], decoded))
        made += prepared(targets[0], decoded, WAYS[2])
    else:
        made = list(prepared(targets[0], (*SHORT, *LONGER) if part == "short" else None))
        looped = ("short", "row", "narrow")  # lists are walked in a loop
        made += prepared(targets[0], looped, WAYS[1])
        made += prepared(targets[0], SHORT if part == "short" else (*SHORT, *decoded), WAYS[2])
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


def solve(
    rows: list[dict[Key, float]], y: np.ndarray, usual: dict[Key, float],
    held: dict[Key, float] | None = None, pull: float = PULL,
) -> np.ndarray:  # fmt: skip
    """Prices >= 0 with the least squared relative error, by key of `usual` (Lawson and Hanson
    1974); drawn to what it says there by `pull`, those that are 0 stay, NaN says nothing. Those
    `held` are not asked for."""
    held = held or {}
    keys = list(usual)
    column = {key: j for j, key in enumerate(keys)}
    told = [key for key, price in usual.items() if price and not math.isnan(price)]
    a = np.zeros((len(rows) + len(told), len(keys)))
    for i, row in enumerate(rows):
        for key, amount in row.items():
            if key in column:
                a[i, column[key]] = amount / y[i]
    for i, key in enumerate(told):
        a[len(rows) + i, column[key]] = pull / usual[key]
    rest = [1 - sum(n * held.get(k, 0.0) for k, n in row.items()) / t
            for row, t in zip(rows, y, strict=True)]  # fmt: skip
    wanted = np.concatenate([rest, np.full(len(told), pull)])
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


def _fitted(
    learned: list[Sample], usual: dict[Key, float], held: dict[Key, tuple[float, float]],
    pull: float = PULL,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Instructions and cycles by key of `usual`, which says about how many instructions, or NaN;
    those of other keys are `held`."""
    rows = [s.work for s in learned]
    counts, times = (np.array([s.counted[i] for s in learned]) for i in (0, 1))
    both: list[dict[Key, float]] = [{k: p[i] for k, p in held.items()} for i in (0, 1)]
    instructions = solve(rows, counts, usual, both[0], pull)
    # a unit's cycles are near its instructions': what samples leave open is not set at random
    ratio = float(np.mean(times / counts))
    near = {k: ratio * float(p) for k, p in zip(usual, instructions, strict=True)}
    return instructions, solve(rows, times, near, both[1], pull)


def is_decoder(key: Key) -> bool:
    """Whether a price is a decoder's, or of a fully connected row that it has decoded."""
    family, unit = key
    stems = {n for c in coding.all_encodings() if c.decoder for n in (c.name, c.unpacker)}
    return family in stems or unit.startswith("coded_")


def is_decoding(key: Key) -> bool:
    """Whether a price is told by layers whose weights are decoded; long lists that a convolution
    walks by a call are most often such rows."""
    return is_decoder(key) or key[1].startswith(("unpacked", "called"))


def _slower(small: list[Sample], fast: Mapping[Key, Sequence[float]]) -> dict[str, float]:
    """How many times slower code compiled for size is, in the median of a kernel's layers."""
    times: dict[str, list[float]] = defaultdict(list)
    for s in small:
        usual = sum(n * fast.get(k, [0.0])[0] for k, n in s.work.items())
        if usual:
            times[s.kernel].append(s.counted[0] / usual)
    return {kernel: float(np.median(t)) for kernel, t in times.items()}


def fit(
    learned: list[Sample], known: Table | None = None, isa: str = "plain", part: str = "all"
) -> Table:
    """family -> unit -> [instructions, cycles] of one core, and behind them those of code compiled
    for size where there are samples of it. Drawn to what is `known`; of "decoders", where layers
    tell every price, those of decoding are fitted as if nothing were known, the others held."""
    known = known or {}
    table: dict[Key, list[float]] = {(f, u): p for f, us in known.items() for u, p in us.items()}
    fast = [s for s in learned if not s.small]
    prices: dict[Key, list[float]] = {}

    def asked(samples: list[Sample]) -> list[Key]:
        keys = sorted({key for s in samples for key in s.work})
        return [k for k in keys if part != "decoders" or is_decoding(k) or k not in table]

    def held(keys: list[Key], small: bool) -> dict[Key, tuple[float, float]]:
        return {k: price_in(p, small, isa) for k, p in table.items() if k not in keys}

    keys = asked(fast)
    # a price of 0 says that others stood for it
    there = {
        k: math.nan if part == "decoders" else table.get(k, [0.0])[0] or math.nan for k in keys
    }
    fitted = _fitted(fast, there, held(keys, small=False))
    prices |= {k: list(p) for k, *p in zip(keys, *fitted, strict=True)}
    if small := [s for s in learned if s.small]:
        keys = asked(small)
        every = {k: p[:2] for k, p in table.items()} | prices
        slower = _slower(small, every)
        near = {
            k: math.nan if is_decoder(k) else slower.get(k[0], SLOWER[isa])
            * every.get(k, [0.0])[0] or math.nan
            for k in keys
        }  # fmt: skip
        fitted = _fitted(small, near, held(keys, small=True), PULL_SMALL)
        for k, *p in zip(keys, *fitted, strict=True):
            prices[k] = [*every.get(k, [p[0] / SLOWER[isa], p[1] / SLOWER[isa]]), *p]
    out: Table = {}
    for (family, unit), price in prices.items():
        out.setdefault(family, {})[unit] = [float(f"{p:.4g}") for p in price]
    return out


def refit(targets: list[str], counter: Counter, part: str = "all") -> None:
    """Write the prices of `targets`; those of others stay. "short": learn from small layers alone,
    and draw prices to what they were; "decoders": see `fit`."""
    for core, learned in lessons(targets, counter, part):
        table = json.loads(PRICES.read_text(encoding="utf-8"))  # another run may have written it
        mine, isa = table.setdefault(core, {}), cores.get(core).isa
        for family, units in fit(learned, mine if part != "all" else None, isa, part).items():
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


def _pace(table: Table, family: str) -> float:
    """Cycles of an instruction in a family, or in all of a core."""
    units = table.get(family) or {f"{f}.{u}": p for f, us in table.items() for u, p in us.items()}
    paces = [p[1] / p[0] for p in units.values() if p[0] and p[1]]
    return float(np.median(paces)) if paces else _pace(table, "")


def alike(mine: Table, other: Table, whole: bool) -> Table:
    """Prices of a core that executes what `other` does, or (not `whole`) its decoders: instructions
    of that one, and its cycles as many times longer or shorter as those of the family are here."""
    out: Table = {f: dict(units) for f, units in mine.items()}
    for family, units in other.items():
        pace = _pace(mine, family) / _pace(other, family)
        for unit, p in units.items():
            if whole or is_decoder((family, unit)):
                scaled = [x * (pace if i % 2 else 1.0) for i, x in enumerate(p)]
                out.setdefault(family, {})[unit] = [float(f"{x:.4g}") for x in scaled]
    return out


def copy_prices(targets: list[str], like: str) -> None:
    """Write the prices of `targets` after those of another core."""
    table = json.loads(PRICES.read_text(encoding="utf-8"))
    for core in targets:
        whole = cores.get(core).isa == cores.get(like).isa
        table[core] = alike(table[core], table[like], whole)
        print(f"{core}: {'everything' if whole else 'decoders'} as on {like}")
    save(table)


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
error. `--decoders` counts those alone whose weights are decoded and holds all other prices,
`--short` the small ones alone, each in every way to compile, and draws prices to what they were.
Cores that execute the same code as another may take its instructions (`--like`). Cycles are the
estimates of docs/cycle-model.md for memory without wait states, not measurements.

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
    parser.add_argument("--decoders", action="store_true", help="with --fit: prices of decoding "
                        "alone")  # fmt: skip
    parser.add_argument("--like", help="take the prices of --targets from this core, of the same "
                        "instruction set all, else those of decoders")  # fmt: skip
    parser.add_argument("--out", type=Path, default=PAGE)
    parser.add_argument("--limit", type=float, default=0.15, help="of instructions; default 0.15")
    args = parser.parse_args()
    targets = args.targets.split(",")
    if args.like:
        copy_prices(targets, args.like)
        return 0
    counter = Counter()
    if args.fit:
        refit(targets, counter, "decoders" if args.decoders else "short" if args.short else "all")
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
