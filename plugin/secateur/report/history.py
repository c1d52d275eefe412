"""Reports over time: one local SQLite file, appended to by every deployment."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from secateur.errors import SecateurError
from secateur.names import shown
from secateur.reading import json_of, regular

from .figures import Report

_SCHEMA = 2  # 1 was without `revision`
#: Seconds one process waits for others that append.
WAIT = 30.0
_TABLE = """
create table if not exists reports (
    id integer primary key,
    at text not null,
    model text not null,
    board text not null,
    emulator text,
    report text not null,
    revision text
)"""


@dataclass(frozen=True)
class Entry:
    """One deployment. `at` is UTC, ISO 8601; `report` schema 1 of docs/report-schema.md.

    `revision` is the git commit it was made at, in short, with a + where files had been changed
    since; None where there is no repository, or a version wrote the entry that kept none.
    """

    id: int
    at: str
    model: str
    board: str
    emulator: str | None
    report: dict[str, Any]
    revision: str | None = None


def default_path() -> Path:
    """`build/history.sqlite`, or what the environment variable SECATEUR_HISTORY names."""
    return Path(os.environ.get("SECATEUR_HISTORY", "build/history.sqlite"))


@contextmanager
def _open(path: Path, create: bool) -> Iterator[sqlite3.Connection]:
    if not create and not path.is_file():
        raise SecateurError(f"history {path} does not exist yet: 'secateur deploy' begins it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            regular(path, largest=sys.maxsize)  # neither a pipe nor a device
        connection = sqlite3.connect(path, timeout=WAIT)
        try:
            # Bytes that are no text are seen by whoever reads the row.
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            _make_ours(connection, path, create)
            with connection:
                yield connection
        finally:
            connection.close()
    except (sqlite3.Error, OSError) as error:
        raise SecateurError(
            f"history {path} cannot be used ({error}): name another file with SECATEUR_HISTORY"
        ) from None


def _make_ours(connection: sqlite3.Connection, path: Path, create: bool) -> None:
    """Begin a history in an empty database; SecateurError where something else is."""
    version = connection.execute("pragma user_version").fetchone()[0]
    there = {str(name) for (name,) in connection.execute("select name from sqlite_master")}
    if version not in range(_SCHEMA + 1):
        raise SecateurError(
            f"history {path} has schema {version}, this version reads {_SCHEMA}: "
            "name another file with SECATEUR_HISTORY"
        )
    if there and "reports" not in there:
        raise SecateurError(
            f"{path} is a database, but no history (it holds {min(there)!r}): name another file "
            "with SECATEUR_HISTORY"
        )
    if not create:
        return
    # Readers do not stop those who append, nor the other way about. Where the file system cannot
    # (a network's) it stays as it is, and they wait for each other.
    if connection.execute("pragma journal_mode").fetchone()[0] != "wal":
        # SQLite does not wait by itself for this change: what is locked meanwhile comes again.
        end = time.monotonic() + WAIT
        while True:
            try:
                connection.execute("pragma journal_mode = wal")
                break
            except sqlite3.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
    if version < _SCHEMA:
        with connection:
            connection.execute("begin immediate")
            connection.execute(_TABLE)
            if not _keeps_revisions(connection):  # and no other process has been faster
                connection.execute("alter table reports add column revision text")
            connection.execute(f"pragma user_version = {_SCHEMA}")


def _keeps_revisions(connection: sqlite3.Connection) -> bool:
    return any(row[1] == "revision" for row in connection.execute("pragma table_info(reports)"))


def _query(connection: sqlite3.Connection) -> str:
    """What selects entries, whichever schema wrote them."""
    revision = "revision" if _keeps_revisions(connection) else "null"
    return f"select id, at, model, board, emulator, report, {revision} from reports"


def revision_here() -> str | None:
    """The commit of the folder that we are in, see `Entry`."""

    def git(*words: str) -> str:
        # No monitor of files: a repository's settings may name a program for that.
        done = subprocess.run(
            ["git", "-c", "core.fsmonitor=false", *words], stdin=subprocess.DEVNULL,
            capture_output=True, timeout=10, check=True,
        )  # fmt: skip
        return done.stdout.decode("utf-8", "replace").strip()

    try:
        commit = git("rev-parse", "--short=10", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None  # no git, no repository, or one without a commit
    return shown(commit + "+" * bool(changed))


def _entry(row: tuple[Any, ...]) -> Entry:
    """The row; SecateurError names it if it is damaged."""
    number, at, model, board, emulator, report, revision = row
    texts = (at, model, board, emulator or "", report, revision or "")
    if not all(isinstance(text, str) for text in texts):
        raise SecateurError(f"entry {number} of the history is damaged (a column is no text)")
    document = json_of(report, f"the report of entry {number} of the history")
    if not isinstance(document, dict):
        raise SecateurError(f"the report of entry {number} of the history is damaged (no object)")
    return Entry(number, at, model, board, emulator, document, revision)


def append(report: Report, path: Path | None = None) -> int:
    """Add a report; its number."""
    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    revision = revision_here()
    with _open(path or default_path(), create=True) as connection:
        done = connection.execute(
            "insert into reports (at, model, board, emulator, report, revision) "
            "values (?, ?, ?, ?, ?, ?)",
            (
                shown(at), shown(report.model), shown(report.board),
                None if report.emulator is None else shown(report.emulator),
                json.dumps(report.to_dict()), revision,
            ),
        )  # fmt: skip
        return int(done.lastrowid or 0)


def entries(
    path: Path | None = None,
    model: str | None = None,
    board: str | None = None,
    limit: int = 50,
    damaged: Callable[[str], None] | None = None,
) -> list[Entry]:
    """The newest entries, newest first.

    An entry that cannot be read is told to `damaged` in a sentence and left out; without, it is a
    SecateurError.
    """
    chosen = (
        "where (?1 is null or model = ?1) and (?2 is null or board = ?2) "
        "order by id {order} limit ?3"
    )
    where = path or default_path()
    rows: dict[int, tuple[Any, ...]] = {}
    broken: list[str] = []
    with _open(where, create=False) as connection:
        wanted = (model and shown(model), board and shown(board), limit)
        # What lies before a damaged page is found from the other end.
        for order in ("desc", "asc"):
            try:
                for row in connection.execute(
                    f"{_query(connection)} {chosen.format(order=order)}", wanted
                ):
                    rows[row[0]] = row
                break
            except sqlite3.DatabaseError as error:
                broken += [f"history {where} is damaged ({error}): entries are missing"]
    found: list[Entry] = []
    for number in sorted(rows, reverse=True)[:limit]:
        try:
            found.append(_entry(rows[number]))
        except SecateurError as error:
            broken.append(str(error))
    for sentence in dict.fromkeys(broken):
        if damaged is None:
            raise SecateurError(sentence)
        damaged(sentence)
    return found


def previous(
    report: Report, damaged: Callable[[str], None], path: Path | None = None
) -> Report | None:
    """The last run of the same model on the same board; None where there is none.

    One that cannot be read is told to `damaged` in a sentence.
    """
    where = path or default_path()
    if not where.is_file():
        return None
    try:
        last = entries(where, report.model, report.board, 1, damaged)
        return Report.from_dict(last[0].report, f"entry {last[0].id} of {where}") if last else None
    except SecateurError as error:
        damaged(str(error))
        return None


def entry(number: int, path: Path | None = None) -> Entry:
    """One entry. Raises SecateurError if there is none of this number."""
    where = path or default_path()
    if not 0 < number < 2**63:
        raise SecateurError(f"history {where} has no entry {number}: they are counted from 1")
    with _open(where, create=False) as connection:
        row = connection.execute(f"{_query(connection)} where id = ?", (number,)).fetchone()
    if row is None:
        raise SecateurError(f"history {where} has no entry {number}: 'secateur history' lists them")
    return _entry(row)


#: What `compare` puts side by side: title, path in the report.
FIGURES = (
    ("accuracy", ("accuracy", "device")),
    ("stored bytes", ("size", "stored")),
    ("flash model", ("flash", "model")),
    ("flash runtime", ("flash", "runtime")),
    ("RAM arena", ("ram", "arena")),
    ("RAM stack", ("ram", "stack")),
    ("instructions", ("latency", "instructions")),
    ("cycles", ("latency", "cycles")),
    ("ms", ("latency", "ms")),
    ("uJ", ("energy", "uj")),
)


def figure(report: dict[str, Any], path: tuple[str, ...]) -> float | None:
    """A figure of a report, None where it has none."""
    value: Any = report
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, (int, float)) else None


def compare(old: Entry, new: Entry) -> list[dict[str, Any]]:
    """Rows of figure, old, new, change (fraction; None where one is missing or old is 0)."""
    rows = []
    for title, path in FIGURES:
        before, after = figure(old.report, path), figure(new.report, path)
        change = (after - before) / before if before and after is not None else None
        rows.append({"figure": title, "old": before, "new": after, "change": change})
    return rows
