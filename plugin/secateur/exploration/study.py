"""The search itself: an Optuna study in a journal file, asked for settings and told figures.

One process writes the journal; runners do the work. What is in the journal is never lost: killed at
any moment, the trials that ran are asked for again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from secateur import extras
from secateur.errors import DataError, FileError, SecateurError, ToolError
from secateur.progress import tell

from .judge import Figures, Training
from .runners import Done, Runner
from .space import Settings, Space

if TYPE_CHECKING:
    import optuna

JOURNAL = "study.journal"
#: What is searched for, and which way is better.
GOALS: dict[str, Literal["maximize", "minimize"]] = {
    "accuracy": "maximize",
    "flash": "minimize",
    "latency": "minimize",
}
#: A longer training takes so many times the epochs, and so many trials are cut to one.
FACTOR = 3
#: Trials that may fail one after another at the beginning.
HOPELESS = 5
#: Seconds between two looks at what runs.
LOOK = 1.0


@dataclass(frozen=True)
class Budgets:
    """Budgets: at most so much of a figure ("lost": points of accuracy), in its base unit."""

    most: Mapping[str, float] = field(default_factory=dict)

    def over(self, figures: Mapping[str, float | None]) -> dict[str, float]:
        """By how much each budget is exceeded, as a share of it; 0 and below is kept."""
        out = {}
        for name, limit in self.most.items():
            value = figures.get(name)
            if value is not None:
                out[name] = (value - limit) / max(abs(limit), 1e-9)
        return out

    def kept(self, figures: Mapping[str, float | None]) -> bool:
        """Whether all are kept."""
        return all(v <= 1e-9 for v in self.over(figures).values())


@dataclass(frozen=True)
class Trial:
    """A trial that is over: its settings, and its figures unless it failed."""

    number: int
    settings: Settings
    rung: int
    figures: Figures | None
    error: str = ""


class Search:
    """Trials of a space by a runner, kept in `folder`/study.journal.

    Args:
        space: what may be chosen.
        folder: where the journal is; an earlier search with the same `identity` goes on.
        limits: budgets, constraints of the sampler.
        epochs: of the shortest training; each further one of `rungs` takes FACTOR times as many.
        seed: of the sampler and of the trainings.
        identity: what must be the same for a search to go on, as plain values.
        first: settings to try first.
        grid: instead of sampling, exactly these settings, in this order.

    Raises ToolError without Optuna, DataError if the folder holds another search.
    """

    def __init__(
        self,
        space: Space,
        folder: Path,
        limits: Budgets,
        *,
        epochs: float = 1.0,
        rungs: int = 2,
        seed: int = 0,
        identity: Mapping[str, Any] | None = None,
        first: Sequence[Settings] = (),
        grid: Sequence[Settings] | None = None,
    ) -> None:
        try:
            import optuna
        except ImportError as e:
            raise ToolError(f"optuna is not installed; run: {extras.install('search')}") from e
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.optuna = optuna
        self.space, self.limits, self.epochs, self.rungs = space, limits, epochs, rungs
        self.seed = seed
        storage = _storage(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.halving = optuna.create_study(
                storage=storage, study_name="halving", direction="maximize", load_if_exists=True,
                sampler=optuna.samplers.RandomSampler(seed),
                pruner=optuna.pruners.SuccessiveHalvingPruner(1, FACTOR),
            )  # fmt: skip
            self.study = optuna.create_study(
                storage=storage, study_name="explore", directions=list(GOALS.values()),
                load_if_exists=True,
            )  # fmt: skip
            seen = len(self.study.get_trials(deepcopy=False))
            self.study.sampler = optuna.samplers.TPESampler(
                seed=seed + seen, multivariate=True, constant_liar=True
            )
            if not seen:
                self.study.set_metric_names(list(GOALS))
        self._identify({**(identity or {}), "space": space.choices, "limits": dict(limits.most)})
        self.trials: list[Trial] = []
        self._resume(first if grid is None else grid)
        self.only = None if grid is None else len(grid)
        self._twins: dict[int, optuna.Trial] = {}
        self._open: dict[int, tuple[optuna.Trial, Settings]] = {}

    def _identify(self, identity: Mapping[str, Any]) -> None:
        mine = json.loads(json.dumps(identity, sort_keys=True))
        known = self.study.user_attrs.get("identity")
        if known is None:
            self.study.set_user_attr("identity", mine)
        elif known != mine:
            differs = [k for k in {**known, **mine} if known.get(k) != mine.get(k)]
            raise DataError(
                f"the folder holds another search (other {', '.join(sorted(differs))}); give the "
                "same arguments to go on, or another folder"
            )

    def _resume(self, first: Sequence[Settings]) -> None:
        """Read what is over; ask again for what was running; queue `first` once."""
        state = self.optuna.trial.TrialState
        for t in self.study.get_trials(deepcopy=False):
            if t.state == state.RUNNING:
                self.study.tell(t.number, state=state.FAIL)
                self.study.enqueue_trial(t.params)
            elif "settings" in t.user_attrs and (
                "figures" in t.user_attrs or t.state == state.FAIL
            ):
                if t.state == state.RUNNING or (
                    "error" not in t.user_attrs and t.state == state.FAIL
                ):
                    continue
                a = t.user_attrs
                self.trials.append(
                    Trial(t.number, a["settings"], a.get("rung", 0), a.get("figures"),
                          a.get("error", ""))
                )  # fmt: skip
        for t in self.halving.get_trials(deepcopy=False, states=(state.RUNNING,)):
            self.halving.tell(t.number, state=state.FAIL)
        if not self.study.user_attrs.get("queued"):
            done = [t.params for t in self.study.get_trials(deepcopy=False)]
            for settings in first:
                parameters = self.space.parameters(settings)
                if parameters not in done:  # killed while it was queued
                    self.study.enqueue_trial(parameters, skip_if_exists=True)
            self.study.set_user_attr("queued", True)

    def run(
        self,
        runner: Runner,
        trials: int | None = None,
        until: float | None = None,
        heard: Callable[[Trial], None] | None = None,
    ) -> list[Trial]:
        """Go on until `trials` in all are over, or until the time `until` (`time.monotonic`).

        heard: called with every trial that is over. Returns all trials, in order of number.

        Raises SecateurError where the first HOPELESS trials all fail, with the reason.
        """
        wanted = self.only if self.only is not None else trials
        running = 0
        while True:
            late = until is not None and time.monotonic() >= until
            while running < runner.slots and not late and not self._enough(wanted, running):
                runner.submit(self._ask())
                running += 1
            if not running:
                break
            for done in runner.wait(LOOK):
                following = self._told(done, late)
                if following is not None:
                    runner.submit(following)
                    continue
                running -= 1
                self._heard(heard, wanted)
        self.trials.sort(key=lambda t: t.number)
        return self.trials

    def _enough(self, wanted: int | None, running: int) -> bool:
        return wanted is not None and len(self.trials) + running >= wanted

    def _heard(self, heard: Callable[[Trial], None] | None, wanted: int | None) -> None:
        last = self.trials[-1]
        tell("exploring, trials done", len(self.trials), wanted)
        if heard is not None:
            heard(last)
        if len(self.trials) >= HOPELESS and all(t.figures is None for t in self.trials):
            raise SecateurError(f"the first {len(self.trials)} trials all failed: {last.error}")

    def _ask(self) -> Training:
        trial = self.study.ask()
        settings = self.space.suggest(trial)
        trial.set_user_attr("settings", settings)
        self._open[trial.number] = (trial, settings)
        return self._task(trial.number, 0)

    def _task(self, number: int, rung: int) -> Training:
        settings = self._open[number][1]
        return Training(number, settings, rung, self.epochs * FACTOR**rung, self._seed(settings))

    def _seed(self, settings: Settings) -> int:
        """The same for the same settings, in whatever order and place they are trained."""
        text = json.dumps([self.seed, settings], sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1

    def _told(self, done: Done, late: bool) -> Training | None:
        """Note an outcome; the longer training that follows, if it is promising."""
        number, rung = done.task.number, done.task.rung
        trial, settings = self._open[number]
        state = self.optuna.trial.TrialState
        if done.figures is None:
            trial.set_user_attr("error", done.error or "failed")
            self.study.tell(trial, state=state.FAIL)
            self._end(number, state.FAIL)
            self.trials.append(Trial(number, settings, rung, None, done.error))
            return None
        figures = done.figures
        if rung + 1 < self.rungs and not late and self._promising(number, rung, figures):
            trial.set_user_attr(f"rung {rung}", figures)
            return self._task(number, rung + 1)
        for name, over in self.limits.over(figures).items():
            trial.set_constraint(name, over)
        trial.set_user_attr("rung", rung)
        trial.set_user_attr("figures", figures)
        self.study.tell(trial, [_value(figures, name) for name in GOALS])
        self._end(number, state.COMPLETE, self._score(figures))
        self.trials.append(Trial(number, settings, rung, figures))
        return None

    def _promising(self, number: int, rung: int, figures: Figures) -> bool:
        """Successive halving, which Optuna's pruner decides for one goal: quality in budget.

        Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2020 (ASHA).
        """
        if number not in self._twins:
            self._twins[number] = self.halving.ask()
        twin = self._twins[number]
        twin.report(self._score(figures), FACTOR**rung)
        return not twin.should_prune()

    def _score(self, figures: Figures) -> float:
        excess = sum(max(0.0, v) for v in self.limits.over(figures).values())
        return (figures.get("quality") or 0.0) - 10.0 * excess

    def _end(self, number: int, state: Any, value: float | None = None) -> None:
        twin = self._twins.pop(number, None)
        del self._open[number]
        if twin is not None:
            self.halving.tell(twin, value, state=state)


def _value(figures: Figures, name: str) -> float:
    value = figures.get(name)
    if value is None:
        raise SecateurError(f"trials say nothing about {name}; the board has no clock")
    return value


def _storage(folder: Path) -> optuna.storages.JournalStorage:
    """The journal, without the half line and the lock that a killed process left."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / JOURNAL
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise FileError(f"{path} is no file of a search; give another folder")
    if path.exists():
        with path.open("rb") as file:
            head = file.read(16)
        if head and not head.startswith(b'{"op_code":'):
            raise FileError(f"{path} is there and no search wrote it; give another folder")
        _mend(path)
    for left in folder.glob(f"{JOURNAL}.lock*"):
        left.unlink()
    return JournalStorage(JournalFileBackend(str(path)))


def _mend(path: Path) -> None:
    """Cut what follows the last line's end."""
    with path.open("rb+") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 65536)
            file.seek(start)
            block = file.read(end - start)
            at = block.rfind(b"\n")
            if at >= 0:
                end = start + at + 1
                break
            end = start
        if end != size:
            file.truncate(end)
