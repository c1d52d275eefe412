"""The C headers of the decoders, and which ones a decoder needs."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent / "c"
_INCLUDE = re.compile(r'^#include "(sc_\w+\.h)"', re.MULTILINE)

#: Texts of headers that do not lie in the folder, by file name.
_ADDED: dict[str, str] = {}


def add(name: str, text: str) -> None:
    """Make the header of an encoding outside this package known: sc_NAME.h.

    Raises ValueError where there is one of that name already.
    """
    if not re.fullmatch(r"sc_\w+\.h", name) or known(name):
        raise ValueError(f"header {name!r} is there already, or no sc_NAME.h")
    _ADDED[name] = text.strip() + "\n"


def known(name: str) -> bool:
    """Whether there is a header of that name."""
    return name in _ADDED or (FOLDER / name).is_file()


def text(name: str) -> str:
    """The text of a header."""
    return _ADDED.get(name) or (FOLDER / name).read_text(encoding="utf-8")


def needed(names: list[str]) -> list[str]:
    """`names` and every header they include, each once, in the order in which they are met."""
    todo, found = list(names), []
    while todo:
        name = todo.pop(0)
        if name not in found:
            found.append(name)
            todo += _INCLUDE.findall(text(name))
    return found


def headers(*names: str) -> list[Path]:
    """Files to copy so that `#include "name"` works for every name, sorted, each once."""
    return [FOLDER / name for name in sorted(needed(list(names)))]
