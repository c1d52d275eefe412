"""Integers beside LiteRT's int8, and floats beside Keras and LiteRT, on networks people deploy.

    python -m benchmarks.integer_accuracy                  all networks
    python -m benchmarks.integer_accuracy unet tcn         some; the others' results stay
    python -m benchmarks.integer_accuracy --error unet     where a network loses

Every network of benchmarks/zoo.py, and MobileNetV2 as torchvision exports it, is converted twice
with the same calibration data: by `secateur` and by the TensorFlow Lite converter (int8,
per-channel weights). `ratio` is the mean absolute error of this package's dequantized outputs over
that of LiteRT's, both against Keras' floats, on other inputs; of several outputs the worst.
`keras`, `tflite` and `onnx` are the largest differences of the float executor from Keras, from
LiteRT's float32 (read from the .tflite file) and from onnxruntime (read from the .onnx file that
Keras exports, see `depthwise` and `repair`), relative to the output's largest value. `exact` are
those of the executor, Keras, LiteRT and onnxruntime from the same Keras model in float64.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from secateur.frontend import execute
from secateur.frontend.ir import Graph
from secateur.frontend.load import load
from secateur.lowering import reference
from secateur.lowering.quantize import lower

RESULTS = Path(__file__).resolve().parent / "results" / "integer_accuracy.json"
TORCH = Path(__file__).resolve().parents[1] / "tests" / "data" / "onnx" / "mobilenet_v2.onnx"
CALIBRATION, TEST = 160, 100
LIMIT = 1.1

Arrays = list[np.ndarray]
#: Of docs/integer-accuracy.md.
HEAD = (
    "| network | error | LiteRT's | ratio | spread | Keras | LiteRT | ONNX | float64: ours | Keras "
    "| LiteRT | ONNX |",
    "|---|" + "---:|" * 11,
)


def networks() -> list[str]:
    """All names, torch's last."""
    from benchmarks import zoo

    return [*zoo.NETWORKS, "MobileNetV2 from torch"]


def network(name: str) -> tuple[Any, Any, Arrays, Arrays]:
    """What this package reads, the Keras model, calibration data and test data of a network."""
    from benchmarks import zoo

    if name in zoo.NETWORKS:
        model = source = zoo.made(name)
    else:
        source = load(TORCH)
        model = twin(source)
    x, test = (zoo.samples(name, model, n, seed) for n, seed in ((CALIBRATION, 2), (TEST, 3)))
    return source, model, x, test


def outputs(value: Any) -> Arrays:
    """A model's outputs as a list of arrays."""
    many = value if isinstance(value, list | tuple) else [value]
    return [np.asarray(v, np.float64).reshape(len(v), -1) for v in many]


def lite(model: Any, calibration: Arrays | None = None, plain: bytes = b"") -> bytes:
    """The TensorFlow Lite converter's int8 model, float32 without calibration.

    plain: the float32 model, whose order of inputs calibration data have to have.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if calibration is not None:
        ordered = _by_shape(calibration, [d["shape"] for d in _interpreter(plain)[1]])

        def rows() -> Iterator[Arrays]:
            for i in range(len(ordered[0])):
                yield [a[i : i + 1] for a in ordered]

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = rows
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    with open(os.devnull, "w") as sink, contextlib.redirect_stdout(sink):
        return bytes(converter.convert())


def run_lite(content: bytes, x: Arrays, want: Arrays) -> Arrays:
    """LiteRT's outputs, in the order of `want` (matched: converters name outputs as they like)."""
    interpreter, ins = _interpreter(content)
    found: list[Arrays] = [[] for _ in interpreter.get_output_details()]
    for i in range(len(x[0])):
        for a, d in zip(_by_shape(x, [d["shape"] for d in ins]), ins, strict=True):
            interpreter.set_tensor(d["index"], a[i : i + 1])
        interpreter.invoke()
        for rows, d in zip(found, interpreter.get_output_details(), strict=True):
            rows.append(interpreter.get_tensor(d["index"]).reshape(-1))
    got = [np.stack(rows).astype(np.float64) for rows in found]
    ordered = []
    for w in want:
        alike = [g for g in got if g.shape == w.shape]
        ordered.append(min(alike, key=lambda g, w=w: float(np.abs(g - w).mean())))  # type: ignore[misc]
    return ordered


def _interpreter(content: bytes) -> tuple[Any, list[Any]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    return interpreter, interpreter.get_input_details()


def _by_shape(x: Arrays, shapes: list[Any]) -> Arrays:
    """Inputs in a file's order: that of shapes, and of the model among equal ones."""
    left = list(x)
    found = []
    for shape in shapes:
        size = int(np.prod(shape[1:]))
        found.append(left.pop(next(i for i, a in enumerate(left) if a[0].size == size)))
    return [a.reshape(len(a), *(int(n) for n in s[1:])) for a, s in zip(found, shapes, strict=True)]


def integers(source: Any, calibration: Arrays, x: Arrays) -> Arrays:
    """This package's integer reference, dequantized."""
    graph = load(source)
    q = lower(graph, dict(zip(graph.inputs, calibration, strict=True)))
    given = reference.quantize_input(q, dict(zip(graph.inputs, x, strict=True)))
    return outputs(reference.dequantize_output(q, reference.run(q, given)))


def twin(graph: Graph) -> Any:
    """A Keras model of a graph of convolutions, for the TensorFlow Lite converter."""
    import keras
    import tensorflow as tf

    class Node(keras.layers.Layer):
        """One operator of the graph."""

        def __init__(self, node: Any) -> None:
            super().__init__()
            self.node = node

        def call(self, inputs: Any) -> Any:
            n = self.node
            x = inputs[0] if isinstance(inputs, list | tuple) else inputs
            a, p = n.attrs, n.params
            if n.op in ("conv2d", "depthwise_conv2d"):
                t, left, b, r = a["pads"]
                x = tf.pad(x, [[0, 0], [t, b], [left, r], [0, 0]]) if any(a["pads"]) else x
                s = (1, *a["strides"], 1)
                work = tf.nn.conv2d if n.op == "conv2d" else tf.nn.depthwise_conv2d
                y = work(x, p["kernel"], s, "VALID")
                return y + p["bias"] if "bias" in p else y
            if n.op == "dense":
                return tf.matmul(x, p["kernel"]) + p.get("bias", np.float32(0))
            if n.op == "batch_norm":
                return x * p["scale"] + p["shift"]
            if n.op == "relu":
                top = a.get("max_value")
                return tf.nn.relu(x) if top is None else tf.clip_by_value(x, 0.0, top)
            if n.op == "add":
                return inputs[0] + inputs[1]
            if n.op == "avg_pool":
                return tf.reduce_mean(x, axis=[1, 2], keepdims=True)
            if n.op == "transpose":
                return tf.transpose(x, [0, *(i + 1 for i in a["perm"])])
            if n.op in ("reshape", "flatten"):
                return tf.reshape(x, [-1, *n.shape])
            raise ValueError(f"{n.op} has no twin")

    tensors: dict[str, Any] = {}
    for n in graph:
        if n.op == "input":
            tensors[n.output] = keras.Input(n.shape, name=n.output)
            continue
        given = [tensors[t] for t in n.inputs]
        tensors[n.output] = Node(n)(given if len(given) > 1 else given[0])
    return keras.Model([tensors[t] for t in graph.inputs], [tensors[t] for t in graph.outputs])


def floats(source: Any, model: Any, content: bytes, x: Arrays, want: Arrays) -> dict[str, Any]:
    """The columns of a row that are about floats: see the head of this file."""
    few = [a[:8] for a in x]
    graph = load(source)
    got = outputs(execute.run_outputs(graph, dict(zip(graph.inputs, few, strict=True))))
    want = [w[:8] for w in want]
    row: dict[str, Any] = {"keras": _worst(got, want)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.tflite"
        path.write_bytes(content)
        read = _executed(load(path), few)
        lite = run_lite(content, few, read)
        row["tflite"] = _worst(read, lite)
        own, runtime = onnx(source, model, Path(folder) / "float.onnx", few)
        row["onnx"] = _worst(own, runtime)
    if isinstance(source, Graph):  # a twin of layers of its own has no form in float64
        return row
    exact = outputs(double(model).predict(_fed([a.astype(np.float64) for a in few]), verbose=0))
    found = {"executor": got, "keras": want, "litert": lite, "onnx": runtime}
    row["exact"] = {n: _worst(_like(v, exact), exact) for n, v in found.items()}
    return row


def _executed(graph: Graph, x: Arrays) -> Arrays:
    """The float executor's outputs of a file, whose inputs are in an order of their own."""
    shapes = [graph.node(t).shape for t in graph.inputs]
    feed = dict(zip(graph.inputs, _by_shape(x, [(0, *s) for s in shapes]), strict=True))
    return outputs(execute.run_outputs(graph, feed))


def onnx(source: Any, model: Any, path: Path, x: Arrays) -> tuple[Arrays, Arrays]:
    """The executor's and onnxruntime's outputs of the .onnx file that Keras exports to `path`, or
    that torch has."""
    import onnxruntime

    if isinstance(source, Graph):
        path, ends = TORCH, [source.node(t).attrs for t in source.inputs]
        shapes = [e.get("nominal", a.shape[1:]) for e, a in zip(ends, x, strict=True)]
        x = [a.reshape(len(a), *s) for a, s in zip(x, shapes, strict=True)]
    else:
        with open(os.devnull, "w") as sink, contextlib.redirect_stdout(sink):
            depthwise(model).export(str(path), format="onnx", verbose=False)
        repair(path, model)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    graph = load(path)
    shapes = [[0, *graph.node(t).attrs.get("nominal", graph.node(t).shape)] for t in graph.inputs]
    fed = _by_shape(x, shapes)
    names = [i.name for i in session.get_inputs()]
    batch = session.get_inputs()[0].shape[0]
    step = batch if isinstance(batch, int) else len(x[0])
    parts = [
        session.run(None, {n: a[i : i + step] for n, a in zip(names, fed, strict=True)})
        for i in range(0, len(x[0]), step)
    ]
    theirs = [np.concatenate(p) for p in zip(*parts, strict=True)]
    ours = execute.run_outputs(graph, dict(zip(graph.inputs, fed, strict=True)))
    return outputs(ours), outputs(theirs)


def depthwise(model: Any) -> Any:
    """The model with depthwise layers where convolutions have a group for each channel: those Keras
    exports as calls of compiled TensorFlow."""
    import keras

    def single(layer: Any) -> bool:
        return isinstance(layer, keras.layers.Conv2D) and 1 < layer.groups == layer.filters

    def other(layer: Any) -> Any:
        if not single(layer):
            return type(layer).from_config(layer.get_config())
        keys = ("name", "kernel_size", "strides", "padding", "use_bias")
        return keras.layers.DepthwiseConv2D(**{k: layer.get_config()[k] for k in keys})

    if not any(map(single, model.layers)):
        return model
    made = keras.models.clone_model(model, clone_function=other)
    for old, new in zip(model.layers, made.layers, strict=True):
        weights = old.get_weights()
        if single(old):
            weights[0] = weights[0].transpose(0, 1, 3, 2)
        new.set_weights(weights)
    made(np.zeros((1, *made.input_shape[1:]), np.float32))  # what is exported has been called
    return made


def repair(path: Path, model: Any) -> None:
    """Make valid ONNX of what Keras exports, for both readers alike: an exact GELU's `Erfc`, which
    ONNX has not, becomes 1 - Erf, and mean and variance of a normalization, which are inputs in the
    file, initializers."""
    import keras
    import onnx as package

    proto = package.load(path)
    graph = proto.graph
    one = package.numpy_helper.from_array(np.float32(1), "one_of_erfc")
    nodes = []
    for node in graph.node:
        if node.op_type == "Erfc":
            erf = f"{node.output[0]}_erf"
            nodes.append(package.helper.make_node("Erf", node.input, [erf]))
            nodes.append(package.helper.make_node("Sub", [one.name, erf], node.output))
        else:
            nodes.append(node)
    if len(nodes) > len(graph.node):
        graph.initializer.append(one)
    del graph.node[:]
    graph.node.extend(nodes)
    for given in list(graph.input)[len(model.inputs) :]:
        (layer,) = (x for x in model.layers if isinstance(x, keras.layers.Normalization))
        value = layer.mean if given.name.endswith("Sub/y:0") else layer.variance
        array = np.asarray(value, np.float32)
        graph.initializer.append(package.numpy_helper.from_array(array, given.name))
        graph.input.remove(given)
    package.save(proto, path)


def double(model: Any) -> Any:
    """The same Keras model in float64."""

    def widen(config: Any) -> None:
        if isinstance(config, dict):
            if config.get("class_name") == "DTypePolicy":
                config["config"]["name"] = "float64"
                return
            for key, value in config.items():
                if key == "dtype" and value == "float32":
                    config[key] = "float64"
                else:
                    widen(value)
        elif isinstance(config, list | tuple):
            for value in config:
                widen(value)

    config = model.get_config()
    widen(config)
    wide = type(model).from_config(config)
    wide.set_weights([w.astype(np.float64) for w in model.get_weights()])
    return wide


def _fed(x: Arrays) -> Any:
    return x if len(x) > 1 else x[0]


def _like(got: Arrays, want: Arrays) -> Arrays:
    """`got` in the order of `want`: converters order outputs as they like."""
    found = []
    for w in want:
        alike = [g for g in got if g.shape == w.shape]
        found.append(min(alike, key=lambda g, w=w: float(np.abs(g - w).mean())))  # type: ignore[misc]
    return found


def _worst(got: Arrays, want: Arrays) -> float:
    return max(_relative(g, w) for g, w in zip(got, want, strict=True))


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-3))


def measure(name: str, with_floats: bool = True) -> dict[str, Any]:
    """One row of the results."""
    source, model, x, test = network(name)
    want = outputs(model.predict(test if len(test) > 1 else test[0], verbose=0, batch_size=50))
    started = time.process_time()
    ours = integers(source, x, test)
    seconds = time.process_time() - started
    plain = lite(model)
    theirs = run_lite(lite(model, x, plain), test, want)
    errors = [
        (float(np.abs(a - w).mean()), float(np.abs(b - w).mean()), float(w.std()))
        for a, b, w in zip(ours, theirs, want, strict=True)
    ]
    own, peer, spread = max(errors, key=lambda e: e[0] / max(e[1], 1e-12))
    row: dict[str, Any] = {
        "network": name, "parameters": int(model.count_params()), "error": own, "litert": peer,
        "ratio": own / max(peer, 1e-12), "spread": spread,
    }  # fmt: skip
    if with_floats:
        row |= floats(source, model, plain, test, want)
    print(f"{table_row(row)} {seconds:.0f} s", flush=True)
    return row


def table_row(r: dict[str, Any]) -> str:
    """A row of docs/integer-accuracy.md."""
    cells = [r["network"], f"{r['error']:.5f}", f"{r['litert']:.5f}", f"{r['ratio']:.2f}",
             f"{r['spread']:.4f}"]  # fmt: skip
    if "keras" in r:
        exact = r.get("exact", {})
        measured = [r.get(k) for k in ("keras", "tflite", "onnx")]
        measured += [exact.get(k) for k in ("executor", "keras", "litert", "onnx")]
        cells += ["" if v is None else f"{v:.1e}" for v in measured]
    return f"| {' | '.join(cells)} |"


def where(name: str) -> None:
    """Signal-to-noise ratio tensor by tensor."""
    from secateur.flow import convert
    from secateur.flow.errors_by_tensor import by_tensor

    source, _, x, test = network(name)
    compiled = convert(source, x if len(x) > 1 else x[0], name="net")
    for r in by_tensor(compiled, test if len(test) > 1 else test[0]):
        print(f"{r.tensor[:60]:60} {r.op:12} {r.sqnr_db:6.1f} dB {r.step:.4g} {r.used:4.0%} "
              f"{r.clipped:.2%}")  # fmt: skip


def main() -> None:
    """Measure, print, and write the results where all networks were measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NETWORK")
    parser.add_argument("--error", metavar="NETWORK", help="one network, tensor by tensor")
    parser.add_argument("--no-float", action="store_true", help="leave the floats out")
    args = parser.parse_args()
    if args.error:
        where(args.error)
        return
    rows = {r["network"]: r for r in json.loads(RESULTS.read_text())} if RESULTS.exists() else {}
    wanted = args.names or networks()
    for name in wanted:
        rows[name] = measure(name, not args.no_float)
        if not args.no_float:
            kept = [rows[n] for n in networks() if n in rows]
            RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    worst = max((rows[n] for n in wanted), key=lambda r: float(r["ratio"]))
    print(f"worst: {worst['network']}, {worst['ratio']:.2f} (limit {LIMIT})")


if __name__ == "__main__":
    main()
