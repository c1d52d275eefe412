"""C of multiplication by shifting."""

from __future__ import annotations


def times(x: str, factor: int) -> str:
    """C that multiplies an int32 by a constant of one or two bits, by shifting."""
    low = (factor & -factor).bit_length() - 1
    rest = factor - (1 << low)
    terms = [f"sc_shl({x}, {n})" if n else x for n in (rest.bit_length() - 1, low)]
    return " + ".join(terms if rest else terms[1:])
