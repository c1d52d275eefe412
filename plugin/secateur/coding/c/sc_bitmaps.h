/* Few levels at a fixed rate: encodings "base3", "ternary_packed2", "bitmap_ternary", "bitmap". */
#ifndef SC_BITMAPS_H
#define SC_BITMAPS_H

#include "sc_rows.h"

/* Rows begin at a byte. */
typedef struct {
    const uint8_t *data;   /* digits, codes or bitmap */
    const uint8_t *values; /* bitmap_ternary: a bit for every non-zero, 1 = negative */
    const int8_t *book;    /* bitmap: the levels */
    uint32_t size, values_size;
    uint16_t rows, cols;
    uint8_t levels; /* 1 or 2 */
} sc_bitmap_stream;

typedef struct {
    const sc_bitmap_stream *d;
    uint32_t at;   /* next byte of data */
    uint32_t sign; /* next bit of values */
} sc_bitmap;

static inline int sc_bitmap_open(sc_bitmap *s, const sc_bitmap_stream *d)
{
    s->d = d;
    s->at = 0u;
    s->sign = 0u;
    return 0;
}

/* The next row's bytes; 0 if there are not as many. */
static inline const uint8_t *sc_bitmap_take(sc_bitmap *s, uint32_t bytes)
{
    const uint32_t at = s->at;
    if (s->d->size - at < bytes) {
        return 0;
    }
    s->at += bytes;
    return s->d->data + at;
}

/* Bit i of bits. */
static inline uint32_t sc_bitmap_bit(const uint8_t *bits, uint32_t i)
{
    return (uint32_t)(bits[i >> 3] >> (i & 7u)) & 1u;
}

/* One row of at most two levels. */
static inline int sc_bitmap_row(sc_bitmap *s, int8_t *row)
{
    const sc_bitmap_stream *d = s->d;
    const uint8_t *bits = sc_bitmap_take(s, (d->cols + 7u) >> 3);
    if (bits == 0) {
        return SC_CODING_ERROR;
    }
    for (uint32_t c = 0u; c < d->cols; c++) {
        const uint32_t level = sc_bitmap_bit(bits, c);
        if (level >= d->levels) {
            return SC_CODING_ERROR;
        }
        row[c] = d->book[level];
    }
    return 0;
}

/* A row's two lists, growing towards each other. */
typedef struct {
    SC_COL_T *cols;
    uint32_t front, back;
} sc_lists;

/* Put column c into a list. Returns SC_CODING_ERROR if there is no room. */
static inline int sc_lists_put(sc_lists *l, uint32_t c, bool negative)
{
    if (l->front == l->back) {
        return SC_CODING_ERROR;
    }
    if (negative) {
        l->cols[--l->back] = (SC_COL_T)c;
    } else {
        l->cols[l->front++] = (SC_COL_T)c;
    }
    return 0;
}

typedef sc_bitmap_stream sc_base3_stream;
typedef sc_bitmap sc_base3;

static inline int sc_base3_open(sc_base3 *s, const sc_base3_stream *d)
{
    return sc_bitmap_open(s, d);
}

/* Five digits a byte, weight + 1, the first lowest. */
static inline int sc_base3_row(sc_base3 *s, SC_COL_T *cols, uint32_t room, uint32_t *plus,
                               uint32_t *minus)
{
    const sc_bitmap_stream *d = s->d;
    sc_lists lists = {cols, 0u, room};
    uint32_t digits = 0u, held = 0u;
    for (uint32_t c = 0u; c < d->cols; c++) {
        if (held == 0u) {
            if (s->at == d->size || d->data[s->at] > 242u) {
                return SC_CODING_ERROR;
            }
            digits = d->data[s->at++];
            held = 5u;
        }
        const uint32_t rest = (digits * 171u) >> 9; /* / 3, exact for a byte */
        const uint32_t digit = digits - 3u * rest;
        digits = rest;
        held--;
        if (digit != 1u && sc_lists_put(&lists, c, digit == 0u) != 0) {
            return SC_CODING_ERROR;
        }
    }
    *plus = lists.front;
    *minus = room - lists.back;
    return 0;
}

typedef sc_bitmap_stream sc_ternary_packed2_stream;
typedef sc_bitmap sc_ternary_packed2;

static inline int sc_ternary_packed2_open(sc_ternary_packed2 *s,
                                          const sc_ternary_packed2_stream *d)
{
    return sc_bitmap_open(s, d);
}

/* Two bits a weight: 0, 1, 3 = -1. */
static inline int sc_ternary_packed2_row(sc_ternary_packed2 *s, SC_COL_T *cols, uint32_t room,
                                         uint32_t *plus, uint32_t *minus)
{
    const sc_bitmap_stream *d = s->d;
    const uint8_t *codes = sc_bitmap_take(s, (d->cols + 3u) >> 2);
    sc_lists lists = {cols, 0u, room};
    if (codes == 0) {
        return SC_CODING_ERROR;
    }
    for (uint32_t c = 0u; c < d->cols; c++) {
        const uint32_t code = (uint32_t)(codes[c >> 2] >> ((c & 3u) << 1)) & 3u;
        if (code != 0u && (code == 2u || sc_lists_put(&lists, c, code == 3u) != 0)) {
            return SC_CODING_ERROR;
        }
    }
    *plus = lists.front;
    *minus = room - lists.back;
    return 0;
}

typedef sc_bitmap_stream sc_bitmap_ternary_stream;
typedef sc_bitmap sc_bitmap_ternary;

static inline int sc_bitmap_ternary_open(sc_bitmap_ternary *s, const sc_bitmap_ternary_stream *d)
{
    return sc_bitmap_open(s, d);
}

/* A bit for every weight, and a sign for every one of them that is set. */
static inline int sc_bitmap_ternary_row(sc_bitmap_ternary *s, SC_COL_T *cols, uint32_t room,
                                        uint32_t *plus, uint32_t *minus)
{
    const sc_bitmap_stream *d = s->d;
    const uint8_t *bits = sc_bitmap_take(s, (d->cols + 7u) >> 3);
    sc_lists lists = {cols, 0u, room};
    if (bits == 0) {
        return SC_CODING_ERROR;
    }
    for (uint32_t c = 0u; c < d->cols; c++) {
        if (sc_bitmap_bit(bits, c) != 0u) {
            if (s->sign >> 3 >= d->values_size) {
                return SC_CODING_ERROR;
            }
            const uint32_t negative = sc_bitmap_bit(d->values, s->sign);
            s->sign++;
            if (sc_lists_put(&lists, c, negative != 0u) != 0) {
                return SC_CODING_ERROR;
            }
        }
    }
    *plus = lists.front;
    *minus = room - lists.back;
    return 0;
}

#endif
