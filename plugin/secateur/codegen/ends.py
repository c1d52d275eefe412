"""The model's inputs and outputs: types, macros and the C that copies them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .. import names
from ..lowering.qgraph import QGraph
from .emit import CTYPES, CFunction, render


@dataclass(frozen=True)
class End:
    """One input or output as the caller sees it."""

    tensor: str
    title: str  #: what the source calls it
    c_name: str  #: member of the struct of pointers
    macro: str  #: behind the model's prefix: "INPUT", or "INPUT_IMAGE" of several
    dtype: str  #: NumPy's name of its type
    shape: tuple[int, ...]
    size: int  #: elements
    offset: int  #: bytes from the first one's begin, where all lie one behind the other
    scale: float
    zero_point: int
    scales: tuple[float, ...] = ()  #: of each feature (last axis), where they have their own

    @property
    def ctype(self) -> str:
        """C type of an element."""
        return CTYPES[self.dtype]

    @property
    def bytes(self) -> int:
        """Bytes of it all."""
        return self.size * np.dtype(self.dtype).itemsize

    @property
    def layout(self) -> str:
        """Shape in words."""
        return "x".join(map(str, self.shape))


@dataclass(frozen=True)
class Ends:
    """A model's inputs or outputs."""

    ends: tuple[End, ...]

    @property
    def plain(self) -> bool:
        """Whether it is one tensor of int8."""
        return len(self.ends) == 1 and self.ends[0].dtype == "int8"

    @property
    def bytes(self) -> int:
        """Bytes of them all, one behind the other, each at a multiple of four."""
        last = self.ends[-1]
        return last.offset + last.bytes


def ends(graph: QGraph, tensors: Sequence[str], kind: str) -> Ends:
    """The ends of a graph; kind: "input" or "output"."""
    several = len(tensors) > 1
    titles: list[str] = []
    for t in tensors:  # one tensor may be given out twice
        title, n = graph.titles.get(t, t), 2
        while title in titles:
            title, n = f"{graph.titles.get(t, t)}_{n}", n + 1
        titles.append(title)
    c_names: Mapping[str, str] = names.layers(tuple(titles)) if several else {titles[0]: kind}
    out: list[End] = []
    offset = 0
    for t, title in zip(tensors, titles, strict=True):
        q = graph.tensors[t]
        dtype = graph.interface_dtype(t)
        macro = f"{kind.upper()}_{c_names[title].upper()}" if several else kind.upper()
        zero = q.zero_point - (128 if dtype == "int8" else 0)
        scale, zero = (q.scale, zero) if dtype != "float32" else (1.0, 0)
        end = End(
            tensor=t,
            title=title,
            c_name=c_names[title],
            macro=macro,
            dtype=dtype,
            shape=graph.interface_shape(t),
            size=q.size,
            offset=offset,
            scale=float(scale),
            zero_point=int(zero),
            scales=tuple(float(scale * f) for f in graph.factors.get(t, ())),
        )
        out.append(end)
        offset += -(-end.bytes // 4) * 4
    return Ends(tuple(out))


def split(parts: Ends, raw: np.ndarray) -> list[np.ndarray]:
    """Arrays [N, *shape] of what lies one behind the other: int8 [N, bytes]."""
    flat = np.ascontiguousarray(raw.reshape(len(raw), -1)).view(np.uint8)
    return [
        np.ascontiguousarray(flat[:, e.offset : e.offset + e.bytes])
        .view(np.dtype(e.dtype).newbyteorder("<"))
        .reshape(len(raw), *e.shape)
        for e in parts.ends
    ]


def joined(parts: Ends, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The other way: int8 [N, bytes] of arrays [N, ...]."""
    raw = np.zeros((len(arrays[0]), parts.bytes), np.uint8)
    for e, a in zip(parts.ends, arrays, strict=True):
        little = np.ascontiguousarray(a.reshape(len(a), -1), np.dtype(e.dtype).newbyteorder("<"))
        raw[:, e.offset : e.offset + e.bytes] = little.view(np.uint8).reshape(len(a), -1)
    return raw.view(np.int8)


def _planes(graph: QGraph, tensor: str) -> tuple[int, int, int]:
    """(channels, rows, columns) as stored; a vector is one row of one channel."""
    shape = graph.tensors[tensor].shape
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    return (1, 1, shape[0]) if len(shape) == 1 else (shape[0], 1, int(np.prod(shape[1:])))


def is_plain(graph: QGraph, tensor: str, output: bool) -> bool:
    """Whether an end is stored in the caller's order; an output of one pixel is, too."""
    c, h, w = _planes(graph, tensor)
    turned = graph.transposed and len(graph.tensors[tensor].shape) == 3
    return (c == 1 and (not turned or min(h, w) == 1)) or (output and h * w == 1)


def by_words(graph: QGraph, end: End, output: bool) -> bool:
    """Whether an end is read four bytes at a time where the instruction set has lanes."""
    c, h, w = _planes(graph, end.tensor)
    t = graph.tensors[end.tensor]
    turned = graph.transposed and len(t.shape) == 3
    if output or turned or (end.dtype, t.dtype) != ("int8", "uint8"):
        return False
    return is_plain(graph, end.tensor, output) or (c == 3 and h * w % 4 == 0)


def copy_function(graph: QGraph, end: End, output: bool) -> CFunction:
    """The C that brings an end to its place in the arena, or from there to the caller."""
    c, h, w = _planes(graph, end.tensor)
    t = graph.tensors[end.tensor]
    turned = graph.transposed and len(t.shape) == 3
    name = "write_output" if output else "read_input"
    plain = is_plain(graph, end.tensor, output)
    text = render(
        "end.c.j2", name=name, output=output, c=c, h=h, w=w, transposed=turned,
        plain=plain, kind=end.ctype, stored=CTYPES[t.dtype],
        dtype=end.dtype, zero=t.zero_point, scale=f"{np.float32(t.scale):.8e}f",
    )  # fmt: skip
    forms = {}
    if by_words(graph, end, output):
        forms["dsp"] = render("read_words.c.j2", name=name, c=1 if plain else c, n=t.size)
    return CFunction(name, text, forms)


def end_work(graph: QGraph) -> dict[str, float]:
    """Units of the model's ends, for prices of the family "ends"."""
    out: dict[str, float] = {"runs": 1.0}
    for tensors, kind in ((graph.inputs, "input"), (graph.outputs, "output")):
        for end in ends(graph, tensors, kind).ends:
            output = kind == "output"
            unit = kind if is_plain(graph, end.tensor, output) else f"{kind}_planes"
            if by_words(graph, end, output):
                unit += "_by_words"
            out[unit] = out.get(unit, 0.0) + float(graph.tensors[end.tensor].size)
    return out
