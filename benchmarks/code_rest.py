"""What code is no function by itself, or another one in a program than alone: prices fitted to
linked libraries.

`python -m benchmarks.code_size --rest` links libraries of random networks, of the planner's small
networks and of the benchmarks' networks as other plans than "balanced" have them, and sees in them
- what functions of the runtime take where compilers adapt them to their calls;
- what those of the compiler's library bring with them;
- what `NAME_run`, the check of the constants and the calls take beside the functions. Functions
  stand in it with what they are alone, so that their prices are small corrections, and every price
  has bounds that hold for any compiler: a call is no gain. Libraries that no prices explain (a
  decoder that was written into its caller) count less.
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import linking, promises
from benchmarks.linking import Linked
from tests.codegen.qgraphs import KINDS, Chain

from secateur import coding, cores
from secateur.codegen.code_size import (
    MODES,
    CodeSizes,
    compiled_texts,
    key_of,
    sizes_of,
    step_counts,
)
from secateur.codegen.library import Library
from secateur.codegen.plan import make_plan
from secateur.errors import ModelError
from secateur.lowering.qgraph import QGraph
from secateur.targets import boards
from secateur.targets.builders import gcc

#: Core -> board whose start-up code is measured.
TARGETS = {**promises.BOARDS, "cortex-m3": "mps2_an385"}

#: Larger networks that functions and prices are learned from, in other plans than are judged.
PLANNED = ("kws", "resnet8", "lenet5", "lenet300", "ad", "sww")

#: Random libraries that tell what calls cost.
LINKED = 60

#: Libraries in which a function has to be found before its size there is taken.
FOUND = 5

#: Relative errors from which on a library counts less.
USUAL_ERROR = 0.03

#: How much a price's distance from what is usual weighs against a relative error.
PULL = 0.02

#: A network, and the encodings that it is planned with.
Planned = tuple[QGraph, Mapping[str, str] | str | None]


def larger() -> list[Planned]:
    """The networks PLANNED in every encoding: of all their candidates it would take hours, of plans
    of the two MobileNets longer than of all others."""
    from benchmarks.networks import converted

    return [(c.qgraph, encoding.force) for _, _, encoding, c in converted(PLANNED)]


@dataclass(frozen=True)
class Price:
    """Bounds of a price, what it usually is, and how far off it often is."""

    least: float
    usual: float
    most: float
    spread: float


#: Of what `step_counts` counts, and of what functions save or cost as parts of the whole. An array
#: takes an address and at least two bytes of size where the constants are checked.
PRICES = {
    "library": Price(100, 230, 400, 100),
    "calls": Price(0, 4, 14, 5),
    "arguments": Price(0, 2, 8, 3),
    "places": Price(0, 2, 8, 3),
    "checks": Price(0, 4, 14, 5),
    "loops": Price(0, 8, 20, 5),
    "arrays": Price(6, 7, 14, 3),
    "wide": Price(2, 2, 2, 1),
    "apart": Price(0, 2, 15, 10),
    "apart bytes": Price(-0.1, 0, 0.1, 0.1),
    "functions": Price(-8, -4, 10, 10),
    "bytes": Price(-0.1, 0, 0.1, 0.1),
}


@dataclass(frozen=True)
class Sample:
    """A library on a core."""

    library: Library
    core: str
    linked: Linked


def networks(count: int, seed: int = 0) -> Iterator[Chain]:
    """Random networks of one to eight layers."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        kinds = rng.choice(KINDS, 2)
        kind = lambda: str(rng.choice(kinds))  # noqa: B023, E731
        image = rng.random() < 0.7
        shape = tuple(map(int, rng.integers((1, 5, 5), (9, 14, 14)))) if image else (
            int(rng.integers(1, 90)),)  # fmt: skip
        c = Chain(f"net{i}", shape, int(rng.integers(1 << 30)), int(rng.choice([0, 3, 128])))
        for _ in range(int(rng.integers(0, 6)) if image else 0):
            _, h, w = c.top.shape
            what, co = rng.random(), int(rng.integers(2, 25))
            if what < 0.35:
                c.conv(co, (1, 1), kind())
            elif what < 0.6 and min(h, w) >= 3:
                s = int(rng.choice([1, 1, 2]))
                c.conv(co, (3, 3), kind(), (s, s), (1, 1, 1, 1) if rng.random() < 0.7 else (0,) * 4)
            elif what < 0.85 and min(h, w) >= 3:
                s = int(rng.choice([1, 1, 2]))
                c.conv(0, (3, 3), kind(), (s, s), (1, 1, 1, 1), depthwise=True)
            elif what < 0.92:
                c.conv(c.top.shape[0], (1, 1), kind(), residual=c.top.name)
            elif min(h, w) >= 4:
                c.max_pool((2, 2), (2, 2), (0, 0, 0, 0))
        for _ in range(int(rng.integers(0, 4)) or int(not c.graph.ops)):
            c.dense(int(rng.integers(2, 65)), kind())
        if c.graph.ops:
            yield c


def libraries(count: int, core: str, seed: int) -> Iterator[Library]:
    """Libraries for a core, of random networks."""
    rng = np.random.default_rng(seed)
    encodings = [e.name for e in coding.all_encodings()]
    for i, c in enumerate(networks(count, seed)):
        # every other one is as the planner wants it
        encoding = encodings[i // 2 % len(encodings)] if i % 2 else None
        optimize = str(rng.choice(["latency", "flash", "balanced", "flash"]))
        try:
            yield make_plan(c.graph, encoding, optimize, core=core, portable=False).library
        except ModelError:
            continue


def taught(core: str, more: Sequence[Planned]) -> Iterator[Library]:
    """Libraries that prices are fitted to: of random networks, of the planner's small ones, and of
    `more` as they are not judged."""
    yield from libraries(LINKED, core, 1)
    for name, make in promises.NETWORKS.items():
        for optimize in ("balanced", "flash"):
            yield make_plan(make(name).graph, None, optimize, core=core, portable=False).library
    for graph, force in more:
        judged = make_plan(graph, force, "balanced", core=core, portable=False).library
        for optimize in ("latency", "flash"):
            plan = make_plan(graph, force, optimize, core=core, portable=False)
            if plan.library.steps != judged.steps or plan.library.functions != judged.functions:
                yield plan.library


def samples(core: str, found: Iterator[Library]) -> list[Sample]:
    """Libraries of a core, linked."""
    jobs = list(found)
    with ThreadPoolExecutor(2) as pool:
        linked = list(pool.map(lambda library: linking.linked(library, core), jobs))
    return [Sample(*pair) for pair in zip(jobs, [core] * len(jobs), linked, strict=True)]


def texts_of(library: Library, core: str) -> list[str]:
    """Functions that a library has on a core."""
    isa = cores.get(core).isa
    return list(
        dict.fromkeys(t for f in library.functions for t in compiled_texts(f, isa).values())
    )


def used(sizes: CodeSizes, s: Sample) -> dict[str, float]:
    """What a library uses that a program has once, with bytes."""
    return {n: b for t in texts_of(s.library, s.core) for n, b in sizes.used(t).items()}


def adapted(found: Sequence[Sample], sizes: CodeSizes) -> dict[str, int]:
    """Bytes in the mean of what programs have once, where compilers adapt it to its calls."""
    seen: dict[str, list[int]] = defaultdict(list)
    for s in found:
        for name in used(sizes, s):
            if name in s.linked.functions:  # else it is part of its callers
                seen[name].append(s.linked.functions[name])
    return {n: round(float(np.mean(b))) for n, b in sorted(seen.items()) if len(b) >= FOUND}


def bounded(
    a: np.ndarray, y: np.ndarray, least: np.ndarray, most: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """Least squares within bounds, from `x` on, one unknown after the other (the sum of squares is
    convex, so that this ends at its least)."""
    x, size = np.clip(x, least, most), (a * a).sum(axis=0)
    rest = y - a @ x
    for _ in range(3000):
        before = x.copy()
        for j in np.flatnonzero(size):
            new = float(np.clip(x[j] + a[:, j] @ rest / size[j], least[j], most[j]))
            rest -= a[:, j] * (new - x[j])
            x[j] = new
        if np.abs(x - before).max() < 1e-4:
            break
    return x


def solve(rows: Sequence[Mapping[str, float]], rest: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Prices within their bounds that explain what is left of `total`, drawn a little to what is
    usual; what they do not explain counts less, the further off it is."""
    its = list(PRICES.values())
    least, usual, most, spread = (
        np.array([getattr(p, f) for p in its]) for f in ("least", "usual", "most", "spread")
    )
    a = np.array([[r.get(k, 0.0) for k in PRICES] for r in rows]).reshape(len(rows), len(PRICES))
    x, trust = usual, np.ones(len(rows))
    for _ in range(10):
        w = trust / total
        left = np.concatenate([a * w[:, None], np.diag(PULL / spread)])
        x = bounded(left, np.concatenate([rest * w, PULL * usual / spread]), least, most, x)
        trust = 1 / np.sqrt(1 + ((a @ x - rest) / total / USUAL_ERROR) ** 2)
    return x


def fit_steps(found: Sequence[Sample], sizes: CodeSizes) -> dict[str, float]:
    """Prices of what calls functions, and of what those save or cost as parts of the whole: what
    linked libraries have beside functions that stand alone."""
    rows, rest, total = [], [], []
    for s in found:
        texts = texts_of(s.library, s.core)
        if any(key_of(t) not in sizes.functions for t in texts):
            continue  # what is estimated itself says nothing about the rest
        counts: Counter[str] = Counter()
        for t in texts:
            counts.update(sizes.joined(t))
        counts.update(step_counts(s.library.steps, s.library.tables, s.library.wide))
        rows.append(counts)
        known = sum(map(sizes.apart, texts)) + sum(used(sizes, s).values())
        rest.append(s.linked.code - known)
        total.append(s.linked.code)
    x = solve(rows, np.array(rest, float), np.array(total, float))
    return {k: round(float(v), 3) for k, v in zip(PRICES, x, strict=True)}


def startup(core: str) -> int:
    """Bytes of an image that are neither the library's nor the harness'."""
    library = next(libraries(1, core, 1))
    with tempfile.TemporaryDirectory() as tmp:
        folder = library.save(Path(tmp) / "library")
        sizes = gcc.build(folder, boards.load(TARGETS[core]), Path(tmp) / "build").sizes
    alone = linking.linked(library, core).code
    return sizes.total - sizes.harness - library.constant_bytes - alone


def rest_of(core: str, table: Mapping[str, Any], more: Sequence[Planned]) -> dict[str, Any]:
    """What code_sizes.json says of a core beside functions that stand alone: start-up code, and by
    mode what is to be replaced."""
    uses = table["uses"][cores.get(core).isa]
    found = samples(core, taught(core, more))
    out: dict[str, Any] = {"startup": startup(core)}
    for small, mode in enumerate(MODES):
        its = table["cores"][core][mode]
        names = {n for v in uses[mode].values() for n in v.split()} | set(its["helpers"])
        helpers, called = linking.brought(
            core, {n for n in names if n[0] != "." and n[:3] != "sc_"}
        )
        helpers, called = its["helpers"] | helpers, its["called"] | called
        alone = replace(
            sizes_of(core, bool(small)), helpers=helpers,
            called={n: tuple(v.split()) for n, v in called.items()},
        )  # fmt: skip
        mine = [s for s in found if s.library.small == bool(small)]
        linked = adapted(mine, alone)
        steps = fit_steps(mine, replace(alone, helpers=helpers | linked))
        out[mode] = {"helpers": helpers, "called": called, "linked": linked, "steps": steps}
    return out
