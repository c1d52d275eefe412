"""PlatformIO's build script: the flags of ../flags.py, the actions of ../upload.py.

Runs inside SCons, which provides the names imported from SCons.Script.
"""

import importlib.util
import json
import os
import pathlib
import shlex
import subprocess
import sys

from SCons.Script import COMMAND_LINE_TARGETS, AlwaysBuild, Builder, Default, DefaultEnvironment

env = DefaultEnvironment()
platform = env.PioPlatform()
board = env.BoardConfig()
home = os.path.dirname(platform.manifest_path)


def shared(name):
    """A module beside platform.py, which Secateur itself loads too."""
    spec = importlib.util.spec_from_file_location(name, os.path.join(home, name + ".py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


flags, upload = shared("flags"), shared("upload")

manifest = json.loads(json.dumps(board.manifest))
if "secateur" not in manifest:
    sys.stderr.write(f"Error: board {board.id} has no 'secateur' block (see docs/boards.md)\n")
    env.Exit(1)
manifest["secateur"]["toolchain"] = flags.toolchain(manifest)

try:
    flags.defines(manifest), flags.toolchain(manifest)
except (KeyError, TypeError, ValueError) as error:
    sys.stderr.write(f"Error: board {board.id}: {error}\n")
    env.Exit(1)
if board.get("build.extra_flags", "") or board.get("build.arduino.ldscript", ""):
    sys.stderr.write(f"Error: board {board.id} has flags of its own, which are not taken\n")
    env.Exit(1)


def spawn(shell, escape, command, arguments, environment):
    """Run a command without a shell; SCons has put quotes around what holds spaces."""
    try:
        return subprocess.call(shlex.split(" ".join(arguments)), env=environment)
    except OSError as error:
        sys.stderr.write(f"Error: {command}: {error.strerror}\n")
        return 127


if os.name == "posix":
    env.Replace(SPAWN=spawn)
prefix = flags.prefix(manifest)
for package in ("toolchain-gccarmnoneeabi", "toolchain-riscv"):
    folder = platform.get_package_dir(package)
    if folder:
        env.PrependENVPath("PATH", os.path.join(folder, "bin"))
if not env.WhereIs(prefix + "gcc"):
    sys.stderr.write(
        f"Error: {prefix}gcc is not installed: apt-get install gcc-{prefix.rstrip('-')}, or name "
        "PlatformIO's own tool chain in platform_packages\n"
    )
    env.Exit(1)

env.Replace(
    AR=prefix + "gcc-ar",
    AS=prefix + "gcc",
    CC=prefix + "gcc",
    CXX=prefix + "g++",
    GDB="gdb-multiarch",
    LINK=prefix + "gcc",
    OBJCOPY=prefix + "objcopy",
    RANLIB=prefix + "gcc-ranlib",
    SIZETOOL=prefix + "size",
    ARFLAGS=["rc"],
    PROGNAME="firmware",
    PROGSUFFIX=".elf",
    SIZEPROGREGEXP=r"^(?:\.vectors|\.text|\.rodata|\.harness|\.data)\s+(\d+).*",
    SIZEDATAREGEXP=r"^(?:\.data|\.bss)\s+(\d+).*",
    SIZECHECKCMD="$SIZETOOL -A -d $SOURCES",
    SIZEPRINTCMD="$SIZETOOL -B -d $SOURCES",
)
env.Append(
    CCFLAGS=[f for f in flags.compile_flags(manifest) if not f.startswith("-std=")],
    CFLAGS=[f for f in flags.compile_flags(manifest) if f.startswith("-std=")],
    CPPDEFINES=list(flags.defines(manifest).items()),
    LINKFLAGS=[
        *flags.link_flags(manifest),
        "-Wl,-Map=" + os.path.join("$BUILD_DIR", "firmware.map"),
    ],
    BUILDERS={
        name: Builder(
            action=env.VerboseAction(f"$OBJCOPY -O {kind} $SOURCES $TARGET", "Building $TARGET"),
            suffix=suffix,
        )
        for name, kind, suffix in (("ElfToBin", "binary", ".bin"), ("ElfToHex", "ihex", ".hex"))
    },
)

program = os.path.join("$BUILD_DIR", "${PROGNAME}")
if "nobuild" in COMMAND_LINE_TARGETS:
    elf, image, hexfile = program + ".elf", program + ".bin", program + ".hex"
else:
    elf = env.BuildProgram()
    image = env.ElfToBin(program, elf)
    hexfile = env.ElfToHex(program, elf)
    env.Depends(image, "checkprogsize")
AlwaysBuild(env.Alias("nobuild", image))
target = env.Alias("buildprog", image, image)
env.AddPlatformTarget(
    "size", elf, env.VerboseAction("$SIZEPRINTCMD", "Calculating size $SOURCE"), "Program Size"
)


def flash(target, source, env):
    """`pio run -t upload`: the tool of upload_protocol, upload_port as probe, drive or port."""
    protocol = env.GetProjectOption("upload_protocol", board.get("upload.protocol", ""))
    port = env.GetProjectOption("upload_port", "") or None
    build = pathlib.Path(env.subst("$BUILD_DIR")).resolve()
    start = int(str(manifest["secateur"]["memory"]["flash"]["origin"]), 0)
    files = upload.Files(*(build / f"firmware.{kind}" for kind in ("elf", "bin", "hex")), start)
    try:
        if protocol == "uf2":
            print(f"copied to {upload.copy_uf2(manifest, start, files.bin.read_bytes(), port)}")
            return 0
        command = upload.command(manifest, protocol, files, port)
    except upload.UploadError as error:
        sys.stderr.write(f"Error: board {board.id}: {error}\n")
        return 1
    if not env.WhereIs(command[0]):
        sys.stderr.write(f"Error: {command[0]} is not installed: `secateur doctor` says how\n")
        return 1
    return subprocess.call(command, env=env["ENV"])


env.AddPlatformTarget(
    "upload", [image, hexfile], env.VerboseAction(flash, "Flashing $SOURCE"), "Upload"
)
Default([target])
