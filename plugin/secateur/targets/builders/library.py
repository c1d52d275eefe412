"""A generated library on disk, as the builders see it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ...errors import ToolError


@dataclass(frozen=True)
class LibraryFolder:
    """Names and sizes (bytes) of a generated library."""

    folder: Path
    name: str  #: prefix of its functions, stem of its header
    macro: str  #: prefix of its macros
    sources: list[Path]
    input_size: int
    output_size: int
    arena: int


def read(folder: Path) -> LibraryFolder:
    """Raises ToolError if `folder` holds no generated library."""
    folder = Path(folder).resolve()
    try:
        name = str(json.loads((folder / "library.json").read_text(encoding="utf-8"))["name"])
        header = (folder / "src" / f"{name}.h").read_text(encoding="utf-8")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ToolError(
            f"{folder} is not a generated library ({error}): write one with 'secateur convert'"
        ) from None
    found = {
        kind: (macro, int(value))
        for macro, kind, value in re.findall(
            r"^#define (\w+)_(INPUT_SIZE|OUTPUT_SIZE|ARENA_BYTES)\s+\(?(\d+)", header, re.M
        )
    }
    missing = {"INPUT_SIZE", "OUTPUT_SIZE", "ARENA_BYTES"} - set(found)
    if missing:
        raise ToolError(
            f"{folder}/src/{name}.h does not define {', '.join(sorted(missing))}: "
            "write the library again with 'secateur convert'"
        )
    return LibraryFolder(
        folder=folder,
        name=name,
        macro=found["INPUT_SIZE"][0],
        sources=sorted((folder / "src").glob("*.c")),
        input_size=found["INPUT_SIZE"][1],
        output_size=found["OUTPUT_SIZE"][1],
        arena=found["ARENA_BYTES"][1],
    )
