"""Firmware built by PlatformIO, with the platform and boards of this project and no registry."""

from __future__ import annotations

import json
import os
import re
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

from ...errors import ToolError
from ...files import building
from .. import assets, tools
from ..base import Image
from ..boards import Board
from . import elf, library

_PROJECT = """\
; Written by secateur; rewritten by every build.
[platformio]
src_dir = {src}
boards_dir = {boards}
; Per build folder: PlatformIO otherwise remembers the first checkout that used a platform.
platforms_dir = {build}/platforms
workspace_dir = {build}/workspace
build_dir = {build}/build
libdeps_dir = {build}/libdeps

[env:{board}]
platform = symlink://{platform}
board = {board}
lib_deps = symlink://{library}
lib_compat_mode = off
build_flags =
{flags}
"""


def build(library_dir: Path, board: Board, build_dir: Path, *, flags: Sequence[str] = ()) -> Image:
    """Like gcc.build, by `pio run`. The image's loaded bytes are the same."""
    lib = library.read(library_dir)
    pio = tools.need("pio")
    tools.need(board.cpu.compiler)
    home = assets.firmware()
    project = build_dir / "platformio"
    for path in (home, project, lib.folder):
        if strange := re.search(r"[\x00-\x1f\x7f;#$%\"\\]", str(path)):
            raise ToolError(
                f"PlatformIO takes no path with {strange[0]!r} ({path}): build somewhere else"
            )
    with building(build_dir, ["platformio/"]):
        project.mkdir(exist_ok=True)
        _build(lib, board, project, home, pio, flags)
    image = project / "build" / board.id / "firmware.elf"
    return Image(elf=image, board=board, sizes=elf.sizes(image, lib.arena))


def _build(
    lib: library.LibraryFolder, board: Board, project: Path, home: Path, pio: str,
    flags: Sequence[str],
) -> None:  # fmt: skip
    header = lib.folder / "src" / f"{lib.name}.h"
    model = [
        f"-DSECATEUR_MODEL={lib.name}",
        f"-DSECATEUR_MACRO={lib.macro}",
        # The harness includes the header by macro, which SCons does not follow: another header
        # must be another command line, or the harness keeps the sizes of the model before.
        f"-DSECATEUR_MODEL_HEADER={zlib.crc32(header.read_bytes()):#x}u",
        *flags,
    ]
    # With the core's flags in it: the core may be registered in this program only.
    (project / "boards").mkdir(exist_ok=True)
    manifest = json.dumps(board.build_manifest, indent=1)
    (project / "boards" / f"{board.id}.json").write_text(manifest, encoding="utf-8")
    text = _PROJECT.format(
        src=home / "src",
        boards=project / "boards",
        build=project,
        board=board.id,
        platform=home / "platform",
        library=lib.folder,
        flags="\n".join(f"  {flag}" for flag in model),
    )
    (project / "platformio.ini").write_text(text, encoding="utf-8")
    env = {
        **os.environ,
        "PLATFORMIO_CORE_DIR": str(project / "core"),
        "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
        "PLATFORMIO_SETTING_CHECK_PLATFORMIO_INTERVAL": "3650",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
    try:
        tools.run(
            [pio, "run", "--silent", "--project-dir", str(project)],
            f"PlatformIO's build of {lib.name} for {board.id}",
            env=env,
        )
    except ToolError as error:
        if re.search(r"region .* overflowed|will not fit|RAM is full", str(error)):
            raise ToolError(f"{error}: prune more, or choose a larger board") from None
        raise
