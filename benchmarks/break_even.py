"""Writes docs/break-even.md: at which density a kernel beats dense int8, and what decoding costs.

    python -m benchmarks.break_even [--targets cortex-m4] [--out docs/break-even.md]

Every kernel family runs as a chain of layers of one shape, one layer a density, in the simulator;
`secateur profile`'s counters tell the layers apart. Weights are random, the same everywhere.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from benchmarks.bench import BOARDS

from secateur.codegen.plan import Plan, make_plan
from secateur.lowering.qgraph import QConv, QDense, QGraph, QOp, QTensor, Requant
from secateur.targets.runners.profile import profile

DENSITIES = (1, 5, 10, 20, 30, 40, 50, 70, 90, 99)
KINDS = ("ternary", "sparse")

#: Codes from 16-bit sums, as ternary layers have them, and from wider ones.
_NARROW, _WIDE = (700, 0, 16), (8000, 16, 6)


@dataclass(frozen=True)
class Family:
    """A shape; `shape` is of the activations in and out."""

    name: str
    shape: tuple[int, ...]
    weight: tuple[int, ...]

    @property
    def macs(self) -> int:
        """Dense multiply-accumulates of a layer."""
        pixels = int(np.prod(self.shape[1:])) if len(self.shape) == 3 else 1
        return int(np.prod(self.weight)) * pixels


FAMILIES = (
    Family("pointwise, 64 to 64 channels, 128 pixels", (64, 8, 16), (64, 64, 1, 1)),
    Family("3x3 convolution, 16 to 16 channels, 8x16 pixels", (16, 8, 16), (16, 16, 3, 3)),
    Family("fully connected, 256 to 256", (256,), (256, 256)),
)


@dataclass(frozen=True)
class Coded:
    """Weights, the encoding that executes them as they lie, and those to be decoded."""

    what: str
    kind: str  #: of `weights`
    density: int  #: percent
    levels: int  #: different values, 0: any
    direct: str
    encodings: tuple[str, ...]


CODED = (
    Coded(
        "ternary, 80 % zeros", "ternary", 20, 0, "ternary",
        ("gap_ternary", "rice_ternary", "huffman_ternary", "range_ternary", "context_ternary"),
    ),
    Coded(
        "int8, 80 % zeros", "sparse", 20, 0, "sparse",
        ("gap_sparse", "rice_sparse", "huffman_sparse", "range_sparse", "context_sparse"),
    ),
    Coded(
        "15 values, 80 % zeros", "sparse", 20, 15, "sparse",
        ("gap_sparse", "huffman_sparse", "huffman_joint", "range_sparse", "context_sparse"),
    ),
    Coded("16 values", "sparse", 100, 16, "dense", ("huffman_dense",)),
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One layer's counts; `density` in percent, 100 for dense."""

    family: str
    core: str
    kind: str
    density: int
    instructions: float  #: per dense MAC
    cycles: float  #: estimated, per dense MAC


@dataclass(frozen=True)
class Decoding:
    """What coded weights cost more than the same weights executed in place, once a layer."""

    core: str
    what: str  #: the weights
    encoding: str
    bits: int  #: stored
    nonzeros: int
    instructions: int
    cycles: float


def weights(
    rng: np.random.Generator, shape: tuple[int, ...], kind: str, density: int
) -> np.ndarray:
    """int8 with the same number of non-zeros in every row, ternary ones with as many +1 as -1."""
    rows, cols = shape[0], int(np.prod(shape[1:]))
    w = np.zeros((rows, cols), np.int8)
    n = max(1, round(cols * density / 100))
    for row in w:
        at = rng.permutation(cols)[:n]
        if kind == "ternary":
            row[at] = np.where(np.arange(n) % 2, 1, -1)
        else:
            row[at] = np.clip(np.rint(rng.normal(0, 40, n)), -127, 127)
            row[at] += (row[at] == 0).astype(np.int8)
    return w.reshape(shape)


def _op(name: str, family: Family, i: int, weight: np.ndarray) -> QOp:
    m, pre, shift = _NARROW if np.abs(weight).max() <= 1 else _WIDE
    rows = len(weight)
    # no two multipliers alike, as after batch normalisation
    multiplier = (m + np.arange(rows)).astype(np.int16)
    requant = Requant(multiplier, np.full(rows, 128 << shift, np.int32), pre, shift)
    ends = ((f"t{i}",), f"t{i + 1}")
    if len(family.shape) == 1:
        return QDense(name, *ends, weight, requant)
    k = weight.shape[2] // 2
    return QConv(name, *ends, weight, requant, pads=(k, k, k, k))


def chain(family: Family, layers: list[tuple[str, np.ndarray]]) -> QGraph:
    """Layers of one shape, one behind the other, by name."""
    tensors = {f"t{i}": QTensor(f"t{i}", family.shape, 0.05, 0) for i in range(len(layers) + 1)}
    ops = [_op(name, family, i, w) for i, (name, w) in enumerate(layers)]
    return QGraph("chain", ops, tensors, "t0", f"t{len(layers)}")


def run(plan: Plan, core: str, size: int) -> dict[str, tuple[int, float]]:
    """(instructions, cycles) of every layer."""
    with tempfile.TemporaryDirectory() as tmp:
        folder = plan.library.save(Path(tmp) / "library")
        x = np.random.default_rng(1).integers(-128, 128, (1, size)).astype(np.int8)
        found = profile(folder, BOARDS[core], Path(tmp) / "build", x)
    return {s.layer: (s.instructions, s.cycles) for s in found.steps}


def sweep(family: Family, core: str) -> list[Point]:
    """Dense, then every kind at every density."""
    rng = np.random.default_rng(0)
    layers = [("dense", weights(rng, family.weight, "int8", 100))]
    for kind in KINDS:
        layers += [(f"{kind}_{d}", weights(rng, family.weight, kind, d)) for d in DENSITIES]
    graph = chain(family, layers)
    plan = make_plan(graph, {n: n.split("_")[0] for n, _ in layers}, "latency")
    for name, _ in layers:
        assert plan.layers[name].encoding == name.split("_")[0], name
    counts = run(plan, core, int(np.prod(family.shape)))
    out = []
    for name, _ in layers:
        kind, _, density = name.partition("_")
        n, cycles = (v / family.macs for v in counts[name])
        out.append(Point(family.name, core, kind, int(density or 100), n, cycles))
    return out


def shared(w: np.ndarray, levels: int) -> np.ndarray:
    """int8 weights moved to the nearest of `levels` non-zero values, zeros kept."""
    half = levels // 2
    book = np.rint(np.linspace(10, 90, half + levels % 2))
    book = np.concatenate([-book[:half], book])
    nearest = book[np.abs(w[..., None] - book).argmin(axis=-1)]
    return np.where(w == 0, 0, nearest).astype(np.int8)


def decoding(core: str) -> list[Decoding]:
    """Coded 64x64 layers against the same layers in place."""
    family = FAMILIES[0]
    rng = np.random.default_rng(2)
    layers, force = [], {}
    for i, case in enumerate(CODED):
        w = weights(rng, family.weight, case.kind, case.density)
        w = shared(w, case.levels) if case.levels else w
        for encoding in (case.direct, *case.encodings):
            layers.append((f"l{i}_{encoding}", w))
            force[f"l{i}_{encoding}"] = encoding
    plan = make_plan(chain(family, layers), force, "flash")
    counts = run(plan, core, int(np.prod(family.shape)))
    out = []
    for i, case in enumerate(CODED):
        base = counts[f"l{i}_{case.direct}"]
        for encoding in case.encodings:
            n, cycles = counts[f"l{i}_{encoding}"]
            e = plan.encoded[f"l{i}_{encoding}"]
            assert e.encoding == encoding, e.encoding
            spent = n - base[0], cycles - base[1]
            out.append(
                Decoding(core, case.what, encoding, 8 * e.stored_bytes, e.meta["nnz"], *spent)
            )
    return out


def break_even(points: list[Point], kind: str, value: Callable[[Point], float]) -> str:
    """The density up to which `kind` costs less than dense, interpolated between points."""
    dense = next(value(p) for p in points if p.kind == "dense")
    line = [(p.density, value(p)) for p in points if p.kind == kind]
    if line[0][1] >= dense:
        return "never"
    for (d0, v0), (d1, v1) in pairwise(line):
        if v1 >= dense:
            return f"{d0 + (d1 - d0) * (dense - v0) / (v1 - v0):.0f} %"
    return "always"


def page(points: list[Point], decoders: list[Decoding]) -> str:
    """docs/break-even.md."""
    cores = list(dict.fromkeys(p.core for p in points))
    out = [
        "# Break-even densities",
        "",
        "Written by `make bench` (`python -m benchmarks.break_even`); do not edit. Instructions are"
        " counted in the simulator, cycles are estimates for memory without wait states"
        " (docs/cycle-model.md). All figures are per *dense* multiply-accumulate, zeros included,"
        " and whole: loading of the input tile, requantization and stores are in them. Weights are"
        " random with the same number of non-zeros in every row; activations do not matter, none"
        " of these kernels looks at them. *Dense* is int8.",
        "",
        "## Density up to which a kernel beats dense int8",
        "",
        "By instructions / by estimated cycles; *always* means up to 99 %.",
        "",
        "| kernel | weights | " + " | ".join(cores) + " |",
        "|---" * (len(cores) + 2) + "|",
    ]

    def instructions(p: Point) -> float:
        return p.instructions

    def cycles(p: Point) -> float:
        return p.cycles

    for family in FAMILIES:
        for kind in KINDS:
            cells = []
            for core in cores:
                own = [p for p in points if (p.family, p.core) == (family.name, core)]
                pair = (break_even(own, kind, instructions), break_even(own, kind, cycles))
                cells.append(" / ".join(pair))
            name = "ternary" if kind == "ternary" else "sparse int8"
            out.append(f"| {family.name} | {name} | " + " | ".join(cells) + " |")
    for family in FAMILIES:
        out += ["", f"## {family.name[0].upper()}{family.name[1:]}", ""]
        out.append("Instructions / estimated cycles per dense MAC.")
        for kind in KINDS:
            name = "Ternary" if kind == "ternary" else "Sparse int8"
            out += ["", f"| {name} density | " + " | ".join(cores) + " |"]
            out.append("|---" * (len(cores) + 1) + "|")
            for density in (*DENSITIES, 100):
                cells = []
                for core in cores:
                    p = next(
                        p for p in points
                        if (p.family, p.core, p.density) == (family.name, core, density)
                        and p.kind == ("dense" if density == 100 else kind)
                    )  # fmt: skip
                    cells.append(f"{p.instructions:.2f} / {p.cycles:.2f}")
                label = "dense int8" if density == 100 else f"{density} %"
                out.append(f"| {label} | " + " | ".join(cells) + " |")
    out += [
        "",
        "## Decoding",
        "",
        "A 64x64 layer, coded, against the same layer executed from flash as it lies: the"
        " difference is decoding and rewriting into the kernel's rows in RAM, once per inference,"
        " building the look-up tables included; compiled for size. Each cell: coded bits per"
        " estimated cycle, and instructions per non-zero.",
        "",
        "| weights | encoding | stored bytes | bits per weight | " + " | ".join(cores) + " |",
        "|---" * (len(cores) + 4) + "|",
    ]
    size = int(np.prod(FAMILIES[0].weight))
    for what, encoding in dict.fromkeys((d.what, d.encoding) for d in decoders):
        own_d = {d.core: d for d in decoders if (d.what, d.encoding) == (what, encoding)}
        first = next(iter(own_d.values()))
        cells = [
            f"{d.bits / d.cycles:.3f}, {d.instructions / d.nonzeros:.1f}" for d in own_d.values()
        ]
        out.append(
            f"| {what} | {encoding} | {first.bits // 8:,} | {first.bits / size:.2f} | "
            + " | ".join(cells) + " |"
        )  # fmt: skip
    return "\n".join(out) + "\n"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--targets", default=",".join(BOARDS))
    parser.add_argument("--out", type=Path, default=Path("docs/break-even.md"))
    parser.add_argument("--json", type=Path, default=Path("build/bench/break_even.json"))
    args = parser.parse_args()
    points: list[Point] = []
    decoders: list[Decoding] = []
    for core in args.targets.split(","):
        for family in FAMILIES:
            points += sweep(family, core)
            print(f"{core}: {family.name}", flush=True)
        decoders += decoding(core)
        print(f"{core}: decoders", flush=True)
    data = {"points": [asdict(p) for p in points], "decoding": [asdict(d) for d in decoders]}
    text = page(points, decoders)
    for path, content in ((args.out, text), (args.json, json.dumps(data, indent=1) + "\n")):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text(content, encoding="utf-8")
        part.replace(path)
    print(text.split("\n## ")[1])
    print(f"{args.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
