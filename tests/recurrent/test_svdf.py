"""SVDF of TensorFlow Lite, float and int8, beside LiteRT: in windows and frame by frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.streaming import expected, framed

from secateur.errors import ModelError, RangeWarning
from secateur.flow import convert
from secateur.flow.against import run_tflite
from secateur.frontend import execute
from secateur.frontend.load import load
from secateur.lowering import passes, reference
from secateur.lowering.streaming import lower_stream
from tests.codegen import run_c

pytest.importorskip("flatbuffers")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

FLOAT, INT32, INT8, INT16 = 0, 2, 9, 7
_TYPES = {FLOAT: np.float32, INT32: np.int32, INT8: np.int8, INT16: np.int16}


@dataclass
class Writer:
    """A .tflite file of one subgraph."""

    buffers: list[Any] = field(default_factory=lambda: [schema.BufferT()])
    tensors: list[Any] = field(default_factory=list)
    ops: list[Any] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)

    def tensor(
        self, name: str, shape: tuple[int, ...], kind: int, data: np.ndarray | None = None,
        scale: float = 0.0, zero: int = 0, variable: bool = False,
    ) -> int:  # fmt: skip
        """Declare a tensor; `data` are codes."""
        t = schema.TensorT(shape=list(shape), type=kind, name=name, isVariable=variable)
        if data is not None:
            raw = np.ascontiguousarray(data, _TYPES[kind])
            t.buffer = len(self.buffers)
            self.buffers.append(schema.BufferT(data=np.frombuffer(raw.tobytes(), np.uint8)))
        if scale:
            t.quantization = schema.QuantizationParametersT(scale=[scale], zeroPoint=[zero])
        self.tensors.append(t)
        return len(self.tensors) - 1

    def op(self, kind: int, inputs: list[int], outputs: list[int], options: Any = None) -> None:
        """Append an operator, with the object of its options."""
        if kind not in self.kinds:
            self.kinds.append(kind)
        made = schema.OperatorT(opcodeIndex=self.kinds.index(kind), inputs=inputs, outputs=outputs)
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            made.builtinOptions = options
            made.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        self.ops.append(made)

    def write(self, path: Path, inputs: list[int], outputs: list[int]) -> Path:
        """The file."""
        import flatbuffers

        graph = schema.SubGraphT(
            tensors=self.tensors, inputs=inputs, outputs=outputs, operators=self.ops, name="main"
        )
        codes = [
            schema.OperatorCodeT(deprecatedBuiltinCode=k, builtinCode=k, version=3)
            for k in self.kinds
        ]
        model = schema.ModelT(
            version=3, operatorCodes=codes, subgraphs=[graph], buffers=self.buffers
        )
        b = flatbuffers.Builder(1024)
        b.Finish(model.Pack(b), b"TFL3")
        path.write_bytes(bytes(b.Output()))
        return path


INPUTS, MEMORY, OUTPUTS = 6, (5, 4), 3


def network(path: Path, rank: int, *, quantized: bool, x: np.ndarray, activation: int = 1) -> Path:
    """Two SVDFs and a fully connected layer; scales of an int8 file from what `x` gives."""
    rng = np.random.default_rng(rank)
    w, reads, size = Writer(), INPUTS, INPUTS
    scale = float(np.abs(x).max()) / 127
    top = first = w.tensor("x", (1, INPUTS), INT8 if quantized else FLOAT, None,
                           scale if quantized else 0)  # fmt: skip
    value = x.astype(np.float64)  # [N, T, C]
    for k, (units, memory) in enumerate(zip((8, 7), MEMORY, strict=True)):
        filters = units * max(rank, 1)
        feature = rng.normal(0, size**-0.5, (filters, reads))
        time = rng.normal(0, (memory * max(rank, 1)) ** -0.5, (filters, memory))
        bias = rng.normal(0, 0.2, units)
        inner = value @ feature.T
        seen = np.pad(inner, ((0, 0), (memory - 1, 0), (0, 0)))
        turns = value.shape[1]
        made = sum(seen[:, t : t + turns] * time[:, t] for t in range(memory))
        value = np.maximum(made.reshape(*made.shape[:2], units, max(rank, 1)).sum(-1) + bias, 0)
        name = f"svdf{k}"
        state_shape = (1, memory * filters)
        if quantized:
            fs, ts = float(np.abs(feature).max()) / 127, float(np.abs(time).max()) / 32767
            state, out = float(np.abs(inner).max()) / 32767, float(value.max()) / 255
            parts = [
                w.tensor(f"{name}_f", feature.shape, INT8, np.rint(feature / fs), fs),
                w.tensor(f"{name}_t", time.shape, INT16, np.rint(time / ts), ts),
                w.tensor(f"{name}_b", bias.shape, INT32, np.rint(bias / (ts * state)), ts * state),
                w.tensor(f"{name}_s", state_shape, INT16, None, state, variable=True),
            ]
            y = w.tensor(f"{name}_y", (1, units), INT8, None, out, -128)
            scale = out
        else:
            parts = [
                w.tensor(f"{name}_f", feature.shape, FLOAT, feature),
                w.tensor(f"{name}_t", time.shape, FLOAT, time),
                w.tensor(f"{name}_b", bias.shape, FLOAT, bias),
                w.tensor(f"{name}_s", state_shape, FLOAT, variable=True),
            ]
            y = w.tensor(f"{name}_y", (1, units), FLOAT)
        options = schema.SVDFOptionsT(rank=rank, fusedActivationFunction=activation)
        w.op(schema.BuiltinOperator.SVDF, [top, *parts], [y], options)
        top, reads, size = y, units, units
    kernel = rng.normal(0, reads**-0.5, (OUTPUTS, reads))
    final = value @ kernel.T
    if quantized:
        ks, out = float(np.abs(kernel).max()) / 127, float(np.abs(final).max()) / 127
        weights = w.tensor("dense_w", kernel.shape, INT8, np.rint(kernel / ks), ks)
        bias_ = w.tensor("dense_b", (OUTPUTS,), INT32, np.zeros(OUTPUTS), ks * scale)
        y = w.tensor("y", (1, OUTPUTS), INT8, None, out)
    else:
        weights = w.tensor("dense_w", kernel.shape, FLOAT, kernel)
        bias_ = w.tensor("dense_b", (OUTPUTS,), FLOAT, np.zeros(OUTPUTS))
        y = w.tensor("y", (1, OUTPUTS), FLOAT)
    w.op(schema.BuiltinOperator.FULLY_CONNECTED, [top, weights, bias_], [y],
         schema.FullyConnectedOptionsT())  # fmt: skip
    return w.write(path, [first], [y])


@pytest.fixture
def x() -> np.ndarray:
    frames = sum(MEMORY) - 1
    return np.random.default_rng(0).normal(0, 1, (24, frames, INPUTS)).astype(np.float32)


@pytest.mark.parametrize("rank", [1, 2])
def test_a_float_file_is_litert_frame_by_frame(tmp_path: Path, rank: int, x: np.ndarray) -> None:
    path = network(tmp_path / "net.tflite", rank, quantized=False, x=x)
    graph = load(path)
    assert graph.node(graph.input).shape == (1, sum(MEMORY) - 1, INPUTS)
    want, _ = run_tflite(path, x)
    np.testing.assert_allclose(execute.run(graph, x).reshape(want.shape), want, atol=3e-6)


@pytest.mark.parametrize("rank", [1, 2])
def test_an_int8_file_is_litert_to_a_few_steps(tmp_path: Path, rank: int, x: np.ndarray) -> None:
    """LiteRT keeps 16 bits of what is remembered, we 8."""
    path = network(tmp_path / "net.tflite", rank, quantized=True, x=x)
    graph = load(path)
    want, _ = run_tflite(path, x)
    step = np.diff(np.unique(want)).min()
    assert np.abs(execute.run(graph, x).reshape(want.shape) - want).mean() < step
    with pytest.warns(RangeWarning, match="streaming=True makes one that reads a frame a call"):
        model = convert(path, x)
    ours = model.predict(x).reshape(want.shape)
    assert np.abs(ours - want).mean() < 1.5 * step


@pytest.mark.parametrize("rank", [1, 2])
def test_a_step_goes_on_where_litert_does(tmp_path: Path, rank: int, x: np.ndarray) -> None:
    path = network(tmp_path / "net.tflite", rank, quantized=True, x=x)
    model = convert(path, x, streaming=True)
    q = model.qgraph
    long = np.random.default_rng(5).normal(0, 1, (1, 60, INPUTS)).astype(np.float32)
    want, _ = run_tflite(path, long)
    stepper = reference.Stepper(q, 1)
    made = [stepper.step(reference.quantize_input(q, f.reshape(1, 1, 1, -1))) for f in long[0]]
    assert all(m is not None for m in made)  # an answer from the first frame on
    codes = np.concatenate([np.asarray(m).reshape(1, -1) for m in made])
    ours = reference.dequantize_output(q, codes)
    step = np.diff(np.unique(want)).min()
    assert np.abs(ours.reshape(want.shape) - want).mean() < 1.5 * step


@pytest.mark.parametrize("core", ["", *run_c.CORES])
def test_the_same_bytes_in_c(core: str, tmp_path: Path, x: np.ndarray) -> None:
    plans, codes, want = [], [], []
    for rank in (1, 2):
        graph = load(network(tmp_path / f"net{rank}.tflite", rank, quantized=True, x=x))
        q = passes.run(passes.INTEGER, lower_stream(graph, x))
        c = np.random.default_rng(5).integers(-128, 128, (2, 1, 30, INPUTS)).astype(np.int8)
        plans.append(framed(run_c.plan(q, f"net{rank}"), q, 30))
        codes.append(c.reshape(2, -1))
        want.append(expected(q, c, 2).reshape(2, -1))
    folder = tmp_path / "c"
    folder.mkdir()
    got = run_c.on_core(core, plans, codes, folder) if core else run_c.on_host(plans, codes, folder)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_not_read_is_refused_by_name(tmp_path: Path, x: np.ndarray) -> None:
    with pytest.raises(ModelError, match=r"svdf_0.*rank 0 for 8 filters"):
        load(network(tmp_path / "net.tflite", 0, quantized=False, x=x))
    with pytest.raises(ModelError, match="activation number 9"):
        load(network(tmp_path / "net.tflite", 1, quantized=False, x=x, activation=9))
    for kind, shape, what in (
        (schema.BuiltinOperator.TRANSPOSE, (1, INPUTS), "beside SVDF, which reads frame by frame"),
        (schema.BuiltinOperator.RELU, (3, INPUTS), "3 frames at once"),
        (schema.BuiltinOperator.RELU, (1, 2, 2, INPUTS), "a tensor of shape"),
    ):
        w = Writer()
        read, made = w.tensor("x", shape, FLOAT), w.tensor("t", shape, FLOAT)
        w.op(kind, [read], [made])
        parts = [
            w.tensor("f", (4, INPUTS), FLOAT, np.ones((4, INPUTS))),
            w.tensor("t", (4, 3), FLOAT, np.ones((4, 3))), -1,
            w.tensor("s", (1, 12), FLOAT, variable=True),
        ]  # fmt: skip
        y = w.tensor("y", (1, 4), FLOAT)
        w.op(schema.BuiltinOperator.SVDF, [made, *parts], [y], schema.SVDFOptionsT(rank=1))
        with pytest.raises(ModelError, match=what):
            load(w.write(tmp_path / "net.tflite", [read], [y]))
