"""The command line from model file to report, as a process: pure JSON, files where they belong."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from secateur.cli import main
from secateur.targets import boards

from .targets.desk import Desk

pytestmark = [
    pytest.mark.train,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not installed"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.keras and x.npz."""
    import keras

    path = tmp_path_factory.mktemp("flow")
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(6, activation="relu", name="hidden")
    layers = [hidden, keras.layers.Dense(3, name="dense")]
    model = keras.Sequential([keras.Input((8,)), *layers], name="tiny")
    x = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    model.save(path / "model.keras")
    np.savez(path / "x.npz", x=x, y=model.predict(x, verbose=0).argmax(1))
    return path


def secateur(folder: Path, *args: str, code: int = 0) -> tuple[str, str]:
    command = [sys.executable, "-c", "from secateur.cli import main; main()", *args]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def as_json(text: str) -> Any:
    """The whole of standard output is one document."""
    return json.loads(text)


def test_deploy(folder: Path) -> None:
    args = ["deploy", "model.keras", "--board", "host", "--inputs", "x.npz", "--html", "r.html"]
    out, _ = secateur(folder, *args, "--json")
    report = as_json(out)
    assert report["outputs"] == {"identical": 40, "total": 40}
    assert report["accuracy"]["float"] == 1.0
    assert report["accuracy"]["reference"] == report["accuracy"]["device"]
    assert as_json((folder / "build/tiny/host/report.json").read_text()) == report
    assert "40 of 40" in (folder / "r.html").read_text()
    assert "previous run" not in (folder / "r.html").read_text()
    secateur(folder, *args, "--ram", "64 kB")
    text = (folder / "r.html").read_text()
    assert "Since the previous run" in text
    assert "1 of 1 kept" in text


def test_several_boards_in_one_table(folder: Path) -> None:
    args = ["deploy", "model.keras", "--board", "host", "--board", "host", "--inputs", "x.npz"]
    assert as_json(secateur(folder, *args, "--json")[0])["board"] == "host"
    _, err = secateur(folder, *args, "--all-emulated", code=2)
    assert "exclude each other" in err


def test_convert_then_inspect(folder: Path) -> None:
    args = ["convert", "model.keras", "--calibration", "x.npz", "--out", "lib", "--name", "net"]
    out, _ = secateur(folder, *args, "--json")
    converted = as_json(out)
    assert (folder / "lib/src/net.h").is_file()
    assert [layer["name"] for layer in converted["layers"]] == ["hidden", "dense"]
    shown = as_json(secateur(folder, "inspect", "lib", "--json")[0])
    assert [layer["name"] for layer in shown["layers"]] == ["hidden", "dense"]
    for layer in shown["layers"]:
        assert sum(layer["bits"].values()) == 8 * layer["stored_bytes"]
        assert layer["bits"]["requant"] > 0
    model = as_json(secateur(folder, "inspect", "model.keras", "--json")[0])
    assert model["macs"] == 8 * 6 + 6 * 3
    assert model["parameters"] == 8 * 6 + 6 + 6 * 3 + 3
    text = secateur(folder, "inspect", "lib")[0]
    assert "bits by cause" in text
    total = sum(8 * layer["stored_bytes"] for layer in shown["layers"])
    assert f" {total:,} " in text.splitlines()[-1]


def test_how_ranges_are_found_is_an_option(folder: Path) -> None:
    args = ["convert", "model.keras", "--calibration", "x.npz", "--out", "ranges", "--name", "net"]
    wide, narrow = (
        secateur(folder, *args, "--calibration-method", method) and _input_scale(folder)
        for method in ("minmax", "percentile")
    )
    assert narrow < wide
    _, err = secateur(folder, *args, "--calibration-method", "max", code=2)
    assert "calibration_method is 'max': choose one of auto, minmax, percentile, mse" in err


def _input_scale(folder: Path) -> float:
    header = (folder / "ranges/src/net.h").read_text()
    found = re.search(r"NET_INPUT_SCALE (\S+)", header)
    assert found
    return float(found[1])


def test_budgets_steer_the_plan_or_end_it(folder: Path) -> None:
    args = ["convert", "model.keras", "--calibration", "x.npz", "--out", "fit", "--board"]
    budgets = ["--flash", "64k", "--ram", "16 kB", "--latency", "20ms"]
    plan = as_json(secateur(folder, *args, "qemu_m0plus", *budgets, "--json")[0])["estimated"]
    assert plan["core"] == "cortex-m0plus"
    assert plan["flash"] <= 64_000
    assert plan["ram"] <= 16_000
    args[5] = "unfit"
    out, err = secateur(folder, *args, "mps2_an386", "--flash", "100", "--json", code=2)
    assert as_json(out)["error"]["kind"] == "BudgetError"
    assert "budget for flash: the nearest plan needs" in err
    assert "of 100 bytes" in err
    _, err = secateur(folder, *args, "mps2_an386", "--ram", "16 ms", code=2)
    assert "--ram: '16 ms' is not a quantity" in err
    assert not (folder / "unfit").exists()
    deploy = ["deploy", "model.keras", "--board", "host", "--inputs", "x.npz", "--ram", "8"]
    _, err = secateur(folder, *deploy, code=2)
    assert "budget for ram" in err


def test_mistakes_exit_with_2_and_leave_nothing(folder: Path) -> None:
    np.savez(folder / "wrong.npz", x=np.zeros((4, 9), np.float32))
    args = ["convert", "model.keras", "--calibration", "wrong.npz", "--out", "new"]
    out, err = secateur(folder, *args, "--json", code=2)
    assert as_json(out)["error"]["kind"] == "DataError"
    assert "(8,)" in err.splitlines()[-1]
    assert not (folder / "new").exists()
    (folder / "broken.keras").write_bytes(b"PK not a model")
    args = ["convert", "broken.keras", "--calibration", "x.npz", "--out", "new"]
    _, err = secateur(folder, *args, code=2)
    assert "broken.keras" in err
    assert "Traceback" not in err


def test_deploy_on_a_board_with_a_meter(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flash (a stand-in of openocd), run over the serial port, energy from a recording."""
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    openocd = tmp_path / "openocd"
    openocd.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/flashed\n')
    openocd.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SECATEUR_HISTORY", str(tmp_path / "history.sqlite"))
    monkeypatch.setattr("secateur.targets.runners.hardware.SECONDS", 1e-5)
    # One run that is not of the measurement, then five windows 10 mA above idle for 10 ms each.
    low = [0] + ([1] * 20 + [0] * 10) * 6 + [0] * 10
    rows = [f"{i * 1e-3:.4f},{12 if on else 2},{1 - on}" for i, on in enumerate(low)]
    (tmp_path / "rec.csv").write_text("\n".join(["time [s],current [mA],trigger", *rows]))
    board = boards.load("nucleo_f446re")
    np.savez(tmp_path / "few.npz", **{k: v[:3] for k, v in np.load(folder / "x.npz").items()})
    args = ["deploy", str(folder / "model.keras"), "--board", board.id, "--json"]
    args += ["--inputs", str(tmp_path / "few.npz"), "--calibration", str(folder / "x.npz")]
    args += ["--out", str(tmp_path / "out"), "--power", f"csv:{tmp_path}/rec.csv"]
    with Desk(None, board, tmp_path / "flashed") as desk:
        done = CliRunner().invoke(main, [*args, "--port", desk.port])
    assert done.exit_code == 0, done.output
    report = as_json(done.stdout)
    assert report["emulator"] is None
    assert report["outputs"] == {"identical": 3, "total": 3}
    assert report["latency"]["kind"] == report["energy"]["kind"] == "measured"
    assert report["latency"]["instructions"] is None
    runs = math.ceil(1e-5 / (report["latency"]["ms"] / 1e3))
    assert report["energy"]["uj"] * runs == pytest.approx(10e-3 * 3.3 * 20e-3 * 1e6, rel=1e-3)
    assert "5 windows (+-0 uJ), idle 2 mA subtracted" in report["energy"]["source"]
    done = CliRunner().invoke(main, [*args, "--port", "a", "--port", "b"])
    assert done.exit_code == 2
    assert "2 ports for 1 boards" in done.stderr
