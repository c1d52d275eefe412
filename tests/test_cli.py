"""The command line: errors in one sentence, JSON pure, starting fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from secateur.cli import main
from secateur.cli.inputs import load_inputs
from secateur.errors import DataError
from tests.report import sample


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(args))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, secateur.cli as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'pydantic', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_every_command_has_help_and_json() -> None:
    assert set(main.commands) >= {"demo", "convert", "deploy", "boards", "inspect", "doctor"}
    names = [(name,) for name in main.commands if name != "baseline"]
    for name in [*names, ("baseline", "update")]:
        code, out, _ = run(*name, "--help")
        assert code == 0
        assert "--json" in out


def test_doctor_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, _ = run("doctor", "--json")
    assert code == 0
    data = json.loads(out)
    tools = {tool["name"]: tool for tool in data["tools"]}
    assert not data["ready"]
    assert tools["arm-none-eabi-gcc"]["found"] is None
    assert tools["arm-none-eabi-gcc"]["install"] == (
        "sudo apt-get install -y gcc-arm-none-eabi libnewlib-arm-none-eabi"
    )
    assert tools["newlib (Arm)"]["found"] is None
    assert tools["unicorn"]["found"]
    assert tools["unicorn"]["install"] is None
    _, text, _ = run("doctor")
    assert "NEEDED" in text
    assert "sudo apt-get install -y gcc-arm-none-eabi" in text
    assert text.startswith("`secateur demo` needs what is not there: ")
    assert "\x1b[" not in text  # words say it, not colours
    order = [(bool(tool["found"]), not tool["needed"]) for tool in data["tools"]]
    assert order == sorted(order)  # needed and missing, missing, there


def test_doctor_asks_the_compiler_for_its_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gcc = tmp_path / "arm-none-eabi-gcc"
    gcc.write_text("#!/bin/sh\necho /lib/${1#-print-file-name=}\n")
    gcc.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    tools = {t["name"]: t for t in json.loads(run("doctor", "--json")[1])["tools"]}
    assert tools["newlib (Arm)"]["found"] == "/lib/nano.specs"
    gcc.write_text("#!/bin/sh\necho ${1#-print-file-name=}\n")  # gcc's way to say: not found
    tools = {t["name"]: t for t in json.loads(run("doctor", "--json")[1])["tools"]}
    assert tools["newlib (Arm)"]["found"] is None


def test_boards() -> None:
    code, out, _ = run("boards", "--json")
    assert code == 0
    boards = {row["board"]: row for row in json.loads(out)}
    assert boards["mps2_an386"]["core"] == "cortex-m4"
    assert "qemu" in boards["mps2_an386"]["emulators"]
    assert "mps2_an386" in run("boards")[1]


def test_boards_check_names_the_fault(tmp_path: Path) -> None:
    bad = tmp_path / "new.json"
    bad.write_text('{"name": "x"}')
    code, out, err = run("boards", "--check", str(bad))
    assert code == 2
    assert out == ""
    assert str(bad) in err


def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    code, out, err = run("inspect", str(tmp_path / "absent.keras"))
    assert code == 2
    assert out == ""
    assert err.startswith("secateur: ")
    assert len(err.strip().splitlines()) == 1
    code, out, err = run("inspect", str(tmp_path / "absent.keras"), "--json")
    assert code == 2
    assert json.loads(out)["error"]["kind"] == "ModelError"
    assert "absent.keras" in err


def test_inspect_refuses_a_folder_that_is_no_library(tmp_path: Path) -> None:
    code, _, err = run("inspect", str(tmp_path))
    assert code == 2
    assert "secateur.json" in err
    (tmp_path / "secateur.json").write_text("{}")
    code, _, err = run("inspect", str(tmp_path))
    assert code == 2
    assert "convert the model again" in err


def test_deploy_wants_data_and_a_known_board(tmp_path: Path) -> None:
    code, _, err = run("deploy", "m.keras", "--board", "mps2_an386")
    assert code == 2
    assert "--inputs" in err
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 4), np.float32))
    code, _, err = run("deploy", "m.keras", "--board", "nucleus", "--inputs", f"{tmp_path}/x.npz")
    assert code == 2
    assert "nucleus" in err


def test_report_shows_and_compares(tmp_path: Path) -> None:
    path = sample.report().save(tmp_path / "a.json")
    other = sample.report(board="nrf52840dk").save(tmp_path / "b.json")
    assert json.loads(run("report", str(path), "--json")[1])["model"] == "toy"
    assert "200 of 200" in run("report", str(path))[1]
    code, out, _ = run("report", str(path), str(other), "--html", str(tmp_path / "r.html"))
    assert code == 0
    assert "nrf52840dk" in out
    assert "Runs compared" in (tmp_path / "r.html").read_text()
    path.write_text("{}")
    assert run("report", str(path))[0] == 2


def test_demo_refuses_more_clips_than_there_are() -> None:
    code, _, err = run("demo", "--clips", "100000")
    assert code == 2
    assert "1038" in err


class TestInputs:
    def test_floats_and_labels(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", x=np.ones((3, 2, 2)), y=np.array([0, 1, 2], np.uint8))
        x, y = load_inputs(tmp_path / "x.npz")
        assert x.dtype == np.float32
        assert x.shape == (3, 2, 2)
        assert y is not None
        assert y.tolist() == [0, 1, 2]

    def test_codes_with_scale(self, tmp_path: Path) -> None:
        codes = np.array([[-128, 83]], np.int8)
        np.savez(tmp_path / "x.npz", x=codes, scale=0.5, zero_point=83)
        x, y = load_inputs(tmp_path / "x.npz")
        assert x.tolist() == [[-105.5, 0.0]]
        assert y is None

    def test_a_lone_array(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", np.ones((3, 2)))
        assert load_inputs(tmp_path / "x.npz")[0].shape == (3, 2)

    @pytest.mark.parametrize(
        ("arrays", "says"),
        [
            ({"a": np.ones((2, 2)), "b": np.ones(2)}, "b must be real numbers or indices"),
            ({"x": np.ones((0, 2))}, "n > 0"),
            ({"x": np.ones(3)}, r"shape \[n"),
            ({"x": np.array([["a", "b"]])}, "numbers"),
            ({"x": np.array([[np.nan, 1]])}, "NaN"),
            ({"x": np.ones((2, 2)), "y": np.ones(3, int)}, "each of 2 inputs"),
            ({"x": np.ones((2, 2)), "y": np.array(["a", "b"])}, "class numbers"),
            ({"x": np.ones((2, 2), np.int8), "scale": 1.0}, "only one of"),
            ({"x": np.ones((2, 2)), "scale": np.ones(2), "zero_point": 0}, "single numbers"),
            ({"x": np.array([[None]], dtype=object)}, "plain arrays"),
        ],
    )
    def test_refuses(self, tmp_path: Path, arrays: dict[str, np.ndarray], says: str) -> None:
        np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
        with pytest.raises(DataError, match=says):
            load_inputs(tmp_path / "x.npz")

    def test_refuses_what_is_no_archive(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="does not exist"):
            load_inputs(tmp_path / "absent.npz")
        (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 cut off")
        with pytest.raises(DataError, match="not a readable"):
            load_inputs(tmp_path / "x.npz")
        (tmp_path / "empty.npz").write_bytes(b"")
        with pytest.raises(DataError, match="not a readable"):
            load_inputs(tmp_path / "empty.npz")
        np.save(tmp_path / "x.npy", np.ones((2, 2)))
        assert load_inputs(tmp_path / "x.npy")[0].shape == (2, 2)


def test_all_emulated_is_every_board_an_emulator_knows() -> None:
    from secateur.cli.deploy import _boards, _targets
    from secateur.targets import boards

    chosen = _boards((), True, "sim")
    assert chosen == [b.id for b in boards.all() if b.emulator.sim]
    assert len(chosen) > 15
    assert {target.name for target in _targets(chosen, "sim", (), None)} == {"sim"}


def test_ports_belong_to_boards_in_order() -> None:
    from secateur.cli.deploy import _targets
    from secateur.targets.runners.hardware import Hardware

    two = ["nucleo_f446re", "pico"]
    found = _targets(two, None, ("/dev/a", "/dev/b"), None)
    assert [t.port for t in found if isinstance(t, Hardware)] == ["/dev/a", "/dev/b"]
    found = _targets(two, None, ("auto",), None)
    assert [t.port for t in found if isinstance(t, Hardware)] == [None, None]
    with pytest.raises(DataError, match="--port /dev/a is one board's, and there are 2"):
        _targets(two, None, ("/dev/a",), None)
    with pytest.raises(DataError, match="3 ports for 2 boards"):
        _targets(two, None, ("a", "b", "c"), None)
