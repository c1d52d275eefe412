"""Compiler flags of a board, from its manifest: the one place both builders ask.

PlatformIO's builder script and secateur.targets.builders.gcc load this file by its path, so it
imports nothing but the standard library.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
LD = HERE.parent / "ld"

COMPILE = [
    "-std=c11", "-O2", "-g", "-ffunction-sections", "-fdata-sections", "-fno-common",
    # loops that copy or clear stay loops: the C library's memcpy is larger than most layers
    "-fno-tree-loop-distribute-patterns",
    "-Wall", "-Wextra", "-Werror",
]  # fmt: skip


def toolchain(manifest: dict) -> dict:
    """What the manifest's core needs: as Secateur put it there, else from cores.json."""
    board = manifest["secateur"]
    if "toolchain" in board:
        found = dict(board["toolchain"])
        for flag in [found["prefix"], *found["machine"]]:
            if not re.fullmatch(r"[A-Za-z0-9_=.+-]+", flag):
                raise ValueError(f"{flag!r} is no flag of a core: correct the board's manifest")
        return found
    known = json.loads((HERE / "cores.json").read_text(encoding="utf-8"))
    if board["core"] not in known:
        raise ValueError(f"core {board['core']} is unknown: {', '.join(known)} are known")
    return dict(known[board["core"]])


def prefix(manifest: dict) -> str:
    """The tool chain's prefix."""
    return str(toolchain(manifest)["prefix"])


def pin(name: str, port_size: int = 16) -> int:
    """`PA2` (port_size * port + number), `P0.24` (Nordic: 32 * port + number), `GPIO4`."""
    if name.startswith("GPIO"):
        return int(name[4:])
    if "." in name:
        port, number = name[1:].split(".")
        return 32 * int(port) + int(number)
    return port_size * (ord(name[1]) - ord("A")) + int(name[2:])


def defines(manifest: dict) -> dict[str, str]:
    """Macros the firmware's sources read."""
    board = manifest["secateur"]
    ram = board["memory"]["ram"]
    out = {
        "F_CPU": f"{int(board['clock_hz'])}u",
        f"SECATEUR_PORT_{board['uart']['port'].upper()}": "1",
        "SECATEUR_UART_BASE": f"{int(str(board['uart']['base']), 0):#x}u",
        "SECATEUR_BAUD": f"{int(board['uart'].get('baud', 115200))}u",
        f"SECATEUR_TIMER_{board['timer']['kind'].upper()}": "1",
        "SECATEUR_TIMER_HZ": f"{int(board['timer']['hz'])}u",
        "SECATEUR_RAM_ORIGIN": f"{int(str(ram['origin']), 0):#x}u",
    }
    size = 32 if board["uart"]["port"] == "samd21" else 16  # pins a port: Microchip's, ST's
    for key, macro in (("tx", "SECATEUR_TX"), ("rx", "SECATEUR_RX")):
        if board["uart"].get(key):
            out[macro] = f"{pin(board['uart'][key], size)}u"
    if board.get("mark"):
        out["SECATEUR_MARK"] = f"{pin(board['mark'], size)}u"
    if "function" in board["uart"]:
        out["SECATEUR_PIN_FUNCTION"] = f"{int(board['uart']['function'])}u"
    out.update({str(k): str(v) for k, v in board.get("defines", {}).items()})
    for name, value in out.items():
        # Compiler lines may pass through a shell (SCons joins them for one).
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or not re.fullmatch(
            r"[A-Za-z0-9_.]*", value
        ):
            raise ValueError(
                f"the macro {name!r} with the value {value!r} is no identifier with a number or an "
                "identifier: correct the board's manifest"
            )
    return out


def machine_flags(manifest: dict) -> list[str]:
    """For the compiler and the linker."""
    return list(toolchain(manifest)["machine"])


def compile_flags(manifest: dict) -> list[str]:
    """Everything but -D and -I."""
    return machine_flags(manifest) + COMPILE


def link_flags(manifest: dict) -> list[str]:
    """Everything but objects and output."""
    board = manifest["secateur"]
    memory = board["memory"]
    core = toolchain(manifest)
    regions = [
        f"-Wl,--defsym={region.upper()}_{field.upper()}={int(str(memory[region][field]), 0):#x}"
        for region in ("flash", "ram")
        for field in ("origin", "length")
    ]
    return [
        *machine_flags(manifest),
        "-nostartfiles",
        *core["link"],
        "-Wl,--gc-sections",
        "-Wl,--no-warn-rwx-segments",
        f"-Wl,--defsym=MIN_STACK={int(board.get('min_stack', 1024)):#x}",
        *regions,
        f"-T{LD / core['script']}",
    ]
