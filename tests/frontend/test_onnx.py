"""ONNX: the package's own backend tests, whole networks against onnxruntime, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.errors import DataError, ModelError
from secateur.frontend import execute
from secateur.frontend.ir import Graph, verify
from secateur.frontend.load import load
from secateur.frontend.onnxmodel import from_onnx
from secateur.lowering.registry import obstacles
from secateur.lowering.simplify import simplify

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

RNG = np.random.default_rng(0)


def test_the_backend_tests_pass_and_the_page_says_so() -> None:
    from benchmarks.onnx_backend import DOCS, KINDS, cases, render, run

    results = [run(c) for kind in KINDS for c in cases(kind)]
    passed = {k: sum(r.case.kind == k and not r.reason for r in results) for k in KINDS}
    assert passed["node"] >= 350
    assert passed["pytorch-operator"] >= 30
    assert passed["pytorch-converted"] >= 67
    page = DOCS.read_text()
    if f"with onnx {onnx.__version__}." in page:
        assert page == render(results), "run: python -m benchmarks.onnx_backend --write"


def test_a_sample_of_the_backend_tests_in_c() -> None:
    """Half of them: python -m benchmarks.onnx_backend --c."""
    import json

    from benchmarks.onnx_backend import C_ERROR, C_RESULTS, cases, in_c, run

    known = {r["case"]: r for r in json.loads(C_RESULTS.read_text(encoding="utf-8"))}
    sample = [c for c in cases() if c.name.removeprefix("test_") in known]
    rows = in_c([run(c) for c in sample[::16]])
    assert len(rows) >= 20
    assert all(r["identical"] for r in rows if "error" in r)
    for r in rows:
        if known[r["case"]].get("error", 1) < C_ERROR:
            assert r["error"] <= C_ERROR, r


class Net:
    """A small NCHW model, written node by node."""

    def __init__(self, shape: tuple[int | str, ...], opset: int = 17) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
        self.opset, self.count = opset, 0

    def const(self, value: Any) -> str:
        self.count += 1
        name = f"c{self.count}"
        self.constants[name] = np.asarray(value)
        return name

    def add(self, op: str, *inputs: str, outputs: int = 1, **attrs: Any) -> Any:
        self.count += 1
        names = [f"{op.lower()}{self.count}_{i}" for i in range(outputs)]
        self.nodes.append(
            helper.make_node(op, list(inputs), names, name=f"/{op}_{self.count}", **attrs)
        )
        return names[0] if outputs == 1 else names

    def conv(self, x: str, ci: int, co: int, k: int = 3, groups: int = 1, **attrs: Any) -> str:
        w = RNG.normal(size=(co, ci // groups, k, k)) / np.sqrt(ci // groups * k * k)
        attrs = {"pads": [k // 2] * 4, "group": groups, **attrs}
        bias = RNG.normal(size=co).astype("f4")
        y = self.add("Conv", x, self.const(w.astype("f4")), self.const(bias), **attrs)
        norm = [self.const(RNG.uniform(0.5, 1.5, co).astype("f4")) for _ in range(4)]
        return str(self.add("BatchNormalization", y, *norm))

    def model(self, *outputs: str) -> Any:
        graph = helper.make_graph(
            self.nodes, "net", self.inputs,
            [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs],
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()],
        )  # fmt: skip
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        made.ir_version = 8
        return made


def agree(model: Any, x: Any, tolerance: float = 1e-5, **options: Any) -> Graph:
    """Our outputs are onnxruntime's, to `tolerance` of their scale."""
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feed = x if isinstance(x, dict) else {session.get_inputs()[0].name: x}
    want = session.run(None, feed)
    graph = from_onnx(model, "net", **options)
    verify(graph)
    for a, b in zip(execute.run_outputs(graph, feed), want, strict=True):
        scale = max(float(np.abs(b).max()), 1e-3)
        np.testing.assert_allclose(a.reshape(b.shape) / scale, b / scale, atol=tolerance)
    return graph


def mobile(size: int = 32) -> Any:
    """MobileNetV2's blocks as PyTorch exports them."""
    n = Net(("N", 3, size, size))
    y = n.add("Clip", n.conv("x", 3, 8, strides=[2, 2]), n.const(np.float32(0)),
              n.const(np.float32(6)))  # fmt: skip
    for ci, co, stride in ((8, 8, 1), (8, 12, 2), (12, 12, 1)):
        wide = n.add("Relu", n.conv(y, ci, 4 * ci, 1))
        wide = n.add("Relu", n.conv(wide, 4 * ci, 4 * ci, groups=4 * ci, strides=[stride] * 2))
        z = n.conv(wide, 4 * ci, co, 1)
        y = n.add("Add", z, y) if stride == 1 and ci == co else z
    y = n.add("GlobalAveragePool", y)
    y = n.add("Flatten", y, axis=1)
    w = RNG.normal(size=(5, 12)).astype("f4")
    y = n.add("Gemm", y, n.const(w), n.const(RNG.normal(size=5).astype("f4")), transB=1)
    return n.model(y)


def test_a_network_of_pytorchs_habits() -> None:
    x = RNG.normal(size=(3, 3, 32, 32)).astype("f4")
    graph = agree(mobile(), x)
    ops = [n.op for n in graph]
    assert ops.count("transpose") == 1  # the input's
    assert graph.node(graph.input).shape == (3, 32, 32)
    assert "reduce" not in ops
    assert "avg_pool" in ops


def test_branches_views_and_attention() -> None:
    n = Net((2, 4, 8, 8))
    a = n.add("HardSwish", n.conv("x", 4, 8))
    gate = n.add("ReduceMean", a, axes=[2, 3], keepdims=1)
    w = RNG.normal(size=(8, 8, 1, 1)).astype("f4")
    gate = n.add("HardSigmoid", n.add("Conv", gate, n.const(w)))
    a = n.add("Mul", a, gate)
    up = n.add("Resize", n.add("MaxPool", a, kernel_shape=[2, 2], strides=[2, 2]), "",
               n.const(np.array([1, 1, 2, 2], "f4")), mode="linear")  # fmt: skip
    up = n.add("ConvTranspose", n.add("AveragePool", up, kernel_shape=[2, 2], strides=[2, 2]),
               n.const(RNG.normal(size=(8, 8, 2, 2)).astype("f4")), strides=[2, 2])  # fmt: skip
    y = n.add("Concat", a, up, axis=1)
    first, second = n.add("Split", y, outputs=2, axis=1)
    y = n.add("Sub", first, n.add("LeakyRelu", second, alpha=0.2))
    tokens = n.add("Reshape", y, n.const(np.array([0, 8, -1])))
    tokens = n.add("Transpose", tokens, perm=[0, 2, 1])
    tokens = n.add("LayerNormalization", tokens, n.const(np.ones(8, "f4")))
    q = n.add("MatMul", tokens, n.const(RNG.normal(size=(8, 8)).astype("f4")))
    scores = n.add("MatMul", q, n.add("Transpose", tokens, perm=[0, 2, 1]))
    shares = n.add("Softmax", n.add("Div", scores, n.const(np.float32(2.8))), axis=-1)
    tokens = n.add("MatMul", shares, tokens)
    best = n.add("ReduceMax", tokens, axes=[1], keepdims=0)
    model = n.model(tokens, best, y)
    agree(model, RNG.normal(size=(2, 4, 8, 8)).astype("f4"))


def test_what_pytorch_writes_out_is_found() -> None:
    """Layer normalization before opset 17, SiLU, and functional.normalize."""
    n = Net(("N", 6, 8), opset=14)
    y = n.add("MatMul", "x", n.const(RNG.normal(size=(8, 8)).astype("f4")))
    centred = n.add("Sub", y, n.add("ReduceMean", y, axes=[-1]))
    square = n.add("Pow", centred, n.const(np.float32(2)))
    spread = n.add("Add", n.add("ReduceMean", square, axes=[-1]), n.const(np.float32(1e-5)))
    y = n.add("Div", centred, n.add("Sqrt", spread))
    y = n.add("Mul", y, n.const(RNG.normal(1, 0.5, 8).astype("f4")))
    y = n.add("Add", y, n.const(RNG.normal(size=8).astype("f4")))
    y = n.add("Mul", y, n.add("Sigmoid", y))
    y = n.add("MatMul", y, n.const(RNG.normal(size=(8, 4)).astype("f4")))
    length = n.add("Clip", n.add("ReduceL2", y, axes=[-1], keepdims=1), n.const(np.float32(1e-12)))
    y = n.add("Div", y, n.add("Expand", length, n.add("Shape", y)))
    x = RNG.normal(size=(3, 6, 8)).astype("f4")
    graph = agree(n.model(y), x)
    found = simplify(graph)
    ops = [m.attrs.get("function", m.op) for m in found.nodes if m.op not in ("conv2d", "input")]
    assert ops == ["layer_norm", "silu", "l2_norm"]
    want = execute.run(graph, x)
    np.testing.assert_allclose(execute.run(found, x), want, atol=1e-5)


def test_a_normalization_of_channels_as_pytorchs_convnext_has_it() -> None:
    """Over axis 1 of images: what layouts make of its pieces is in the way of none of them."""
    n = Net(("N", 3, 8, 8), opset=13)
    y = n.conv("x", 3, 6)
    centred = n.add("Sub", y, n.add("ReduceMean", y, axes=[1]))
    square = n.add("Pow", centred, n.const(np.float32(2)))
    spread = n.add("Add", n.add("ReduceMean", square, axes=[1]), n.const(np.float32(1e-6)))
    y = n.add("Div", centred, n.add("Sqrt", spread))
    y = n.add("Mul", n.const(RNG.normal(1, 0.5, (6, 1, 1)).astype("f4")), y)
    y = n.conv(n.add("Add", y, n.const(RNG.normal(size=(6, 1, 1)).astype("f4"))), 6, 4, 1)
    x = RNG.normal(size=(3, 3, 8, 8)).astype("f4")
    graph = agree(n.model(y), x)
    found = simplify(graph)
    assert [m.op for m in found.nodes if m.op not in ("conv2d", "input", "transpose")] == [
        "layer_norm"
    ]
    np.testing.assert_allclose(execute.run(found, x), execute.run(graph, x), rtol=1e-4, atol=1e-5)


def quantized(model: Any, x: np.ndarray, folder: Path, form: str) -> Any:
    """The model quantized by onnxruntime's own tool."""
    quantization = pytest.importorskip("onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.rest = [{"x": x[i : i + 1]} for i in range(len(x))]

        def get_next(self) -> Any:
            return self.rest.pop() if self.rest else None

    onnx.save(model, str(folder / "float.onnx"))
    quantization.quantize_static(
        str(folder / "float.onnx"), str(folder / "int8.onnx"), Reader(),
        quant_format=getattr(quantization.QuantFormat, form), per_channel=form == "QDQ",
    )  # fmt: skip
    return onnx.load(str(folder / "int8.onnx"))


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_quantized_models_read_as_the_numbers_they_stand_for(tmp_path: Path, form: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    x = RNG.normal(size=(4, 3, 16, 16)).astype("f4")
    model = quantized(mobile(16), x, tmp_path, form)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    want = np.concatenate([session.run(None, {"x": x[i : i + 1]})[0] for i in range(4)])
    graph = from_onnx(model)
    verify(graph)
    assert any(n.op == "fake_quant" for n in graph)
    step = max(float(n.attrs["scale"]) for n in graph if n.op == "fake_quant")
    # One code of rounding in a layer may move the last one by a code or two.
    np.testing.assert_allclose(execute.run(graph, x), want, atol=3 * step)


def test_files_names_and_shapes(tmp_path: Path) -> None:
    path = tmp_path / "my net.onnx"
    onnx.save(mobile(), str(path))
    graph = load(path)
    assert graph.name == "my net"
    assert graph.inputs == ("x",)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelError, match=r"my net\.onnx is not an intact ONNX model"):
        load(path)
    path.write_bytes(b"")
    with pytest.raises(ModelError, match=r"my net\.onnx.*no nodes|not an intact"):
        load(path)
    onnx.save(mobile(), str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    assert [n.op for n in load(path)] == [n.op for n in graph]
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelError, match=r"my net\.onnx"):
        load(path)


def test_refusals_name_the_node_and_a_way_out() -> None:
    def refused(pattern: str, build: Any, **options: Any) -> None:
        n = Net((1, 4, 6, 6), 19)
        with pytest.raises(ModelError, match=pattern) as e:
            from_onnx(n.model(build(n)), **options)
        assert "\n" not in str(e.value)

    refused(r"'/GridSample_\d+'.*GridSample.*supported operators.*Conv", lambda n: n.add(
        "GridSample", "x", n.const(np.zeros((1, 2, 2, 2), "f4"))))  # fmt: skip
    refused(r"'/MaxPool_\d+'.*indices of the maxima", lambda n: n.add("Cast", n.add(
        "MaxPool", "x", outputs=2, kernel_shape=[2, 2])[1], to=TensorProto.FLOAT))  # fmt: skip
    refused(r"mixes samples.*batch=False", lambda n: n.add(
        "Reshape", "x", n.const(np.array([4, 36]))), batch=True)  # fmt: skip
    refused(r"'cubic'", lambda n: n.add(
        "Resize", "x", "", n.const(np.array([1, 1, 2, 2], "f4")), mode="cubic"))  # fmt: skip
    refused(r"evaluation mode", lambda n: n.add(
        "Dropout", "x", "", n.const(np.array(True))))  # fmt: skip
    refused(r"needs 'relu.*' at conversion", lambda n: n.add(
        "Conv", "x", n.add("Relu", "x")))  # fmt: skip
    bad = Net((1, 4, 6, 6))
    w = np.full((2, 4, 1, 1), np.nan, "f4")
    with pytest.raises(ModelError, match="NaN"):
        from_onnx(bad.model(bad.add("Conv", "x", bad.const(w))))


def test_everything_in_the_way_is_listed() -> None:
    n = Net((1, 4, 6, 6), 19)
    y = n.add("GridSample", n.conv("x", 4, 4), n.const(np.zeros((1, 6, 6, 2), "f4")))
    y = n.add("Hardmax", n.add("Relu", y))
    graph = from_onnx(n.model(y), tolerant=True)
    verify(graph)
    text = [o.sentence for o in obstacles(simplify(graph))]
    assert len([t for t in text if "GridSample" in t or "Hardmax" in t]) == 2


def test_check_model_lists_everything_with_shares(tmp_path: Path) -> None:
    import json

    from click.testing import CliRunner

    from secateur.cli import main

    n = Net((1, 4, 6, 6), 19)
    y = n.add("GridSample", n.conv("x", 4, 4), n.const(np.zeros((1, 6, 6, 2), "f4")))
    onnx.save(n.model(n.add("Hardmax", n.conv(y, 4, 4))), str(tmp_path / "odd.onnx"))
    done = CliRunner().invoke(main, ["check-model", str(tmp_path / "odd.onnx"), "--json"])
    assert done.exit_code == 1, done.output
    data = json.loads(done.stdout)
    assert [h["layer"].split("_")[0] for h in data["hindrances"]] == ["/GridSample", "/Hardmax"]
    assert data["macs"] == data["converting_macs"] == 2 * 36 * 9 * 16
    onnx.save(mobile(), str(tmp_path / "good.onnx"))
    done = CliRunner().invoke(main, ["check-model", str(tmp_path / "good.onnx")])
    assert done.exit_code == 0, done.output
    assert "100.0 % of the MACs and 100.0 % of the weights" in done.stdout
    done = CliRunner().invoke(main, ["check-model", str(tmp_path / "none.onnx")])
    assert done.exit_code == 2


def test_a_model_without_a_batch_takes_whole_arrays() -> None:
    n = Net((4,))
    w = RNG.normal(size=(4, 3)).astype("f4")
    model = n.model(n.add("Tanh", n.add("MatMul", "x", n.const(w))))
    graph = from_onnx(model)
    x = RNG.normal(size=(5, 4)).astype("f4")
    np.testing.assert_allclose(execute.run(graph, x), np.tanh(x @ w), rtol=1e-5, atol=1e-6)
    with pytest.raises(DataError, match="shape"):
        execute.run(graph, x[:, :3])
    n = Net((2, 3))
    both = n.model(n.add("ReduceMean", n.add("Transpose", "x", perm=[1, 0]), axes=[0]))
    graph = from_onnx(both)
    x = RNG.normal(size=(5, 2, 3)).astype("f4")
    np.testing.assert_allclose(execute.run(graph, x).reshape(5, 2), x.mean(2), rtol=1e-5)


def test_a_module_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, groups=8), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(8, 4),
    )  # fmt: skip
    x = RNG.normal(size=(4, 3, 12, 12)).astype("f4")
    graph = load(module, example=x)
    assert module.training
    want = module.eval()(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(execute.run(graph, x), want, rtol=1e-4, atol=1e-5)
    with pytest.raises(ModelError, match="example"):
        load(module)
