"""The constants of a library: every bit has a cause, tables are shared, damage is noticed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from secateur.codegen import packing
from secateur.codegen.emit import CArray
from secateur.codegen.library import _new
from secateur.codegen.plan import Plan, make_plan
from secateur.coding.base import causes
from secateur.coding.checksum import crc32
from secateur.lowering import reference
from secateur.lowering.qgraph import QGraph
from secateur.lowering.quantize import lower
from secateur.targets import tools
from tests.strategies import random_inputs

from . import run_c
from .qgraphs import Chain, codes
from .test_binary import Maker
from .test_generated_c import ENCODINGS


def alike(name: str = "net") -> QGraph:
    """Four ternary layers whose symbols are distributed alike, and one that is full."""
    c = Chain(name, (24, 6, 10), 3, 0)
    for _ in range(4):
        weight = c.rng.choice([-1, 0, 0, 0, 0, 0, 0, 1], (24, 24, 1, 1)).astype(np.int8)
        c.conv(24, (1, 1), "ternary", weight=weight)
    return c.dense(5, "extreme").graph


def adds_up(p: Plan, graph: QGraph) -> None:
    """The bits of every layer's causes are those of its arrays."""
    for op in graph:
        bits = p.library.bits_of(op.name)
        assert set(bits) <= set(causes())
        assert all(n > 0 for n in bits.values())
        assert sum(bits.values()) == 8 * p.library.bytes_of(op.name)


@pytest.mark.parametrize("encoding", [e for e in ENCODINGS if e != "planes"])
def test_the_causes_add_up_to_what_is_stored(encoding: str) -> None:
    c = Chain("net", (4, 6, 8), 1, 0)
    c.conv(6, (3, 3), "ternary").conv(6, (1, 1), "ternary").conv(5, (1, 1), "levels")
    c.dense(7, "sparse").dense(6, "extreme").dense(3, "ternary")
    c.dense(9, "", weight=np.tile(np.array([1, -2, 0], np.int8), (9, 1)))
    c.dense(6, "factored").dense(40, "levels")
    c.dense(4, "", weight=np.where(c.rng.random((4, 40)) < 0.2, 3, -1).astype(np.int8))
    p = make_plan(c.graph, encoding)
    assert encoding in {x.encoding for x in p.layers.values()}
    adds_up(p, c.graph)
    assert all("requant" in p.library.bits_of(op.name) for op in c.graph)


def test_the_causes_of_bit_planes_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are stored where packed tensors are read, and nowhere else."""
    monkeypatch.setattr(packing, "_pays", lambda *_: True)
    m = Maker(1, (5, 7, 36)).act("sign").conv(40, (1, 1), "binary").norm().act("even2")
    graph = m.dense(9, "basis").finish()
    packed = packing.pack(lower(graph, random_inputs(graph, 8)))
    p = make_plan(packed)
    assert {"planes"} == {x.encoding for x in p.layers.values() if x.encoding}
    adds_up(p, packed)


def test_layers_that_are_alike_share_one_table(tmp_path: Path) -> None:
    graph = alike()
    p = make_plan(graph, "huffman_ternary", "flash")
    tables = [a for group in p.library.arrays.values() for a in group if a.name.endswith("_t")]
    assert [a.name for a in tables] == ["net_shared_huffman_ternary_1_t"]
    alone = sum(e.stored_bytes for n, e in p.encoded.items() if n != "dense4")
    stored = sum(p.library.bytes_of(f"conv{i}") - 4 * 24 - 28 for i in range(4))
    assert stored == alone - 3 * tables[0].size  # what each layer would store for itself
    x = codes(graph, 3)
    (got,) = run_c.on_host([p], [x], tmp_path)
    np.testing.assert_array_equal(got, reference.run(graph, x).reshape(3, -1))


def test_two_tables_of_one_name_are_refused() -> None:
    one, other = (CArray("t", "uint8_t", np.full(3, v)) for v in (1, 2))
    assert _new([one], {"a": [one]}) == []
    with pytest.raises(ValueError, match="two arrays are called t"):
        _new([other], {"a": [one]})


def test_the_checksum_is_that_of_the_arrays_as_they_lie_in_flash() -> None:
    p = make_plan(alike())
    every = [a for group in p.library.arrays.values() for a in group]
    assert f"NET_WEIGHTS_CRC32 0x{crc32(a.content for a in every):08x}u" in p.library.files[
        "src/net.h"
    ]  # fmt: skip
    assert CArray("e", "int16_t", np.zeros(0)).content == b"\0\0"
    assert CArray("e", "int16_t", np.array([[1, -2]])).content == b"\x01\x00\xfe\xff"


_DAMAGE = """
#include "net.h"
#include "net_weights.h"
#include <stdio.h>
#include <stdlib.h>

static uint8_t *arrays[] = {{{arrays}}};
static const uint32_t sizes[] = {{{sizes}}};

int main(void)
{{
    static int8_t in[NET_INPUT_SIZE], out[NET_OUTPUT_SIZE];
    static uint32_t arena[NET_ARENA_BYTES / 4 + 1];
    srand(1);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {{
        for (int n = 0; n < 40; n++) {{
            const uint32_t at = (uint32_t)rand() % sizes[i];
            const uint8_t before = arrays[i][at];
            arrays[i][at] ^= (uint8_t)(1 + rand() % 255);
            const int status = net_run_in(arena, in, out), checked = net_check_weights();
            arrays[i][at] = before;
            if (status != -2 || checked != -2) return 1;
        }}
    }}
    if (net_check_weights() != 0) return 1;
    if (fread(in, 1, sizeof in, stdin) != sizeof in || net_run_in(arena, in, out) != 0) return 2;
    fwrite(out, 1, sizeof out, stdout);
    return 0;
}}
"""


@pytest.mark.parametrize("encoding", ["ternary", "huffman_ternary", "range_sparse", None])
def test_damage_anywhere_is_reported_before_it_is_read(
    encoding: str | None, tmp_path: Path
) -> None:
    """Any changed byte of any array, under sanitizers; restored, the model runs."""
    graph = alike()
    p = make_plan(graph, encoding)
    source = p.library.save(tmp_path / "net") / "src"
    every = [a for group in p.library.arrays.values() for a in group]
    (tmp_path / "main.c").write_text(
        _DAMAGE.format(
            arrays=", ".join(f"(uint8_t *)(uintptr_t){a.name}" for a in every),
            sizes=", ".join(str(len(a.content)) for a in every),
        )
    )
    flags = [*run_c.WARNINGS, *run_c.SANITIZE, f"-I{source}"]
    weights = tmp_path / "weights.o"  # the one place where the constants are defined: writable
    tools.run(
        ["gcc", *flags, "-Dconst=", "-c", str(source / "net_weights.c"), "-o", str(weights)],
        "compiling",
    )
    program = tmp_path / "program"
    files = [str(tmp_path / "main.c"), str(source / "net.c"), str(weights)]
    tools.run(["gcc", *flags, *files, "-o", str(program)], "linking")
    x = codes(graph, 1)
    done = subprocess.run(
        [program], input=x.tobytes(), capture_output=True, env={"ASAN_OPTIONS": "detect_leaks=0"}
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    np.testing.assert_array_equal(
        np.frombuffer(done.stdout, np.int8), reference.run(graph, x).reshape(-1)
    )


def test_the_check_costs_nothing_where_it_is_not_wanted(tmp_path: Path) -> None:
    source = make_plan(alike()).library.save(tmp_path / "net") / "src"
    for flags, there in (([], True), (["-DNET_NO_CHECK_WEIGHTS"], False)):
        done = subprocess.run(
            ["gcc", "-E", "-P", *flags, source / "net.c"], capture_output=True, text=True
        )
        assert ("crc" in done.stdout) == there
        assert ("checked" in done.stdout) == there
        assert "int net_check_weights(void)" in done.stdout
