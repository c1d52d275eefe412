"""Where trainings run: here, in processes of this machine, or through Ray on others.

A runner takes tasks and gives outcomes in whatever order they are done. A lost worker costs what it
was doing, which is tried again.
"""

from __future__ import annotations

import concurrent.futures as futures
import logging
import multiprocessing
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from pickle import PicklingError
from typing import Any

from secateur import extras
from secateur.errors import DataError, SecateurError, ToolError

from .judge import Figures, Training

Work = Callable[[Training], Figures]
#: How often a task is tried whose worker was lost.
TRIES = 3


@dataclass(frozen=True)
class Done:
    """Figures of a task, or the sentence why there are none."""

    task: Training
    figures: Figures | None
    error: str = ""


class Runner(ABC):
    """At most `slots` tasks at once."""

    slots: int = 1

    @abstractmethod
    def submit(self, task: Training) -> None:
        """Begin a task."""

    @abstractmethod
    def wait(self, seconds: float) -> list[Done]:
        """What is done by now; waits up to `seconds` if nothing is."""

    def close(self) -> None:  # noqa: B027 - nothing to close unless a runner says so
        """Give up what still runs."""


def _tried(work: Work, task: Training) -> Done:
    """Run a task; what does not fit or convert is an outcome, anything else a fault."""
    try:
        return Done(task, work(task))
    except SecateurError as e:
        return Done(task, None, str(e))


class Here(Runner):
    """One after another in this process."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.waiting: deque[Training] = deque()

    def submit(self, task: Training) -> None:
        """It runs in `wait`."""
        self.waiting.append(task)

    def wait(self, seconds: float) -> list[Done]:
        """Runs one task whole."""
        return [_tried(self.work, self.waiting.popleft())] if self.waiting else []


_work: Work | None = None


def _begin(work: Work) -> None:
    global _work
    _work = work


def _run(task: Training) -> Done:
    assert _work is not None
    return _tried(_work, task)


class Processes(Runner):
    """`jobs` processes on this machine."""

    def __init__(self, work: Work, jobs: int) -> None:
        if jobs < 1:
            raise DataError(f"jobs={jobs} is no number of processes; give 1 or more")
        try:
            ForkingPickler.dumps(work)  # what the processes' start will do
        except (PicklingError, AttributeError, TypeError) as e:
            raise DataError(
                f"other processes cannot be given this work ({e}): write augment as a function of "
                "a module"
            ) from e
        self.work = work
        self.slots = jobs
        self.tries: dict[Any, int] = {}
        self.running: dict[futures.Future[Done], Training] = {}
        self.pool = self._pool()

    def _pool(self) -> futures.ProcessPoolExecutor:
        return futures.ProcessPoolExecutor(
            self.slots, multiprocessing.get_context("spawn"), _begin, (self.work,)
        )

    def submit(self, task: Training) -> None:
        """Begin in a free process."""
        try:
            future = self.pool.submit(_run, task)
        except BrokenProcessPool as e:  # one died since: `wait` sees to it
            future = futures.Future()
            future.set_exception(e)
        self.running[future] = task

    def wait(self, seconds: float) -> list[Done]:
        """See `Runner`; tasks of a process that died are begun again."""
        done, _ = futures.wait(
            self.running, timeout=seconds, return_when=futures.FIRST_COMPLETED
        )  # fmt: skip
        out, lost = [], False
        again: list[Training] = []
        for future in done:
            task = self.running.pop(future)
            try:
                out.append(future.result())
            except BrokenProcessPool:
                lost = True
                again.append(task)
        if not lost:
            return out
        again += self.running.values()  # a broken pool has lost them all
        self.running.clear()
        self.pool.shutdown(wait=False)
        self.pool = self._pool()
        for task in again:
            count = self.tries[_key(task)] = self.tries.get(_key(task), 0) + 1
            if count >= TRIES:
                out.append(Done(task, None, f"the process died {TRIES} times"))
            else:
                self.submit(task)
        return out

    def close(self) -> None:
        """Ends the processes."""
        processes = list((self.pool._processes or {}).values())
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


def _key(task: Training) -> Any:
    return (task.number, task.rung)


class Rays(Runner):
    """Tasks of a Ray cluster: the work lies in the object store once, lost tasks are tried again.

    address: "auto", "local", or HOST:PORT of a cluster's head. cpus, gpus: what a task takes.
    """

    def __init__(self, work: Work, address: str = "auto", cpus: float = 1, gpus: float = 0):
        try:
            import ray
        except ImportError as e:
            raise ToolError(f"ray is not installed; run: {extras.install('ray')}") from e
        self.ray = ray
        self.mine = not ray.is_initialized()
        if self.mine:
            try:
                ray.init(
                    address=None if address == "local" else address, logging_level=logging.ERROR,
                    log_to_driver=False, include_dashboard=False if address == "local" else None,
                )  # fmt: skip
            except (ConnectionError, ValueError) as e:
                raise ToolError(
                    f"no Ray cluster at {address!r} ({' '.join(str(e).split())[:120]}): run 'ray "
                    "start --head', or give local"
                ) from e
        self.work = ray.put(work)
        self.remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=TRIES)(_tried)
        self.cpus = cpus
        self.running: dict[Any, Training] = {}

    @property
    def slots(self) -> int:  # type: ignore[override]
        """What the cluster holds at this moment: nodes come and go."""
        return max(1, int(self.ray.cluster_resources().get("CPU", 1) / max(self.cpus, 0.01)))

    def submit(self, task: Training) -> None:
        """Begin anywhere."""
        self.running[self.remote.remote(self.work, task)] = task

    def wait(self, seconds: float) -> list[Done]:
        """See `Runner`."""
        if not self.running:
            return []
        ready, _ = self.ray.wait(list(self.running), num_returns=1, timeout=seconds)
        out = []
        for reference in ready:
            task = self.running.pop(reference)
            try:
                out.append(self.ray.get(reference))
            except self.ray.exceptions.RayTaskError:
                raise
            except self.ray.exceptions.RayError as e:
                out.append(Done(task, None, f"lost {TRIES} times ({type(e).__name__})"))
        return out

    def close(self) -> None:
        """Gives up what runs, and leaves the cluster if it was joined here."""
        for reference in self.running:
            self.ray.cancel(reference, force=True)
        if self.mine:
            self.ray.shutdown()
