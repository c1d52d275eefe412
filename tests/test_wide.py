"""16-bit activations and types of the ends, through `convert`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import secateur as sc
from secateur.errors import DataError
from secateur.frontend import execute
from secateur.frontend.build import Builder
from secateur.frontend.ir import Graph


def regression(linear: bool = True) -> Graph:
    """Weights that are whole multiples of their scale, so that activations alone are rounded."""
    rng = np.random.default_rng(1)

    def kernel(*shape: int) -> dict[str, np.ndarray]:
        w = rng.integers(-127, 128, shape)
        w[0] = 127
        bias = rng.normal(0, 0.1, shape[-1])
        return {"kernel": (w / 254).astype(np.float32), "bias": bias.astype(np.float32)}

    b = Builder("regression")
    y = b.emit("dense", "hidden", [b.add_input("x", (16,))], None, {}, kernel(16, 32))
    y = b.emit("relu", "hidden_relu", [y], None, {"max_value": None})
    y = b.emit("dense", "level", [y], None, {}, kernel(32, 1))
    return b.finish(y if linear else b.emit("activation", "end", [y], None, {"function": "tanh"}))


def samples() -> np.ndarray:
    return np.random.default_rng(2).normal(0, 1, (256, 16)).astype(np.float32)


def db(compiled: Any, x: np.ndarray) -> float:
    """Signal to noise of the outputs beside the float graph."""
    want = execute.run(compiled.graph, x)
    got = compiled.predict(x).reshape(want.shape)
    return float(10 * np.log10(np.square(want).sum() / np.square(got - want).sum()))


def test_a_regression_in_16_bits_is_20_db_better_than_in_8() -> None:
    graph, x = regression(), samples()
    eight, sixteen = (db(sc.convert(graph, x, activations=a), x) for a in ("int8", "int16"))
    assert sixteen > eight + 20


@pytest.mark.parametrize(
    ("options", "ends"),
    [
        ({}, ("int8", "int8")),
        ({"activations": "int16"}, ("int16", "int16")),
        ({"activations": {"hidden": "int16"}}, ("int8", "int8")),
        ({"activations": {"level": "int16"}}, ("int8", "int16")),
        ({"activations": {"*": "int16", "x": "int8"}, "input_dtype": "int8"}, ("int8", "int16")),
        ({"activations": "int16", "input_dtype": "int8"}, ("int8", "int16")),
        ({"activations": "int16", "output_dtype": "int8"}, ("int16", "int8")),
        ({"activations": "int16", "output_dtype": "uint8"}, ("int16", "uint8")),
        ({"input_dtype": "int16"}, ("int16", "int8")),
        ({"output_dtype": "int16", "activations": "int8"}, ("int8", "int16")),
        ({"output_dtype": "int32"}, ("int8", "int32")),
        ({"output_dtype": "float32"}, ("int8", "float32")),
    ],
)  # fmt: skip
def test_types_of_the_ends(options: dict[str, Any], ends: tuple[str, str]) -> None:
    graph, x = regression(), samples()
    compiled = sc.convert(graph, x, **options)
    assert (compiled.inputs.ends[0].dtype, compiled.outputs.ends[0].dtype) == ends
    codes = compiled.quantize(x)
    assert codes.dtype == ends[0]
    assert np.array_equal(compiled.quantize(codes), codes)
    assert compiled.run(x).dtype == ends[1]
    assert db(compiled, x) > 30


def test_a_linear_head_gets_16_bits_where_the_caller_sees_them() -> None:
    rng = np.random.default_rng(4)
    graph, x = regression(), samples()
    # many inputs' rounding cancels: the output's own is what is left
    hidden = graph.node("level")
    kernel = np.sign(rng.normal(size=(32, 1))) / 8
    hidden.params["kernel"] = kernel.astype(np.float32)
    hidden.params["bias"] = np.full(1, 40, np.float32)
    compiled = sc.convert(graph, x, output_dtype="float32")
    assert compiled.qgraph.tensors[compiled.qgraph.output].wide
    assert any("'level': 16-bit outputs" in note for note in compiled.notes)
    plain = sc.convert(graph, x, output_dtype="float32", activations="int8")
    assert not plain.qgraph.tensors[plain.qgraph.output].wide
    assert db(compiled, x) > db(plain, x) + 3
    bent = sc.convert(regression(linear=False), x, output_dtype="float32")
    assert not any("16-bit" in note for note in bent.notes)


def test_int16_calibration_data_are_the_codes() -> None:
    graph = regression()
    x = (samples() * 3000).astype(np.int16)
    compiled = sc.convert(graph, x, input_dtype="int16")
    (end,) = compiled.inputs.ends
    assert (end.scale, end.zero_point) == (1.0, 0)
    assert np.array_equal(compiled.quantize(x.astype(np.float32)), x)
    given = sc.convert(graph, x, input_dtype="int16", input_scale=0.25, input_zero_point=0)
    assert given.inputs.ends[0].scale == 0.25


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"activations": "int4"}, "activations is 'int4': choose int8 or int16"),
        ({"activations": {"level": "wide"}}, "activations is 'wide'"),
        ({"input_dtype": "int16", "input_scale": 0.1, "input_zero_point": 3}, "of int16 is 0"),
        ({"activations": {"x": "int16"}, "input_dtype": "int8"}, "has 16 bits, as its layer"),
        ({"output_dtype": "int64"}, "output_dtype is 'int64'"),
    ],
)  # fmt: skip
def test_refusals(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        sc.convert(regression(), samples(), **options)


def test_a_layers_name_means_its_activation_too() -> None:
    b = Builder("both")
    rng = np.random.default_rng(0)
    kernel = {"kernel": rng.normal(size=(16, 4)).astype(np.float32)}
    y = b.emit("dense", "d", [b.add_input("x", (16,))], None, {}, kernel)
    y = b.emit("activation", "d_tanh", [y], None, {"function": "tanh"})
    graph = b.finish(b.emit("dense", "e", [y], None, {}, {"kernel": np.eye(4, dtype=np.float32)}))
    q = sc.convert(graph, samples(), activations={"d": "int16"}).qgraph
    assert {t for t, v in q.tensors.items() if v.wide} == {"d", "d_tanh"}
