"""How far the cost model is off: predicted against counted instructions, layer by layer.

    python -m benchmarks.cost_model [--targets cortex-m4] [--networks kws,lenet5]
    python -m benchmarks.cost_model --fit [--targets cortex-m4] [--families depthwise,pool,ends]
        [--lessons broad,planes]

The first runs the four networks of the benchmark in four encodings on every core in the simulator,
compares with the planner's estimates, and writes docs/cost-model.md. The second counts the layers
of benchmarks/lessons.py, which belong to no network, planned for each core, and fits its prices in
plugin/secateur/codegen/costs.json to them, from nothing: what was there before is replaced, so that
the same code gives the same prices, but for kernels that no lesson teaches. `--families` fits the
prices of some kernels alone, to the lessons that have a layer of theirs: what a change of a kernel
asks for; `--lessons` learns from some lessons alone what they teach. (Those of a Cortex-M55,
which the simulator does not have, are benchmarks.helium's.) Counts are kept in build/bench, a file
a core, so that only what has changed is counted again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.bench import BOARDS

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from secateur import coding, cores
from secateur.codegen.costs import SLOWER, price_in, price_key, work_of
from secateur.codegen.ends import end_work
from secateur.codegen.kernels import Layer, get
from secateur.codegen.plan import Plan, make_plan
from secateur.lowering.qgraph import QGraph
from secateur.targets import boards
from secateur.targets.builders import gcc
from secateur.targets.runners.profile import profile

TARGETS = {**BOARDS, "cortex-m3": "mps2_an385"}
COUNTS = Path("build/bench")
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


#: How much it weighs that a price of code compiled for size is far from what is usual, against the
#: relative error of a layer: small layers alone tell it.
PULL = 0.3


#: Layers of a plan beside which the copies at its ends are not lost.
FEW = 4


class Counter:
    """Counts layers in the simulator, and remembers."""

    def __init__(self, folder: Path = COUNTS) -> None:
        self.folder = folder
        self.known: dict[str, dict[str, dict[str, list[float]]]] = {}  #: by core and digest

    def _known(self, core: str) -> dict[str, dict[str, list[float]]]:
        path = self.folder / f"counts_{core}.json"
        if core not in self.known:
            there = path.is_file()
            self.known[core] = json.loads(path.read_text(encoding="utf-8")) if there else {}
        return self.known[core]

    def _remember(self, core: str, key: str, found: dict[str, list[float]]) -> None:
        self._known(core)[key] = found
        write(self.folder / f"counts_{core}.json", json.dumps(self.known[core]) + "\n")

    def once(
        self, plan: Plan, core: str, what: bytes, measure: Callable[[], dict[str, list[float]]]
    ) -> dict[str, list[float]]:
        """What `measure` finds of a plan, or found when it was asked for `what` before."""
        key = _digest(plan, core, what)
        if key not in self._known(core):
            self._remember(core, key, measure())
        return self.known[core][key]

    def count(self, plan: Plan, core: str, x: np.ndarray) -> dict[str, list[float]]:
        """[instructions, cycles] by layer, the mean over the inputs x int8 [n, size]."""

        def measure() -> dict[str, list[float]]:
            with tempfile.TemporaryDirectory() as tmp:
                folder = plan.library.save(Path(tmp) / "library")
                found = profile(
                    folder, TARGETS[core], Path(tmp) / "build", x, runs=len(x), accesses=False
                )
            steps: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
            for s in found.steps:
                steps[s.layer][0] += s.instructions
                steps[s.layer][1] += s.cycles
            return dict(steps)

        return self.once(plan, core, x.tobytes(), measure)

    def flash(self, plan: Plan, core: str) -> float:
        """Bytes of model and runtime in a linked image, the serial harness excluded."""

        def measure() -> dict[str, list[float]]:
            with tempfile.TemporaryDirectory() as tmp:
                folder = plan.library.save(Path(tmp) / "library")
                sizes = gcc.build(folder, boards.load(TARGETS[core]), Path(tmp) / "build").sizes
            return {"flash": [sizes.total - sizes.harness]}

        return self.once(plan, core, b"flash", measure)["flash"][0]


def _digest(plan: Plan, core: str, more: bytes) -> str:
    digest = hashlib.sha256(core.encode() + more)
    for name, text in sorted(plan.library.files.items()):
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()


def samples(
    source: str, graph: QGraph, plan: Plan, core: str, counted: dict[str, list[float]]
) -> Iterator[Sample]:
    """Every layer of a plan, and its ends."""
    stripes = {link.name: link.layer.stripe for chain in plan.chains for link in chain.links}
    for op in graph:
        p = plan.layers[op.name]
        kernel = get(p.kernel)
        encoded, stripe = plan.encoded.get(op.name), stripes.get(op.name)
        layer = Layer(op, graph, encoded, plan.weight, stripe=stripe)
        work = work_of(kernel, layer, core)
        keys = {price_key(kernel.name, unit): amount for unit, amount in work.items()}
        a, b = counted[op.name]
        predicted = (p.instructions, p.cycles)
        yield Sample(source, core, p.kernel, keys, predicted, (a, b), layer.small)
    keys = {price_key("ends", unit): amount for unit, amount in end_work(graph).items()}
    a, b = (sum(counted[end][i] for end in ("input", "output")) for i in (0, 1))
    ends = (plan.ends.instructions, plan.ends.cycles)
    yield Sample(source, core, "ends", keys, ends, (a, b), plan.library.small)


def learned(
    core: str, plans: Iterable[tuple[QGraph, Plan, np.ndarray]], counter: Counter,
    families: Collection[str] = (),
) -> list[Sample]:  # fmt: skip
    """Every layer of plans for `core`, counted; or those of which `families` alone have units."""
    out: list[Sample] = []
    for graph, plan, x in plans:
        there = {p.kernel for p in plan.layers.values()}
        if len(plan.layers) <= FEW:
            there.add("ends")
        if not families or there & set(families):
            found = samples(graph.name, graph, plan, core, counter.count(plan, core, x))
            out += (s for s in found if not families or {f for f, _ in s.work} <= set(families))
    return out


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
    rows: list[dict[Key, float]], y: np.ndarray, usual: Mapping[Key, float | None],
) -> np.ndarray:  # fmt: skip
    """Prices >= 0 with the least squared relative error, by key of `usual` (Lawson and Hanson
    1974); drawn to what it says there by PULL, those that are 0 stay, None says nothing."""
    keys = list(usual)
    column = {key: j for j, key in enumerate(keys)}
    told = [(key, price) for key, price in usual.items() if price]
    a = np.zeros((len(rows) + len(told), len(keys)))
    for i, row in enumerate(rows):
        for key, amount in row.items():
            a[i, column[key]] = amount / y[i]
    for i, (key, price) in enumerate(told):
        a[len(rows) + i, column[key]] = PULL / price
    wanted = np.concatenate([np.ones(len(rows)), np.full(len(told), PULL)])
    closed = np.array([usual[key] == 0 for key in keys])
    size = np.maximum(np.linalg.norm(a, axis=0), 1e-30)  # columns of length 1 solve better
    a /= size
    found, free = np.zeros(len(keys)), np.zeros(len(keys), bool)
    for _ in range(3 * len(keys)):
        gain = np.where(free | closed, -np.inf, a.T @ (wanted - a @ found))
        if gain.max() < 1e-9:
            break
        free[gain.argmax()] = True
        while True:
            trial = np.zeros(len(keys))
            trial[free] = np.linalg.lstsq(a[:, free], wanted, rcond=None)[0]
            below = free & (trial <= 0)
            if not below.any():
                found = trial
                break
            found += (trial - found) * (found[below] / (found[below] - trial[below])).min()
            free &= found > 1e-12
    return np.asarray(found / size)


Table = dict[str, dict[str, list[float]]]  #: family -> unit -> price


def _fitted(
    counted: list[Sample], usual: Mapping[Key, float | None]
) -> Iterator[tuple[Key, float, float]]:
    """(key, instructions, cycles) for every key of `usual`, which says about how many instructions,
    or None."""
    rows = [s.work for s in counted]
    counts, times = (np.array([s.counted[i] for s in counted]) for i in (0, 1))
    instructions = solve(rows, counts, usual)
    # a unit's cycles are near its instructions': what samples leave open is not set at random
    ratio = float(np.mean(times / counts))
    near = {k: ratio * float(p) for k, p in zip(usual, instructions, strict=True)}
    for k, a, b in zip(usual, instructions, solve(rows, times, near), strict=True):
        yield k, float(a), float(b)


def is_decoder(key: Key) -> bool:
    """Whether a price is a decoder's, or of a fully connected row that it has decoded."""
    family, unit = key
    stems = {n for c in coding.all_encodings() if c.coded for n in (c.name, c.unpacker)}
    return family in stems or unit.startswith("coded_")


def _slower(small: list[Sample], fast: Mapping[Key, Sequence[float]]) -> dict[str, float]:
    """How many times slower code compiled for size is, in the median of a kernel's layers."""
    times: dict[str, list[float]] = defaultdict(list)
    for s in small:
        usual = sum(n * fast[k][0] for k, n in s.work.items() if k in fast)
        if usual:
            times[s.kernel].append(s.counted[0] / usual)
    return {kernel: float(np.median(t)) for kernel, t in times.items()}


def fit(counted: list[Sample], isa: str) -> Table:
    """family -> unit -> [instructions, cycles] of one core with instruction set `isa`, and behind
    them those of code compiled for size where there are samples of it. These are drawn to the
    former, times what the kernel's code is slower by in the median; a decoder's, which differ most,
    are not."""
    fast, small = ([s for s in counted if s.small == kind] for kind in (False, True))
    prices: dict[Key, list[float]] = {}
    for k, *p in _fitted(fast, dict.fromkeys(sorted({k for s in fast for k in s.work}))):
        prices[k] = p
    if small:
        slower = _slower(small, prices)
        near = {
            k: None if is_decoder(k) or not prices.get(k, [0.0])[0]
            else slower.get(k[0], SLOWER[isa]) * prices[k][0]
            for k in sorted({k for s in small for k in s.work})
        }  # fmt: skip
        for k, *p in _fitted(small, near):
            prices[k] = [*prices.get(k, [x / SLOWER[isa] for x in p]), *p]
    out: Table = {}
    for (family, unit), price in sorted(prices.items()):
        out.setdefault(family, {})[unit] = [float(f"{p:.4g}") for p in price]
    return out


def refit(
    targets: Iterable[str], counter: Counter, families: Collection[str] = (),
    lessons: Collection[str] | None = None,
) -> None:  # fmt: skip
    """Write the prices of `targets` anew; those of other cores, and of families that no lesson
    teaches or that are not among `families`, stay. Of `lessons`, if any are named, is learned what
    they teach: prices of units that no layer of theirs has stay, too."""
    from benchmarks.lessons import taught

    for core in targets:
        counted, isa = learned(core, taught(core, lessons), counter, families), cores.get(core).isa
        mine = fit(counted, isa)
        table = json.loads(PRICES.read_text(encoding="utf-8"))  # another run may have written it
        there = table.get(core, {})
        kept = {f: units for f, units in there.items() if f not in mine}
        lost = [f"{f}.{u}" for f in mine for u in there.get(f, {}) if u not in mine[f]]
        if lessons is not None:
            mine = {f: {**there.get(f, {}), **units} for f, units in mine.items()}
            lost = []
        save(table | {core: kept | mine})
        if lost:
            print(f"    no layer of a lesson has {', '.join(lost)} any more")
        if kept and not families:
            print(f"    no lesson teaches {', '.join(kept)}: prices stay")
        errors: dict[str, list[float]] = defaultdict(list)
        for s in counted:
            value = sum(price_in(mine[f][u], s.small, isa)[0] * n for (f, u), n in s.work.items())
            errors[s.kernel].append(abs(value / s.counted[0] - 1))
        for kernel, e in sorted(errors.items()):
            print(f"    {kernel:22}{len(e):5} layers, {np.mean(e):.1%} off, {max(e):.0%} at most")
        every = [e for its in errors.values() for e in its]
        print(f"{core}: fitted to {len(every)} layers, mean error {np.mean(every):.1%}", flush=True)


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
(`benchmarks/lessons.py`), planned for each core and counted in the simulator: prices >= 0 with the
least squared relative error, all of a core's at once and from nothing, so that the same code gives
the same prices. Layers compiled for size have prices of their own, drawn to the others times what
the kernel's layers are slower by in the median, but for decoders. Cycles are the estimates of
docs/cycle-model.md for memory without wait states, not measurements. Layers that run as chains,
some rows at a time, have lessons of their own (`benchmarks/chain_lessons.py`).

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
    parser.add_argument("--families", help="fit the prices of these kernels alone")
    parser.add_argument("--lessons", help="learn from these lessons alone")
    parser.add_argument("--out", type=Path, default=PAGE)
    parser.add_argument("--limit", type=float, default=0.15, help="of instructions; default 0.15")
    args = parser.parse_args()
    targets = args.targets.split(",")
    counter = Counter()
    if args.fit:
        refit(targets, counter, args.families.split(",") if args.families else (),
              args.lessons.split(",") if args.lessons else None)  # fmt: skip
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
