"""The library writer: functions shared and renamed, names, compilers, folders."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from secateur import files
from secateur.codegen.emit import CFunction, Emission
from secateur.codegen.library import Functions
from secateur.codegen.plan import make_plan
from secateur.errors import FileError
from secateur.files import MANIFEST
from secateur.lowering import reference
from secateur.targets import tools

from . import run_c
from .qgraphs import Chain, codes


def chain(name: str = "net") -> Chain:
    """A bit of everything, with three convolutions of one shape."""
    c = Chain(name, (8, 6, 10), 3, 0)
    c.conv(8, (1, 1), "ternary").conv(8, (1, 1), "ternary")
    c.conv(8, (3, 3), "int8", pads=(1, 1, 1, 1), depthwise=True)
    c.conv(8, (3, 3), "sparse", (2, 2), (1, 1, 1, 1))
    return c.max_pool((2, 2), (2, 2), (0, 0, 0, 0)).dense(5, "int8")


def test_the_same_text_is_defined_once() -> None:
    f = Functions()
    one = CFunction("add_3", "static void add_3(void) { }")
    assert f.add(Emission("add_3(a);", [one])) == ("", "add_3(a);")
    assert f.add(Emission("add_3(b);", [one])) == ("", "add_3(b);")
    assert list(f.by_name) == ["add_3"]


def test_another_text_of_the_same_name_is_renamed_with_its_callers() -> None:
    f = Functions()
    f.add(Emission("f(1);", [CFunction("h", "int h;"), CFunction("f", "f() { h(); }")]))
    _, call = f.add(Emission("f(2);", [CFunction("h", "long h;"), CFunction("f", "f() { h(); }")]))
    assert call == "f_2(2);"
    assert f.by_name == {
        "h": "int h;", "f": "f() { h(); }", "h_2": "long h_2;", "f_2": "f_2() { h_2(); }",
    }  # fmt: skip
    _, third = f.add(Emission("f(3);", [CFunction("h", "long h;"), CFunction("f", "f() { h(); }")]))
    assert third == "f_2(3);"


def test_layers_of_one_shape_share_one_function() -> None:
    text = make_plan(chain().graph).library.files["src/net.c"]
    (name,) = re.findall(r"^static void (conv_ternary\w*_8x8_p60)\(", text, re.M)
    assert text.count(f"    {name}(") == 2


def test_saving_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    library = make_plan(chain().graph).library
    folder = library.save(tmp_path / "lib")
    library.save(folder)
    assert [p.name for p in tmp_path.iterdir()] == ["lib"]
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert found == {*library.files, MANIFEST}
    assert json.loads((folder / "library.json").read_text())["name"] == "net"


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "thesis.txt").write_text("mine")
    with pytest.raises(FileError, match=r"lib holds 'thesis.txt'.*choose a new or empty folder"):
        make_plan(chain().graph).library.save(tmp_path / "lib")
    assert [p.name for p in tmp_path.rglob("*")] == ["lib", "thesis.txt"]


def test_an_unwritable_folder_is_an_error_and_nothing_is_left(tmp_path: Path) -> None:
    library = make_plan(chain().graph).library
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileError, match=r"cannot write .*file/lib"):
        library.save(tmp_path / "file" / "lib")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_failing_write_leaves_the_earlier_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = make_plan(chain().graph).library
    library.save(tmp_path / "lib")
    write, before = files._create, sorted(p.name for p in (tmp_path / "lib").rglob("*"))

    def full(path: Path, content: bytes) -> None:
        if path.suffix == ".json":
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(files, "_create", full)
    with pytest.raises(FileError, match="No space left"):
        library.save(tmp_path / "lib")
    assert [p.name for p in tmp_path.iterdir()] == ["lib"]
    assert sorted(p.name for p in (tmp_path / "lib").rglob("*")) == before


def test_bytes_of_constants_are_those_of_the_arrays() -> None:
    library = make_plan(chain().graph).library
    arrays = re.findall(
        r"^const u?int(\d+)_t \w+\[(\d+)\]",
        library.files["src/net_weights.c"],
        re.M,
    )
    total = sum(int(bits) // 8 * int(n) for bits, n in arrays)
    assert library.constant_bytes == total
    assert total == sum(library.bytes_of(op.name) for op in chain().graph)
    assert library.bytes_of("pool4") == 0


def test_every_layer_has_a_comment_with_shape_and_density() -> None:
    text = make_plan(chain().graph).library.files["src/net.c"]
    for op in chain().graph:
        if op.kind in ("conv", "dense"):
            assert re.search(rf"/\* {op.name}: \S+ -> \S+, \w+, density [\d.]+%", text), op.name


def test_no_writable_global_but_the_arena() -> None:
    files = make_plan(chain().graph).library.files
    for path in ("src/net.c", "src/net_weights.c"):
        for line in files[path].splitlines():
            if line and not line[0].isspace() and line.rstrip().endswith(("= {", "];")):
                assert line.startswith(("const ", "uint8_t net_arena[")), line
    assert "malloc" not in files["src/net.c"]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("flags", [["-O2"], ["-O0", "-pedantic"], ["-Os", "-funsigned-char"]])
def test_compilers_agree(compiler: str, flags: list[str], tmp_path: Path) -> None:
    if why := tools.missing(compiler):
        pytest.skip(why)
    graphs = [chain().graph, chain().graph]
    plans = [run_c.plan(deepcopy(g), f"m{i}", e) for i, (g, e) in
             enumerate(zip(graphs, (None, "dense"), strict=True))]  # fmt: skip
    x = codes(graphs[0], 4)
    expected = reference.run(graphs[0], x)
    for got in run_c.on_host(plans, [x, x], tmp_path, compiler, flags):
        np.testing.assert_array_equal(got, expected)


def test_two_libraries_and_a_callers_arena_link_together(tmp_path: Path) -> None:
    """Both models in one program, their static arenas left out."""
    plans = [run_c.plan(chain().graph, f"m{i}") for i in range(2)]
    x = codes(chain().graph, 3)
    flags = ["-O1", "-DM0_NO_STATIC_ARENA", "-DM1_NO_STATIC_ARENA"]
    a, b = run_c.on_host(plans, [x, x], tmp_path, flags=flags)
    np.testing.assert_array_equal(a, b)
