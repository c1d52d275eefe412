"""History: appended, listed, compared; a foreign file is left alone."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from secateur.cli import main
from secateur.errors import SecateurError
from secateur.report import Accuracy, Energy, Size, history, history_page
from tests.browser import NEEDS_BROWSER, look

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


def test_the_previous_run_is_that_of_the_same_model_and_board(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    told: list[str] = []
    assert history.previous(make_report(), told.append, path) is None
    history.append(make_report(), path)
    history.append(make_report(board="another"), path)
    assert history.previous(make_report(), told.append, path) == make_report()
    assert history.previous(make_report(model="another"), told.append, path) is None
    assert told == []
    with sqlite3.connect(path) as connection:
        connection.execute("update reports set report = '{}'")
    assert history.previous(make_report(), told.append, path) is None
    assert len(told) == 1
    assert "entry 1" in told[0]


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


def test_a_database_of_others_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "music.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("create table songs (title text)")
    connection.close()
    before = path.read_bytes()
    for use in (lambda: history.append(make_report(), path), lambda: history.entries(path)):
        with pytest.raises(SecateurError, match=r"is a database, but no history .it holds 'songs'"):
            use()
    assert path.read_bytes() == before
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(SecateurError, match="fifo is not a file but a pipe"):
        history.append(make_report(), tmp_path / "fifo")


def test_eight_processes_keep_every_row(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    text = (
        "import sys\nfrom pathlib import Path\nfrom secateur.report import Report, history\n"
        "report = Report.load(sys.argv[1])\n"
        "for i in range(50):\n    history.append(report, Path(sys.argv[2]))\n"
    )
    saved = make_report().save(tmp_path / "report.json")
    command = [sys.executable, "-c", text, str(saved), str(path)]
    many = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(8)]
    assert [child.communicate()[1] for child in many] == [b""] * 8
    assert len(history.entries(path, limit=1000)) == 400


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", '{"latency": {"ms": 1e999}}', '{"latency": {"ms": NaN}}', "[" * 100_000,
     "7" * 4000, "\x1b", b"\xff\xfe", 7, b"", '{"size": {"stored": ' + "9" * 300 + "}}"],
)  # fmt: skip
def test_a_damaged_entry_is_named_and_the_rest_shown(tmp_path: Path, text: object) -> None:
    path = tmp_path / "history.sqlite"
    for _ in range(3):
        history.append(make_report(), path)
    with sqlite3.connect(path) as connection:
        connection.execute("update reports set report = ? where id = 2", (text,))
    connection.close()
    said: list[str] = []
    assert [e.id for e in history.entries(path, damaged=said.append)] == [3, 1]
    assert "entry 2 of the history" in said[0]
    done = CliRunner().invoke(main, ["history", "--file", str(path)])
    assert done.exit_code == 0
    assert "entry 2 of the history" in done.output
    with pytest.raises(SecateurError, match="entry 2 of the history"):
        history.entry(2, path)


def test_a_damaged_page_is_named_and_the_rest_shown(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    for _ in range(40):
        history.append(make_report(), path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 & -4096
    data[middle : middle + 4096] = b"\xa5" * 4096
    path.write_bytes(data)
    said: list[str] = []
    found = history.entries(path, limit=100, damaged=said.append)
    assert 1 < len(found) < 41
    assert said


@pytest.mark.parametrize("number", [2**70, 0, -1, 2**63])
def test_a_number_no_entry_has(tmp_path: Path, number: int) -> None:
    path = tmp_path / "history.sqlite"
    history.append(make_report(), path)
    done = CliRunner().invoke(main, ["compare", "--file", str(path), "--", "1", str(number)])
    assert done.exit_code == 2
    assert f"has no entry {number}" in done.output


def test_an_earlier_schema_is_read_and_continued(tmp_path: Path) -> None:
    """Entries without a commit stay as they are; new ones have theirs."""
    path = tmp_path / "history.sqlite"
    history.append(make_report(), path)
    with sqlite3.connect(path) as connection:
        connection.execute("alter table reports drop column revision")
        connection.execute("pragma user_version = 1")
    connection.close()
    assert [e.revision for e in history.entries(path)] == [None]
    assert history.entry(1, path).revision is None
    history.append(make_report(), path)
    assert [e.id for e in history.entries(path)] == [2, 1]
    assert history.entry(1, path).revision is None


def test_the_commit_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a + where files were changed since; without a repository there is none."""

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", *who, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert history.revision_here() is None
    git("init", "-b", "main")
    assert history.revision_here() is None
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "a")
    commit = git("rev-parse", "--short=10", "HEAD")
    assert history.revision_here() == commit
    (tmp_path / "a").write_text("2")
    assert history.revision_here() == commit + "+"
    monkeypatch.setenv("PATH", "")
    assert history.revision_here() is None


def test_the_page_draws_every_figure_from_commit_to_commit(tmp_path: Path) -> None:
    """A picture a figure, a row a deployment, and nothing of a name acts."""
    path, page = tmp_path / "h.sqlite", tmp_path / "history.html"
    for size in (760, 380):
        history.append(make_report(model="<b>x", size=Size(8800, 2200, size)), path)
    history.append(
        make_report(accuracy=Accuracy(None, None, None), energy=Energy(None, "estimated")), path
    )
    asked = ["history", "--file", str(path), "--html", str(page)]
    for _ in range(2):  # ours: it is replaced
        done = CliRunner().invoke(main, asked)
        assert done.exit_code == 0, done.output
    text = page.read_text()
    assert "<b>" not in text
    assert "&lt;b&gt;x on mps2_an386 (qemu)" in text
    assert "-50.00 %" in text
    assert text.count("<svg") == 7 + 5  # without accuracy and energy
    assert "http" not in text
    page.write_text("mine")
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 2
    assert page.read_text() == "mine"


@pytest.mark.parametrize(
    "scheme", [pytest.param(s, marks=NEEDS_BROWSER) for s in ("light", "dark")]
)  # fmt: skip
def test_axe_finds_nothing_on_the_page(scheme: str, tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    for size in (760, 380, 500):
        history.append(make_report(size=Size(8800, 2200, size)), path)
    written = history_page.save(tmp_path / "history.html", history.entries(path))
    assert look([written], tmp_path, tmp_path, scheme) == []
