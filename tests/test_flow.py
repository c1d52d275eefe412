"""From model to report by the functions of `flow`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import secateur
from secateur import targets
from secateur.cli import main
from secateur.errors import BudgetError, DataError, TargetError
from secateur.flow.compiled import HARNESS_FLASH, HARNESS_RAM
from secateur.targets import boards, tools

pytestmark = pytest.mark.train
keras = pytest.importorskip("keras")


@pytest.fixture(scope="module")
def model() -> Any:
    keras.utils.set_random_seed(1)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 6, 2)),
            layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
            layers.DepthwiseConv2D(3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(3, activation="softmax", name="dense"),
        ],
        name="tiny",
    )


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (20, 8, 6, 2)).astype(np.float32)


def test_the_host_gives_the_references_bytes(model: Any, x: np.ndarray, tmp_path: Path) -> None:
    compiled = secateur.convert(model, calibration=x, name="Tiny net")
    assert compiled.name == "tiny_net"
    labels = compiled.run(x).reshape(len(x), -1).argmax(axis=1)
    report = secateur.deploy(compiled, board="host", inputs=x, labels=labels, build_dir=tmp_path)
    assert (report.outputs.identical, report.outputs.total) == (20, 20)
    assert report.accuracy.reference == report.accuracy.device == 1.0
    assert report.accuracy.float is not None
    assert report.size.float32 == 4 * model.count_params()
    assert [layer.op for layer in report.layers] == ["conv", "conv", "dense", "softmax"]
    on_disk = json.loads((tmp_path / "report.json").read_text())
    assert on_disk == json.loads(report.to_json())


def test_int8_inputs_pass_unchanged(model: Any, x: np.ndarray) -> None:
    compiled = secateur.convert(model, calibration=x, name="net")
    q = compiled.quantize(x)
    assert q.dtype == np.int8
    np.testing.assert_array_equal(compiled.quantize(q), q)
    np.testing.assert_array_equal(compiled.run(q), compiled.run(x))


def test_the_manifest_tells_what_the_header_tells(
    model: Any, x: np.ndarray, tmp_path: Path
) -> None:
    compiled = secateur.convert(model, calibration=x, name="net")
    folder = compiled.save(tmp_path / "net")
    manifest = json.loads((folder / "secateur.json").read_text())
    header = (folder / "src" / "net.h").read_text()
    assert f"#define NET_ARENA_BYTES {manifest['arena']}\n" in header
    assert f"#define NET_INPUT_SIZE {manifest['input']['size']} " in header
    assert f"#define NET_INPUT_ZERO_POINT ({manifest['input']['zero_point']})" in header
    assert f"#define NET_OUTPUT_SCALE {manifest['output']['scale']!r}" in header
    assert sum(layer["stored_bytes"] for layer in manifest["layers"]) <= manifest["size"]["stored"]


def test_manifest_and_inspect_name_the_chains(tmp_path: Path) -> None:
    layers = keras.layers
    image = keras.Sequential(
        [
            keras.Input((32, 32, 1)),
            layers.Conv2D(8, 3, activation="relu", name="window"),
            layers.MaxPooling2D(2, name="pool"),
            layers.Flatten(),
            layers.Dense(3, name="dense"),
        ],
        name="image",
    )
    x = np.random.default_rng(0).normal(0, 1, (8, 32, 32, 1)).astype(np.float32)
    folder = secateur.convert(image, calibration=x).save(tmp_path / "image")
    (chain,) = json.loads((folder / "secateur.json").read_text())["chains"]
    assert chain["layers"] == ["window", "pool"]
    shown = CliRunner().invoke(main, ["inspect", str(folder)])
    assert shown.exit_code == 0
    assert f"chain: window, pool: {chain['rows']} row" in shown.output


def test_converting_twice_gives_the_same_library(model: Any, x: np.ndarray) -> None:
    first, second = (secateur.convert(model, calibration=x, name="net") for _ in range(2))
    assert first.plan.library.files == second.plan.library.files


@pytest.mark.parametrize("optimize", ["latency", "energy", "balanced", "flash"])
def test_wishes(model: Any, x: np.ndarray, optimize: str) -> None:
    plain = secateur.convert(model, calibration=x, name="net", encodings="dense")
    compiled = secateur.convert(model, calibration=x, name="net", optimize=optimize)
    np.testing.assert_array_equal(compiled.run(x), plain.run(x))
    if optimize == "flash":
        assert compiled.plan.flash <= plain.plan.flash  # the image, code included
    if optimize == "latency":
        assert compiled.plan.instructions <= plain.plan.instructions


def test_another_core_gets_another_plan_from_the_same_request(model: Any, x: np.ndarray) -> None:
    """What the user asked for is kept; only the costs behind the choices change."""
    compiled = secateur.convert(
        model, calibration=x, name="net", optimize="latency", encodings={"dense": "dense"},
        flash="20 kB", ram="4k", latency="50 ms", board="mps2_an386",
    )  # fmt: skip
    assert compiled.plan.core == "cortex-m4"
    assert compiled.planned_for(boards.load("mps2_an386")) is compiled
    here = compiled.planned_for(boards.load("host"))  # the same plan, in C for any core
    assert here.plan.layers == compiled.plan.layers
    assert here.plan.runs_on("host")
    assert here.planned_for(boards.load("host")) is here
    other = compiled.planned_for(boards.load("qemu_m0plus"))
    assert other.plan.core == "cortex-m0plus"
    assert other.plan.cycles > compiled.plan.cycles
    assert (other.optimize, other.encodings) == ("latency", {"dense": "dense"})
    assert (other.budget.flash, other.budget.ram, other.budget.latency_ms) == (20_000, 4_000, 50)
    assert other.budget.clock_hz == boards.load("qemu_m0plus").clock_hz
    assert other.plan.layers["dense"].encoding == "dense"
    assert compiled.plan.core == "cortex-m4"  # the first is as it was
    np.testing.assert_array_equal(other.run(x), compiled.run(x))


def test_deploy_plans_for_the_boards_core(model: Any, x: np.ndarray, tmp_path: Path) -> None:
    """A budget in time that an M4 keeps and the slow core cannot is an error before any build."""
    compiled = secateur.convert(model, calibration=x, name="net")
    for_m4 = compiled.planned_for(boards.load("mps2_an386")).plan.cycles
    slow = boards.load("qemu_m0plus")
    limit = 1e3 * 1.05 * for_m4 / slow.clock_hz
    compiled.budget = replace(compiled.budget, latency_ms=limit)
    with pytest.raises(BudgetError, match=r"budget for latency: the nearest plan needs about"):
        secateur.deploy(compiled, "qemu_m0plus", inputs=x, build_dir=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_budgets_name_what_binds(model: Any, x: np.ndarray) -> None:
    with pytest.raises(BudgetError, match=r"budget for ram: the nearest plan needs .* of 50 bytes"):
        secateur.convert(model, calibration=x, ram=50)
    with pytest.raises(DataError, match="--board"):
        secateur.convert(model, calibration=x, latency="5 ms")


def test_a_boards_memories_are_limits_before_anything_is_built(model: Any, x: np.ndarray) -> None:
    compiled = secateur.convert(model, calibration=x, board="microbit")
    board = boards.load("microbit")
    assert compiled.planned_for(board) is compiled

    def with_memory(**lengths: int) -> boards.Board:
        memory = {
            name: getattr(board.memory, name).model_copy(update={"length": length})
            for name, length in lengths.items()
        }
        return board.model_copy(update={"memory": board.memory.model_copy(update=memory)})

    leaner = compiled.planned_for(with_memory(ram=board.min_stack + 1000)).plan
    assert leaner.arena < compiled.plan.arena  # another plan fits
    refused = r"microbit has 1624 bytes of RAM.* ram: the nearest plan needs \d+ of 21 bytes"
    with pytest.raises(BudgetError, match=refused):
        compiled.planned_for(with_memory(ram=board.min_stack + 600))
    with pytest.raises(BudgetError, match=r"5200 of flash.* flash: the nearest plan needs"):
        compiled.planned_for(with_memory(flash=5200))


@pytest.mark.emulator
def test_what_is_left_to_a_model_is_what_an_image_leaves(
    model: Any, x: np.ndarray, tmp_path: Path
) -> None:
    if why := tools.missing("arm-none-eabi-gcc"):
        pytest.skip(why)
    compiled = secateur.convert(model, calibration=x, board="microbit")
    image = targets.build(compiled.save(tmp_path / "library"), "microbit", tmp_path / "firmware")
    ends = sum(int(np.prod(e.shape)) for e in (*compiled.inputs.ends, *compiled.outputs.ends))
    assert 0 <= image.sizes.static_ram - ends - HARNESS_RAM < 64  # never refuses what would fit
    assert 0 <= image.sizes.harness - HARNESS_FLASH < 1024


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("board", "known", "note"),
    [
        ("nrf52840_dk", True, "cycles are at least these, without what flash waits on this board"),
        ("longan_nano", False, "there is no latency: nothing is known of how long instructions"),
    ],
)
def test_a_report_says_what_its_cycles_leave_out(
    board: str, known: bool, note: str, model: Any, x: np.ndarray, tmp_path: Path
) -> None:
    for tool in ("arm-none-eabi-gcc", "riscv64-unknown-elf-gcc"):
        if why := tools.missing(tool):
            pytest.skip(why)
    compiled = secateur.convert(model, calibration=x, board=board)
    report = secateur.deploy(compiled, board, emulator="sim", inputs=x[:2], build_dir=tmp_path)
    assert any(said.startswith(note) for said in report.notes), report.notes
    assert report.latency.instructions
    assert (report.latency.ms is not None) == known
    assert (report.latency.low is not None) == known
    assert report.latency.high is None
    assert (" (at least " in str(report)) == known
    assert all((other.ms is not None) == known for other in report.others.values())


def test_an_unknown_wish_is_named(model: Any, x: np.ndarray) -> None:
    with pytest.raises(DataError, match="optimize is 'speed': choose one of latency"):
        secateur.convert(model, calibration=x, optimize="speed")  # type: ignore[arg-type]


def test_labels_must_match_inputs(model: Any, x: np.ndarray, tmp_path: Path) -> None:
    compiled = secateur.convert(model, calibration=x)
    with pytest.raises(DataError, match="3 labels for 20 inputs"):
        secateur.deploy(
            compiled, "host", inputs=x, labels=np.zeros(3, int), build_dir=tmp_path / "b"
        )
    assert not (tmp_path / "b").exists()


def test_an_unknown_board_is_named(model: Any, x: np.ndarray, tmp_path: Path) -> None:
    compiled = secateur.convert(model, calibration=x)
    with pytest.raises(TargetError, match="nucleo_f446"):
        secateur.deploy(compiled, "nucleo_f446", inputs=x, build_dir=tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("bad", [np.zeros((0, 8, 6, 2)), np.zeros((4, 5, 5, 2))])
def test_bad_calibration(model: Any, bad: np.ndarray) -> None:
    with pytest.raises(DataError, match="calibration"):
        secateur.convert(model, calibration=bad)


def test_importing_secateur_does_not_import_keras() -> None:
    import subprocess
    import sys

    code = "import sys, secateur; assert not {'keras', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
