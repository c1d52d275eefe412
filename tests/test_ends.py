"""Models of several ends, of indices, bytes and real numbers, from convert to deploy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import secateur as sc
from secateur.cli.inputs import load_inputs
from secateur.errors import DataError
from secateur.flow.errors_by_tensor import by_tensor
from secateur.frontend import execute
from secateur.frontend.build import Builder
from tests.codegen.test_operators import CASES, ends_graph, made


def rng() -> np.random.Generator:
    """The same numbers for every test, whichever ran before it."""
    return np.random.default_rng(5)


def several() -> dict[str, np.ndarray]:
    made = rng()
    image = made.normal(0, 1, (24, 4, 5, 3)).astype(np.float32)
    return {"image in": image, "ids": made.integers(0, 9, (24, 6))}


def test_a_model_of_two_inputs_and_three_outputs_is_deployed(tmp_path: Path) -> None:
    x = several()
    compiled = sc.convert(ends_graph(), x, name="ends")
    real = execute.run_outputs(compiled.graph, x)
    for got, want in zip(compiled.predict(x), real, strict=True):
        assert np.mean(np.abs(got.reshape(want.shape) - want) < 0.1) > 0.9
    assert [len(p) for p in compiled.predict(list(x.values()))] == [24, 24, 24]
    report = sc.deploy(compiled, "host", inputs=x, builder="gcc", build_dir=tmp_path)
    assert report.outputs.identical == report.outputs.total == 24
    assert [e["dtype"] for e in compiled.manifest()["inputs"]] == ["int8", "int32"]


def test_what_is_given_is_checked() -> None:
    x = several()
    with pytest.raises(DataError, match="image in"):
        sc.convert(ends_graph(), {"ids": x["ids"]})
    with pytest.raises(DataError, match="number of samples"):
        sc.convert(ends_graph(), {**x, "ids": x["ids"][:3]})


def test_pixels_in_and_real_numbers_out(tmp_path: Path) -> None:
    x = rng().integers(0, 256, (16, 5, 6, 4)).astype(np.uint8)
    graph = made("resize bilinear")
    compiled = sc.convert(graph, x, input_dtype="uint8", output_dtype="float32")
    assert np.array_equal(compiled.quantize(x), x)
    assert compiled.run(x).dtype == np.float32
    assert np.array_equal(compiled.predict(x), compiled.run(x))
    report = sc.deploy(compiled, "host", inputs=x, builder="gcc", build_dir=tmp_path)
    assert report.outputs.identical == 16
    assert "uint8_t *input, float *output" in compiled.plan.library.files["src/resize_bilinear.h"]


def test_the_codes_of_the_input_may_be_given() -> None:
    x = rng().normal(0, 40, (16, 5, 6, 4)).astype(np.float32)
    compiled = sc.convert(made("mean"), x, input_scale=0.5847029089927673, input_zero_point=83)
    t = compiled.qgraph.tensors[compiled.qgraph.input]
    assert (t.scale, t.zero_point) == (pytest.approx(0.5847029089927673, rel=1e-12), 83 + 128)
    with pytest.raises(DataError, match="go together"):
        sc.convert(made("mean"), x, input_scale=0.5)
    with pytest.raises(DataError, match="-128 to 127"):
        sc.convert(made("mean"), x, input_scale=0.5, input_zero_point=200)


def test_logits_leave_out_the_last_shares() -> None:
    x = rng().normal(0, 1, (16, 5, 6, 4)).astype(np.float32)
    b = Builder("shares")
    y = CASES["dense on images"](b, b.add_input("x", (5, 6, 4)))
    graph = b.finish(b.emit("softmax", "end", [y], None, {}))
    compiled = sc.convert(graph, x, logits=True)
    assert compiled.predict(x).shape == (16, 5, 6, 7)
    assert compiled.predict(x).min() < -1
    alone = sc.convert(made("softmax last"), x, logits=True)  # nothing is left but the codes
    assert np.abs(alone.predict(x) - x).max() < 0.1
    with pytest.raises(DataError, match="does not end in a softmax"):
        sc.convert(made("mean"), x, logits=True)


def test_files_hold_several_inputs_by_name(tmp_path: Path) -> None:
    x = several()
    np.savez(tmp_path / "in.npz", y=np.zeros(24), **x)
    got, y = load_inputs(tmp_path / "in.npz")
    assert set(got) == {"image in", "ids"}
    assert y is not None
    np.savez(tmp_path / "odd.npz", a=x["ids"], b=x["ids"][:3])
    with pytest.raises(DataError, match=r"odd\.npz.*different numbers"):
        load_inputs(tmp_path / "odd.npz")


def test_the_error_of_every_tensor_is_told(tmp_path: Path) -> None:
    x = several()
    compiled = sc.convert(ends_graph(), x)
    rows = {r.tensor: r for r in by_tensor(compiled, x)}
    assert {"image in", "conv", "gated", "pool"} <= set(rows)
    assert rows["image in"].sqnr_db > 35  # 8 bits of noise's range
    assert 15 < rows["gated"].sqnr_db < rows["conv"].sqnr_db
    assert all(r.clipped == 0 for r in rows.values())
    wide = {**x, "image in": 3 * x["image in"]}
    assert {r.tensor: r for r in by_tensor(compiled, wide)}["image in"].clipped > 0.1
    assert rows["conv"].to_dict()["op"] == "conv"
