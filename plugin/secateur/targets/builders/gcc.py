"""Firmware built by calling the compiler: what tests and benchmarks use (no start-up cost)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...files import building
from .. import assets, tools
from ..base import Image
from ..boards import Board
from . import elf, library

_HOST = ["-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-Werror"]
_SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


def build(
    library_dir: Path,
    board: Board,
    build_dir: Path,
    *,
    sanitize: bool = False,
    code_in_ram: bool = False,
    flags: Sequence[str] = (),
) -> Image:
    """Compile the library with the harness and link it for `board`.

    `sanitize` adds address and undefined-behaviour checks (host only); `code_in_ram` makes the
    library's functions part of .data, which start-up copies; `flags` come last on every compiler
    line. Raises ToolError if a tool is missing, a source does not compile, or the image
    does not fit the board's memory, FileError if `build_dir` holds files of others called alike.
    """
    lib = library.read(library_dir)
    src = assets.firmware() / "src"
    compiler = tools.need(board.cpu.compiler)
    if board.hosted:
        extra = _SANITIZE if sanitize else []
        compile_flags = [*_HOST, *extra, "-DSECATEUR_PORT_HOST=1", "-DSECATEUR_TIMER_HZ=1u"]
        link_flags = extra
        names = ["bytes", "frame", "main", "memory", "port_host", "text"]
    else:
        shared = tools.flags()
        manifest = board.build_manifest
        macros = shared.defines(manifest)
        compile_flags = [
            *shared.compile_flags(manifest),
            *(f"-D{k}={v}" for k, v in macros.items()),
        ]
        link_flags = [
            *shared.link_flags(manifest),
            # -Wl would split a folder's name at its commas
            *("-Xlinker", "-Map", "-Xlinker", str(build_dir / "firmware.map")),
        ]
        names = []
    ours = (
        [src / f"harness_{name}.c" for name in names]
        if names
        else [p for p in sorted(src.glob("*.c")) if p.name != "harness_port_host.c"]
    )
    compile_flags += [
        f"-DSECATEUR_MODEL={lib.name}",
        f"-DSECATEUR_MACRO={lib.macro}",
        f"-I{src}",
        f"-I{lib.folder / 'src'}",
        *flags,
    ]
    jobs = [(source, build_dir / f"{source.stem}.o") for source in [*ours, *lib.sources]]
    output = build_dir / "firmware.elf"
    part = build_dir / "firmware.elf.part"

    def compile_one(job: tuple[Path, Path]) -> None:
        tools.run(
            [compiler, *compile_flags, "-c", str(job[0]), "-o", str(job[1])],
            f"compiling {job[0].name} for {board.id}",
        )
        if code_in_ram and job[0] in lib.sources:
            _to_ram(job[1], tools.need(f"{board.cpu.architecture.prefix}objcopy"))

    made = [*(obj.name for _, obj in jobs), output.name, part.name, "firmware.map"]
    with building(build_dir, made):
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(pool.map(compile_one, jobs))
        tools.run(
            [compiler, *(str(obj) for _, obj in jobs), *link_flags, "-o", str(part)],
            f"linking {lib.name} for {board.id}",
        )
        part.replace(output)
    return Image(elf=output, board=board, sizes=elf.sizes(output, lib.arena))


def _to_ram(obj: Path, objcopy: str) -> None:
    """Make the code of an object initialised data; the linker bridges calls that get too far."""
    renames = [
        f"--rename-section={name}=.data.code{name},alloc,load,code,contents"
        for name in elf.code_sections(obj)
    ]
    if renames:
        tools.run([objcopy, *renames, str(obj)], f"moving the code of {obj.name} to RAM")
