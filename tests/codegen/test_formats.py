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


def _named(compiled: CompiledModel, name: str) -> CompiledModel:
    """The same network by another name."""
    from dataclasses import replace

    from secateur.codegen.plan import make_plan

    other = replace(compiled.qgraph, name=name)
    return replace(compiled, name=name, qgraph=other, plan=make_plan(other))


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
    """Zephyr's three CMake functions are replaced; with a tree of it see the test at the end."""
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


def test_the_header_states_what_a_network_takes(compiled: CompiledModel, tmp_path: Path) -> None:
    header = (compiled.save(tmp_path / "lib", "plain") / "tiny.h").read_text()
    read = compiled.inputs.ends[0]
    for macro, value in (
        ("ARENA_BYTES", compiled.plan.arena), ("RAM_BYTES", compiled.plan.arena + 4 + 3),
        ("CONSTANT_BYTES", ""), ("INPUT_SCALE", repr(read.scale)),
        ("INPUT_ZERO_POINT", f"({read.zero_point})"),
    ):  # fmt: skip
        assert f"#define TINY_{macro} {value}" in header


def test_an_unknown_format_is_named(compiled: CompiledModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'bazel'.*platformio"):
        compiled.save(tmp_path / "lib", "bazel")
    assert not (tmp_path / "lib").exists()


@needs_cc
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_has_a_readme_and_an_example(
    compiled: CompiledModel, tmp_path: Path, form: str
) -> None:
    folder = compiled.save(tmp_path / "lib", form)
    readme = (folder / "README.md").read_text()
    assert readme.startswith("# The network tiny\n")
    assert f"{compiled.plan.arena:,} bytes of arena" in readme
    assert "tiny_run_float(in, out)" in readme
    if form == "arduino":
        with zipfile.ZipFile(folder / "tiny.zip") as z:
            z.extractall(tmp_path)
        folder = tmp_path / "tiny"
        properties = (folder / "library.properties").read_text()
        assert "architectures=samd," in properties
        assert ",avr" not in properties  # its constants would be copied to RAM
    example = folder / ("tiny_example.c" if form == "plain" else "examples/main.c")
    sources = {"plain": folder, "rust": folder / "csrc"}.get(form, folder / "src")
    others = [p for p in sources.glob("*.c") if p != example]
    flags = ["-Wall", "-Wextra", "-Werror", "-Wconversion", "-DTINY_EXAMPLE", "-I", sources]
    run("cc", "-std=c99", *flags, example, *others, "-o", tmp_path / "a")
    assert run(tmp_path / "a").startswith("0: ")


@needs_cc
def test_real_numbers_in_and_out_are_the_references(
    compiled: CompiledModel, tmp_path: Path
) -> None:
    """Every rounding and both ends of the codes, in C and in C++."""
    rng = np.random.default_rng(1)
    (end,) = compiled.inputs.ends
    halves = (np.arange(-140, 140)[:, None] + 0.5 - np.zeros(4)) * end.scale
    x = np.vstack([halves, rng.normal(size=(50, 4)) * 3]).astype(np.float32)
    folder = compiled.save(tmp_path / "lib", "plain")
    values = ", ".join(f"{v.hex()}f" for v in map(float, x.reshape(-1)))
    (tmp_path / "main.c").write_text(f"""#include <stdio.h>
#include "tiny_real.h"
static const float x[] = {{{values}}};
int main(void)
{{
    int i, j;
    float y[3];
    int8_t out[3];
    for (i = 0; i < {len(x)}; i++) {{
        if (tiny_run_float(x + 4 * i, y) != TINY_OK) {{ return 1; }}
        for (j = 0; j < 4; j++) {{ printf("%d ", tiny_quantize(x[4 * i + j])); }}
        for (j = 0; j < 3; j++) {{
            printf("%a ", (double)y[j]);
            out[j] = (int8_t)(y[j] > 0.0f ? 1 : 0);
        }}
        printf("%d\\n", tiny_argmax(out));
    }}
    return 0;
}}
""")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-I", folder]
    sources = [p for p in folder.glob("*.c") if p.name != "tiny_example.c"]
    run("cc", *flags, tmp_path / "main.c", *sources, "-o", tmp_path / "a")
    rows = [line.split() for line in run(tmp_path / "a").splitlines()]
    codes = np.array([[int(v) for v in r[:4]] for r in rows])
    np.testing.assert_array_equal(codes, compiled.quantize(x))
    real = np.array([[float.fromhex(v) for v in r[4:7]] for r in rows], np.float32)
    np.testing.assert_array_equal(real, compiled.predict(x))
    assert [int(r[7]) for r in rows] == (real > 0).argmax(1).tolist()
    if shutil.which("c++"):
        plus = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-fsyntax-only"]
        (tmp_path / "x.cpp").write_text('#include "tiny_real.h"\n')
        run("c++", *plus, "-I", folder, tmp_path / "x.cpp")


@needs_cc
@needs_cmake
def test_two_networks_in_one_cmake_project(compiled: CompiledModel, tmp_path: Path) -> None:
    second = _named(compiled, "other")
    compiled.save(tmp_path / "tiny", "cmake")
    second.save(tmp_path / "other", "cmake")
    (tmp_path / "main.c").write_text(
        '#include "tiny_real.h"\n#include "other_real.h"\nint main(void) {\n'
        "    static float in[4], a[3], b[3];\n    tiny_run_float(in, a);\n"
        "    other_run_float(in, b);\n    return a[0] == b[0] ? 0 : 1;\n}\n"
    )
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(app LANGUAGES C)\nadd_subdirectory(tiny)\n"
        "add_subdirectory(other)\nadd_executable(app main.c)\n"
        "target_link_libraries(app PRIVATE tiny other)\n"
    )
    run("cmake", "-S", tmp_path, "-B", tmp_path / "build")
    run("cmake", "--build", tmp_path / "build")
    run(tmp_path / "build" / "app")


def test_rust_declares_what_the_header_does(compiled: CompiledModel, tmp_path: Path) -> None:
    folder = compiled.save(tmp_path / "lib", "rust")
    lib = (folder / "src" / "lib.rs").read_text()
    assert "pub const INPUT_SIZE: usize = 4;" in lib
    assert f"pub const ARENA_BYTES: usize = {compiled.plan.arena};" in lib
    assert f"pub const INPUT_SCALE: f64 = {compiled.inputs.ends[0].scale!r};" in lib
    assert "pub fn tiny_run(input: *const i8, output: *mut i8) -> i32;" in lib


@needs_cc
@pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo (Rust) is not installed")
def test_a_rust_program_gets_the_references_bytes(
    compiled: CompiledModel, expected: str, tmp_path: Path
) -> None:
    """Built by cargo without a network: build.rs compiles the C, the program calls it."""
    compiled.save(tmp_path / "tiny", "rust")
    (tmp_path / "src").mkdir()
    (tmp_path / "Cargo.toml").write_text(
        '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n'
        '[dependencies]\ntiny-sys = { path = "tiny" }\n'
    )
    (tmp_path / "src" / "main.rs").write_text("""
use tiny_sys::{tiny_check_weights, tiny_run, INPUT_SIZE, OUTPUT_SIZE};

fn main() {
    let input: [i8; INPUT_SIZE] = [1, -2, 3, 4];
    let mut output = [0i8; OUTPUT_SIZE];
    // SAFETY: both buffers have the sizes that the crate declares.
    let status = unsafe { tiny_check_weights() | tiny_run(input.as_ptr(), output.as_mut_ptr()) };
    for value in output {
        print!("{value} ");
    }
    std::process::exit(status);
}
""")
    assert run("cargo", "run", "--quiet", "--offline", cwd=tmp_path) == expected


@needs_cc
def test_two_networks_share_headers_and_no_symbol(compiled: CompiledModel, tmp_path: Path) -> None:
    """What both libraries bring of the runtime is the same file, and holds no object."""
    second = _named(compiled, "other")
    found: list[dict[str, str]] = []
    symbols: list[set[str]] = []
    for made in (compiled, second):
        folder = made.save(tmp_path / made.name, "zephyr") / "src"
        found.append({p.name: p.read_text() for p in folder.iterdir()})
        run("cc", "-std=c11", "-O2", "-c", *sorted(folder.glob("*.c")), cwd=folder)
        text = run("nm", "--defined-only", "--extern-only", *sorted(folder.glob("*.o")))
        symbols.append({line.split()[-1] for line in text.splitlines() if len(line.split()) == 3})
    assert symbols[0]
    assert not symbols[0] & symbols[1]
    assert not any(name.startswith("sc_") for name in symbols[0])
    shared = set(found[0]) & set(found[1])
    assert {"sc_port.h", "sc_words.h"} <= shared
    assert all(found[0][name] == found[1][name] for name in shared)
    assert all(name.startswith("sc_") for name in shared)


def test_a_pack_lists_every_source(compiled: CompiledModel, tmp_path: Path) -> None:
    from xml.etree import ElementTree

    folder = compiled.save(tmp_path / "lib", "cmsis-pack")
    root = ElementTree.parse(folder / "Secateur.tiny.pdsc").getroot()
    listed = {f.get("name") for f in root.iter("file")} - {"src/"}
    assert listed == {f"src/{p.name}" for p in (folder / "src").iterdir()}


def test_a_library_of_another_format_is_told_apart(compiled: CompiledModel, tmp_path: Path) -> None:
    from secateur.errors import ToolError
    from secateur.targets.builders.library import read

    folder = compiled.save(tmp_path / "lib", "plain")
    with pytest.raises(ToolError, match="is a library in another format; firmware is built of"):
        read(folder)


@needs_cc
def test_real_numbers_of_features_with_scales_of_their_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    spread = np.array([1.0, 1000.0, 0.01, 30.0], np.float32)
    x = (rng.normal(size=(64, 4)) * spread).astype(np.float32)
    kernel = (rng.normal(size=(4, 3)) / spread[:, None]).astype(np.float32)
    nodes = [
        Node("input", "in", (), "x", (4,), {"shape": (4,)}),
        Node("dense", "fc", ("x",), "y", (3,), {}, {"kernel": kernel}),
    ]
    made = convert(Graph("tiny", nodes, "x", "y"), x, name="tiny")
    assert made.inputs.ends[0].scales, "features that differ so much have scales of their own"
    folder = made.save(tmp_path / "lib", "plain")
    values = ", ".join(f"{v.hex()}f" for v in map(float, x.reshape(-1)))
    (tmp_path / "main.c").write_text(f"""#include <stdio.h>
#include "tiny_real.h"
static const float x[] = {{{values}}};
int main(void)
{{
    int i, j;
    float y[3];
    for (i = 0; i < 64; i++) {{
        if (tiny_run_float(x + 4 * i, y) != TINY_OK) {{ return 1; }}
        for (j = 0; j < 3; j++) {{ printf("%a ", (double)y[j]); }}
    }}
    return 0;
}}
""")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-I", folder]
    sources = [p for p in folder.glob("*.c") if p.name != "tiny_example.c"]
    run("cc", *flags, tmp_path / "main.c", *sources, "-o", tmp_path / "a")
    real = np.array([float.fromhex(v) for v in run(tmp_path / "a").split()], np.float32)
    np.testing.assert_array_equal(real.reshape(64, 3), made.predict(x))


@pytest.mark.skipif(shutil.which("c++") is None, reason="c++ is not installed")
def test_two_networks_in_one_arduino_sketch(
    compiled: CompiledModel, expected: str, tmp_path: Path
) -> None:
    """As the IDE does: each library with its own folder first, the sketch with both."""
    objects: list[Path] = []
    for made in (compiled, _named(compiled, "other")):
        folder = made.save(tmp_path / "out" / made.name, "arduino")
        with zipfile.ZipFile(folder / f"{made.name}.zip") as z:
            z.extractall(tmp_path / "libraries")
        src = tmp_path / "libraries" / made.name / "src"
        for source in src.glob("*.c"):
            objects.append(tmp_path / f"{made.name}_{source.stem}.o")
            run("cc", "-Werror", "-c", source, "-I", src, "-o", objects[-1])
    (tmp_path / "sketch.cpp").write_text("""
#include <cstdio>
#include <tiny.h>
#include <other.h>
int main() {
    int8_t in[TINY_INPUT_SIZE] = {1, -2, 3, 4}, out[TINY_OUTPUT_SIZE];
    int status = tiny_run(in, out);
    for (int v : out) std::printf("%d ", v);
    status |= other_run(in, out);
    for (int v : out) std::printf("%d ", v);
    return status;
}
""")
    places = [f"-I{tmp_path}/libraries/{name}/src" for name in ("tiny", "other")]
    run("c++", "-Wall", "-Werror", *places, tmp_path / "sketch.cpp", *objects, "-o", tmp_path / "a")
    assert run(tmp_path / "a") == 2 * expected


def test_arduino_names_architectures_that_keep_constants_in_flash(
    compiled: CompiledModel, tmp_path: Path
) -> None:
    folder = compiled.save(tmp_path / "out", "arduino")
    with zipfile.ZipFile(folder / "tiny.zip") as z:
        properties = z.read("tiny/library.properties").decode()
    (line,) = (x for x in properties.splitlines() if x.startswith("architectures="))
    named = line.removeprefix("architectures=").split(",")
    assert "*" not in named
    assert "avr" not in named
    assert {"samd", "esp32", "rp2040", "megaavr"} <= set(named)


#: Open-CMSIS-Pack's PACK.xsd: what `file` may be, and how versions and dates are written.
_CATEGORIES = {
    "doc", "header", "include", "library", "object", "source", "sourceC", "sourceCpp", "sourceAsm",
    "linkerScript", "utility", "image", "other", "preIncludeGlobal", "preIncludeLocal",
    "genSource", "genHeader", "genParams", "genAsset",
}  # fmt: skip


@pytest.mark.parametrize("name", ["tiny", "a_network_9"])
def test_a_pack_keeps_the_rules_of_its_schema(
    compiled: CompiledModel, tmp_path: Path, name: str
) -> None:
    """By hand: neither `packchk` nor a reader of XML schemas can be counted on."""
    import re
    from datetime import date
    from xml.etree import ElementTree

    folder = _named(compiled, name).save(tmp_path / "lib", "cmsis-pack")
    (path,) = folder.glob("*.pdsc")
    root = ElementTree.parse(path).getroot()
    vendor, pack = root.findtext("vendor"), root.findtext("name")
    assert path.name == f"{vendor}.{pack}.pdsc"
    assert root.tag == "package"
    assert re.fullmatch(r"1\.[3-9]\.\d+", root.get("schemaVersion", ""))
    assert all(re.fullmatch(r"[-_A-Za-z0-9]+", word or "") for word in (vendor, pack))
    once = ("vendor", "name", "description", "url", "releases", "components")
    assert [len(root.findall(tag)) for tag in once] == [1] * len(once)
    assert root.findtext("description")
    version = re.compile(r"\d+\.\d+\.\d+")
    (release,) = root.iter("release")
    assert version.fullmatch(release.get("version", ""))
    date.fromisoformat(release.get("date", ""))
    (component,) = root.iter("component")
    assert {"Cclass", "Cgroup", "Csub", "Cversion"} == set(component.attrib)
    assert version.fullmatch(component.get("Cversion", ""))
    assert component.findtext("description")
    for listed in component.iter("file"):
        assert listed.get("category") in _CATEGORIES
        place = listed.get("name", "")
        assert (folder / place).exists()
        assert place.endswith("/") == (listed.get("category") == "include")
        assert ".." not in place


def _zephyr_tree() -> str | None:
    """The top folder of a workspace that `west` knows, with Zephyr in it."""
    if shutil.which("west") is None:
        return None
    found = subprocess.run(["west", "topdir"], capture_output=True, text=True)
    top = found.stdout.strip()
    return top if found.returncode == 0 and (Path(top) / "zephyr" / "VERSION").exists() else None


@pytest.mark.slow
def test_zephyr_builds_the_module_in_its_own_tree(
    compiled: CompiledModel, expected: str, tmp_path: Path
) -> None:
    if (top := _zephyr_tree()) is None:
        pytest.skip("west is not installed, or has no Zephyr tree here")
    module, app = compiled.save(tmp_path / "tiny", "zephyr"), tmp_path / "app"
    (app / "src").mkdir(parents=True)
    (app / "src" / "main.c").write_text(MAIN)
    (app / "prj.conf").write_text("")
    (app / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\n"
        "find_package(Zephyr REQUIRED HINTS $ENV{ZEPHYR_BASE})\nproject(app)\n"
        "target_sources(app PRIVATE src/main.c)\n"
    )
    build = tmp_path / "build"
    run("west", "build", "-b", "native_sim", "-d", build, app, "--",
        f"-DZEPHYR_EXTRA_MODULES={module}", cwd=Path(top))  # fmt: skip
    said = run(build / "zephyr" / "zephyr.exe", "-stop_at=1")
    assert expected.strip() in said
