"""Dense, sparse and ternary networks on a Cortex-M55 with Helium, which only QEMU has.

    python -m benchmarks.helium [--networks kws] [--optimize latency]
    python -m benchmarks.helium --fit [--families dense] [--lessons row,short]

The first prints instructions per inference, counted in QEMU, with the peer's beside them, and
writes build/bench/helium.json. The second counts layers of benchmarks/lessons.py, one a run, and
fits the prices by which layers are planned for this core; `--families` those of some kernels
alone, `--lessons` to some lessons alone: what they do not teach stays. Counts are kept in
build/bench, so that only what has changed is counted again. The simulator that
`make bench` uses has no vectors; cycles of this core are a rough estimate (docs/cycle-model.md).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.bench import OUT, Job, Row, prepare, write
from benchmarks.cost_model import PRICES, Counter, Sample, fit, samples, save
from benchmarks.render import helium

from secateur import cores, targets
from secateur.codegen.costs import price_in, work_of
from secateur.codegen.kernels import Kernel, Layer, all_kernels, get
from secateur.codegen.kernels.coded import is_coded
from secateur.codegen.plan import Plan, make_plan
from secateur.lowering.qgraph import QGraph
from secateur.targets.runners.qemu import Qemu

CORE, BOARD = "cortex-m55", "mps3_an547"

#: Kernels with a vector form of their own, and layers of a shape and encoding that are counted.
VECTORS = {
    "conv_dense": 1, "conv_sparse": 2, "conv_ternary": 2, "depthwise": 1, "dense": 1,
    "depthwise_ternary": 2,
}  # fmt: skip


def measure(job: Job) -> Row:
    """Build and run one image."""
    image = targets.build(job.library, BOARD, job.library.parent / "firmware")
    result = Qemu(run_time=600.0, estimate=False).run(image, job.inputs)
    assert result.instructions is not None
    same = np.all(result.outputs.reshape(job.expected.shape) == job.expected, axis=1)
    flash = image.sizes.total - image.sizes.harness
    return Row(
        job.network, job.encoding, CORE, result.instructions, None, flash, image.sizes.arena,
        int(same.sum()), len(same),
    )  # fmt: skip


def count(
    graph: QGraph, ways: dict[str, str], x: np.ndarray, counter: Counter
) -> tuple[Plan, float]:
    """The plan of `graph` with encodings and kernels as given, and its instructions."""
    plan = make_plan(graph, ways, "latency", core=CORE)

    def measure() -> dict[str, list[float]]:
        with tempfile.TemporaryDirectory() as tmp:
            library = plan.library.save(Path(tmp) / "library")
            image = targets.build(library, BOARD, Path(tmp) / "build")
            counted = Qemu(run_time=600.0, estimate=False).run(image, x).instructions
        assert counted is not None
        return {"all": [counted]}

    return plan, counter.once(plan, CORE, x.tobytes(), measure)["all"][0]


def lessons(
    families: Collection[str] = (), names: Collection[str] | None = None
) -> Iterator[Sample]:
    """Layers to learn from, each in an image of its own, the model's two ends taken off: what two
    layers take less than twice one. Of `families` alone, if any are given, and of the lessons with
    `names`."""
    from benchmarks.lessons import SHORT, WAYS

    yield from _counted(WAYS[0], names, families)
    yield from _counted(WAYS[2], [n for n in SHORT if names is None or n in names], families)


def _counted(
    way: float, names: Collection[str] | None, families: Collection[str]
) -> Iterator[Sample]:  # fmt: skip
    """Layers of the lessons with `names` (all, if None), written and compiled as `way` says."""
    from benchmarks.lessons import prepared

    seen: dict[tuple[object, ...], int] = defaultdict(int)
    ends: dict[tuple[object, ...], float] = {}
    counter = Counter()
    for graph, plan, x in prepared(CORE, names, way):  # `way` is that of `count`, too, meanwhile
        # those that read one another have no image of their own
        for op in (op for op in graph if set(op.inputs) <= set(graph.inputs)):
            p, encoded = plan.layers[op.name], plan.encoded.get(op.name)
            shape = graph.tensors[op.output].shape
            weight = getattr(op, "weight", None)
            coding = encoded.encoding if encoded else ""
            if families and p.kernel not in families:
                continue
            layer = Layer(op, graph, encoded, plan.weight)
            units = frozenset(work_of(get(p.kernel), layer, CORE))
            read = graph.tensors[op.inputs[0]].shape
            key = (p.kernel, coding, layer.index_bits, units, read, shape, np.shape(weight))
            if is_coded(encoded) or seen[key] == VECTORS.get(p.kernel, 0):
                continue
            seen[key] += 1
            way = f"{coding}/{p.kernel}"
            again = replace(op, name="again", output="again")
            tensors = {t: graph.tensors[t] for t in (*op.inputs, op.output)}
            one = replace(graph, ops=[op], tensors=tensors, outputs=(op.output,))
            done, n = count(one, {op.name: way}, x, counter)
            if (x.shape, shape) not in ends:
                tensors = {**tensors, "again": replace(graph.tensors[op.output], name="again")}
                two = replace(one, ops=[op, again], tensors=tensors, outputs=("again",))
                both = count(two, {op.name: way, "again": way}, x, counter)[1]
                if both <= n:  # nobody reads what the first makes: a compiler may leave it out
                    continue
                ends[x.shape, shape] = 2 * n - both
            nothing = {"input": [0.0, 0.0], "output": [0.0, 0.0], op.name: [0.0, 0.0]}
            sample, _ = samples(graph.name, one, done, CORE, nothing)
            n -= ends[x.shape, shape]
            yield replace(sample, counted=(n, n))


def _has_vectors(family: str) -> bool:
    kernels = (k for k in all_kernels() if k.name == family)
    return any(type(k).vector_work is not Kernel.vector_work for k in kernels)


def refit(families: Collection[str] = (), names: Collection[str] | None = None) -> None:
    """Write the prices of this core: fitted where a layer was counted, else the instructions of a
    Cortex-M33, whose scalar code it executes; where only some were to be counted, else what was
    there. No cycles are known: instructions stand for them."""
    learned = []
    for sample in lessons(families, names):
        learned.append(sample)
        print(f"  {sample.source}: {sample.kernel}, {sample.counted[0]:,.0f}", flush=True)
    prices = json.loads(PRICES.read_text(encoding="utf-8"))
    some = bool(families) or names is not None
    own = prices[CORE] if some else {
        family: {u: [x for x in p[::2] for _ in (0, 1)] for u, p in units.items()}
        for family, units in prices["cortex-m33"].items()
    }  # fmt: skip
    for family, units in fit(learned, cores.get(CORE).isa).items():
        there = {} if _has_vectors(family) and not some else own.get(family, {})
        own[family] = {**there, **units}
    prices[CORE] = own
    save(prices)
    errors: dict[str, list[float]] = defaultdict(list)
    for s in learned:
        prices_ = ((price_in(own[f][u], s.small, "helium")[0], n) for (f, u), n in s.work.items())
        value = sum(price * n for price, n in prices_)
        errors[s.kernel].append(abs(value / s.counted[0] - 1))
    for kernel, e in sorted(errors.items()):
        print(f"{kernel:16} {len(e):4} layers, mean error {np.mean(e):.1%}, largest {max(e):.1%}")
    print(PRICES)


def main() -> int:
    """Command line; returns 1 if any output differs from the reference's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--networks", default="kws,resnet8,lenet5,lenet300")
    parser.add_argument("--optimize", default="latency")
    parser.add_argument("--fit", action="store_true", help="fit this core's prices in costs.json")
    parser.add_argument("--families", help="fit the prices of these kernels alone")
    parser.add_argument("--lessons", help="learn from these lessons alone")
    parser.add_argument("--inputs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT / "helium.json")
    args = parser.parse_args()
    if args.fit:
        refit(args.families.split(",") if args.families else (),
              args.lessons.split(",") if args.lessons else None)  # fmt: skip
        return 0
    args.out.parent.mkdir(parents=True, exist_ok=True)
    jobs = list(prepare(args.networks.split(","), [CORE], args.optimize, args.inputs))
    rows = [measure(job) for job in jobs]
    found = [asdict(r) for r in rows]
    write(args.out, found)
    print(f"\n{helium(found)}\n\n{args.out}, planned for {args.optimize}")
    return 0 if all(r.identical == r.total for r in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
