/* sc_dsp.h - the operations of sc_port.h for cores with the DSP extension.
 *
 * Written by Secateur; Apache-2.0.
 */
#ifndef SECATEUR_SC_DSP_H
#define SECATEUR_SC_DSP_H

/* Zero bits below the lowest one; 16 or more where there are as many. */
SC_INLINE uint32_t sc_zeros(uint32_t v)
{
    uint32_t n;
    __asm__("rbit %0, %1\n\tclz %0, %0" : "=r"(n) : "r"(v));
    return n;
}

/* acc + bytes 0 and 2 of w, lane by lane. */
SC_INLINE uint32_t sc_add_even(uint32_t acc, uint32_t w)
{
    uint32_t r;
    __asm__("uxtab16 %0, %1, %2" : "=r"(r) : "r"(acc), "r"(w));
    return r;
}

/* acc + bytes 1 and 3 of w, lane by lane. */
SC_INLINE uint32_t sc_add_odd(uint32_t acc, uint32_t w)
{
    uint32_t r;
    __asm__("uxtab16 %0, %1, %2, ror #8" : "=r"(r) : "r"(acc), "r"(w));
    return r;
}

/* Bytes 0 and 2, bytes 1 and 3, zero-extended to lanes. */
SC_INLINE uint32_t sc_even(uint32_t w)
{
    uint32_t r;
    __asm__("uxtb16 %0, %1" : "=r"(r) : "r"(w));
    return r;
}

SC_INLINE uint32_t sc_odd(uint32_t w)
{
    uint32_t r;
    __asm__("uxtb16 %0, %1, ror #8" : "=r"(r) : "r"(w));
    return r;
}

/* The same with sign extension. */
SC_INLINE uint32_t sc_even_s(uint32_t w)
{
    uint32_t r;
    __asm__("sxtb16 %0, %1" : "=r"(r) : "r"(w));
    return r;
}

SC_INLINE uint32_t sc_odd_s(uint32_t w)
{
    uint32_t r;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(r) : "r"(w));
    return r;
}

/* The signed low / high lane of a sum built by lane additions and complements. */
SC_INLINE int32_t sc_lane_lo(uint32_t a)
{
    return (int16_t)a;
}

SC_INLINE int32_t sc_lane_hi(uint32_t a)
{
    return (int32_t)a >> 16;
}

/* An instruction that multiplies halves of two registers and adds a third one. */
#define SC_MULTIPLY_ADD(name, instruction, ctype)                                           \
    SC_INLINE int32_t name(uint32_t x, ctype y, int32_t c)                                  \
    {                                                                                       \
        int32_t r;                                                                          \
        __asm__(instruction " %0, %1, %2, %3" : "=r"(r) : "r"(x), "r"(y), "r"(c));          \
        return r;                                                                           \
    }

/* Lane times 16-bit multiplier plus c. */
SC_MULTIPLY_ADD(sc_mac_lo, "smlabb", int32_t)
SC_MULTIPLY_ADD(sc_mac_hi, "smlatb", int32_t)

/* c + x.lo * y.lo + x.hi * y.hi, lanes signed. */
SC_MULTIPLY_ADD(sc_dot2, "smlad", uint32_t)

/* c + x.lo * y.lo, c + x.hi * y.lo, c + x.lo * y.hi, c + x.hi * y.hi. */
SC_MULTIPLY_ADD(sc_mac_bb, "smlabb", uint32_t)
SC_MULTIPLY_ADD(sc_mac_tb, "smlatb", uint32_t)
SC_MULTIPLY_ADD(sc_mac_bt, "smlabt", uint32_t)
SC_MULTIPLY_ADD(sc_mac_tt, "smlatt", uint32_t)

/* What is read at pointer p from here on is read when v is known; no instruction. */
#define SC_AFTER(p, v) __asm__("" : "+r"(p), "+r"(v))

/* acc + the four bytes of w. */
SC_INLINE int32_t sc_sum4(int32_t acc, uint32_t w)
{
    int32_t r;
    __asm__("usada8 %0, %1, %2, %3" : "=r"(r) : "r"(w), "r"(0), "r"(acc));
    return r;
}

/* The larger byte of each two. */
SC_INLINE uint32_t sc_max4(uint32_t a, uint32_t b)
{
    uint32_t r;
    __asm__("usub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(r) : "r"(a), "r"(b) : "cc");
    return r;
}

/* ((a * m) >> 16) + c with a 48-bit product; m in int16 range. */
SC_INLINE int32_t sc_macw(int32_t a, int32_t m, int32_t c)
{
    int32_t r;
    __asm__("smlawb %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(m), "r"(c));
    return r;
}

/* ((m * lane) >> 16) + c, with the low / high lane of x. */
SC_INLINE int32_t sc_macw_lo(uint32_t x, int32_t m, int32_t c)
{
    int32_t r;
    __asm__("smlawb %0, %1, %2, %3" : "=r"(r) : "r"(m), "r"(x), "r"(c));
    return r;
}

SC_INLINE int32_t sc_macw_hi(uint32_t x, int32_t m, int32_t c)
{
    int32_t r;
    __asm__("smlawt %0, %1, %2, %3" : "=r"(r) : "r"(m), "r"(x), "r"(c));
    return r;
}

/* The same with byte i, a constant, of w. */
SC_INLINE int32_t sc_macw_byte(uint32_t w, int i, int32_t m, int32_t c)
{
    const uint32_t lanes = i & 1 ? sc_odd(w) : sc_even(w);
    return i & 2 ? sc_macw_hi(lanes, m, c) : sc_macw_lo(lanes, m, c);
}

/* Two codes, clamp(lo >> 16) and clamp(hi >> 16), in lanes. */
SC_INLINE uint32_t sc_codes16(int32_t lo, int32_t hi)
{
    uint32_t r;
    __asm__("pkhtb %0, %1, %2, asr #16\n\tusat16 %0, #8, %0" : "=r"(r) : "r"(hi), "r"(lo));
    return r;
}

/* Two codes, clamp(lo) and clamp(hi) of what fits 16 bits, in lanes. */
SC_INLINE uint32_t sc_clamp16(int32_t lo, int32_t hi)
{
    uint32_t r;
    __asm__("pkhbt %0, %1, %2, lsl #16\n\tusat16 %0, #8, %0" : "=r"(r) : "r"(lo), "r"(hi));
    return r;
}

/* clamp(v >> f), f a constant in 1..31. */
#define sc_code(v, f)                                                                   \
    __extension__({                                                                     \
        uint32_t sc_code_;                                                              \
        __asm__("usat %0, #8, %1, asr %2" : "=r"(sc_code_) : "r"((int32_t)(v)), "I"(f)); \
        sc_code_;                                                                       \
    })

/* v >> f, clamped to n bits without sign, f a constant in 1..31, n one in 1..7. */
#define sc_level(v, f, n)                                                              \
    __extension__({                                                                     \
        uint32_t sc_level_;                                                             \
        __asm__("usat %0, %3, %1, asr %2"                                               \
                : "=r"(sc_level_)                                                       \
                : "r"((int32_t)(v)), "I"(f), "I"(n));                                   \
        sc_level_;                                                                      \
    })

/* Two of them, of lo >> 16 and hi >> 16, in lanes. */
#define sc_levels16(lo, hi, n)                                                         \
    __extension__({                                                                     \
        uint32_t sc_levels_;                                                            \
        __asm__("pkhtb %0, %1, %2, asr #16\n\tusat16 %0, %3, %0"                        \
                : "=r"(sc_levels_)                                                      \
                : "r"((int32_t)(hi)), "r"((int32_t)(lo)), "I"(n));                      \
        sc_levels_;                                                                     \
    })

/* v >> f, clamped to 16 bits, f a constant in 1..31. */
#define sc_short(v, f)                                                                    \
    __extension__({                                                                      \
        int32_t sc_short_;                                                               \
        __asm__("ssat %0, #16, %1, asr %2" : "=r"(sc_short_) : "r"((int32_t)(v)), "I"(f)); \
        sc_short_;                                                                       \
    })

/* v clamped to n bits, n a constant in 1..32. */
#define sc_signed(v, n)                                                                     \
    __extension__({                                                                        \
        int32_t sc_signed_;                                                                \
        __asm__("ssat %0, %1, %2" : "=r"(sc_signed_) : "I"(n), "r"((int32_t)(v)));          \
        sc_signed_;                                                                        \
    })

/* What is loaded behind it is not loaded before: fewer values at a time want registers. */
#define SC_IN_ORDER __asm__ volatile("" ::: "memory")

/* Both lanes of v clamped to n bits, n a constant in 1..16. */
#define sc_signed16(v, n)                                                                    \
    __extension__({                                                                        \
        uint32_t sc_signed16_;                                                             \
        __asm__("ssat16 %0, %1, %2" : "=r"(sc_signed16_) : "I"(n), "r"((uint32_t)(v)));     \
        sc_signed16_;                                                                      \
    })

/* u + v lane by lane, clamped to 16 bits. */
SC_INLINE uint32_t sc_add_short2(uint32_t u, uint32_t v)
{
    uint32_t r;
    __asm__("qadd16 %0, %1, %2" : "=r"(r) : "r"(u), "r"(v));
    return r;
}

/* Lanes u >> f and v >> f of what fits there, f a constant in 1..15. */
#define sc_lanes_of(u, v, f)                                                                    \
    __extension__({                                                                            \
        uint32_t sc_lanes_;                                                                    \
        __asm__("pkhtb %0, %1, %2, asr %3"                                                      \
                : "=r"(sc_lanes_)                                                              \
                : "r"((uint32_t)(v) << (16 - (f))), "r"((int32_t)(u)), "I"(f));                 \
        sc_lanes_;                                                                             \
    })

/* Two lanes from the low / high halves of u and v: u below v. */
SC_INLINE uint32_t sc_pair_lo(uint32_t u, uint32_t v)
{
    uint32_t r;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(r) : "r"(u), "r"(v));
    return r;
}

SC_INLINE uint32_t sc_pair_hi(uint32_t u, uint32_t v)
{
    uint32_t r;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(r) : "r"(v), "r"(u));
    return r;
}

/* The low half of u, the high half of v. */
SC_INLINE uint32_t sc_halves(uint32_t u, uint32_t v)
{
    uint32_t r;
    __asm__("pkhbt %0, %1, %2" : "=r"(r) : "r"(u), "r"(v));
    return r;
}

/* Weights 0 and 2, 1 and 3 of four in lanes. */
SC_INLINE uint32_t sc_first_s(const int8_t *w)
{
    return sc_even_s(sc_load((const uint8_t *)w));
}

SC_INLINE uint32_t sc_second_s(const int8_t *w)
{
    return sc_odd_s(sc_load((const uint8_t *)w));
}

/* Four bytes of eight at even places, and four at odd places. */
SC_INLINE void sc_split8(uint8_t *even, uint8_t *odd, const uint8_t *from)
{
    const uint32_t u = sc_load(from), v = sc_load(from + 4);
    const uint32_t lo = sc_pair_lo(u, v), hi = sc_pair_hi(u, v); /* halves of both words */
    sc_store(even, sc_even(lo) | sc_even(hi) << 8);
    sc_store(odd, sc_odd(lo) | sc_odd(hi) << 8);
}

/* The bytes of n at even places, and those at odd places. */
SC_NOINLINE void sc_split(uint8_t *even, uint8_t *odd, const uint8_t *from, uint32_t n)
{
#if !defined(__OPTIMIZE_SIZE__)
    for (; n >= 16; n -= 16, from += 16, even += 8, odd += 8) {
        sc_split8(even, odd, from);
        sc_split8(even + 4, odd + 4, from + 8);
    }
    if (n >= 8) {
        sc_split8(even, odd, from);
        n -= 8, from += 8, even += 4, odd += 4;
    }
#endif
    for (; n >= 2; n -= 2) {
        *even++ = *from++;
        *odd++ = *from++;
    }
    if (n != 0) {
        *even = *from;
    }
}

#endif
