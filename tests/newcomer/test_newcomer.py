"""A newcomer's first hour: the wheel in a fresh environment, outside the checkout.

The suite builds the wheel and installs it alone, on the Python it runs on. `make newcomer`
(SECATEUR_NEWCOMER=1; by hand or nightly: some 5 GB and a quarter of an hour) does so on Python 3.10
and 3.12, installs the extras too, and follows README, quick start and tutorial with what is then
there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WHOLE = os.environ.get("SECATEUR_NEWCOMER", "") not in ("", "0")
PYTHONS = ("3.10", "3.12") if WHOLE else (".".join(map(str, sys.version_info[:2])),)
PAGES = ("README.md", "docs/quickstart.md", "docs/tutorial.md")
EXTRAS = ("train", "boards", "onnx")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600 if WHOLE else 600)]


def interpreter(version: str) -> str | None:
    """A Python of this version with venv: this one, one on PATH, or one of pyenv's or uv's."""
    if version == ".".join(map(str, sys.version_info[:2])):
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    uv = Path.home() / ".local" / "share" / "uv" / "python"
    found = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
    found += sorted(uv.glob(f"cpython-{version}.*/bin/python3"))
    for python in map(str, filter(None, found)):
        # A name on PATH may be a shim of a version that is not chosen.
        asked = [python, "-c", "import ensurepip, venv"]
        if subprocess.run(asked, capture_output=True).returncode == 0:
            return python
    return None


def clean() -> dict[str, str]:
    """The environment without what this checkout's tests put into it."""
    ours = ("PYTHONPATH", "VIRTUAL_ENV", "TF_CPP_MIN_LOG_LEVEL")
    return {k: v for k, v in os.environ.items() if k not in ours}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, as `make wheel` builds it."""
    folder = tmp_path_factory.mktemp("dist")
    # From a copy: setuptools leaves build/ and *.egg-info where it builds.
    source = folder / "source"
    shutil.copytree(
        ROOT, source, symlinks=True,
        ignore=shutil.ignore_patterns(".git", ".venv", "build", ".*_cache", "node_modules",
                                      "__pycache__", "*.egg-info", ".hypothesis", ".pio"),
    )  # fmt: skip
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, source]
    done = subprocess.run(command, capture_output=True, text=True, env=clean())
    if done.returncode != 0 and "No matching distribution" in done.stderr:
        pytest.skip("no package index is reached: building a wheel needs setuptools from one")
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module", params=PYTHONS)
def python(
    request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The Python of a fresh environment with the wheel in it; the whole: and its extras."""
    found = interpreter(request.param)
    if found is None:
        pytest.skip(f"Python {request.param} is not installed")
    folder = tmp_path_factory.mktemp("newcomer") / "venv"
    subprocess.run([found, "-m", "venv", folder], check=True, env=clean())
    made = folder / "bin" / "python"
    extras = f"[{','.join(EXTRAS)}]" if WHOLE else ""
    wanted = [f"secateur{extras} @ {wheel.as_uri()}", *(["pytest"] if WHOLE else [])]
    command = [made, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, env=clean())
    assert done.returncode == 0, done.stderr
    yield made
    shutil.rmtree(folder, ignore_errors=True)


def test_the_wheel_alone(python: Path, wheel: Path, tmp_path: Path) -> None:
    """The command answers and knows its boards; without TensorFlow it says what to type for the
    rest, with the extras the packaged model becomes C that compiles and runs."""

    def secateur(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python.with_name("secateur"), *words], cwd=tmp_path, text=True, capture_output=True,
            env=clean(), stdin=subprocess.DEVNULL,
        )  # fmt: skip

    where = subprocess.run(
        [python, "-c", "import secateur.data as d; print(d.FOLDER)"],
        cwd=tmp_path, text=True, capture_output=True, env=clean(), check=True,
    ).stdout.strip()  # fmt: skip
    assert ROOT not in Path(where).parents
    for words in (("--version",), ("boards",), ("doctor",)):
        done = secateur(*words)
        assert done.returncode == 0, (words, done.stderr)
        assert "Traceback" not in done.stderr
    model, data = f"{where}/kws_dscnn.keras", f"{where}/kws_train.npz"
    convert = ("convert", model, "--calibration", data, "--name", "kws", "--out", "kws")
    if WHOLE:
        done = secateur(*convert, "--format", "plain")
        assert done.returncode == 0, done.stderr
        sources = [str(p) for p in (tmp_path / "kws").glob("*.c")]
        flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-DKWS_EXAMPLE"]
        flags += ["-o", str(tmp_path / "example")]
        subprocess.run(["cc", *sources, *flags, "-lm"], check=True)
        subprocess.run([tmp_path / "example"], check=True, capture_output=True)
        return
    install = f"pip install 'secateur[train] @ {wheel.as_uri()}'"
    for words, sentence in (
        (("inspect", model), f"{model} needs Keras' file format to be read (No module named"),
        (convert, f"{model} needs Keras' file format to be read (No module named"),
        (("demo",), "secateur demo trains with Keras, which is not installed: pip install"),
    ):
        done = secateur(*words)
        assert done.returncode == 2, (words, done.stdout)
        assert sentence in " ".join(done.stderr.split())
        assert words == ("demo",) or install in done.stderr.replace("\n", "")


@pytest.mark.skipif(not WHOLE, reason="takes a quarter of an hour: make newcomer")
@pytest.mark.parametrize("page", PAGES)
def test_a_page(page: str, python: Path, tmp_path: Path) -> None:
    """Every command of a page works as it stands there."""
    follower = tmp_path / "page.py"
    shutil.copy(Path(__file__).with_name("page.py"), follower)
    shutil.copy(ROOT / page, tmp_path)
    here = tmp_path / "project"
    here.mkdir()
    done = subprocess.run(
        [python, follower, tmp_path / Path(page).name, here],
        cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=clean(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert "every command works" in done.stdout
