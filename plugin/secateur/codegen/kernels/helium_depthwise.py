"""Depthwise convolution with vectors: four neighbouring pixels in 32-bit lanes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..emit import render
from ..requant import RequantTable
from .helium import store4

#: Products written out for one strip of four columns; windows larger than that are looped over.
UNROLLED = 54


def _load(offset: int, ow: int, sx: int) -> str:
    """C expression: four pixels of a padded plane, `offset` bytes behind `p`, as int32x4_t."""
    at = f"p + {offset}" if offset else "p"
    z, live = ("_z", ", live") if ow < 4 else ("", "")
    if sx == 1:
        return f"vreinterpretq_s32_u32(vldrbq{z}_u32({at}{live}))"
    return f"vreinterpretq_s32_u32(vldrbq_gather_offset{z}_u32({at}, apart{live}))"


def _strip(
    outputs: int, kernel: tuple[int, int], stride: tuple[int, int], pitch: int, ow: int,
    q: RequantTable, skip: frozenset[int],
) -> str:  # fmt: skip
    """C that filters four columns of `outputs` rows, from `p` in the padded plane to `o`.

    An input row is loaded once for all rows that read it; those in `skip` hold nothing but zeros.
    `p` moves on with the rows, each step behind the sums of the row before: GCC would otherwise
    have the addresses of all rows ready, more of them than registers.
    """
    (kh, kw), (sy, sx) = kernel, stride
    lines = [f"int32x4_t {', '.join(f's{y}' for y in range(outputs))};"]
    begun: set[int] = set()
    at, last = 0, ""
    for r in range((outputs - 1) * sy + kh):
        reads = [y for y in range(outputs) if 0 <= r - y * sy < kh]
        if reads and r not in skip:
            if r > at:
                lines.append(f"p += {(r - at) * pitch};")
                lines += [f"SC_AFTER_VECTOR(p, {last});"] if last else []
            at, last = r, f"s{reads[-1]}"
            lines.append("{")
            for kx in range(kw):
                lines.append(f"    const int32x4_t x{kx} = {_load(kx, ow, sx)};")
                for y in reads:
                    product = f"x{kx}, k{(r - y * sy) * kw + kx}"
                    sum_ = f"vmlaq_n_s32(s{y}, {product})"
                    lines.append(f"    s{y} = {sum_ if y in begun else f'vmulq_n_s32({product})'};")
                    begun.add(y)
            lines.append("}")
        if r >= kh - 1 and (r - kh + 1) % sy == 0:
            y = (r - kh + 1) // sy
            if y not in begun:
                lines.append(f"s{y} = vdupq_n_s32(0);")
            text = store4(q, f"s{y}", min(ow, 4)).replace("\n", "\n    ")
            lines.append(f"{{\n    {text}\n}}")
            lines += [f"o += {ow};"] if y + 1 < outputs else []
    return "\n".join(lines)


def rows_at_once(oh: int, kernel: tuple[int, int], sy: int) -> int:
    """Output rows of a strip: those that share most loads and make fewest rows twice."""
    kh, kw = kernel

    def instructions(rows: int) -> int:
        loads = kw * ((rows - 1) * min(sy, kh) + kh)
        return -(-oh // rows) * (rows * (kh * kw + 8) + loads)

    most = max(1, min(oh, UNROLLED // (kh * kw)))
    return min(range(1, most + 1), key=lambda rows: (instructions(rows), rows))


def depthwise(shape: Mapping[str, Any], skip: frozenset[int]) -> str:
    """C of a depthwise convolution. shape: the values of depthwise.c.j2; skip: rows of the padded
    plane that hold nothing but zeros."""
    kh, kw, oh, ow, q = (shape[name] for name in ("kh", "kw", "oh", "ow", "q"))
    rows = rows_at_once(oh, (kh, kw), shape["sy"])
    unrolled = kh * kw <= UNROLLED
    text = ""
    if unrolled:
        none = frozenset[int]()
        stride = (shape["sy"], shape["sx"])
        text = _strip(rows, (kh, kw), stride, shape["pitch"], ow, q, skip if rows == oh else none)
    return render(
        "depthwise_helium.c.j2", **shape, unrolled=unrolled, at_once=rows, text=text,
        load=_load(0, ow, shape["sx"]), store=store4(q, "s", min(ow, 4)),
        pieces=pieces(shape["w"]),
    )  # fmt: skip


def work(
    channels: int, out: tuple[int, int], kernel: tuple[int, ...], stride: tuple[int, int]
) -> dict[str, float]:
    """Units of the filter itself on planes of `out` rows and columns."""
    (oh, ow), (kh, kw) = out, kernel
    rows = rows_at_once(oh, (kh, kw), stride[0])
    strips = float(channels * -(-oh // rows) * -(-ow // 4))
    if kh * kw > UNROLLED:
        return {"fours": strips, "looped": strips * kh * kw}
    loads = kw * ((rows - 1) * min(stride[0], kh) + kh)
    return {"fours": strips * rows, "taps": strips * (rows * kh * kw + loads)}


def pieces(n: int) -> list[tuple[int, int]]:
    """(offset, bytes) of the copies that move `n` bytes, the last one perhaps some again."""
    size = next((s for s in (16, 8, 4) if s <= n), n)
    return [(o, size) for o in [*range(0, n - size, size), n - size]]
