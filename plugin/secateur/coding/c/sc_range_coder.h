/*
 * Adaptive binary range decoder: secateur/coding/range_coder.py is the definition.
 *
 * A context holds the probability of a 0 in 1/65536 and how often it was used. It adapts by
 * 2**-shift, with a shift that grows with use until it reaches the layer's `rate`.
 */
#ifndef SC_RANGE_CODER_H
#define SC_RANGE_CODER_H

#include <stdbool.h>
#include <stdint.h>

#ifndef SC_RANGE_CONTEXTS
#define SC_RANGE_CONTEXTS 289 /* most contexts of a layer of the model */
#endif

typedef struct {
    uint16_t prob[SC_RANGE_CONTEXTS];
    uint8_t seen[SC_RANGE_CONTEXTS];
    uint8_t settled; /* `seen` stops here */
} sc_range_model;

typedef struct {
    uint32_t span;
    uint32_t code;
    const uint8_t *at;
    const uint8_t *end;
    uint32_t past; /* bytes made up behind the end; an intact stream needs at most 4 */
} sc_range;

static const uint8_t sc_range_shift[90] = {
        1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5,
        5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6,
        6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 7};

static inline uint32_t sc_range_byte(sc_range *r)
{
    if (r->at != r->end) {
        return *r->at++;
    }
    r->past++;
    return 0u;
}

/* `rate` is 4..7. */
static inline void sc_range_open(sc_range *r, sc_range_model *m, const uint8_t *data,
                                 uint32_t size, uint32_t contexts, uint32_t rate)
{
    r->at = data;
    r->end = data + size;
    r->past = 0u;
    r->span = 0xffffffffu;
    r->code = 0u;
    for (uint32_t i = 0u; i < 4u; i++) {
        r->code = r->code << 8 | sc_range_byte(r);
    }
    m->settled = 0u;
    while (sc_range_shift[m->settled] < rate) {
        m->settled++;
    }
    for (uint32_t i = 0u; i < contexts; i++) {
        m->prob[i] = 0x8000u;
        m->seen[i] = 0u;
    }
}

static inline bool sc_range_failed(const sc_range *r)
{
    return r->past > 4u;
}

static inline void sc_range_fill(sc_range *r)
{
    while (r->span < 0x1000000u) {
        r->span <<= 8;
        r->code = r->code << 8 | sc_range_byte(r);
    }
}

/* The next bin, in context `c`. */
static inline uint32_t sc_range_bin(sc_range *r, sc_range_model *m, uint32_t c)
{
    uint32_t prob = m->prob[c];
    uint32_t seen = m->seen[c];
    uint32_t shift = sc_range_shift[seen];
    uint32_t bound = (r->span >> 12) * (prob >> 4);
    uint32_t one;
    if (seen < m->settled) {
        m->seen[c] = (uint8_t)(seen + 1u);
    }
    if (r->code < bound) {
        r->span = bound;
        prob += (65536u - prob) >> shift;
        one = 0u;
    } else {
        r->code -= bound;
        r->span -= bound;
        prob -= prob >> shift;
        one = 1u;
    }
    m->prob[c] = (uint16_t)prob;
    sc_range_fill(r);
    return one;
}

/* `count` (0..31) bins of probability one half, the first on top. */
static inline uint32_t sc_range_raw(sc_range *r, uint32_t count)
{
    uint32_t value = 0u;
    while (count != 0u) {
        uint32_t one = 0u;
        uint32_t bound = (r->span >> 12) << 11;
        if (r->code < bound) {
            r->span = bound;
        } else {
            r->code -= bound;
            r->span -= bound;
            one = 1u;
        }
        value = value << 1 | one;
        sc_range_fill(r);
        count--;
    }
    return value;
}

#endif
