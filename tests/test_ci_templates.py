"""The GitHub action and the GitLab template, run as their runners run them, on a real project.

What a runner brings is a stand-in: `actions/setup-python` and `pip install` (this interpreter
already has the package), and apt, which must not change the machine the tests run on. Everything
else is executed from the files themselves. docs/ci.md says what was tried beyond that.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[1]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
GITLAB: dict[str, Any] = yaml.safe_load((ROOT / "ci" / "gitlab.yml").read_text())
LOCAL = ROOT / "node_modules" / ".bin" / "gitlab-ci-local"

pytestmark = [
    pytest.mark.train,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not installed"),
]

TOML = """
[[model]]
name = "tiny"
path = "model.keras"
calibration = "x.npz"
inputs = "x.npz"
boards = ["host"]

[model.budgets]
stored = "300 B"
bit_exact = true
"""


def train(folder: Path, width: int) -> None:
    """A project's model, its hidden layer `width` neurons wide."""
    import keras

    hidden = keras.layers.Dense(width, activation="relu", name="hidden")
    keras.Sequential([keras.Input((8,)), hidden, keras.layers.Dense(3, name="out")]).save(
        folder / "model.keras"
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    np.savez(folder / "x.npz", x=np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32))
    (folder / "secateur.toml").write_text(TOML)
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A clean environment whose python, secateur and apt are the stand-ins."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    log = tmp_path / "pip.log"
    stand_ins = {
        "python": f'[ "$1 $2 $3" = "-m pip install" ] && echo "$@" >> {log} && exit 0\nexit 9',
        "secateur": f'exec {sys.executable} -c "from secateur.cli import main; main()" "$@"',
        "apt-get": "exit 1",
        "sudo": "exit 1",
    }
    for name, text in stand_ins.items():
        (bin_ / name).write_text(f"#!/bin/sh\n{text}\n")
        (bin_ / name).chmod(0o755)
    kept = {k: os.environ[k] for k in ("HOME", "LANG", "PYTHONPATH") if k in os.environ}
    # SHLVL: a bash that takes itself for a login over the network would read ~/.bashrc
    path = f"{bin_}:{os.environ['PATH']}"
    return {"CI": "true", "SHLVL": "2", "PATH": path, **kept}


def evaluate(text: str, values: dict[str, str]) -> str:
    """GitHub's expressions, as far as the action uses them; KeyError for any other."""
    return re.sub(r"\$\{\{\s*(\S+?)\s*\}\}", lambda m: values[m[1]], text)


def run_action(project: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The steps of a composite action, one after the other until one fails."""
    inputs = {f"inputs.{name}": str(i["default"]) for name, i in ACTION["inputs"].items()}
    values = {**inputs, "github.action_path": str(ROOT)}
    summary = project.parent / "summary.md"
    github = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(project),
        "GITHUB_STEP_SUMMARY": str(summary),
    }
    done = None
    for number, step in enumerate(ACTION["runs"]["steps"]):
        if "uses" in step:
            assert step["uses"].startswith("actions/setup-python@")
            assert evaluate(step["with"]["python-version"], values) == "3.12"
            continue
        assert step["shell"] == "bash"  # required in composite actions
        script = project.parent / f"step{number}.sh"
        script.write_text(evaluate(step["run"], values))
        own = {k: evaluate(v, values) for k, v in step.get("env", {}).items()}
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        done = subprocess.run(
            command, cwd=project, env={**env, **github, **own}, capture_output=True, text=True
        )
        if done.returncode:
            break
    assert done is not None
    return done


def failures(junit: Path) -> list[str]:
    cases = ElementTree.parse(junit).getroot().iter("testcase")
    return [case.get("name", "") for case in cases if case.find("failure") is not None]


def test_the_github_action_passes_and_fails_with_the_budget(
    project: Path, environment: dict[str, str]
) -> None:
    assert ACTION["runs"]["using"] == "composite"
    train(project, 8)
    done = run_action(project, environment)
    assert done.returncode == 0, done.stderr
    assert f"-e {ROOT}[train,boards]" in (project.parent / "pip.log").read_text()
    assert "::error" not in done.stdout + done.stderr
    assert failures(project / "build/check/junit.xml") == []
    train(project, 64)
    done = run_action(project, environment)
    assert done.returncode == 1, done.stderr
    (annotation,) = re.findall(r"^::error .*", done.stdout + done.stderr, re.MULTILINE)
    assert "file=secateur.toml" in annotation
    assert "costliest layer: hidden" in annotation
    assert failures(project / "build/check/junit.xml") == ["stored"]
    assert '"level": "error"' in (project / "build/check/secateur.sarif").read_text()
    assert (project.parent / "summary.md").read_text().count("**broken**") == 1


def clone_source(folder: Path) -> Path:
    """A repository with what the template takes from a clone of this one."""
    folder.mkdir()
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", *command],
            cwd=folder,
            check=True,
        )
    return folder


def run_gitlab(project: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The job as a shell executor runs it: gitlab-ci-local where it is there, else bash."""
    source = project.parent / "source"
    if not source.exists():
        clone_source(source)
    variables = {**GITLAB["variables"], "SECATEUR_REPOSITORY": f"file://{source}"}
    if LOCAL.exists() and shutil.which("rsync"):
        shutil.copy(ROOT / "ci" / "gitlab.yml", project / ".gitlab-ci.yml")
        if not (project / ".git").exists():
            origin = ["remote", "add", "origin", "https://gitlab.example.com/group/project.git"]
            for command in (["init", "-q"], origin):
                subprocess.run(["git", *command], cwd=project, check=True)
        command = [str(LOCAL), "--force-shell-executor", "--no-shell-isolation"]
        command += [f"--variable=SECATEUR_REPOSITORY={variables['SECATEUR_REPOSITORY']}"]
        return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    script = "set -eo pipefail\n" + "\n".join(GITLAB["secateur"]["script"])
    return subprocess.run(
        ["bash", "-c", script],
        cwd=project,
        env={**env, **variables},
        capture_output=True,
        text=True,
    )


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_gitlab_job_passes_and_fails_with_the_budget(
    project: Path, environment: dict[str, str]
) -> None:
    train(project, 8)
    done = run_gitlab(project, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[train,boards]" in (project.parent / "pip.log").read_text()
    assert failures(project / "junit.xml") == []
    train(project, 64)
    done = run_gitlab(project, environment)
    assert done.returncode == 1, done.stdout + done.stderr
    assert failures(project / "junit.xml") == ["stored"]
    assert "**broken**" in (project / "secateur.md").read_text()
    artifacts = GITLAB["secateur"]["artifacts"]
    assert artifacts["when"] == "always"
    assert (project / artifacts["reports"]["junit"]).is_file()
    assert all((project / path).is_file() for path in artifacts["paths"])
