"""Run by PlatformIO when a project that depends on the library `secateur` is built.

Reads custom_secateur_model, _calibration, _optimize, _name from the environment in
platformio.ini, converts when anything they say has changed, and adds the generated C to the
build. It installs nothing: where the command `secateur` is missing it says so and stops.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

Import("env")  # noqa: F821 - SCons provides it

option = env.GetProjectOption  # noqa: F821
project = Path(env.subst("$PROJECT_DIR"))  # noqa: F821
# Absolute: PlatformIO looks for headers relative to the library otherwise.
build = project / env.subst("$BUILD_DIR") / "secateur"  # noqa: F821


def stop(sentence):
    sys.stderr.write(f"secateur: {sentence}\n")
    env.Exit(1)  # noqa: F821


def given(name, default=""):
    return str(option(f"custom_secateur_{name}", default)).strip()


def file_of(name):
    value = given(name)
    if not value:
        stop(f"platformio.ini, [env:{env['PIOENV']}]: custom_secateur_{name} is missing")  # noqa: F821
    path = project / value
    if not path.is_file():
        stop(f"platformio.ini, custom_secateur_{name}: {path} does not exist")
    return path


def digest(*parts):
    h = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part.encode()
        h.update(len(data).to_bytes(8, "little") + data)
    return h.hexdigest()


def convert():
    model, calibration = file_of("model"), file_of("calibration")
    optimize = given("optimize", "balanced")
    # A folder's name, too: nothing that leads out of the build's.
    name = given("name")
    if not name:
        name = re.sub(r"[^A-Za-z0-9]+", "_", model.stem).strip("_")[:40]
        name = name if name[:1].isalpha() else f"m_{name}"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,47}", name):
        stop(
            f"platformio.ini, custom_secateur_name: {name!r} is no name for C; take letters, "
            "digits and underscores"
        )
    library = build / name
    stamp = build / f"{name}.sha256"
    wanted = digest(model, calibration, optimize, name)
    if library.is_dir() and stamp.is_file() and stamp.read_text() == wanted:
        return library
    command = given("command") or shutil.which("secateur")
    if not command:
        stop(
            "the command 'secateur' is not on PATH: install it in this environment, or give its "
            "path as custom_secateur_command"
        )
    build.mkdir(parents=True, exist_ok=True)
    print(f"secateur: converting {model.name}")
    done = subprocess.run(
        [command, "convert", str(model), "--calibration", str(calibration), "--name", name,
         "--optimize", optimize, "--out", str(library)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode != 0:
        stop(f"{model.name} was not converted; the line above says why")
    stamp.write_text(wanted)
    return library


sources = convert() / "src"
env.Append(CPPPATH=[str(sources)])  # noqa: F821
env.BuildSources(os.path.join("$BUILD_DIR", "secateur", "objects"), str(sources))  # noqa: F821
