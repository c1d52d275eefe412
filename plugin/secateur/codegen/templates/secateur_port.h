/* secateur_port.h - the few operations that differ between cores.
 *
 * Everything here has a portable C11 form; cores with the DSP extension (Armv7E-M, Armv8-M with
 * DSP) get single instructions for the same results. "Lanes" are two 16-bit sums in one word:
 * pixels 0 and 2 of four neighbours in the even word, pixels 1 and 3 in the odd one.
 *
 * Written by Secateur; Apache-2.0.
 */
#ifndef SECATEUR_PORT_H
#define SECATEUR_PORT_H

#include <stdint.h>
#include <string.h>

#if defined(__ARM_FEATURE_SIMD32) && !defined(SC_PORTABLE)
#define SC_DSP 1
#else
#define SC_DSP 0
#endif

#if defined(__ARM_FEATURE_MVE) && !defined(SC_PORTABLE)
#define SC_MVE 1 /* Helium: eight 16-bit lanes */
#include <arm_mve.h>
#else
#define SC_MVE 0
#endif

#ifndef SC_CONST_SECTION
#define SC_CONST_SECTION /* of tables */
#endif
#ifndef SC_CODE_SECTION
#define SC_CODE_SECTION /* of functions that are not inlined */
#endif
#define SC_FUNCTION SC_CODE_SECTION static inline

#if defined(__GNUC__)
#define SC_INLINE static inline __attribute__((always_inline, unused))
#define SC_NOINLINE SC_CODE_SECTION static __attribute__((noinline, unused))
#define SC_ALIGNED4(p) __builtin_assume_aligned((p), 4)
#else
#define SC_INLINE static inline
#define SC_NOINLINE SC_CODE_SECTION static
#define SC_ALIGNED4(p) (p)
#endif

/* Four bytes at p, lowest address in the lowest bits. */
SC_INLINE uint32_t sc_load(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

/* The same where p is known to be a multiple of four. */
SC_INLINE uint32_t sc_load4(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, SC_ALIGNED4(p), 4);
    return v;
}

/* Two bytes, little endian. */
SC_INLINE uint32_t sc_load2(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

SC_INLINE void sc_store(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, 4);
}

SC_INLINE void sc_store4(uint8_t *p, uint32_t v)
{
    memcpy(SC_ALIGNED4(p), &v, 4);
}

SC_INLINE void sc_store2(uint8_t *p, uint32_t v)
{
    uint16_t h = (uint16_t)v;
    memcpy(p, &h, 2);
}

/* In place of memset and memcpy, whose library versions take more flash than most layers do; the
 * compiler must not turn these loops back into calls. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif
SC_NOINLINE void sc_fill(uint8_t *to, uint32_t value, uint32_t n)
{
    const uint32_t word = value * 0x01010101u;
#if SC_MVE
    for (; n >= 16; n -= 16, to += 16) {
        vst1q_u8(to, vdupq_n_u8((uint8_t)value));
    }
#endif
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
#if SC_MVE
    for (; n >= 16; n -= 16, to += 16, from += 16) {
        vst1q_u8(to, vld1q_u8(from));
    }
#endif
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

/* v * 2^n, wrapping. */
SC_INLINE int32_t sc_shl(int32_t v, int n)
{
    return (int32_t)((uint32_t)v << n);
}

/* Clamp to a code. */
SC_INLINE uint32_t sc_clamp(int32_t v)
{
    return v < 0 ? 0u : v > 255 ? 255u : (uint32_t)v;
}

/* Zero bits below the lowest one; 16 or more where there are as many. */
SC_INLINE uint32_t sc_zeros(uint32_t v)
{
#if SC_DSP
    uint32_t n;
    __asm__("rbit %0, %1\n\tclz %0, %0" : "=r"(n) : "r"(v));
    return n;
#else
    uint32_t n = 0;
    for (v |= 0x10000u; !(v & 1u); v >>= 1) {
        n++;
    }
    return n;
#endif
}

#if SC_DSP

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

/* Lane times 16-bit multiplier plus c. */
SC_INLINE int32_t sc_mac_lo(uint32_t a, int32_t m, int32_t c)
{
    int32_t r;
    __asm__("smlabb %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(m), "r"(c));
    return r;
}

SC_INLINE int32_t sc_mac_hi(uint32_t a, int32_t m, int32_t c)
{
    int32_t r;
    __asm__("smlatb %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(m), "r"(c));
    return r;
}

/* c + x.lo * y.lo + x.hi * y.hi, lanes signed. */
SC_INLINE int32_t sc_dot2(uint32_t x, uint32_t y, int32_t c)
{
    int32_t r;
    __asm__("smlad %0, %1, %2, %3" : "=r"(r) : "r"(x), "r"(y), "r"(c));
    return r;
}

/* c + x.lo * y.lo, c + x.hi * y.lo, c + x.lo * y.hi, c + x.hi * y.hi. */
SC_INLINE int32_t sc_mac_bb(uint32_t x, uint32_t y, int32_t c)
{
    int32_t r;
    __asm__("smlabb %0, %1, %2, %3" : "=r"(r) : "r"(x), "r"(y), "r"(c));
    return r;
}

SC_INLINE int32_t sc_mac_tb(uint32_t x, uint32_t y, int32_t c)
{
    int32_t r;
    __asm__("smlatb %0, %1, %2, %3" : "=r"(r) : "r"(x), "r"(y), "r"(c));
    return r;
}

SC_INLINE int32_t sc_mac_bt(uint32_t x, uint32_t y, int32_t c)
{
    int32_t r;
    __asm__("smlabt %0, %1, %2, %3" : "=r"(r) : "r"(x), "r"(y), "r"(c));
    return r;
}

SC_INLINE int32_t sc_mac_tt(uint32_t x, uint32_t y, int32_t c)
{
    int32_t r;
    __asm__("smlatt %0, %1, %2, %3" : "=r"(r) : "r"(x), "r"(y), "r"(c));
    return r;
}

/* acc + the four bytes of w. */
SC_INLINE int32_t sc_sum4(int32_t acc, uint32_t w)
{
    int32_t r;
    __asm__("usada8 %0, %1, %2, %3" : "=r"(r) : "r"(w), "r"(0), "r"(acc));
    return r;
}

/* ((a * m) >> 16) + c with a 48-bit product; m in int16 range. */
SC_INLINE int32_t sc_macw(int32_t a, int32_t m, int32_t c)
{
    int32_t r;
    __asm__("smlawb %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(m), "r"(c));
    return r;
}

/* Two codes, clamp(lo >> 16) and clamp(hi >> 16), in lanes. */
SC_INLINE uint32_t sc_codes16(int32_t lo, int32_t hi)
{
    uint32_t r;
    __asm__("pkhtb %0, %1, %2, asr #16\n\tusat16 %0, #8, %0" : "=r"(r) : "r"(hi), "r"(lo));
    return r;
}

/* clamp(v >> f), f a constant in 1..31. */
#define sc_code(v, f)                                                                   \
    __extension__({                                                                     \
        uint32_t sc_code_;                                                              \
        __asm__("usat %0, #8, %1, asr %2" : "=r"(sc_code_) : "r"((int32_t)(v)), "I"(f)); \
        sc_code_;                                                                       \
    })

#else

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

SC_INLINE int32_t sc_macw(int32_t a, int32_t m, int32_t c)
{
#if defined(__ARM_ARCH_6M__)
    /* no long multiply: two 16-bit halves give the same floor */
    return (a >> 16) * m + (((int32_t)((uint32_t)a & 0xFFFFu) * m) >> 16) + c;
#else
    return (int32_t)(((int64_t)a * m) >> 16) + c;
#endif
}

SC_INLINE uint32_t sc_codes16(int32_t lo, int32_t hi)
{
    return sc_clamp(lo >> 16) | sc_clamp(hi >> 16) << 16;
}

#define sc_code(v, f) sc_clamp((int32_t)(v) >> (f))

#endif

/* a * m + c; the unused pixels of a partial tile may wrap. */
SC_INLINE int32_t sc_mac(int32_t a, int32_t m, int32_t c)
{
    return (int32_t)((uint32_t)a * (uint32_t)m + (uint32_t)c);
}

/* s + a + b, bit by bit: the sums' low bits to s, their high bits to c. */
#define SC_FULL(s, c, a, b)            \
    {                                  \
        const uint32_t sc_x_ = (s) ^ (a); \
        c = ((s) & (a)) | (sc_x_ & (b)); \
        s = sc_x_ ^ (b);               \
    }

/* Entry `bits at.. of w` of a table of pairs of words, which begins `off` bytes behind e. */
#if defined(__thumb2__) && defined(__GNUC__) && !defined(SC_PORTABLE)
#define SC_ENTRY(o, t, e, w, at, n, off)                                                 \
    __asm__("ubfx %0, %3, %4, %5\n\tadd %0, %2, %0, lsl #3\n\tldrd %0, %1, [%0, %6]"    \
            : "=&r"(o), "=&r"(t)                                                         \
            : "r"(e), "r"(w), "i"(at), "i"(n), "i"(off), "m"(*(const uint32_t(*)[168])(e)))
#else
#define SC_ENTRY(o, t, e, w, at, n, off)                                           \
    {                                                                              \
        const uint32_t *sc_e_ = (e) + (off) / 4 + 2 * (((w) >> (at)) & ((1u << (n)) - 1u)); \
        o = sc_e_[0];                                                              \
        t = sc_e_[1];                                                              \
    }
#endif

/* How many bits of a word are set. */
SC_INLINE uint32_t sc_ones(uint32_t v)
{
    v -= (v >> 1) & 0x55555555u;
    v = (v & 0x33333333u) + ((v >> 2) & 0x33333333u);
    return (((v + (v >> 4)) & 0x0F0F0F0Fu) * 0x01010101u) >> 24;
}

/* n (1..32) bits of a bit plane from bit `at` on. */
SC_INLINE uint32_t sc_bit_run(const uint8_t *plane, uint32_t at, uint32_t n)
{
    const uint8_t *p = plane + 4 * (at >> 5);
    const uint32_t s = at & 31u;
    uint32_t v = sc_load4(p) >> s;
    if (s + n > 32) {
        v |= sc_load4(p + 4) << (32 - s);
    }
    return n < 32 ? v & ((1u << n) - 1u) : v;
}

/* How many of n ascending thresholds a value passes. */
SC_INLINE uint32_t sc_passed16(int32_t a, const int16_t *t, int n)
{
    uint32_t passed = 0;
    for (int i = 0; i < n; i++) {
        passed += a >= t[i];
    }
    return passed;
}

SC_INLINE uint32_t sc_passed32(int32_t a, const int32_t *t, int n)
{
    uint32_t passed = 0;
    for (int i = 0; i < n; i++) {
        passed += a >= t[i];
    }
    return passed;
}

/* Two lanes from the low / high halves of u and v: u below v. */
SC_INLINE uint32_t sc_pair_lo(uint32_t u, uint32_t v)
{
#if SC_DSP
    uint32_t r;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(r) : "r"(u), "r"(v));
    return r;
#else
    return (u & 0xFFFFu) | v << 16;
#endif
}

SC_INLINE uint32_t sc_pair_hi(uint32_t u, uint32_t v)
{
#if SC_DSP
    uint32_t r;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(r) : "r"(v), "r"(u));
    return r;
#else
    return u >> 16 | (v & 0xFFFF0000u);
#endif
}

/* Two signed weights in lanes. */
SC_INLINE uint32_t sc_pair(int32_t lo, int32_t hi)
{
    return ((uint32_t)lo & 0xFFFFu) | (uint32_t)hi << 16;
}

/* Weights 0 and 2, 1 and 3 of four in lanes. */
SC_INLINE uint32_t sc_first_s(const int8_t *w)
{
#if SC_DSP
    return sc_even_s(sc_load((const uint8_t *)w));
#else
    return sc_pair(w[0], w[2]);
#endif
}

SC_INLINE uint32_t sc_second_s(const int8_t *w)
{
#if SC_DSP
    return sc_odd_s(sc_load((const uint8_t *)w));
#else
    return sc_pair(w[1], w[3]);
#endif
}

/* Have both a and b before either is used: loads beside one another wait less for each other. Armv6-M
 * has too few registers for that. */
#if defined(__GNUC__) && !defined(__ARM_ARCH_6M__)
#define SC_BOTH(a, b) __asm__("" : "+r"(a), "+r"(b))
#else
#define SC_BOTH(a, b) (void)0
#endif

/* The weights that two indices of `bits` bits name, in lanes: word (second << bits) + first. */
SC_NOINLINE void sc_pair_table(uint8_t *table, const int8_t *book, int levels, int bits)
{
    const int pitch = 4 << bits;
    for (int i = 0; i < levels; i++) {
        sc_store4(table + 4 * i, (uint32_t)book[i] & 0xFFFFu);
    }
    for (int i = levels - 1; i >= 0; i--) { /* row 0 is the last to get its second weight */
        const uint32_t second = (uint32_t)book[i] << 16;
        uint8_t *const row = table + i * pitch;
        for (int j = 0; j < pitch; j += 8) {
            sc_store4(row + j, sc_load4(table + j) | second);
            sc_store4(row + j + 4, sc_load4(table + j + 4) | second);
        }
    }
}

/* Codebook values of n packed indices of `bits` bits, least significant first. */
SC_INLINE void sc_unpack(int8_t *out, const uint8_t *in, int n, const int8_t *book, int bits)
{
    uint32_t buffer = 0;
    int have = 0;
    if (bits == 4) {
        for (; n >= 2; n -= 2, in++, out += 2) {
            out[0] = book[*in & 15u];
            out[1] = book[*in >> 4];
        }
        if (n) {
            *out = book[*in & 15u];
        }
        return;
    }
    for (int i = 0; i < n; i++) {
        if (have < bits) {
            buffer |= (uint32_t)*in++ << have;
            have += 8;
        }
        out[i] = book[buffer & ((1u << bits) - 1u)];
        buffer >>= bits;
        have -= bits;
    }
}

/* Four codes of neighbouring pixels from even and odd lane sums, shift 16. */
#define sc_codes4(e, o, m, c)                                                        \
    (sc_codes16(sc_mac_lo((e), (m), (c)), sc_mac_hi((e), (m), (c))) |                 \
     sc_codes16(sc_mac_lo((o), (m), (c)), sc_mac_hi((o), (m), (c))) << 8)

#if SC_MVE

/* Eight 16-bit sums to codes, (sum * m + c) >> shift clamped. */
SC_INLINE uint16x8_t sc_codes8(uint16x8_t sums, int32_t m, int32_t c, int32_t shift)
{
    const int16x8_t s = vreinterpretq_s16_u16(sums), factor = vdupq_n_s16((int16_t)m);
    const int32x4_t even = vshlq_r_s32(vaddq_n_s32(vmullbq_int_s16(s, factor), c), -shift);
    const int32x4_t odd = vshlq_r_s32(vaddq_n_s32(vmulltq_int_s16(s, factor), c), -shift);
    const uint16x8_t codes = vqmovuntq_s32(vqmovunbq_s32(vdupq_n_u16(0), even), odd);
    return vminq_u16(codes, vdupq_n_u16(255));
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

#endif
