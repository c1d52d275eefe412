"""The C decoders under sanitizers: equal to NumPy's, and safe on damaged streams.

One program is compiled per column type. It holds the descriptors of many random layers, printed by
`Encoding.c_stream`, and reads the streams' bytes from stdin into heap blocks of their exact size,
so that the address sanitizer sees every byte too far.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from matrices import factored, laplacian

from secateur.coding import Encoded, all_encodings, get
from secateur.coding.checksum import crc32
from secateur.coding.deal import FactoredMatrix
from secateur.coding.sources import FOLDER, headers

#: Two-level encodings use the decoders of their masks.
CODED = [e for e in all_encodings() if e.decoder is not None and e.form != "two_level"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
WARN = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow"]
CC = shutil.which("clang") or shutil.which("gcc") or shutil.which("cc")
pytestmark = pytest.mark.skipif(CC is None, reason="no C compiler on this machine")

DRIVER = {
    "sparse": """
    int8_t *values = block(room);
    for (uint32_t r = 0; r < rows && status == 0; r++) {
        uint32_t n = 0;
        status = sc_X_row(s, columns, values, room, &n);
        for (uint32_t i = 0; i < n && status == 0; i++) {
            out[r * cols + columns[i]] = values[i];
        }
    }
    free(values);
""",
    "ternary": """
    for (uint32_t r = 0; r < rows && status == 0; r++) {
        uint32_t plus = 0, minus = 0;
        status = sc_X_row(s, columns, room, &plus, &minus);
        for (uint32_t i = 0; i < plus && status == 0; i++) {
            out[r * cols + columns[i]] = 1;
        }
        for (uint32_t i = room - minus; i < room && status == 0; i++) {
            out[r * cols + columns[i]] = -1;
        }
    }
""",
    "dense": """
    (void)columns;
    for (uint32_t r = 0; r < rows && status == 0; r++) {
        status = sc_X_row(s, out + r * cols);
    }
""",
}

MAIN = """
int main(void)
{
    uint32_t head[2];
    while (fread(head, 4, 2, stdin) == 2) {
        uint8_t *a[8] = {0};
        uint32_t n[8] = {0};
        for (uint32_t i = 0; i < head[1]; i++) {
            if (fread(&n[i], 4, 1, stdin) != 1) return 3;
            a[i] = block(n[i]);
            if (fread(a[i], 1, n[i], stdin) != n[i]) return 4;
        }
        const layer *l = &layers[head[0]];
        int8_t *out = calloc(l->rows, l->cols);
        int8_t status = (int8_t)l->run(a, n, out);
        fwrite(&status, 1, 1, stdout);
        fwrite(out, l->cols, l->rows, stdout);
        free(out);
        for (uint32_t i = 0; i < head[1]; i++) free(a[i]);
    }
    return 0;
}
"""

#: libFuzzer's entry: a layer's number, then its streams' bytes, each as long as it was.
FUZZED = """
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    const uint32_t which = (data[0] | (uint32_t)data[1] << 8) % (sizeof layers / sizeof *layers);
    const layer *l = &layers[which];
    uint8_t *a[8] = {0};
    data += 2, size -= 2;
    for (uint32_t i = 0; i < 8; i++) {
        const uint32_t n = lengths[which][i], m = n < size ? n : (uint32_t)size;
        a[i] = block(n);
        memset(a[i], 0, n);
        memcpy(a[i], data, m);
        data += m, size -= m;
    }
    int8_t *out = calloc(l->rows, l->cols);
    const int status = l->run(a, lengths[which], out);
    if (status != 0 && status != -1) abort();
    free(out);
    for (uint32_t i = 0; i < 8; i++) free(a[i]);
    return 0;
}
"""


@dataclass
class Program:
    """A compiled program and the layers it knows."""

    path: Path
    layers: list[tuple[np.ndarray, Encoded]]

    def run(self, cases: list[tuple[int, list[bytes]]]) -> list[tuple[int, np.ndarray]]:
        """(status, matrix) of every (layer, streams)."""
        data = bytearray()
        for layer, streams in cases:
            data += struct.pack("<II", layer, len(streams))
            for s in streams:
                data += struct.pack("<I", len(s)) + s
        done = subprocess.run([self.path], input=bytes(data), capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode()[:3000]
        out, at = [], 0
        for layer, _ in cases:
            weight = self.layers[layer][0]
            matrix = np.frombuffer(done.stdout, np.int8, weight.size, at + 1).reshape(weight.shape)
            out.append((struct.unpack_from("b", done.stdout, at)[0], matrix))
            at += 1 + weight.size
        assert at == len(done.stdout)
        return out


def random_layers(widest: int) -> list[np.ndarray]:
    """Layers of many kinds, at most `widest` columns."""
    rng = np.random.default_rng(7)
    out = []
    for i in range(28):
        rows, cols = int(rng.integers(1, 40)), int(rng.integers(1, widest + 1))
        levels = [2, 2, 4, 16, 50, 254][i % 6]
        w = laplacian(rows, cols, float(rng.choice([0.003, 0.05, 0.3, 0.9])), levels, i)
        if i % 5 == 0:
            w[rng.random(rows) < 0.6] = 0
        out.append(w)
    out += [np.zeros((3, widest), np.int8), np.ones((2, widest), np.int8)]
    corner = np.zeros((30, widest), np.int8)
    corner[-1, -1] = -1  # one gap across the whole layer
    skewed = np.where(rng.random((30, widest)) < 0.5, 1, 0) * (
        1 << rng.geometric(0.5, (30, widest))
    )
    deep = np.clip(skewed, 0, 127).astype(np.int8)  # codes of very unequal length
    powers = rng.choice([-1, 1], (9, widest)) << rng.integers(0, 7, (9, widest))
    powers[rng.random(powers.shape) < 0.4] = 0
    out.append(powers.astype(np.int8))
    out += [factored(rng, 5, cols) for cols in (1, 7, widest)]
    return [*out, corner, deep, np.full((1, 1), -1, np.int8)]


def build(folder: Path, col_t: str, fuzzed: bool = False) -> Program:
    """Compile the program for one column type; `fuzzed`: for libFuzzer."""
    layers: list[tuple[np.ndarray, Encoded]] = []
    drivers, runs, table = [], [], []
    macros: dict[str, int] = {}
    for encoding in CODED:
        x = encoding.c_name
        body = DRIVER[encoding.form].replace("sc_X", f"sc_{x}")
        drivers.append(
            f"static int drive_{x}(const sc_{x}_stream *d, uint32_t rows, uint32_t cols, "
            f"uint32_t room, int8_t *out)\n{{\n"
            f"    sc_{x} *s = block(sizeof *s);\n"
            f"    SC_COL_T *columns = block(room * sizeof *columns);\n"
            f"    int status = sc_{x}_open(s, d);{body}"
            f"    free(columns);\n    free(s);\n    return status;\n}}\n"
        )
    for weight in random_layers(256 if col_t == "uint8_t" else 700):
        for encoding in CODED:
            x = encoding.c_name
            if not encoding.applies(weight) or isinstance(weight, FactoredMatrix) != (x == "deal"):
                continue
            encoded = encoding.encode(weight)
            arrays = {
                s.name: f"{'(const int8_t *)' if s.ctype == 'int8_t' else ''}a[{i}]"
                for i, s in enumerate(encoded.streams)
            }
            text = encoding.c_stream(encoded, arrays)
            text = re.sub(r"\.(gaps_|)size = \d+", r".\1size = n[0]", text)
            text = re.sub(r"\.values_size = \d+", ".values_size = n[1]", text)
            index = len(layers)
            runs.append(
                f"static int run{index}(uint8_t **a, const uint32_t *n, int8_t *out)\n{{\n"
                f"    (void)n;\n    const sc_{x}_stream d = {text};\n"
                f"    return drive_{x}(&d, {encoded.rows}, {encoded.cols}, "
                f"{encoded.meta['row_nnz']}, out);\n}}\n"
            )
            table.append(f"    {{run{index}, {encoded.rows}, {encoded.cols}}},\n")
            for name, value in encoding.c_macros(encoded).items():
                macros[name] = max(value, macros.get(name, 0))
            layers.append((weight, encoded))
    source = "#include <stdint.h>\n#include <stdio.h>\n#include <stdlib.h>\n"
    source += f"#define SC_COL_T {col_t}\n"
    source += "".join(f"#define {k} {v}\n" for k, v in macros.items())
    source += "".join(f'#include "{h}"\n' for h in sorted({str(e.decoder) for e in CODED}))
    source += "static void *block(size_t n) { return malloc(n); }\n"
    source += "".join(drivers) + "".join(runs)
    source += "typedef struct { int (*run)(uint8_t **, const uint32_t *, int8_t *); "
    source += "uint32_t rows, cols; } layer;\n"
    source += "static const layer layers[] = {\n" + "".join(table) + "};\n"
    if fuzzed:
        sizes = [[len(s) for s in streams_of(e)] for _, e in layers]
        rows = ", ".join(f"{{{', '.join(map(str, n))}}}" for n in sizes)
        source += f"#include <string.h>\nstatic const uint32_t lengths[][8] = {{{rows}}};\n{FUZZED}"
    else:
        source += MAIN
    (folder / "main.c").write_text(source)
    program = folder / "decode"
    done = subprocess.run(
        [
            str(CC), *WARN, *SANITIZE, *(["-fsanitize=fuzzer"] if fuzzed else []), f"-I{FOLDER}",
            "main.c", "-o", str(program),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[:3000]
    return Program(program, layers)


@pytest.fixture(scope="module", params=["uint16_t", "uint8_t"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    return build(tmp_path_factory.mktemp("decode"), request.param)


def streams_of(encoded: Encoded) -> list[bytes]:
    return [s.data for s in encoded.streams]


def test_intact_streams(program: Program) -> None:
    results = program.run([(i, streams_of(e)) for i, (_, e) in enumerate(program.layers)])
    for (weight, encoded), (status, matrix) in zip(program.layers, results, strict=True):
        assert status == 0, encoded.encoding
        assert np.array_equal(matrix, weight), encoded.encoding
        assert np.array_equal(get(encoded.encoding).decode(encoded), weight)


def test_truncated_streams(program: Program) -> None:
    """A coded stream that lost half its bytes is noticed; nothing is read behind it."""
    cases, expected = [], []
    for i, (_, encoded) in enumerate(program.layers):
        streams = streams_of(encoded)
        size = len(streams[0])
        for keep in {0, 1, size // 2, size - 1} & set(range(size)):
            cases.append((i, [streams[0][:keep], *streams[1:]]))
            expected.append(size - keep > 10)
    results = program.run(cases)
    for (i, _), (status, _), noticed in zip(cases, results, expected, strict=True):
        assert status in (0, -1)
        if noticed:
            assert status == -1, program.layers[i][1].encoding


@pytest.mark.parametrize("seed", range(3))
def test_damaged_streams(program: Program, seed: int) -> None:
    """Flipped bits, in any stream, and noise: in bounds, and every change has another CRC."""
    rng = np.random.default_rng(seed)
    cases = []
    for i, (_, encoded) in enumerate(program.layers):
        for _ in range(6):
            streams = [bytearray(s) for s in streams_of(encoded)]
            filled = [s for s in streams if s]
            if not filled:
                continue
            victim = filled[int(rng.integers(len(filled)))]
            if rng.random() < 0.2:
                victim[:] = rng.bytes(len(victim))
            else:
                for at in rng.integers(0, 8 * len(victim), int(rng.integers(1, 4))):
                    victim[at // 8] ^= 1 << at % 8
            changed = [bytes(s) for s in streams]
            cases.append((i, changed))
            if changed != streams_of(encoded):
                assert crc32(changed) != crc32(streams_of(encoded))
    for (i, changed), (status, matrix) in zip(cases, program.run(cases), strict=True):
        weight, encoded = program.layers[i]
        assert status in (0, -1)
        if status == 0 and changed == streams_of(encoded):
            assert np.array_equal(matrix, weight)


def libfuzzer() -> bool:
    """Whether the compiler brings libFuzzer."""
    if CC is None or "clang" not in Path(CC).name:
        return False
    command = [CC, "--print-file-name=libclang_rt.fuzzer-x86_64.a"]
    found = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return Path(found).is_file()


@pytest.mark.skipif(not libfuzzer(), reason="libFuzzer comes with clang, which is not installed")
def test_streams_that_libfuzzer_makes(tmp_path: Path) -> None:
    """Guided by coverage, from intact streams on; FUZZ_SECONDS sets for how long."""
    program = build(tmp_path, "uint16_t", fuzzed=True)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for i, (_, encoded) in enumerate(program.layers):
        (corpus / str(i)).write_bytes(struct.pack("<H", i) + b"".join(streams_of(encoded)))
    seconds = os.environ.get("FUZZ_SECONDS", "20")
    command = [
        program.path,
        f"-max_total_time={seconds}",
        "-seed=1",
        "-timeout=10",
        "-max_len=8000",
        corpus,
    ]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]


def test_crc_in_c(tmp_path: Path) -> None:
    text = (
        '#include "sc_crc32.h"\n#include <stdio.h>\nint main(void) { uint32_t crc = 0; '
        "unsigned char b[7]; size_t n; while ((n = fread(b, 1, sizeof b, stdin)) != 0u) "
        'crc = sc_crc32(crc, b, (uint32_t)n); printf("%u", (unsigned)crc); return 0; }\n'
    )
    (tmp_path / "crc.c").write_text(text)
    command = [str(CC), *WARN, *SANITIZE, f"-I{FOLDER}", "crc.c", "-o", "crc"]
    subprocess.run(command, cwd=tmp_path, check=True)
    for data in (b"", b"123456789", bytes(range(256))):
        done = subprocess.run([tmp_path / "crc"], input=data, capture_output=True, check=True)
        assert int(done.stdout) == crc32([data])
    assert crc32([b"1234", b"56789"]) == 0xCBF43926


def test_headers_are_found_with_what_they_include() -> None:
    names = [p.name for p in headers("sc_range.h", "sc_huffman_joint.h")]
    assert names == [
        "sc_huffman.h",
        "sc_huffman_joint.h",
        "sc_range.h",
        "sc_range_coder.h",
        "sc_rows.h",
    ]
