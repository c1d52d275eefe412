"""What vector (Helium) forms for Cortex-M55 share. Scratch is planned for these and the others."""

from __future__ import annotations

from ..requant import RequantTable, ThresholdTable


def _codes(q: RequantTable, sums: str, residual: int | None, r: str, mask: str) -> str:
    """C that sets int32x4_t `v` to the codes of int32 sums, not yet clamped.

    The high word of sum * (m << 16) is (sum * m) >> 16, and as with the residual's share that
    floor is the specification's.
    """
    z = "_z" if mask else ""
    scaled = f"vmulq_n_s32({sums}, m)"
    if q.pre_shift:
        scaled = f"vmulhq_s32({sums}, vdupq_n_s32(m * 65536))"
    out = f"int32x4_t v = vaddq_n_s32({scaled}, c);\n"
    if residual is not None:
        out += (
            f"const int32x4_t b = vreinterpretq_s32_u32(vldrbq{z}_u32({r}{mask}));\n"
            f"v = vaddq_s32(v, vmulhq_s32(vshlq_n_s32(b, 16), vdupq_n_s32({residual})));\n"
        )
    if q.shift:
        out += f"v = vshrq_n_s32(v, {q.shift});\n"
    return out


def store4(
    q: RequantTable, sums: str, valid: int = 4, residual: int | None = None, at: int = 0
) -> str:
    """C that stores the codes of int32x4_t `sums`, neighbouring pixels, the first `valid` of them
    `at` bytes behind `o`.

    residual: multiplier of the other operand's codes, which lie at `r` in the same way.
    """
    if isinstance(q, ThresholdTable):
        lines = [f"int32_t a[4];\nvst1q_s32(a, {sums});"]
        lines += [f"o[{at + i}] = (uint8_t){q.code(f'a[{i}]')};" for i in range(valid)]
        return "\n".join(lines)
    mask = f", vctp32q({valid})" if valid < 4 else ""
    p, behind = "_p" if mask else "", f" + {at}" if at else ""
    codes = _codes(q, sums, residual, f"r{behind}", mask)
    clamped = "sc_clamp4(v)"
    if q.bits < 8:
        clamped = f"vminq_u32({clamped}, vdupq_n_u32({2**q.bits - 1}))"
    return codes + f"vstrbq{p}_u32(o{behind}, {clamped}{mask});"
