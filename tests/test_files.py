"""What this program writes, and what it leaves alone; what a kill or a second process leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from secateur import files
from secateur.errors import FileError, SecateurError
from secateur.report import ci, html
from secateur.report.figures import OURS as REPORT

from .report.sample import report

OLD = {"src/net.c": "old\n", "src/net.h": "old\n", "library.json": "{}\n", "gone/x.h": "old"}
NEW = {"src/net.c": "new\n", "src/net.h": "new\n", "library.json": "{1}\n", "more/y.h": "new"}


def content(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): p.read_text()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != files.MANIFEST
    }


def test_a_tree_is_replaced_whole(tmp_path: Path) -> None:
    files.write_tree(tmp_path / "lib", OLD)
    files.write_tree(tmp_path / "lib", NEW)
    assert content(tmp_path / "lib") == NEW
    assert [p.name for p in tmp_path.iterdir()] == ["lib"]
    assert not (tmp_path / "lib" / "gone").exists()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda f: (f / "mine.txt").write_text("x"), "holds 'mine.txt', which secateur did not"),
        (lambda f: (f / "src" / "user.c").write_text("x"), "holds 'src/user.c', which secateur"),
        (lambda f: (f / "src" / "net.c").write_text("x"), "'src/net.c', which was changed since"),
        (lambda f: (f / "empty").mkdir(), "holds 'empty', which secateur did not write"),
        (lambda f: (f / files.MANIFEST).write_text("{"), f"holds '{files.MANIFEST}', which"),
        (lambda f: (f / files.MANIFEST).unlink(), "holds 'gone', which secateur did not write"),
        (lambda f: ((f / "src" / "net.c").unlink(), (f / "src" / "net.c").symlink_to("/etc/hosts")),
         "'src/net.c', which was changed since"),
    ],
)  # fmt: skip
def test_what_a_user_put_into_a_library_is_kept(
    tmp_path: Path, spoil: Callable[[Path], Any], sentence: str
) -> None:
    folder = files.write_tree(tmp_path / "lib", OLD)
    spoil(folder)
    before = content(folder)
    with pytest.raises(FileError, match=sentence):
        files.write_tree(folder, NEW)
    assert content(folder) == before
    assert [p.name for p in tmp_path.iterdir()] == ["lib"]


def test_a_list_naming_files_elsewhere_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / "lib").mkdir()
    for path in ("../thesis.txt", str(tmp_path / "thesis.txt")):
        listing = {"secateur-files": 1, "files": {path: None}}
        (tmp_path / "lib" / files.MANIFEST).write_text(json.dumps(listing))
        with pytest.raises(FileError, match="did not write"):
            files.write_tree(tmp_path / "lib", NEW)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def _places(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    yield tmp_path / "file", "is there and"
    yield tmp_path / "link", "is there and"
    yield tmp_path / "fifo", "is there and is not a folder|is not a file but a pipe"
    yield Path("/dev/null"), "is there and is not a folder|is not a file but a device"
    yield tmp_path / "dangling", "is a link to .*nowhere, which does not exist"
    yield tmp_path / "file" / "inside", "cannot write .*inside|cannot be read"
    yield tmp_path / "nul\0l", "cannot write"


def test_what_is_not_a_folder_or_not_ours_stays(tmp_path: Path) -> None:
    for place, sentence in _places(tmp_path):
        for write in (
            lambda p: files.write_tree(p, NEW),
            lambda p: files.write(p, report().to_json(), REPORT),
            lambda p: html.save(p, report()),
            lambda p: files.building(p, ["x.o"]).__enter__(),
        ):
            with pytest.raises(SecateurError, match=sentence):
                write(place)
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "link").is_symlink()
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"file", "fifo", "link", "dangling"}


def test_a_link_to_a_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for made in (OLD, NEW):
        files.write_tree(tmp_path / "link", made)
        assert content(tmp_path / "real") == made
    assert (tmp_path / "link").is_symlink()


def test_a_report_replaces_its_kind_only(tmp_path: Path) -> None:
    r = report()
    page, text = tmp_path / "r.html", tmp_path / "r.json"
    for _ in range(2):
        html.save(page, r)
        r.save(text)
    for save, path in ((html.save, text), (lambda p, r: r.save(p), page)):
        before = path.read_bytes()
        with pytest.raises(FileError, match="is there and secateur did not write it"):
            save(path, r)
        assert path.read_bytes() == before
    (tmp_path / "empty").touch()
    r.save(tmp_path / "empty")
    from secateur.report.budget import check

    verdicts = check(r, {"flash": 1, "ram": "1 MB"}, None, {})
    for name, made, ours in (("j", ci.junit(verdicts), ci.JUNIT), ("m", ci.markdown(verdicts),
            ci.MARKDOWN), ("s", ci.sarif(verdicts, "x.toml", "1"), ci.SARIF)):  # fmt: skip
        for _ in range(2):
            files.write(tmp_path / name, made, ours)
        with pytest.raises(FileError):
            files.write(page, made, ours)


def test_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = report().save(tmp_path / "r.json")
    path.chmod(0o640)
    report().save(path)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_build_replaces_what_it_built(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    for text in ("one", "two"):
        with files.building(tmp_path / "b", ["net.o", "pio/"]) as folder:
            (folder / "net.o").write_text(text)
            (folder / "pio").mkdir(exist_ok=True)
            (folder / "pio" / text).touch()
    (tmp_path / "b" / "main.o").write_text("mine")
    with (
        pytest.raises(FileError, match=r"holds 'main.o', which is not secateur's"),
        files.building(tmp_path / "b", ["net.o", "main.o"]),
    ):
        pytest.fail("it must not begin")
    (tmp_path / "b" / "net.o").write_text("mine")
    with (
        pytest.raises(FileError, match=r"holds 'net.o', which was changed since"),
        files.building(tmp_path / "b", ["net.o"]),
    ):
        pytest.fail("it must not begin")
    assert (tmp_path / "b" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "b" / ".secateur-lock").exists()


def test_a_build_that_failed_may_be_repeated(tmp_path: Path) -> None:
    def fail() -> None:
        with files.building(tmp_path / "b", ["net.o"]) as folder:
            (folder / "net.o").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with files.building(tmp_path / "b", ["net.o"]) as folder:
        (folder / "net.o").write_text("whole")


# -- killed at any instant -----------------------------------------------------------------------


class Killed(BaseException):
    """What a process feels of SIGKILL: nothing it does afterwards happens."""


_EVENTS = (
    "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "shutil.rmtree",
    "secateur.write", "secateur.exchange",
)  # fmt: skip
_counted: list[int] | None = None  #: [operations so far, the one that kills]


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _counted is None:
        return
    made = event == "open" and len(args) > 2 and isinstance(args[2], int) and args[2] & os.O_CREAT
    if event in _EVENTS or made:
        _counted[0] += 1
        if _counted[0] >= _counted[1]:
            raise Killed


sys.addaudithook(_hook)


@contextmanager
def killed_at(n: int) -> Iterator[list[int]]:
    """Inside, the n-th operation on the file system and all after it do not happen."""
    global _counted
    _counted = [0, n]
    try:
        yield _counted
    except Killed:
        pass
    finally:
        _counted = None


def _instants(make: Callable[[], None], act: Callable[[], None], look: Callable[[], None]) -> int:
    """Kills `act` at its first, second, ... operation, each time after `make`; `look` judges."""
    for n in range(1, 200):
        make()
        with killed_at(n) as state:
            act()
        look()
        if state[0] < n:
            return n - 1
    raise AssertionError("it does not end")


@pytest.mark.parametrize("swap", [True, False], ids=["exchange", "two renames"])
@pytest.mark.parametrize("there", [False, True])
def test_a_killed_tree_is_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool, swap: bool
) -> None:
    if not swap:
        monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    folder = tmp_path / "lib"
    done = {"n": 0}

    def make() -> None:
        files.write_tree(folder, OLD)
        if not there:
            subprocess.run(["rm", "-r", str(folder)], check=True)

    def look() -> None:
        # what cannot be exchanged in one step is put back by the next call
        found = content(folder) if folder.exists() else None
        assert found in ([OLD, NEW] if there else [None, NEW]) or not swap
        done["n"] += found == NEW
        files.write_tree(folder, OLD)  # not refused, and cleans up
        assert content(folder) == OLD
        assert [p.name for p in tmp_path.iterdir()] == ["lib"]

    count = _instants(make, lambda: files.write_tree(folder, NEW) and None, look)
    assert count > 15
    assert done["n"] > 1


def test_a_killed_report_is_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    old, new = report(board="old"), report(board="new")

    def look() -> None:
        assert path.read_text() in (old.to_json(), new.to_json())
        old.save(path)
        assert [p.name for p in tmp_path.iterdir()] == ["report.json"]

    count = _instants(lambda: old.save(path) and None, lambda: new.save(path) and None, look)
    assert count >= 4


def test_a_killed_build_may_be_repeated(tmp_path: Path) -> None:
    def build(text: str) -> None:
        with files.building(tmp_path / "b", ["net.o"]) as folder:
            files._create(folder / "net.o.part", text.encode())
            os.replace(folder / "net.o.part", folder / "net.o")

    def look() -> None:
        (tmp_path / "b" / "net.o.part").unlink(missing_ok=True)
        build("again")
        assert content(tmp_path / "b") == {"net.o": "again"}

    assert _instants(lambda: build("old"), lambda: build("new"), look) > 6


def test_a_process_killed_for_good_leaves_nothing_that_stays(tmp_path: Path) -> None:
    """SIGKILL itself, at random instants."""
    files.write_tree(tmp_path / "lib", OLD)
    text = (
        "import sys; from secateur import files\n"
        "print(flush=True)\n"
        f"while True:\n    files.write_tree({str(tmp_path / 'lib')!r}, {NEW!r})\n"
        f"    files.write_tree({str(tmp_path / 'lib')!r}, {OLD!r})\n"
    )
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        threading.Event().wait(0.05)
        child.kill()
        child.wait()
        child.stdout.close()
        assert content(tmp_path / "lib") in (OLD, NEW)
        files.write_tree(tmp_path / "lib", OLD)
        assert [p.name for p in tmp_path.iterdir()] == ["lib"]


# -- two at once -----------------------------------------------------------------------------------


def test_two_processes_take_turns(tmp_path: Path) -> None:
    folder = tmp_path / "lib"
    text = (
        "from secateur import files\nimport sys\n"
        "for i in range(20):\n"
        f"    files.write_tree({str(folder)!r}, {{'a/b.c': sys.argv[1], 'c.h': sys.argv[1]}})\n"
    )
    command = [sys.executable, "-c", text]
    many = [subprocess.Popen([*command, who], stderr=subprocess.PIPE) for who in "ABC"]
    assert [child.communicate()[1] for child in many] == [b"", b"", b""]
    assert len(set(content(folder).values())) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["lib"]


def test_who_waits_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "WAIT", 0.1)
    files.write_tree(tmp_path / "lib", OLD)
    with (
        files.held(tmp_path / ".lib.secateur-lock", tmp_path / "lib"),
        pytest.raises(FileError, match=r"another process of secateur is writing to .*lib"),
    ):
        files.write_tree(tmp_path / "lib", NEW)
    assert content(tmp_path / "lib") == OLD
