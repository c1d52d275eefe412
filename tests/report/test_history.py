"""History: appended, listed, compared; a foreign file is left alone."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from secateur.cli import main
from secateur.errors import SecateurError
from secateur.report import history

from .sample import report as make_report


def test_append_list_compare(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "history.sqlite"
    report = make_report()
    first = history.append(report, path)
    second = history.append(report, path)
    assert [e.id for e in history.entries(path)] == [second, first]
    assert history.entries(path, model="another") == []
    assert history.entry(first, path).report == report.to_dict()
    rows = {row["figure"]: row for row in history.compare(*history.entries(path))}
    assert rows["instructions"]["change"] == 0
    for arguments in (["history"], ["compare", str(first), str(second)]):
        for extra in ([], ["--json"]):
            done = CliRunner().invoke(main, [*arguments, "--file", str(path), *extra])
            assert done.exit_code == 0, done.output


def test_change(tmp_path: Path) -> None:
    def entry(cycles: float | None) -> history.Entry:
        return history.Entry(1, "", "m", "b", None, {"latency": {"cycles": cycles}})

    rows = {r["figure"]: r for r in history.compare(entry(100.0), entry(150.0))}
    assert rows["cycles"] == {"figure": "cycles", "old": 100.0, "new": 150.0, "change": 0.5}
    assert rows["uJ"]["change"] is None


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match="does not exist yet"):
        history.entries(tmp_path / "no.sqlite")
    path = tmp_path / "history.sqlite"
    history.append(make_report(), path)
    with pytest.raises(SecateurError, match="no entry 99"):
        history.entry(99, path)


def test_a_foreign_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    path.write_text("no database at all, but long enough to be looked at " * 40)
    before = path.read_bytes()
    with pytest.raises(SecateurError, match="cannot be used"):
        history.append(make_report(), path)
    assert path.read_bytes() == before
    newer = tmp_path / "newer.sqlite"
    with sqlite3.connect(newer) as connection:
        connection.execute("pragma user_version = 7")
    with pytest.raises(SecateurError, match="has schema 7"):
        history.append(make_report(), newer)
