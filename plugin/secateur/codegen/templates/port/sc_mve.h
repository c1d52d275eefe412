/* sc_mve.h - the operations of sc_port.h for cores with Helium: eight 16-bit lanes.
 *
 * Written by Secateur; Apache-2.0.
 */
#ifndef SECATEUR_SC_MVE_H
#define SECATEUR_SC_MVE_H

#include "sc_dsp.h"
#include <arm_mve.h>

/* In place of memset and memcpy, whose library versions take more flash than most layers do; the
 * compiler must not turn these loops back into calls. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif
SC_NOINLINE void sc_fill(uint8_t *to, uint32_t value, uint32_t n)
{
    const uint32_t word = value * 0x01010101u;
    for (; n >= 16; n -= 16, to += 16) {
        vst1q_u8(to, vdupq_n_u8((uint8_t)value));
    }
    for (; n >= 4; n -= 4, to += 4) {
        sc_store(to, word);
    }
    while (n-- > 0) {
        *to++ = (uint8_t)value;
    }
}

/* The ranges may overlap if `to` is the lower. */
SC_NOINLINE void sc_copy(uint8_t *to, const uint8_t *from, uint32_t n)
{
    for (; n >= 16; n -= 16, to += 16, from += 16) {
        vst1q_u8(to, vld1q_u8(from));
    }
    for (; n >= 4; n -= 4, to += 4, from += 4) {
        sc_store(to, sc_load(from));
    }
    while (n-- > 0) {
        *to++ = *from++;
    }
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif


/* Sixteen, eight and four bytes, `at` (a number up to 127) behind p, as lanes of 8, 16 and 32 bits:
 * in place of vldrbq_u8, _u16 and _u32, for which GCC makes a copy of p step. Those that widen have
 * p in a low register. */
#define SC_BYTES(v, p, at, lanes, bytes, in) \
    __asm__("vldrb." #lanes " %q0, [%1, #" #at "]" : "=w"(v) \
        : in(p), "m"(*(const uint8_t(*)[bytes])((p) + (at))))
#define SC_BYTES16(v, p, at) SC_BYTES(v, p, at, u8, 16, "r")
#define SC_BYTES8(v, p, at) SC_BYTES(v, p, at, u16, 8, "l")
#define SC_BYTES4(v, p, at) SC_BYTES(v, p, at, u32, 4, "l")

/* What is read at pointer p from here on is read when vector v is known; no instruction. */
#define SC_AFTER_VECTOR(p, v) __asm__("" : "+r"(p), "+w"(v))

/* Eight 16-bit sums to codes, (sum * m + c) >> shift clamped. */
SC_INLINE uint16x8_t sc_codes8(uint16x8_t sums, int32_t m, int32_t c, int32_t shift)
{
    const int16x8_t s = vreinterpretq_s16_u16(sums), factor = vdupq_n_s16((int16_t)m);
    int32x4_t even = vshlq_r_s32(vaddq_n_s32(vmullbq_int_s16(s, factor), c), -shift);
    const int32x4_t odd = vshlq_r_s32(vaddq_n_s32(vmulltq_int_s16(s, factor), c), -shift);
    __asm__("vqmovunb.s32 %q0, %q0\n\tvqmovunt.s32 %q0, %q1" : "+w"(even) : "w"(odd));
    return vminq_u16(vreinterpretq_u16_s32(even), vdupq_n_u16(255));
}

/* Eight sums of the other sign. */
SC_INLINE uint16x8_t sc_negated8(uint16x8_t sums)
{
    return vreinterpretq_u16_s16(vnegq_s16(vreinterpretq_s16_u16(sums)));
}

/* Sixteen sums that are bytes to codes. */
SC_INLINE uint8x16_t sc_byte_codes(uint8x16_t sums, int32_t m, int32_t c, int32_t shift)
{
    const uint16x8_t even = sc_codes8(vmovlbq_u8(sums), m, c, shift);
    const uint16x8_t odd = sc_codes8(vmovltq_u8(sums), m, c, shift);
    return vmovntq_u16(vreinterpretq_u8_u16(even), odd);
}

/* Eight sums of neighbouring pixels as the even and odd lane words of two groups of four. */
SC_INLINE void sc_lanes8(uint32_t *lanes, uint16x8_t sums)
{
    uint16_t p[8];
    vst1q_u16(p, sums);
    for (int i = 0; i < 2; i++) {
        lanes[2 * i] = (uint32_t)p[4 * i] | (uint32_t)p[4 * i + 2] << 16;
        lanes[2 * i + 1] = (uint32_t)p[4 * i + 1] | (uint32_t)p[4 * i + 3] << 16;
    }
}

/* The codes of four sums, each in the lowest byte of its lane; the other bytes are anything. (Not
 * vqshrunb, which would shift too: binutils 2.40 assembles it as the instruction that rounds.) */
SC_INLINE uint32x4_t sc_clamp4(int32x4_t v)
{
    __asm__("vqmovunb.s32 %q0, %q0\n\tvqmovnb.u16 %q0, %q0" : "+w"(v));
    return vreinterpretq_u32_s32(v);
}

#endif
