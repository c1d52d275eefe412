"""From a network of a window to one of a step, which reads one element of time and keeps the rest.

Every tensor of the window that still has a time axis becomes its newest element. A convolution or
pooling that looks back keeps the rows it needs; a recurrent layer keeps its state; whatever else
needs the whole window (a global pooling, a Dense layer behind Flatten) keeps all rows and runs as
it is. Strides make elements rarer: such a tensor has a new one every `period` steps from step
`offset` on, and what reads it runs in those steps alone.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from math import lcm, prod

from secateur.errors import ModelError, RangeWarning
from secateur.frontend.execute import Inputs
from secateur.frontend.ir import Graph, Node
from secateur.frontend.ops import OPS
from secateur.lowering.calibrate import calibrate
from secateur.lowering.lowerer import Lowering
from secateur.lowering.qgraph import Due, QGraph
from secateur.lowering.registry import obstacles
from secateur.lowering.rewrite import copy
from secateur.lowering.simplify import simplify
from secateur.lowering.views import place_reshapes

_WINDOWS = ("conv2d", "depthwise_conv2d", "max_pool", "avg_pool")
#: Operators that see one element of time alone, as long as what they work along is another axis.
_ROWWISE = ("batch_norm", "dense", "quant_activation", "fake_quant", "prelu")


@dataclass(frozen=True)
class Pace:
    """When a tensor is new, and its time axis (None: it has none, or is a whole window)."""

    due: Due
    axis: int | None


def causal(graph: Graph, axis: int) -> Graph:
    """`graph` with every window along time padded before its first element alone: another
    function, of the past only."""
    g = copy(graph)
    for n in g.nodes:
        if n.op in ("conv2d", "depthwise_conv2d") and n.attrs["pads"][2 + axis]:
            pads = list(n.attrs["pads"])
            pads[axis], pads[2 + axis] = _span(n, axis) - 1, 0
            n.attrs["pads"] = tuple(pads)
    return g


def time_axis(graph: Graph) -> int:
    """The axis of time: of a sequence (1, T, C) the second, of an image (T, F, C) the first."""
    if len(graph.inputs) != 1:
        raise ModelError(
            f"model '{graph.name}' has {len(graph.inputs)} inputs; streaming reads one frame of "
            "one input"
        )
    shape = graph.node(graph.input).shape
    if len(shape) != 3:
        raise ModelError(
            f"model '{graph.name}' reads {shape}, which has no axis of time; streaming takes "
            "sequences (T, C) and images (T, F, C)"
        )
    return 1 if shape[0] == 1 else 0


def _span(node: Node, axis: int) -> int:
    if "window" in node.attrs:
        return int(node.attrs["window"][axis])
    size = int(node.params["kernel"].shape[axis])
    return (size - 1) * int(node.attr("dilations")[axis]) + 1


class _Streamer:
    def __init__(self, graph: Graph, axis: int) -> None:
        self.graph, self.axis = graph, axis
        self.shapes = {n.output: n.shape for n in graph.nodes}
        self.nodes: list[Node] = []
        self.paces: dict[str, Pace] = {}
        self.rings: dict[tuple[str, int], str] = {}
        self.due: dict[str, Due] = {}
        self.kept: dict[str, Due] = {}  #: when what a node keeps is new, if before its output

    def run(self) -> Graph:
        for node in self.graph.nodes:
            self._node(node)
        self._set_apart()
        return replace(self.graph, nodes=self.nodes)

    def _add(self, node: Node, pace: Pace) -> None:
        self.nodes.append(node)
        self.paces[node.output] = pace
        self.due[node.output] = pace.due

    def _row(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(1 if i == self.axis else n for i, n in enumerate(shape))

    def _ring(self, tensor: str, rows: int) -> str:
        """The last `rows` elements of a tensor."""
        if rows == 1:
            return tensor
        if (tensor, rows) not in self.rings:
            name = f"{tensor}_last{rows}"
            shape = list(self._row(self.shapes[tensor]))
            shape[self.axis] = rows
            attrs = {"axis": self.axis, "rows": rows, "apart": False}
            ring = Node("last_rows", name, (tensor,), name, tuple(shape), attrs)
            self._add(ring, replace(self.paces[tensor], axis=None))
            self.rings[tensor, rows] = name
        return self.rings[tensor, rows]

    def _set_apart(self) -> None:
        """Where rows are kept without the newest, which joins them in a place that all such layers
        share for the time they run: of the smaller ones, as many as save most."""
        rings = [n for n in self.nodes if n.op == "last_rows"]
        rings.sort(key=lambda n: prod(n.shape))
        row = [prod(n.shape) // int(n.attrs["rows"]) for n in rings]
        saved = [
            sum(row[: i + 1]) + row[i] - prod(ring.shape)  # the newest row grows to all of them
            for i, ring in enumerate(rings)
        ]
        count = saved.index(max(saved)) + 1 if saved and max(saved) > 0 else 0
        for ring in rings[:count]:
            ring.attrs["apart"] = True

    def _node(self, node: Node) -> None:
        axis = self.axis
        if node.op == "input":
            moved = replace(node, shape=self._row(node.shape))
            self._add(moved, Pace(Due(1, 0), axis))
            return
        if node.op == "constant":
            self._add(node, Pace(Due(1, 0), None))
            return
        timed = [t for t in node.inputs if self.paces[t].axis is not None]
        dues = {self.paces[t].due for t in node.inputs if self.graph.node(t).op != "constant"}
        if len(dues) > 1:
            raise ModelError(
                f"{node.title} joins branches that lag behind each other by different numbers of "
                "steps; pad their convolutions alike ('causal'), or crop none of them"
            )
        if not timed:
            self._add(node, Pace(next(iter(dues), Due(1, 0)), None))
        elif node.op in _WINDOWS and node.shape[axis] > 1:
            self._window(node)
        elif node.op == "recurrent" and axis == 1 and not node.attr("reverse"):
            self._recurrent(node)
        elif self._means_all(node):
            self._mean(node)
        elif node.op == "cell_state" and axis == 1 and not node.attr("reverse"):
            attrs = {**node.attrs, "stateful": False}
            self._add(replace(node, attrs=attrs), Pace(next(iter(dues)), None))
        elif self._rowwise(node):
            moved = replace(node, shape=self._row(node.shape), attrs=dict(node.attrs))
            self._add(moved, Pace(next(iter(dues)), axis))
        else:
            self._whole(node)

    def _rowwise(self, node: Node) -> bool:
        shapes = [self.shapes[t] for t in node.inputs]
        if any(self.paces[t].axis is None for t in node.inputs):
            return False  # an element of time with a whole window, or with a constant in time
        if len(node.shape) != 3 or any(
            len(s) != 3 or s[self.axis] != node.shape[self.axis] for s in shapes
        ):
            return False
        if node.op in ("softmax", "log_softmax"):
            return node.attr("axis") in (-1, 2)
        if node.op == "concat":
            return node.attr("axis") == 2
        if node.op == "prelu":
            return node.params["alpha"].size in (1, node.shape[-1])
        return OPS[node.op].pointwise or node.op in _ROWWISE

    def _means_all(self, node: Node) -> bool:
        """Whether it is the mean of a whole window."""
        whole = self.shapes[node.inputs[0]][:2]
        return bool(
            node.op == "avg_pool"
            and node.attr("window") == whole
            and not any(node.attr("pads"))
            and whole[self.axis] > 1
            and whole[1 - self.axis] <= 256
        )

    def _mean(self, node: Node) -> None:
        """Sums that slide along."""
        tensor = node.inputs[0]
        rows, due = self.shapes[tensor][self.axis], self.paces[tensor].due
        moved = replace(node, op="mean_of_last", attrs={"rows": rows}, params={})
        self._add(moved, Pace(Due(due.period, due.offset + due.period * (rows - 1)), None))
        self.kept[node.output] = due

    def _window(self, node: Node) -> None:
        axis, tensor = self.axis, node.inputs[0]
        pads, span = list(node.attrs["pads"]), _span(node, axis)
        before, after = pads[axis], pads[2 + axis]
        if after or before > span - 1 or (before and node.op not in ("conv2d", "depthwise_conv2d")):
            raise ModelError(
                f"{node.title} pads time ('same'), so that it reads elements that a step does not "
                "know; build it with padding='valid' or 'causal', or convert with causal=True, "
                "which pads before the first element alone and so changes what the network computes"
            )
        pads[axis] = 0
        stride = int(node.attrs["strides"][axis])
        strides = tuple(1 if i == axis else s for i, s in enumerate(node.attrs["strides"]))
        due = self.paces[tensor].due
        later = Due(due.period * stride, due.offset + due.period * (span - 1 - before))
        for t in node.inputs[1:]:
            if self.paces[t].due != later:
                raise ModelError(
                    f"{node.title} is added to a branch that lags behind it; pad its convolutions "
                    "alike ('causal')"
                )
        attrs = {**node.attrs, "pads": tuple(pads), "strides": strides}
        inputs = (self._ring(tensor, span), *node.inputs[1:])
        moved = replace(node, inputs=inputs, shape=self._row(node.shape), attrs=attrs)
        self._add(moved, Pace(later, axis))

    def _recurrent(self, node: Node) -> None:
        attrs = {**node.attrs, "stateful": False, "step": True}
        sequence = bool(node.attr("sequence"))
        shape = self._row(node.shape) if sequence else node.shape
        pace = Pace(self.paces[node.inputs[0]].due, self.axis if sequence else None)
        self._add(replace(node, attrs=attrs, shape=shape), pace)

    def _whole(self, node: Node) -> None:
        """The operator as it is, on all rows of the window."""
        inputs, dues = [], []
        for t in node.inputs:
            pace = self.paces[t]
            if pace.axis is None:
                inputs.append(t)
                dues.append(pace.due)
                continue
            rows = self.shapes[t][self.axis]
            if self._newest(node, rows):
                moved = Node("reshape", node.name, (t,), node.output, node.shape,
                             {"shape": node.shape})  # fmt: skip
                self._add(moved, Pace(pace.due, None))
                return
            inputs.append(self._ring(t, rows))
            dues.append(Due(pace.due.period, pace.due.offset + pace.due.period * (rows - 1)))
        attrs = {**node.attrs, "stateful": False} if "stateful" in node.attrs else node.attrs
        pace = Pace(max(dues, key=lambda d: d.offset), None)
        self._add(replace(node, inputs=tuple(inputs), attrs=attrs), pace)

    def _newest(self, node: Node, rows: int) -> bool:
        """Whether a slice takes the newest element alone."""
        if node.op != "slice":
            return False
        whole = all(
            b == 0 and n == m
            for i, (b, n, m) in enumerate(
                zip(node.attr("begin"), node.shape, self.shapes[node.inputs[0]], strict=True)
            )
            if i != self.axis
        )
        return bool(
            whole and node.shape[self.axis] == 1 and node.attr("begin")[self.axis] == rows - 1
        )


def lower_stream(
    graph: Graph, calibration: Inputs, *, method: str = "minmax", make_causal: bool = False,
    hop: int = 1,
) -> QGraph:  # fmt: skip
    """The integer graph of a step, with ranges seen on whole windows `calibration`.

    hop: frames from one answer that is wanted to the next; what only answers need runs no more
    often. Raises ModelError where the network needs elements of time that a step does not know, or
    where answers do not come so often.
    """
    simple = simplify(graph)
    axis = time_axis(simple)
    if make_causal:
        changed = causal(simple, axis)
        names = [
            n.name for n, m in zip(simple.nodes, changed.nodes, strict=True)
            if n.attrs.get("pads") != m.attrs.get("pads")
        ]  # fmt: skip
        if names:
            warnings.warn(
                f"causal=True: {', '.join(names)} of '{graph.name}' see the past alone now, so the "
                "network computes something else than the one that was trained; train it with "
                "padding='causal'",
                RangeWarning, stacklevel=3,
            )  # fmt: skip
        simple = changed
    method_ = "minmax" if method == "auto" else method
    streamer = _Streamer(simple, axis)
    step = streamer.run()
    found = obstacles(step)
    if found:
        raise ModelError(found[0].sentence)
    ranges = calibrate(simple, calibration, method_)  # type: ignore[arg-type]
    lowering = Lowering(place_reshapes(step), ranges)
    for node in lowering.graph.nodes:
        before = len(lowering.q.ops)
        lowering.lower(node)
        due = streamer.due.get(node.output, Due(1, 0))
        early, following = streamer.kept.get(node.output, due), lowering.q.nexts
        lowering.q.due |= {
            op.name: early if op.output in following else due for op in lowering.q.ops[before:]
        }
    before = len(lowering.q.ops)
    q = lowering.finish()
    last = [streamer.due[t] for t in step.outputs]
    if len(set(last)) > 1:
        raise ModelError(
            f"the outputs of '{graph.name}' come in different steps; convert them one by one"
        )
    q.due |= {op.name: last[0] for op in q.ops[before:]}
    q.step_due = last[0]
    if hop > 1:
        _thin_out(q, hop)
    for n in graph.nodes:
        own = n.attrs.get("parameters")
        if own is None:
            own = sum(p.size for p in n.params.values())
        if own:
            q.parameters[n.name] = int(own)
    q.float_bytes = 4 * sum(q.parameters.values())
    return q


def _thin_out(q: QGraph, hop: int) -> None:
    """The last answer of every `hop` steps alone is made; what no state comes of waits for it."""
    due = q.step_due or Due(1, 0)
    if hop % due.period:
        raise ModelError(
            f"hop={hop} is no multiple of {due.period}, every how many steps '{q.name}' answers; "
            f"take {due.period * -(-hop // due.period)}"
        )
    turn = hop - 1 - (hop - 1 - due.offset) % due.period  #: of the last answer within a hop
    last = Due(hop, due.offset + (turn - due.offset) % hop)
    makers, inside = {op.output: op for op in q.ops}, q.by_loop()
    wanted = [s.next for s in q.states.values() if not s.loop]
    lasting: set[str] = set()
    while wanted:
        op = makers.get(wanted.pop())
        if op is None or op.name in lasting:
            continue
        loop = inside.get(op.name)
        for o in [op] if loop is None else [o for o in q.ops if inside.get(o.name) == loop]:
            lasting.add(o.name)
            wanted += o.inputs
    q.due |= {op.name: last for op in q.ops if op.name not in lasting}
    q.step_due, q.hop = last, hop


def cycle(q: QGraph) -> tuple[int, int]:
    """(first, length): the counter of steps runs from 0 to first + length - 1, then from `first`
    on again; every operator's `due` is periodic behind `first`."""
    dues = [*q.due.values(), q.step_due or Due(1, 0)]
    return max(d.offset for d in dues), lcm(*(d.period for d in dues))
