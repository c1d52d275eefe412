"""The documentation, executed: every page from top to bottom in a folder of its own.

Python blocks run in one session a page, commands in the page's folder, C blocks are compiled
against the library that the page has just written. `make` targets are only resolved (`make -n`):
they set up the environment these tests run in, or are these tests.
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
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

import secateur as sc
from secateur.cli import main
from tests.test_docs import BLOCK, PAGES, ROOT

pytestmark = [
    pytest.mark.train,
    pytest.mark.slow,
    pytest.mark.emulator,
    pytest.mark.skipif(
        not all(map(shutil.which, ("cc", "arm-none-eabi-gcc", "qemu-system-arm", "make"))),
        reason="a compiler or QEMU is not installed",
    ),
]

#: Commands that no test can run, and why.
NOT_RUN = {
    "git": "fetches the repository",
    ".venv/bin/pre-commit": "changes the repository's hooks",
    "flash": "needs a board",
    "monitor": "needs a board",
    "bringup": "needs a board",
    "explore": "takes hours; tests/exploration runs it with small objectives",
    "combinations": "takes hours; tests/exploration runs a small grid",
    "compress": "takes minutes; it is explore",
    "mlperf": "needs the benchmark's model and data; tests/targets/test_mlperf.py runs it",
    "demo": "takes minutes; test_demo runs it with one round",
}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """What pages take for granted: files of a project, and the variables of a training script."""
    import keras

    folder = tmp_path_factory.mktemp("given")
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(12, activation="relu", name="hidden")
    model = keras.Sequential([keras.Input((8,)), hidden, keras.layers.Dense(3, name="out")])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    y = model.predict(x, verbose=0).argmax(1)
    for name in ("model.keras", "MODEL.keras"):
        model.save(folder / name)
    for name in ("x.npz", "calibration.npz", "test.npz"):
        np.savez(folder / name, x=x, y=y)
    shutil.copy(ROOT / "boards" / "microbit.json", folder / "new.json")
    converted = sc.convert(model, calibration=x)
    for name in ("DIR", "build/kws"):
        converted.save(folder / name)
    shutil.copytree(ROOT / "boards", folder / "boards")
    budgets = '[[model]]\npath = "model.keras"\ncalibration = "x.npz"\nboards = ["host"]\n'
    (folder / "secateur.toml").write_text(budgets + '[model.budgets]\nstored = "9 kB"\n')
    for name in ("model.onnx", "MODEL.onnx"):
        (folder / name).write_bytes(_onnx(model))
    data = {"x": x, "y": y, "x_train": x, "y_train": y, "x_test": x, "y_test": y}
    return folder, {"model": model, "batch_size": 16, "np": np, **data}


def _onnx(model: Any) -> bytes:
    """The two layers as ONNX."""
    onnx = pytest.importorskip("onnx")
    (w1, b1), (w2, b2) = (layer.get_weights() for layer in model.layers)
    h, t = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        h.make_node("Gemm", ["x", "w1", "b1"], ["a"], name="hidden"),
        h.make_node("Relu", ["a"], ["r"], name="relu"),
        h.make_node("Gemm", ["r", "w2", "b2"], ["y"], name="out"),
    ]
    held = zip(("w1", "b1", "w2", "b2"), (w1, b1, w2, b2), strict=True)
    graph = h.make_graph(
        nodes, "g", [h.make_tensor_value_info("x", t, ["n", 8])],
        [h.make_tensor_value_info("y", t, ["n", 3])],
        [onnx.numpy_helper.from_array(v, k) for k, v in held],
    )  # fmt: skip
    made = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9)
    return bytes(made.SerializeToString())


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


def shell(text: str) -> None:
    """The lines of a block without a language; what is no command is a picture of a folder."""
    for line in text.splitlines():
        line = re.sub(r"\s#.*", "", line).replace("--board B ", "--board mps2_an386 ").strip()
        words = shlex.split(line)
        if not words or words[0] in NOT_RUN:
            continue
        if words[0] == "make":
            subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
        elif words[0] == "secateur":
            secateur(words[1:])
        else:
            assert text.startswith("NAME/"), f"{line!r} is neither run nor excused"


def compile_c(text: str) -> None:
    (header,) = re.findall(r'#include "(\w+\.h)"', text)
    (found,) = (p for p in Path().rglob(f"src/{header}") if p.parts[0] != "build")
    Path("block.c").write_text(text)
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-c", f"-I{found.parent}"]
    subprocess.run(["cc", *flags, "block.c", "-o", "block.o"], check=True)


def recipe(text: str) -> None:
    """A workflow gives the action inputs that it has; an include names the template."""
    document = yaml.safe_load(text)
    if "include" in document:
        assert all(i["remote"].endswith("ci/gitlab.yml") for i in document["include"])
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
            shell(body)
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
