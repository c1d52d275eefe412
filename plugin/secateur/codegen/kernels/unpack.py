"""Coded weights: the C that turns a layer's streams into the form its kernel reads.

A convolution uses every weight many times, so its rows are unpacked once, into scratch, before it
runs; a fully connected or depthwise layer takes one row after the other from the decoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ... import coding
from ...coding.base import Encoded
from ...names import model
from ..emit import CArray, CFunction, Constant, render
from ..geometry import Geometry
from .base import Layer

#: Encodings that have an unpacker of their own, one for all convolutions.
RICE = ("rice_sparse", "rice_ternary")
HUFFMAN = ("huffman_joint", "huffman_sparse", "huffman_ternary")
#: About how many bytes of code these are.
UNPACKER_BYTES = dict.fromkeys(RICE, 240) | dict.fromkeys(HUFFMAN, 900)


def is_coded(e: Encoded | None) -> bool:
    """Whether the encoding's streams need a decoder."""
    return e is not None and coding.get(e.encoding).decoder is not None


@dataclass(frozen=True)
class Coded:
    """A coded layer's arrays and descriptor."""

    encoded: Encoded
    name: str  #: of the descriptor
    arrays: list[CArray]
    constant: Constant
    header: str

    @property
    def c_name(self) -> str:
        """Stem of the decoder's C names."""
        return coding.get(self.encoded.encoding).c_name

    @property
    def room(self) -> int:
        """Elements of a row buffer."""
        return max(1, self.encoded.meta["row_nnz"])


def coded(layer: Layer) -> Coded:
    """Arrays and descriptor of a layer whose encoding has a decoder."""
    e = layer.encoded
    assert e is not None
    encoding = coding.get(e.encoding)
    assert encoding.decoder is not None
    arrays = []
    names = {}
    for s in e.streams:
        # a code table that several layers share is one array (see coding/sharing.py)
        owner = f"{model(layer.graph.name)}_shared_{s.shared}" if s.shared else layer.prefix
        user = "shared" if s.shared else layer.op.name
        a = CArray(
            f"{owner}_{s.name}", s.ctype, np.frombuffer(s.data, _DTYPE[s.ctype]),
            f"{user}: {e.encoding}, {s.kind}", {s.kind: s.bits},
        )  # fmt: skip
        names[s.name] = a.name
        if a.values.size:
            arrays.append(a)
        else:
            names[s.name] = "0"
    name = f"{layer.prefix}_stream"
    text = f"static const sc_{encoding.c_name}_stream {name} = {encoding.c_stream(e, names)};"
    macros = encoding.c_macros(e)
    return Coded(e, name, arrays, Constant(text, 32, macros), encoding.decoder)


_DTYPE = {"uint8_t": "<u1", "int8_t": "<i1", "uint16_t": "<u2", "int16_t": "<i2", "uint32_t": "<u4"}


def memory_order(g: Geometry) -> np.ndarray:
    """Columns of a convolution in the order in which the band holds what they read."""
    return np.argsort(g.offsets(), kind="stable")


def decode_cost(e: Encoded | None) -> float:
    """Instructions of decoding a layer once; 0 where kernels read its streams in place."""
    return coding.get(e.encoding).cost(e) if e is not None and is_coded(e) else 0.0


def decode_work(e: Encoded | None) -> dict[str, float]:
    """Units of decoding a layer once, for `Kernel.work`; none where kernels read in place."""
    return {f"decode.{e.encoding}": decode_cost(e)} if e is not None and is_coded(e) else {}


def unpack_work(e: Encoded | None) -> dict[str, float]:
    """The same, with the rewriting into a convolution's rows."""
    if e is None or not is_coded(e):
        return {}
    if e.encoding in HUFFMAN:  # decoded into rows at once; amounts are instructions of a Cortex-M4
        encoding = coding.get(e.encoding)
        count, values = (2, 35.0) if e.encoding == "huffman_sparse" else (1, 12.0)
        tables = count * (6500.0 + 14.0 * sum(encoding.c_macros(e).values()))
        symbols = 26.0 * e.meta["symbols"] + values * e.meta["nnz"]
        return {"decode.tables": tables, "decode.symbols": symbols, "decode.rows": 28.0 * e.rows}
    rewriting = {"unpacked": float(e.meta["nnz"]), "unpacked_rows": float(e.rows)}
    return {**rewriting, **decode_work(e)}


def working_bytes(g: Geometry, e: Encoded) -> int:
    """Scratch needed only while unpacking: column map and row buffers."""
    room = max(1, e.meta["row_nnz"])
    return align4(2 * e.cols if not g.pointwise else 0) + align4(2 * room) + align4(room)


def most_symbols(e: Encoded) -> int:
    """How many non-zeros unpacking may write, of a damaged stream, too."""
    if e.encoding not in RICE:
        return e.meta["nnz"]
    return -(-e.stream("g").bits // (e.meta["k"] + 1))


def align4(n: int) -> int:
    """`n` rounded up to a multiple of four."""
    return (n + 3) & ~3


def pointer(elem: str, at: str) -> str:
    """C of the byte pointer `at` as one to `elem`."""
    return at if elem == "uint8_t" else f"({elem} *)(void *)({at})"


@dataclass(frozen=True)
class Unpacking:
    """What a convolution adds to its library to unpack its rows into scratch first."""

    functions: list[CFunction]
    call: str
    arrays: list[CArray]
    headers: list[str]
    constants: list[Constant]


def map_function(g: Geometry) -> CFunction | None:
    """C that lists where each column of a convolution reads; None for pointwise layers."""
    if g.pointwise:
        return None
    phases = [
        {"base": p * g.phase_pitch, "count": len(range(p, g.kw, g.sx))} for p in range(g.phases)
    ]
    name = f"columns_{g.kh}x{g.kw}_{g.ci}_{g.row_pitch}_{g.channel_pitch}"
    return CFunction(name, render("column_map.c.j2", name=name, g=g, phases=phases))


def unpack_rows(
    layer: Layer, g: Geometry, key: str, elem: str, record: int, wide: bool, out: str, work: str
) -> Unpacking:
    """Unpack the rows of a coded convolution to `out`, with scratch at `work` (C expressions).

    elem: element type of ternary rows, "" for sparse records of `record` bytes (`wide`: two-byte
    counts).
    """
    c = coded(layer)
    column_map = map_function(g)
    functions = [column_map] if column_map else []
    map_bytes = align4(2 * c.encoded.cols) if column_map else 0
    fail = " != 0) {\n    return -1;\n}"
    form = elem[:-2] or f"records{record}{'w' if wide else ''}"
    at_map = f"(uint16_t *)(void *)({work})"
    fill_map = f"{column_map.name}({at_map});\n" if column_map else ""
    map_ = at_map if column_map else "0"
    if c.encoded.encoding in RICE:
        k, sparse = c.encoded.meta["k"], c.encoded.encoding == "rice_sparse"
        name = f"unpack_rice{k}_{form}{'_mapped' if column_map else ''}"
        text = render(
            "unpack_rice.c.j2", name=name, elem=elem, k=k, record=record, wide=wide,
            mapped=column_map is not None,
        )  # fmt: skip
        gaps = c.arrays[0].name
        args = [gaps, f"{c.encoded.stream('g').bits}u"]
        if sparse:  # a layer without non-zeros has no values
            size = len(c.encoded.stream("v").data)
            values = c.arrays[1].name if size else "0"
            args += [values, f"{values} + {size}" if size else "0"]
        args += [
            str(g.co if sparse else 2 * g.co), f"{c.encoded.cols}u",
            *([at_map] if column_map else []), pointer(elem or "uint8_t", out),
        ]  # fmt: skip
        call = f"{fill_map}if ({name}({', '.join(args)})" + fail
        return Unpacking([*functions, CFunction(name, text)], call, c.arrays, [], [])
    if c.encoded.encoding in HUFFMAN:
        name = f"unpack_{c.c_name}_{form}"
        text = render(
            "unpack_huffman.c.j2", name=name, elem=elem, record=record, wide=wide, c=c,
            joint=c.encoded.encoding != "huffman_sparse",
        )  # fmt: skip
        args = [f"&{c.name}", map_, f"{c.room}u", pointer(elem or "uint8_t", out)]
        if elem:
            args.append(pointer(elem, f"{work} + {map_bytes}"))
        call = f"{fill_map}if ({name}({', '.join(args)})" + fail
        return Unpacking(
            [*functions, CFunction(name, text)], call, c.arrays, [c.header], [c.constant]
        )
    name = f"unpack_{c.c_name}_{key}"
    text = render(
        "unpack.c.j2", name=name, c=c, g=g, elem=elem, record=record, wide=wide, room=c.room,
        map_bytes=map_bytes, map_name=column_map.name if column_map else "",
    )  # fmt: skip
    call = f"if ({name}(&{c.name}, {pointer(elem or 'uint8_t', out)}, {work})" + fail
    return Unpacking([*functions, CFunction(name, text)], call, c.arrays, [c.header], [c.constant])
