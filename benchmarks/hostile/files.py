"""Files that would be lost: what a command is told to write over."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from . import Case, RefusedError, command
from .small import calibration, compiled, keras_file, report

PRECIOUS = b"precious"
FORMS = ("platformio", "plain", "cmake", "arduino", "zephyr")


def _place(folder: Path, what: str) -> tuple[Path, Callable[[], bool]]:
    """A path that must not be replaced, and whether it is still as it was."""
    out = folder / "out"
    kept = folder / "kept"
    if what == "file":
        out.write_bytes(PRECIOUS)
        return out, lambda: out.read_bytes() == PRECIOUS
    if what == "link to a file":
        kept.write_bytes(PRECIOUS)
        out.symlink_to(kept)
        return out, lambda: out.is_symlink() and kept.read_bytes() == PRECIOUS
    if what == "dangling link":
        out.symlink_to(folder / "nowhere")
        return out, out.is_symlink
    if what == "FIFO":
        os.mkfifo(out)
        return out, out.is_fifo
    if what == "device":
        # a device of one's own where that is allowed, else the one that must not be harmed
        try:
            os.mknod(out, 0o020666, os.makedev(1, 3))
        except OSError:
            out.symlink_to("/dev/null")
        return out, out.is_char_device
    out.mkdir()
    (out / "notes.txt").write_bytes(PRECIOUS)
    if what == "folder that claims to be ours":
        (out / "secateur.json").write_text("{}")
    if what == "folder with a manifest of another kind":
        (out / "secateur.json").write_text(json.dumps({"schema": 1, "files": ["notes.txt"]}))
    if what == "folder with ours and theirs":
        (out / "notes.txt").unlink()
        compiled().save(out)
        (out / "src" / "mine.c").write_bytes(PRECIOUS)
        return out, lambda: (out / "src" / "mine.c").read_bytes() == PRECIOUS
    if what == "library that was edited":
        (out / "notes.txt").unlink()
        compiled().save(out)
        mine = out / "src" / "small.c"
        mine.write_bytes(PRECIOUS)
        return out, lambda: mine.read_bytes() == PRECIOUS
    return out, lambda: (out / "notes.txt").read_bytes() == PRECIOUS


PLACES = (
    "file",
    "link to a file",
    "dangling link",
    "FIFO",
    "device",
    "folder",
    "folder that claims to be ours",
    "folder with a manifest of another kind",
    "folder with ours and theirs",
    "library that was edited",
)


def _kept(what: str, act: Callable[[Path, Path], object]) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        from secateur.errors import SecateurError

        out, intact = _place(folder, what)
        try:
            act(folder, out)
        except (RefusedError, SecateurError):
            if not intact():
                raise AssertionError("refused, but destroyed it") from None
            raise
        raise AssertionError("it was replaced" if not intact() else "silence, and nothing written")

    return run


def _save(form: str) -> Callable[[Path, Path], object]:
    return lambda folder, out: compiled().save(out, form)


def _report(folder: Path) -> Path:
    path = folder / "report.json"
    path.write_text(json.dumps(report()))
    return path


def cases() -> Iterator[Case]:
    for what in PLACES:
        for form in FORMS if what in PLACES[:1] + PLACES[5:7] else FORMS[:2]:
            yield Case(
                "lost files", f"save as {form} over {what}", r"out", _kept(what, _save(form))
            )
        yield Case(
            "lost files",
            f"convert --out {what}",
            r"out",
            _kept(
                what,
                lambda folder, out: command(
                    "convert",
                    keras_file(folder),
                    "--calibration",
                    calibration(folder),
                    "--out",
                    out,
                ),
            ),
        )
    for what in ("link to a file", "dangling link", "FIFO", "device", "folder"):
        yield Case(
            "lost files",
            f"report --html {what}",
            r"out",
            _kept(what, lambda folder, out: command("report", _report(folder), "--html", out)),
        )
    for option in ("model", "x"):
        yield Case("lost files", f"convert --out its {option}", r"m\.keras|x\.npz", _over(option))


def _over(option: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        model, x = keras_file(folder), calibration(folder)
        out = model if option == "model" else x
        before = out.read_bytes()
        try:
            command("convert", model, "--calibration", x, "--out", out)
        finally:
            if not out.is_file() or out.read_bytes() != before:
                raise AssertionError("it is gone")

    return run
