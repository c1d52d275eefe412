"""A generated library on disk, as the builders see it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ... import names, reading
from ...errors import FileError, ToolError


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
        name = str(reading.json_file(folder / "library.json")["name"])
        if names.model(name) != name:
            raise ValueError(f"{name!r} is no name of a library")
        header = reading.text(folder / "src" / f"{name}.h")
    except (FileError, ValueError, KeyError, TypeError) as error:
        if (folder / "secateur.json").is_file() and not (folder / "library.json").exists():
            raise ToolError(
                f"{folder} is a library in another format; firmware is built of the one that "
                "'secateur convert --format platformio' writes"
            ) from None
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
