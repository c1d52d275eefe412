"""The tiled convolution: the only emit, work and scratch of all that execute rows on tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import numpy as np

from ....lowering.qgraph import QConv
from ...emit import CFunction, Emission, render
from ...geometry import Thrift, align4
from ...requant import multiplied
from ..base import Kernel, Layer, add
from ..coded import coded, is_coded, rows_of
from .executor import RowExecutor, Rows, RowTable, Slots
from .schedule import (
    TileSchedule,
    band_function,
    band_work,
    gather_function,
    keep_rows,
    may_overwrite,
    residual_work,
    weight_matrix,
)
from .store import copy_tile, start_tile
from .unpack import (
    BAND_LAST,
    BAND_ROWS,
    Band,
    Job,
    described,
    has_bands,
    kept_bytes,
    pointer,
    unpack,
    unpack_work,
    unpacker_of,
    working_bytes,
)

#: Into how many parts the output channels may be cut where rows are unpacked part by part.
PARTS = (2, 4, 8, 16)


class TiledConv(Kernel[QConv, RowTable]):
    """A convolution (groups == 1) by tiles of pixels, over a band; coded rows are unpacked before
    it runs, or, where RAM is short, those of some output channels before these are made.
    `executor` says how rows are stored and applied."""

    executor: ClassVar[RowExecutor]

    def schedule(self, layer: Layer[QConv]) -> TileSchedule:
        """Tiles and bands of the layer."""
        return self.executor.schedule(layer)

    def applies(self, layer: Layer[QConv]) -> bool:
        if layer.op.groups != 1 or not self.executor.applies(layer):
            return False
        if not is_coded(layer.encoded) or layer.encoding.decoder:
            return True
        return bool(unpacker_of(rows_of(layer), self._rows(layer).form))

    def order(self, layer: Layer[QConv]) -> np.ndarray | None:
        return self.schedule(layer).order

    def _rows(self, layer: Layer[QConv]) -> Rows:
        return self.executor.rows(layer, self.schedule(layer))

    def table(self, layer: Layer[QConv]) -> RowTable:
        rows, q = self._rows(layer), self.executor.requant(layer)
        others = self.executor.others(layer)
        if not is_coded(layer.encoded):
            arrays = (rows.array(layer.prefix), *others, q.array)
            return RowTable(arrays=arrays, q=q, rows=rows, coded=None, others=others)
        c = coded(layer)
        band = self._band(layer, rows)
        constants = (c.constant,) if described(c.encoded, rows.form, band) else ()
        arrays = (*c.arrays, *others, q.array)
        return RowTable(
            arrays=arrays, constants=constants, q=q, rows=rows, coded=c, others=others
        )  # fmt: skip

    def kept(self, layer: Layer[QConv]) -> int:
        if not is_coded(layer.encoded):
            return 0
        rows = self._rows(layer)
        if band := self._band(layer, rows):
            return align4(band.bytes)
        return kept_bytes(rows_of(layer), rows.form, rows.values, rows.each)

    def _band(self, layer: Layer[QConv], rows: Rows) -> Band | None:
        """The rows that are unpacked at a time, unless it is all of them."""
        if not layer.thrift.channels:
            return None
        weight = weight_matrix(layer.op)
        return Band.of(weight, layer.thrift.channels, rows.array("").size, rows.each)

    def scratch(self, layer: Layer[QConv]) -> int:
        s = self.schedule(layer)
        band = self.executor.band_bytes(s, layer)
        if not is_coded(layer.encoded):
            return band
        return self.kept(layer) + max(band, working_bytes(s.g, rows_of(layer)))

    def overwrites(self, layer: Layer[QConv]) -> tuple[int, ...]:
        s = self.schedule(layer)
        rest = tuple(i for i in may_overwrite(layer.op, s.g) if i)
        if layer.thrift.channels:  # each band of channels reads the input
            return rest
        w = s.window
        first = w.rows >= w.oh and not (w.direct or w.pointwise or w.chained)
        # where all of it is in the band before anything is written
        return (0, *rest) if first or (0 in may_overwrite(layer.op, s.window)) else rest

    def chains(self, layer: Layer[QConv]) -> bool:
        return True

    def thrifty(self, layer: Layer[QConv]) -> Iterator[Thrift]:
        co = layer.op.weight.shape[0]
        if is_coded(layer.encoded):
            whole = multiplied(layer.op.requant) is not None and not self.executor.others(layer)
            if whole and has_bands(rows_of(layer), self._rows(layer).form):
                yield from (Thrift(n) for n in sorted({-(-co // p) for p in PARTS if co > 1}))
            return
        if self.executor.narrow:
            yield Thrift(narrow=True)
        if self.executor.shortens(layer, self.schedule(layer)):
            yield Thrift(short=True)

    def straight(self, layer: Layer[QConv]) -> bool:
        window = self.schedule(layer).window
        return window.pointwise or window.direct

    def work(self, layer: Layer[QConv]) -> dict[str, float]:
        return self._work(layer, self.executor.units(layer, self.schedule(layer)))

    def dsp_work(self, layer: Layer[QConv]) -> dict[str, float]:
        return self._work(layer, self.executor.dsp_units(layer, self.schedule(layer)))

    def vector_work(self, layer: Layer[QConv]) -> dict[str, float]:
        return self._work(layer, self.executor.vector_units(layer, self.schedule(layer)))

    def _work(self, layer: Layer[QConv], units: dict[str, float]) -> dict[str, float]:
        s = self.schedule(layer)
        unpack: dict[str, float] = {}
        if is_coded(layer.encoded):
            rows = self._rows(layer)
            unpack = unpack_work(rows_of(layer), rows.form, self._band(layer, rows))
        inputs = {"gathered": float(s.g.tiles * s.g.ci)} if s.gathered else {}
        inputs |= band_work(s.window)
        times = -(-s.g.co // (layer.thrift.channels or s.g.co))  # bands of channels
        inputs = {unit: times * n for unit, n in inputs.items()}
        return {**units, **residual_work(layer), **inputs, **unpack}

    def emit(self, layer: Layer[QConv], table: RowTable) -> Emission:
        s = self.schedule(layer)
        if table.coded and layer.thrift.channels:
            return self._in_bands(layer, s, table)
        name, functions = self._function(layer, s, table)
        return self._call(layer, s, table, name, functions)

    def _function(
        self, layer: Layer[QConv], s: TileSchedule, table: RowTable
    ) -> tuple[str, list[CFunction]]:
        """The name of the function that makes the channels of `s`, and all that there must be."""
        made = self.executor.emit(layer, s, table)
        name = f"conv_{self.executor.c_name}_{s.key}"
        band = band_function(s.window, keep_rows(s.g, layer.in_place), layer.compact)
        functions = [*made.functions, *([band] if band else [])]
        band_name = band.name if band else ""
        before, copy = "", copy_tile(s.g, layer.compact) if s.g.pointwise else ""
        if s.gathered:
            gather = gather_function(s.window, s.g.channel_pitch)
            functions.append(gather)
            source = f"band + {s.tile_bytes}" if band else "in"
            before = f"{band_name}({source}, in, 0);" if band else ""
            copy = f"{start_tile(s.g)}\n{gather.name}(band, {source}, x);"

        def text(slots: Slots, s: TileSchedule) -> str:
            return render(
                "tile/conv.c.j2", name=name, title=self.executor.title(s), g=s.g, q=table.q,
                elem=table.rows.form.element, slots=slots, copy=slots.copy or copy, before=before,
                band_name=band_name, residual=layer.op.residual is not None,
            )  # fmt: skip

        forms = {isa: text(*form) for isa, form in made.forms.items()}
        functions.append(CFunction(name, text(made.slots, s), forms))
        return name, functions

    def _in_bands(self, layer: Layer[QConv], s: TileSchedule, table: RowTable) -> Emission:
        """Unpacking and calls, some output channels at a time, the last ones perhaps fewer."""
        co, each = s.g.co, layer.thrift.channels
        assert table.coded is not None
        u = unpack(self._job(layer, s, table))
        functions = list(u.functions)

        def step(channels: int, at: str, last: str) -> str:
            part = replace(s, window=replace(s.window, co=channels), g=replace(s.g, co=channels))
            name, made = self._function(layer, part, table)
            functions.extend(made)
            operands = _operands(layer, s)
            operands[1] += f" + {s.g.out_plane} * {at}"
            if len(layer.op.inputs) > 1:
                operands[2] += f" + {s.g.res_plane} * {at}"
            q = f"{table.q.array.name} + {table.q.array.values[0].size} * {at}"
            args = [pointer(table.rows.form.element, layer.kept), q, *operands]
            got = u.call.replace(BAND_ROWS, str(channels)).replace(BAND_LAST, last)
            return f"{got}\n{name}({', '.join(args)});"

        whole = co - co % each
        loop = step(each, "co", f"co == {whole - each}" if whole == co else "0")
        call = render(
            "tile/bands.c.j2", opening=u.opening, whole=whole, each=each, loop=loop,
            rest=step(co - whole, str(whole), "1") if whole < co else "",
        )  # fmt: skip
        return Emission(call.rstrip(), functions, u.headers)

    def _job(self, layer: Layer[QConv], s: TileSchedule, table: RowTable) -> Job:
        """The unpacking of the layer's rows."""
        rows = table.rows
        assert table.coded is not None
        size = rows.form.elem[4:-2] or rows.form.record
        band = self._band(layer, rows)
        key = f"{s.key}_{size}" + ("_band" if band else "")
        return Job(table.coded, s.g, rows.form, key, layer.kept, layer.scratch, band)

    def _call(
        self, layer: Layer[QConv], s: TileSchedule, table: RowTable, name: str,
        functions: list[CFunction],
    ) -> Emission:  # fmt: skip
        """A call with the rows as stored or, of a coded layer, unpacked at `layer.kept`."""
        rows = table.rows
        others = [a.name for a in table.others]
        if table.coded is None:
            args = [table.arrays[0].name, *others, table.q.array.name, *_operands(layer, s)]
            return Emission(f"{name}({', '.join(args)});", functions)
        u = unpack(self._job(layer, s, table))
        at = pointer(rows.form.element, layer.kept)
        args = [at, *others, table.q.array.name, *_operands(layer, s)]
        call = f"{name}({', '.join(args)});"
        return Emission(call, [*u.functions, *functions], u.headers, u.call)


def _operands(layer: Layer[QConv], s: TileSchedule) -> list[str]:
    """Arguments of the call: operands, the band at the scratch, the number of the first row."""
    args = [layer.inputs[0], layer.output, *layer.inputs[1:2]]
    if not s.g.direct:
        args.append(layer.scratch)
    if s.g.numbered:
        args.append(layer.first)
    return args


E_ = TypeVar("E_", bound=type[RowExecutor])


def register_rows(cls: E_) -> E_:
    """Class decorator: make the tiled convolution with this executor known as a kernel."""
    made: dict[str, Any] = {
        name: getattr(cls, name)
        for name in ("name", "forms", "plain_factor", "assembler", "__doc__")
    }
    add(type(f"Tiled{cls.__name__}", (TiledConv,), {**made, "executor": cls()})())
    return cls
