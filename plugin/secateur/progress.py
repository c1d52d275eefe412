"""Telling whoever listens what is going on. Nobody listens unless the command line does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

#: (what, done, total); total is None for steps of unknown length
Listener = Callable[[str, int, "int | None"], None]

_listener: ContextVar[Listener | None] = ContextVar("secateur_progress", default=None)


def tell(what: str, done: int = 0, total: int | None = None) -> None:
    """Report a step, or how far it is."""
    listener = _listener.get()
    if listener is not None:
        listener(what, done, total)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have `listener` called while inside."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
