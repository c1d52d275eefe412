"""A page of the documentation, followed by somebody who has installed a wheel: page.py PAGE FOLDER.

Run with the Python of the environment that the wheel was installed in; nothing of the checkout but
this file and the page is needed. Python blocks run in one session, commands by the installed
`secateur` in processes of their own, C is compiled against what the page has just written, and
tests by pytest. What a page takes for granted, files of a project and the variables of a training
script, is made by `prepare`. tests/test_docs_run.py follows the same pages in the checkout.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

#: Commands that no page's reader can have run by a test, and why.
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
    "demo": "takes minutes; one round of it runs",
}

#: What TensorFlow and pip tell everybody and no newcomer can act on.
NOISE = re.compile(r"cuInit|oneDNN|TF-TRT|computation_placer|WARNING: |Traceback")


def prepare(folder: Path) -> dict[str, Any]:
    """Models, data and a budget file in `folder`; the variables of a training script.

    The network has 8 inputs and 3 classes and its labels are what it answers.
    """
    import keras
    import numpy as np

    import secateur as sc

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
    converted = sc.convert(model, calibration=x)
    for name in ("DIR", "build/kws"):
        converted.save(folder / name)
    budgets = '[[model]]\npath = "model.keras"\ncalibration = "x.npz"\nboards = ["host"]\n'
    (folder / "secateur.toml").write_text(budgets + '[model.budgets]\nstored = "9 kB"\n')
    for name in ("model.onnx", "MODEL.onnx"):
        (folder / name).write_bytes(_onnx(model))
    data = {"x": x, "y": y, "x_train": x, "y_train": y, "x_test": x, "y_test": y}
    return {"model": model, "batch_size": 16, "np": np, **data}


def _onnx(model: Any) -> bytes:
    """The two layers as ONNX."""
    import onnx

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


def shell(
    text: str, secateur: Callable[[list[str]], None], make: Callable[[list[str]], None]
) -> None:
    """The lines of a block without a language; what is no command is a picture of a folder."""
    for line in text.splitlines():
        line = re.sub(r"\s#.*", "", line).replace("--board B ", "--board mps2_an386 ").strip()
        words = shlex.split(line)
        if not words or words[0] in NOT_RUN:
            continue
        if words[0] == "make":
            make(words[1:])
        elif words[0] == "secateur":
            secateur(words[1:])
        else:
            assert text.startswith("NAME/"), f"{line!r} is neither run nor excused"


def compile_c(text: str) -> None:
    """A C block, against the library that the page has just written."""
    (header,) = re.findall(r'#include "(\w+\.h)"', text)
    (found,) = (p for p in Path().rglob(f"src/{header}") if p.parts[0] != "build")
    Path("block.c").write_text(text)
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-c", f"-I{found.parent}"]
    subprocess.run(["cc", *flags, "block.c", "-o", "block.o"], check=True)


def _run(command: list[str]) -> None:
    """A command of a newcomer: it succeeds, and says nothing that nobody can act on."""
    print("$", *command[:1], *map(shlex.quote, command[1:]), flush=True)
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, env={k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    noise = [line for line in done.stdout.splitlines() if NOISE.search(line)]
    assert not noise, noise


def _test(body: str) -> None:
    """A block of tests, by pytest, with a project's data."""
    data = "import numpy as np\n\nwith np.load('x.npz') as z:\n    x, y = z['x'], z['y']\n\n\n"
    Path("test_budget.py").write_text(data + body)
    _run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_budget.py"])


def main() -> None:
    """Follow PAGE in FOLDER, which is empty."""
    page, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    os.chdir(folder)
    program = str(Path(sys.executable).with_name("secateur"))

    def secateur(words: list[str]) -> None:
        if words[0] not in NOT_RUN and "--port" not in words:
            _run([program, *words])

    def make(words: list[str]) -> None:
        if words[0] == "demo":  # what it runs, once set up
            _run([program, "demo", "--epochs", "1", "--clips", "2"])

    session = prepare(Path())
    for language, body in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python" and "def test_" in body:
            _test(body)
        elif language == "python":
            print(f"a Python block of {body.count(chr(10))} lines", flush=True)
            exec(compile(body, page.name, "exec"), session)
        elif language == "c":
            compile_c(body)
        elif language == "toml":
            Path("secateur.toml").write_text(body)
        elif language in ("", "sh", "bash"):
            shell(body, secateur, make)
        else:
            assert language in ("ini", "json", "yaml"), f"what is to be done with {language!r}?"
    print(f"{page.name}: every command works")


if __name__ == "__main__":
    main()
