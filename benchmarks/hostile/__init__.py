"""Hostile and broken inputs, each with the sentence that must answer it.

`python -m benchmarks.hostile` tries them all. A case either works (its `expect` is None: then what
it returns was checked by itself), or ends in one sentence, a SecateurError or an exit with code 2,
that its pattern finds. Everything else is not fine: another exception, silence, a traceback, a
control character, too much time or memory.
"""

from __future__ import annotations

import re
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 30  #: in which every case ends, whatever it is
MEGABYTES = 400  #: by which the process may grow in one case


@dataclass(frozen=True)
class Case:
    """One hostile input. `run` gets an empty folder; `expect` is a pattern of its sentence."""

    category: str
    name: str
    expect: str | None
    run: Callable[[Path], Any]


@dataclass(frozen=True)
class Outcome:
    """What a case did."""

    case: Case
    fine: bool
    said: str
    seconds: float


class RefusedError(Exception):
    """The command line ended with code 2 and this sentence."""


class WarnedError(Exception):
    """It works, and this warning was given."""


def command(*args: object) -> str:
    """Run `secateur ARGS`; its output. Raises RefusedError with what it said if it ended with 2."""
    from click.testing import CliRunner

    from secateur.cli import main

    result = CliRunner().invoke(main, [str(a) for a in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code == 0:
        strange = {c for c in result.output if not c.isprintable() and c != "\n"}
        assert not strange, f"a terminal would act on {strange!r}"
        return str(result.stdout)
    said = [x for x in result.stderr.strip().splitlines() if x.strip()]
    if result.exit_code != 2 or not said or "Traceback" in result.stderr:
        raise AssertionError(f"exit code {result.exit_code}, said {result.stderr[-300:]!r}")
    # click's own usage errors have lines before; a sentence of ours stands alone
    usage = said[0].startswith("Usage:")
    raise RefusedError(said[-1] if usage else " ".join(said))


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"not over in {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    outer, _ = signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, outer)  # a test's own limit goes on
        signal.signal(signal.SIGALRM, before)


def attempt(case: Case, folder: Path) -> Outcome:
    """Try one case in an empty folder."""
    from secateur.errors import SecateurError

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    try:
        with _time_limit():
            case.run(folder)
        fine, said = case.expect is None, "works" if case.expect is None else "silence"
    except (SecateurError, RefusedError, WarnedError) as e:
        said = str(e)
        fine = case.expect is not None and re.search(case.expect, said, re.I | re.S) is not None
        if said.strip().count("\n") or not said.isprintable():
            fine, said = False, f"not one printable sentence: {said!r}"
    except BaseException as e:
        if isinstance(e, KeyboardInterrupt):
            raise
        fine, said = False, f"{type(e).__name__}: {str(e)[:300]}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    if fine and grown > MEGABYTES:
        fine, said = False, f"took {grown:.0f} MB: {said}"
    return Outcome(case, fine, said, time.monotonic() - started)


def all_cases() -> list[Case]:
    """Every case of every category."""
    from . import data, files, models, names, peers, streams, training, values

    modules = (names, files, models, data, training, streams, peers, values)
    return [case for module in modules for case in module.cases()]
