"""Damaged flash, for every kernel and every encoding that the registries know.

One small layer is found for each pair of a kernel and an encoding; what a new file registers is
covered as soon as it applies to one of the layers below, and a kernel or encoding without any is
an error here. With the check of the constants, which is on by default, nothing runs on a damaged
array. The arena's regions are guarded, so that an overrun from one into another is seen.
"""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np

from secateur import coding
from secateur.codegen.kernels import all_kernels
from secateur.codegen.plan import Plan, candidates
from secateur.lowering import reference
from secateur.lowering.qgraph import QGraph
from secateur.targets import tools

from . import run_c
from .qgraphs import KINDS, Chain, codes

#: Kernels of bit planes need packed tensors: tests/codegen/test_binary.py.
#: Planes and 16-bit activations: their rows are unpacked by what the kernels tried here use, too.
ELSEWHERE = {"conv_binary", "dense_binary", "wide_conv", "wide_dense", "wide_depthwise"}

_DAMAGE = """
#include "{name}/src/{name}.h"
#include "{name}/src/{name}_weights.h"

static void try_{name}(void)
{{
    uint8_t *const arrays[] = {{{arrays}}};
    const uint32_t sizes[] = {{{sizes}}};
    int8_t *in = malloc({upper}_INPUT_SIZE), *out = malloc({upper}_OUTPUT_SIZE);
    uint8_t *arena = malloc({upper}_ARENA_BYTES);
    if (fread(in, 1, {upper}_INPUT_SIZE, stdin) != {upper}_INPUT_SIZE) exit(3);
    for (uint32_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {{
        uint8_t *intact = malloc(sizes[i]);
        memcpy(intact, arrays[i], sizes[i]);
        for (int n = 0; n < 12; n++) {{
            for (uint32_t j = 0; n < 3 && j < sizes[i]; j++) {{
                arrays[i][j] = n == 0 ? 0 : n == 1 ? 255 : (uint8_t)rand();
            }}
            for (int flips = 0; n >= 3 && flips < 1 + n % 3; flips++) {{
                arrays[i][(uint32_t)rand() % sizes[i]] ^= (uint8_t)(1 << rand() % 8);
            }}
            __asan_unpoison_memory_region(arena, {upper}_ARENA_BYTES);
            memset(arena, 0xA5 + n, {upper}_ARENA_BYTES);
            const int changed = memcmp(intact, arrays[i], sizes[i]) != 0;
            const int status = {name}_run_in(arena, in, out);
            if (CHECKED ? status != (changed ? -2 : 0) : status != 0 && status != -1) exit(5);
            memcpy(arrays[i], intact, sizes[i]);
            forget_{name}();
        }}
        free(intact);
    }}
    __asan_unpoison_memory_region(arena, {upper}_ARENA_BYTES);
    if ({name}_run_in(arena, in, out) != 0) exit(6);
    fwrite(out, 1, {upper}_OUTPUT_SIZE, stdout);
    free(arena), free(in), free(out);
}}
"""


def specimens() -> dict[tuple[str, str], QGraph]:
    """For each pair of a kernel and an encoding a graph of one layer that it executes."""
    found: dict[tuple[str, str], QGraph] = {}
    for kind in KINDS:
        for what in (
            "pointwise", "window", "depthwise", "line", "dense", "wide", "small plane", "few bits",
        ):  # fmt: skip
            shape = {
                "dense": (40, 1, 1), "wide": (40, 1, 1), "small plane": (12, 2, 3),
                "line": (12, 9, 1),
            }  # fmt: skip
            c = Chain("g", shape.get(what, (12, 9, 8)), 0, zero=0)
            if what == "few bits":  # of a network's input, so that there is one layer
                c.top = c.graph.tensors["x"] = replace(c.top, planes=(1, 2, 4, 8))
            if what in ("pointwise", "small plane", "few bits"):
                c.conv(12, (1, 1), kind)
            elif what == "window":
                c.conv(8, (3, 3), kind, pads=(1, 1, 1, 1))
            elif what == "depthwise":
                c.conv(12, (3, 3), kind, depthwise=True, pads=(1, 1, 1, 1))
            elif what == "line":
                c.conv(12, (5, 1), kind, depthwise=True)
            else:
                c.dense(24 if what == "dense" else 70, kind)
            for k in candidates(c.graph.ops[0], c.graph):
                found.setdefault((k.kernel.name, k.encoding), c.graph)
    return found


def test_every_kernel_and_encoding_is_tried() -> None:
    pairs = specimens()
    kernels = {k.name for k in all_kernels() if k.forms} - ELSEWHERE
    assert {kernel for kernel, _ in pairs} == kernels
    executed = {e.name for e in coding.all_encodings()} - {"planes"}
    assert {encoding for _, encoding in pairs} == executed


def chosen(full: bool) -> list[tuple[str, str, QGraph]]:
    """Every pair; or so many that each kernel, and each encoding, is among them."""
    pairs = specimens()
    if full:
        return [(k, e, g) for (k, e), g in pairs.items()]
    kernels: set[str] = set()
    encodings: set[str] = set()
    out = []
    for (k, e), g in pairs.items():
        if k not in kernels or e not in encodings:
            out.append((k, e, g))
            kernels.add(k)
            encodings.add(e)
    return out


def attempt(
    cases: list[tuple[str, str, QGraph]], folder: Path, checked: bool
) -> tuple[list[Plan], subprocess.CompletedProcess[bytes], list[np.ndarray]]:
    """Compile and run the damage; the plans, what the program said, the outputs wanted."""
    plans, wanted, given = [], [], b""
    for i, (kernel, encoding, graph) in enumerate(cases):
        plans.append(run_c.plan(graph, f"m{i}", f"{encoding}/{kernel}", run_c.GUARD))
        (layer,) = plans[-1].layers.values()
        assert (layer.kernel, layer.encoding) == (kernel, encoding)
        x = codes(graph, 3)[2:]
        given += x.tobytes()
        wanted.append(reference.run(graph, x).reshape(-1))
    main = [
        "#include <sanitizer/asan_interface.h>\n#include <stdio.h>\n#include <stdlib.h>",
        f"#include <string.h>\n#define CHECKED {int(checked)}",
        *(f"void forget_{p.library.name}(void);" for p in plans),
    ]
    flags, objects = [*run_c.WARNINGS, *run_c.SANITIZE, "-Wno-error"], []
    for p, (_, encoding, _) in zip(plans, cases, strict=True):
        name = p.library.name
        home = p.library.save(folder / name) / "src"
        every = [a for group in p.library.arrays.values() for a in group]
        if not checked:  # what a decoder reads; requantization's constants overflow, no more
            streams = {s.name for e in p.encoded.values() for s in e.streams}
            every = [a for a in every if a.name.rsplit("_", 1)[-1] in streams]
            assert every, encoding
        source = run_c.guarded(p)
        # the test forgets that the constants were checked, as a restart does
        forget = f"void forget_{name}(void);\nvoid forget_{name}(void)\n{{\n"
        forget += "    checked = 0;\n}\n" if checked else "}\n"
        (home / f"{name}.c").write_text(source + forget)
        main.append(
            _DAMAGE.format(
                name=name, upper=name.upper(), sizes=", ".join(str(len(a.content)) for a in every),
                arrays=", ".join(f"(uint8_t *)(uintptr_t){a.name}" for a in every),
            )
        )  # fmt: skip
        check = [] if checked else [f"-D{name.upper()}_NO_CHECK_WEIGHTS"]
        for path, more in ((home / f"{name}.c", check), (home / f"{name}_weights.c", ["-Dconst="])):
            out = path.with_suffix(".o")  # weights: the one place where they are defined, writable
            tools.run(["gcc", *flags, *more, "-c", str(path), "-o", str(out)], "compiling")
            objects.append(str(out))
    calls = "".join(f"    try_{p.library.name}();\n" for p in plans)
    main.append(f"int main(void)\n{{\n    srand(1);\n{calls}    return 0;\n}}\n")
    (folder / "main.c").write_text("\n".join(main))
    program = folder / "program"
    tools.run(
        ["gcc", *flags, str(folder / "main.c"), *objects, "-o", str(program)], "linking the damage"
    )
    done = subprocess.run(
        [program], input=given, capture_output=True, env={"ASAN_OPTIONS": "detect_leaks=0"}
    )
    return plans, done, wanted


def check(cases: list[tuple[str, str, QGraph]], folder: Path, checked: bool) -> None:
    """Nothing out of bounds, and restored the layers are exact."""
    plans, done, wanted = attempt(cases, folder, checked)
    kinds = [pair[:2] for pair in cases]
    assert done.returncode == 0, f"{done.stderr.decode(errors='replace')[:2500]} {kinds}"
    assert len(plans) == len(wanted)
    np.testing.assert_array_equal(np.frombuffer(done.stdout, np.int8), np.concatenate(wanted))


def test_nothing_runs_on_damaged_constants(tmp_path: Path) -> None:
    check(chosen(full=False), tmp_path, checked=True)


def test_what_is_unpacked_has_room_without_the_check(tmp_path: Path) -> None:
    """Digits and bitmaps say how many non-zeros there are: damaged ones say too many."""
    fixed = ("base3", "ternary_packed2", "bitmap_ternary")
    cases = [(k, e, g) for (k, e), g in specimens().items() if k == "conv_ternary" and e in fixed]
    assert {e for _, e, _ in cases} == set(fixed)
    check(cases, tmp_path, checked=False)
