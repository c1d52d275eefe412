"""The generated C under the warnings of a strict review, as C11, C99 and C++17, for every core."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from secateur import coding, cores
from secateur.codegen import descriptor
from secateur.codegen.library import WEIGHTS_IN
from secateur.codegen.plan import Plan, make_plan
from secateur.codegen.tidy import WIDTH, tidy
from secateur.coding import sources as headers
from secateur.lowering import reference
from secateur.targets import tools

from . import run_c
from .qgraphs import Chain, codes
from .test_generated_c import ENCODINGS

STRICT = ["-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wsign-conversion", "-fsyntax-only"]


def network(name: str, kind: str) -> Chain:
    """Convolutions, a depthwise one, pooling, a residual and Dense layers, weights of one kind."""
    c = Chain(name, (3, 7, 6), 3, 3)
    c.conv(6, (3, 3), kind, pads=(1, 1, 1, 1)).conv(6, (1, 1), kind)
    c.conv(6, (3, 3), kind, pads=(1, 1, 1, 1), depthwise=True)
    c.conv(6, (1, 1), kind, residual=c.top.name).conv(5, (3, 3), kind, (2, 2), (1, 1, 1, 1))
    return c.max_pool((2, 2), (1, 1), (0, 0, 1, 1)).dense(17, kind).dense(3, kind)


#: Weights that an encoding holds, "sparse" if it holds any.
KINDS = {
    "deal": "factored", "power_codes": "powers", "shift": "powers", "codebook": "levels",
    "columns_codebook": "levels", "bitmap": "present",
}  # fmt: skip


def kind_for(encoding: str) -> str:
    if "ternary" in encoding or encoding == "base3":
        return "ternary"
    return KINDS.get(encoding, "two" if "level" in encoding else "sparse")


@cache
def plans() -> tuple[Plan, ...]:
    """One of every encoding that kernels execute, free choices, and other places of weights."""
    forced = [e for e in ENCODINGS if e != "planes"]  # bit planes need packed tensors
    out = [make_plan(network(f"m_{e}", kind_for(e)).graph, e) for e in forced]
    out += [
        make_plan(network(f"m_{kind}_{core[7:]}", kind).graph, None, core=core, weights=weights)
        for core in ("cortex-m55", "cortex-m0plus")
        for kind, weights in zip(("sparse", "ternary"), WEIGHTS_IN, strict=True)
    ]
    used = {x.encoding for p in out for x in p.layers.values()}
    assert used >= set(forced)
    return tuple(out)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The C files of all `plans`."""
    folder = tmp_path_factory.mktemp("strict")
    return run_c._sources(plans(), folder)


COMPILERS = {
    "gcc c11": ["gcc", "-std=c11"],
    "gcc c99": ["gcc", "-std=c99", "-pedantic"],
    "g++ c++17": ["g++", "-std=c++17", "-x", "c++"],
    "clang c11": ["clang", "-std=c11"],
    "clang++ c++17": ["clang++", "-std=c++17", "-x", "c++"],
    **{c: [c, "-std=c11"] for c in ("cortex-m0plus", "cortex-m4", "cortex-m55", "rv32imac")},
    "cortex-m4 c++17": ["cortex-m4", "-std=c++17", "-x", "c++"],
}


@pytest.mark.parametrize("which", COMPILERS)
def test_no_compiler_has_anything_to_say(which: str, sources: list[Path]) -> None:
    compiler, *flags = COMPILERS[which]
    if compiler in cores.names():
        core = cores.get(compiler)
        flags = [*core.machine, *flags]
        compiler = core.compiler.replace("gcc", "g++") if "c++" in flags else core.compiler
    if why := tools.missing(compiler):
        pytest.skip(why)
    for path in sources:
        done = subprocess.run(
            [compiler, *STRICT, *flags, str(path)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[:3000]


def test_lines_are_short_and_say_nothing_superfluous() -> None:
    for p in plans():
        for path, text in p.library.files.items():
            if path.endswith((".c", ".h")):
                assert max(map(len, text.splitlines())) <= WIDTH, path
        code = re.sub(r"/\*.*?\*/", "", p.library.files[f"src/{p.library.name}.c"], flags=re.S)
        code = re.sub(r'"[^"\n]*"', '""', code)
        assert not re.search(r" \* 1[;,)\] ]| \+ 0[;,)\]]|< 1; \w+\+\+", code)
        assert not re.search(r"arena \+ \d", code)
        for m in re.finditer(r"^ *(?:\} )?(?:for|if|while) (?=\()", code, re.M):
            depth, i = 1, m.end() + 1
            while depth:
                depth += {"(": 1, ")": -1}.get(code[i], 0)
                i += 1
            assert code[i:].lstrip().startswith(("{", ";")), code[m.start() : i + 80]
        assert not re.search(r"(?<!#)\belse\b(?! (\{|if))", code)


def test_the_map_of_the_arena_names_every_place_and_time() -> None:
    """Two things whose bytes and steps meet are the one the other is written over."""
    p = make_plan(network("net", "sparse").graph)
    text = p.library.files["src/net.c"]
    found = re.findall(
        r"^    NET_(\w+) = (\d+),? /\* (\d+) bytes, steps? (\d+)(?: to (\d+))?: (.*) \*/$",
        text,
        re.M,
    )
    assert len(found) >= len(p.memory.tensors)
    places = [(n, int(o), int(s), int(a), int(b or a), what) for n, o, s, a, b, what in found]
    for i, (name, offset, size, first, last, what) in enumerate(places):
        assert offset + size <= p.arena
        for other, o, s, a, b, its in places[i + 1 :]:
            if offset < o + s and o < offset + size and first <= b and a <= last:
                assert f"over NET_{other}" in what or f"over NET_{name}" in its
    over = next(what for *_, what in places if "written over" in what)
    assert f"in place: the output is {over.split(', ')[1]}" in text


def test_statuses_have_names() -> None:
    header = make_plan(network("net", "ternary").graph).library.files["src/net.h"]
    for status, value in (("OK", 0), ("ERROR_WEIGHTS", -1), ("ERROR_CHECKSUM", -2)):
        assert re.search(rf"NET_{status} = {value}\b", header)


def test_weights_may_be_file_local(tmp_path: Path) -> None:
    c = network("net", "sparse")
    x, libraries = codes(c.graph, 3), [make_plan(c.graph, weights=w) for w in WEIGHTS_IN]
    assert set(libraries[0].library.files) - set(libraries[1].library.files) == {
        "src/net_weights.c", "src/net_weights.h",
    }  # fmt: skip
    (got,) = run_c.on_host([libraries[1]], [x], tmp_path)
    np.testing.assert_array_equal(got, reference.run(c.graph, x).reshape(3, -1))
    source = tmp_path / "net" / "src" / "net.c"
    out = tmp_path / "net.o"
    subprocess.run(["gcc", "-O1", "-c", str(source), "-o", str(out)], check=True)
    listing = subprocess.run(["nm", "-g", str(out)], capture_output=True, text=True, check=True)
    assert {line.split()[-1] for line in listing.stdout.splitlines()} == {
        "net_run", "net_run_in", "net_arena", "net_check_weights",
    }  # fmt: skip


def test_everything_goes_into_the_sections_asked_for(tmp_path: Path) -> None:
    compiler = cores.get("cortex-m4").compiler
    if why := tools.missing(compiler):
        pytest.skip(why)
    flags = [*cores.get("cortex-m4").machine, "-O2", "-std=c11"]
    for encoding in ("huffman_sparse", "context_sparse", "sparse"):
        p = make_plan(network("net", "sparse").graph, encoding)
        home = p.library.save(tmp_path / encoding) / "src"
        for path in home.glob("*.c"):
            sections = [
                f'-DNET_{what}_SECTION=__attribute__((section("{name}")))'
                for what, name in (("CONST", ".qspi"), ("CODE", ".itcm"), ("ARENA", ".dtcm"))
            ]
            out = path.with_suffix(".o")
            subprocess.run(
                [compiler, *flags, *sections, "-c", str(path), "-o", str(out)], check=True
            )
            listing = subprocess.run(
                [cores.get("cortex-m4").architecture.prefix + "size", "-A", str(out)],
                capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip
            sizes = dict(re.findall(r"^(\.\S+) +(\d+)", listing, re.M))
            assert all(sizes.get(s, "0") == "0" for s in (".text", ".data", ".rodata")), listing
            # whether the constants were checked: must start as 0, wherever the arena lies
            assert int(sizes.get(".bss", "0")) == (4 if path.stem == "net" else 0), listing
            if path.stem == "net":
                assert int(sizes[".itcm"]) > 0 < int(sizes[".dtcm"])
            else:
                assert int(sizes[".qspi"]) >= sum(
                    a.size for group in p.library.arrays.values() for a in group
                )


def test_a_header_of_another_library_is_refused(tmp_path: Path) -> None:
    home = make_plan(network("net", "sparse").graph, "gap_sparse").library.save(tmp_path / "l")
    for name in ("sc_port.h", "sc_packed_gaps.h", "sc_rows.h"):
        path = home / "src" / name
        before = path.read_text()
        macro = name.removesuffix(".h").upper() + "_TEXT"
        path.write_text(re.sub(rf"(#define {macro} 0x)\w+", r"\g<1>00000001u", before))
        done = subprocess.run(
            ["gcc", "-fsyntax-only", str(home / "src" / "net.c")], capture_output=True, text=True
        )
        path.write_text(before)
        assert f"{name} was not generated with this library" in done.stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = a * 1 + o + 0;", "x = a + o;"),
        ("f(o + 0, b * 10, c + 0x1);", "f(o, b * 10, c + 0x1);"),
        ("a + 0 * b; /* y * 1; */", "a + 0 * b; /* y * 1; */"),
        ('asm("x + 0;");', 'asm("x + 0;");'),
        ("for (int i = 0; i < 1; i++) {\n    f();\n}", "{\n    f();\n}"),
        (
            "for (int i = 0; i < 2; i++) {\n    f();\n}",
            "for (int i = 0; i < 2; i++) {\n    f();\n}",
        ),
        (
            "    for (int i = 0; i < 4; i += 4, p += 3) {\n        f(i);\n    }",
            "    {\n        const int i = 0;\n        f(i);\n        p += 3;\n    }",
        ),
        (
            "for (int i = 0; i < 1; i++) {\n    break;\n}",
            "for (int i = 0; i < 1; i++) {\n    break;\n}",
        ),
        (f"f({'a, ' * 40}b);", f"f({'a, ' * 32}a,\n    {'a, ' * 7}b);"),
        (f"int a; /* {'x ' * 50}*/", f"/* {'x ' * 48}x\n * x */\nint a;"),
    ],
)
def test_what_is_put_right_in_the_text(before: str, after: str) -> None:
    assert tidy(before) == after


def test_descriptors_are_those_of_the_headers() -> None:
    for e in coding.all_encodings():
        if e.decoder:
            struct = f"sc_{e.c_name}_stream"
            names = [f.name for f in descriptor.fields(e.decoder, struct)]
            text = descriptor.initializer(e.decoder, struct, f"{{.{names[-1]} = 7}}")
            assert text.splitlines()[-2] == f"    7, /* {names[-1]} */"
            with pytest.raises(ValueError, match=f"{struct} has no other"):
                descriptor.initializer(e.decoder, struct, "{.other = 1}")


def test_the_sizes_of_descriptors_are_the_compilers(tmp_path: Path) -> None:
    compiler = cores.get("cortex-m4").compiler
    if why := tools.missing(compiler):
        pytest.skip(why)
    lines = ["#define SC_HUFFMAN_SYMBOLS 9", "#define SC_RANGE_CONTEXTS 9"]
    lines += ["#define SC_CONTEXT_COLS 9"]
    for e in coding.all_encodings():
        if e.decoder:
            (tmp_path / e.decoder).write_text(descriptor.header(e.decoder))
            size = descriptor.size(e.decoder, f"sc_{e.c_name}_stream")
            lines.append(f'#include "{e.decoder}"')
            lines.append(f'_Static_assert(sizeof(sc_{e.c_name}_stream) == {size}, "{e.name}");')
    for path in headers.FOLDER.glob("*.h"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "sizes.c").write_text("\n".join(lines))
    subprocess.run(
        [compiler, *cores.get("cortex-m4").machine, "-fsyntax-only", str(tmp_path / "sizes.c")],
        check=True,
    )
