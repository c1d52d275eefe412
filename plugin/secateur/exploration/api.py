"""`explore` and `compress`."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from secateur.errors import BudgetError, DataError, SecateurError
from secateur.files import looks_like, write
from secateur.progress import tell
from secateur.report.units import parse, show
from secateur.targets import boards

from . import samples
from .judge import Figures, Objective, Training, accuracy, compiled, figures
from .points import Point
from .quality import TAU
from .ready import finish
from .result import Exploration
from .runners import Here, Processes, Rays, Runner
from .samples import Samples
from .space import METHODS, Settings, Space, Value, default_space, roles_of
from .study import FACTOR, Budgets, Search, Trial
from .training import BATCH, RATE, Augment, copies, ends_in, opened, packed, retrain

#: Budgets and their units.
BUDGETS = {"flash": "bytes", "ram": "bytes", "latency": "ms", "energy": "uj"}
#: Share of the time after which no trial is begun: the rest makes the front ready.
SEARCHED = 0.7
#: Points of the front that are retrained.
POINTS = 4
#: Points of accuracy that the sensitivity scan may cost each layer alone, for the first trials.
SCANNED = (1.0, 4.0)
_SCAN_ROWS = 512
#: Whether a file is an exploration.json, which another one may replace.
OURS = looks_like(rb'\{\s*"exploration": \d+,')

#: Told every trial that is over, with the exploration so far.
Heard = Callable[[Exploration, Trial], None]


def explore(
    model: Any,
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    board: str = "nucleo_l4r5zi",
    flash: str | int | None = None,
    ram: str | int | None = None,
    latency: str | float | None = None,
    energy: str | float | None = None,
    max_drop: float | None = None,
    space: Space | None = None,
    starts: Mapping[str, Any] | None = None,
    trials: int | None = None,
    time_limit: str | float | None = "10m",
    epochs: float = 1.0,
    rungs: int = 2,
    final_epochs: float | None = None,
    points: int = POINTS,
    first: Sequence[Settings] = (),
    grid: Sequence[Settings] | None = None,
    scan: bool = True,
    jobs: int = 1,
    ray: str | None = None,
    seed: int = 0,
    rate: float = RATE,
    batch: int = BATCH,
    augment: Augment | None = None,
    tau: float = TAU,
    peers: Sequence[Mapping[str, Any]] = (),
    out: str | Path = "build/explore",
    allow_overlap: bool = False,
    emulator: str | None = None,
    builder: Any = "platformio",
    heard: Heard | None = None,
) -> Exploration:
    """The best compressed network for a board, by search.

    Trials are trained short, the promising ones long (successive halving); each is judged by the
    accuracy of its *integer* model on the validation rows and the planner's estimates for the
    board. Points of the front are then retrained, built, run in the emulator and measured on the
    test rows, each once.

    Args:
        model: a built Keras 3 classifier with its float weights, or the path of a `.keras` file.
        train, validation, test: (x, y), x real [n, *input shape], y as `secateur.deploy` takes
            labels. Without test rows nothing is measured on any.
        board: of `secateur boards`; its core, clock and current are planned with.
        flash, ram, latency, energy: budgets, "16k", "12k", "15ms", "300uJ".
        max_drop: points of accuracy on the validation rows that may be lost against the float
            network.
        space: what is searched; default: `default_space(model)`.
        starts: further networks to start from, by name: other strides, kernels, widths, with
            weights of their own. They take and give the same shapes.
        trials: how many in all, with those of earlier runs; None: until the time is over.
        time_limit: "2h", "10m", "90s" or seconds of this run; None: no limit.
        epochs: of the shortest training; a promising one takes 3 times as many, `rungs` - 1 times.
        final_epochs: of the points that are retrained; default: 3 times the longest training.
        points: how many of the front are retrained.
        first: settings to try first, before those of a sensitivity scan (`scan`).
        grid: exactly these settings, in this order, instead of sampling.
        jobs: processes of this machine. ray: "auto", "local" or HOST:PORT instead.
        seed: of sampler and trainings; one worker and one seed give one result.
        rate, batch, augment: of the trainings, see `retrain`.
        tau: points of accuracy that are worth one halving of bytes, see `quality`.
        peers: points of others for the page, with "name", "accuracy" (percent) and any of "flash",
            "ram", "latency", "energy".
        out: folder of the study, the points, `exploration.json` and `explore.html`. A run with the
            same arguments goes on where an earlier one stopped.
        allow_overlap: rows of one part may be rows of another.
        emulator, builder: as `secateur.deploy` takes them.
        heard: called with the exploration so far and the trial that is over.

    Returns:
        The points, their front and the best, which lies ready in its folder.

    Raises:
        DataError: data, settings or arguments that do not fit, leaks, another search in `out`.
        BudgetError: no setting of the space keeps a budget.
        ModelError, TargetError, ToolError: the model does not convert, the board or a tool is not
            there.
    """
    began = time.monotonic()
    limit = None if time_limit is None else seconds(time_limit)
    if trials is None and limit is None and grid is None:
        raise DataError("neither trials nor time_limit say when to stop; give one")
    _positive(trials=trials, epochs=epochs, rungs=rungs, points=points, jobs=jobs, batch=batch,
              final_epochs=final_epochs, rate=rate, tau=tau)  # fmt: skip
    limits = _limits(flash=flash, ram=ram, latency=latency, energy=energy, max_drop=max_drop)
    boards.load(board)
    source = opened(model)
    parts = _parts(source, train, validation, test)
    notes = samples.leaks(parts, allow_overlap)
    models = _starts(source, starts or {})
    where = space or default_space(source, tuple(starts or ()))
    for name in where.starts:
        if name not in models:
            raise DataError(f"space starts from {name!r}, which is none of {', '.join(models)}")
    objective, baseline = _objective(source, models, parts, board, rate, batch, augment, tau)
    _possible(objective, where, limits)
    tries = list(first)
    if grid is None:
        gentle = _gentle(source)
        tries += [where.plain(), *_known(where, gentle)]
        tries += _scanned(source, where, parts["validation"], gentle) if scan else []
    searched = Search(
        where, Path(out), limits, epochs=epochs, rungs=1 if grid is not None else rungs, seed=seed,
        first=copies(tries), grid=grid,
        identity={
            "model": _digest(models), "data": _digest_of(parts), "board": board, "seed": seed,
            "epochs": epochs, "rungs": rungs, "rate": rate, "batch": batch,
        },
    )  # fmt: skip

    def so_far(finals: Sequence[Point] = ()) -> Exploration:
        there = [t for t in searched.trials if t.figures is not None]
        return Exploration(
            model=source.name, board=board, baseline=baseline,
            points=tuple(Point(t.number, t.settings, t.figures or {}, t.rung) for t in there),
            finals=tuple(finals), limits=limits, tau=tau, folder=Path(out), notes=tuple(notes),
            peers=tuple(peers), failed=len(searched.trials) - len(there),
        )  # fmt: skip

    until = None if limit is None else began + SEARCHED * limit
    runner = _runner(objective, jobs, ray)
    try:
        searched.run(
            runner, trials, until, None if heard is None else lambda t: heard(so_far(), t)
        )  # fmt: skip
    finally:
        runner.close()
    result = so_far()
    if not result.points:
        reason = searched.trials[-1].error if searched.trials else "the time was over before"
        raise SecateurError(f"no trial came to an end: {reason}; give more time or trials")
    long = final_epochs or FACTOR * epochs * FACTOR ** (searched.rungs - 1)
    finals: list[Point] = []
    for i, point in enumerate(_chosen(result, points)):
        if i and limit is not None and time.monotonic() - began > limit:
            notes.append(f"time was over after {i} of the front's points were made ready")
            break
        tell("making points of the front ready", i, points)
        finals.append(
            _finished(searched, point, objective, parts, long, Path(out), source.name,
                      emulator, builder)
        )  # fmt: skip
    result = so_far(finals)
    if not result.in_budget:
        nearest = min(
            result.finals or result.points,
            key=lambda p: sum(max(0.0, v) for v in limits.over(p.figures).values()),
        )
        over = {k: v for k, v in limits.over(nearest.figures).items() if v > 0}
        said = ", ".join(f"{k} is {_show(k, nearest.figures[k])}" for k in over)
        notes.append(f"no point keeps every budget; of the nearest (point {nearest.number}) {said}")
        result = so_far(finals)
    write(Path(out) / "exploration.json", json.dumps(result.to_dict(), indent=1) + "\n", OURS)
    result.report()
    return result


def compress(
    model: Any,
    data: tuple[np.ndarray, np.ndarray],
    *,
    board: str = "nucleo_l4r5zi",
    method: str = "ternary",
    held_out: float = 0.2,
    time_limit: str | float = "10m",
    out: str | Path = "build/compress",
    seed: int = 0,
    **options: Any,
) -> Exploration:
    """The short form of `explore`: one family of methods, ten minutes, validation held out here.

    Args:
        model: as for `explore`.
        data: (x, y); the share `held_out` of the rows, drawn by `seed`, validates. Rows that are
            alike go to one side together. Where rows of one person or recording lie in both parts,
            accuracies are too good: give `explore` parts of your own then.
        method: of `Space.methods`, besides int8.
        options: of `explore`: budgets, `trials`, `jobs` and so on.

    Raises as `explore`.
    """
    if method not in METHODS:
        raise DataError(f"method={method!r} is none of {', '.join(METHODS)}")
    if not 0 < held_out < 1:
        raise DataError(f"held_out={held_out!r} is no share; give 0 < held_out < 1")
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise DataError("data is no pair (x, y) of arrays")
    x, y = np.asarray(data[0]), np.asarray(data[1])
    if x.ndim < 2 or len(x) < 10 or not y.ndim or len(y) != len(x):
        raise DataError(f"data have x {list(x.shape)} and y {list(y.shape)}; give 10 rows or more")
    source = opened(model)
    held = _held_out(x, held_out, seed)
    methods = ("int8",) if method == "int8" else ("int8", method)
    base = default_space(source)
    few = Space(base.roles, methods=methods, distil=(0.5,), slim=base.slim[:1])
    given = {"space": few, "scan": False, "epochs": 1.0, **options}
    return explore(
        source, (x[~held], y[~held]), (x[held], y[held]), board=board, time_limit=time_limit,
        out=out, seed=seed, **given,
    )  # fmt: skip


def seconds(text: str | float) -> float:
    """ "2h", "10m", "90s" or a number of seconds. Raises DataError."""
    if isinstance(text, int | float) and not isinstance(text, bool) and text > 0:
        return float(text)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([hms]?)\s*", str(text))
    if match is None or not float(match[1]):
        raise DataError(f"{text!r} is no time: write 2h, 10m or 90s")
    return float(match[1]) * {"h": 3600, "m": 60, "s": 1, "": 1}[match[2]]


def _positive(**given: Any) -> None:
    for name, value in given.items():
        if value is not None and not value > 0:
            raise DataError(f"{name}={value!r} is not above 0")


def _limits(max_drop: float | None, **given: Any) -> Budgets:
    most = {k: parse(v, BUDGETS[k]) for k, v in given.items() if v is not None}
    for name, value in most.items():
        if value <= 0:
            raise DataError(f"{name}={given[name]!r} leaves nothing; give more than 0")
    if max_drop is not None:
        if not 0 <= max_drop <= 100:
            raise DataError(f"max_drop={max_drop!r} is no number of points; give 0 to 100")
        most["lost"] = float(max_drop)
    return Budgets(most)


def _show(name: str, value: float | None) -> str:
    if name == "lost":
        return f"{value:.2f} points"
    return show(value, BUDGETS[name])


def _parts(model: Any, train: Any, validation: Any, test: Any) -> dict[str, Samples]:
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise DataError(
            f"model '{model.name}' has several inputs or outputs; one of each is needed"
        )
    shape = tuple(n or 0 for n in model.input_shape[1:])
    output, sigmoid = tuple(model.output_shape[1:]), ends_in(model, "sigmoid")
    given = {"train": train, "validation": validation}
    if test is not None:
        given["test"] = test
    parts = {
        name: samples.read(part, name, shape, output, sigmoid) for name, part in given.items()
    }  # fmt: skip
    samples.same_labels(parts)
    return parts


def _starts(source: Any, starts: Mapping[str, Any]) -> dict[str, bytes]:
    out = {"model": packed(source)}
    for name, given in starts.items():
        if name == "model":
            raise DataError("starts: the name 'model' is the model's own; give another")
        other = opened(given)
        if (other.input_shape, other.output_shape) != (source.input_shape, source.output_shape):
            raise DataError(f"starts: {name!r} takes or gives other shapes than the model")
        out[name] = packed(other)
    return out


def _objective(
    source: Any, models: dict[str, bytes], parts: dict[str, Samples], board: str, rate: float,
    batch: int, augment: Augment | None, tau: float,
) -> tuple[Objective, Figures]:  # fmt: skip
    """What trials are judged by, and the figures of the network as it is, at 8 bits."""
    train, validation = parts["train"], parts["validation"]
    tell("judging the network as it is")
    made = compiled(source, train.x, board, {})
    said = source.predict(validation.x, batch_size=256, verbose=0)
    alone = 100.0 * validation.task.accuracy(said)
    baseline: Figures = {
        "float_accuracy": alone, "accuracy": accuracy(made, validation), **figures(made, board)
    }  # fmt: skip
    soft = source.predict(train.x, batch_size=256, verbose=0)
    float32 = baseline["float32"] or 1.0
    return (
        Objective(models, train, validation, board, alone, float32, np.asarray(soft), augment, rate,
                  batch, tau),
        baseline,
    )  # fmt: skip


def _possible(objective: Objective, space: Space, limits: Budgets) -> None:
    """BudgetError where even the smallest settings, untrained, exceed a budget."""
    asked = [name for name in BUDGETS if name in limits.most]
    if not asked:
        return
    tell("looking for the smallest point")
    smallest: dict[str, float] = {}
    x, y = objective.train.x[:BATCH], objective.train.y[:BATCH]
    for start in space.starts:
        settings: Settings = {**space.least(), "start": start}
        model = retrain(
            objective.start(settings), {**settings, "distil": 0.0}, (x, y), epochs=0.01, rate=0.0
        )  # fmt: skip
        for optimize in space.optimize:
            made = compiled(model, objective.train.x, objective.board, {"optimize": optimize})
            there = figures(made, objective.board)
            for name in asked:
                value = there[name]
                if value is None:
                    raise DataError(
                        f"board '{objective.board}' states no current: leave energy out"
                    )
                smallest[name] = min(value, smallest.get(name, value))
    for name in asked:
        # one layer's weights or another's: the estimate is of weights that were not trained
        if smallest[name] > 1.1 * limits.most[name]:
            raise BudgetError(
                f"{name} of {_show(name, limits.most[name])} is out of reach: the smallest point "
                f"found needs {_show(name, smallest[name])}; give more, a smaller network to start "
                "from, or a space that goes further"
            )


def _gentle(model: Any) -> set[str]:
    """Roles whose layers bear few levels badly and gain little by them: the first and depthwise
    ones, unless most of the weights lie there, as in the first layer of an MLP."""
    sizes = {
        role: sum(int(np.prod(model.get_layer(n).weights[0].shape)) for n in names)
        for role, names in roles_of(model).items()
    }
    return {r for r in ("first", "depthwise") if 2 * sizes.get(r, 0) < sum(sizes.values())}


def _known(space: Space, gentle: set[str]) -> list[Settings]:
    """Settings that are known to be good starts: ternary or clustered weights, half the filters."""
    out = []
    c = space.choices
    for method in ("ternary", "cluster"):
        if method not in space.methods:
            continue
        for keep, zeros in ((1.0, 0.5), (1.0, 0.8), (0.7, 0.7), (0.5, 0.5)):
            s = space.plain()
            s["keep"] = _nearest(c["keep"], keep)
            s["distil"] = c["distil"][-1]
            for role in space.roles:
                spared = role in gentle
                s[f"{role}.method"] = "int8" if spared and "int8" in space.methods else method
                s[f"{role}.zeros"] = _nearest(c[f"{role}.zeros"], 0.0 if spared else zeros)
            out.append(s)
    return out


def _scanned(model: Any, space: Space, part: Samples, gentle: set[str]) -> list[Settings]:
    """Settings from a sensitivity scan: as many zeros as each layer bears alone."""
    from secateur.callbacks import sensitivity

    tell("scanning how sensitive layers are")
    rows = slice(_SCAN_ROWS)
    found = sensitivity(model, (part.x[rows], part.y[rows]), sparsities=(0.3, 0.5, 0.7, 0.9))
    out, roles = [], roles_of(model)
    for drop in SCANNED:
        plan = found.plan(drop).sparsity
        s = space.plain()
        s["distil"] = space.choices["distil"][-1]
        for role in space.roles:
            shares = [plan[n] for n in roles.get(role, []) if n in plan]
            s[f"{role}.zeros"] = _nearest(
                space.choices[f"{role}.zeros"], min(shares, default=0.0)
            )  # fmt: skip
            if "ternary" in space.methods and role not in gentle:
                s[f"{role}.method"] = "ternary"
        out.append(s)
    return out


def _nearest(values: Sequence[Value], wanted: float) -> Value:
    return min(values, key=lambda v: abs(float(v) - wanted))


def _runner(objective: Objective, jobs: int, ray: str | None) -> Runner:
    if ray is not None:
        return Rays(objective, ray)
    return Here(objective) if jobs == 1 else Processes(objective, jobs)


def _chosen(found: Exploration, count: int) -> list[Point]:
    """Of the front, the best by quality, then those that differ most in flash from the chosen."""
    left = list(found.front)
    out: list[Point] = []
    while left and len(out) < count:
        if not out:
            best = max(left, key=lambda p: p.figures["quality"] or 0.0)
        elif len(out) == 1:
            best = max(left, key=lambda p: p.figures["accuracy"] or 0.0)
        else:
            best = max(left, key=lambda p: min(_apart(p, q) for q in out))
        out.append(best)
        left.remove(best)
    return out


def _apart(a: Point, b: Point) -> float:
    first, second = a.figures["flash"] or 1.0, b.figures["flash"] or 1.0
    return abs(float(np.log(first / second)))


def _finished(
    search: Search, point: Point, objective: Objective, parts: dict[str, Samples], epochs: float,
    out: Path, name: str, emulator: Any, builder: Any,
) -> Point:  # fmt: skip
    """The point made ready, once: an earlier run's stands in the journal."""
    key = f"final {point.number} {epochs:g}"
    known = search.study.user_attrs.get(key)
    folder = out / "points" / f"{point.number}"
    if known is not None and (folder / "model.keras").is_file():
        return Point(**{**known, "layers": tuple(known["layers"])})
    task = Training(point.number, point.settings, point.rung + 1, epochs, search.seed)
    made = finish(
        point, objective, task, parts.get("test"), folder, name, emulator, builder
    )  # fmt: skip
    search.study.set_user_attr(key, made.to_dict())
    return made


def _digest(models: Mapping[str, bytes]) -> str:
    """Of the weights and shapes: an archive's bytes hold the time it was written."""
    from .training import unpacked

    h = hashlib.sha256()
    for name, raw in models.items():
        model = unpacked(raw)
        h.update(name.encode() + model.to_json().encode())
        for w in model.get_weights():
            h.update(np.ascontiguousarray(w).tobytes())
    return h.hexdigest()[:16]


def _digest_of(parts: Mapping[str, Samples]) -> str:
    h = hashlib.sha256()
    for name, part in parts.items():
        h.update(name.encode() + np.ascontiguousarray(part.x).tobytes())
        h.update(np.ascontiguousarray(part.task.targets).tobytes())
    return h.hexdigest()[:16]


def _held_out(x: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which rows validate, bool [n]; rows that are alike go together."""
    rows = np.ascontiguousarray(x).reshape(len(x), -1)
    keys = [hashlib.blake2b(r.tobytes(), digest_size=8).digest() for r in rows]
    names = sorted(set(keys))
    rng = np.random.default_rng(seed)
    taken = rng.permutation(len(names))[: max(1, round(share * len(names)))]
    chosen = {names[i] for i in taken}
    return np.array([k in chosen for k in keys])
