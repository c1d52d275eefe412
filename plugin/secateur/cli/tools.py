"""The tools secateur can use from outside itself, and how to get each."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from secateur import extras
from secateur.targets import tools


@dataclass(frozen=True)
class Tool:
    """`find` returns where or which version, or None if the tool is not there."""

    name: str
    purpose: str
    install: str  #: the one line that installs it
    find: Callable[[], str | None]
    needed: bool = False  #: by `secateur demo`


def _program(*names: str) -> Callable[[], str | None]:
    return lambda: next((path for name in names if (path := shutil.which(name))), None)


def _package(name: str) -> Callable[[], str | None]:
    def find() -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    return find


def _compiler_file(compiler: str, name: str) -> Callable[[], str | None]:
    """A file in the compiler's own search path, such as the C library's specs."""

    def find() -> str | None:
        path = shutil.which(compiler)
        if path is None:
            return None
        run = subprocess.run([path, f"-print-file-name={name}"], capture_output=True, text=True)
        found = run.stdout.strip()
        return found if run.returncode == 0 and found != name else None

    return find


TOOLS: tuple[Tool, ...] = (
    Tool("keras", "training, reading .keras", extras.install("train"), _package("keras"), True),
    Tool(
        "tensorflow", "Keras' backend", extras.install("train"),
        lambda: _package("tensorflow-cpu")() or _package("tensorflow")(), True,
    ),
    Tool("platformio", "building firmware", extras.install("boards"), _package("platformio"), True),
    Tool("scons", "PlatformIO's build engine", extras.install("boards"), _package("scons"), True),
    Tool("unicorn", "the built-in simulator", "pip install unicorn", _package("unicorn"), True),
    Tool(
        "arm-none-eabi-gcc", "Cortex-M firmware", tools.install("arm-none-eabi-gcc"),
        _program("arm-none-eabi-gcc"), True,
    ),
    Tool(
        "newlib (Arm)", "C library for Cortex-M", 
        tools.install(
            "newlib", {**tools.PACKAGES["arm-none-eabi-gcc"], "apt-get": "libnewlib-arm-none-eabi"}
        ),
        _compiler_file("arm-none-eabi-gcc", "nano.specs"), True,
    ),
    Tool(
        "qemu-system-arm", "emulating Cortex-M boards", tools.install("qemu-system-arm"),
        _program("qemu-system-arm"),
    ),
    Tool("cc", "running models on this computer", tools.install("cc"), _program("cc", "gcc")),
    Tool(
        "riscv64-unknown-elf-gcc", "RISC-V firmware", tools.install("riscv64-unknown-elf-gcc"),
        _program("riscv64-unknown-elf-gcc"),
    ),
    Tool(
        "picolibc (RISC-V)", "C library for RISC-V",
        tools.install("picolibc", {"apt-get": "picolibc-riscv64-unknown-elf"}),
        _compiler_file("riscv64-unknown-elf-gcc", "picolibc.specs"),
    ),
    Tool(
        "qemu-system-riscv32", "emulating RISC-V", tools.install("qemu-system-riscv32"),
        _program("qemu-system-riscv32"),
    ),
    Tool(
        "renode", "emulating boards with their peripherals",
        "see https://github.com/renode/renode/releases", _program("renode"),
    ),
    Tool(
        "openocd", "flashing over ST-LINK, CMSIS-DAP", tools.install("openocd"),
        _program("openocd"),
    ),
    Tool("pyocd", "flashing over CMSIS-DAP", extras.install("boards"), _package("pyocd")),
    Tool("esptool", "flashing ESP32", extras.install("boards"), _package("esptool")),
    Tool("st-flash", "flashing over ST-LINK", tools.install("st-flash"), _program("st-flash")),
    Tool(
        "JLinkExe", "flashing over J-Link",
        "see https://www.segger.com/downloads/jlink", _program("JLinkExe"),
    ),
    Tool("dfu-util", "flashing over USB DFU", tools.install("dfu-util"), _program("dfu-util")),
    Tool("gdb-multiarch", "debugging", tools.install("gdb-multiarch"), _program("gdb-multiarch")),
    Tool(
        "tf-keras", "reading legacy Keras and TFMOT models", extras.install("tfmot"),
        _package("tf-keras"),
    ),
    Tool("optuna", "searching compression settings", extras.install("search"), _package("optuna")),
)  # fmt: skip
