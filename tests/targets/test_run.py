"""The same bytes from every target, and the same counts."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from secateur import targets
from secateur.errors import TargetError, ToolError
from secateur.targets import Image, boards, tools
from secateur.targets.builders import elf
from secateur.targets.runners import sim
from secateur.targets.runners.qemu import Qemu
from secateur.targets.runners.sim import Sim
from secateur.targets.wire import frames
from secateur.targets.wire.client import Client
from secateur.targets.wire.frames import Frame

from .conftest import ECHO, echo, need, samples

QEMU = [board.id for board in boards.all() if board.emulator.qemu]
SIM = [board.id for board in boards.all() if board.emulator.sim]


def test_host(image: Callable[[str], Image]) -> None:
    inputs = samples(50)
    result = targets.get("host").run(image("host"), inputs)
    assert np.array_equal(result.outputs, echo(inputs))
    assert result.instructions is None
    assert result.arena == 500


def test_host_with_sanitizers(tmp_path: Path) -> None:
    need("cc")
    inputs = samples(5)
    built = targets.build(ECHO, "host", tmp_path, sanitize=True)
    result = targets.get("host").run(built, inputs)
    assert np.array_equal(result.outputs, echo(inputs))


def test_host_reports_what_the_sanitizer_found(tmp_path: Path) -> None:
    need("cc")
    library = tmp_path / "echo"
    source = library / "src"
    source.mkdir(parents=True)
    (library / "library.json").write_text((ECHO / "library.json").read_text())
    for file in (ECHO / "src").iterdir():
        text = file.read_text()
        (source / file.name).write_text(text.replace("echo_arena[i + 10]", "echo_arena[i + 500]"))
    built = targets.build(library, "host", tmp_path / "build", sanitize=True)
    with pytest.raises(TargetError, match=r"out of bounds|overflow"):
        targets.get("host").run(built, samples(1))


@pytest.mark.emulator
@pytest.mark.parametrize("board", QEMU)
def test_qemu(board: str, image: Callable[[str], Image]) -> None:
    machine = boards.load(board).emulator.qemu
    assert machine is not None
    need(f"qemu-system-{machine.system}")
    inputs = samples(4)
    first = Qemu().run(image(board), inputs)
    assert np.array_equal(first.outputs, echo(inputs))
    assert first.instructions is not None
    assert first.instructions > 2000
    assert first.arena == 500
    assert first.stack < 200
    again = Qemu(estimate=False).run(image(board), inputs)
    assert again.per_run == first.per_run
    if board in SIM:
        assert Sim(counted=-1).run(image(board), inputs).per_run == first.per_run


@pytest.mark.parametrize("board", SIM)
def test_simulator(board: str, image: Callable[[str], Image]) -> None:
    inputs = samples(6)
    result = Sim(counted=2).run(image(board), inputs)
    assert np.array_equal(result.outputs, echo(inputs))
    assert len(result.per_run) == 2
    assert result.arena == 500


@pytest.mark.emulator
def test_a_timer_that_overflows_counts_on(image: Callable[[str], Image]) -> None:
    need("qemu-system-arm")
    inputs = samples(1)
    short = Qemu(estimate=False).run(image("mps2_an386"), inputs)
    inputs[0, 0] = 104  # 20 million turns of a loop of two instructions
    long = Qemu(estimate=False).run(image("mps2_an386"), inputs)
    assert short.instructions is not None
    assert long.instructions is not None
    extra = long.instructions - short.instructions - 2 * 20_000_000
    assert 0 < extra < 30


@pytest.mark.emulator
def test_a_counter_that_overflows_within_every_run(tmp_path: Path) -> None:
    """SysTick with 10 bits: dozens of overflows a run, some while it is being read."""
    need("qemu-system-arm", "arm-none-eabi-gcc")
    inputs = samples(60)
    counts = {
        bits: Qemu(estimate=False)
        .run(targets.build(ECHO, "mps2_an386", tmp_path / bits,
                           flags=[f"-DSECATEUR_SYSTICK_BITS={bits}"]), inputs)
        .per_run
        for bits in ("10", "24")
    }  # fmt: skip
    assert len(set(counts["24"])) == 1
    # One overflow more or less than was inside the run, one read more where it was at 0.
    assert all(abs(n - counts["24"][0]) <= 10 for n in counts["10"])


class _Backwards:
    """A device whose counter runs backwards."""

    def __init__(self) -> None:
        self._reply = b""

    def write(self, data: bytes) -> None:
        sent = frames.decode(data.strip(b"\0"))
        assert sent is not None
        payload = struct.pack("<iIqI", 0, 1, -(2**24), 0)
        self._reply = frames.encode(Frame(sent.command | frames.REPLY, sent.sequence, 0, payload))

    def read(self, timeout: float) -> bytes:
        return self._reply


def test_a_counter_that_runs_backwards_is_an_error() -> None:
    with pytest.raises(TargetError, match=r"1 runs took -16777216 ticks.*ran backwards"):
        Client(_Backwards()).run()
    untimed = Client(_Backwards())
    untimed.timed = False
    assert untimed.run().ticks < 0


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("code", "words"), [(102, "undefined instruction"), (103, "precise bus error")]
)
def test_a_fault_is_decoded(code: int, words: str, image: Callable[[str], Image]) -> None:
    need("qemu-system-arm")
    inputs = samples(2)
    inputs[1, 0] = code
    with pytest.raises(
        TargetError, match=rf"HardFault, {words}, at echo_run \(echo\.c:1[23]\), PC"
    ):
        Qemu().run(image("mps2_an386"), inputs)


@pytest.mark.emulator
def test_a_trap_is_decoded(image: Callable[[str], Image]) -> None:
    need("qemu-system-riscv32")
    inputs = samples(1)
    inputs[0, 0] = 103
    with pytest.raises(TargetError, match=r"load access fault, at echo_run \(echo\.c:13\)"):
        Qemu().run(image("qemu_rv32"), inputs)


@pytest.mark.emulator
def test_a_hang_is_located(image: Callable[[str], Image]) -> None:
    need("qemu-system-arm")
    inputs = samples(1)
    inputs[0, 0] = 101
    with pytest.raises(TargetError, match=r"frame 'run'.*no answer.*echo_run \(echo\.c:11\)"):
        Qemu(run_time=1, reply_time=1).run(image("mps2_an386"), inputs)


@pytest.mark.parametrize(
    ("code", "words"), [(101, "no answer"), (102, "Invalid instruction"), (103, "Invalid memory")]
)
def test_the_simulator_locates_faults(code: int, words: str, image: Callable[[str], Image]) -> None:
    inputs = samples(1)
    inputs[0, 0] = code
    with pytest.raises(TargetError, match=rf"{words}.*echo_run \(echo\.c:1[123]\)"):
        Sim(run_time=1).run(image("mps2_an386"), inputs)


def test_platformio_builds_the_same_image(image: Callable[[str], Image], tmp_path: Path) -> None:
    need("pio")
    ours = image("mps2_an386")
    theirs = targets.build(ECHO, "mps2_an386", tmp_path, builder="platformio")
    assert elf.segments(theirs.elf) == elf.segments(ours.elf)
    assert theirs.sizes == ours.sizes


def test_platformio_builds_anew_what_another_model_changes(
    image: Callable[[str], Image], tmp_path: Path
) -> None:
    """The harness has the model's sizes in it, too: the next model in the same folder."""
    need("pio")
    library = tmp_path / "echo"
    shutil.copytree(ECHO, library)
    header = library / "src" / "echo.h"
    text = header.read_text()
    header.write_text(text.replace("ARENA_BYTES 600", "ARENA_BYTES 900"))
    first = targets.build(library, "mps2_an386", tmp_path / "build", builder="platformio")
    assert first.sizes.arena == 900
    header.write_text(text)
    second = targets.build(library, "mps2_an386", tmp_path / "build", builder="platformio")
    assert elf.segments(second.elf) == elf.segments(image("mps2_an386").elf)


def test_sizes_add_up(image: Callable[[str], Image]) -> None:
    sizes = image("mps2_an386").sizes
    assert sizes.total == sizes.model + sizes.runtime + sizes.harness
    assert sizes.total == sum(len(data) for _, data in elf.segments(image("mps2_an386").elf))
    assert sizes.model == 64
    assert sizes.arena == 600


def test_wrong_inputs(image: Callable[[str], Image]) -> None:
    with pytest.raises(TargetError, match="takes 490 bytes, not 10"):
        targets.get("host").run(image("host"), np.zeros((1, 10), np.int8))
    with pytest.raises(TargetError, match="must be int8, not float64"):
        targets.get("host").run(image("host"), np.zeros((1, 490)))


def test_a_missing_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolError, match="apt-get install -y gcc-arm-none-eabi"):
        targets.build(ECHO, "mps2_an386", tmp_path)


def test_a_missing_emulator(monkeypatch: pytest.MonkeyPatch, image: Callable[[str], Image]) -> None:
    built = image("mps2_an386")
    monkeypatch.setattr(tools, "find", lambda program: None)
    with pytest.raises(TargetError, match="apt-get install -y qemu-system-arm"):
        targets.pick("mps2_an386", "qemu")
    with pytest.raises(ToolError, match="apt-get install -y qemu-system-arm"):
        Qemu().run(built, samples(1))
    assert targets.pick("mps2_an386").name == "sim"


def test_an_emulator_that_does_not_know_the_board() -> None:
    with pytest.raises(TargetError, match="qemu does not know it"):
        targets.pick("nucleo_f446re", "qemu")
    with pytest.raises(TargetError, match="'bochs' is unknown"):
        targets.pick("nucleo_f446re", "bochs")


def test_an_image_too_large(tmp_path: Path) -> None:
    need("arm-none-eabi-gcc")
    board = boards.load("microbit")
    manifest = {**board.manifest, "secateur": {**board.manifest["secateur"]}}
    manifest["secateur"]["memory"] = {
        "flash": {"origin": "0x0", "length": 1024},
        "ram": {"origin": "0x20000000", "length": 16384},
    }
    with pytest.raises(ToolError, match=r"region `?FLASH'? overflowed"):
        targets.build(ECHO, board.model_copy(update={"manifest": manifest}), tmp_path)


def test_a_folder_whose_name_has_commas(tmp_path: Path) -> None:
    """The linker's options are lists with commas."""
    need("arm-none-eabi-gcc")
    folder = tmp_path / "a, b (c)"
    assert targets.build(ECHO, "microbit", folder).elf.is_file()
    assert (folder / "firmware.map").is_file()


def test_what_is_no_library(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="is not a generated library"):
        targets.build(tmp_path, "host", tmp_path)


@pytest.mark.emulator
def test_an_estimate_that_takes_too_long_is_made_of_what_was_counted(
    image: Callable[[str], Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    board = image("mps2_an386")
    x = samples(1)
    whole = Sim().run(board, x)
    assert whole.instructions is not None
    found = sim.cycles_of(board, x, whole.instructions)
    assert (found.cycles, found.share, found.between) == (whole.cycles, 1.0, whole.between)

    stopped = sim.Machine(board)
    stopped.count(True)
    client = sim.Client(stopped, retries=1)
    client.infer(x[0], client.info())
    (_, run) = stopped.runs()[:2]  # as if it had been stopped at the end of the run
    stopped._counter = SimpleNamespace(peek=lambda: run)

    def slow(*_: object) -> object:
        raise sim.SlowError("too long", stopped)

    monkeypatch.setattr(sim.Client, "infer", slow)
    guess = sim.cycles_of(board, x, 2 * whole.instructions)
    assert guess.cycles == pytest.approx(2 * whole.cycles, rel=0.02)
    assert guess.share == pytest.approx(0.5, abs=0.01)
    assert "first 50% of an inference" in guess.note[0]
    assert sim.cycles_of(board, x, None) is None
