"""`secateur profile`: every instruction of an inference has a layer, and the sum is the count."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from secateur import cores, targets
from secateur.cli import main
from secateur.codegen.plan import make_plan
from secateur.errors import TargetError
from secateur.targets import tools
from secateur.targets.runners import trace
from secateur.targets.runners.profile import NO_INLINING, Profile, profile
from tests.codegen.qgraphs import Chain, codes

pytestmark = pytest.mark.emulator


def library(folder: Path) -> tuple[Path, np.ndarray]:
    """Two layers that share a function, a pool and a dense layer."""
    c = Chain("net", (8, 6, 10), 3, 0)
    c.conv(8, (1, 1), "ternary").conv(8, (1, 1), "ternary")
    c.max_pool((2, 2), (2, 2), (0, 0, 0, 0)).dense(5, "int8")
    return make_plan(c.graph).library.save(folder / "net"), codes(c.graph, 2)


def need(core: str) -> None:
    if why := tools.missing(cores.get(core).compiler):
        pytest.skip(why)


def test_the_layers_of_a_chain_are_told_apart(tmp_path: Path) -> None:
    """In its loops, and with the unpacking of their weights before it."""
    need("cortex-m4")
    c = Chain("net", (4, 12, 16), 3, 0)
    c.conv(8, (3, 3), "ternary", pads=(1, 1, 1, 1)).conv(8, (3, 3), "ternary")
    c.max_pool((2, 2), (2, 2), (0, 0, 0, 0)).dense(5, "int8")
    alone, chained = (
        profile(
            make_plan(c.graph, "rice_ternary", chains=chains).library.save(tmp_path / name),
            "mps2_an386", tmp_path / f"{name}-build", codes(c.graph, 1),
        )
        for name, chains in [("alone", ()), ("chained", [("conv0", "pool2", 1, 2)])]
    )  # fmt: skip
    layers = ["input", "conv0", "conv1", "pool2", "dense3", "output"]
    assert [s.layer for s in chained.steps] == [s.layer for s in alone.steps] == layers
    assert chained.steps[1].function.startswith("conv_ternary_3x3")
    for a, b in zip(alone.steps, chained.steps, strict=True):
        assert 0.7 * a.instructions < b.instructions < 1.4 * a.instructions, a.layer
    image = targets.build(tmp_path / "chained", "mps2_an386", tmp_path / "again", flags=NO_INLINING)
    counted = targets.get("sim").run(image, codes(c.graph, 1)).instructions
    assert counted is not None
    assert 0 <= counted - chained.instructions < 0.01 * counted


def test_a_layer_whose_comment_has_two_lines_is_counted(tmp_path: Path) -> None:
    """As of MobileNetV2's expanded_conv_depthwise in a chain; and what is told apart no more is no
    sum."""
    need("cortex-m4")
    c = Chain("net", (4, 12, 16), 3, 0)
    c.conv(8, (3, 3), "ternary", pads=(1, 1, 1, 1)).conv(8, (3, 3), "ternary")
    c.max_pool((2, 2), (2, 2), (0, 0, 0, 0)).dense(5, "int8")
    name = "of_a_block_whose_name_is_long"
    c.graph.ops[:] = [replace(op, name=f"{op.name}_{name}") for op in c.graph.ops]
    chain = (f"conv0_{name}", f"pool2_{name}", 1, 2)
    folder = make_plan(c.graph, "rice_ternary", chains=[chain]).library.save(tmp_path / "net")
    written = folder / "src" / "net.c"
    text = written.read_text(encoding="utf-8")
    begins = f"/* conv1_{name}:"
    assert any(begins in line and "*/" not in line for line in text.splitlines())
    x = codes(c.graph, 1)
    found = profile(folder, "mps2_an386", tmp_path / "build", x, accesses=False)
    assert [s.layer.split("_")[0] for s in found.steps] == [
        "input", "conv0", "conv1", "pool2", "dense3", "output"
    ]  # fmt: skip
    written.write_text(text.replace(begins, "/* (mine) "), encoding="utf-8")
    with pytest.raises(TargetError, match="belong to no layer"):
        profile(folder, "mps2_an386", tmp_path / "build", x, accesses=False)


@pytest.mark.parametrize("board", ["mps2_an386", "qemu_m0plus", "qemu_rv32"])
def test_the_steps_add_up(board: str, tmp_path: Path) -> None:
    b = targets.boards.load(board)
    need(b.core)
    folder, x = library(tmp_path)
    found = profile(folder, b, tmp_path / "build", x)
    assert [s.layer for s in found.steps] == [
        "input",
        "conv0",
        "conv1",
        "pool2",
        "dense3",
        "output",
    ]
    assert all(s.instructions > 0 and s.cycles >= s.instructions for s in found.steps)
    assert found.steps[1].function == found.steps[2].function
    assert found.instructions == sum(s.instructions for s in found.steps)
    image = targets.build(folder, b, tmp_path / "again", flags=NO_INLINING)
    counted = targets.get("sim").run(image, x[:1]).instructions
    # `NAME_run_in` itself sets up its calls outside every layer
    assert counted is not None
    assert 0 <= counted - found.instructions < 60
    assert sum(found.functions.values()) == found.instructions
    assert sum(sum(s.energy.values()) for s in found.steps) == pytest.approx(1)
    assert sum(found.causes.values()) == pytest.approx(1)
    dense = found.steps[4]
    weights = 8 * 3 * 5 * 5
    assert dense.macs >= weights
    assert dense.sram > 0
    assert dense.flash * 4 >= weights
    # ternary layers multiply only to requantize: once a row and pixel
    assert found.steps[1].macs < found.steps[4].macs
    assert found.energy_uj is None
    assert "Horowitz" in found.energy_source


def test_c_and_python_profile_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a board whose flash waits, too."""
    need("cortex-m4")
    folder, x = library(tmp_path)

    def found() -> Profile:
        return profile(folder, "nucleo_l4r5zi", tmp_path / "build", x, runs=2, accesses=False)

    counted = found()
    monkeypatch.setattr(trace, "_native", lambda: None)
    assert found() == counted


def test_command(tmp_path: Path) -> None:
    need("cortex-m4")
    folder, x = library(tmp_path)
    np.savez(tmp_path / "x.npz", x=x)
    args = ["profile", str(folder), "--board", "mps2_an386"]
    result = CliRunner().invoke(main, [*args, "--inputs", str(tmp_path / "x.npz"), "--json"])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["core"] == "cortex-m4"
    assert [row["layer"] for row in data["steps"]][1:3] == ["conv0", "conv1"]
    assert sum(row["share"] for row in data["steps"]) == pytest.approx(1)
    text = CliRunner().invoke(main, args).stdout
    assert "conv1" in text
    assert "total" in text


def test_a_core_without_a_simulator_is_named(tmp_path: Path) -> None:
    folder, x = library(tmp_path)
    with pytest.raises(TargetError, match="no model of cortex-m55"):
        profile(folder, "mps3_an547", tmp_path / "build", x)


def test_a_model_needs_calibration(tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_text("")
    args = ["profile", str(tmp_path / "m.keras"), "--board", "mps2_an386"]
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 2
    assert "--calibration" in result.stderr
