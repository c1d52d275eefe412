"""The documentation, executed: every page from top to bottom in a folder of its own.

Python blocks run in one session a page, commands in the page's folder, C blocks are compiled
against the library that the page has just written. `make` targets are only resolved (`make -n`):
they set up the environment these tests run in, or are these tests. tests/newcomer follows README,
quick start and tutorial in an environment of their own.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from secateur.cli import main
from tests.newcomer.page import BLOCK, NOT_RUN, compile_c, prepare, shell
from tests.test_docs import PAGES, ROOT

pytestmark = [
    pytest.mark.train,
    pytest.mark.slow,
    pytest.mark.emulator,
    pytest.mark.skipif(
        not all(map(shutil.which, ("cc", "arm-none-eabi-gcc", "qemu-system-arm", "make"))),
        reason="a compiler or QEMU is not installed",
    ),
]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """What pages take for granted: files of a project, and the variables of a training script."""
    folder = tmp_path_factory.mktemp("given")
    pytest.importorskip("onnx")
    session = prepare(folder)
    shutil.copy(ROOT / "boards" / "microbit.json", folder / "new.json")
    shutil.copytree(ROOT / "boards", folder / "boards")
    return folder, session


def complete(words: list[str]) -> bool:
    """Whether a command in running text is one to type, and not just a name."""
    command: click.Command = main
    while isinstance(command, click.Group) and words:
        command, words = command.commands[words[0]], words[1:]
    try:
        command.make_context("x", list(words))
    except click.MissingParameter:
        return False
    return bool(words)


def secateur(words: list[str]) -> None:
    if words[0] in NOT_RUN or "--port" in words:  # a serial port is a board's
        return
    if "renode" in words and shutil.which("renode") is None:
        return
    result = CliRunner().invoke(main, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, f"secateur {' '.join(words)}: {result.output}"


def make(words: list[str]) -> None:
    subprocess.run(["make", "-n", *words], cwd=ROOT, check=True, capture_output=True)


def recipe(text: str) -> None:
    """A workflow gives the action inputs that it has; an include names the template."""
    document = yaml.safe_load(text)
    if "include" in document:
        assert all(i["remote"].endswith("ci/gitlab.yml") for i in document["include"])
        return
    if isinstance(document, list):  # steps of a job
        for words in (shlex.split(step["run"]) for step in document):
            if words[0] == "secateur":
                said = CliRunner().invoke(main, [words[1], "--help"]).output
                assert all(word in said for word in words if word.startswith("--"))
        return
    steps = [step for job in document["jobs"].values() for step in job["steps"]]
    inputs = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
    (ours,) = (step for step in steps if "secateur" in step["uses"])
    assert set(ours.get("with", {})) <= set(inputs)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_page(
    page: Path,
    given: tuple[Path, dict[str, Any]],
    secateur_deploy: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = page.read_text()
    inline = [shlex.split(c) for c in re.findall(r"`secateur ([a-z][^`]*)`", BLOCK.sub("", text))]
    inline = [words for words in inline if complete(words)]
    blocks = BLOCK.findall(text)
    if not blocks and not inline:
        return
    folder = tmp_path / "page"
    shutil.copytree(given[0], folder)
    monkeypatch.chdir(folder)
    session = dict(given[1])
    for language, body in blocks:
        if language == "python" and page.name == "extending.md":
            continue  # files of tests/extending, rendered here; those tests register and run them
        if language == "python":
            exec(compile(body, page.name, "exec"), session)
            test = session.pop("test_fits", None)
            if test is not None:
                test(secateur_deploy)
        elif language == "c":
            compile_c(body)
        elif language == "toml":
            Path("secateur.toml").write_text(body)
        elif language == "yaml":
            recipe(body)
        elif language in ("", "sh", "bash"):
            shell(body, secateur, make)
        else:
            assert language in ("ini", "json"), f"what is to be done with {language!r}?"
    for words in inline:
        secateur(words)


def test_demo(tmp_path: Path) -> None:
    """`make demo`, one round of training and two clips long."""
    result = CliRunner().invoke(
        main, ["demo", "--epochs", "1", "--clips", "2", "--out", str(tmp_path), "--json"]
    )
    assert result.exit_code == 0, result.output
    assert '"identical": 2' in result.stdout
    names = {p.name for p in tmp_path.iterdir()}
    assert {"model.keras", "library", "report.json", "report.html"} <= names
