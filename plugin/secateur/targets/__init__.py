"""Building firmware and running it: one interface for host, simulator, QEMU, Renode, boards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import TargetError, ToolError
from . import boards
from .base import Image, RunResult, Sizes, Target
from .boards import Board

__all__ = [
    "Board", "Image", "RunResult", "Sizes", "Target", "boards", "build",
    "check_code_in_ram", "get", "names", "pick",
]  # fmt: skip

#: Best first: what `pick` takes when the user does not say.
_ORDER = ("renode", "qemu", "sim", "host")


def build(
    library_dir: Path,
    board: str | Board,
    build_dir: Path,
    *,
    builder: str = "gcc",
    sanitize: bool = False,
    code_in_ram: bool = False,
    flags: Sequence[str] = (),
) -> Image:
    """Build the firmware of a generated library for a board, in `build_dir`.

    `builder` is "gcc" (calls the compiler) or "platformio"; both give the same image. `sanitize`
    (board `host` only) adds address and undefined-behaviour checks, `code_in_ram` has start-up copy
    the model's functions to RAM, where they do not wait for flash ("gcc" only), `flags` go to the
    compiler last. Raises ToolError if a tool is missing, the code does not compile or does not fit,
    TargetError if the board's RAM is none to run code from.
    """
    board = boards.load(board) if isinstance(board, str) else board
    build_dir = Path(build_dir).resolve()
    if sanitize and not board.hosted:
        raise ToolError(f"sanitize is for the board 'host', not for {board.id}: leave it out")
    if code_in_ram:
        check_code_in_ram(board, builder)
    if builder == "platformio" and not board.hosted:
        from .builders import platformio

        return platformio.build(library_dir, board, build_dir, flags=flags)
    if builder not in ("gcc", "platformio"):
        raise ToolError(f"builder '{builder}' is unknown: gcc or platformio")
    from .builders import gcc

    return gcc.build(
        library_dir, board, build_dir, sanitize=sanitize, code_in_ram=code_in_ram, flags=flags
    )


def check_code_in_ram(board: Board, builder: str) -> None:
    """Raises TargetError or ToolError where the model's code cannot be put into RAM."""
    if board.hosted or not board.cpu.code_in_ram:
        raise TargetError(
            f"board {board.id} does not run code from its RAM ({board.core}): leave code_in_ram out"
        )
    if builder != "gcc":
        raise ToolError(f"code in RAM is not for the builder {builder}: choose gcc")


def names() -> list[str]:
    """Targets that run without hardware, best first."""
    return list(_ORDER)


def get(name: str) -> Target:
    """The target of this name. Raises TargetError if there is none."""
    if name == "host":
        from .runners.host import Host

        return Host()
    if name == "qemu":
        from .runners.qemu import Qemu

        return Qemu()
    if name == "sim":
        from .runners.sim import Sim

        return Sim()
    if name == "renode":
        from .runners.renode import Renode

        return Renode()
    if name == "board":
        from .runners.hardware import Hardware

        return Hardware()
    raise TargetError(f"emulator '{name}' is unknown: {', '.join(_ORDER)}")


def pick(
    board: str | Board,
    emulator: str | None = None,
    port: str | None = None,
    power: str | None = None,
    ready: Callable[[Path], None] | None = None,
) -> Target:
    """The emulator asked for, or the best installed one that knows the board.

    With `port` (a serial port, or "auto" for the one with the board's USB id) or `power` (a meter,
    see targets.power) it is the board itself; "board" as emulator says the same. `ready` is called
    when the runs are over and a recording of another meter (csv:FILE) is wanted.
    """
    board = boards.load(board) if isinstance(board, str) else board
    if port or power or emulator == "board":
        return _hardware(board, emulator, port, power, ready)
    wanted = [emulator] if emulator else list(_ORDER)
    reasons = []
    for name in wanted:
        target = get(name)
        if not target.supports(board):
            reasons.append(f"{name} does not know it")
        elif reason := target.available():
            reasons.append(reason)
        else:
            return target
    raise TargetError(f"nothing here runs board {board.id}: {'; '.join(reasons)}")


def _hardware(
    board: Board,
    emulator: str | None,
    port: str | None,
    power: str | None,
    ready: Callable[[Path], None] | None,
) -> Target:
    from .power import get as meter
    from .runners.hardware import Hardware

    if emulator not in (None, "board"):
        raise TargetError(
            f"a port or power meter is for a board, not for the emulator {emulator}: leave "
            "--emulator out"
        )
    target = Hardware(
        port=None if port in (None, "auto") else port,
        meter=meter(power, board.power.voltage or 3.3, ready) if power else None,
    )
    if not target.supports(board):
        raise TargetError(f"board {board.id} is emulated only: leave --port and --power out")
    return target
