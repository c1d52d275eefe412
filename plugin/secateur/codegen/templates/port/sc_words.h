/* sc_words.h - copies by words, for cores without vectors.
 *
 * Written by Secateur; Apache-2.0.
 */
#ifndef SECATEUR_SC_WORDS_H
#define SECATEUR_SC_WORDS_H

/* In place of memset and memcpy, whose library versions take more flash than most layers do; the
 * compiler must not turn these loops back into calls. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif
SC_NOINLINE void sc_fill(uint8_t *to, uint32_t value, uint32_t n)
{
    const uint32_t word = value * 0x01010101u;
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
        const uint32_t a = sc_load(from), b = sc_load(from + 4);
        const uint32_t c = sc_load(from + 8), d = sc_load(from + 12);
        sc_store(to, a);
        sc_store(to + 4, b);
        sc_store(to + 8, c);
        sc_store(to + 12, d);
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

#endif
