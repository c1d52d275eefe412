"""Code in RAM: start-up copies the model's functions, calls reach them, flash is not waited for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from secateur import data, targets
from secateur.cli import main
from secateur.errors import TargetError, ToolError
from secateur.targets import Image, boards
from secateur.targets.builders import elf
from secateur.targets.runners.sim import Sim

from .conftest import ECHO, echo, samples


@pytest.mark.emulator
@pytest.mark.parametrize("board", ["nucleo_f446re", "pico", "qemu_rv32"])
def test_the_same_bytes_from_ram(board: str, image: Callable[[str], Image], tmp_path: Path) -> None:
    pytest.importorskip("unicorn")
    flash = image(board)
    ram = targets.build(ECHO, board, tmp_path, code_in_ram=True)
    region = flash.board.memory.ram

    def inside(built: Image) -> bool:
        at, _ = elf.symbols(built.elf)["echo_run"]
        return region.origin <= at < region.origin + region.length

    assert not inside(flash)
    assert inside(ram)
    size = elf.symbols(flash.elf)["echo_run"][1]
    more = ram.sizes.static_ram - flash.sizes.static_ram
    assert size <= more <= size + 64, "the function, and what takes calls to it"
    inputs = samples(2)
    found = [Sim().run(built, inputs) for built in (flash, ram)]
    for result in found:
        assert np.array_equal(result.outputs, echo(inputs))
    assert found[0].cycles is not None
    assert found[1].cycles is not None
    if flash.board.wait_states:
        assert found[1].cycles < found[0].cycles


def test_where_code_cannot_be_in_ram(tmp_path: Path) -> None:
    for board in ("nucleo_h743zi", "host"):
        with pytest.raises(TargetError, match=f"board {board} does not run code from its RAM"):
            targets.build(ECHO, board, tmp_path / "out", code_in_ram=True)
    with pytest.raises(ToolError, match="not for the builder platformio: choose gcc"):
        targets.build(ECHO, "pico", tmp_path / "out", builder="platformio", code_in_ram=True)
    assert not (tmp_path / "out").exists()


def test_the_command_refuses_before_it_works(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 49, 10, 1), np.float32))
    words = ["deploy", str(data.KWS_MODEL), "--board", "nucleo_f446re", "--emulator", "sim",
             "--inputs", str(tmp_path / "x.npz"), "--code-in-ram",
             "--out", str(tmp_path / "o")]  # fmt: skip
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert "choose gcc" in done.stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("board", ["nucleo_f446re", "nucleo_h743zi"])
def test_a_core_says_whether_its_ram_is_for_code(board: str) -> None:
    assert boards.load(board).cpu.code_in_ram is (board == "nucleo_f446re")
