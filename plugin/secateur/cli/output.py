"""Where things go: results to standard output, progress to standard error, JSON pure."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from secateur.errors import SecateurError
from secateur.names import shown

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_F = TypeVar("_F", bound=Callable[..., Any])


def _remember(ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
    ctx.meta["json"] = value
    return value


def json_option(f: _F) -> _F:
    """`--json`: the command's result as one JSON document."""
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        callback=_remember,
        is_eager=True,
        help="One JSON document on standard output; progress goes to standard error.",
    )(f)


def stdout() -> Console:
    """The console for results."""
    from secateur.report.console import PlainConsole

    # Not a terminal: do not fold to 80 columns what somebody may grep.
    console = PlainConsole()
    return console if console.is_terminal else PlainConsole(width=160)


def stderr() -> Console:
    """The console for progress."""
    from secateur.report.console import PlainConsole

    return PlainConsole(stderr=True)


def print_result(as_json: bool, data: Any, text: Callable[[], RenderableType]) -> None:
    """Print `data` as JSON or `text()` for people."""
    if as_json:
        click.echo(json.dumps(data, indent=2, allow_nan=False))
    else:
        stdout().print(text())


def warn(sentence: str) -> None:
    """One sentence on standard error about what was left out."""
    click.echo(f"secateur: {shown(sentence)}", err=True)


def print_error(error: SecateurError, as_json: bool) -> None:
    """One sentence on standard error, and with --json the same as a document."""
    click.echo(f"secateur: {error}", err=True)
    if as_json:
        document = {"error": {"kind": type(error).__name__, "message": str(error)}}
        click.echo(json.dumps(document, indent=2))


@contextlib.contextmanager
def work(as_json: bool) -> Iterator[None]:
    """While inside, everything printed goes to standard error if the result will be JSON.

    Keras, TensorFlow's C++ and child processes print as they like, so the file descriptor is
    moved as well as Python's stream. Warnings about data are one line each.
    """
    with warnings.catch_warnings():
        _one_line_warnings()
        if not as_json:
            yield
            return
        with _to_standard_error():
            yield


def _one_line_warnings() -> None:
    ordinary = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if category.__module__.partition(".")[0] == "secateur":
            click.echo(f"secateur: warning: {message}", err=True)
        else:
            ordinary(message, category, *where, **more)

    warnings.showwarning = show


@contextlib.contextmanager
def _to_standard_error() -> Iterator[None]:
    sys.stdout.flush()
    try:
        saved: int | None = os.dup(1)
    except OSError:  # standard output is closed
        saved = None
    try:
        if saved is not None:
            os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stderr.flush()
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[str], None]]:
    """Show what is going on, on standard error: a bar on a terminal, else a line every 10 s.

    Gives a function that names the next step. What takes less than 10 s leaves no line in a log.
    """
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    from secateur.progress import listening, tell

    console = stderr()
    if not console.is_terminal:
        with _lines(what):
            yield tell
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)

        def show(text: str, done: int, total: int | None) -> None:
            count = f": {done} of {total}" if total else ""
            bar.update(task, description=text + count, completed=done, total=total)

        with listening(show):
            yield tell


#: Seconds between two lines of a log.
EVERY = 10.0


class _Log:
    """The last thing told, and when it began; `line` is what a log says of it now."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.done = 0
        self.total: int | None = None
        self.began = time.monotonic()

    def tell(self, what: str, done: int, total: int | None) -> None:
        if what != self.what:
            self.what, self.began = what, time.monotonic()
        self.done, self.total = done, total

    def line(self) -> str:
        took = time.monotonic() - self.began
        text = f"{shown(self.what)}: {took:.0f} s"
        if not self.total:
            return text
        text = f"{shown(self.what)}: {self.done} of {self.total}, {took:.0f} s"
        left = took / self.done * (self.total - self.done) if self.done else 0.0
        return f"{text}, about {left:.0f} s left" if left else text


@contextlib.contextmanager
def _lines(what: str) -> Iterator[None]:
    """Write what was told last, once every EVERY seconds, from a thread of its own."""
    from secateur.progress import listening

    log, over = _Log(what), threading.Event()

    def write() -> None:
        while not over.wait(EVERY):
            click.echo(f"secateur: {log.line()}", err=True)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        with listening(log.tell):
            yield
    finally:
        over.set()
        thread.join(1.0)


def import_keras() -> bool:
    """Import Keras without the lines TensorFlow writes while starting; False if it cannot be, of
    which whoever needs it says the reason.

    They come from C++ and heed no setting, so the file descriptor is turned away meanwhile; what
    was written is shown after all if the import fails for another reason than absence.
    """
    import importlib.util
    import tempfile

    from secateur.frontend import keras3

    if importlib.util.find_spec("keras") is None:
        return False
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            keras3.import_keras()
        except ImportError:
            return False
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
    return True
