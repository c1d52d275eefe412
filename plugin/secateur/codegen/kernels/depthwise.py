"""Depthwise convolution, plane by plane, over its own input where shapes allow.

The 3x3 forms of stride 1 and, with the DSP extension, 2 compute two columns by a few rows at a
time: each input row is loaded and widened once for the up to three output rows it contributes to.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...lowering.qgraph import QConv
from ..emit import WRITTEN_OUT, CFunction, Emission, by_isa, not_with_vectors, render
from ..geometry import Ring, Stripe
from ..requant import RequantTable, multiplied
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


@dataclass(frozen=True)
class Strips:
    """Two columns by `chunk` rows of a 3x3 filter at a time."""

    stride: int
    chunk: int
    pitch: int  #: bytes of a row of the padded plane
    ow: int

    @classmethod
    def of(cls, op: QConv, rows: int, pitch: int, ow: int, small: bool) -> Strips | None:
        """Those of an output of `rows` rows; None where a layer has none."""
        sy, sx = op.stride
        if op.weight.shape[2:] != (3, 3) or sy != sx or sy > 2 or ow < 2:
            return None
        if multiplied(op.requant) is None:  # the strips multiply and shift
            return None
        most = 6 if sy == 1 else 2 if small else 4
        chunk = chunk_of(rows, most, 1.0 / sy)
        if max((sy * chunk + 1) * pitch + 4, chunk * ow, ow) >= 4096:  # reach of a load
            return None
        return cls(sy, chunk, pitch, ow)

    @property
    def isas(self) -> tuple[str, ...]:
        """Instruction sets that have the strips."""
        return ("plain", "dsp") if self.stride == 1 else ("dsp",)

    def function(self, q: RequantTable, skip: frozenset[int]) -> CFunction:
        """The routine; `skip`: input rows that are all zero."""
        rows = [r for r in range(self.chunk + 2) if r not in skip]
        values = {
            "chunk": self.chunk, "pitch": self.pitch, "ow": self.ow, "q": q,
            "requant": "smlawt" if q.pre_shift else "smlabt",
            "asr": f", asr #{q.shift}" if q.shift else "",
        }  # fmt: skip
        if self.stride == 2:
            name = f"strips_3x3s22_{self.chunk}x{self.ow}"
            text = render("depthwise_strip2.dsp.c.j2", name=name, **values)
            return CFunction(name, "", {"dsp": text})
        return by_isa(
            f"strips_3x3_{self.chunk}x{self.ow}", "depthwise_strip", "dsp", rows=rows,
            first_row=[min(r for r in rows if r >= y) for y in range(self.chunk)], **values,
        )  # fmt: skip


def chunk_of(rows: int, most: int = 6, start: float = 1.0) -> int:
    """Rows of a strip, for an output of `rows`; to begin one costs as much as `start` rows."""
    return min(range(1, min(rows, most) + 1), key=lambda r: (-(-rows // r) * (r + start), -r))


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
    assembler = frozenset({"dsp"})

    def work(self, layer: Layer[QConv]) -> dict[str, float]:
        return self._work(layer, "plain")

    def dsp_work(self, layer: Layer[QConv]) -> dict[str, float]:
        return self._work(layer, "dsp")

    def _strips(self, layer: Layer[QConv]) -> Strips | None:
        _, oh, ow = layer.graph.tensors[layer.op.output].shape
        lines = layer.stripe.rows if layer.stripe else oh
        return Strips.of(layer.op, lines, self._shape(layer)[1], ow, layer.small)

    def _work(self, layer: Layer[QConv], isa: str) -> dict[str, float]:
        op = layer.op
        (_, h, w), (_, oh, ow) = (layer.graph.tensors[t].shape for t in (op.inputs[0], op.output))
        kh, kw = op.weight.shape[2:]
        calls, lines = 1, oh
        if layer.stripe:
            calls, lines = layer.stripe.calls, layer.stripe.rows
        planes = float(calls * len(op.weight))
        outputs = float(len(op.weight) * oh * ow)
        taps = "taps" if kh * kw <= 9 else "looped_taps"
        made = {"outputs": outputs, taps: outputs * kh * kw}
        s = self._strips(layer)
        if s and isa in s.isas:
            strips = planes * -(-lines // s.chunk) * -(-ow // 2)
            unit = "strip" if s.stride == 1 else "strided_strip"
            made = {f"{unit}s": strips, f"{unit}_rows": strips * s.chunk}
        rows = planes * (self._shape(layer)[0] if layer.stripe else h)
        ring = layer.stripe is not None and layer.stripe.held[0] < h
        return {
            **made,
            "rows": rows,
            "ring_rows": rows if ring else 0.0,
            "copied" if w > WRITTEN_OUT else "moved": rows * w,
            "planes": planes,
            **index_work(layer, float(calls * op.weight.size)),
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
            **index_work(layer, float(calls * op.weight.size)),
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
        fast = self._strips(layer)
        skip = frozenset[int]()
        if layer.stripe is None and t_in.zero_point == 0:
            skip = frozenset(range(op.pads[0])) | frozenset(range(op.pads[0] + h, rows))
        functions: list[CFunction] = []
        if fast:
            all_rows = fast.chunk == oh > 1 and fast.stride == 1
            strip = fast.function(q, skip if all_rows else frozenset[int]())
            functions.append(not_with_vectors(strip))
        sy, sx = op.stride
        name = f"{depthwise_name(op, c, oh, ow)}{source.suffix}"
        shape = {
            "name": name, "title": f"Depthwise {kh}x{kw} convolution, {c} channels of {oh}x{ow}.",
            "source": source, "q": q, "zero": t_in.zero_point, "rows": rows, "pitch": pitch,
            "c": c, "h": h, "w": w, "oh": oh, "ow": ow, "kh": kh, "kw": kw, "sy": sy, "sx": sx,
            "pads": op.pads, "numbered": layer.stripe is not None, "ring": ring,
            "in_plane": s.held[0] * w, "out_plane": s.out * ow,
        }  # fmt: skip

        def text(isa: str) -> str:
            strips = fast if fast and isa in fast.isas else None
            return render(
                "depthwise.c.j2", strips=strips, strip=strip.name if fast else "", **shape
            )

        forms = {"helium": depthwise(shape, skip)}
        if fast and "plain" not in fast.isas:
            forms["dsp"] = text("dsp")
        functions.append(CFunction(name, text("plain"), forms))
        args = [*source.arguments, q.array.name, layer.inputs[0], layer.output, layer.scratch]
        args += [layer.first] if layer.stripe else []
        return Emission(source.call(name, args), functions, source.headers)
