"""Flashing: commands as the tools want them, complaints in one sentence each."""

from __future__ import annotations

import os
import pty
import stat
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from secateur.errors import TargetError, ToolError
from secateur.targets import Image, boards, elf, flash
from secateur.targets.hardware import Hardware, SerialLine
from secateur.targets.sim import Machine

from .conftest import echo, samples


def _tool(folder: Path, name: str, output: str, code: int) -> None:
    """A stand-in that records its arguments, prints and exits."""
    path = folder / name
    path.write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/{name}.args\ncat <<"END"\n{output}\nEND\nexit {code}\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IEXEC)


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a stand-in for a tool first on PATH; gives the file of its arguments."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def make(name: str, output: str = "", code: int = 0) -> Path:
        _tool(tmp_path, name, output, code)
        return tmp_path / f"{name}.args"

    return make


@pytest.mark.parametrize(
    ("board", "protocol", "program", "wanted"),
    [
        ("nucleo_f446re", "openocd", "openocd", "-f interface/stlink.cfg -f target/stm32f4x.cfg"),
        ("nucleo_f446re", "stflash", "st-flash", "0x8000000"),
        ("nucleo_f446re", "jlink", "JLinkExe", "-device STM32F446RE -if SWD"),
        ("hifive1_revb", "jlink", "JLinkExe", "-device FE310 -if JTAG"),
        ("microbit", "pyocd", "pyocd", "load --target nrf51"),
        ("netduinoplus2", "dfu", "dfu-util", "--device 0483:df11"),
    ],
)
def test_command(
    board: str,
    protocol: str,
    program: str,
    wanted: str,
    tool: Callable[..., Path],
    image: Callable[[str], Image],
) -> None:
    built = image(board)
    arguments = tool(program)
    assert flash.flash(built, protocol, "SERIAL1") == protocol
    line = arguments.read_text()
    assert wanted in line
    assert "SERIAL1" in line


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("Error: open failed", "no debug probe or boot loader was found"),
        ("Error: libusb_open() failed with LIBUSB_ERROR_ACCESS", "udev rules"),
        ("Error: UNEXPECTED idcode: 0x2ba01477", "sees another microcontroller"),
        ("Error: stm32x device protected\nRDP level 1", "flash is locked"),
        ("Error: Device or resource busy", "port or probe is busy"),
        ("Error: init mode failed (unable to connect to the target)", "finds no microcontroller"),
        ("Error: the moon is full", "the moon is full"),
        ("", "said nothing"),
    ],
)
def test_complaint(
    output: str, words: str, tool: Callable[..., Path], image: Callable[[str], Image]
) -> None:
    built = image("nucleo_f446re")
    tool("openocd", output, 1)
    with pytest.raises(TargetError, match=words) as caught:
        flash.flash(built)
    assert "\n" not in str(caught.value)


def test_missing_tool(monkeypatch: pytest.MonkeyPatch, image: Callable[[str], Image]) -> None:
    built = image("nucleo_f446re")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolError, match="openocd is not installed: apt-get install openocd"):
        flash.flash(built)


def test_what_cannot_be(image: Callable[[str], Image]) -> None:
    built = image("mps2_an386")
    with pytest.raises(TargetError, match="emulated only"):
        flash.flash(built)
    nucleo = image("nucleo_f446re")
    with pytest.raises(TargetError, match="not flashed by smoke: openocd"):
        flash.flash(nucleo, "smoke")
    large = replace(nucleo, sizes=replace(nucleo.sizes, total=600_000))
    with pytest.raises(TargetError, match=r"600,000 bytes, the flash of nucleo_f446re 524,288"):
        flash.flash(large)


def test_uf2(image: Callable[[str], Image], tmp_path: Path) -> None:
    built = image("pico")
    with pytest.raises(TargetError, match=r"no INFO_UF2\.TXT"):
        flash.flash(built, "uf2", str(tmp_path))
    (tmp_path / "INFO_UF2.TXT").write_text("Board-ID: RP2350\n")
    with pytest.raises(TargetError, match="not that of pico"):
        flash.flash(built, "uf2", str(tmp_path))
    (tmp_path / "INFO_UF2.TXT").write_text("UF2 Bootloader v3.0\nBoard-ID: RPI-RP2\n")
    flash.flash(built, "uf2", str(tmp_path))
    data = (tmp_path / "secateur.uf2").read_bytes()
    start, wanted = flash.flat(elf.segments(built.elf))
    assert len(data) % 512 == 0
    found = b""
    for i in range(0, len(data), 512):
        fields = struct.unpack("<8I", data[i : i + 32])
        assert fields[:2] == (0x0A324655, 0x9E5D5157)
        assert fields[3] == start + 256 * (i // 512)
        assert fields[7] == 0xE48BFF56
        assert data[i + 508 : i + 512] == bytes.fromhex("306fb10a")
        found += data[i + 32 : i + 288]
    assert found[: len(wanted)] == wanted


def test_the_pico_boot_block_has_its_checksum(image: Callable[[str], Image]) -> None:
    _, data = flash.flat(elf.segments(image("pico").elf))
    crc = 0xFFFFFFFF
    for byte in data[:252]:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc >> 31 else crc << 1) & 0xFFFFFFFF
    assert crc == int.from_bytes(data[252:256], "little")


def test_intel_hex() -> None:
    text = flash.intel_hex([(0x0800FFF8, bytes(range(16)))])
    assert text.splitlines() == [
        ":020000040800F2",
        ":08FFF8000001020304050607E5",
        ":020000040801F1",
        ":0800000008090A0B0C0D0E0F9C",
        ":00000001FF",
    ]


def test_a_port_that_is_not_there() -> None:
    with pytest.raises(TargetError, match="/dev/nothing does not open: it does not exist"):
        SerialLine("/dev/nothing", 115200)


def test_a_port_in_use() -> None:
    ours, theirs = pty.openpty()
    line = SerialLine(os.ttyname(theirs), 115200)
    with pytest.raises(TargetError, match="another program uses it"):
        SerialLine(os.ttyname(theirs), 115200)
    line.close()
    os.close(ours)
    os.close(theirs)


def test_no_board_is_plugged_in(image: Callable[[str], Image]) -> None:
    with pytest.raises(TargetError, match=r"no serial port of .* was found"):
        Hardware().run(image("netduinoplus2"), samples(1))


def test_hardware_over_a_pseudo_terminal(image: Callable[[str], Image]) -> None:
    """The driver of real boards, against the simulator behind a pseudo-terminal."""
    import threading
    import tty

    built = image("nucleo_f446re")
    machine = Machine(built)
    machine.count(True)
    ours, theirs = pty.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)
    stop = threading.Event()

    def serve() -> None:
        import select

        while not stop.is_set():
            if select.select([ours], [], [], 0.05)[0]:
                machine.write(os.read(ours, 4096))
                os.write(ours, machine.read(1))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        inputs = samples(3)
        result = Hardware(port=os.ttyname(theirs), upload=False).run(built, inputs)
    finally:
        stop.set()
        thread.join()
        os.close(ours)
        os.close(theirs)
    assert np.array_equal(result.outputs, echo(inputs))
    assert result.cycles_kind == "measured"
    assert result.per_run == [5464] * 3


def test_every_real_board_can_be_flashed() -> None:
    for board in boards.all():
        for protocol in flash.protocols(board):
            assert protocol in {*flash._COMMANDS, "uf2"}, board.id
