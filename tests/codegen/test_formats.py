"""Every output format, built by the build system it is for where that is installed."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.formats import FORMATS
from secateur.errors import FileError, ModelError
from secateur.flow import CompiledModel, convert
from secateur.frontend.ir import Graph, Node

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not installed")
needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")

MAIN = """
#include <stdio.h>
#include "tiny.h"

int main(void)
{
    int8_t in[TINY_INPUT_SIZE] = {1, -2, 3, 4}, out[TINY_OUTPUT_SIZE];
    const int status = tiny_run(in, out);
    for (int i = 0; i < TINY_OUTPUT_SIZE; i++) {
        printf("%d ", out[i]);
    }
    return status;
}
"""


@pytest.fixture(scope="module")
def compiled() -> CompiledModel:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(4, 3)).astype(np.float32)
    nodes = [
        Node("input", "in", (), "x", (4,), {"shape": (4,)}),
        Node("dense", "fc", ("x",), "y", (3,), {}, {"kernel": kernel}),
    ]
    graph = Graph("tiny", nodes, "x", "y")
    return convert(graph, rng.normal(size=(16, 4)).astype(np.float32), name="tiny")


@pytest.fixture(scope="module")
def expected(compiled: CompiledModel) -> str:
    out = compiled.run(np.array([[1, -2, 3, 4]], np.int8))
    return "".join(f"{v} " for v in out.reshape(-1))


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_cc
def test_plain_compiles_with_warnings_as_errors(
    compiled: CompiledModel, expected: str, tmp_path: Path
) -> None:
    folder = compiled.save(tmp_path / "lib", "plain")
    assert not [p for p in folder.iterdir() if p.is_dir()]
    (tmp_path / "main.c").write_text(MAIN)
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-I", folder, "-o", tmp_path / "a.out"]
    run("cc", *flags, tmp_path / "main.c", *folder.glob("*.c"))
    assert run(tmp_path / "a.out") == expected


@needs_cc
@needs_cmake
def test_cmake_builds_as_a_subdirectory(
    compiled: CompiledModel, expected: str, tmp_path: Path
) -> None:
    compiled.save(tmp_path / "tiny", "cmake")
    (tmp_path / "main.c").write_text(MAIN)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(app LANGUAGES C)\nadd_subdirectory(tiny)\n"
        "add_executable(app main.c)\ntarget_link_libraries(app PRIVATE tiny)\n"
    )
    run("cmake", "-S", tmp_path, "-B", tmp_path / "build")
    run("cmake", "--build", tmp_path / "build")
    assert run(tmp_path / "build" / "app") == expected


@needs_cc
@needs_cmake
def test_zephyr_module_builds_with_zephyrs_functions(
    compiled: CompiledModel, expected: str, tmp_path: Path
) -> None:
    """Zephyr itself is too large to install; its three CMake functions are replaced."""
    folder = compiled.save(tmp_path / "tiny", "zephyr")
    assert "cmake: zephyr" in (folder / "zephyr/module.yml").read_text()
    assert "config SECATEUR_TINY\n" in (folder / "zephyr/Kconfig").read_text()
    (tmp_path / "main.c").write_text(MAIN)
    (tmp_path / "CMakeLists.txt").write_text(
        """cmake_minimum_required(VERSION 3.13)
project(app LANGUAGES C)
add_executable(app main.c)
macro(zephyr_library_named name)
  set(current ${name})
  add_library(${name} STATIC)
  target_link_libraries(app PRIVATE ${name})
endmacro()
function(zephyr_library_sources)
  target_sources(${current} PRIVATE ${ARGN})
endfunction()
function(zephyr_include_directories dir)
  get_filename_component(full ${dir} ABSOLUTE)
  target_include_directories(${current} PRIVATE ${full})
  target_include_directories(app PRIVATE ${full})
endfunction()
cmake_policy(SET CMP0076 NEW)
set(CONFIG_SECATEUR_TINY y)
add_subdirectory(tiny/zephyr)
"""
    )
    run("cmake", "-S", tmp_path, "-B", tmp_path / "build")
    run("cmake", "--build", tmp_path / "build")
    assert run(tmp_path / "build" / "app") == expected


@pytest.mark.skipif(shutil.which("c++") is None, reason="c++ is not installed")
def test_arduino_zip_and_its_sketch(compiled: CompiledModel, expected: str, tmp_path: Path) -> None:
    """The library as C and the sketch as C++, as the IDE does; Serial and friends are stand-ins."""
    folder = compiled.save(tmp_path / "out", "arduino")
    again = compiled.save(tmp_path / "again", "arduino")
    assert (folder / "tiny.zip").read_bytes() == (again / "tiny.zip").read_bytes()
    with zipfile.ZipFile(folder / "tiny.zip") as z:
        z.extractall(tmp_path)
    library = tmp_path / "tiny"
    properties = dict(
        line.split("=", 1) for line in (library / "library.properties").read_text().splitlines()
    )
    assert {"name", "version", "author", "maintainer", "sentence", "paragraph"} <= set(properties)
    assert properties["includes"] == "tiny.h"
    sketch = (library / "examples/tiny_run/tiny_run.ino").read_text()
    arduino = """#include <cstdio>
struct { void begin(long) {} void print(int v) { std::printf("%d", v); }
void print(char c) { std::putchar(c); } void print(unsigned long) {} void println(const char *) {}
} Serial;
static unsigned long micros() { return 0; }
static void delay(int) {}
"""
    poke = "input[0] = 1; input[1] = -2; input[2] = 3; input[3] = 4;"
    main = f"{arduino}{sketch}int main() {{ setup(); {poke} loop(); }}"
    (tmp_path / "main.cpp").write_text(main)
    for source in (library / "src").glob("*.c"):
        run("cc", "-c", source, "-o", tmp_path / f"{source.stem}.o")
    objects = [tmp_path / f"{s.stem}.o" for s in (library / "src").glob("*.c")]
    run(
        "c++", "-Wall", "-I", library / "src", tmp_path / "main.cpp", *objects, "-o", tmp_path / "a"
    )
    assert run(tmp_path / "a") == expected


@pytest.mark.parametrize("form", FORMATS)
def test_saving_again_replaces_and_nothing_foreign_is_touched(
    compiled: CompiledModel, tmp_path: Path, form: str
) -> None:
    folder = compiled.save(tmp_path / "lib", form)
    assert (folder / "secateur.json").is_file()
    before = sorted(p.relative_to(folder) for p in folder.rglob("*"))
    compiled.save(folder, form)
    assert sorted(p.relative_to(folder) for p in folder.rglob("*")) == before
    assert [p.name for p in tmp_path.iterdir()] == ["lib"]

    precious = tmp_path / "project"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    with pytest.raises(FileError, match=r"thesis\.tex"):
        compiled.save(precious, form)
    assert (precious / "thesis.tex").read_text() == "years of work"


def test_an_unknown_format_is_named(compiled: CompiledModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'bazel'.*platformio"):
        compiled.save(tmp_path / "lib", "bazel")
    assert not (tmp_path / "lib").exists()
