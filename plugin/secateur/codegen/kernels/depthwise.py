"""Depthwise convolution, plane by plane, over its own input where shapes allow.

The 3x3 stride-1 form computes two columns by a few rows at a time: each input row is loaded and
widened once for the up to three output rows it contributes to.
"""

from __future__ import annotations

from ...lowering.qgraph import QConv
from ..emit import CFunction, Emission, by_isa, not_with_vectors, render
from ..geometry import Ring, Stripe
from ..requant import RequantTable, ThresholdTable
from .base import Kernel, Layer, register
from .coded import decode_work, is_coded
from .helium_depthwise import depthwise, work
from .source import StoredTable, index_work, row_bytes, row_source, stored_rows


def is_depthwise(op: QConv) -> bool:
    """Whether `op` filters every channel by itself."""
    return (
        op.groups > 1
        and op.weight.shape[0] == op.groups
        and op.weight.shape[1] == 1
        and op.residual is None
    )


def plane_over_plane(layer: Layer[QConv]) -> tuple[int, ...]:
    """Inputs over which a kernel that copies each plane before it writes one may write."""
    a, b = (layer.graph.tensors[t].shape for t in (layer.op.inputs[0], layer.op.output))
    return (0,) if b[1] * b[2] <= a[1] * a[2] and layer.stripe is None else ()


def depthwise_name(op: QConv, channels: int, oh: int, ow: int) -> str:
    """Name of a layer's C function."""
    kh, kw = op.weight.shape[2:]
    sy, sx = op.stride
    s = f"s{sy}{sx}" if op.stride != (1, 1) else ""
    return f"depthwise_{kh}x{kw}{s}_{channels}_{oh}x{ow}"


def _strip_function(
    chunk: int, pitch: int, ow: int, q: RequantTable, skip: frozenset[int]
) -> CFunction:
    """The routine that filters `chunk` rows of a padded plane of `pitch` bytes a row."""
    # the assembler requantizes: it multiplies and shifts
    isas = () if isinstance(q, ThresholdTable) else ("dsp",)
    rows = [r for r in range(chunk + 2) if r not in skip]  # the others are all zero
    return by_isa(
        f"strips_3x3_{chunk}x{ow}", "depthwise_strip", *isas, chunk=chunk, pitch=pitch, ow=ow,
        rows=rows, first_row=[min(r for r in rows if r >= y) for y in range(chunk)], q=q,
        requant="smlawt" if q.pre_shift else "smlabt",
        asr=f", asr #{q.shift}" if q.shift else "",
    )  # fmt: skip


def chunk_of(rows: int) -> int:
    """Rows of a strip, for an output of `rows`."""
    return min(range(1, min(rows, 6) + 1), key=lambda r: (-(-rows // r) * (r + 1.0), -r))


@register
class Depthwise(Kernel[QConv, StoredTable]):
    """Depthwise convolution with one filter per channel."""

    name = "depthwise"
    forms = frozenset({"dense", "indices", "coded dense"})

    def applies(self, layer: Layer[QConv]) -> bool:
        return is_depthwise(layer.op)

    def _shape(self, layer: Layer[QConv]) -> tuple[int, int]:
        """Rows and pitch of the padded plane; in a chain, of the rows that a call reads."""
        op = layer.op
        _, h, w = layer.graph.tensors[op.inputs[0]].shape
        rows = h + op.pads[0] + op.pads[2]
        if layer.stripe:
            rows = (layer.stripe.rows - 1) * op.stride[0] + op.weight.shape[2]
        pitch = (w + op.pads[1] + op.pads[3] + 3) & ~3
        return rows, pitch

    def scratch(self, layer: Layer[QConv]) -> int:
        rows, pitch = self._shape(layer)
        return rows * pitch + 4 + row_bytes(stored_rows(layer))

    def overwrites(self, layer: Layer[QConv]) -> tuple[int, ...]:
        return plane_over_plane(layer)

    def chains(self, layer: Layer[QConv]) -> bool:
        return not is_coded(layer.encoded)  # its rows would be decoded again in each call

    plain_factor = 2.5

    def work(self, layer: Layer[QConv]) -> dict[str, float]:
        op = layer.op
        (_, h, w), (_, oh, ow) = (layer.graph.tensors[t].shape for t in (op.inputs[0], op.output))
        kh, kw = op.weight.shape[2:]
        calls, lines = 1, oh
        if layer.stripe:
            calls, lines = layer.stripe.calls, layer.stripe.rows
        fast = (kh, kw) == (3, 3) and op.stride == (1, 1) and ow >= 2 and lines >= 2
        planes = float(calls * len(op.weight))
        outputs = float(len(op.weight) * oh * ow)
        taps = "taps" if kh * kw <= 9 else "looped_taps"
        made = {"outputs": outputs, taps: outputs * kh * kw}
        if fast:
            chunk = chunk_of(lines)
            strips = planes * -(-lines // chunk) * -(-ow // 2)
            made = {"strips": strips, "strip_rows": strips * chunk}
        rows = self._shape(layer)[0] if layer.stripe else h
        return {
            **made,
            "rows": planes * rows,
            "copied": planes * rows * w,
            "planes": planes,
            **index_work(layer, float(op.weight.size)),
            **decode_work(layer.encoded),
        }

    def vector_work(self, layer: Layer[QConv]) -> dict[str, float]:
        op = layer.op
        (c, h, w), (_, oh, ow) = (layer.graph.tensors[t].shape for t in (op.inputs[0], op.output))
        calls, rows = 1, h
        if layer.stripe:
            calls, rows = layer.stripe.calls, self._shape(layer)[0]
            oh = layer.stripe.rows
        return {
            **work(calls * c, (oh, ow), op.weight.shape[2:], op.stride),
            "copied": float(calls * c * rows * -(-w // 16)),
            "planes": float(calls * c),
            **index_work(layer, float(op.weight.size)),
            **decode_work(layer.encoded),
        }

    def table(self, layer: Layer[QConv]) -> StoredTable:
        return StoredTable.make(layer, stored_rows(layer), layer.op.requant)

    def emit(self, layer: Layer[QConv], table: StoredTable) -> Emission:
        op, q = layer.op, table.q
        t_in = layer.graph.tensors[op.inputs[0]]
        c, h, w = t_in.shape
        _, oh, ow = layer.graph.tensors[op.output].shape
        kh, kw = op.weight.shape[2:]
        s = layer.stripe or Stripe(oh, 1, (h,), oh)
        oh, ring = s.rows, Ring(s.held[0], h, w, op.stride[0], op.pads)
        rows, pitch = self._shape(layer)
        source = row_source(table.stored, f"scratch + {rows * pitch + 4}")
        chunk = chunk_of(oh)
        fast = (kh, kw) == (3, 3) and op.stride == (1, 1) and ow >= 2 and oh >= 2
        fast = fast and max((chunk + 1) * pitch, chunk * ow, ow) < 4096  # reach of a load
        fast = fast and not isinstance(q, ThresholdTable)  # the strips multiply and shift
        skip = frozenset[int]()
        if layer.stripe is None and t_in.zero_point == 0:
            skip = frozenset(range(op.pads[0])) | frozenset(range(op.pads[0] + h, rows))
        strips: list[CFunction] = []
        if fast:
            none = frozenset[int]()
            strips.append(_strip_function(chunk, pitch, ow, q, skip if chunk == oh else none))
        sy, sx = op.stride
        name = f"{depthwise_name(op, c, oh, ow)}{source.suffix}"
        shape = {
            "name": name, "title": f"Depthwise {kh}x{kw} convolution, {c} channels of {oh}x{ow}.",
            "source": source, "q": q, "zero": t_in.zero_point, "rows": rows, "pitch": pitch,
            "c": c, "h": h, "w": w, "oh": oh, "ow": ow, "kh": kh, "kw": kw, "sy": sy, "sx": sx,
            "pads": op.pads, "numbered": layer.stripe is not None, "ring": ring,
            "in_plane": s.held[0] * w, "out_plane": s.out * ow,
        }  # fmt: skip
        text = render(
            "depthwise.c.j2", fast=fast, chunk=chunk, strip=strips[0].name if fast else "", **shape
        )
        function = CFunction(name, text, {"helium": depthwise(shape, skip)})
        args = [*source.arguments, q.array.name, layer.inputs[0], layer.output, layer.scratch]
        args += [layer.first] if layer.stripe else []
        functions = [*map(not_with_vectors, strips), function]
        return Emission(source.call(name, args), functions, source.headers)
