"""The search with objectives that cost nothing: resuming, killing, halving, budgets, runners."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from secateur.errors import DataError, FileError, SecateurError
from secateur.exploration.judge import Figures, Training
from secateur.exploration.quality import quality
from secateur.exploration.runners import Done, Here, Processes, Rays, Runner
from secateur.exploration.space import Settings, Space
from secateur.exploration.study import FACTOR, JOURNAL, Budgets, Search, Trial

SPACE = Space(("first", "dense"))
LIMITS = Budgets({"flash": 16_000.0})


def dummy(task: Training) -> Figures:
    """Smooth figures of the settings: fewer bytes cost accuracy."""
    zeros, keep = float(task.settings["dense.zeros"]), float(task.settings["keep"])
    accuracy = 90 - 20 * zeros**2 - 10 * (1 - keep) + task.rung
    flash = 30_000 * keep * (1 - 0.8 * zeros)
    return {
        "accuracy": accuracy, "lost": 90 - accuracy, "flash": flash, "latency": flash / 1000,
        "quality": quality(30_000, flash, 90 - accuracy),
    }  # fmt: skip


def slow(task: Training) -> Figures:
    time.sleep(0.05)
    return dummy(task)


def deadly(task: Training) -> Figures:
    """Kills its process the first time that a task of number 1 is tried."""
    mark = Path(os.environ["SECATEUR_TEST_MARK"])
    if task.number == 1 and not mark.exists():
        mark.write_text("died")
        os.kill(os.getpid(), signal.SIGKILL)
    return dummy(task)


def search(folder: Path, **options: object) -> Search:
    return Search(SPACE, folder, LIMITS, **options)  # type: ignore[arg-type]


def settings_of(trials: list[Trial]) -> list[Settings]:
    return [t.settings for t in trials]


def test_one_worker_and_one_seed_give_one_result(tmp_path: Path) -> None:
    a = search(tmp_path / "a", seed=3).run(Here(dummy), trials=14)
    b = search(tmp_path / "b", seed=3).run(Here(dummy), trials=14)
    c = search(tmp_path / "c", seed=4).run(Here(dummy), trials=4)
    assert a == b
    assert settings_of(a)[:4] != settings_of(c)


def test_promising_trials_are_trained_longer(tmp_path: Path) -> None:
    epochs: list[tuple[int, float]] = []

    def watched(task: Training) -> Figures:
        epochs.append((task.number, task.epochs))
        return dummy(task)

    made = search(tmp_path, epochs=2.0)
    trials = made.run(Here(watched), trials=18)
    long = {n for n, e in epochs if e == 2.0 * FACTOR}
    assert {t.number for t in trials if t.rung == 1} == long
    assert 0 < len(long) < 14
    scores = {
        t.number: made._score(dummy(Training(t.number, t.settings, 0, 2.0, 0))) for t in trials
    }
    best = max(scores, key=lambda n: scores[n])
    assert best in long


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = [SPACE.plain(), SPACE.least()]
    some = search(tmp_path, first=first).run(Here(dummy), trials=7)
    assert settings_of(some)[:2] == first
    all_ = search(tmp_path, first=first).run(Here(dummy), trials=12)
    assert all_[:7] == some
    assert len(all_) == 12


_KILLED = """
import sys
from pathlib import Path
from tests.exploration.test_study import search, slow
from secateur.exploration.runners import Here
search(Path(sys.argv[1])).run(Here(slow), trials=25, heard=lambda t: print(t.number, flush=True))
"""


@pytest.mark.slow
def test_killed_five_times_it_ends_in_the_same_number_of_trials(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    kept: list[Trial] = []
    for i in range(5):
        run = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _KILLED, str(tmp_path)], cwd=root,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert run.stdout is not None
        for _ in range(2 + i % 3):  # somewhere in the middle of a trial
            run.stdout.readline()
        time.sleep(0.013 * i)
        run.kill()
        run.wait()
        run.stdout.close()
        there = search(tmp_path).trials
        assert there[: len(kept)] == kept  # what was complete is
        assert len(there) >= len(kept) + 2
        kept = there
    trials = search(tmp_path).run(Here(dummy), trials=25)
    assert len(trials) == 25
    assert all(t.figures is not None for t in trials)


def test_half_a_line_at_the_journals_end_is_cut(tmp_path: Path) -> None:
    before = search(tmp_path).run(Here(dummy), trials=3)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code": 4, "worker')
    after = search(tmp_path).run(Here(dummy), trials=5)
    assert after[:3] == before
    assert len(after) == 5


def test_what_ran_when_it_was_killed_is_asked_for_again(tmp_path: Path) -> None:
    class Dies(Here):
        def wait(self, seconds: float) -> list[Done]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path).run(Dies(dummy), trials=5)
    lost = search(tmp_path).study.get_trials()[0].user_attrs["settings"]
    trials = search(tmp_path).run(Here(dummy), trials=5)
    assert settings_of(trials)[0] == lost
    assert len(trials) == 5


def test_another_search_in_the_folder_is_refused(tmp_path: Path) -> None:
    search(tmp_path, identity={"model": "a"})
    with pytest.raises(DataError, match=r"another search .other model"):
        search(tmp_path, identity={"model": "b"})
    with pytest.raises(DataError, match="other limits"):
        Search(SPACE, tmp_path, Budgets(), identity={"model": "a"})
    other = tmp_path / "other"
    other.mkdir()
    (other / JOURNAL).write_text("mine")
    with pytest.raises(FileError, match="no search wrote it"):
        search(other)


def test_failures_are_kept_and_a_hopeless_search_ends(tmp_path: Path) -> None:
    def fails(task: Training) -> Figures:
        if task.number % 2:
            raise DataError("odd")
        return dummy(task)

    trials = search(tmp_path / "a").run(Here(fails), trials=6)
    assert [t.error for t in trials] == ["", "odd"] * 3
    assert search(tmp_path / "a").trials == trials

    def hopeless(_task: Training) -> Figures:
        raise DataError("no layer is left")

    with pytest.raises(SecateurError, match="all failed: no layer is left"):
        search(tmp_path / "b").run(Here(hopeless), trials=50)


def test_budgets_are_constraints_of_the_sampler(tmp_path: Path) -> None:
    made = search(tmp_path, seed=1)
    trials = made.run(Here(dummy), trials=36)
    kept = [LIMITS.kept(t.figures or {}) for t in trials]
    assert sum(kept[-12:]) > sum(kept[:12])  # it learns where the budget is
    frozen = made.study.get_trials()[0]
    assert set(frozen.constraints) == {"flash"}


def _grid() -> list[Settings]:
    return SPACE.grid({"dense.method": ["int8", "ternary"], "dense.zeros": [0.0, 0.5, 0.9]})


def test_a_grid_is_the_same_in_processes_one_of_which_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serial = search(tmp_path / "a", grid=_grid(), rungs=1).run(Here(dummy))
    assert settings_of(serial) == _grid()
    monkeypatch.setenv("SECATEUR_TEST_MARK", str(tmp_path / "mark"))
    runner: Runner = Processes(deadly, 2)
    try:
        parallel = search(tmp_path / "b", grid=_grid(), rungs=1).run(runner)
    finally:
        runner.close()
    assert (tmp_path / "mark").exists()
    assert parallel == serial


def test_work_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(DataError, match="cannot be given this work"):
        Processes(lambda task: dummy(task), 2)


def _elsewhere(task: Training) -> Figures:
    time.sleep(0.3)
    return dummy(task)


@pytest.mark.slow
def test_ray_with_a_lost_node_ends_as_the_serial_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    serial = search(tmp_path / "a", grid=_grid(), rungs=1).run(Here(dummy))
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20},
    )
    try:
        second = cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
        runner = Rays(_elsewhere, cluster.address)
        seen: list[Trial] = []

        def heard(trial: Trial) -> None:
            seen.append(trial)
            if len(seen) == 2:
                cluster.remove_node(second, allow_graceful=False)

        found = search(tmp_path / "b", grid=_grid(), rungs=1).run(runner, heard=heard)
        runner.close()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert found == serial
