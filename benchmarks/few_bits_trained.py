"""The ternary keyword spotter of 4-bit activations, trained, and counted with today's kernels.

    python -m benchmarks.few_bits_trained [--targets cortex-m4]
    python -m benchmarks.few_bits_trained --train "then still" [--share 0.01] [--threads 1]
    python -m benchmarks.few_bits_trained --keep "then still"

Without either option the committed network (benchmarks/trained/kws_few_bits.npz) is planned, built,
run and compared on every core; its accuracies stay as benchmarks/results/few_bits_trained.json has
them. `--train` trains a recipe, says what it reaches on the clips of held-out speakers, counts it
on a Cortex-M4 and keeps curve and figures in the results; it looks at no test clip. `--share`: of
the steps, for a trial in the build folder alone. `--keep` looks at the test clips, once, with the
network of a recipe that is trained, and commits that network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from benchmarks.bench import Job, measure, table, write
from benchmarks.explore_kws import Clips
from benchmarks.recipes import kws, options
from benchmarks.recipes.long import POINTS, Curve, Look
from benchmarks.recipes.measure import top1
from benchmarks.recipes.plain import still
from benchmarks.render import RESULTS

import secateur as sc
from secateur import data
from secateur.codegen.plan import make_plan

BITS = 4
OUT = RESULTS.parents[1] / "build" / "few-bits-trained"
NETWORK = RESULTS.parent / "trained" / "kws_few_bits.npz"
FIGURES = RESULTS / "few_bits_trained.json"
TARGETS = ("cortex-m4", "cortex-m0plus", "rv32imac")
CALIBRATING, COMPARED = 512, 4
NAME = "kws"  #: of the network, in rows
KEPT = "kept"  #: of the committed network's rows
TRAINING = "training"  #: in the place of a core, of a recipe's own row

#: Zeros of the first, the depthwise, the pointwise layers and of the classifier, by instructions
#: estimated before anything was trained: a weight that is there costs about 100, 128 and 67.
ZEROS = (0.75, 0.65, 0.87, 0.5)


@dataclass(frozen=True)
class Recipe:
    """`steps` from the float network, whose zeros grow during `ramp` of them from `began`; then
    `still` more in which kernels stay as they are and batch norm trains on.
    """

    steps: int = 6000
    zeros: tuple[float, float, float, float] = ZEROS
    ramp: float = 0.5
    began: float = 0.3
    still: int = 2000
    seed: int = 0


#: In the order in which they were tried; the second goes on from the first's end.
RECIPES = {"all move": Recipe(still=0), "then still": Recipe()}
STILL_RATE = 1e-3


def network() -> keras.Model:
    """The float network with 4-bit activations."""
    return sc.quantize_activations(kws.float_network(), BITS)


def callbacks(recipe: Recipe, model: keras.Model, steps: int) -> list[sc.Ternarize]:
    """Every layer ternary, its zeros growing."""
    layers = kws.groups(model)
    groups = (layers.first, layers.depthwise, layers.main[:-1], layers.main[-1:])
    return [
        sc.Ternarize(sparsity=z, initial_sparsity=min(z, recipe.began), include=g,
                     end_step=round(recipe.ramp * steps))
        for g, z in zip(groups, recipe.zeros, strict=True)
    ]  # fmt: skip


def train(recipe: Recipe, clips: Clips, share: float = 1.0) -> tuple[keras.Model, Curve]:
    """The trained network and its learning curve on the held-out speakers' clips; rare words are
    shown three times as often."""
    x, y = clips.often(clips.x, clips.y)
    rows = x, kws.taught(x, y)
    keras.utils.set_random_seed(recipe.seed)
    model, steps = network(), max(1, round(share * recipe.steps))
    look = Look(*clips.validation, max(1, steps // POINTS))
    every = [*callbacks(recipe, model, steps), look]
    model, curve = kws.fit(model, every, rows, steps, recipe.seed), look.curve
    if recipe.still:
        still(model)
        more = max(1, round(share * recipe.still))
        look = Look(*clips.validation, max(1, more // POINTS))
        model = kws.fit(model, [look], rows, more, recipe.seed, STILL_RATE)
        curve = [*curve, *((steps + at, right) for at, right in look.curve)]
    return model, curve


def save(model: keras.Model, path: Path) -> None:
    """The weights alone, in the network's order: ternary ones pack well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, *model.get_weights())


def load(path: Path = NETWORK) -> keras.Model:
    """A network that `save` wrote."""
    model = network()
    with np.load(path, allow_pickle=False) as z:
        model.set_weights([z[f"arr_{i}"] for i in range(len(z.files))])
    return model


def integers(model: keras.Model) -> sc.CompiledModel:
    """Planned for latency; calibrated with clips that come with the package: all have them."""
    x, _ = data.load("kws_train")
    return sc.convert(model, x[:CALIBRATING], name=NAME, optimize="latency")


def counted(compiled: sc.CompiledModel, name: str, cores: list[str]) -> list[dict[str, Any]]:
    """A row a core."""
    rows = [measure(job) for job in _jobs(compiled, name, cores)]
    print(table(rows), flush=True)
    return [asdict(r) for r in rows]


def _jobs(compiled: sc.CompiledModel, name: str, cores: list[str]) -> Iterator[Job]:
    x, _ = data.load("kws_train")
    codes = compiled.quantize(x[-COMPARED:])
    expected = compiled.run(codes).reshape(COMPARED, -1)
    for core in cores:
        compiled.plan = make_plan(compiled.qgraph, None, compiled.optimize, core=core)
        yield Job(NAME, name, core, compiled.save(OUT / core / "library"), codes, expected)


def trial(name: str, share: float) -> list[dict[str, Any]]:
    """Train a recipe: a row of its own and one of its count."""
    recipe, clips = RECIPES[name], Clips()
    model, curve = train(recipe, clips, share)
    save(model, _trained(name, share))
    compiled = integers(model)
    said = {
        "network": NAME, "encoding": name, "target": TRAINING, **asdict(recipe),
        "held_out": round(top1(compiled.qgraph, *clips.validation), 2), "curve": curve,
    }  # fmt: skip
    print(name, said["held_out"], flush=True)
    return [said, *counted(compiled, name, ["cortex-m4"])]


def keep(name: str, known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The committed network's rows, once the network is that of `name`."""
    model = load(_trained(name, 1.0))
    compiled = integers(model)
    (said,) = (r for r in known if (r["encoding"], r["target"]) == (name, TRAINING))
    test = round(top1(compiled.qgraph, *Clips().test), 2)
    print(name, "on the test clips:", test, flush=True)
    save(model, NETWORK)
    own = {k: v for k, v in said.items() if k != "curve"}
    return [{**own, "encoding": KEPT, "recipe": name, "test": test}]


def _trained(name: str, share: float) -> Path:
    return OUT / f"{name}-{share:g}.npz"


def merged(known: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`known` with the rows of `new` in their places or behind."""
    return list({(r["encoding"], r["target"]): r for r in [*known, *new]}.values())


def main() -> int:
    """Command line; returns 1 if any output differs from the reference's."""
    parser = options.parser("the keyword spotter of 4-bit activations, trained", measured=False)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--train", choices=list(RECIPES))
    what.add_argument("--keep", choices=list(RECIPES))
    parser.add_argument("--share", type=float, default=1.0, help="of the steps, for a trial")
    parser.add_argument("--targets", default=",".join(TARGETS))
    args = options.parse(parser)
    known = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.is_file() else []
    rows = keep(args.keep, known) if args.keep else []
    if args.train:
        rows += trial(args.train, args.share)
    else:
        rows += counted(integers(load()), KEPT, args.targets.split(","))
    if args.share == 1:
        write(FIGURES, merged(known, rows))
    return 0 if all(r["identical"] == r["total"] for r in rows if "total" in r) else 1


if __name__ == "__main__":
    raise SystemExit(main())
