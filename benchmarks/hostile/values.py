"""Values on the command line, configuration files, manifests, reports and histories."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import Case, command
from .small import board, calibration, keras_file, report


def _convert(*args: str) -> Callable[[Path], None]:
    return lambda folder: (
        command(
            "convert",
            keras_file(folder),
            "--calibration",
            calibration(folder),
            "--out",
            folder / "library",
            *args,
        ),
        None,
    )[1]


def _cli(*args: str) -> Callable[[Path], None]:
    return lambda folder: (command(*args), None)[1]


def _config(text: str | bytes, *args: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        path = folder / "secateur.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        keras_file(folder), calibration(folder)
        command("check", "--config", path, *args)

    return run


def _report(document: object, raw: bytes | None = None) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        path = folder / "report.json"
        path.write_bytes(json.dumps(document).encode() if raw is None else raw)
        command("report", path)

    return run


def _manifest(document: object, raw: bytes | None = None) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        path = folder / "evil.json"
        path.write_bytes(json.dumps(document).encode() if raw is None else raw)
        command("boards", "--check", path)

    return run


def _history(make: Callable[[Path], None], *args: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        path = folder / "history.sqlite"
        make(path)
        command(*(args or ("history",)), "--file", path)

    return run


def _leaves(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(document, dict):
        for key, value in document.items():
            yield from _leaves(value, (*path, key))
    elif isinstance(document, list) and document:
        yield from _leaves(document[0], (*path, 0))
    else:
        yield path, document


def _with(document: dict[str, Any], path: tuple[Any, ...], value: object) -> dict[str, Any]:
    at: Any = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return document


NUMBERS = (
    "1e400",
    "inf",
    "nan",
    "-1",
    "0",
    "x",
    "",
    "1e5000",
    "10 parsecs",
    "--",
    "1k1",
    "0x10",
    "½",
)
MODEL = 'path = "m.keras"\ncalibration = "x.npz"\n'
TOMLS: dict[str, str | bytes] = {
    "empty": "",
    "not TOML": "[[model",
    "binary": b"\xff\xfe\0",
    "model a number": "model = 3",
    "model a table": '[model]\npath = "a"',
    "no calibration": '[[model]]\npath = "m.keras"\n',
    "unknown key": f"[[model]]\n{MODEL}colour = 3\n",
    "unknown budget": f"[[model]]\n{MODEL}[model.budgets]\nbeauty = 3\n",
    "budget text": f"[[model]]\n{MODEL}[model.budgets]\nflash = 'a lot'\n",
    "budget inf": f"[[model]]\n{MODEL}[model.budgets]\nflash = inf\n",
    "budget nan": f"[[model]]\n{MODEL}[model.budgets]\nflash = nan\n",
    "budget a list": f"[[model]]\n{MODEL}[model.budgets]\nflash = [1]\n",
    "plan nan": f"[[model]]\n{MODEL}[model.plan]\nflash = nan\n",
    "plan 1e400": f"[[model]]\n{MODEL}[model.plan]\nlatency = '1e400ms'\n",
    "plan negative": f"[[model]]\n{MODEL}[model.plan]\nram = -5\n",
    "boards empty": f"[[model]]\n{MODEL}boards = []\n",
    "boards text": f"[[model]]\n{MODEL}boards = 'x'\n",
    "board unknown": f"[[model]]\n{MODEL}boards = ['nope']\n",
    "boards a path": f"[[model]]\n{MODEL}boards = ['../../x']\n",
    "emulator unknown": f"[[model]]\n{MODEL}emulator = 'bochs'\n",
    "optimize unknown": f"[[model]]\n{MODEL}optimize = 'beauty'\n",
    "name no identifier": f"[[model]]\n{MODEL}name = 'a b'\n",
    "path a number": "[[model]]\npath = 3\ncalibration = 'x'\n",
    "model missing": f"[[model]]\n{MODEL.replace('m.keras', 'nowhere.keras')}",
    "tolerance text": f"[[model]]\n{MODEL}[model.tolerance]\nflash = 'some'\n",
    "tolerance unknown": f"[[model]]\n{MODEL}[model.tolerance]\nbeauty = 0.1\n",
    "deep": "a = " + "[" * 50_000 + "]" * 50_000,
    "twice": f"[[model]]\n{MODEL}path = 'again'\n",
    "baseline a number": f"baseline = 7\n[[model]]\n{MODEL}",
}
BASELINES: dict[str, bytes] = {
    "list": b"[]",
    "null": b"null",
    "no schema": b"{}",
    "schema text": b'{"schema": "1", "runs": {}}',
    "runs a list": b'{"schema": 1, "runs": []}',
    "figures a list": b'{"schema": 1, "runs": {"a": []}}',
    "figure text": b'{"schema": 1, "runs": {"a": {"flash": "x"}}}',
    "layers a list": b'{"schema": 1, "runs": {}, "layers": [1]}',
    "layer of another shape": b'{"schema": 1, "runs": {}, "layers": {"a": [["b", {"stored": 1}]]}}',
    "deep": b"[" * 100_000,
    "figure NaN": b'{"schema": 1, "runs": {"a": {"flash": NaN}}}',
    "empty": b"",
    "binary": b"\xff\0\xff",
}


def _baseline(content: bytes) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        from secateur.config import load_baseline

        path = folder / "baseline.json"
        path.write_bytes(content)
        load_baseline(path)

    return run


def cases() -> Iterator[Case]:
    for option in ("flash", "ram", "latency"):
        for value in NUMBERS:
            yield Case(
                "values", f"--{option}={value!r}", rf"{option}", _convert(f"--{option}={value}")
            )
    singles = {
        "--board": ("nope", "../../x", "", "a\x1bb", "/etc/passwd", "a;b"),
        "--optimize": ("beauty", ""),
        "--format": ("exe", "", "../x"),
    }
    for option, values in singles.items():
        for value in values:
            yield Case(
                "values",
                f"{option}={value[:20]!r}",
                rf"{option[2:]}|empty|known|choose|identifier",
                _convert(f"{option}={value}"),
            )
    for value in ("a b", "1", "", "ä", "a;b", "x" * 1000):  # a C name is made of it
        yield Case("values", f"--name={value[:20]!r}", None, _convert(f"--name={value}"))
    for args in (
        ("compare", "1", str(2**70)),
        ("compare", "-1", "2"),
        ("compare", "a", "b"),
        ("compare", "1", "2"),
        ("history", "--limit", "0"),
        ("history", "--limit", "-3"),
        ("history", "--limit", str(2**70)),
        ("inspect", "nowhere"),
        ("inspect", "/dev/zero"),
        ("report", "nowhere.json"),
        ("report", "/dev/zero"),
        ("boards", "--check", "nowhere.json"),
        ("boards", "--check", "/dev/zero"),
        ("check", "--config", "nowhere.toml"),
        ("check", "--config", "/dev/zero"),
        ("flash", "nowhere", "--board", "nope"),
        ("flash", "nowhere", "--board", "microbit"),
        ("monitor", "--board", "nope"),
        ("monitor", "--board", "microbit", "--port", "/dev/null"),
        ("monitor", "--board", "microbit", "--port", "/nonexistent"),
        ("profile", "nowhere", "--board", "mps2_an386"),
        ("deploy", "nowhere.keras"),
        ("deploy", "nowhere.keras", "--board", "nope"),
        ("renode", "nowhere", "--board", "nope"),
        ("demo", "--epochs", "0"),
        ("demo", "--clips", "-1"),
        ("demo", "--board", "nope"),
        ("nonsense",),
        ("deploy", "nowhere.keras", "--emulator", "bochs"),
    ):
        yield Case("values", " ".join(args)[:60], r"\S{3}", _cli(*args))
    for name, text in TOMLS.items():
        yield Case(
            "config", f"toml, {name}", r"secateur\.toml|nowhere|board|model|emulator", _config(text)
        )
    for name, content in BASELINES.items():
        yield Case("config", f"baseline, {name}", r"baseline\.json", _baseline(content))
    good = board()
    for path, value in _leaves(good):
        if path[0] in ("url", "vendor", "frameworks"):  # PlatformIO's own, which nothing here reads
            continue
        field = re.escape(str(next(p for p in reversed(path) if isinstance(p, str))))
        for wrong in (
            {},
            [[]],
            -1 if isinstance(value, str) else "x y",
        ):
            yield Case(
                "manifests",
                f"{'.'.join(map(str, path))} = {wrong!r}",
                rf"evil.*{field}",
                _manifest(_with(board(), path, wrong)),
            )
    for at in (
        (),
        ("secateur",),
        ("secateur", "memory"),
        ("secateur", "uart"),
        ("secateur", "flash"),
        ("secateur", "emulator"),
        ("secateur", "timer"),
        ("secateur", "power"),
    ):
        yield Case(
            "manifests",
            f"unknown key in {'.'.join(at) or 'the file'}",
            r"evil.*surprise",
            _manifest(_with(board(), (*at, "surprise"), 1)),
        )
    for value in (
        {"EVIL": "1|id>F"},
        {"EVIL": "`id`"},
        {"EVIL": "$(id)"},
        {"a b": "1"},
        {"-I/etc": "1"},
        ["EVIL"],
        3,
        "EVIL",
    ):
        yield Case(
            "manifests",
            f"defines {value!r}",
            r"evil.*defines",
            _manifest(_with(board(), ("secateur", "defines"), value)),
        )
    for path, value in (
        (("secateur", "uart", "port"), "../../x"),
        (("secateur", "uart", "port"), "nosuchport"),
        (("secateur", "flash", "openocd"), ["; shutdown"]),
        (("secateur", "flash", "openocd"), ["/etc/passwd"]),
        (("secateur", "memory", "ram", "length"), 2**40),
        (("secateur", "clock_hz"), 0),
        (("build",), []),
        (("upload",), 3),
        (("secateur",), []),
        (("secateur", "core"), "z80"),
        (("secateur", "emulator", "renode", "own"), "../../etc/passwd"),
        (("build", "mcu"), "a;b"),
    ):
        yield Case(
            "manifests",
            f"{'.'.join(path)} = {value!r}",
            rf"evil.*{path[-1]}",
            _manifest(_with(board(), path, value)),
        )
    # shown, but not as what a terminal would act on: `command` looks at that
    shown = _manifest(_with(board(), ("name",), "\x1b[31m"))
    yield Case("manifests", "name that is an ESC sequence", None, shown)
    for name, raw in {
        "list": b"[]",
        "null": b"null",
        "text": b'"a"',
        "empty": b"",
        "binary": b"\xff\0",
        "deep": b"[" * 100_000,
        "number": b"1",
        "half": b'{"name": ',
    }.items():
        yield Case("manifests", f"file of {name}", r"evil\.json", _manifest(None, raw))
        yield Case("config", f"report of {name}", r"report\.json", _report(None, raw))
    for path, value in _leaves(report()):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            field = str(path[-1])
            yield Case(
                "config",
                f"report, {'.'.join(map(str, path))} text",
                r"report\.json",
                _report(_with(report(), path, "x\x1b[31m")),
            )
            del field
    for name, make in {
        "text": lambda p: p.write_bytes(b"hello"),
        "empty table": _table,
        "a folder": lambda p: p.mkdir(),
        "a FIFO": lambda p: os.mkfifo(p),
        "binary": lambda p: p.write_bytes(b"SQLite format 3\0" + b"\xff" * 200),
    }.items():
        yield Case("config", f"history, {name}", r"history\.sqlite", _history(make))
        yield Case(
            "config",
            f"compare in a history, {name}",
            r"history\.sqlite",
            _history(make, "compare", "1", "2"),
        )


def _table(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE runs (id INTEGER PRIMARY KEY, surprise TEXT)")
        database.execute("INSERT INTO runs VALUES (1, '1e999')")
