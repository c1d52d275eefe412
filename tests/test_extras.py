"""Lines that install what is missing work where they are printed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from secateur import extras
from secateur.cli.tools import TOOLS
from secateur.targets import tools

ROOT = Path(__file__).resolve().parents[1]


def test_in_a_checkout() -> None:
    assert extras.install("train", "boards") == f"pip install -e '{ROOT}[train,boards]'"


def test_from_a_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheel = tmp_path / "secateur-0.1.0-py3-none-any.whl"
    wheel.touch()

    class Distribution:
        def read_text(self, name: str) -> str:
            assert name == "direct_url.json"
            return json.dumps({"url": wheel.as_uri(), "archive_info": {}})

    monkeypatch.setattr(extras, "_is_checkout", lambda folder: False)
    monkeypatch.setattr(metadata, "distribution", lambda name: Distribution())
    assert extras.install("train") == f"pip install 'secateur[train] @ {wheel.as_uri()}'"
    wheel.unlink()  # then its requirements stand for it
    monkeypatch.setattr(
        metadata,
        "requires",
        lambda name: ["numpy>=1", 'keras<4,>=3.15; extra == "train"', 'onnx; extra == "onnx"'],
    )
    assert extras.install("train") == "pip install 'keras<4,>=3.15'"


def test_every_extra_that_is_named_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message names a package that no index has; each extra of pyproject.toml is one."""
    text = (ROOT / "pyproject.toml").read_text()
    table = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    known = set(re.findall(r"^([\w-]+) = \[", table, re.M))
    for path in (ROOT / "plugin").rglob("*.py"):
        source = path.read_text()
        assert "secateur[" not in source.replace('f"secateur[{wanted}] @', "") or (
            path.name == "extras.py"
        ), path
        for call in re.findall(r"extras\.install\(([^)]*)\)", source):
            for name in re.findall(r"['\"]([\w-]+)['\"]", call):
                assert name in known, (path, name)


@pytest.mark.parametrize(
    ("platform", "program", "line"),
    [
        ("linux", "openocd", "sudo apt-get install -y openocd"),
        ("darwin", "openocd", "brew install open-ocd"),
        ("darwin", "arm-none-eabi-gcc", "brew install --cask gcc-arm-embedded"),
        ("win32", "arm-none-eabi-gcc", "winget install Arm.GnuArmEmbeddedToolchain"),
        ("win32", "openocd", "choco install -y openocd"),
        ("win32", "st-flash", "put it on PATH"),
    ],
)
def test_hints_of_the_system(
    platform: str, program: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(tools.shutil, "which", lambda name, path=None: None)
    assert tools.install(program) == line
    assert tools.missing(program) == f"{program} is not installed: {line}"


def test_every_tool_says_how_it_is_installed() -> None:
    assert all(tool.install and tool.purpose for tool in TOOLS)


def test_posix_calls_are_guarded() -> None:
    """The modules that end processes or lock files say what they do where there is no POSIX."""
    calls = re.compile(r"os\.killpg|signal\.SIGKILL|import (fcntl|termios|pty|resource)\b")
    for path in (ROOT / "plugin").rglob("*.py"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if calls.search(line):
                before = path.read_text().splitlines()[max(0, number - 5) : number]
                assert any(g in x for x in before for g in ("try:", "sys.platform")), (path, number)


def test_the_wheel_of_this_version(tmp_path: Path) -> None:
    """The notes of a release are its section of the change log."""
    done: Any = subprocess.run(
        [sys.executable, ROOT / ".ci" / "release-notes", "Unreleased"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip()
    wrong = subprocess.run(
        [sys.executable, ROOT / ".ci" / "release-notes", "99.0.0"], capture_output=True, text=True
    )
    assert wrong.returncode == 2
    assert "CHANGELOG.md has no section [99.0.0]" in wrong.stderr
