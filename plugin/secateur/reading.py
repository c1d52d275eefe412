"""Every foreign file, looked at before it is read: a regular file of bounded size and depth.

A model, data, a manifest or a report comes from somebody else. What a file declares (sizes in an
archive, shapes in a header) is compared with what is there before anything is unpacked; devices
and pipes, which never end, are not opened for reading at all. `reading` turns whatever else a file
trips into one sentence with its name.
"""

from __future__ import annotations

import json
import math
import os
import stat
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .errors import FileError, SecateurError, UnexpectedError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MIB = 1 << 20
#: Bytes of a text file (JSON, TOML).
LONGEST_TEXT = 16 * MIB
#: Lists and objects inside one another.
DEEPEST = 100
#: Bytes of a model's file, and of an archive's members unpacked.
LARGEST_MODEL = 512 * MIB
#: Times an archive's member may grow from STEEP bytes on: weights and data compress less.
STEEPEST, STEEP = 100, 32 * MIB


@contextmanager
def reading(path: str | Path, kind: type[SecateurError] = FileError) -> Iterator[None]:
    """Whatever a file makes the code inside raise becomes one sentence that names the file.

    A SecateurError passes; what the system says of the file (OSError) is a `kind`; anything else
    is an UnexpectedError, which asks for a report.
    """
    try:
        yield
    except SecateurError:
        raise
    except OSError as e:
        raise kind(f"{path} cannot be read ({e.strerror or e}).") from e
    except Exception as e:
        raise UnexpectedError(
            f"{path} cannot be read: it makes this program fail ({_said(e)}). Please report that, "
            "with the file; --debug shows where."
        ) from e


def _said(e: Exception) -> str:
    """The exception in a few words."""
    text = " ".join(str(e).split())
    return f"{type(e).__name__}: {text[:200]}" if text else type(e).__name__


@contextmanager
def opened(
    path: str | Path, largest: int, kind: type[SecateurError] = FileError
) -> Iterator[IO[bytes]]:
    """The regular file `path`, open for reading, of at most `largest` bytes.

    Never waits: a pipe, a device or a folder is refused. Raises `kind`.
    """
    where = Path(path)
    try:
        fd = os.open(where, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise kind(f"{where} does not exist; give the path of a file.") from None
    except (OSError, ValueError) as e:
        raise kind(f"{where} cannot be read ({getattr(e, 'strerror', None) or e}).") from None
    state = os.fstat(fd)
    wrong = None
    if not stat.S_ISREG(state.st_mode):
        wrong = f"is not a file but {_what(state.st_mode)}; give the path of a file."
    elif state.st_size > largest:
        wrong = f"has {state.st_size:,} bytes; {largest:,} are the limit."
    if wrong:
        os.close(fd)
        raise kind(f"{where} {wrong}")
    with os.fdopen(fd, "rb") as file:
        yield file


def _what(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
    )  # fmt: skip
    return next((what for test, what in kinds if test(mode)), "something else")


def regular(
    path: str | Path, largest: int = LARGEST_MODEL, kind: type[SecateurError] = FileError
) -> Path:
    """`path` if it is a regular file of at most `largest` bytes, for readers of their own."""
    with opened(path, largest, kind):
        return Path(path)


def data(
    path: str | Path, largest: int = LARGEST_MODEL, kind: type[SecateurError] = FileError
) -> bytes:
    """All bytes of a regular file of at most `largest`."""
    with opened(path, largest, kind) as file:
        found = file.read(largest + 1)
    if len(found) > largest:  # of a file that says 0, like those in /proc
        raise kind(f"{path} has more than {largest:,} bytes, which are the limit.")
    return found


def text(
    path: str | Path, largest: int = LONGEST_TEXT, kind: type[SecateurError] = FileError
) -> str:
    """The UTF-8 text of a file."""
    try:
        return data(path, largest, kind).decode("utf-8")
    except UnicodeDecodeError as e:
        raise kind(f"{path} is not text (byte {e.start} is no UTF-8).") from None


def json_of(
    source: str | bytes, what: str, kind: type[SecateurError] = FileError, finite: bool = True
) -> Any:
    """A JSON document of bounded depth, with finite numbers; `what` names it in errors."""
    try:
        found = json.loads(source)
    except RecursionError:
        raise kind(f"{what} is nested more than {DEEPEST} deep.") from None
    except ValueError as e:
        raise kind(f"{what} is not JSON ({e}).") from None
    _bounded(found, what, kind, finite)
    return found


def json_file(
    path: str | Path, largest: int = LONGEST_TEXT, kind: type[SecateurError] = FileError
) -> Any:
    """The JSON document in a file."""
    return json_of(text(path, largest, kind), str(path), kind)


def toml_file(path: str | Path, kind: type[SecateurError] = FileError) -> dict[str, Any]:
    """The TOML document in a file of at most 1 MiB."""
    source = text(path, MIB, kind)
    try:
        found = tomllib.loads(source)
    except RecursionError:
        raise kind(f"{path} is nested more than {DEEPEST} deep.") from None
    except ValueError as e:
        raise kind(f"{path} is not TOML: {e}.") from None
    _bounded(found, str(path), kind, True)
    return found


def _bounded(document: Any, what: str, kind: type[SecateurError], finite: bool) -> None:
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise kind(f"{what} is nested more than {DEEPEST} deep.")
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
            elif finite and isinstance(item, float) and not math.isfinite(item):
                raise kind(f"{what} holds the number {item}, which is none.")
            elif isinstance(item, int) and not -(2**63) <= item < 2**64:
                raise kind(f"{what} holds a number of more than 64 bits.")
        level = inner


def members(
    archive: zipfile.ZipFile, path: str | Path, largest: int = LARGEST_MODEL,
    kind: type[SecateurError] = FileError,
) -> dict[str, zipfile.ZipInfo]:  # fmt: skip
    """The archive's members by name, if what they declare to unpack to is bounded.

    `zipfile` reads no more of a member than it declares.
    """
    found = archive.infolist()
    if len(found) > 10_000:
        raise kind(f"{path} has {len(found):,} members; 10,000 are the limit.")
    whole = sum(m.file_size for m in found)
    if whole > largest:
        raise kind(f"{path} would unpack to {whole:,} bytes; {largest:,} are the limit.")
    for m in found:
        if m.file_size > STEEP and m.file_size > STEEPEST * m.compress_size:
            raise kind(
                f"{path} is not read: its {m.filename!r} would unpack from {m.compress_size:,} to "
                f"{m.file_size:,} bytes."
            )
    names = {m.filename: m for m in found}
    if len(names) < len(found):
        twice = next(m.filename for m in found if names[m.filename] is not m)
        raise kind(f"{path} has two members called {twice!r}.")
    return names
