"""16-bit activations: their scales, and constants of the arithmetic around them.

docs/integer-spec.md, "16-bit activations". Python's integers and int64 are exact throughout.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from secateur.errors import DataError, ModelError
from secateur.frontend.ir import Graph, Node
from secateur.lowering.qgraph import QTensor, WideRequant
from secateur.lowering.registry import wide_ops
from secateur.lowering.requant import DoesNotFitError

#: Operators that move elements and keep their operand's type.
MOVING = frozenset(
    {"transpose", "slice", "tile", "gather", "depth_to_space", "space_to_depth", "pad", "concat",
     "flatten", "reshape", "cast", "zero_pad", "max_pool", "resize"}
)  # fmt: skip
_INT32 = 2**31 - 1
_ROOM = 2**62  #: what no sum reaches
#: Stands for every layer that is not named.
ALL = "*"


def tensor(name: str, shape: tuple[int, ...], low: float, high: float) -> QTensor:
    """Codes -32767..32767 over the range, symmetric around the zero point 0."""
    most = max(-low, high)
    scale = most / 32767 if most > 1e-30 else 1 / 32767
    return QTensor(name, shape, scale, 0, dtype="int16")


def ends(y: QTensor, clamp: tuple[float, float | None] | None) -> tuple[int, int]:
    """(least, largest) code that an operator may write to `y`, with the ReLU folded into it."""
    low, high = y.bottom, y.top
    if clamp is None or not y.wide:
        return low, high
    low = max(low, round(clamp[0] / y.scale))
    return low, high if clamp[1] is None else min(high, round(clamp[1] / y.scale))


def products(w: np.ndarray, x: QTensor) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of every partial sum of codes of `x` times each row of integers; int64 [rows]."""
    down, up = np.minimum(w, 0).sum(axis=1), np.maximum(w, 0).sum(axis=1)
    return x.top * down + x.bottom * up, x.top * up + x.bottom * down


def requantize(
    m: np.ndarray,
    target: np.ndarray,
    zero_sum: np.ndarray,
    reach: np.ndarray,
    ends: tuple[int, int],
    residual: tuple[float, int, int] | None = None,
) -> tuple[WideRequant, int | None]:
    """Constants for y = clamp((acc * M + r * R + C) >> f), arrays [co].

    m: real multiplier; target: z_out + bias / s_out; zero_sum: z_in * sum(w); reach: bound of
    |acc|; residual: (s_r / s_out, z_r, bound of |r|). Raises DoesNotFitError.
    """
    reach = np.maximum(reach.astype(np.int64), 1)
    ratio, z_r, most_r = residual or (0.0, 0, 0)
    for f in range(62, -1, -1):
        real = np.rint(np.where(reach > 1, m, m) * 2.0**f)
        r = round(ratio * 2.0**f)
        if np.abs(real).max() > _INT32 or abs(r) > _INT32:
            continue
        mult = real.astype(np.int64)
        aim = np.rint(2.0**f * (target + 0.5))
        if np.abs(aim).max() >= _ROOM:
            continue
        exact = [
            int(a) - int(k) * int(z) - r * z_r
            for a, k, z in zip(aim, mult, np.broadcast_to(zero_sum, aim.shape), strict=True)
        ]
        unit = max(max(abs(c) for c in exact).bit_length() - 31, 0)
        stored = [(c + (1 << unit >> 1)) >> unit for c in exact]
        if max(abs(c) for c in stored) > _INT32:  # rounded up to 2^31
            unit += 1
            stored = [(c + (1 << unit >> 1)) >> unit for c in exact]
        sums = [
            int(k) * abs(int(b)) + (abs(c) << unit) + abs(r) * most_r
            for k, b, c in zip(np.abs(mult), reach, stored, strict=True)
        ]
        if max(sums) < _ROOM and unit <= max(f - 8, 0):
            offset = np.array([c << unit for c in stored], np.int64)
            made = WideRequant(mult.astype(np.int32), offset, 0, f, *ends, unit)
            return made, (r if residual else None)
    raise DoesNotFitError


def shift_for(ratios: tuple[float, ...], reaches: tuple[float, ...], target: float) -> int:
    """The largest f with every ratio * 2^f in int32 and all products and the target below 2^62."""
    for f in range(62, -1, -1):
        total = sum(abs(r) * n for r, n in zip(ratios, reaches, strict=True)) + abs(target) + 2
        fits = all(round(abs(r) * 2.0**f) <= _INT32 for r in ratios)
        if fits and total * 2.0**f < _ROOM and round(2.0**f * (target + 0.5)) <= _INT32 << 20:
            return f
    raise DoesNotFitError


def interpolated(
    exact: np.ndarray, y: QTensor, ends: tuple[int, int]
) -> tuple[np.ndarray, int, int]:
    """(table [2^b + 1], fraction bits F = 16 - b, extra bits p) of a function.

    exact: float64 [65537], real output codes at every input code -32768..32768. b is the least of
    5..11 whose straight lines stay within 3/4 code of it (1/2 for 8-bit outputs), else 11. The
    table is int16, or int32 where the function goes on beyond the output's codes.
    """
    extra = 0 if y.wide else 7
    real = np.nan_to_num(exact, nan=float(y.zero_point))
    bounded = np.clip(real, -65536.0, 65536.0)  # float64's largest would overflow
    entries = np.clip(np.rint(bounded * 2.0**extra), -65536, 65536).astype(np.int32)
    aim, q = np.clip(real[:-1], *ends), np.arange(-32768, 32768)
    for b in range(5, 12):
        table, fraction = entries[:: 1 << (16 - b)], 16 - b
        got = np.clip(lines(table, fraction, q) / 2.0 ** (fraction + extra), *ends)
        if np.abs(got - aim).max() <= (0.75 if y.wide else 0.5):
            break
    small = table.min() >= -32768 and table.max() <= 32767
    return table.astype(np.int16 if small else np.int32), fraction, extra


def lines(table: np.ndarray, fraction: int, q: np.ndarray) -> np.ndarray:
    """int64: a function at codes `q` by straight lines between its table, times 2^fraction."""
    at = q.astype(np.int64) + 32768
    i, r = at >> fraction, at & ((1 << fraction) - 1)
    t = table.astype(np.int64)
    value: np.ndarray = t[i] * (1 << fraction) + (t[i + 1] - t[i]) * r
    return value


# -- which tensors ---------------------------------------------------------------------------------

Wanted = str | Mapping[str, str] | None  #: "int16", "int8", or one of them by layer


def check(wanted: Wanted) -> None:
    """Raises DataError unless it is a type, or types by layer."""
    values = wanted.values() if isinstance(wanted, Mapping) else [wanted or "int8"]
    for v in values:
        if v not in ("int8", "int16"):
            raise DataError(f"activations is {v!r}: choose int8 or int16, for all or by layer")


def default_of(wanted: Wanted) -> str:
    """The type of layers that are not named."""
    if isinstance(wanted, Mapping):
        return wanted.get(ALL, "int8")
    return wanted or "int8"


def asked(graph: Graph, wanted: Wanted) -> None:
    """Note in `graph` (its nodes' attributes are changed) what was asked of each named layer.

    A layer's name also stands for the nodes that were made of it (its activation). Raises
    ModelError for a name that the model has not.
    """
    if isinstance(wanted, str) or (wanted and ALL in wanted):  # whatever the source has
        for n in graph.nodes:
            if n.op != "input":
                n.attrs.pop("activations", None)
                n.attrs.pop("step", None)
    for layer, kind in wanted.items() if isinstance(wanted, Mapping) else ():
        if layer == ALL:
            continue
        mine = [n for n in graph.nodes if n.name == layer]
        mine += [n for n in graph.nodes if n.name.startswith(f"{layer}_") and _behind(n, mine)]
        if not mine:
            names = ", ".join(n.name for n in graph.nodes)
            raise ModelError(
                f"activations names layer {layer!r}, which '{graph.name}' has not: {names}"
            )
        for n in mine:
            n.attrs["activations"] = kind


def _behind(node: Node, made: list[Node]) -> bool:
    return any(t in {m.output for m in made} for t in node.inputs)


def maker(graph: Graph, tensor: str) -> Node:
    """What computes a tensor, behind operators that only move elements."""
    node = graph.node(tensor)
    while node.op in MOVING and len(node.inputs) == 1:
        node = graph.node(node.inputs[0])
    return node


def outputs(graph: Graph, wanted: Wanted, ends: frozenset[str] = frozenset()) -> set[str]:
    """Tensors of a simplified graph that shall have 16 bits.

    ends: outputs of the model that shall, whatever was asked of their layers: those that make them
    do. Raises ModelError naming every layer that cannot.
    """
    kind = default_of(wanted)
    found: set[str] = set()
    for node in graph.nodes:
        if graph.dtype(node.output) == "int32" or "levels" in node.attrs:
            continue
        own = node.attrs.get("activations", kind)
        if node.op == "input":
            own = node.attrs.get("activations", "int8")
        if own == "int16":
            found.add(node.output)
    refused = [graph.node(t) for t in found if graph.node(t).op not in wide_ops()]
    if refused:
        refused.sort(key=graph.nodes.index)
        rest = f" ({len(refused) - 1} more: {', '.join(n.name for n in refused[1:])})"
        name = refused[0].name
        raise ModelError(
            f"{refused[0].title} has no form with 16-bit activations{rest if refused[1:] else ''}; "
            f"keep it at 8 bits with activations={{'{ALL}': 'int16', '{name}': 'int8'}}"
        )
    for t in ends:
        node = maker(graph, t)
        if node.op in wide_ops() and node.op not in MOVING and "levels" not in node.attrs:
            found.add(node.output)
    return found
