"""Run by PlatformIO when a project that depends on the library `secateur` is built.

Reads custom_secateur_model (or _models: several), _calibration, _optimize, _name from the
environment in platformio.ini, converts when anything they say has changed, and adds the generated C
to the build. It installs nothing: where the command `secateur` is missing it says so and stops.
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


def listed(name):
    """The values of an option, which commas or lines separate."""
    return [part.strip() for part in re.split(r"[,\n]", given(name)) if part.strip()]


def file_of(value, name):
    path = project / value
    if not path.is_file():
        stop(f"platformio.ini, custom_secateur_{name}: {path} does not exist")
    return path


def name_of(model, name):
    """What a model is called in C: as asked, or like its file."""
    if not name:
        name = re.sub(r"[^A-Za-z0-9]+", "_", model.stem).strip("_")[:40]
        name = name if name[:1].isalpha() else f"m_{name}"
    # A folder's name, too: nothing that leads out of the build's.
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,47}", name):
        stop(
            f"platformio.ini, custom_secateur_name: {name!r} is no name for C; take letters, "
            "digits and underscores"
        )
    return name


def models():
    """(model, calibration, name) of each; one calibration may serve for all."""
    option_name = "models" if given("models") else "model"
    found, names = listed(option_name), listed("name")
    calibrations = listed("calibration")
    for what, values in ((option_name, found), ("calibration", calibrations)):
        if not values:
            where = env["PIOENV"]  # noqa: F821
            stop(f"platformio.ini, [env:{where}]: custom_secateur_{what} is missing")
    if len(calibrations) not in (1, len(found)):
        stop(
            f"platformio.ini, custom_secateur_calibration: {len(calibrations)} files for "
            f"{len(found)} models; give one for all, or one each"
        )
    if names and len(names) != len(found):
        stop(
            f"platformio.ini, custom_secateur_name: {len(names)} names for {len(found)} models; "
            "give one each"
        )
    calibrations *= len(found) if len(calibrations) == 1 else 1
    names = names or [""] * len(found)
    files = [file_of(m, option_name) for m in found]
    names = [name_of(m, n) for m, n in zip(files, names, strict=True)]
    if len(set(names)) < len(names):
        stop("platformio.ini: two models have one name; give custom_secateur_name, one each")
    data = [file_of(c, "calibration") for c in calibrations]
    return list(zip(files, data, names, strict=True))


def digest(*parts):
    h = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part.encode()
        h.update(len(data).to_bytes(8, "little") + data)
    return h.hexdigest()


def convert(model, calibration, name):
    optimize = given("optimize", "balanced")
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


for library in [convert(*model) for model in models()]:
    # Headers of the runtime are the same in all of them, byte by byte, and hold no objects.
    env.Append(CPPPATH=[str(library / "src")])  # noqa: F821
    where = os.path.join("$BUILD_DIR", "secateur", "objects", library.name)
    env.BuildSources(where, str(library / "src"))  # noqa: F821
