/*
 * Adaptive binary range decoder: secateur/coding/range_coder.py is the definition.
 *
 * A context holds the probability of a 0 in 1/65536 and how often it was used. It adapts by
 * 2**-shift, with a shift that grows with use.
 */
#ifndef SC_RANGE_CODER_H
#define SC_RANGE_CODER_H

#include <stdbool.h>
#include <stdint.h>

#ifndef SC_RANGE_CONTEXTS
#define SC_RANGE_CONTEXTS 289 /* most contexts of a layer of the model */
#endif

typedef uint32_t sc_range_cell; /* a context: probability << 16 | bins seen */

typedef struct {
    uint32_t span;
    uint32_t code;
    const uint8_t *at;
    const uint8_t *end;
    uint32_t past; /* bytes made up behind the end; an intact stream needs at most 4 */
} sc_range;

#define SC_RANGE_SETTLED 89

static const uint8_t sc_range_shift[SC_RANGE_SETTLED + 1] = {
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

static inline void sc_range_open(sc_range *r, sc_range_cell *cells, uint32_t contexts,
                                 const uint8_t *data, uint32_t size)
{
    r->at = data;
    r->end = data + size;
    r->past = 0u;
    r->span = 0xffffffffu;
    r->code = 0u;
    for (uint32_t i = 0u; i < 4u; i++) {
        r->code = r->code << 8 | sc_range_byte(r);
    }
    for (uint32_t i = 0u; i < contexts; i++) {
        cells[i] = 0x8000u << 16;
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

/* The next bin, in the context `cell`. */
static inline uint32_t sc_range_bin(sc_range *r, sc_range_cell *cell)
{
    sc_range_cell state = *cell;
    const uint32_t prob = state >> 16;
    const uint32_t seen = state & 0xffffu;
    const uint32_t shift = sc_range_shift[seen];
    const uint32_t bound = (r->span >> 12) * (state >> 20);
    uint32_t one;
    if (seen < SC_RANGE_SETTLED) {
        state++;
    }
    if (r->code < bound) {
        r->span = bound;
        state += (65536u - prob) >> shift << 16;
        one = 0u;
    } else {
        r->code -= bound;
        r->span -= bound;
        state -= prob >> shift << 16;
        one = 1u;
    }
    *cell = state;
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
