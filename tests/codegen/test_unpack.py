"""Coded convolutions: unpacked exactly, and harmless where the weights are damaged."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.geometry import Thrift
from secateur.codegen.plan import make_plan
from secateur.lowering import reference
from secateur.lowering.qgraph import QGraph
from secateur.targets import tools

from . import run_c
from .qgraphs import Chain, codes

_DAMAGE = """
#include "net.h"
#include "net_weights.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *arrays[] = {{{arrays}}};
static const uint32_t sizes[] = {{{sizes}}};

int main(void)
{{
    static int8_t in[NET_INPUT_SIZE], out[NET_OUTPUT_SIZE];
    void *arena = malloc(NET_ARENA_BYTES); /* of exactly its size */
    uint8_t *intact = malloc(100000);
    int noticed = 0;
    srand(1);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {{
        memcpy(intact, arrays[i], sizes[i]);
        for (int n = 0; n < 60; n++) {{
            for (uint32_t j = 0; j < sizes[i]; j++) {{
                if (n < 3) {{
                    arrays[i][j] = n == 0 ? 0 : n == 1 ? 255 : (uint8_t)rand();
                }} else if (rand() % (int)sizes[i] < 2) {{
                    arrays[i][j] ^= (uint8_t)(1 << rand() % 8);
                }}
            }}
            const int status = net_run_in(arena, in, out);
            if (status != 0 && status != -1) return 1;
            noticed += status == -1;
            memcpy(arrays[i], intact, sizes[i]);
        }}
    }}
    if (fread(in, 1, sizeof in, stdin) != sizeof in || net_run_in(arena, in, out) != 0) return 2;
    fwrite(out, 1, sizeof out, stdout);
    free(arena), free(intact);
    return noticed > 20 * (int)(sizeof sizes / sizeof *sizes) ? 0 : 3;
}}
"""


def uneven() -> QGraph:
    """Ternary layers with steps of one and of two bytes, empty rows and very long gaps."""
    c = Chain("net", (40, 6, 10), 3, 0)
    for k in ((1, 1), (3, 3)):
        weight = c.rng.choice([-1, 0, 0, 0, 0, 0, 0, 1], (40, 40, *k)).astype(np.int8)
        weight[3:30] = 0
        weight[::7, :2] = 1
        c.conv(40, k, "ternary", pads=(k[0] // 2,) * 4, weight=weight)
    return c.graph


@pytest.mark.parametrize(
    ("encoding", "layers", "channels"),
    [("rice_ternary", 2, 0), ("patched_ternary", 1, 0), ("rice_ternary", 2, 7),
     ("rice_sparse", 2, 20), ("rice_sparse", 2, 3)],
)  # fmt: skip
def test_damaged_gaps_stay_within_bounds(
    encoding: str, layers: int, channels: int, tmp_path: Path
) -> None:
    """Zeros, ones, noise and flipped bits, under sanitizers; restored, the model runs."""
    graph = uneven()
    p = make_plan(graph, encoding, thrift={op.name: Thrift(channels) for op in graph})
    those = [name for name, x in p.layers.items() if x.encoding == encoding]
    assert len(those) == layers
    source = p.library.save(tmp_path / "net") / "src"
    arrays = (a for name in those for a in p.library.arrays[name])
    coded = [a for a in arrays if a.name.endswith(("_g", "_f"))]
    streams = [s.name for name in those for s in p.encoded[name].streams]
    assert len(coded) == sum(s != "v" for s in streams)  # values are any
    (tmp_path / "main.c").write_text(
        _DAMAGE.format(
            arrays=", ".join(f"(uint8_t *)(uintptr_t){a.name}" for a in coded),
            sizes=", ".join(str(a.size) for a in coded),
        )
    )
    flags = [*run_c.WARNINGS, *run_c.SANITIZE, "-DNET_NO_CHECK_WEIGHTS", f"-I{source}"]
    weights = tmp_path / "weights.o"  # the one place where the constants are defined: writable
    tools.run(
        ["gcc", *flags, "-Dconst=", "-c", str(source / "net_weights.c"), "-o", str(weights)],
        "compiling",
    )
    program = tmp_path / "program"
    files = [str(tmp_path / "main.c"), str(source / "net.c"), str(weights)]
    tools.run(["gcc", *flags, *files, "-o", str(program)], "linking")
    x = codes(graph, 3)[2:]
    done = subprocess.run(
        [program], input=x.tobytes(), capture_output=True, env={"ASAN_OPTIONS": "detect_leaks=0"}
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    np.testing.assert_array_equal(
        np.frombuffer(done.stdout, np.int8), reference.run(graph, x).reshape(-1)
    )


@pytest.mark.parametrize(
    ("encoding", "kind", "sign"),
    [("huffman_ternary", "ternary", 1), ("huffman_ternary", "ternary", -1),
     ("huffman_sparse", "int8", 1), ("huffman_joint", "levels", 1)],
)  # fmt: skip
def test_the_huffman_unpacker_writes_no_more_than_there_is_room_for(
    encoding: str, kind: str, sign: int, tmp_path: Path
) -> None:
    """The longest row of 9 in a room of 9, and in one of 8, which is what damage looks like."""
    c = Chain("net", (20, 4, 4), 5, 0)
    weight = np.zeros((6, 20, 1, 1), np.int8)
    weight[:, ::7, 0, 0] = -sign
    weight[3, :, 0, 0] = [sign] * 9 + [0] * 11
    weight *= {"ternary": 1, "int8": 77, "levels": 5}[kind]
    c.conv(6, (1, 1), "", weight=weight)
    p = run_c.plan(c.graph, "net", encoding)
    assert {x.encoding for x in p.layers.values()} == {encoding}
    source = p.library.save(tmp_path / "net") / "src"
    text = (source / "net.c").read_text()
    calls = re.findall(r"unpack_huffman\w+\(&[^;]*?\b9u", text)
    assert len(calls) == 1
    (tmp_path / "main.c").write_text(
        '#include "net.h"\nint main(void)\n{\n'
        "    static int8_t in[NET_INPUT_SIZE], out[NET_OUTPUT_SIZE];\n"
        "    return -net_run(in, out);\n}\n"
    )
    for room, status in ((9, 0), (8, 1)):
        less = calls[0].removesuffix("9u") + f"{room}u"
        (source / "net.c").write_text(text.replace(calls[0], less))
        program = tmp_path / f"program{room}"
        files = [str(x) for x in (tmp_path / "main.c", *sorted(source.glob("*.c")))]
        flags = [*run_c.WARNINGS, *run_c.SANITIZE, f"-I{source}"]
        tools.run(["gcc", *flags, *files, "-o", str(program)], "linking")
        assert subprocess.run([program]).returncode == status


def test_a_shared_table_may_have_levels_that_a_layer_has_not(tmp_path: Path) -> None:
    """Three values and four under one Huffman table."""
    c = Chain("shared", (1, 1, 2), 11, zero=0)
    c.dense(2, "", weight=np.array([[-95, 76], [0, 23]], np.int8))
    c.dense(2, "", weight=np.array([[26, 54], [-120, -4]], np.int8))
    x = codes(c.graph, 4)
    plan = run_c.plan(c.graph, "m", "huffman_joint")
    tables = [s for e in plan.encoded.values() for s in e.streams if s.name == "t"]
    assert [bool(s.shared) for s in tables] == [True, True]
    (got,) = run_c.on_host([plan], [x], tmp_path)
    np.testing.assert_array_equal(got, reference.run(c.graph, x).reshape(len(x), -1))
