"""What the tiled convolution kernels share: band loader, loops over tiles, stores, residual."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

import numpy as np

from ...coding.base import Encoded
from ...lowering.qgraph import QConv, QOp
from ..emit import CArray, CFunction, Emission, render
from ..geometry import Geometry, conv_geometry
from ..requant import RequantTable
from .base import Kernel, Layer
from .unpack import (
    Unpacking,
    align4,
    is_coded,
    memory_order,
    most_symbols,
    pointer,
    working_bytes,
)

T = TypeVar("T")


def remembered(rows: Callable[..., T]) -> Callable[..., T]:
    """`rows(weight int8 [rows, cols], offsets [cols], ...)`, remembered by content: the planner
    asks for a layer's rows for every chain it tries."""

    @lru_cache(maxsize=128)
    def of(weight: bytes, cols: int, offsets: bytes, *rest: Any) -> T:
        w = np.frombuffer(weight, np.int8).reshape(-1, cols)
        return rows(w, np.frombuffer(offsets, np.int64), *rest)

    def call(weight: np.ndarray, offsets: np.ndarray, *rest: Any) -> T:
        w, at = weight.astype(np.int8), offsets.astype(np.int64)
        return of(w.tobytes(), w.shape[1], at.tobytes(), *rest)

    return call


@dataclass(frozen=True)
class Rows:
    """The executable rows of a layer: what its kernel reads."""

    values: np.ndarray
    elem: str  #: their C type
    each: int  #: bytes a non-zero takes

    @classmethod
    def of_steps(cls, values: np.ndarray) -> Rows:
        """Counts and steps, of the smallest type that holds them."""
        wide = values.max(initial=0) >= 256
        return cls(values, "uint16_t" if wide else "uint8_t", 2 if wide else 1)

    @property
    def size(self) -> int:
        """Bytes of them all."""
        return int(self.values.size) * (2 if self.elem == "uint16_t" else 1)


class TiledConv(Kernel):
    """A convolution by tiles of `pixels`, over a band; coded rows are unpacked before it runs."""

    pixels: ClassVar[int]

    @abstractmethod
    def rows(self, layer: Layer) -> Rows:
        """The executable rows."""

    def stored(self, layer: Layer) -> Encoded:
        """What is decoded of a coded layer."""
        assert layer.encoded is not None
        return layer.encoded

    def band_bytes(self, layer: Layer) -> int:
        """Scratch for tiles and bands."""
        return self.geometry(layer).band_bytes

    def kept(self, layer: Layer) -> int:
        if not is_coded(layer.encoded):
            return 0
        e, rows = self.stored(layer), self.rows(layer)
        return align4(rows.size + rows.each * (most_symbols(e) - e.meta["nnz"]))

    def scratch(self, layer: Layer) -> int:
        band = self.band_bytes(layer)
        if not is_coded(layer.encoded):
            return band
        work = working_bytes(self.geometry(layer), self.stored(layer))
        return self.kept(layer) + max(band, work)

    def emission(
        self, layer: Layer, name: str, functions: list[CFunction], rows: CArray,
        others: list[CArray], unpack: Callable[[], Unpacking],
    ) -> Emission:  # fmt: skip
        """A call of function `name` with the rows as stored or, of a coded layer, as `unpack` puts
        them at `layer.kept`, and the arrays `others`."""
        g, names = self.geometry(layer), [a.name for a in others]
        if not is_coded(layer.encoded):
            args = call_arguments(layer, g, [rows.name, *names])
            return Emission(f"{name}({args});", functions, [rows, *others])
        u = unpack()
        args = call_arguments(layer, g, [pointer(rows.ctype, layer.kept), *names])
        return Emission(
            f"{name}({args});", [*u.functions, *functions], [*u.arrays, *others],
            u.headers, u.constants, u.call,
        )  # fmt: skip

    def geometry(self, layer: Layer) -> Geometry:
        """Tiles and band of the layer."""
        assert isinstance(layer.op, QConv)
        return conv_geometry(layer.op, layer.graph, self.pixels, stripe=layer.stripe)

    def order(self, layer: Layer) -> np.ndarray | None:
        return memory_order(self.geometry(layer))

    def overwrites(self, layer: Layer) -> tuple[int, ...]:
        return may_overwrite(layer.op, self.geometry(layer))

    def chains(self, layer: Layer) -> bool:
        return True

    def straight(self, layer: Layer) -> bool:
        g = self.geometry(layer)
        return g.pointwise or g.direct


def keep_rows(g: Geometry, in_place: bool) -> int:
    """Input rows the band hands on to the next one when the output overwrites the input."""
    return g.in_rows - g.rows * g.sy if in_place and not g.pointwise and g.rows < g.oh else 0


def may_overwrite(op: QOp, g: Geometry) -> tuple[int, ...]:
    """Inputs over which a tiled convolution may write its output."""
    out = [0] if g.can_overwrite else []
    # the residual is read where the output is written, unless edge tiles are computed twice
    once = g.ow % g.tw == 0 and g.oh % g.th == 0 and g.oh % g.rows == 0
    if len(op.inputs) > 1 and once:
        out.append(1)
    return tuple(out)


def shape_key(g: Geometry) -> str:
    """Part of a function's name that tells shapes apart for the reader."""
    if g.pointwise:
        return f"{g.ci}x{g.co}_p{g.ow}"
    s = f"s{g.sy}{g.sx}" if (g.sy, g.sx) != (1, 1) else ""
    return f"{g.kh}x{g.kw}{s}_{g.ci}x{g.co}_{g.oh}x{g.ow}"


def band_phases(g: Geometry) -> list[dict[str, int]]:
    """Where the columns of each phase begin in a band's row and come from in the input's."""
    phases = []
    for p in range(g.phases):
        shift = p - g.pads[1]  # column = j * sx + shift
        first = -(shift // g.sx) if shift < 0 else 0
        last = min(g.phase_pitch, (g.w - 1 - shift) // g.sx + 1)
        phases.append({"first": first, "last": last, "shift": shift, "base": p * g.phase_pitch})
    return phases


def band_function(g: Geometry, keep: int) -> CFunction | None:
    """The loader of a convolution's band; None where the input is read directly."""
    if g.direct or g.pointwise:
        return None
    name = f"band_{shape_key(g)}" + ("_keep" if keep else "") + ("_ring" if g.ring else "")
    return CFunction(name, render("band.c.j2", name=name, g=g, keep=keep, phases=band_phases(g)))


def tile_taps(op: QConv, g: Geometry) -> float:
    """How often a non-zero weight is applied to a tile."""
    return float(g.tiles * np.count_nonzero(op.weight))


def residual_work(layer: Layer) -> dict[str, float]:
    """Units of the residual operand."""
    added = len(layer.op.inputs) > 1
    return {"added": float(layer.graph.tensors[layer.op.output].size)} if added else {}


def band_work(g: Geometry) -> dict[str, float]:
    """Units of filling the bands of a whole layer, or of copying pointwise tiles."""
    if g.direct:
        return {}
    if g.pointwise:
        return {"copied": float(g.ci * g.ow * g.calls)}
    # bands of a chain do not know of each other
    rows = float(g.ci * (g.oh * g.step if g.rows < g.oh else g.in_rows) * g.calls)
    return {"band_rows": rows, "band" if g.sx == 1 else "band_strided": rows * g.row_pitch}


def start_tile(g: Geometry) -> str:
    """C that sets x, where a pointwise tile begins: the last is moved back to end with the row."""
    if g.ow % g.tw == 0 or g.ow < g.tw:
        return "const int x = xt;"
    return f"const int x = xt < {g.ow - g.tw} ? xt : {g.ow - g.tw};"


def copy_tile(g: Geometry) -> str:
    """C that copies one pointwise tile (from xt) of every channel into the band and sets x.

    The inputs of the pixels that the last tile shares with the one before may have been overwritten
    by then, but are still in the band.
    """
    rest = g.ow % g.tw
    plane = f"in + i * {g.in_plane} + x"
    move = f"memcpy(SC_ALIGNED4(band + i * {g.tw}), {plane}, {g.tw if g.ow >= g.tw else rest});"
    channels = f"for (int i = 0; i < {g.ci}; i++) {{"
    if not rest or g.ow < g.tw:
        return f"{start_tile(g)}\n{channels}\n    {move}\n}}"
    again = g.tw - rest
    tile = f"band + i * {g.tw}"
    if again < 4:
        mask = f"0x{(1 << 8 * again) - 1:X}u"
        last = (
            f"const uint32_t kept = sc_load4({tile} + {g.tw - 4}) >> {32 - 8 * again};\n"
            f"{move}\nsc_store4({tile}, (sc_load4({tile}) & ~{mask}) | kept);"
        )
    else:
        last = (
            f"sc_copy({tile}, {tile} + {rest}, {again});\n"
            f"memcpy({tile} + {again}, {plane} + {again}, {rest});"
        )
    last = last.replace("\n", "\n        ")
    return (
        f"{start_tile(g)}\n"
        f"if (x == xt) {{\n    {channels}\n        {move}\n    }}\n}} else {{\n    {channels}\n"
        f"        {last}\n    }}\n}}"
    )


@dataclass(frozen=True)
class Residual:
    """C around the residual operand of a tile."""

    setup: str
    add: list[tuple[str, str, str, str]]


def residual(op: QConv, g: Geometry, words: int) -> Residual | None:
    """Loads of the residual's words and the wrappers that add each pixel's share."""
    if op.residual is None:
        return None
    outs = g.out_offsets()[:words]
    if g.partial:
        size = g.tw * g.th
        setup = f"uint8_t rt[{size}] = {{0}};\n" + copy_valid(g, "rt", "r", into_tile=True)
        outs = [g.tw * (i // (g.tw // 4)) + 4 * (i % (g.tw // 4)) for i in range(words)]
        src = "rt"
    else:
        setup, src = "", "r"
    for i, o in enumerate(outs):
        setup += f"const uint32_t r{i} = sc_load({src} + {o});\n"
    adds = [
        tuple(f"sc_macw({op.residual}, (int32_t)(r{i} >> {8 * b} & 255u), {{}})" for b in range(4))
        for i in range(words)
    ]
    return Residual(setup, adds)  # type: ignore[arg-type]


def copy_valid(g: Geometry, tile: str, plane: str, into_tile: bool) -> str:
    """C that moves a partial tile's real pixels between a tile buffer and a plane."""

    def move(a: str, b: str, n: str | int) -> str:
        return f"memcpy({a}, {b}, {n});" if into_tile else f"memcpy({b}, {a}, {n});"

    if g.pointwise:
        return move(tile, plane, g.ow) + "\n"
    n = min(g.tw, g.ow)
    line = move(f"{tile} + i * {g.tw}", f"{plane} + i * {g.ow}", n)
    return f"for (int i = 0; i < {g.th} && y + i < {g.oh}; i++) {{\n    {line}\n}}\n"


def store(g: Geometry, words: list[str]) -> str:
    """C that stores the tile's words (C expressions) at `o`."""
    if not g.partial:
        pairs = zip(g.out_offsets(), words, strict=True)
        return "\n".join(f"sc_store(o + {off}, {w});" for off, w in pairs)
    out = "\n".join(f"const uint32_t w{i} = {w};" for i, w in enumerate(words)) + "\n"
    n = 4 * len(words)

    def to_tile() -> str:
        return f"uint8_t t[{n}];\n" + "".join(
            f"sc_store(t + {4 * i}, w{i});\n" for i in range(len(words))
        )

    return out + to_tile() + copy_valid(g, "t", "o", into_tile=False)


def tile_store(op: QConv, g: Geometry, q: RequantTable, lanes: list[tuple[str, str]]) -> str:
    """C that requantizes even/odd lane pairs and stores them."""
    r = residual(op, g, len(lanes))
    words = [q.lanes4(e, o, r.add[i] if r else None) for i, (e, o) in enumerate(lanes)]
    return (r.setup if r else "") + store(g, words)


def accumulator_store(op: QConv, g: Geometry, q: RequantTable, accs: list[str]) -> str:
    """C that requantizes int32 accumulators, four neighbours a word, and stores them."""
    n = len(accs) // 4
    r = residual(op, g, n)
    words = []
    for i in range(n):
        codes = [q.code(accs[4 * i + b], r.add[i][b] if r else "{}") for b in range(4)]
        words.append(
            " |\n    ".join(c + (f" << {8 * b}" if b else "") for b, c in enumerate(codes))
        )
    return (r.setup if r else "") + store(g, words)


def in_memory_order(columns: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns sorted by where they read, and the steps from read to read, first from 0."""
    order = np.argsort(offsets[columns], kind="stable")
    columns = columns[order]
    return columns, np.diff(offsets[columns], prepend=0)


def call_arguments(layer: Layer, g: Geometry, arrays: list[str]) -> str:
    """The arguments of a tiled convolution's call; the band is at the scratch."""
    args: list[Any] = [*arrays, layer.inputs[0], layer.output]
    if len(layer.inputs) > 1:
        args.append(layer.inputs[1])
    if not g.direct:
        args.append(layer.scratch)
    if g.numbered:
        args.append(layer.first)
    return ", ".join(args)
