"""Layers that make each element of that element of every operand: of whole tensors in one run, in
a chain plane by plane, the rows of a call."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Flash, Kernel, Layer, Op


@dataclass(frozen=True)
class Runs:
    """Elements of a call that lie side by side in every tensor of a layer."""

    count: int  #: runs a call
    size: int  #: elements of one
    pointers: tuple[str, ...]  #: to run `ch` of each input, then of the output

    def around(self, call: str) -> str:
        """C that does `call` for every run."""
        if self.count == 1:
            return call
        return f"for (int ch = 0; ch < {self.count}; ch++) {{\n    {call}\n}}"


def runs(layer: Layer[Op]) -> Runs:
    """Those of a layer whose tensors are all of one shape."""
    count, size = _shape(layer)
    pointers = tuple(layer.pointers)
    if layer.stripe and count > 1:
        s, w = layer.stripe, layer.graph.tensors[layer.op.output].shape[2]
        places = zip(pointers, (*s.held, s.out), strict=True)
        pointers = tuple(f"{p} + {held * w} * ch" for p, held in places)
    return Runs(count, size, pointers)


def _shape(layer: Layer[Op]) -> tuple[int, int]:
    """How many runs a call makes, and elements of one."""
    s = layer.stripe
    if s is None:
        return 1, layer.out_size
    c, _, w = layer.graph.tensors[layer.op.output].shape
    whole = {*s.held, s.out} == {s.rows}  # the planes are one run, too
    return (1, c * s.rows * w) if whole else (c, s.rows * w)


class ByElement(Kernel[Op, Flash]):
    """A kernel of such layers."""

    def chains(self, layer: Layer[Op]) -> bool:
        shapes = {layer.graph.tensors[t].shape for t in (*layer.op.inputs, layer.op.output)}
        return len(shapes) == 1 and planes_of_bytes(layer)

    def straight(self, layer: Layer[Op]) -> bool:
        return True

    def work(self, layer: Layer[Op]) -> dict[str, float]:
        return made(layer)


def planes_of_bytes(layer: Layer[Op]) -> bool:
    """Whether every tensor of a layer is of planes, a byte an element."""
    tensors = (layer.graph.tensors[t] for t in (*layer.op.inputs, layer.op.output))
    return all(len(t.shape) == 3 and t.dtype == "uint8" for t in tensors)


def made(layer: Layer[Op]) -> dict[str, float]:
    """The elements that a layer makes in an inference, and, in a chain, the runs."""
    count, size = _shape(layer)
    if layer.stripe is None:
        return {"elements": float(size)}
    turns = layer.stripe.calls * count
    return {"elements": float(turns * size), "runs": float(turns)}
