"""Whether every `optimize` keeps its promise, by time and linked bytes.

    python -m benchmarks.promises [--targets cortex-m4] [--networks mlp_1x16x16x1,har_int8]

Some forty small networks are planned for every `optimize` on four cores; each plan is built, its
instructions are counted (in the simulator, those of a Cortex-M55 in QEMU), its image is measured.
"latency" and "energy" must be the fastest of the four plans, "flash" the smallest image that is not
MAX_SLOWDOWN times slower than the fastest, "balanced" not beaten in time and bytes by another plan.
All of that is judged twice: by the cycles that the emulator's core model gives what was executed,
which are the time that a user waits, and by the instructions that were counted, as if each took as
long as any other. The plan of fewest instructions is not always the fastest: a load takes two
cycles where a sum takes one. A row's `kept` is by cycles, `kept_counted` by instructions.
Plans are chosen by estimates, so that what differs by less than a hundredth, or 64 bytes, is equal.
Writes benchmarks/results/promises.json, where rows of what was not run stay, prints what was kept
and what was broken, and how far the planner's estimates are off. What was built and run before is
remembered in build/bench.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from tests.codegen.qgraphs import Chain, codes

from secateur import cores, targets
from secateur.codegen.library import Library
from secateur.codegen.optimize import MAX_SLOWDOWN, WEIGHTS
from secateur.codegen.plan import make_plan
from secateur.lowering import reference

OUT = Path("benchmarks/results/promises.json")

#: Core -> board whose image is run.
BOARDS = {
    "cortex-m0plus": "qemu_m0plus",
    "cortex-m4": "mps2_an386",
    "cortex-m55": "mps3_an547",
    "rv32imac": "qemu_rv32",
}

#: Share by which two figures may differ and still be the same; of images also so many bytes.
TOLERANCE, BYTES = 0.01, 64

#: Plans that were measured before, by their text.
KNOWN = Path("build/bench/promises.json")

#: What a row is of.
_KEYS = ("network", "core", "optimize")

PADS = (1, 1, 1, 1)


@dataclass(frozen=True)
class Job:
    """A network planned for an `optimize` on a core."""

    network: str
    core: str
    optimize: tuple[str, ...]  #: all that this plan is for
    library: Library
    inputs: np.ndarray
    expected: np.ndarray
    flash: int  #: estimated
    instructions: float  #: estimated


@dataclass(frozen=True)
class Row:
    """What was measured of a plan; sizes in bytes."""

    network: str
    core: str
    optimize: str
    instructions: int
    flash: int
    arena: int
    identical: bool
    estimated_instructions: int
    estimated_flash: int
    cycles: int | None = None  #: the simulator's estimate for what it ran
    kept: bool = True  #: time in cycles
    kept_counted: bool = True  #: time in instructions


def mlp(*sizes: int, kind: str = "int8") -> Callable[[str], Chain]:
    """Fully connected layers."""

    def make(name: str) -> Chain:
        c = Chain(name, (sizes[0],), 7)
        for n in sizes[1:]:
            c.dense(n, kind)
        return c

    return make


def har(kind: str) -> Callable[[str], Chain]:
    """A one-dimensional CNN over 64 readings of three axes."""

    def make(name: str) -> Chain:
        c = Chain(name, (3, 1, 64), 5)
        c.conv(16, (1, 5), kind).max_pool((1, 2), (1, 2), (0, 0, 0, 0))
        c.conv(24, (1, 5), kind).max_pool((1, 2), (1, 2), (0, 0, 0, 0))
        return c.dense(32, kind).dense(6, kind)

    return make


def separable(kind: str, depth: str = "int8") -> Callable[[str], Chain]:
    """A convolution and three depthwise-separable blocks."""

    def make(name: str) -> Chain:
        c = Chain(name, (1, 20, 10), 3).conv(16, (3, 3), kind, (2, 2), PADS)
        for co in (16, 24, 24):
            c.conv(0, (3, 3), depth, (1, 1), PADS, depthwise=True).conv(co, (1, 1), kind)
        return c.dense(10, kind)

    return make


def mobilenet(kind: str) -> Callable[[str], Chain]:
    """Two inverted residual blocks."""

    def make(name: str) -> Chain:
        c = Chain(name, (3, 16, 16), 9).conv(8, (3, 3), "int8", (2, 2), PADS)
        for stride in (1, 2):
            before = c.top.name
            c.conv(32, (1, 1), kind)
            c.conv(0, (3, 3), "int8", (stride, stride), PADS, depthwise=True)
            c.conv(8, (1, 1), kind, residual=before if stride == 1 else None)
        return c.dense(5, kind)

    return make


def lenet(kind: str) -> Callable[[str], Chain]:
    """Two convolutions with pooling and two Dense layers."""

    def make(name: str) -> Chain:
        c = Chain(name, (1, 14, 14), 2).conv(6, (3, 3), kind, pads=PADS)
        c.max_pool((2, 2), (2, 2), (0, 0, 0, 0)).conv(12, (3, 3), kind)
        return c.max_pool((2, 2), (2, 2), (0, 0, 0, 0)).dense(32, kind).dense(10, kind)

    return make


KINDS = ("int8", "sparse", "ternary", "levels")

NETWORKS: dict[str, Callable[[str], Chain]] = {
    "mlp_1x16x16x1": mlp(1, 16, 16, 1),
    "mlp_4x8x3": mlp(4, 8, 3),
    "mlp_10x32x16x4": mlp(10, 32, 16, 4),
    "mlp_64x64x10": mlp(64, 64, 10),
    **{f"mlp_{k}_24x48x24x5": mlp(24, 48, 24, 5, kind=k) for k in ("sparse", "ternary", "levels")},
    **{f"mlp_{k}_128x64x8": mlp(128, 64, 8, kind=k) for k in ("sparse", "powers", "two")},
    **{f"autoencoder_{k}": mlp(64, 32, 8, 32, 64, kind=k) for k in KINDS},
    **{f"har_{k}": har(k) for k in (*KINDS, "powers")},
    **{f"separable_{k}": separable(k) for k in KINDS},
    "separable_ternary_all": separable("ternary", "ternary"),
    **{f"mobilenet_{k}": mobilenet(k) for k in KINDS},
    **{f"lenet_{k}": lenet(k) for k in (*KINDS, "two", "powers", "present")},
}


def keras_network(make: Callable[[Any], Any]) -> Callable[[str], Chain]:
    """A Keras model of random weights, converted."""

    def made(name: str) -> Any:
        import keras

        import secateur

        keras.utils.set_random_seed(4)
        model = make(keras)
        x = np.random.default_rng(4).normal(0, 1, (32, *model.input_shape[1:])).astype(np.float32)
        graph = secateur.convert(model, x, name=name).qgraph
        return SimpleNamespace(graph=graph)

    return made


def squeeze_excite(keras: Any) -> Any:
    """A convolution whose channels are weighted by what is in them."""
    k = keras.layers
    x = keras.Input((12, 12, 3))
    y = k.Conv2D(16, 3, padding="same", activation="relu")(x)
    z = k.GlobalAveragePooling2D(keepdims=True)(y)
    z = k.Conv2D(16, 1, activation="sigmoid")(k.Conv2D(4, 1, activation="relu")(z))
    y = k.GlobalAveragePooling2D()(k.Multiply()([y, z]))
    return keras.Model(x, k.Dense(5)(y))


def temporal(keras: Any) -> Any:
    """Two residual blocks of dilated causal convolutions."""
    k = keras.layers
    x = keras.Input((48, 4))
    y = k.Conv1D(12, 1)(x)
    for dilation in (1, 4):
        z = k.Conv1D(12, 3, padding="causal", dilation_rate=dilation, activation="relu")(y)
        y = k.Add()([y, k.Conv1D(12, 1)(z)])
    return keras.Model(x, k.Dense(4)(k.GlobalAveragePooling1D()(y)))


NETWORKS |= {"squeeze_excite": keras_network(squeeze_excite), "tcn": keras_network(temporal)}


def prepare(names: list[str], targets_: list[str]) -> Iterator[Job]:
    """One job for every plan that differs from the others of its network and core."""
    for name in names:
        graph = NETWORKS[name](name).graph
        x = codes(graph, 3)[2:]
        expected = reference.run(graph, x).reshape(len(x), -1)
        for core in targets_:
            plans: dict[str, tuple[list[str], Library, int, float]] = {}
            for weight in dict.fromkeys(WEIGHTS.values()):
                which = [o for o, w in WEIGHTS.items() if w == weight]
                p = make_plan(graph, None, which[0], core=core, portable=False)
                text = json.dumps(p.library.files, sort_keys=True)
                plans.setdefault(text, ([], p.library, p.flash, p.instructions))[0].extend(which)
            for every, library, flash, instructions in plans.values():
                yield Job(name, core, tuple(every), library, x, expected, flash, instructions)


def digest(job: Job) -> str:
    """What a plan's figures depend on."""
    text = json.dumps([job.core, job.library.files], sort_keys=True)
    return hashlib.sha256(text.encode() + job.inputs.tobytes()).hexdigest()


def measure(job: Job) -> list[Any]:
    """Build and run one plan: instructions, flash, arena, whether identical, cycles."""
    with tempfile.TemporaryDirectory() as tmp:
        folder = job.library.save(Path(tmp) / "library")
        image = targets.build(folder, BOARDS[job.core], Path(tmp) / "firmware", builder="gcc")
        simulated = cores.get(job.core).unicorn is not None
        runner = targets.get("sim" if simulated else "qemu")
        result = runner.run(image, job.inputs)
    same = bool(np.array_equal(result.outputs.reshape(job.expected.shape), job.expected))
    assert result.instructions is not None
    cycles = None if result.cycles is None else round(result.cycles)
    return [
        result.instructions, image.sizes.total - image.sizes.harness, image.sizes.arena, same,
        cycles,
    ]  # fmt: skip


def rows_of(job: Job, measured: list[Any]) -> Iterator[Row]:
    """A row for every `optimize` that a plan is for."""
    instructions, flash, arena, same, cycles = measured
    for optimize in job.optimize:
        yield Row(
            job.network, job.core, optimize, instructions, flash, arena, same,
            round(job.instructions), job.flash, cycles,
        )  # fmt: skip


def _more(a: float, b: float, spare: float = 0.0) -> bool:
    """Whether `a` is more than `b`, not counting what estimates cannot tell apart."""
    return a > max(b * (1 + TOLERANCE), b + spare)


def broken(r: Row, rows: Sequence[Row], by: str = "cycles") -> list[str]:
    """The promises that a plan does not keep beside the others of its network and core; `by`:
    "cycles" or "instructions", which stand for the former where these are not known."""
    known = by == "cycles" and all(o.cycles is not None for o in rows)

    def time(o: Row) -> int:
        return o.cycles if known and o.cycles is not None else o.instructions

    fastest = min(rows, key=time)
    out = [] if r.identical else ["gives other outputs"]
    if r.optimize in ("latency", "energy") and _more(time(r), time(fastest)):
        out.append(f"is {time(r) / time(fastest) - 1:.1%} slower than {fastest.optimize}")
    if r.optimize == "flash":
        smallest = min(rows, key=lambda o: o.flash)
        if _more(r.flash, smallest.flash, BYTES):
            out.append(f"is {r.flash / smallest.flash - 1:.1%} larger than {smallest.optimize}")
        # the bound is on estimated cycles
        if time(r) > 1.25 * MAX_SLOWDOWN * time(fastest):
            out.append(f"is {time(r) / time(fastest):.1f} times slower")
    for o in rows:
        better = _more(time(r), time(o)) or _more(r.flash, o.flash, BYTES)
        if time(o) <= time(r) and o.flash <= r.flash and better:
            out.append(f"is beaten by {o.optimize}")
    return out


def write(path: Path, text: str) -> None:
    """Write in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def main() -> int:
    """Command line; returns 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--targets", default=",".join(BOARDS))
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--seconds", type=float, help="begin no plan after so long; the networks "
                        "that are then whole are reported")  # fmt: skip
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    started = time.monotonic()
    known: dict[str, list[Any]] = {}
    if KNOWN.is_file():
        known = json.loads(KNOWN.read_text(encoding="utf-8"))
    rows: list[Row] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.workers, mp_context=context) as pool:
        jobs = [
            (job, key, None if key in known else pool.submit(measure, job))
            for job in prepare(args.networks.split(","), args.targets.split(","))
            if args.seconds is None or time.monotonic() - started < args.seconds
            for key in (digest(job),)
        ]
        for job, key, future in jobs:
            if future is not None:
                known[key] = future.result()
            rows += rows_of(job, known[key])
    write(KNOWN, json.dumps(known) + "\n")
    cases: dict[tuple[str, str], list[Row]] = {}
    for r in rows:
        cases.setdefault((r.network, r.core), []).append(r)
    cases = {case: group for case, group in cases.items() if len(group) == len(WEIGHTS)}
    rows = []
    print(f"{'network':24}{'core':15}{'optimize':10}{'cycles':>10}{'instructions':>13}{'flash':>8}"
          "  kept")  # fmt: skip
    for group in cases.values():
        for r in sorted(group, key=lambda r: list(WEIGHTS).index(r.optimize)):
            wrong, counted = broken(r, group), broken(r, group, "instructions")
            rows.append(replace(r, kept=not wrong, kept_counted=not counted))
            told = "; ".join(dict.fromkeys(wrong)) or "yes"
            if counted != wrong:
                told += f" (by instructions: {'; '.join(dict.fromkeys(counted)) or 'yes'})"
            print(f"{r.network:24}{r.core:15}{r.optimize:10}{r.cycles or 0:10,}"
                  f"{r.instructions:13,}{r.flash:8,}  {told}")  # fmt: skip
    kept, counted_kept = (
        sum(all(getattr(r, what) for r in rows if (r.network, r.core) == c) for c in cases)
        for what in ("kept", "kept_counted")
    )
    print(f"kept on {kept} of {len(cases)} networks and cores by cycles, "
          f"on {counted_kept} by instructions")  # fmt: skip
    for target in args.targets.split(","):
        mine = [r for r in rows if r.core == target]
        for what in ("flash", "instructions"):
            e = np.array([getattr(r, f"estimated_{what}") / getattr(r, what) - 1 for r in mine])
            near = np.mean(np.abs(e) <= 0.08)
            print(
                f"{target}: {what} estimated {np.abs(e).mean():.1%} off in the mean, "
                f"{e[np.abs(e).argmax()]:+.1%} at most, within 8 % in {near:.0%}"
            )
    found = [asdict(r) for r in rows]
    if args.out.is_file():  # what was not run stays
        found += [
            r for r in json.loads(args.out.read_text(encoding="utf-8"))
            if (r["network"], r["core"]) not in cases
        ]  # fmt: skip
    order = [list(NETWORKS), list(BOARDS), list(WEIGHTS)]
    found.sort(key=lambda r: [o.index(r[k]) for o, k in zip(order, _KEYS, strict=True)])
    write(args.out, "[\n" + ",\n".join(map(json.dumps, found)) + "\n]\n")
    print(f"{args.out}, {time.monotonic() - started:.0f} s")
    return int(kept != len(cases))


if __name__ == "__main__":
    raise SystemExit(main())
