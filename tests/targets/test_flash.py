"""Flashing: commands as the tools want them, complaints in one sentence each."""

from __future__ import annotations

import os
import pty
import shutil
import stat
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from secateur import targets
from secateur.errors import TargetError, ToolError
from secateur.progress import listening
from secateur.targets import Image, boards, tools
from secateur.targets.builders import elf
from secateur.targets.flashing import binary, complaints, flash
from secateur.targets.power import Meter, Recording
from secateur.targets.runners.hardware import Hardware, only_port
from secateur.targets.wire.serial_line import SerialLine

from .conftest import echo, samples
from .desk import Desk


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


@pytest.mark.parametrize(
    ("tool", "output", "words"),
    [
        ("pyocd", "No available debug probes are connected", "no debug probe"),
        ("pyocd", "E Error: Target is locked, APPROTECT is enabled", "is locked"),
        ("st-flash", "Couldn't find ST-Link device", "no debug"),
        (
            "st-flash",
            "ERROR common.c: unknown chip id! 0",
            "another micro",
        ),
        (
            "JLinkExe",
            "Can not connect to J-Link",
            "no debug",
        ),
        ("JLinkExe", "Device secured. Mass erase is required", "is locked"),
        ("dfu-util", "dfu-util: No DFU capable USB device available", "no debug"),
        ("dfu-util", "dfu-util: Cannot open DFU device (LIBUSB_ERROR_BUSY)", "is busy"),
        (
            "esptool",
            "could not open port: No such file or directory: '/dev/x'",
            "no debug",
        ),
        (
            "esptool",
            "the port is busy or doesn't exist ([Errno 11] Could not exclusively lock port)",
            "is busy",
        ),
        ("esptool", "This chip is ESP32 not ESP32-C3. Wrong --chip argument?", "another micro"),
        ("esptool", "Failed to connect to ESP32-C3: No serial data received.", "no micro"),
        ("esptool", "WARNING: Secure Download Mode is enabled", "flash is locked"),
    ],
)
def test_complaints_of_each_tool(tool: str, output: str, words: str) -> None:
    sentence = complaints.explain(tool, f"{output}\nmore\n", 1)
    assert words in sentence
    assert "\n" not in sentence


@pytest.fixture
def esp32(tmp_path: Path, image: Callable[[str], Image]) -> Image:
    """An image of a board that esptool flashes; none is among ours."""
    built = image("longan_nano")
    flash_block = {"protocols": ["esptool"], "esptool": "esp32c3"}
    secateur = {**built.board.manifest["secateur"], "flash": flash_block}
    update = {
        "flasher": boards.Flasher.model_validate(flash_block),
        "manifest": {**built.board.manifest, "secateur": secateur},
    }
    return replace(built, board=built.board.model_copy(update=update))


def test_esptool(esp32: Image, tool: Callable[..., Path]) -> None:
    arguments = tool("esptool", "Writing at 0x00000000... (50 %)\nHash of data verified.")
    assert flash.flash(esp32, None, "/dev/ttyUSB7") == "esptool"
    line = arguments.read_text()
    assert "--chip esp32c3 --port /dev/ttyUSB7 --after hard_reset write_flash 0x0 /" in line


def test_progress_is_what_the_tool_says(esp32: Image, tool: Callable[..., Path]) -> None:
    tool("esptool", "Writing at 0x00000000... (25 %)\nWriting at 0x00001000... (100 %)")
    heard: list[tuple[str, int, int | None]] = []
    with listening(lambda what, done, total: heard.append((what, done, total))):
        flash.flash(esp32, None, "/dev/ttyUSB7")
    assert heard[0] == ("flashing longan_nano with esptool", 0, None)
    assert heard[-1] == ("flashing longan_nano with esptool", 100, 100)


def test_a_tool_that_hangs(esp32: Image, tmp_path: Path, tool: Callable[..., Path]) -> None:
    tool("esptool")
    (tmp_path / "esptool").write_text("#!/bin/sh\nsleep 60\n")
    with pytest.raises(TargetError, match=r"esptool did not finish in 0\.2 s: unplug"):
        flash.flash(esp32, None, "/dev/ttyUSB7", timeout=0.2)


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two Nucleos (ST-LINK) and a Pico are plugged in."""
    # fmt: off
    ports = [("/dev/ttyACM0", 0x0483, 0x374B, "066A"), ("/dev/ttyACM1", 0x0483, 0x374B, "066B"),
             ("/dev/ttyACM2", 0x2E8A, 0x000A, "E660"),
             ("/dev/ttyS0", None, None, "")]
    # fmt: on
    found = [SimpleNamespace(device=d, vid=v, pid=p, serial_number=s) for d, v, p, s in ports]
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: found)


@pytest.mark.usefixtures("plugged")
def test_boards_are_found_by_their_usb_id() -> None:
    nucleo = boards.load("nucleo_f446re")
    assert flash.find(nucleo) == ["/dev/ttyACM0", "/dev/ttyACM1"]
    assert only_port(boards.load("pico")) == "/dev/ttyACM2"
    with pytest.raises(TargetError, match=r"2 boards look like nucleo_f446re .*--port"):
        only_port(nucleo)
    assert flash.probe_of(nucleo, "/dev/ttyACM1") == "066B"
    assert flash.probe_of(nucleo, "/dev/ttyS0") is None
    with pytest.raises(TargetError, match=r"ttyACM2 is not nucleo_f446re.*2e8a:000a.*pico"):
        flash.probe_of(nucleo, "/dev/ttyACM2")


@pytest.mark.usefixtures("plugged")
def test_several_boards_at_once(image: Callable[[str], Image], tool: Callable[..., Path]) -> None:
    built = image("nucleo_f446re")
    arguments = tool("openocd")
    done = flash.flash_all(built, None, ["/dev/ttyACM0", "/dev/ttyACM1"])
    assert done == {"/dev/ttyACM0": "openocd", "/dev/ttyACM1": "openocd"}
    assert {"066A", "066B"} <= set(arguments.read_text().split())
    with pytest.raises(TargetError, match=r"1 of 2 boards were flashed, not /dev/ttyACM2: .*pico"):
        flash.flash_all(built, None, ["/dev/ttyACM0", "/dev/ttyACM2"])


def test_missing_tool(monkeypatch: pytest.MonkeyPatch, image: Callable[[str], Image]) -> None:
    built = image("nucleo_f446re")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", "/nowhere")
    monkeypatch.setattr(tools, "find", lambda program: None)
    with pytest.raises(ToolError, match="openocd is not installed: sudo apt-get install"):
        flash.flash(built, "openocd")
    with pytest.raises(
        ToolError,
        match=r"none of the tools that flash nucleo_f446re is here: openocd is not installed: .*; "
        "st-flash is not installed: ",
    ):
        flash.flash(built)


def test_every_installed_tool_is_tried_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: Callable[[str], Image],
    tool: Callable[..., Path],
) -> None:  # fmt: skip
    """openocd finds no probe, st-flash does; where none does, all are named."""
    built = image("nucleo_f446re")
    monkeypatch.setattr(tools, "find", lambda program: shutil.which(program, path=str(tmp_path)))
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(tmp_path / "core"))
    tool("openocd", "Error: open failed", 1)
    arguments = tool("st-flash")
    assert flash.flash(built) == "stflash"
    assert "write" in arguments.read_text()
    tool("st-flash", "Couldn't find ST-Link device", 1)
    with pytest.raises(
        TargetError,
        match=r"nucleo_f446re was flashed by none of openocd, stflash \(by openocd: nucleo_f446re: "
        r"openocd: no debug probe .*; by stflash: nucleo_f446re: st-flash: no debug probe",
    ):
        flash.flash(built)
    # PlatformIO's own, which no PATH names.
    packaged = tmp_path / "core" / "packages" / "tool-openocd" / "bin"
    packaged.mkdir(parents=True)
    (tmp_path / "st-flash").unlink()
    (tmp_path / "openocd").rename(packaged / "openocd")
    (packaged / "openocd").write_text("#!/bin/sh\nexit 0\n")
    assert flash.flash(built) == "openocd"


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
    with pytest.raises(TargetError, match="not that of the board"):
        flash.flash(built, "uf2", str(tmp_path))
    (tmp_path / "INFO_UF2.TXT").write_text("UF2 Bootloader v3.0\nBoard-ID: RPI-RP2\n")
    flash.flash(built, "uf2", str(tmp_path))
    data = (tmp_path / "secateur.uf2").read_bytes()
    start, wanted = binary.flat(elf.segments(built.elf))
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
    _, data = binary.flat(elf.segments(image("pico").elf))
    crc = 0xFFFFFFFF
    for byte in data[:252]:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc >> 31 else crc << 1) & 0xFFFFFFFF
    assert crc == int.from_bytes(data[252:256], "little")


def test_intel_hex() -> None:
    text = binary.intel_hex([(0x0800FFF8, bytes(range(16)))])
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
    built = image("nucleo_f446re")
    inputs = samples(3)
    with Desk(built) as desk:
        result = Hardware(port=desk.port, upload=False).run(built, inputs)
    assert np.array_equal(result.outputs, echo(inputs))
    assert result.cycles_kind == "measured"
    assert result.per_run == [5464] * 3
    assert result.energy is None


class WatchedPin(Meter):
    """A meter whose digital input is the board's trigger pin: 2 mA, and 12 mA while it is low."""

    name = "watched"

    def __init__(self, desk: Desk, rate: float = 1e6) -> None:
        self._desk = desk
        self._rate = rate
        self.supplied = False
        self._first = 0

    def supply(self) -> None:
        self.supplied = True

    def start(self) -> None:
        self._first = len(self._desk.machine.marks)

    def stop(self) -> Recording:
        """The runs as the board's clock saw them, 10 ms of idle between."""
        marks = self._desk.machine.marks[self._first :]
        hz = 168e6
        active: list[np.ndarray] = [np.zeros(10_000, bool)]
        for (low, fell), (high, rose) in zip(marks[::2], marks[1::2], strict=True):
            assert (low, high) == (0, 1)
            active += [np.ones(round((rose - fell) / hz * self._rate), bool),
                       np.zeros(10_000, bool)]  # fmt: skip
        on = np.concatenate(active)
        current = np.where(on, 12e-3, 2e-3)
        return Recording(np.arange(len(on)) / self._rate, current, np.full(len(on), 3.0), on, "pin")


@pytest.mark.parametrize("armed", [False, True])
def test_energy_is_measured_by_the_trigger_pin(armed: bool, image: Callable[[str], Image]) -> None:
    built = image("nucleo_f446re")
    with Desk(built) as desk:
        meter = WatchedPin(desk)
        target = Hardware(desk.port, upload=False, meter=meter, windows=3, seconds=0.001)
        if armed:
            meter.armed = True  # type: ignore[misc]
            stop = meter.stop
            # A recording that the first edge starts, without the pin itself.
            meter.stop = lambda: _from_the_edge(stop())  # type: ignore[method-assign]
        result = target.run(built, samples(2))
    assert meter.supplied
    assert result.energy is not None
    # 5,464 instructions a run, and 30 of the loop around it; the meter's pin is 1 us wide.
    exact = (5464 + 30) / 168e6 * (12e-3 - 2e-3) * 3.0 * 1e6
    assert result.energy.uj == pytest.approx(exact, rel=0.005)
    assert result.energy.windows == (1 if armed else 3)
    assert result.energy.kind == "measured"


def _from_the_edge(recording: Recording) -> Recording:
    assert recording.active is not None
    first = int(np.argmax(recording.active))
    return replace(
        recording, time=recording.time[first:], current=recording.current[first:],
        voltage=recording.voltage[first:], active=None,
    )  # fmt: skip


def test_energy_needs_an_input(image: Callable[[str], Image]) -> None:
    built = image("nucleo_f446re")
    with Desk(built) as desk:
        target = Hardware(desk.port, upload=False, meter=WatchedPin(desk))
        with pytest.raises(TargetError, match="give --inputs"):
            target.run(built, samples(0))


def test_picking_a_board_itself() -> None:
    target = targets.pick("nucleo_f446re", port="auto", power="joulescope")
    assert isinstance(target, Hardware)
    assert target.port is None
    assert target.meter is not None
    assert isinstance(targets.pick("nucleo_f446re", "board"), Hardware)
    with pytest.raises(TargetError, match="not for the emulator qemu"):
        targets.pick("nucleo_f446re", "qemu", port="/dev/ttyACM0")
    with pytest.raises(TargetError, match="mps2_an386 is emulated only"):
        targets.pick("mps2_an386", power="ppk2")


def test_every_real_board_can_be_flashed() -> None:
    for board in boards.all():
        for protocol in flash.protocols(board):
            assert protocol in {*tools.upload().COMMANDS, "uf2"}, board.id
