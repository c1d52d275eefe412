"""Networks as torch's two exporters write them (tests/data/onnx/make.py), beside onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.ir import verify
from secateur.frontend.load import load
from secateur.lowering import reference
from secateur.lowering.quantize import lower

pytest.importorskip("onnx")
FOLDER = Path(__file__).resolve().parents[1] / "data" / "onnx"
FILES = sorted(FOLDER.glob("*.onnx"))
EXPECTED = np.load(FOLDER / "expected.npz")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_floats_are_onnxruntimes(path: Path) -> None:
    x, want = EXPECTED[f"{path.stem}_x"], EXPECTED[f"{path.stem}_y"]
    graph = load(path)
    verify(graph)
    got = execute.run(graph, x).reshape(want.shape)
    scale = float(np.abs(want).max())
    np.testing.assert_allclose(got / scale, want / scale, atol=1e-5)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_integers_follow(path: Path) -> None:
    graph = load(path)
    x = EXPECTED[f"{path.stem}_x"]
    rng = np.random.default_rng(0)
    x = np.concatenate([x, x[:1] + rng.normal(0, 0.2, (15, *x.shape[1:]))]).astype(np.float32)
    q = lower(graph, x)
    got = reference.dequantize_output(q, reference.run(q, reference.quantize_input(q, x)))
    want = execute.run(graph, x).reshape(got.shape)
    assert np.abs(got - want).mean() <= 0.06 * (want.max() - want.min())


def test_a_batch_of_one_sample_is_no_axis_of_the_graph() -> None:
    """Attention of torch puts heads beside the batch, so the file has a batch of one."""
    graph = load(FOLDER / "attention.onnx")
    x = np.repeat(EXPECTED["attention_x"], 3, axis=0)
    got = execute.run(graph, x)
    assert got.shape == (3, 4)
    np.testing.assert_allclose(got, np.repeat(EXPECTED["attention_y"], 3, axis=0), atol=1e-5)


def test_modules_of_torch_itself() -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    up = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Upsample(scale_factor=2, mode="bilinear"))
    for module, shape in ((layer, (3, 5, 8)), (up, (3, 2, 6, 6))):
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        graph = load(module, example=x)
        want = module.eval()(torch.tensor(x)).detach().numpy()
        got = execute.run(graph, x).reshape(want.shape)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    with pytest.raises(ModelError, match="torch cannot export the Linear"):
        load(nn.Linear(4, 3), example=np.zeros((2, 5), np.float32))
