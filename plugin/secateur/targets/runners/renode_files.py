"""Files for Renode, written from a board's manifest: platform, script, robot test.

The platform holds what the firmware touches and no more: core, interrupt controller with SysTick,
DWT, flash, RAM and the harness' serial line. Other peripherals the start-up waits for are tagged
with all bits set, so that every "ready" is there. Nothing is fetched from a network.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ...errors import TargetError
from ...files import building
from .. import tools
from ..base import Image
from ..boards import Board
from ..builders import elf

#: Renode's model of each port's UART: class, size of a range (0: the model knows), attributes.
_UART: dict[str, tuple[str, int, dict[str, str]]] = {
    "cmsdk": ("UART.CMSDK_APB_UART", 0, {}),
    "stm32f4": ("UART.STM32_UART", 0x100, {}),
    "gd32v": ("UART.STM32_UART", 0x100, {}),
    "stm32l4": ("UART.STM32F7_USART", 0x100, {"frequency": "120000000", "lowPowerMode": "true"}),
    "stm32h7": ("UART.STM32F7_USART", 0x100, {"frequency": "64000000"}),
    "stm32u5": ("UART.STM32F7_USART", 0x100, {"frequency": "16000000"}),
    "nrf": ("UART.NRF52840_UART", 0, {"easyDMA": "false"}),
    "ns16550": ("UART.NS16550", 0, {}),
    "rp2040": ("UART.PL011", 0, {}),
    "rp2350": ("UART.PL011", 0, {}),
    "fe310": ("UART.SiFive_UART", 0, {}),
    "samd21": ("UART.SAMD5_UART", 0, {}),  # the SAMD21's registers are where the SAMD5's are
}

#: Registers the start-up waits for: name, first and last address.
_READY: dict[str, list[tuple[str, int, int]]] = {
    "stm32f4": [("RCC", 0x40023800, 0x40023BFF)],
    "stm32l4": [("RCC", 0x40021000, 0x400213FF)],
    "stm32u5": [("RCC", 0x46020C00, 0x46020FFF)],
    "gd32v": [("RCU", 0x40021000, 0x400213FF)],
    "nrf": [("CLOCK", 0x40000000, 0x40000FFF)],
    "rp2040": [("RESETS", 0x4000C000, 0x4000C00F), ("CLOCKS", 0x40008000, 0x400080FF),
               ("XOSC", 0x40024000, 0x4002400F), ("PLL", 0x40028000, 0x4002800F)],
    "rp2350": [("RESETS", 0x40020000, 0x4002000F), ("CLOCKS", 0x40010000, 0x400100FF),
               ("XOSC", 0x40048000, 0x4004800F), ("PLL", 0x40050000, 0x4005000F)],
    "fe310": [("PRCI", 0x10008000, 0x1000800F)],
    "samd21": [("SYSCTRL", 0x40000800, 0x400008FF)],
}  # fmt: skip


def platform(board: Board) -> str:
    """The platform description (.repl) of a board. Raises TargetError if Renode lacks its UART."""
    renode = board.emulator.renode
    if renode is None or board.uart.port not in _UART:
        raise TargetError(
            f"no Renode platform can be written for board {board.id}: its UART has no model"
        )
    memory = board.memory
    uart, size, attributes = _UART[board.uart.port]
    place = f"<{board.uart.base:#x}, +{size:#x}>" if size else f"{board.uart.base:#x}"
    lines = [f"// {board.title}: written from {board.path.name}."]
    if board.cpu.renode is None:
        raise TargetError(
            f"no Renode platform can be written for board {board.id}: Renode has no {board.core}"
        )
    if board.cpu.riscv:
        lines += [
            "cpu: CPU.RiscV32 @ sysbus",
            f'    cpuType: "{board.cpu.renode}"',
            "    timeProvider: clint",
            "",
            "clint: IRQControllers.CoreLevelInterruptor @ sysbus 0x02000000",
            f"    frequency: {board.clock_hz}",
            "    [0, 1] -> cpu@[3, 7]",
        ]
    else:
        lines += [
            "nvic: IRQControllers.NVIC @ sysbus 0xe000e000",
            f"    systickFrequency: {board.timer.hz}",
            "    IRQ -> cpu@0",
            "",
            "cpu: CPU.CortexM @ sysbus",
            f'    cpuType: "{board.cpu.renode}"',
            "    nvic: nvic",
        ]
        if board.timer.kind == "dwt":
            lines += ["", *_dwt(board)]
    lines += [
        "",
        f"flash: Memory.MappedMemory @ sysbus {memory.flash.origin:#x}",
        f"    size: {memory.flash.length:#x}",
        "",
        f"ram: Memory.MappedMemory @ sysbus {memory.ram.origin:#x}",
        f"    size: {memory.ram.length:#x}",
        "",
        f"{renode.uart}: {uart} @ sysbus {place}",
        *(f"    {name}: {value}" for name, value in attributes.items()),
    ]
    if board.timer.kind == "nrf":
        lines += ["", "timer0: Timers.NRF52840_Timer @ sysbus 0x40008000", "    numberOfEvents: 4"]
    if tags := _READY.get(board.uart.port):
        lines += ["", "sysbus:", "    init:"]
        lines += [
            f'        Tag <{first:#x}, {last:#x}> "{name}" 0xFFFFFFFF' for name, first, last in tags
        ]
    return "\n".join(lines) + "\n"


def own_platform(board: Board) -> str:
    """A platform on top of the one Renode brings for the board.

    What the firmware needs and Renode's file lacks is added: the board's clock in SysTick, the
    cycle counter, the UART without DMA. Renode's files name register descriptions (SVD), which it
    fetches from the network when it loads them. Raises TargetError if Renode brings none.
    """
    renode = board.emulator.renode
    if renode is None or renode.own is None:
        raise TargetError(
            f"Renode brings no platform for board {board.id}: leave SECATEUR_RENODE_PLATFORM unset"
        )
    lines = [f"// {board.title}: Renode's own, as {board.path.name} wants it.",
             f'using "{renode.own}"']  # fmt: skip
    if not board.cpu.riscv:
        lines += ["", "nvic:", f"    systickFrequency: {board.timer.hz}"]
    if board.timer.kind == "dwt":
        lines += ["", *_dwt(board)]
    if board.uart.port == "nrf":
        lines += ["", f"{renode.uart}:", "    easyDMA: false"]
    return "\n".join(lines) + "\n"


def _dwt(board: Board) -> list[str]:
    return [
        "dwt: Miscellaneous.DWT @ sysbus 0xe0001000",
        f"    frequency: {board.clock_hz}",
    ]


def choose(board: Board) -> str:
    """The platform to run: what the manifest says, or the environment variable
    SECATEUR_RENODE_PLATFORM (generated or own)."""
    renode = board.emulator.renode
    if renode is None or "renode" not in board.emulators:
        raise unknown(board)
    wanted = os.environ.get("SECATEUR_RENODE_PLATFORM") or renode.platform
    if wanted not in ("generated", "own"):
        raise TargetError(f"SECATEUR_RENODE_PLATFORM is '{wanted}': generated or own")
    return own_platform(board) if wanted == "own" else platform(board)


def unknown(board: Board) -> TargetError:
    """Why Renode does not run a board, and what does."""
    renode = board.emulator.renode
    others = ", ".join(board.emulators) or "there is none"
    if renode is None or renode.above is None:
        return TargetError(
            f"Renode does not know board {board.id}: choose another emulator ({others})"
        )
    here = tools.version("renode")
    found = f"version {'.'.join(map(str, here))} is installed" if here else "none is installed"
    return TargetError(
        f"Renode does not run board {board.id} up to version {renode.above} ({renode.lacks}), and "
        f"{found}: choose another emulator ({others})"
    )


def quantum() -> float | None:
    """Seconds of virtual time between Renode's synchronisations, from SECATEUR_RENODE_QUANTUM.

    A peripheral's timer (the nRF51's, which has no cycle counter) is read as of the last one:
    with Renode's 100 us a run is counted to some hundreds of instructions, with less more slowly.
    None: Renode's own. Raises TargetError if it is no number of 1e-6 to 1e-2.
    """
    given = os.environ.get("SECATEUR_RENODE_QUANTUM")
    if not given:
        return None
    try:
        value = float(given)
    except ValueError:
        value = 0.0
    if not 1e-6 <= value <= 1e-2:
        raise TargetError(f"SECATEUR_RENODE_QUANTUM is {given!r}: give seconds, 1e-6 to 1e-2")
    return value


def mips(board: Board) -> int:
    """Instructions a microsecond, such that one is one tick of the board's counter."""
    return max(1, round(board.timer.hz / 1e6))


def script(image: Image, repl: Path, port: int | None = None) -> str:
    """Monitor commands (.resc) that make the machine ready; with `port`, its UART on TCP."""
    board = image.board
    renode = board.emulator.renode
    assert renode is not None
    cpu = f"sysbus.{renode.cpu}"
    lines = [
        "using sysbus",
        f'mach create "{board.id}"',
        f"machine LoadPlatformDescription @{repl}",
        f"{cpu} PerformanceInMips {mips(board)}",
        "logLevel 3",  # what the start-up writes to registers nobody models is no news
        f"sysbus LoadELF @{image.elf}",
    ]
    if not board.cpu.riscv:
        vectors = elf.symbols(image.elf)["vectors"][0]
        lines.append(f"{cpu} VectorTableOffset {vectors:#x}")
    if port is not None:
        lines += [
            # false: no telnet negotiation, the line carries bytes
            f'emulation CreateServerSocketTerminal {port} "harness" false',
            f"connector Connect sysbus.{renode.uart} harness",
        ]
    lines.append("emulation SetAdvanceImmediately true")
    if (step := quantum()) is not None:
        lines.append(f'emulation SetGlobalQuantum "{step:.6f}"')
    return "\n".join(lines) + "\n"


def robot(image: Image, resc: Path, model: str) -> str:
    """A robot test (.robot) that speaks MLPerf Tiny's text with the firmware."""
    renode = image.board.emulator.renode
    assert renode is not None
    return f"""\
*** Settings ***
Suite Setup       Setup
Suite Teardown    Teardown
Test Teardown     Test Teardown
Test Timeout      5 minutes
Resource          ${{RENODEKEYWORDS}}

*** Keywords ***
Start Firmware
    Execute Command           include @{resc}
    Create Terminal Tester    sysbus.{renode.uart}    timeout=30
    Start Emulation
    Wait For Line On Uart     m-ready

*** Test Cases ***
Names Itself
    Start Firmware
    Write To Uart             name%
    Wait For Line On Uart     m-name-dut-[secateur]
    Write To Uart             profile%
    Wait For Line On Uart     m-model-[{model}]

Infers
    Start Firmware
    Write To Uart             infer 1 0%
    Wait For Line On Uart     m-infer-start-1
    Wait For Line On Uart     m-results-
    Wait For Line On Uart     m-ready
    ${{count}}=    Execute Command    sysbus.{renode.cpu} ExecutedInstructions
    Should Match Regexp       ${{count}}    0x0*[1-9A-Fa-f]
    ${{time}}=     Execute Command    machine ElapsedVirtualTime
    Log To Console            ${{count}} instructions, ${{time}}
"""


def write(image: Image, folder: Path, model: str) -> dict[str, Path]:
    """Write all three for a built image; their paths by kind."""
    text = choose(image.board)
    stem = folder.resolve() / image.board.id
    paths = {kind: stem.with_suffix(f".{kind}") for kind in ("repl", "resc", "robot")}
    for path in (stem, image.elf):
        # Renode's monitor and Robot have quoting of their own for these
        if strange := re.search(r"[^\w./+:@-]", str(path)):
            raise TargetError(f"Renode takes no path with {strange[0]!r} ({path}): choose another")
    with building(folder, [path.name for path in paths.values()]):
        paths["repl"].write_text(text, encoding="utf-8")
        paths["resc"].write_text(script(image, paths["repl"]), encoding="utf-8")
        paths["robot"].write_text(robot(image, paths["resc"], model), encoding="utf-8")
    return paths


_USING = re.compile(r'^using "[\w/.-]+\.repl"$')
_AMENDED = re.compile(r"^[a-z]\w*:$")
_ENTRY = re.compile(
    r"^(?P<name>[a-z]\w*): (?P<type>[A-Za-z]+\.\w+) @ sysbus"
    r"( (?:0x[0-9a-f]+|<0x[0-9a-f]+, \+0x[0-9a-f]+>))?$"
)
_ATTRIBUTE = re.compile(r'^    \w+: (?:0x[0-9a-f]+|\d+|true|false|"[^"]+"|[a-z]\w*)$')
_INTERRUPT = re.compile(r"^    (?:\w+|\[[\d, ]+\]) -> (\w+)@(?:\d+|\[[\d, ]+\])$")
_TAG = re.compile(r'^        Tag <0x[0-9a-f]+, 0x[0-9a-f]+> "\w+" 0x[0-9A-F]+$')


def check_platform(text: str) -> None:
    """Check the part of Renode's platform syntax that `platform` uses.

    Raises TargetError naming the line. It knows no peripheral: only Renode can say whether a
    class exists.
    """
    names = {"sysbus"}
    used: list[tuple[int, str]] = []
    inside = ""
    inherits = False  #: names may come from the file it uses
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("//"):
            continue
        if entry := _ENTRY.match(line):
            if entry["name"] in names:
                raise TargetError(f"platform line {number}: {entry['name']} is there twice")
            names.add(entry["name"])
            inside = entry["name"]
        elif _USING.match(line):
            inherits = True
        elif inherits and _AMENDED.match(line):
            inside = line[:-1]
        elif line == "sysbus:" or (line == "    init:" and inside == "sysbus"):
            inside = "sysbus"
        elif inside and (interrupt := _INTERRUPT.match(line)):
            used.append((number, interrupt[1]))
        elif not inside or not (_ATTRIBUTE.match(line) or _TAG.match(line)):
            raise TargetError(f"platform line {number} is not understood: {line.strip()}")
    for number, name in used:
        if name not in names and not inherits:
            raise TargetError(f"platform line {number} names {name}, which is not declared")
