"""What keeping trials costs: `python -m benchmarks.explore_storage [--trials 1000]`.

A search of trials that cost nothing, as a grid (the journal alone) and sampled (the journal and the
sampler). Writes benchmarks/results/explore_storage.json: time a trial on the wall and of the
processor, the same for opening the journal again once all is there, and the most memory so far.
The wall's is an upper bound: whatever else the machine does counts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secateur.exploration.judge import Figures, Training
from secateur.exploration.quality import quality
from secateur.exploration.runners import Here
from secateur.exploration.space import Settings, Space
from secateur.exploration.study import JOURNAL, Budgets, Search, Trial

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "explore_storage.json"
SPACE = Space(("first", "dense"))
LIMITS = Budgets({"flash": 16_000.0})


def free(task: Training) -> Figures:
    """Smooth figures of the settings, at once."""
    zeros, keep = float(task.settings["dense.zeros"]), float(task.settings["keep"])
    accuracy = 90 - 20 * zeros**2 - 10 * (1 - keep)
    flash = 30_000 * keep * (1 - 0.8 * zeros)
    return {
        "accuracy": accuracy, "lost": 90 - accuracy, "flash": flash, "latency": flash / 1000,
        "quality": quality(30_000, flash, 90 - accuracy),
    }  # fmt: skip


def grid(trials: int) -> list[Settings]:
    """As many settings, all different."""
    zeros = SPACE.choices["dense.zeros"]
    names = {
        "keep": SPACE.choices["keep"], "first.zeros": zeros, "dense.zeros": zeros,
        "optimize": list(SPACE.optimize),
    }  # fmt: skip
    return list(itertools.islice(iter(SPACE.grid(names)), trials))


def measured(trials: int, given: list[Settings] | None) -> dict[str, Any]:
    """A search of so many trials in an empty folder."""
    memory: list[list[int]] = []

    def heard(trial: Trial) -> None:
        if (trial.number + 1) % (trials // 5) == 0:
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            memory.append([trial.number + 1, most])

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def opened() -> Search:
            return Search(SPACE, folder, LIMITS, grid=given, rungs=1)

        search, begun = _timed(opened)
        found, spent = _timed(lambda: search.run(Here(free), trials=trials, heard=heard))
        if len(found) != trials:
            raise SystemExit(f"{len(found)} trials of {trials}")
        again, reopened = _timed(opened)
        if again.trials != found:
            raise SystemExit("what was read again is something else")
        journal = (folder / JOURNAL).stat().st_size
    each = {k: round(1000 * (begun[k] + spent[k]) / trials, 2) for k in spent}
    return {
        "trials": trials, "ms_a_trial": each, "opened_again_s": reopened,
        "journal_bytes": journal, "most_memory_kib": memory,
    }  # fmt: skip


def _timed(make: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    wall, cpu = time.monotonic(), time.process_time()
    out = make()
    return out, {
        "wall": round(time.monotonic() - wall, 3), "cpu": round(time.process_time() - cpu, 3),
    }  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="the overhead of keeping trials")
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    rows = {}
    for name, given in (("grid", grid(trials)), ("sampled", None)):
        rows[name] = measured(trials, given)
        print(name, rows[name], flush=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main()
