"""A board and a core from outside the package: planned for, built and run bit-exactly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import secateur
from secateur import cores
from secateur.flow import CompiledModel
from secateur.frontend.build import Builder
from secateur.targets import assets, boards, tools
from secateur.targets.estimates import cycles

HERE = Path(__file__).parent
RNG = np.random.default_rng(5)
RUN = "from secateur.cli import main; main()"
X = RNG.normal(size=(12, 6, 5, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def compiled() -> CompiledModel:
    """A convolution and a dense layer, planned for no board in particular."""
    b = Builder("toy")
    x = b.add_input("x", (6, 5, 2))
    kernel = RNG.normal(0, 0.5, (3, 3, 2, 8)).astype(np.float32)
    attrs = {"strides": (1, 1), "pads": (1, 1, 1, 1)}
    x = b.emit("conv2d", "conv", [x], (6, 5, 8), attrs, {"kernel": kernel})
    x = b.emit("flatten", "flat", [x], (240,))
    weight = RNG.normal(0, 0.1, (240, 4)).astype(np.float32)
    x = b.emit("dense", "head", [x], (4,), {}, {"kernel": weight})
    return secateur.convert(b.finish(x), X)


def _need(*programs: str) -> None:
    for program in programs:
        if why := tools.missing(program):
            pytest.skip(why)


@pytest.mark.emulator
@pytest.mark.parametrize("emulator", ["sim", "qemu"])
def test_a_board_is_one_file(
    emulator: str, compiled: CompiledModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _need("arm-none-eabi-gcc", *(["qemu-system-arm"] if emulator == "qemu" else []))
    monkeypatch.setenv("SECATEUR_BOARDS", str(HERE))
    report = secateur.deploy(
        compiled, "toy_board", inputs=X, emulator=emulator, builder="gcc", build_dir=tmp_path
    )
    assert report.bit_exact
    assert report.latency.ms == pytest.approx(1e3 * report.latency.cycles / 12_500_000)


@pytest.mark.emulator
@pytest.mark.parametrize("builder", ["gcc", "platformio"])
def test_a_core_is_one_file(
    builder: str, compiled: CompiledModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.extending.soft_m4 import CORE

    _need("arm-none-eabi-gcc", *(["pio"] if builder == "platformio" else []))
    manifest = json.loads((assets.root() / "boards" / "mps2_an386.json").read_text())
    manifest["secateur"]["core"] = CORE.name
    (tmp_path / "soft_board.json").write_text(json.dumps(manifest))
    monkeypatch.setenv("SECATEUR_BOARDS", str(tmp_path))
    assert boards.load("soft_board").cpu is CORE
    report = secateur.deploy(
        compiled, "soft_board", inputs=X, emulator="sim", builder=builder,
        build_dir=tmp_path / "build",
    )  # fmt: skip
    assert report.bit_exact
    assert report.latency.cycles is not None
    elf = tmp_path / "build" / "firmware"
    elf = next(elf.rglob("firmware.elf"))
    attributes = tools.run(["arm-none-eabi-readelf", "-A", str(elf)], "reading attributes")
    assert "Tag_ABI_VFP_args" not in attributes  # its own flags, not the Cortex-M4's


def test_the_command_line_imports_extensions(tmp_path: Path) -> None:
    """In a process of its own: nothing has imported the core there."""
    manifest = json.loads((assets.root() / "boards" / "mps2_an386.json").read_text())
    manifest["secateur"]["core"] = "soft-m4"
    path = tmp_path / "soft_board.json"
    path.write_text(json.dumps(manifest))

    def check(extensions: str) -> subprocess.CompletedProcess[str]:
        root = Path(__file__).resolve().parents[2]
        path_of = os.pathsep.join([str(root), str(Path(secateur.__file__).parent.parent)])
        return subprocess.run(
            [sys.executable, "-c", RUN, "boards", "--check", str(path)],
            env={**os.environ, "SECATEUR_EXTENSIONS": extensions, "PYTHONPATH": path_of},
            capture_output=True,
            text=True,
        )

    unknown = check("")
    assert unknown.returncode == 2
    assert "soft-m4 is no known core" in unknown.stderr
    done = check("tests.extending.soft_m4")
    assert done.returncode == 0, done.stderr
    missing = check("no.such.module")
    assert missing.returncode == 2
    assert "SECATEUR_EXTENSIONS names module no.such.module" in missing.stderr


def test_a_registered_core_is_planned_and_estimated_like_any_other(compiled: CompiledModel) -> None:
    from tests.extending.soft_m4 import CORE

    assert CORE.name in cores.names()
    assert cycles.table(CORE.name) == cycles.table("cortex-m4")
    assert compiled.plan.core == CORE.priced_as
