"""Choose which low-bit tensors are stored as bit planes, and convert where that changes.

A layer runs on bit planes where its input has few planes, its weights have few planes
(coding.planes), and what it saves against bytes is more than packing costs. docs/integer-spec.md,
"Packed tensors": storage changes, codes do not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..coding.planes import decompose
from ..lowering.qgraph import QConv, QDense, QGraph, QOp, QPack, QTensor, Thresholds
from .requant import multiplied

_MOST = 8  #: weight planes times input planes; beyond, bytes are as fast
_WIDEST = 64  #: pixels of a padded row of a convolution with a window


def planes(op: QOp, graph: QGraph) -> int:
    """Pairs of a weight and an input plane if `op` should run on bit planes, else 0."""
    if not isinstance(op, QConv | QDense):
        return 0
    x = graph.tensors[op.inputs[0]]
    pixels = graph.tensors[op.output].size // len(op.weight)
    if not x.planes or (isinstance(op, QConv) and not _convolution(op, x, pixels)):
        return 0
    found = decompose(op.weight.reshape(len(op.weight), -1))
    if found is None or len(found.bits) * len(x.planes) > _MOST:
        return 0
    pairs = len(found.bits) * len(x.planes)
    return pairs if _pays(op, pairs, _doubling(found.p, x.planes), pixels) else 0


def _doubling(p: np.ndarray, q: tuple[int, ...]) -> bool:
    """Whether all planes are equal or double from one to the next, so that counts only shift."""
    doubled = p * 2 ** np.arange(p.shape[1])
    alike = (doubled == p[:, :1]).all() or (p == p[:, :1]).all()
    return bool(alike) and q == tuple(q[0] << i for i in range(len(q)))


def is_dense(op: QConv | QDense, x: QTensor) -> bool:
    """Whether `op` reads its whole input for each output: also a window as large as the image."""
    return isinstance(op, QDense) or (op.weight.shape[2:] == x.shape[1:] and not any(op.pads))


def _convolution(op: QConv, x: QTensor, pixels: int) -> bool:
    window = op.weight.shape[2:] != (1, 1) or op.stride != (1, 1) or any(op.pads)
    padded = any(op.pads) and x.zero_point != 0  # a sign's zero is neither of its codes
    width = x.shape[2] + op.pads[1] + op.pads[3]
    wide = window and width > _WIDEST
    if 1 in (x.shape[1] * x.shape[2], pixels) and not is_dense(op, x):
        return False  # one pixel is stored as a vector
    return op.groups == 1 and op.residual is None and not padded and not wide


def _pays(op: QConv | QDense, pairs: int, doubling: bool, pixels: int) -> bool:
    """Whether planes are likely to need fewer instructions than bytes."""
    columns = op.weight[0].size
    if pixels == 1:
        return pairs * (0.35 * columns + 60) < 2.0 * columns
    tiles = -(-pixels // 32)
    r = op.requant
    steps = r.values.shape[1] if isinstance(r, Thresholds) else 0
    finish = 190 * pairs + 700  # counts brought out of their slices
    if doubling and steps:
        finish = 40 * pairs + (75 * steps if steps > 1 else 0)
    each = pairs * 5.3 * columns + finish + 20 * columns / len(op.weight)
    row = 1.25 * columns
    if np.abs(op.weight).max(initial=0) <= 1:  # added, and only where there is a weight
        row = min(row, 0.7 * np.count_nonzero(op.weight) / len(op.weight) + 3)
    counted = 0 if multiplied(r) is not None else max(0, steps - 3)
    return bool(tiles * each < pixels * (row + 5 * counted))


def pack(graph: QGraph) -> QGraph:
    """`graph` with packed tensors, and a QPack where a tensor is needed in the other form."""
    chosen = {op.name for op in graph if planes(op, graph)}
    if not chosen:
        return graph
    tensors = dict(graph.tensors)
    ops: list[QOp] = []
    renamed: dict[tuple[str, bool], str] = {}  # (tensor, packed) -> the tensor of that form
    packed = {
        op.output for op in graph if op.name in chosen and isinstance(op, QConv | QDense)
        and isinstance(op.requant, Thresholds)
    }  # fmt: skip

    def wanted(name: str, form: bool) -> str:
        """The name of tensor `name` in a form, converted just now if need be."""
        if (name in packed) == form:
            return name
        if (name, form) not in renamed:
            new = f"{name}_{'bits' if form else 'codes'}"
            tensors[new] = replace(tensors[name], name=new, packed=form)
            ops.append(QPack(new, (name,), new))
            renamed[name, form] = new
        return renamed[name, form]

    for name in packed:
        tensors[name] = replace(tensors[name], packed=True)
    for op in graph:
        inputs = tuple(wanted(t, op.name in chosen and i == 0) for i, t in enumerate(op.inputs))
        ops.append(replace(op, inputs=inputs))
    outputs = tuple(wanted(t, False) for t in graph.outputs)
    titles = {new: graph.titles.get(t, t) for t, new in zip(graph.outputs, outputs, strict=True)}
    return replace(graph, ops=ops, tensors=tensors, outputs=outputs, titles=titles)
