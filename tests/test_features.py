"""Input features of different sizes: a scale for each, folded into the first layer."""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest

import secateur as sc
from secateur.errors import RangeWarning
from secateur.frontend import execute
from secateur.frontend.build import Builder
from secateur.frontend.ir import Graph
from secateur.lowering.qgraph import QDense

SIZES = np.array([1000.0, 1.0, 0.01, 30.0])


def rows(n: int = 400) -> np.ndarray:
    return (np.random.default_rng(1).normal(size=(n, 4)) * SIZES).astype(np.float32)


def network(first: str) -> Graph:
    """A Dense head behind a first layer that brings its features to one size."""
    rng = np.random.default_rng(2)
    b = Builder(f"sensors_{first}")
    sequence = first == "conv"
    y = b.add_input("x", (6, 4) if sequence else (4,))
    if first == "norm":
        params = {"scale": (1 / SIZES).astype(np.float32), "shift": np.zeros(4, np.float32)}
        y = b.emit("batch_norm", "norm", [y], None, {}, params)
        kernel = rng.normal(size=(4, 8))
    else:
        kernel = rng.normal(size=(4, 8)) / SIZES[:, None]
    kernel = kernel.astype(np.float32)
    if sequence:
        attrs = {"strides": (1, 1), "pads": (0, 1, 0, 1)}
        k = {"kernel": np.stack([kernel, -kernel, kernel])[None]}
        y = b.emit("conv2d", "first", [y], None, attrs, k)
        y = b.emit("flatten", "flat", [y])
    else:
        y = b.emit("dense", "first", [y], None, {}, {"kernel": kernel})
    head = rng.normal(size=(b.shape(y)[0], 2)).astype(np.float32)
    return b.finish(b.emit("dense", "head", [y], None, {}, {"kernel": head}))


def db(got: np.ndarray, want: np.ndarray) -> float:
    return float(
        10 * np.log10(np.square(want).sum() / np.square(got.reshape(want.shape) - want).sum())
    )


def test_16_bits_have_room_for_two_orders_more() -> None:
    graph, x = network("dense"), rows()
    kernel = graph.node("first").params["kernel"]
    for feature, by in ((0, 0.1), (2, 100)):  # 100 to 1: too much for 8 bits alone
        x[:, feature] *= by
        kernel[feature] /= by
    with pytest.warns(RangeWarning, match="8 bits leave"):
        assert sc.convert(graph, x).qgraph.factors
    with warnings.catch_warnings():
        warnings.simplefilter("error", RangeWarning)
        assert not sc.convert(graph, x, activations="int16").qgraph.factors
    x[:, 0] *= 1000
    kernel[0] /= 1000
    with pytest.warns(RangeWarning, match="16 bits leave"):
        compiled = sc.convert(graph, x, activations="int16")
    assert "int16_t *codes" in compiled.plan.library.files[f"src/{compiled.name}.h"]
    assert db(compiled.predict(x), execute.run(graph, x)) > 38


@pytest.mark.parametrize("first", ["dense", "conv", "norm"])
def test_each_feature_gets_its_scale(first: str) -> None:
    graph = network(first)
    x = rows(600).reshape(-1, 6, 4) if first == "conv" else rows()
    with pytest.warns(RangeWarning, match=r"4 features go up to .*feature 2.*a scale of its own"):
        compiled = sc.convert(graph, x)
    assert any("4 features" in note for note in compiled.notes)
    want = execute.run(graph, x)
    assert db(compiled.predict(x), want) > 28
    (end,) = compiled.inputs.ends
    assert len(end.scales) == 4
    header = compiled.plan.library.files[f"src/{compiled.name}.h"]
    assert f"{compiled.name.upper()}_INPUT_SCALE " not in header


def test_compressed_weights_stay_what_they_are() -> None:
    """Ternary weights that pass over a large feature: a 16-bit layer in front takes the factors."""
    b = Builder("ternary")
    x = b.add_input("x", (4,))
    signs = np.sign(np.random.default_rng(3).normal(size=(4, 8))).astype(np.float32)
    signs[0] = 0
    graph = b.finish(b.emit("dense", "first", [x], None, {}, {"kernel": signs}))
    data = rows() / np.float32(SIZES) * np.array([1000, 1, 1.5, 2], np.float32)
    with pytest.warns(RangeWarning, match="a scale of its own"):
        compiled = sc.convert(graph, data)
    first = compiled.qgraph.op("first")
    assert isinstance(first, QDense)
    assert set(np.unique(first.weight)) <= {-1, 0, 1}
    assert compiled.qgraph.tensors[first.inputs[0]].wide
    assert db(compiled.predict(data), execute.run(graph, data)) > 28
    with pytest.warns(RangeWarning, match="scale them alike"):
        narrow = sc.convert(graph, data, activations="int8")
    assert not narrow.qgraph.factors


def test_features_of_one_size_keep_one_scale() -> None:
    graph, x = network("dense"), rows()
    kernel = graph.node("first").params["kernel"] * SIZES[:, None].astype(np.float32)
    graph.node("first").params["kernel"] = kernel
    compiled = sc.convert(graph, x / np.float32(SIZES))
    assert not compiled.qgraph.factors
    assert (
        f"{compiled.name.upper()}_INPUT_SCALE "
        in (compiled.plan.library.files[f"src/{compiled.name}.h"])
    )


def test_the_header_quantizes_as_the_model_does(tmp_path: Path) -> None:
    graph, x = network("dense"), rows()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RangeWarning)
        compiled = sc.convert(graph, x)
    name = compiled.name
    home = compiled.save(tmp_path / "library") / "src"
    text = (
        f'#include <stdio.h>\n#include "{name}.h"\nint main(void)\n{{\n    float x[4];\n'
        f"    int8_t q[4];\n    while (fread(x, 4, 4, stdin) == 4) {{\n"
        f"        {name}_quantize_input(x, q);\n        fwrite(q, 1, 4, stdout);\n    }}\n"
        "    return 0;\n}\n"
    )
    (tmp_path / "main.c").write_text(text)
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-I", str(home)]
    program = tmp_path / "program"
    subprocess.run(["gcc", *flags, str(tmp_path / "main.c"), "-o", str(program)], check=True)
    done = subprocess.run(
        [str(program)], input=(x * 1.2).tobytes(), capture_output=True, check=True
    )
    got = np.frombuffer(done.stdout, np.int8).reshape(-1, 4)
    want = compiled.quantize(x * np.float32(1.2))
    assert np.abs(got.astype(int) - want).max() <= 1  # float32 and float64 at a half
    assert np.mean(got == want) > 0.995


def test_what_cannot_be_folded_is_said() -> None:
    b = Builder("gated")
    x = b.add_input("x", (4,))
    y = b.emit("activation", "bent", [x], None, {"function": "tanh"})
    graph = b.finish(y)
    with pytest.warns(RangeWarning, match=r"input_dtype='int16'"):
        sc.convert(graph, np.abs(rows()) * np.array([1, 0.001, 1, 1], np.float32) + 0)
