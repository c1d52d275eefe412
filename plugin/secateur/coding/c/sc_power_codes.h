/* Sign and exponent of every weight in a code of few bits: encoding "power_codes". */
#ifndef SC_POWER_CODES_H
#define SC_POWER_CODES_H

#include "sc_rows.h"

typedef struct {
    const uint8_t *data;
    const int8_t *book; /* magnitudes */
    uint32_t size;
    uint16_t cols;
    uint8_t width; /* bits of a code: rank << 1 | negative; rank 0: zero, r: book[r - 1] */
    uint8_t levels;
} sc_power_codes_stream;

typedef struct {
    const uint8_t *at, *end;
    const int8_t *book;
    uint16_t cols;
    uint8_t width, levels;
} sc_power_codes;

static inline int sc_power_codes_open(sc_power_codes *s, const sc_power_codes_stream *d)
{
    s->at = d->data;
    s->end = d->data + d->size;
    s->book = d->book;
    s->cols = d->cols;
    s->width = d->width;
    s->levels = d->levels;
    return 0;
}

static inline int sc_power_codes_row(sc_power_codes *s, SC_COL_T *cols, int8_t *values,
                                     uint32_t room, uint32_t *count)
{
    const uint32_t width = s->width, mask = (1u << width) - 1u;
    const uint8_t *at = s->at;
    uint32_t n = 0u, buffer = 0u, held = 0u;
    for (uint32_t c = 0u; c < s->cols; c++) {
        if (held < width) {
            if (at == s->end) {
                return SC_CODING_ERROR;
            }
            buffer |= (uint32_t)*at++ << held;
            held += 8u;
        }
        const uint32_t code = buffer & mask, rank = code >> 1;
        buffer >>= width;
        held -= width;
        if (rank != 0u) {
            if (rank > s->levels || n == room) {
                return SC_CODING_ERROR;
            }
            const int8_t size = s->book[rank - 1u];
            cols[n] = (SC_COL_T)c;
            values[n] = (int8_t)((code & 1u) != 0u ? -size : size);
            n++;
        }
    }
    s->at = at; /* a row starts at a byte */
    *count = n;
    return 0;
}

#endif
