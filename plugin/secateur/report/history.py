"""Reports over time: one local SQLite file, appended to by every deployment."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from secateur.errors import SecateurError

from .figures import Report

_SCHEMA = 1
_TABLE = """
create table if not exists reports (
    id integer primary key,
    at text not null,
    model text not null,
    board text not null,
    emulator text,
    report text not null
)"""


@dataclass(frozen=True)
class Entry:
    """One deployment. `at` is UTC, ISO 8601; `report` schema 1 of docs/report-schema.md."""

    id: int
    at: str
    model: str
    board: str
    emulator: str | None
    report: dict[str, Any]


def default_path() -> Path:
    """`build/history.sqlite`, or what the environment variable SECATEUR_HISTORY names."""
    return Path(os.environ.get("SECATEUR_HISTORY", "build/history.sqlite"))


@contextmanager
def _open(path: Path, create: bool) -> Iterator[sqlite3.Connection]:
    if not create and not path.is_file():
        raise SecateurError(f"history {path} does not exist yet: 'secateur deploy' begins it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=10)
        try:
            version = connection.execute("pragma user_version").fetchone()[0]
            if version not in (0, _SCHEMA):
                raise SecateurError(
                    f"history {path} has schema {version}, this version reads {_SCHEMA}: "
                    "name another file with SECATEUR_HISTORY"
                )
            with connection:
                connection.execute(_TABLE)
                connection.execute(f"pragma user_version = {_SCHEMA}")
                yield connection
        finally:
            connection.close()
    except (sqlite3.Error, OSError) as error:
        raise SecateurError(
            f"history {path} cannot be used ({error}): name another file with SECATEUR_HISTORY"
        ) from None


def _entry(row: tuple[Any, ...]) -> Entry:
    number, at, model, board, emulator, report = row
    return Entry(number, at, model, board, emulator, json.loads(report))


def append(report: Report, path: Path | None = None) -> int:
    """Add a report; its number."""
    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with _open(path or default_path(), create=True) as connection:
        done = connection.execute(
            "insert into reports (at, model, board, emulator, report) values (?, ?, ?, ?, ?)",
            (at, report.model, report.board, report.emulator, json.dumps(report.to_dict())),
        )
        return int(done.lastrowid or 0)


def entries(
    path: Path | None = None,
    model: str | None = None,
    board: str | None = None,
    limit: int = 50,
) -> list[Entry]:
    """The newest entries, newest first."""
    query = (
        "select id, at, model, board, emulator, report from reports "
        "where (?1 is null or model = ?1) and (?2 is null or board = ?2) "
        "order by id desc limit ?3"
    )
    with _open(path or default_path(), create=False) as connection:
        rows = connection.execute(query, (model, board, limit)).fetchall()
    return [_entry(row) for row in rows]


def entry(number: int, path: Path | None = None) -> Entry:
    """One entry. Raises SecateurError if there is none of this number."""
    where = path or default_path()
    with _open(where, create=False) as connection:
        row = connection.execute(
            "select id, at, model, board, emulator, report from reports where id = ?", (number,)
        ).fetchone()
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
