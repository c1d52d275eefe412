"""ONNX Loop where it is a recurrent layer: what Keras' export writes of a GRU and a SimpleRNN.

The matrices and biases of the cell are found in the loop's body by the products they are in. What
the body does with them is not read but tried: turn by turn, by the onnx package's own evaluator,
on random frames of as many turns as the loop has, beside the recurrent layer that it may be. A loop
is read only where every state agrees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.build import Operand
from secateur.frontend.ir import Node
from secateur.frontend.ops.recurrent import GATES, Named, trace

from .reader import BatchError, Call, OnnxReader, reads

#: Turns that are tried, at most: a loop may have no more.
_TURNS = 4096
#: A random state may be so far from the layer's.
_TOLERANCE = 2e-5

#: What a cell is made of: no operator whose result is larger than what it reads.
_OPERATORS = frozenset(
    {"Add", "And", "Cast", "Constant", "Gather", "Gemm", "HardSigmoid", "Identity", "Less",
     "LessOrEqual", "MatMul", "Mul", "Not", "Relu", "Reshape", "Sigmoid", "Slice", "Split",
     "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze"}
)  # fmt: skip

_WAY_OUT = (
    "export it with ONNX' LSTM, GRU or RNN operator, or convert the .keras file in place of the "
    "ONNX model"
)
_GATES = {"Sigmoid": "sigmoid", "HardSigmoid": "hard_sigmoid"}
_FUNCTIONS = {"Tanh": "tanh", "Relu": "relu", "Sigmoid": "sigmoid"}


@dataclass
class _Body:
    """The graph within a loop and what is known of it."""

    graph: Any
    known: dict[str, np.ndarray]  #: every tensor that does not change from turn to turn
    sequence: str  #: the one tensor of the graph around it that the body reads and an input changes
    state: int  #: which of the values carried from turn to turn is the state
    carried: list[Operand]  #: those values before the first turn

    @cached_property
    def moving(self) -> set[str]:
        """Every tensor that depends on the sequence or the state."""
        found = {self.sequence, self.graph.input[2 + self.state].name}
        for node in self.graph.node:
            if found & set(node.input):
                found |= set(node.output)
        return found

    def source(self, tensor: str) -> str:
        """What a tensor is a copy of, Identity nodes passed."""
        nodes = [node for node in self.graph.node if node.op_type == "Identity"]
        copies = {t: node.input[0] for node in nodes for t in node.output}
        while tensor in copies:
            tensor = copies.pop(tensor)  # a damaged file's copies may run in a circle
        return tensor

    def maker(self, tensor: str) -> Any:
        """The node that makes a tensor, None where it is no node's; Identity nodes are passed."""
        source = self.source(tensor)
        return next((node for node in self.graph.node if source in node.output), None)


@reads("Loop")
def _loop(r: OnnxReader, n: Call) -> list[Operand]:
    body = _body(r, n)
    sequence = r.values[body.sequence]
    assert isinstance(sequence, str)
    shape = r.shape(body.sequence)
    if r.batch:
        raise BatchError(
            f"node '{n.name}' ({n.op}) of model '{r.b.name}' runs along axis 0, where other nodes "
            "have the batch; export the model with a batch of one sample"
        )
    turns = int(r.constant(n, 0).ravel()[0]) if n.has(0) else -1
    if len(shape) != 3 or shape[1] != 1 or turns != shape[0] or turns > _TURNS:
        raise _refused(r, n, f"runs {turns} turns over a tensor of shape {shape}")
    states, ends = _tried(r, n, body, _sample(turns, shape[2]))
    layer = _layer(r, n, body, states, shape[2])
    x = r.b.reshape(f"{n.name}_sequence", sequence, (turns, shape[2]))
    y = r.b.emit("recurrent", n.name, [x], None, layer.attrs, layer.params)
    r.b.name_shape(y, r.b.shape(y)[1:])
    units = states.shape[1]
    found: list[Operand] = []
    for k, end in enumerate(ends):
        if n.outputs[k] not in r.read_on:
            found.append(np.zeros(0, np.float32))  # nobody reads this one
        elif k == body.state:
            found.append(r.b.cut(f"{n.name}_last", y, (turns - 1, 0), (1, units)))
        elif k < len(body.carried) and body.graph.output[1 + k].name not in body.moving:
            found.append(end)
        elif end.shape == (turns, 1, units) and np.array_equal(end[:, 0], states):
            found.append(r.b.reshape(f"{n.name}_Y", y, (turns, 1, units)))
        else:
            raise _refused(r, n, f"gives '{n.outputs[k]}', which is no state")
    return found


def _refused(r: OnnxReader, n: Call, why: str) -> ModelError:
    return ModelError(
        f"node '{n.name}' (Loop) of model '{r.b.name}' is not recognised as a recurrent layer (it "
        f"{why}), and other loops cannot be converted; {_WAY_OUT}"
    )


def _body(r: OnnxReader, n: Call) -> _Body:
    """The loop's body and what stands still in it. Raises ModelError where it is no cell's."""
    graph = n.attr("body")
    own = {t for node in graph.node for t in node.output} | {i.name for i in graph.input}
    read = {t for node in graph.node for t in node.input if t} - own
    outer = [t for t in sorted(read) if t in r.values]
    moving = [t for t in outer if isinstance(r.values[t], str)]
    carried = [r.values[t] for t in n.inputs[2:]]
    if len(moving) != 1 or any(isinstance(v, str) for v in carried):
        raise _refused(r, n, "reads more than one sequence, or begins with computed values")
    if not n.has(1) or isinstance(r.values[n.inputs[1]], str) or not r.constant(n, 1).all():
        raise _refused(r, n, "has a condition that is computed before it")
    known = {t: np.asarray(r.values[t]) for t in outer if t not in moving}
    known |= {t.name: _array(t) for t in graph.initializer}
    body = _Body(graph, known, moving[0], -1, carried)
    for k, value in enumerate(carried):
        name, after = graph.input[2 + k].name, graph.output[1 + k].name
        if body.source(after) == name:
            known[name] = np.asarray(value)
        elif np.asarray(value).dtype.kind == "f":
            zeros = not np.any(value) and np.ndim(value) == 2 and np.shape(value)[0] == 1
            if body.state >= 0 or not zeros:
                raise _refused(r, n, "carries more than one state of zeros [1, units]")
            body.state = k
    if body.state < 0:
        raise _refused(r, n, "carries no state")
    if graph.output[0].name in body.moving:
        raise _refused(r, n, "goes on as long as its values ask for")
    _fold(r, n, body)
    return body


def _array(tensor: Any) -> np.ndarray:
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(tensor))


def _once(
    r: OnnxReader, n: Call, nodes: Iterable[Any], values: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """`values` and what nodes make of them, one by one: no node makes more than it may."""
    import onnx

    values = dict(values)
    for node in nodes:
        if node.op_type not in _OPERATORS:
            raise _refused(r, n, f"holds the operator {node.op_type}")
        attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        call = Call(node.op_type, node.name or node.output[0], list(node.input),
                    list(node.output), attrs, n.opset)  # fmt: skip
        missing = [t for t in node.input if t and t not in values]
        if missing:
            raise _refused(r, n, f"reads '{missing[0]}', which nothing makes")
        values |= zip(node.output, r.computed(call, node, _read_by(node, values)), strict=False)
    return values


def _read_by(node: Any, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a node reads."""
    return {t: values[t] for t in node.input if t}


def _evaluator(
    r: OnnxReader, n: Call, nodes: list[Any], given: dict[str, np.ndarray], wanted: list[str]
) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]]:
    """The nodes as a function of tensors like `given`."""
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    inputs = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for k, v in given.items()
    ]
    ends = [helper.make_tensor_value_info(o, TensorProto.UNDEFINED, None) for o in wanted]
    model = helper.make_model(
        helper.make_graph(nodes, "body", inputs, ends), opset_imports=list(r.model.opset_import)
    )
    model.ir_version = r.model.ir_version
    evaluator = ReferenceEvaluator(model)

    def run(values: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            return [np.asarray(v) for v in evaluator.run(None, values)]
        except Exception as e:  # whatever the evaluator trips over
            first = (str(e).strip() or type(e).__name__).splitlines()[0]
            raise _refused(r, n, f"cannot be tried: {first[:200]}") from e

    return run


def _fold(r: OnnxReader, n: Call, body: _Body) -> None:
    """Add to what is known what comes of known tensors alone."""
    for node in body.graph.node:
        if all(t in body.known for t in node.input if t):
            body.known = _once(r, n, [node], body.known)


def _sample(turns: int, size: int) -> np.ndarray:
    """Frames [turns, 1, size] on which a loop is tried."""
    return np.random.default_rng(0).normal(0, 1, (turns, 1, size)).astype(np.float32)


def _tried(
    r: OnnxReader, n: Call, body: _Body, x: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """States [turns, units] of the loop on `x`, and what it gives: the values carried, then what is
    collected."""
    graph, names = body.graph, [i.name for i in body.graph.input]
    fixed = {**body.known, body.sequence: x}
    wanted = [o.name for o in graph.output]
    values = [np.asarray(v) for v in body.carried]
    run: Callable[[dict[str, np.ndarray]], list[np.ndarray]] | None = None
    states, collected = [], []
    for turn in range(len(x)):
        starts = [np.array(turn, np.int64), np.array(True), *values]
        given = fixed | dict(zip(names, starts, strict=True))
        if run is None:  # within bounds the first time, so within them ever after
            once = _once(r, n, graph.node, given)
            made = [once[t] for t in wanted]
            own = {o for node in graph.node for o in node.output}
            used = {t for node in graph.node for t in node.input} | set(wanted)
            needed = [t for t in given if t in used - own]
            run = _evaluator(r, n, list(graph.node), {t: given[t] for t in needed}, wanted)
        else:
            made = run({t: given[t] for t in needed})
        if turn < len(x) - 1 and not made[0].all():
            raise _refused(r, n, f"ends after {turn + 1} of {len(x)} turns")
        values = made[1 : 1 + len(values)]
        if values[body.state].shape != np.shape(body.carried[body.state]):
            raise _refused(r, n, "has a state that changes its shape")
        states.append(values[body.state][0])
        collected.append(made[1 + len(values) :])
    scans = [np.stack(s) for s in zip(*collected, strict=True)]
    return np.stack(states), [*values, *scans]


def _layer(r: OnnxReader, n: Call, body: _Body, states: np.ndarray, size: int) -> Node:
    """The recurrent layer that gives `states` [turns, units] for the frames of `_sample`."""
    turns, units = states.shape
    kinds = {node.op_type for node in body.graph.node}
    kernels: list[tuple[np.ndarray, np.ndarray]] = []
    recurrents: list[tuple[np.ndarray, np.ndarray]] = []
    for node in body.graph.node:
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in body.known:
            w = body.known[node.input[1]].astype(np.float32)
            first = body.maker(node.input[0])
            frame = first is not None and first.op_type in ("Gather", "Squeeze", "Slice")
            of = kernels if frame and w.shape[0] == size else recurrents
            of.append((w, _bias(body, node, w.shape[-1])))
    rows = sum(w.shape[-1] for w, _ in kernels)
    cell = next((c for c, g in GATES.items() if g * units == rows), "")
    alike = all(w.ndim == 2 for w, _ in (*kernels, *recurrents))
    if not alike or cell in ("", "lstm") or sum(w.shape[1] for w, _ in recurrents) != rows:
        raise _refused(r, n, f"has products of {rows} sums with {units} units")
    params = {}
    for parts, weight, bias in (
        (kernels, "kernel", "bias"), (recurrents, "recurrent", "recurrent_bias"),
    ):  # fmt: skip
        params[weight] = np.concatenate([w for w, _ in parts], axis=1)
        if any(b.any() for _, b in parts):
            params[bias] = np.concatenate([b for _, b in parts])
    gates = [g for k, g in _GATES.items() if k in kinds] if cell == "gru" else ["sigmoid"]
    functions = [*(f for k, f in _FUNCTIONS.items() if k in kinds), "linear"]
    for function, gate, after in product(functions, gates, (True, False)):
        attrs: dict[str, Any] = {
            "cell": cell, "function": _named(function), "gate": _named(gate), "reset_after": after,
        }  # fmt: skip
        node = Node("recurrent", n.name, ("x",), n.name, (1, turns, units), attrs, params)
        with np.errstate(over="ignore", invalid="ignore"):
            mine = trace(node, _sample(turns, size).transpose(1, 0, 2)[:, None]).hidden[0]
        if np.allclose(mine, states, rtol=_TOLERANCE, atol=_TOLERANCE):
            return node
    raise _refused(r, n, "computes something else than a GRU or SimpleRNN of its matrices")


def _named(function: str) -> Named:
    return function, ()


def _bias(body: _Body, product_: Any, size: int) -> np.ndarray:
    """What is added to a product; zeros where nothing is."""
    if product_.op_type == "Gemm" and len(product_.input) > 2:
        return body.known[product_.input[2]].astype(np.float32).ravel()
    for node in body.graph.node:
        if node.op_type == "Add" and product_.output[0] in node.input:
            other = next((t for t in node.input if t in body.known), None)
            if other is not None and body.known[other].size == size:
                return body.known[other].astype(np.float32).ravel()
    return np.zeros(size, np.float32)
