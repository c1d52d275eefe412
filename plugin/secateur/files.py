"""Every file this program writes; nothing else is ever replaced or removed.

A folder that is written whole (`write_tree`) or built in (`building`) holds a list of its files
with their hashes, MANIFEST. Only what is listed and unchanged is replaced or removed; anything
else is refused by name. Single files (`write`) are replaced if they are of the kind that is
written. All appear at once: killed at any instant, the old or the new is there whole, and what lies
about is removed by the next call. Two processes that write to one place take turns.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from . import reading
from .errors import FileError
from .progress import tell

try:
    import fcntl
except ImportError:  # Windows: no lock, see _take
    fcntl = None  # type: ignore[assignment]

#: The list of a folder's files: path -> SHA-256, or null while a tool writes it.
MANIFEST = ".secateur-files.json"
_SCHEMA = 1
#: Seconds one process waits for another that writes to the same place.
WAIT = 60.0

Listing = dict[str, "str | None"]


def looks_like(pattern: bytes) -> Callable[[bytes], bool]:
    """Whether a file is of a kind that this program writes, by what it begins with."""
    return lambda head: re.match(pattern, head, re.S) is not None


def check(path: str | Path, ours: Callable[[bytes], bool]) -> Path:
    """Where `write` would write. Raises FileError if something else is there."""
    given = Path(path)
    with _reported(given):
        return _free(given, ours)


def check_folder(folder: str | Path) -> Path:
    """Where `write_tree` would write. Raises FileError if something else is there."""
    given = Path(folder)
    with _reported(given):
        target = _folder(given)
        try:
            _owned(target, given)
        except FileError:  # or another process is replacing it at this moment
            with _held(_lock(target), given, WAIT):
                _owned(target, given)
        return target


def write(path: str | Path, content: str | bytes, ours: Callable[[bytes], bool]) -> Path:
    """Write a file in one step; folders are made as needed.

    `ours` tells from the first 4096 bytes of a file whether it may be replaced: whether it is of
    the kind that `content` is. An empty file may. Raises FileError.
    """
    given = Path(path)
    raw = content if isinstance(content, bytes) else content.encode("utf-8")
    assert ours(raw[:4096]), f"{given} would not be replaced again"
    with _reported(given):
        target = _free(given, ours)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.secateur-part")
        with _held(part, given, WAIT) as fd:
            _free(given, ours)
            os.ftruncate(fd, 0)
            if target.exists():
                os.chmod(part, stat.S_IMODE(target.stat().st_mode))
            _put(fd, raw)
            os.replace(part, target)
    return given


def _free(given: Path, ours: Callable[[bytes], bool]) -> Path:
    """The file `given` names, links followed; FileError if it is not there to be written."""
    target = Path(os.path.realpath(given))
    if given.is_symlink() and not target.exists():
        raise FileError(f"{given} is a link to {target}, which does not exist; give another path.")
    if not os.path.lexists(target):
        return target
    with reading.opened(target, sys.maxsize) as file:
        head = file.read(4096)
    if head and not ours(head):
        raise FileError(f"{given} is there and secateur did not write it; choose another path.")
    return target


def write_tree(folder: str | Path, files: Mapping[str, str | bytes]) -> Path:
    """Make `folder` hold exactly `files` (content by relative path) and MANIFEST, in one step.

    Replaces what an earlier call wrote. Raises FileError if anything else is there, or a file that
    was changed since.
    """
    given = Path(folder)
    raw = {p: c if isinstance(c, bytes) else c.encode("utf-8") for p, c in files.items()}
    raw[MANIFEST] = _document({p: _hash(c) for p, c in raw.items()})
    with _reported(given):
        target = _folder(given)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _held(_lock(target), given, WAIT) as fd:
            _recover(fd, target)
            _owned(target, given)
            token = secrets.token_hex(8)
            stage = target.with_name(f".{target.name}.secateur-{token}")
            old = target.with_name(f"{stage.name}-old")
            _note(fd, [stage.name, old.name])
            try:
                for path, content in raw.items():
                    (stage / path).parent.mkdir(parents=True, exist_ok=True)
                    _create(stage / path, content)
                listing = _owned(target, given)
                _swap(stage, old, target)
                _clear(old if old.exists() else stage, listing)
            finally:
                _recover(fd, target)
    return given


def _lock(target: Path) -> Path:
    return target.with_name(f".{target.name}.secateur-lock")


def _swap(stage: Path, old: Path, target: Path) -> None:
    """`stage` in the place of `target`, which is afterwards at `stage` or at `old`."""
    if not target.exists():
        os.rename(stage, target)
    elif not _exchange(stage, target):
        os.rename(target, old)  # killed here, the next call puts it back
        os.rename(stage, target)


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two folders' names in one step; False where the system cannot."""
    sys.audit("secateur.exchange", str(a), str(b))
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" \
        else None  # fmt: skip
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code))


def _recover(fd: int, target: Path) -> None:
    """Finish what a call that was killed had begun: the lock's file names it."""
    os.lseek(fd, 0, os.SEEK_SET)
    noted = os.read(fd, 4096).decode("utf-8", "replace").split("\n")
    pattern = re.escape(f".{target.name}.secateur-") + r"[0-9a-f]{16}(-old)?"
    for name in noted:
        if not re.fullmatch(pattern, name):
            continue
        left = target.with_name(name)
        if name.endswith("-old") and left.exists() and not target.exists():
            os.rename(left, target)
        elif left.is_dir() and not left.is_symlink():
            listing = _listing(left)
            if listing is not None:
                _clear(left, listing)
            else:
                shutil.rmtree(left)  # half written: the list comes last, and goes last
    os.ftruncate(fd, 0)


def _note(fd: int, names: list[str]) -> None:
    os.lseek(fd, 0, os.SEEK_SET)
    os.ftruncate(fd, 0)
    _put(fd, "\n".join([*names, ""]).encode())


def _folder(given: Path) -> Path:
    """The folder `given` names, a link followed; FileError if it is something else."""
    target = Path(os.path.realpath(given))
    if given.is_symlink() and not target.exists():
        raise FileError(f"{given} is a link to {target}, which does not exist; give another path.")
    if os.path.lexists(target) and not target.is_dir():
        raise FileError(f"{given} is there and is not a folder; choose a new or empty folder.")
    return target


def _owned(target: Path, given: Path) -> Listing:
    """The list of what lies in `target`; FileError if there is anything else, or it changed."""
    if not target.exists():
        return {}
    listing = _listing(target)
    known = {} if listing is None else listing
    folders = {str(parent) for path in known for parent in Path(path).parents}
    for place, inner, files in os.walk(target):
        here = Path(place).relative_to(target)
        for name in sorted([*inner, *files]):
            path = str(here / name) if str(here) != "." else name
            is_folder = name in inner and not (target / path).is_symlink()
            if path == MANIFEST and listing is not None:
                continue
            if (path not in folders) if is_folder else (path not in known):
                raise FileError(
                    f"{given} holds {path!r}, which secateur did not write; choose a new or empty "
                    "folder."
                )
            if not is_folder and not _same(target / path, known[path]):
                raise FileError(
                    f"{given} holds {path!r}, which was changed since secateur wrote it; choose a "
                    "new or empty folder, or remove it."
                )
    return known


def _same(path: Path, digest: str | None) -> bool:
    """Whether a file is still what was written; None: a tool was writing it."""
    if path.is_symlink() or not path.is_file():
        return False
    return digest is None or _hash_file(path) == digest


def _listing(folder: Path) -> Listing | None:
    """MANIFEST of a folder; None without, or if it is no such list."""
    try:
        found = reading.json_file(folder / MANIFEST)
        if found["secateur-files"] != _SCHEMA:
            return None
        listing = {str(p): None if h is None else str(h) for p, h in found["files"].items()}
    except (FileError, KeyError, TypeError, AttributeError):
        return None
    # a list that names what lies elsewhere is none of ours
    inside = all(not Path(p).is_absolute() and ".." not in Path(p).parts for p in listing)
    return listing if inside else None


def _document(listing: Listing) -> bytes:
    return (json.dumps({"secateur-files": _SCHEMA, "files": listing}, indent=1) + "\n").encode()


def _clear(folder: Path, listing: Listing) -> None:
    """Remove what is listed, the folders that are empty then, and MANIFEST last; no more."""
    if not folder.exists():
        return
    for path in listing:
        if os.path.lexists(folder / path):
            os.unlink(folder / path)
    for place, inner, found in os.walk(folder, topdown=False):
        for name in inner:
            os.rmdir(Path(place) / name)
        if late := [name for name in found if name != MANIFEST]:
            raise FileError(f"{place} holds {late[0]!r}, which came while its folder was replaced.")
    (folder / MANIFEST).unlink(missing_ok=True)
    os.rmdir(folder)


@contextmanager
def building(folder: str | Path, names: Iterable[str]) -> Iterator[Path]:
    """A folder in which a tool writes the files `names`; a name with / at its end is a folder.

    Made if need be. Whatever is called so already must be on the folder's list and unchanged;
    other files stay as they are. Afterwards MANIFEST lists what was written. Raises FileError.
    """
    given = Path(folder)
    with _reported(given):
        target = _folder(given)
        target.mkdir(parents=True, exist_ok=True)
    wanted = list(names)
    with held(target / ".secateur-lock", given):
        with _reported(given):
            listing = _listing(target) or {}
            for name in wanted:
                _mine(target, name, listing, given)
            listing |= dict.fromkeys(wanted)
            _list(target, listing)
        yield target
        with _reported(given):
            for name in wanted:
                path = target / name
                if not os.path.lexists(path):
                    del listing[name]
                elif not name.endswith("/"):
                    listing[name] = _hash_file(path)
            _list(target, listing)


def _mine(target: Path, name: str, listing: Listing, given: Path) -> None:
    path = target / name
    if not os.path.lexists(target / name.rstrip("/")):
        return
    if name.endswith("/"):
        plain = path.is_dir() and not (target / name.rstrip("/")).is_symlink()
        fine = plain and (name in listing or not any(path.iterdir()))
    else:
        fine = name in listing and _same(path, listing[name])
    if not fine:
        how = "was changed since secateur wrote it" if name in listing else "is not secateur's"
        raise FileError(f"{given} holds {name!r}, which {how}; choose a new or empty folder.")


def _list(folder: Path, listing: Listing) -> None:
    """Replace MANIFEST in one step; the folder's lock is held."""
    part = folder / f"{MANIFEST}-part"
    part.unlink(missing_ok=True)
    _create(part, _document(listing))
    os.replace(part, folder / MANIFEST)


@contextmanager
def held(lock: Path, given: Path, wait: float = WAIT) -> Iterator[None]:
    """Hold the lock file `lock` of the place `given`: nobody else of this program writes there."""
    with _reported(given):
        lock.parent.mkdir(parents=True, exist_ok=True)
    with _held(lock, given, wait):
        yield


def lock_of(folder: str | Path) -> Path:
    """The lock file of a folder whose whole content one process makes at a time."""
    target = Path(os.path.realpath(folder))
    return target.with_name(f".{target.name}.secateur-busy")


@contextmanager
def _held(lock: Path, given: Path, wait: float) -> Iterator[int]:
    """The lock file, open and ours alone; removed afterwards unless it was renamed."""
    with _reported(given):
        fd = _take(lock, given, wait)
    try:
        yield fd
    finally:
        try:
            if _is_at(fd, lock):
                os.unlink(lock)
        finally:
            os.close(fd)


def _take(lock: Path, given: Path, wait: float) -> int:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    end = time.monotonic() + wait
    told = False
    while True:
        fd = os.open(lock, flags, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise FileError(f"{lock} is not a file of secateur's; move it away.")
            # Where there is no flock the last one who renames wins, whole.
            if fcntl is not None:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(fd, lock):
                return fd
            os.close(fd)  # its holder has removed it meanwhile
        except BlockingIOError:
            os.close(fd)
            if time.monotonic() >= end:
                raise FileError(
                    f"another process of secateur is writing to {given}; wait until it is done, or "
                    "choose another folder."
                ) from None
            if not told:
                tell(f"waiting for another process that writes to {given}")
                told = True
            time.sleep(0.05)
        except BaseException:
            os.close(fd)
            raise


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _create(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        _put(fd, content)
    finally:
        os.close(fd)


def _put(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        sys.audit("secateur.write", fd)
        view = view[os.write(fd, view[: 1 << 20]) :]


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _reported(given: Path) -> Iterator[None]:
    """What the system says against it, in one sentence."""
    try:
        yield
    except (OSError, ValueError) as e:
        why = getattr(e, "strerror", None) or e
        raise FileError(f"cannot write {given} ({why}); choose a place you may write to.") from e
