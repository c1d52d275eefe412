"""C that reads packed codebook indices where they lie."""

from __future__ import annotations


def load(count: int, bits: int, stride: int, row: int = 0, name: str = "index") -> str:
    """C that loads `count` packed indices at `name`, of the row `row` rows ahead: lo, and hi.

    count * bits is at most 48; `stride` is a row's bytes. No byte behind the indices is read.
    """
    n = (count * bits + 7) // 8
    start = f"{name} + {row * stride}" if row else name

    def at(byte: int) -> str:
        return f"{name}[{row * stride + byte}]"

    lo = {
        1: at(0),
        2: f"sc_load2({start})",
        3: f"sc_load2({start}) | (uint32_t){at(2)} << 16",
    }.get(n, f"sc_load({start})")
    text = f"const uint32_t lo{row} = {lo};"
    if n == 5:
        text += f"\nconst uint32_t hi{row} = {at(4)};"
    elif n == 6:
        text += f"\nconst uint32_t hi{row} = sc_load2({name} + {row * stride + 4});"
    return text


def field(at: int, width: int, row: int = 0) -> str:
    """C expression for `width` bits from bit `at` of what `load` loaded."""
    mask = f"{(1 << width) - 1}u"
    if at >= 32:
        return f"hi{row} >> {at - 32} & {mask}" if at > 32 else f"hi{row} & {mask}"
    if at + width > 32:
        return f"(lo{row} >> {at} | hi{row} << {32 - at}) & {mask}"
    if at + width == 32:
        return f"lo{row} >> {at}"
    return f"lo{row} >> {at} & {mask}" if at else f"lo{row} & {mask}"
