"""Coded rows of a convolution, which uses every weight many times: they are unpacked once, into
scratch, before it runs.

An *unpacker* writes all rows at once. An encoding names its own (`Encoding.unpacker`), one routine
for all layers; else each row comes from the decoder and is rewritten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .... import coding
from ....coding.base import Encoded
from ....coding.huffman_joint import Joint
from ....coding.patched import SLACK
from ...emit import CFunction, checked_call, render
from ...geometry import Geometry, align4
from ..coded import Coded, decode_work, is_coded, room


@dataclass(frozen=True)
class RowForm:
    """Unpacked rows: what the executor of a convolution reads."""

    elem: str = ""  #: C type of counts and steps; "": bytes of `record`s
    record: int = 0  #: bytes of a step and its value; 0: there are steps alone
    wide: bool = False  #: whether a row of records has a count of two bytes
    lists: tuple[int, ...] = ()  #: the weight of each of a row's lists; (): of -1s, then of +1s
    mirror: bool = False  #: one list a row, of columns and of their mirrors (rows/mirror.py)

    @property
    def name(self) -> str:
        """Part of functions' names."""
        return self.elem[:-2] or f"records{self.record}{'w' if self.wide else ''}"

    @property
    def element(self) -> str:
        """C type of what is written."""
        return self.elem or "uint8_t"


@dataclass
class Unpacking:
    """What a convolution adds to its library to unpack its rows into scratch first."""

    functions: list[CFunction]
    call: str  #: in bands: of BAND_ROWS rows; BAND_LAST is whether they are the last
    headers: list[str] = field(default_factory=list)
    opening: str = ""  #: in bands: C ahead of all


#: What stands for C expressions in the call that unpacks a band.
BAND_ROWS, BAND_LAST = "BAND_ROWS", "BAND_LAST"


@dataclass(frozen=True)
class Band:
    """Of how many rows at most are unpacked at a time, and what they take."""

    rows: int
    nonzeros: int  #: at most
    bytes: int

    @classmethod
    def of(cls, weight: np.ndarray, rows: int, size: int, each: int) -> Band:
        """The largest of so many `rows` of int8 `weight`, all of which take `size` bytes, `each` of
        them a non-zero."""
        nonzeros = np.count_nonzero(weight, axis=1)
        most = max(int(nonzeros[a : a + rows].sum()) for a in range(0, len(weight), rows))
        heads = (size - each * int(nonzeros.sum())) // len(weight)
        return cls(rows, most, rows * heads + each * most)


@dataclass(frozen=True)
class Job:
    """Rows to unpack to `out` with scratch at `work` (C expressions)."""

    coded: Coded
    g: Geometry
    form: RowForm
    key: str  #: part of functions' names that tells shapes apart
    out: str
    work: str
    band: Band | None = None  #: some rows at a time

    @property
    def column_map(self) -> CFunction | None:
        """C that lists where each column reads; None for pointwise layers, where it is known."""
        return map_function(self.g)

    @property
    def map_bytes(self) -> int:
        """Scratch of that list."""
        return 0 if self.g.pointwise else align4(2 * self.coded.encoded.cols)

    @property
    def map_pointer(self) -> str:
        """C pointer to it; 0 if there is none."""
        return f"(uint16_t *)(void *)({self.work})" if self.map_bytes else "0"

    @property
    def target(self) -> str:
        """`out` as a pointer to the elements."""
        return pointer(self.form.element, self.out)

    def finished(
        self, function: CFunction, arguments: list[str], headers: list[str], opening: str = ""
    ) -> Unpacking:
        """A call of `function`, behind that of the map's where `arguments` name it."""
        call = checked_call(f"{function.name}({', '.join(arguments)})")
        map_ = self.column_map
        if map_ and self.map_pointer in arguments:
            call = f"{map_.name}({self.map_pointer});\n{call}"
        return Unpacking([*([map_] if map_ else []), function], call, headers, opening)


def pointer(elem: str, at: str) -> str:
    """C of the byte pointer `at` as one to `elem`."""
    return at if elem == "uint8_t" else f"({elem} *)(void *)({at})"


def map_function(g: Geometry) -> CFunction | None:
    """C that lists where each column of a convolution reads; None for pointwise layers."""
    if g.pointwise:
        return None
    phases = [
        {"base": p * g.phase_pitch, "count": len(range(p, g.kw, g.sx))} for p in range(g.phases)
    ]
    name = f"columns_{g.kh}x{g.kw}_{g.ci}_{g.row_pitch}_{g.channel_pitch}"
    return CFunction(name, render("tile/columns.c.j2", name=name, g=g, phases=phases))


def _row_by_row(job: Job) -> Unpacking:
    """Rows from the decoder, each rewritten."""
    c, map_ = job.coded, job.column_map
    lists = "_lists" if job.form.lists else ""
    function = f"unpack{lists}_{c.c_name}_{job.key}"
    text = render(
        "tile/unpack_lists.c.j2" if lists else "tile/unpack_rows.c.j2", name=function, c=c, g=job.g,
        form=job.form, map_bytes=job.map_bytes, map_name=map_.name if map_ else "", band=job.band,
    )  # fmt: skip
    if job.band is None:
        arguments = [f"&{c.name}", job.target, job.work]
        return job.finished(CFunction(function, text), arguments, [c.header])
    opened = checked_call(f"sc_{c.c_name}_open(&decoder, &{c.name})")
    arguments = ["&decoder", BAND_ROWS, job.target, job.work]
    opening = f"sc_{c.c_name} decoder;\n{opened}"
    return job.finished(CFunction(function, text), arguments, [c.header], opening)


def _rice(job: Job) -> Unpacking:
    """From gaps in Rice codes, all rows in one loop."""
    e, form, mapped, band = job.coded.encoded, job.form, bool(job.map_bytes), job.band
    k = e.meta["k"]
    function = f"unpack_rice{k}_{form.name}{'_mapped' if mapped else ''}{'_band' if band else ''}"
    text = render(
        "tile/unpack_rice.c.j2", name=function, k=k, form=form, mapped=mapped, band=band is not None
    )
    arguments = [job.coded.arrays[0].name, f"{e.stream('g').bits}u"]
    if form.record:  # a layer without non-zeros has no values
        size = len(e.stream("v").data)
        values = job.coded.arrays[1].name if size else "0"
        arguments += [values, f"{values} + {size}" if size else "0"]
    rows = BAND_ROWS if band else str(job.g.co)
    lists = rows if form.record else f"2 * {rows}" if band else str(2 * job.g.co)
    arguments += [lists, f"{e.cols}u", *([job.map_pointer] if mapped else []), job.target]
    if band is None:
        return job.finished(CFunction(function, text), arguments, [])
    elements = band.bytes // (2 if form.elem == "uint16_t" else 1)
    arguments = ["place", *arguments, f"{job.target} + {elements}", BAND_LAST]
    opening = f"uint32_t place[3] = {{0, {e.cols - 1}u, 0}};"
    return job.finished(CFunction(function, text), arguments, [], opening)


def _huffman(job: Job) -> Unpacking:
    """From Huffman codes, joint ones or a gap's and a value's."""
    c, form = job.coded, job.form
    function = f"unpack_{c.c_name}_{form.name}"
    joint = isinstance(coding.get(c.encoded.encoding), Joint)
    text = render("tile/unpack_huffman.c.j2", name=function, form=form, c=c, joint=joint)
    arguments = [f"&{c.name}", job.map_pointer, f"{c.room}u", job.target]
    if form.elem:
        arguments.append(pointer(form.elem, f"{job.work} + {job.map_bytes}"))
    return job.finished(CFunction(function, text), arguments, [c.header])


def _patched(job: Job) -> Unpacking:
    """From patched nibbles, whose numbers are the rows."""
    e, c = job.coded.encoded, job.coded
    name = "unpack_patched"
    function = CFunction(name, render("tile/unpack_patched.c.j2", name=name, slack=SLACK))
    far = len(e.stream("f").data)
    arguments = [
        c.names["g"], f"{e.meta['numbers']}u", c.names["f"], f"{far}u",
        f"{job.g.co}u", f"{2 * e.cols}u", job.target,
    ]  # fmt: skip
    return job.finished(function, arguments, [])


#: By `Encoding.unpacker`. Those with a descriptor are told by a const object, too.
UNPACKERS: dict[str, Callable[[Job], Unpacking]] = {
    "": _row_by_row,
    "rice": _rice,
    "huffman": _huffman,
    "patched": _patched,
}
#: Of these, those that take their arrays as arguments and need no descriptor.
WITHOUT_DESCRIPTOR = frozenset({_rice, _patched})
#: Those that give one list a row, in bytes.
MIRRORED = frozenset({"patched"})
#: Those that stop behind any row and go on from there.
BY_BANDS = frozenset({"", "rice"})


def has_bands(e: Encoded, form: RowForm) -> bool:
    """Whether encoded rows are unpacked some at a time."""
    decoded = coding.get(e.encoding).decoder is not None and not form.mirror
    return not form.lists and (decoded or unpacker_of(e, form) in BY_BANDS - {""})


def unpacker_of(e: Encoded, form: RowForm, band: Band | None = None) -> str:
    """The unpacker of encoded rows, of a band of them; "" where they come one by one: lists by
    value always do."""
    name = coding.get(e.encoding).unpacker
    if band is not None and name not in BY_BANDS:
        return ""
    if form.mirror:
        return name if name in MIRRORED and form.elem == "uint8_t" else ""
    return "" if name in MIRRORED or form.lists else name


def described(e: Encoded, form: RowForm, band: Band | None = None) -> bool:
    """Whether unpacking reads a descriptor."""
    return UNPACKERS[unpacker_of(e, form, band)] not in WITHOUT_DESCRIPTOR


def unpack(job: Job) -> Unpacking:
    """The C that unpacks."""
    return UNPACKERS[unpacker_of(job.coded.encoded, job.form, job.band)](job)


def unpack_work(e: Encoded | None, form: RowForm, band: Band | None = None) -> dict[str, float]:
    """Units of decoding a layer once and rewriting it into a convolution's rows."""
    if e is None or not is_coded(e):
        return {}
    if form.lists:
        groups = float(len(form.lists) // 2 * e.rows)
        return {
            "unpacked": float(e.meta["nnz"]), "unpacked_groups": groups, **decode_work(e),
        }  # fmt: skip
    unpacker = unpacker_of(e, form, band)
    at_once = coding.get(e.encoding).unpacking(e) if unpacker else {}
    if at_once:
        return {f"{unpacker}.{unit}": n for unit, n in at_once.items()}
    rewriting = {"unpacked": float(e.meta["nnz"]), "unpacked_rows": float(e.rows)}
    return {**rewriting, **decode_work(e)}


def working_bytes(g: Geometry, e: Encoded) -> int:
    """Scratch needed only while unpacking: column map and row buffers."""
    return align4(2 * e.cols if not g.pointwise else 0) + align4(2 * room(e)) + align4(room(e))


def kept_bytes(e: Encoded, form: RowForm, values: np.ndarray, each: int) -> int:
    """Scratch of the rows `values`, `each` bytes a non-zero, and of what a damaged stream may
    write on top; lists by value are counted while they are written."""
    size = int(values.size) * (2 if form.elem == "uint16_t" else 1)
    more = 0 if form.lists else coding.get(e.encoding).most_nonzeros(e) - e.meta["nnz"]
    return align4(size + each * more)
