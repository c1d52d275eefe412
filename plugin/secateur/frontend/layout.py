"""Transposes cancelled: every tensor is carried in the axis order in which it was made.

One walk from inputs to outputs. A tensor t of the source is known as (base, perm), t being `base`
transposed by perm; a transpose changes perm alone. Operators that treat all axes alike, or name
axes, work on the base; others get t itself, for which a transpose is put in. So the NCHW of a
model from PyTorch lives on at its input and output alone, where a user sees it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from secateur.frontend.ir import Graph, Node, infer
from secateur.frontend.ops import OPS

Perm = tuple[int, ...]
Shape = tuple[int, ...]


def cancel_transposes(graph: Graph) -> Graph:
    """`graph` with as few transposes as one walk finds; untouched where it has none."""
    if not any(n.op == "transpose" for n in graph.nodes):
        return graph
    return _Walk(graph).run()


@dataclass(frozen=True)
class _Known:
    """t = base transposed by perm; flat: and flattened behind that."""

    base: str
    perm: Perm
    flat: bool = False

    @property
    def plain(self) -> bool:
        return self.perm == tuple(range(len(self.perm)))


@dataclass
class _Walk:
    graph: Graph
    nodes: list[Node] = field(default_factory=list)
    known: dict[str, _Known] = field(default_factory=dict)
    made: dict[str, Node] = field(default_factory=dict)  #: by tensor of the new graph
    moved: dict[tuple[str, Perm], str] = field(default_factory=dict)

    def run(self) -> Graph:
        self.source = {n.output: n for n in self.graph.nodes}
        for n in self.graph.nodes:
            self._visit(n)
        outputs = tuple(self.plain(t) for t in self.graph.outputs)
        return replace(self.graph, nodes=self.nodes, outputs=outputs)

    # -- tensors ---------------------------------------------------------------------------------

    def add(self, node: Node) -> Node:
        node.shape = infer(node, [self.made[t].shape for t in node.inputs]) if node.inputs else (
            node.shape
        )  # fmt: skip
        self.nodes.append(node)
        self.made[node.output] = node
        return node

    def fresh(self, wish: str) -> str:
        """A name nothing has: `wish`, which may be that of a transpose that is made here."""
        name, i = wish, 1
        while name in self.made or (name in self.source and self.source[name].op != "transpose"):
            i += 1
            name = f"{wish}_{i}"
        return name

    def transposed(self, base: str, perm: Perm, wish: str) -> str:
        """`base` transposed by perm, once; a reshape or a constant where nothing moves."""
        if perm == tuple(range(len(perm))):
            return base
        key = (base, perm)
        if key not in self.moved:
            made = self.made[base]
            shape = tuple(made.shape[p] for p in perm)
            name = self.fresh(wish)
            if made.op == "constant":
                value = np.ascontiguousarray(made.params["value"].transpose(perm))
                self.add(Node("constant", name, (), name, shape, {}, {"value": value}))
            elif _keeps_order(made.shape, perm):
                self.add(Node("reshape", name, (base,), name, shape, {"shape": shape}))
            else:
                self.add(Node("transpose", name, (base,), name, shape, {"perm": perm}))
            self.moved[key] = name
        return self.moved[key]

    def plain(self, tensor: str) -> str:
        """The source's tensor itself, moved where it is carried otherwise."""
        k = self.known[tensor]
        if k.plain:
            return k.base
        explicit = self.source[tensor].op == "transpose"
        wish = tensor if explicit else f"{tensor}_transposed"
        t = self.transposed(k.base, k.perm, wish)
        if k.flat:
            shape = self.source[tensor].shape
            name = self.fresh(tensor)
            t = self.add(Node("flatten", name, (t,), name, shape)).output
        return t

    # -- nodes -----------------------------------------------------------------------------------

    def _visit(self, n: Node) -> None:
        if n.op == "transpose":
            k = self.known[n.inputs[0]]
            if not k.flat:
                perm = tuple(k.perm[p] for p in n.attrs["perm"])
                self.known[n.output] = _Known(k.base, perm)
                return
        if n.inputs and any(not self.known[t].plain for t in n.inputs):
            done = self._flat(n) or self._named_axes(n) or self._alike(n) or self._view(n)
            done = done or self._product(n)
            if done:
                return
        inputs = tuple(self.plain(t) for t in n.inputs)
        node = self.add(replace(n, inputs=inputs))
        self.known[n.output] = _Known(node.output, tuple(range(len(n.shape))))

    def _on_base(self, n: Node, inputs: tuple[str, ...], perm: Perm, **changes: Any) -> bool:
        node = self.add(replace(n, inputs=inputs, **changes))
        self.known[n.output] = _Known(node.output, perm)
        return True

    def _alike(self, n: Node) -> bool:
        """Operators of which an element depends on the same element of its operands alone."""
        if n.op == "prelu":
            k = self.known[n.inputs[0]]
            alpha = _extended(n.params["alpha"], len(n.shape)).transpose(_inverse(k.perm))
            return not k.flat and self._on_base(n, (k.base,), k.perm, params={"alpha": alpha})
        if n.op == "batch_norm":
            k = self.known[n.inputs[0]]
            return not k.flat and k.perm[-1] == len(k.perm) - 1 and self._on_base(
                n, (k.base,), k.perm
            )  # fmt: skip
        if not OPS[n.op].pointwise:
            return False
        rank = len(n.shape)
        if any(self.known[t].flat for t in n.inputs):
            return False
        perms = {
            self.known[t].perm: self.source[t].shape for t in n.inputs
            if len(self.source[t].shape) == rank and not self.known[t].plain
        }  # fmt: skip
        perms[tuple(range(rank))] = ()
        best = min(perms, key=lambda p: self._cost(n, p))  # of equals the first: no new transpose
        if best == tuple(range(rank)):
            return False
        return self._on_base(n, tuple(self._in_layout(t, best, rank) for t in n.inputs), best)

    def _cost(self, n: Node, perm: Perm) -> int:
        """Elements moved to give all operands of n in one layout."""
        total = 0
        for t in n.inputs:
            shape, k = _ones(self.source[t].shape, len(perm)), self.known[t]
            own = k.perm if len(k.perm) == len(perm) else tuple(range(len(perm)))
            turn = tuple(own[p] for p in _inverse(perm))
            base = tuple(shape[i] for i in _inverse(own))
            if self.made[k.base].op != "constant" and not _keeps_order(base, turn):
                total += int(np.prod(shape))
        return total

    def _in_layout(self, tensor: str, perm: Perm, rank: int) -> str:
        """The tensor whose transpose by perm is `tensor` (with ones in front)."""
        k, shape = self.known[tensor], self.source[tensor].shape
        if len(shape) == rank:
            turn = tuple(k.perm[p] for p in _inverse(perm))
            return self.transposed(k.base, turn, f"{tensor}_transposed")
        base = self.plain(tensor)
        longer = _ones(shape, rank)
        name = self.fresh(f"{tensor}_reshaped")
        if self.made[base].op == "constant":
            value = self.made[base].params["value"].reshape(longer)
            self.add(Node("constant", name, (), name, longer, {}, {"value": value}))
        else:
            self.add(Node("reshape", name, (base,), name, longer, {"shape": longer}))
        return self.transposed(name, _inverse(perm), f"{tensor}_transposed")

    def _named_axes(self, n: Node) -> bool:
        """Operators that name the axes they work on."""
        k = self.known[n.inputs[0]]
        if k.flat:
            return False
        perm, a = k.perm, dict(n.attrs)
        rank = len(perm)
        if n.op in ("softmax", "log_softmax", "arg_max", "top_k", "top_k_indices", "gather"):
            a["axis"] = perm[n.attr("axis") % rank]
        elif n.op in ("reduce", "l2_norm"):
            a["axes"] = tuple(sorted(perm[x] for x in n.attrs["axes"]))
        elif n.op in ("slice", "tile"):
            for key in ("begin", "size", "strides") if n.op == "slice" else ("repeats",):
                a[key] = _turned(n.attrs[key], perm)
        elif n.op in ("pad", "zero_pad"):
            pads = n.attrs["pads"]
            if n.op == "zero_pad":
                pads = ((pads[0], pads[2]), (pads[1], pads[3]), (0, 0))
            pads = _turned(pads, perm)
            constant = n.op == "zero_pad" or (n.attr("mode") == "constant" and n.attr("value") == 0)
            if constant and rank == 3 and pads[2] == (0, 0):
                a = {x: v for x, v in a.items() if x not in ("pads", "mode", "value")}
                a["pads"] = (pads[0][0], pads[1][0], pads[0][1], pads[1][1])
                return self._on_base(n, (k.base,), perm, op="zero_pad", attrs=a)
            a["pads"] = pads
            return self._on_base(n, (k.base,), perm, op="pad", attrs=a)
        elif n.op == "concat":
            perms = [self.known[t] for t in n.inputs]
            best = max(perms, key=lambda q: sum(p.perm == q.perm for p in perms))
            if best.plain or any(p.flat for p in perms):
                return False
            a["axis"] = best.perm[n.attrs["axis"] % rank]
            inputs = tuple(self._in_layout(t, best.perm, rank) for t in n.inputs)
            return self._on_base(n, inputs, best.perm, attrs=a)
        else:
            return False
        return self._on_base(n, (k.base,), perm, attrs=a)

    def _view(self, n: Node) -> bool:
        """A reshape that adds or drops axes of size 1; a flattening before a Dense layer."""
        if n.op not in ("reshape", "flatten"):
            return False
        k, shape = self.known[n.inputs[0]], self.source[n.inputs[0]].shape
        if k.flat:
            return False
        base = self.made[k.base].shape
        real = [i for i, d in enumerate(shape) if d != 1]
        if [shape[i] for i in real] == [d for d in n.shape if d != 1]:
            target = [i for i, d in enumerate(n.shape) if d != 1]
            order = sorted(range(len(real)), key=lambda j: k.perm[real[j]])  # as in the base
            ones = [i for i, d in enumerate(n.shape) if d == 1]
            axes = [*ones, *(target[j] for j in order)]
            new = tuple(n.shape[i] for i in axes)
            perm = tuple(axes.index(i) for i in range(len(axes)))
            if new == base:
                self.known[n.output] = _Known(k.base, perm)
                return True
            return self._on_base(n, (k.base,), perm, op="reshape", attrs={**n.attrs, "shape": new})
        if len(n.shape) == 1:
            self.known[n.output] = _Known(k.base, k.perm, flat=True)
            return True
        return False

    def _flat(self, n: Node) -> bool:
        """Operators on a flattened tensor that was transposed: the parameters move instead."""
        k = self.known[n.inputs[0]]
        if not k.flat or len(n.inputs) > 1:
            return False
        base = self.made[k.base].shape
        if n.op == "dense":
            shape = tuple(base[p] for p in k.perm)
            kernel = n.params["kernel"].reshape(*shape, -1)
            kernel = kernel.transpose(*_inverse(k.perm), len(shape)).reshape(
                n.params["kernel"].shape
            )
            name = self.fresh(f"{n.inputs[0]}")
            flat = self.add(Node("flatten", name, (k.base,), name, (int(np.prod(base)),)))
            params = {**n.params, "kernel": np.ascontiguousarray(kernel)}
            node = self.add(replace(n, inputs=(flat.output,), params=params))
            self.known[n.output] = _Known(node.output, (0,))
            return True
        if OPS[n.op].pointwise:  # of one element: it may as well come before the flattening
            node = self.add(replace(n, inputs=(k.base,)))
            self.known[n.output] = _Known(node.output, k.perm, flat=True)
            return True
        return False

    def _product(self, n: Node) -> bool:
        """A second factor whose last axes are swapped is `transpose_b`."""
        if n.op != "matmul":
            return False
        a, b = n.inputs
        k = self.known[b]
        rank = len(k.perm)
        if k.flat or rank < 2 or k.perm[-1] == rank - 1 or k.perm[-2] != rank - 1:
            return False
        turned = (*k.perm[:-2], k.perm[-1], k.perm[-2])
        second = self.transposed(k.base, turned, f"{b}_transposed")
        attrs = {**n.attrs, "transpose_b": not n.attr("transpose_b")}
        node = self.add(replace(n, inputs=(self.plain(a), second), attrs=attrs))
        self.known[n.output] = _Known(node.output, tuple(range(len(n.shape))))
        return True


def _inverse(perm: Perm) -> Perm:
    return tuple(perm.index(i) for i in range(len(perm)))


def _turned(values: Any, perm: Perm) -> tuple[Any, ...]:
    """What stands for axis i of t, in the order of the base's axes."""
    return tuple(values[i] for i in _inverse(perm))


def _keeps_order(shape: Shape, perm: Perm) -> bool:
    """Whether a transpose moves axes of size 1 alone."""
    real = [p for p in perm if shape[p] != 1]
    return real == sorted(real)


def _ones(shape: Shape, rank: int) -> Shape:
    return (1,) * (rank - len(shape)) + tuple(shape)


def _extended(value: np.ndarray, rank: int) -> np.ndarray:
    return value.reshape(_ones(value.shape, rank))
