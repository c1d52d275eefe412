"""Foreign files: whatever one holds or is, the answer is one sentence that names it, and exit 2."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

import secateur
from secateur import reading
from secateur.cli import main
from secateur.cli.inputs import load_inputs
from secateur.errors import DataError, FileError, ModelError, SecateurError, UnexpectedError
from secateur.frontend.keras3 import read_config

from .report.sample import report as sample_report

DEEP = "[" * 100_000


def _sentence(done: Result, *named: str) -> str:
    said = done.output.strip()
    assert done.exit_code == 2, said
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1 or said.startswith("Usage:"), said
    for name in named:
        assert name in said
    return said


def _keras(path: Path, **members: bytes | str) -> Path:
    whole = {"config.json": "{}", "metadata.json": "{}", "model.weights.h5": _h5(lambda f: None)}
    whole |= {name.replace("__", "."): content for name, content in members.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in whole.items():
            archive.writestr(name, content)
    return path


def _h5(fill: Callable[[Any], Any]) -> bytes:
    h5py = pytest.importorskip("h5py")
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        fill(file)
    return out.getvalue()


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("[1,2]", "config.json in .*m.keras is no JSON object"),
        ('"hello"', "config.json in .*m.keras is no JSON object"),
        ("null", "config.json in .*m.keras is no JSON object"),
        ("7", "config.json in .*m.keras is no JSON object"),
        ("{", "config.json in .*m.keras is not JSON"),
        ("\xff", "m.keras"),
        (DEEP, "config.json in .*m.keras is nested more than"),
        ('{"a":' * 500 + "1" + "}" * 500, "config.json in .*m.keras is nested more than"),
        ('{"a": 1' + "0" * 5000 + "}", "config.json in .*m.keras"),
    ],
)
def test_a_configuration_that_is_none(tmp_path: Path, config: str, sentence: str) -> None:
    path = _keras(tmp_path / "m.keras", config__json=config)
    with pytest.raises(ModelError, match=sentence):
        read_config(path)
    with pytest.raises(SecateurError, match=r"m\.keras"):
        secateur.load(path)


@pytest.mark.parametrize("member", ["config__json", "metadata__json", "model__weights__h5", "x"])
def test_an_archive_that_expands_is_not_unpacked(tmp_path: Path, member: str) -> None:
    path = _keras(tmp_path / "m.keras", **{member: b"\0" * (64 << 20)})
    with pytest.raises(ModelError, match=r"m\.keras.*would unpack from [\d,]+ to 67,108,864 bytes"):
        read_config(path)


def test_an_archive_that_declares_more_than_there_can_be(tmp_path: Path) -> None:
    path = _keras(tmp_path / "m.keras", other=b"x" * 1000)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\1\2", 0, data.rindex(b"other"))
    data[at + 24 : at + 28] = struct.pack("<I", 0xF0000000)
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"would unpack to 4,0.* bytes; .* are the limit"):
        read_config(path)


@pytest.mark.parametrize(
    ("fill", "sentence"),
    [
        (lambda f: f.create_dataset("w", (1 << 40,), "f4", chunks=(1024,)), "declares 4,398,0"),
        (lambda f: f.create_dataset("w", (1 << 26,), "f4", chunks=(1024,)), "declares 268,4"),
        (lambda f: _link(f, "ExternalLink", "/etc/passwd", "x"), "'w' is a link"),
        (lambda f: _link(f, "SoftLink", "/w"), "'w' is a link"),
        (lambda f: f.create_dataset("w", (4,), "f4", external=[("/etc/passwd", 0, 16)]),
         "'w' lies in another file"),
    ],
)  # fmt: skip
def test_weights_that_are_not_there(tmp_path: Path, fill: Any, sentence: str) -> None:
    path = _keras(tmp_path / "m.keras", model__weights__h5=_h5(fill))
    with pytest.raises(ModelError, match=rf"m\.keras.*{sentence}"):
        read_config(path)


def _link(file: Any, kind: str, *to: str) -> None:
    import h5py

    file["w"] = getattr(h5py, kind)(*to)


@pytest.mark.train
@pytest.mark.parametrize("value", [7, 1.5, "[1]", "null", "{", DEEP, [1, 2], b"\xff"])
def test_an_h5_whose_model_config_is_none(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes(_h5(lambda f: f.attrs.__setitem__("model_config", value))
                     if value != DEEP else _h5(lambda f: None))  # fmt: skip
    with pytest.raises(ModelError, match=r"m\.h5"):
        secateur.load(path)


def _npy(shape: str, dtype: str = "<f4", payload: bytes = b"", order: str = "False") -> bytes:
    head = f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}"
    head = head.ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + payload


@pytest.mark.parametrize(
    "x",
    [
        _npy("(1000000000000, 1000)"), _npy("(2, 2)"), _npy("(-1, 2)"), b"", b"\x93NUMPY",
        _npy("(2, 2)", "O", b"x" * 32), _npy("(2, 2)", "<U4", b"\0" * 64), b"\x80\x04.",
        _npy("(" + "1," * 5000 + ")"), _npy("()", payload=b"\0" * 4), _npy("(0, 2)"),
        _npy("(2, 2)", payload=b"\0" * 15),
    ],
)  # fmt: skip
def test_data_that_are_not_there(tmp_path: Path, x: bytes) -> None:
    for name in ("x.npz", "x.npy"):
        path = tmp_path / name
        if name == "x.npz":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("x.npy", x)
        else:
            path.write_bytes(x)
        with pytest.raises(DataError, match=rf"{name}"):
            load_inputs(path)


@pytest.mark.parametrize("scale", ["one", [1, 2], np.nan, np.inf, True, None, 1j])
def test_a_scale_that_is_no_number(tmp_path: Path, scale: Any) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, x=np.zeros((2, 2), np.int8), scale=np.array(scale), zero_point=0)
    with pytest.raises(DataError, match=r"x\.npz"):
        load_inputs(path)


@pytest.mark.parametrize("amount", ["1e400", "inf", "nan", "-1", "1e30", "9" * 400, ""])
@pytest.mark.parametrize("option", ["--flash", "--ram"])
def test_a_budget_that_is_no_number(tmp_path: Path, option: str, amount: str) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 2), np.float32))
    model = _keras(tmp_path / "m.keras")
    done = CliRunner().invoke(
        main, ["convert", str(model), "--calibration", str(tmp_path / "x.npz"), "--out",
               str(tmp_path / "lib"), f"{option}={amount}"],
    )  # fmt: skip
    _sentence(done)
    assert not (tmp_path / "lib").exists()
    with pytest.raises(SecateurError):
        secateur.convert(str(model), np.zeros((2, 2)), flash=float("inf"))


def test_a_stride_of_zero_is_named() -> None:
    from secateur.frontend.layers.geometry import resolve_padding, window_shape

    for padding in ("same", "valid"):
        with pytest.raises(ModelError, match="strides of 0 and 1"):
            resolve_padding(padding, (8, 8), (3, 3), (0, 1))
    with pytest.raises(ModelError, match="strides of 0 and 1"):
        window_shape((8, 8), (3, 3), (0, 1), (0, 0, 0, 0))


def test_what_nobody_foresaw_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"\0\0\0\0TFL3" + bytes(40))

    def fail(*_: Any) -> None:
        raise AttributeError("of\n\x1bsome kind")

    monkeypatch.setattr("secateur.frontend.tflite.TfliteReader", fail)
    with pytest.raises(UnexpectedError, match=r"m\.tflite cannot be .*AttributeError: of") as e:
        secateur.load(path)
    assert "\x1b" not in str(e.value)
    said = _sentence(CliRunner().invoke(main, ["inspect", str(path)]), "m.tflite", "--debug")
    assert "report" in said
    done = CliRunner().invoke(main, ["--debug", "inspect", str(path)])
    assert done.exit_code == 2
    assert "Traceback" in done.output


def test_even_an_error_of_our_own_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("x")

    monkeypatch.setattr("secateur.targets.boards.all", fail)
    said = _sentence(CliRunner().invoke(main, ["boards"]), "KeyError", "--debug")
    assert said.startswith("secateur: ")


@pytest.mark.parametrize("text", [DEEP, "[1]", "null", "7", '"x"', "{", "", "{}", "\0", "1e999"])
def test_json_and_toml_of_others(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    (tmp_path / "secateur.json").write_text(text)
    (tmp_path / "library.json").write_text(text)
    toml = tmp_path / "x.toml"
    toml.write_text(f"model = {text}")
    for arguments, named in (
        (["report", str(path)], "x.json" if text != "{}" else "report"),
        (["boards", "--check", str(path)], "x.json"),
        (["inspect", str(tmp_path)], "secateur.json"),
        (["check", "--config", str(toml)], "x.toml"),
        (["flash", str(tmp_path), "--board", "microbit"], "is not a generated library"),
    ):
        _sentence(CliRunner().invoke(main, arguments), named)


@pytest.mark.parametrize("value", [None, "x", [1], {}, -1, 1e308, True, "\x1b[2J", [[[]]], 2**63])
def test_every_field_of_a_report(tmp_path: Path, value: Any) -> None:
    """Each is shown, or named in one sentence."""
    whole = sample_report().to_dict()
    path = tmp_path / "r.json"

    def fields(at: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        for key in at if isinstance(at, dict) else range(len(at)):
            yield (*keys, key)
            if isinstance(at[key], dict | list) and len(keys) < 3:
                yield from fields(at[key], (*keys, key))

    for keys in list(fields(whole))[:40]:
        spoilt = json.loads(json.dumps(whole))
        at = spoilt
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = value
        path.write_text(json.dumps(spoilt))
        done = CliRunner().invoke(main, ["report", str(path)])
        assert done.exit_code in (0, 2), (keys, done.output)
        assert "Please report" not in done.output, (keys, done.output)
        assert "\x1b[2J" not in done.output


# -- every option and argument that is a path ----------------------------------------------------


def _paths() -> Iterator[tuple[str, list[str], click.Parameter, click.Command]]:
    def walk(command: click.Command, words: list[str]) -> Iterator[tuple[Any, ...]]:
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                yield from walk(inner, [*words, name])
            return
        for p in command.params:
            if isinstance(p.type, click.Path):
                yield f"{' '.join(words)} {p.name}", words, p, command

    yield from walk(main, [])


def _strange(tmp_path: Path) -> dict[str, Path]:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("years of work")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    return {
        "a pipe": tmp_path / "fifo", "a device": Path("/dev/zero"), "no end": Path("/dev/null"),
        "a text": tmp_path / "thesis.txt", "a folder": tmp_path / "folder",
        "a dangling link": tmp_path / "dangling", "inside a file": tmp_path / "thesis.txt" / "x",
        "a long name": tmp_path / ("x" * 300), "markup": tmp_path / "[red]\x1b[2J",
    }  # fmt: skip


def test_there_are_options_that_are_paths() -> None:
    assert len(list(_paths())) >= 20


@pytest.mark.parametrize(
    ("words", "parameter", "command"), [p[1:] for p in _paths()], ids=[p[0] for p in _paths()]
)
def test_whatever_a_path_is_nothing_hangs_fails_or_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], parameter: click.Parameter,
    command: click.Command,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECATEUR_HISTORY", str(tmp_path / "history.sqlite"))
    places = _strange(tmp_path)
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 2), np.float32))
    good = {
        "calibration": "x.npz", "inputs": "x.npz", "model": "none.keras", "reports": "none.json",
        "library": "none", "path": "none.toml",
    }  # fmt: skip
    for what, place in places.items():
        line = list(words)
        for p in command.params:
            given = str(place) if p is parameter else good.get(str(p.name), "none")
            if p is not parameter and not p.required:
                continue
            if isinstance(p, click.Argument):
                line += [given] if p.type is not click.INT else ["1"]
            else:
                line += [p.opts[0], given if p.name != "board" else "microbit"]
        if "demo" in words:  # trains before it comes to the end
            line += ["--board", "none"]
        done = CliRunner().invoke(main, line)
        assert done.exit_code in (0, 2), (what, done.output, done.exception)
        assert "Please report" not in done.output, (what, done.output)
        assert "\x1b" not in done.output
        if done.exit_code == 0:
            assert what in ("a folder", "markup", "a long name", "no end"), (what, done.output)
        assert (tmp_path / "thesis.txt").read_text() == "years of work"
        assert [p.name for p in (tmp_path / "folder").iterdir()] == ["thesis.txt"]
        assert Path("/dev/null").is_char_device()


def test_hostile_files_cost_neither_time_nor_memory(tmp_path: Path) -> None:
    """All of them in one process."""
    big = zipfile.ZipInfo("config.json")
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open(big, "w", force_zip64=True) as out:
            for _ in range(256):
                out.write(b" " * (1 << 20))
        for name in ("metadata.json", "model.weights.h5"):
            archive.writestr(name, "{}")
    (tmp_path / "x.npy").write_bytes(_npy("(1000000000000, 1000)"))
    os.mkfifo(tmp_path / "m.keras")
    (tmp_path / "deep.json").write_text(DEEP)
    text = (
        "import resource, sys\n"
        "from secateur.errors import SecateurError\n"
        "from secateur.frontend.load import load\nfrom secateur.cli.inputs import load_inputs\n"
        "from secateur.report import Report\nimport h5py\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for read, path in ((load, 'bomb.keras'), (load, 'm.keras'), (load_inputs, 'x.npy'),\n"
        "                   (Report.load, 'deep.json'), (load_inputs, '/dev/zero')):\n"
        "    try:\n        read(path)\n        sys.exit(path)\n"
        "    except SecateurError as e:\n        print(e)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6
    assert int(done.stdout.splitlines()[-1]) < 200, "MiB"


def test_names_of_files_that_end_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is not a file but a folder"):
        reading.data(tmp_path)
    with pytest.raises(FileError, match="does not exist"):
        reading.data(tmp_path / "none")
    (tmp_path / "five").write_text("12345")
    with pytest.raises(FileError, match="has 5 bytes; 4 are the limit"):
        reading.data(tmp_path / "five", 4)
    with pytest.raises(FileError, match="more than 4 bytes"):
        reading.data("/proc/self/status", 4)


@pytest.mark.parametrize("header", ["{'descr': '<f4', 'shape': (3L,", "{'descr': ((", '"""', "(1"])
def test_a_damaged_npy_header_is_a_sentence(header: str, tmp_path: Path) -> None:
    """NumPy tokenizes a header that is no literal once more, as Python 2 wrote them."""
    from secateur.cli.inputs import load_inputs

    text = header.encode().ljust(117) + b"\n"
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(12))
    with pytest.raises(DataError, match=r"x\.npy is not a readable"):
        load_inputs(path)
