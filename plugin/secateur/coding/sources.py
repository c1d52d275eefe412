"""The C headers of the decoders, and which ones a decoder needs."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent / "c"
_INCLUDE = re.compile(r'^#include "(sc_\w+\.h)"', re.MULTILINE)


def headers(*names: str) -> list[Path]:
    """Files to copy so that `#include "name"` works for every name, sorted, each once."""
    found: dict[str, Path] = {}
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = FOLDER / name
            todo += _INCLUDE.findall(found[name].read_text())
    return [found[name] for name in sorted(found)]
