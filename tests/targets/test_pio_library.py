"""The PlatformIO library: a project outside this one converts its model when it is built."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from secateur.errors import TargetError
from secateur.flow import convert
from secateur.frontend.ir import Graph, Node
from secateur.targets import assets, tools
from secateur.targets.boards import load

from .conftest import ECHO, need

PROJECT = """\
[platformio]
boards_dir = {root}/boards
platforms_dir = {here}/platforms
[env:mps2_an386]
platform = symlink://{root}/firmware/platform
board = mps2_an386
lib_deps = symlink://{root}/firmware/pio-library
lib_compat_mode = off
{options}
"""

OPTIONS = """\
custom_secateur_model = echo.keras
custom_secateur_calibration = x.npz
"""

MAIN = """\
#include <secateur.h>
#include "echo.h"
int8_t out[ECHO_OUTPUT_SIZE];
static int8_t in[ECHO_INPUT_SIZE];
void Reset_Handler(void);
void Reset_Handler(void) { echo_run(in, out); for (;;) continue; }
"""


def _pio(project: Path, path: str, *args: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": path, "PLATFORMIO_CORE_DIR": str(project / "core")}
    beside = Path(sys.executable).parent / "pio"
    pio = str(beside) if beside.exists() else "pio"
    return subprocess.run(
        [pio, "run", "-d", str(project), *args],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    need("pio", "arm-none-eabi-gcc")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.c").write_text(MAIN)
    (tmp_path / "echo.keras").write_bytes(b"model")
    (tmp_path / "x.npz").write_bytes(b"data")
    _write(tmp_path, OPTIONS)
    return tmp_path


def _write(project: Path, options: str) -> None:
    text = PROJECT.format(root=assets.root(), here=project, options=options)
    (project / "platformio.ini").write_text(text)


def _command(folder: Path, code: int = 0) -> str:
    """A PATH with a `secateur` that copies a ready library and notes its arguments."""
    folder.mkdir(exist_ok=True)
    script = folder / "secateur"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/calls\n[ {code} = 0 ] || exit {code}\n'
        f'for out; do :; done\nrm -rf "$out"; cp -r {ECHO} "$out"\n'
    )
    script.chmod(0o755)
    return f"{folder}{os.pathsep}{_without_secateur()}"


def _without_secateur() -> str:
    """PATH without the folders that have the real command."""
    return os.pathsep.join(
        p for p in os.environ["PATH"].split(os.pathsep) if not (Path(p) / "secateur").exists()
    )


def test_converts_only_when_something_changed(project: Path) -> None:
    path = _command(project / "bin")
    calls = project / "bin" / "calls"
    done = _pio(project, path)
    assert done.returncode == 0, done.stderr
    assert (project / ".pio/build/mps2_an386/firmware.elf").is_file()
    assert "--name echo --optimize balanced" in calls.read_text()
    assert _pio(project, path).returncode == 0
    assert len(calls.read_text().splitlines()) == 1
    (project / "echo.keras").write_bytes(b"another")
    assert _pio(project, path).returncode == 0
    assert len(calls.read_text().splitlines()) == 2
    _write(project, OPTIONS + "custom_secateur_optimize = flash\n")
    assert _pio(project, path).returncode == 0
    assert "--optimize flash" in calls.read_text().splitlines()[2]


def test_what_is_missing_is_named(project: Path) -> None:
    done = _pio(project, _without_secateur())
    assert done.returncode != 0
    assert "the command 'secateur' is not on PATH" in done.stderr
    failing = _pio(project, _command(project / "bin", code=2))
    assert failing.returncode != 0
    assert "echo.keras was not converted" in failing.stderr
    (project / "x.npz").unlink()
    done = _pio(project, _command(project / "bin"))
    assert "custom_secateur_calibration: " in done.stderr
    assert "does not exist" in done.stderr
    _write(project, "")
    assert "custom_secateur_model is missing" in _pio(project, _command(project / "bin")).stderr


def _renaming(folder: Path) -> str:
    """As `_command`, but the library and all in it is called as --name says."""
    folder.mkdir(exist_ok=True)
    script = folder / "secateur"
    script.write_text(f"""#!{sys.executable}
import pathlib, shutil, sys
name, out = sys.argv[sys.argv.index("--name") + 1], pathlib.Path(sys.argv[-1])
shutil.copytree({str(ECHO)!r}, out)
for path in [p for p in out.rglob("*") if p.is_file()]:
    text = path.read_text().replace("echo", name).replace("ECHO", name.upper())
    path.write_text(text)
    path.rename(path.with_name(path.name.replace("echo", name)))
""")
    script.chmod(0o755)
    return f"{folder}{os.pathsep}{_without_secateur()}"


def test_two_models_in_one_project(project: Path) -> None:
    """Both are converted with one calibration and linked side by side; what cannot be is said."""
    (project / "b.keras").write_bytes(b"another")
    (project / "src" / "main.c").write_text("""
#include "echo.h"
#include "b.h"
int8_t out[ECHO_OUTPUT_SIZE];
static int8_t in[ECHO_INPUT_SIZE];
void Reset_Handler(void);
void Reset_Handler(void) { echo_run(in, out); b_run(in, out); for (;;) continue; }
""")
    path, both = _renaming(project / "bin"), "custom_secateur_models = echo.keras, b.keras\n"
    data = "custom_secateur_calibration = x.npz\n"
    _write(project, both + data)
    done = _pio(project, path)
    assert done.returncode == 0, done.stderr
    built = project / ".pio" / "build" / "mps2_an386"
    assert {p.name for p in (built / "secateur").iterdir() if p.is_dir()} >= {"echo", "b"}
    nm = subprocess.run(
        ["arm-none-eabi-nm", built / "firmware.elf"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"echo_run", "b_run"} <= set(nm)
    for options, sentence in (
        (both + data + "custom_secateur_name = one\n", "1 names for 2 models; give one each"),
        (both + data + "custom_secateur_name = one, one\n", "two models have one name"),
        (both + "custom_secateur_calibration = x.npz, x.npz, x.npz\n",
         "3 files for 2 models; give one for all, or one each"),
    ):  # fmt: skip
        _write(project, options)
        done = _pio(project, path)
        assert done.returncode != 0
        assert sentence in done.stderr


def test_upload(project: Path) -> None:
    """`pio run -t upload` asks the tool of the board for what `secateur flash` does."""
    path = _command(project / "bin")
    openocd = project / "bin" / "openocd"
    openocd.write_text(f'#!/bin/sh\necho "$@" > {project}/asked\n')
    openocd.chmod(0o755)
    ini = (project / "platformio.ini").read_text().replace("mps2_an386", "nucleo_f446re")
    (project / "platformio.ini").write_text(ini + "upload_port = 066A\n")
    done = _pio(project, path, "-t", "upload")
    assert done.returncode == 0, done.stderr
    asked = (project / "asked").read_text()
    assert "-f interface/stlink.cfg -f target/stm32f4x.cfg -c adapter serial 066A" in asked
    assert "nucleo_f446re/firmware.elf} verify reset exit" in asked
    (project / "platformio.ini").write_text(ini + "upload_protocol = dfu\n")
    done = _pio(project, path, "-t", "upload")
    assert done.returncode != 0
    assert "nucleo_f446re: it is not flashed by dfu: openocd, stflash, jlink" in done.stderr


@pytest.mark.slow
@pytest.mark.train
def test_the_example(tmp_path: Path) -> None:
    pytest.importorskip("keras")
    need("pio", "arm-none-eabi-gcc")
    # The example names the checkout by relative paths: give it the same neighbours.
    for name in ("boards", "firmware"):
        (tmp_path / name).symlink_to(assets.root() / name)
    example = tmp_path / "examples" / "platformio"
    shutil.copytree(
        assets.root() / "examples" / "platformio", example,
        ignore=shutil.ignore_patterns(".pio", "*.keras", "*.npz"),
    )  # fmt: skip
    subprocess.run(
        [sys.executable, "make_model.py"], cwd=example, check=True, capture_output=True, timeout=300
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = _pio(example, path)
    assert done.returncode == 0, done.stderr
    assert (example / ".pio/build/mps2_an386/firmware.elf").is_file()


ESP32 = assets.root() / "examples" / "platformio-esp32"


@pytest.mark.slow
@pytest.mark.train
@pytest.mark.parametrize("name", ["esp32", "esp32c3", "esp32c6"])
def test_the_esp32_example(name: str, tmp_path: Path) -> None:
    """Built by PlatformIO's own platform, where that is installed."""
    pytest.importorskip("keras")
    need("pio")
    core = Path(os.environ.get("PLATFORMIO_CORE_DIR", Path.home() / ".platformio"))
    if not (core / "platforms" / "espressif32").is_dir():
        pytest.skip("PlatformIO's platform espressif32 is not installed: pio pkg install -g -p it")
    for folder in ("boards", "firmware"):
        (tmp_path / folder).symlink_to(assets.root() / folder)
    for example in (ESP32.with_name("platformio"), ESP32):
        shutil.copytree(
            example, tmp_path / "examples" / example.name, ignore=shutil.ignore_patterns(".pio")
        )
    rings = tmp_path / "examples" / "platformio"
    subprocess.run([sys.executable, "make_model.py"], cwd=rings, check=True, timeout=300)
    project = tmp_path / "examples" / ESP32.name
    pio = [tools.need("pio"), "run", "-d", str(project), "-e", name]
    done = subprocess.run(pio, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    assert (project / ".pio" / "build" / name / "firmware.elf").is_file()


@pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not installed")
def test_the_esp32_example_compiles_against_a_library(tmp_path: Path) -> None:
    """main.c with stand-ins for ESP-IDF's headers: every name of ours in it exists."""
    rng = np.random.default_rng(0)
    nodes = [
        Node("input", "in", (), "x", (2,), {"shape": (2,)}),
        Node("dense", "fc", ("x",), "y", (2,), {},
             {"kernel": rng.normal(size=(2, 2)).astype(np.float32)}),
    ]  # fmt: skip
    x = rng.normal(size=(16, 2)).astype(np.float32)
    library = convert(Graph("model", nodes, "x", "y"), x, name="model").save(tmp_path / "lib")
    (tmp_path / "freertos").mkdir()
    (tmp_path / "esp_timer.h").write_text(
        "#include <stdint.h>\nstatic inline int64_t esp_timer_get_time(void) { return 0; }\n"
    )
    (tmp_path / "freertos" / "FreeRTOS.h").write_text("#define pdMS_TO_TICKS(ms) (ms)\n")
    (tmp_path / "freertos" / "task.h").write_text(
        "#include <stdlib.h>\nstatic inline void vTaskDelay(int t) { exit(t == 1000 ? 0 : 1); }\n"
    )
    (tmp_path / "start.c").write_text("void app_main(void);\nint main(void) { app_main(); }\n")
    sources = [ESP32 / "src" / "main.c", tmp_path / "start.c", *(library / "src").glob("*.c")]
    places = [tmp_path, library / "src", assets.firmware() / "pio-library" / "src"]
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", *(f"-I{p}" for p in places)]
    subprocess.run([*command, *sources, "-o", tmp_path / "app"], check=True)
    said = subprocess.run([tmp_path / "app"], check=True, capture_output=True, text=True).stdout
    assert re.fullmatch(r"-?\d+ -?\d+ \(0 us\)\n", said)


def test_the_esp32_environments_are_of_three_boards() -> None:
    import configparser

    ini = configparser.ConfigParser(comment_prefixes=";")
    ini.read(ESP32 / "platformio.ini")
    boards = {s: ini[s]["board"] for s in ini.sections() if s.startswith("env:")}
    assert boards == {
        "env:esp32": "esp32dev", "env:esp32c3": "esp32-c3-devkitm-1",
        "env:esp32c6": "esp32-c6-devkitc-1",
    }  # fmt: skip
    assert ini["env"]["platform"] == "espressif32"


def test_an_esp32_is_told_where_it_is_built() -> None:
    for name in ("esp32", "ESP32-C3", "esp32c6"):
        with pytest.raises(
            TargetError, match="is built with PlatformIO's platform espressif32 and"
        ):
            load(name)


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/b", "..", "a b", "-x"])
def test_a_name_that_leads_out_of_the_build_is_refused(project: Path, name: str) -> None:
    _write(project, f"{OPTIONS}custom_secateur_name = {name}\n")
    done = _pio(project, _command(project / "bin"))
    assert done.returncode != 0
    assert f"custom_secateur_name: '{name}' is no name for C" in done.stderr + done.stdout
