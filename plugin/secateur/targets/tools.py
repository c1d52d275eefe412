"""Programs of the machine: finding them, running them, and saying how to get them."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from .. import extras
from ..errors import ToolError
from . import assets

#: Package managers by the program that runs them, and how each is asked for a package.
MANAGERS = {
    "apt-get": "sudo apt-get install -y",
    "brew": "brew install",
    "choco": "choco install -y",
    "winget": "winget install",
}

#: Packages of a program by package manager. Arm's own compiler brings newlib with it.
PACKAGES: dict[str, dict[str, str]] = {
    "arm-none-eabi-gcc": {
        "apt-get": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
        "brew": "--cask gcc-arm-embedded",
        "choco": "gcc-arm-embedded",
        "winget": "Arm.GnuArmEmbeddedToolchain",
    },
    "riscv64-unknown-elf-gcc": {
        "apt-get": "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf",
        "brew": "riscv64-elf-gcc",
    },
    "cc": {
        "apt-get": "gcc libc6-dev", "brew": "gcc", "choco": "mingw",
        "winget": "BrechtSanders.WinLibs.POSIX.UCRT",
    },
    "qemu-system-arm": {
        "apt-get": "qemu-system-arm", "brew": "qemu", "choco": "qemu",
        "winget": "SoftwareFreedomConservancy.QEMU",
    },
    "qemu-system-riscv32": {
        "apt-get": "qemu-system-misc", "brew": "qemu", "choco": "qemu",
        "winget": "SoftwareFreedomConservancy.QEMU",
    },
    "openocd": {"apt-get": "openocd", "brew": "open-ocd", "choco": "openocd"},
    "st-flash": {"apt-get": "stlink-tools", "brew": "stlink"},
    "dfu-util": {"apt-get": "dfu-util", "brew": "dfu-util"},
    "gdb-multiarch": {"apt-get": "gdb-multiarch", "brew": "gdb"},
}  # fmt: skip

#: What installs a program that no package manager of the system has.
_ELSEWHERE = {
    "renode": "see https://github.com/renode/renode/releases",
    "pyocd": "pip install pyocd",
    "JLinkExe": "see https://www.segger.com/downloads/jlink",
    "esptool": "pip install esptool",
}


def manager() -> str:
    """The package manager of this machine: a key of MANAGERS; "apt-get" where none is found."""
    order = {"darwin": ("brew",), "win32": ("winget", "choco")}.get(sys.platform, ("apt-get",))
    there = [name for name in order if shutil.which(name)]
    return (there or list(order))[0]


def install(program: str, packages: dict[str, str] | None = None) -> str:
    """The line that installs a program here, or where to get it.

    packages: by package manager, in place of PACKAGES.
    """
    if program == "pio":
        return extras.install("boards")
    if program in _ELSEWHERE:
        return _ELSEWHERE[program]
    by = PACKAGES.get(program, {}) if packages is None else packages
    chosen = manager()
    if chosen == "winget" and "winget" not in by and "choco" in by:
        chosen = "choco"
    if chosen in by:
        return f"{MANAGERS[chosen]} {by[chosen]}"
    return "put it on PATH"


def missing(program: str) -> str | None:
    """None if the program is there, else one sentence with the line that installs it."""
    if find(program):
        return None
    return f"{program} is not installed: {install(program)}"


def find(program: str) -> str | None:
    """The program on PATH, or beside the running Python."""
    return shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))


def need(program: str) -> str:
    """The program's path. Raises ToolError with the line that installs it."""
    path = find(program)
    if path is None:
        raise ToolError(str(missing(program)))
    return path


@cache
def _version(path: str) -> tuple[int, ...] | None:
    try:
        text = run([path, "--version"], "asking for a version", timeout=60)
    except ToolError:
        return None
    found = re.search(r"(?<![\d.])(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else None


def version(program: str) -> tuple[int, ...] | None:
    """(major, minor, patch) that `program --version` names; None if it is missing or silent."""
    path = find(program)
    return _version(path) if path else None


def run(command: list[str], what: str, timeout: float = 300, **options: object) -> str:
    """Standard output of a command. Raises ToolError with its first line of complaint."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            **options,  # type: ignore[call-overload]
        )
    except subprocess.TimeoutExpired:
        raise ToolError(f"{what}: {command[0]} did not finish in {timeout:g} s") from None
    except OSError as error:
        raise ToolError(f"{what}: {command[0]} does not start: {error.strerror}") from None
    if done.returncode != 0:
        lines = (done.stderr + "\n" + done.stdout).splitlines()
        telling = [x for x in lines if "error" in x.lower() or "overflow" in x.lower()] or lines
        first = next((x.strip() for x in telling if x.strip()), f"exit code {done.returncode}")
        raise ToolError(f"{what} failed: {first}")
    return str(done.stdout)


def flags() -> ModuleType:
    """firmware/platform/flags.py, which PlatformIO's builder script loads too."""
    return _shared("flags")


def upload() -> ModuleType:
    """firmware/platform/upload.py, which PlatformIO's builder script loads too."""
    return _shared("upload")


@cache
def _shared(name: str) -> ModuleType:
    path = assets.firmware() / "platform" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"secateur_firmware_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module
