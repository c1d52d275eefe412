/* Weights from coefficients and bases, by shifts and additions: encoding "deal". */
#ifndef SC_DEAL_H
#define SC_DEAL_H

#include "sc_bits.h"
#include "sc_rows.h"

#define SC_DEAL_SIDE 8 /* largest basis */

#if defined(__GNUC__)
#define SC_DEAL_ROW static __attribute__((noinline))
#else
#define SC_DEAL_ROW static
#endif

typedef struct {
    const uint8_t *data;
    const int8_t *basis;   /* `entries` numbers a filter */
    const uint8_t *shifts; /* one a filter */
    uint32_t size;
    int32_t steps[3];  /* to the column of the next weight; more, at the end of a run; of runs */
    uint16_t runs[2];  /* weights in a run, runs until the third step */
    uint16_t cols;
    uint8_t side, entries; /* of a basis: entries = side * side */
    uint8_t width;  /* bits of a coefficient: place << 1 | negative */
    uint8_t low;    /* place 1 stands for 2^low */
    uint8_t sparse; /* a bit tells whether a row of coefficients has any */
} sc_deal_stream;

typedef struct {
    sc_bits bits;
    const sc_deal_stream *stream;
    const int8_t *basis;
    const uint8_t *shift;
} sc_deal;

static inline int sc_deal_open(sc_deal *s, const sc_deal_stream *d)
{
    sc_bits_open(&s->bits, d->data, d->size);
    s->stream = d;
    s->basis = d->basis;
    s->shift = d->shifts;
    return 0;
}

/* One filter. Every coefficient adds a shifted row of the basis; nothing is multiplied. */
SC_DEAL_ROW int sc_deal_row(sc_deal *s, int8_t *row)
{
    const sc_deal_stream *const d = s->stream;
    const uint32_t side = d->side, shift = *s->shift++ & 15u;
    const int32_t half = (int32_t)((1u << shift) >> 1);
    sc_bits bits = s->bits;
    int32_t place = 0;
    uint32_t in_run = 0u, run = 0u;
    for (uint32_t left = d->cols; left != 0u;) {
        int32_t sum[SC_DEAL_SIDE];
        for (uint32_t i = 0u; i < side; i++) {
            sum[i] = half;
        }
        if (d->sparse == 0u || sc_bits_read(&bits, 1u) != 0u) {
            const int8_t *from = s->basis;
            for (uint32_t j = 0u; j < side; j++) {
                const uint32_t code = sc_bits_read(&bits, d->width);
                if (code > 1u) {
                    const uint32_t by = ((code >> 1) - 1u + d->low) & 7u;
                    for (uint32_t i = 0u; i < side; i++) {
                        const int32_t v = (int32_t)((uint32_t)(int32_t)from[i] << by);
                        sum[i] += (code & 1u) != 0u ? -v : v;
                    }
                }
                from += side;
            }
        }
        for (uint32_t i = 0u; i < side && left != 0u; i++, left--) {
            row[place] = (int8_t)(sum[i] >> shift);
            place += d->steps[0];
            if (++in_run == d->runs[0]) {
                in_run = 0u;
                place += d->steps[1];
                if (++run == d->runs[1]) {
                    run = 0u;
                    place += d->steps[2];
                }
            }
        }
    }
    s->basis += d->entries;
    s->bits = bits;
    return sc_bits_failed(&bits) ? SC_CODING_ERROR : 0;
}

#endif
