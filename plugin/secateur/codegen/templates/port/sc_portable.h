/* sc_portable.h - the operations of sc_port.h in C11, for every core.
 *
 * Written by Secateur; Apache-2.0.
 */
#ifndef SECATEUR_SC_PORTABLE_H
#define SECATEUR_SC_PORTABLE_H

/* Zero bits below the lowest one; 16 or more where there are as many. */
SC_INLINE uint32_t sc_zeros(uint32_t v)
{
    uint32_t n = 0;
    for (v |= 0x10000u; !(v & 1u); v >>= 1) {
        n++;
    }
    return n;
}

SC_INLINE uint32_t sc_even(uint32_t w)
{
    return w & 0x00FF00FFu;
}

SC_INLINE uint32_t sc_odd(uint32_t w)
{
    return (w >> 8) & 0x00FF00FFu;
}

SC_INLINE uint32_t sc_even_s(uint32_t w)
{
    return (uint32_t)(uint16_t)(int16_t)(int8_t)w |
           (uint32_t)(uint16_t)(int16_t)(int8_t)(w >> 16) << 16;
}

SC_INLINE uint32_t sc_odd_s(uint32_t w)
{
    return sc_even_s(w >> 8);
}

SC_INLINE uint32_t sc_add_even(uint32_t acc, uint32_t w)
{
    return acc + sc_even(w);
}

SC_INLINE uint32_t sc_add_odd(uint32_t acc, uint32_t w)
{
    return acc + sc_odd(w);
}

SC_INLINE int32_t sc_lane_lo(uint32_t a)
{
    return (int16_t)(uint16_t)a;
}

/* A borrow of the low lane has gone into the high one here: give it back. */
SC_INLINE int32_t sc_lane_hi(uint32_t a)
{
    return (int16_t)(uint16_t)((a + 0x8000u) >> 16);
}

SC_INLINE int32_t sc_mac_lo(uint32_t a, int32_t m, int32_t c)
{
    return sc_lane_lo(a) * m + c;
}

SC_INLINE int32_t sc_mac_hi(uint32_t a, int32_t m, int32_t c)
{
    return sc_lane_hi(a) * m + c;
}

/* Halves of data words: no borrow between them. */
SC_INLINE int32_t sc_half_lo(uint32_t a)
{
    return (int16_t)(uint16_t)a;
}

SC_INLINE int32_t sc_half_hi(uint32_t a)
{
    return (int16_t)(uint16_t)(a >> 16);
}

SC_INLINE int32_t sc_dot2(uint32_t x, uint32_t y, int32_t c)
{
    return c + sc_half_lo(x) * sc_half_lo(y) + sc_half_hi(x) * sc_half_hi(y);
}

#define SC_AFTER(p, v) ((void)(p), (void)(v))

SC_INLINE int32_t sc_mac_bb(uint32_t x, uint32_t y, int32_t c)
{
    return c + sc_half_lo(x) * sc_half_lo(y);
}

SC_INLINE int32_t sc_mac_tb(uint32_t x, uint32_t y, int32_t c)
{
    return c + sc_half_hi(x) * sc_half_lo(y);
}

SC_INLINE int32_t sc_mac_bt(uint32_t x, uint32_t y, int32_t c)
{
    return c + sc_half_lo(x) * sc_half_hi(y);
}

SC_INLINE int32_t sc_mac_tt(uint32_t x, uint32_t y, int32_t c)
{
    return c + sc_half_hi(x) * sc_half_hi(y);
}

SC_INLINE int32_t sc_sum4(int32_t acc, uint32_t w)
{
    const uint32_t pairs = sc_even(w) + sc_odd(w);
    return acc + (int32_t)((pairs & 0xFFFFu) + (pairs >> 16));
}

SC_INLINE uint32_t sc_max4(uint32_t a, uint32_t b)
{
    uint32_t r = 0;
    for (int i = 0; i < 32; i += 8) {
        const uint32_t x = a >> i & 255u, y = b >> i & 255u;
        r |= (x > y ? x : y) << i;
    }
    return r;
}

SC_INLINE int32_t sc_macw(int32_t a, int32_t m, int32_t c)
{
#if defined(__ARM_ARCH_6M__)
    /* no long multiply: two 16-bit halves give the same floor */
    return (a >> 16) * m + (((int32_t)((uint32_t)a & 0xFFFFu) * m) >> 16) + c;
#else
    return (int32_t)(((int64_t)a * m) >> 16) + c;
#endif
}

/* ((m * lane) >> 16) + c, with the low / high lane of x. */
SC_INLINE int32_t sc_macw_lo(uint32_t x, int32_t m, int32_t c)
{
    return sc_macw(m, sc_lane_lo(x), c);
}

SC_INLINE int32_t sc_macw_hi(uint32_t x, int32_t m, int32_t c)
{
    return sc_macw(m, sc_lane_hi(x), c);
}

/* The same with byte i, a constant, of w. */
SC_INLINE int32_t sc_macw_byte(uint32_t w, int i, int32_t m, int32_t c)
{
    return sc_macw(m, (int32_t)(w >> (8 * i) & 255u), c);
}

SC_INLINE uint32_t sc_codes16(int32_t lo, int32_t hi)
{
    return sc_clamp(lo >> 16) | sc_clamp(hi >> 16) << 16;
}

/* Two codes, clamp(lo) and clamp(hi) of what fits 16 bits, in lanes. */
SC_INLINE uint32_t sc_clamp16(int32_t lo, int32_t hi)
{
    return sc_clamp(lo) | sc_clamp(hi) << 16;
}

#define sc_code(v, f) sc_clamp((int32_t)(v) >> (f))

SC_INLINE uint32_t sc_level_of(int32_t v, int32_t most)
{
    return v < 0 ? 0u : v > most ? (uint32_t)most : (uint32_t)v;
}

#define sc_level(v, f, n) sc_level_of((int32_t)(v) >> (f), (1 << (n)) - 1)
#define sc_levels16(lo, hi, n) (sc_level(lo, 16, n) | sc_level(hi, 16, n) << 16)

SC_INLINE int32_t sc_short_of(int32_t v)
{
    return v < -32768 ? -32768 : v > 32767 ? 32767 : v;
}

#define sc_short(v, f) sc_short_of((int32_t)(v) >> (f))

SC_INLINE int32_t sc_signed(int32_t v, int n)
{
    const int32_t top = (int32_t)((1u << (n - 1)) - 1u);
    return v < -top - 1 ? -top - 1 : v > top ? top : v;
}

/* Two lanes from the low / high halves of u and v: u below v. */
SC_INLINE uint32_t sc_pair_lo(uint32_t u, uint32_t v)
{
    return (u & 0xFFFFu) | v << 16;
}

/* The low half of u, the high half of v. */
SC_INLINE uint32_t sc_halves(uint32_t u, uint32_t v)
{
    return (u & 0xFFFFu) | (v & 0xFFFF0000u);
}

SC_INLINE uint32_t sc_pair_hi(uint32_t u, uint32_t v)
{
    return u >> 16 | (v & 0xFFFF0000u);
}

/* Weights 0 and 2, 1 and 3 of four in lanes. */
SC_INLINE uint32_t sc_first_s(const int8_t *w)
{
    return sc_pair(w[0], w[2]);
}

SC_INLINE uint32_t sc_second_s(const int8_t *w)
{
    return sc_pair(w[1], w[3]);
}

/* The bytes of n at even places, and those at odd places. */
SC_NOINLINE void sc_split(uint8_t *even, uint8_t *odd, const uint8_t *from, uint32_t n)
{
    for (; n >= 2; n -= 2) {
        *even++ = *from++;
        *odd++ = *from++;
    }
    if (n != 0) {
        *even = *from;
    }
}

#endif
