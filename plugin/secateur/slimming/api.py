"""`prune_filters` and `filter_plan`: smaller Keras models, and what would make them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from secateur.errors import DataError
from secateur.progress import tell

from .criteria.base import Criterion
from .network import Network
from .plan import FilterPlan, make_plan, one_group
from .solver import Limits
from .targets import OWN

#: trains a model in place
Fit = Callable[[Any], Any]


def filter_plan(
    model: Any,
    criterion: Criterion,
    *,
    exclude: Sequence[str] = (),
    round_to: int = 1,
    minimum: int = 1,
    max_share: float | Mapping[str, float] = 1.0,
    sensitivity: Any = None,
) -> FilterPlan:
    """What `prune_filters` would do; the model is unchanged.

    Args:
        model: a built functional or Sequential Keras 3 model, trained as far as the criterion
            needs it.
        criterion: how filters are judged, with its target: `L1Filters(keep=0.6)`.
        exclude: names of layers (with * and ?) whose channels all stay, and those that go with
            them.
        round_to: every layer keeps a multiple of this (all of it if it has fewer). Kernels that
            read words like 4.
        minimum: no layer keeps fewer, and never fewer than 1.
        max_share: at most this share of a layer goes; one number, or by layer name.
        sensitivity: (x, y) held out of the training data: top-1 with a share of one group cut, the
            others untouched, nothing trained.

    Raises:
        ModelError: a model without a graph, a name that means no layer.
        DataError: a target or data that do not fit.
        BudgetError: no choice of filters meets the target.
    """
    return make_plan(model, criterion, Limits(round_to, minimum, max_share), exclude, sensitivity)


def prune_filters(
    model: Any,
    criterion: Criterion,
    *,
    exclude: Sequence[str] = (),
    round_to: int = 1,
    minimum: int = 1,
    max_share: float | Mapping[str, float] = 1.0,
    reinitialise: bool = False,
    compile: bool = False,
    passes: int = 1,
    fit: Fit | None = None,
) -> Any:
    """A new, smaller functional Keras model: same layer names, sliced weights.

    The given model is unchanged. What the plan has to say (layers at their floor, folds that are
    not exact at a border, dropped optimizer state) is a warning.

    Args:
        model, criterion, exclude, round_to, minimum, max_share: see `filter_plan`.
        reinitialise: new weights from the initializers: the small architecture, from scratch.
        compile: compiled as before. The optimizer starts anew: its slots do not fit any more.
        passes: prune in this many steps of equal ratio, with `fit` after each.
        fit: trains a model in place, called as `fit(model)`: between the passes and after the
            last, and with ThiNet after each layer. The model it gets is compiled as before if the
            given one was.

    Returns:
        `keras.Model`, compiled only if asked.

    Raises:
        As `filter_plan`; DataError for passes without `fit`.
    """
    if isinstance(passes, bool) or not isinstance(passes, int) or passes < 1:
        raise DataError(f"passes={passes!r} is no number of passes; give 1 or more")
    if passes > 1 and fit is None:
        raise DataError(f"passes={passes} train between: give fit=..., called as fit(model)")
    if reinitialise and (passes > 1 or fit is not None):
        raise DataError(
            "reinitialise=True gives an untrained model: leave passes and fit out and train it"
        )
    limits = Limits(round_to, minimum, max_share)
    if fit is not None and getattr(criterion, "sequential", False):
        return _one_by_one(model, criterion, limits, exclude, compile, passes, fit)
    if fit is None:
        plan = make_plan(model, criterion, limits, exclude)
        _warn(plan)
        return _compiled(plan, reinitialise, compile)
    steps = _steps(model, criterion, passes)
    for i, step in enumerate(steps):
        tell("slimming, passes done", i, len(steps))
        plan = make_plan(model, step, limits, exclude)
        _warn(plan)
        model = _compiled(plan, False, compile or plan.network.model.compiled)
        fit(model)
    return model


def _compiled(plan: FilterPlan, reinitialise: bool, compile: bool) -> Any:
    old = plan.network.model
    if compile and getattr(old, "optimizer", None) is not None and old.optimizer.iterations > 0:
        warnings.warn(
            "the optimizer's state (momenta and the like) does not fit the smaller model and was "
            "dropped",
            stacklevel=3,
        )
    return plan.apply(reinitialise, compile)


def _warn(plan: FilterPlan) -> None:
    for note in plan.notes:
        warnings.warn(note, stacklevel=3)
    for layer, why in plan.inexact.items():
        warnings.warn(
            f"what removed channels leave behind is not exact at '{layer}' ({why}); training mends "
            "it, constants='drop' leaves it out",
            stacklevel=3,
        )


def _steps(model: Any, criterion: Criterion, passes: int) -> list[Criterion]:
    """The criterion with targets on the way: equal ratios from what is there to what is wanted."""
    if passes == 1:
        return [criterion]
    network = Network(model)
    if criterion.keep is not None:
        keep = criterion.keep
        if isinstance(keep, Mapping):
            return [
                replace(criterion, keep={p: s ** (1 / passes) for p, s in keep.items()})
            ] * passes
        return [replace(criterion, keep=keep ** (1 / passes))] * passes
    aim = criterion.aim(network)
    assert aim is not None
    now = aim.figure(network, network.all())
    if now <= aim.limit:
        return [criterion]
    ratio = aim.limit / now
    limits = [now * ratio ** ((i + 1) / passes) for i in range(passes)]
    whole = aim.kind in (*OWN, "flash", "ram")  # counted in whole units
    values = [max(2, round(v)) if whole else v for v in limits[:-1]]
    last = round(aim.limit) if whole else aim.limit
    return [replace(criterion, **{aim.kind: v}) for v in (*values, max(2, last) if whole else last)]


def _one_by_one(
    model: Any,
    criterion: Criterion,
    limits: Limits,
    exclude: Sequence[str],
    compile: bool,
    passes: int,
    fit: Fit,
) -> Any:
    """How much of every layer goes is settled first; which filters, when the layer's turn comes."""
    was_compiled = model.compiled
    for step in _steps(model, criterion, passes):
        plan = make_plan(model, step, limits, exclude)
        _warn(plan)
        wanted = {g.name: g.channels[1] for g in plan.groups if g.channels[1] < g.channels[0]}
        for i, (name, left) in enumerate(wanted.items()):
            tell("slimming, layers done", i, len(wanted))
            model = _compiled(one_group(model, step, name, left), False, compile or was_compiled)
            fit(model)
    return model
