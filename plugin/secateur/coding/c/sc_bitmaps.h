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

/* One row of at most two levels. */
static inline int sc_bitmap_row(sc_bitmap *s, int8_t *row)
{
    const sc_bitmap_stream *d = s->d;
    const uint32_t bytes = (d->cols + 7u) >> 3;
    if (d->size - s->at < bytes) {
        return SC_CODING_ERROR;
    }
    const uint8_t *bits = d->data + s->at;
    s->at += bytes;
    for (uint32_t c = 0u; c < d->cols; c++) {
        const uint32_t level = (uint32_t)(bits[c >> 3] >> (c & 7u)) & 1u;
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
    const uint32_t bytes = (d->cols + 3u) >> 2;
    sc_lists lists = {cols, 0u, room};
    if (d->size - s->at < bytes) {
        return SC_CODING_ERROR;
    }
    const uint8_t *codes = d->data + s->at;
    s->at += bytes;
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
    const uint32_t bytes = (d->cols + 7u) >> 3;
    sc_lists lists = {cols, 0u, room};
    if (d->size - s->at < bytes) {
        return SC_CODING_ERROR;
    }
    const uint8_t *bits = d->data + s->at;
    s->at += bytes;
    for (uint32_t c = 0u; c < d->cols; c++) {
        if (((uint32_t)(bits[c >> 3] >> (c & 7u)) & 1u) != 0u) {
            if (s->sign >> 3 >= d->values_size) {
                return SC_CODING_ERROR;
            }
            const uint32_t negative = (uint32_t)(d->values[s->sign >> 3] >> (s->sign & 7u)) & 1u;
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
