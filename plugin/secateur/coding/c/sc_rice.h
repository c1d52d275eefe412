/* Rice-coded gaps: encodings "rice_sparse", "rice_ternary". */
#ifndef SC_RICE_H
#define SC_RICE_H

#include "sc_bits.h"
#include "sc_rows.h"

typedef struct {
    const uint8_t *gaps;  /* of each row; ternary: of its list of -1s and of its list of +1s */
    const int8_t *values; /* unused by the ternary form */
    uint32_t gaps_size, values_size;
    uint32_t nnz;
    uint16_t rows, cols;
    uint8_t k; /* low bits of a gap */
} sc_rice_sparse_stream;

typedef struct {
    sc_bits gaps;
    const int8_t *values;
    uint32_t next; /* column of the next non-zero, counted from the current list's first */
    uint32_t left; /* non-zeros not yet handed out */
    uint16_t rows, cols;
    uint8_t k;
} sc_rice_sparse;

/* Zeros, a one, k (at most 9) bits; sixteen zeros have no one. */
static inline uint32_t sc_rice_gap(sc_bits *b, uint32_t k)
{
    uint32_t high = 0u;
    for (sc_bits_fill(b); (b->buffer & 1u) == 0u; sc_bits_fill(b)) {
        sc_bits_drop(b, 1u);
        high++;
        if (sc_bits_failed(b)) {
            return 0u;
        }
    }
    sc_bits_drop(b, 1u);
    return (high << k) + sc_bits_read(b, k);
}

static inline int sc_rice_sparse_open(sc_rice_sparse *s, const sc_rice_sparse_stream *d)
{
    sc_bits_open(&s->gaps, d->gaps, d->gaps_size);
    s->values = d->values;
    s->left = d->nnz;
    s->rows = d->rows;
    s->cols = d->cols;
    s->k = d->k;
    s->next = sc_rice_gap(&s->gaps, d->k);
    /* a value for every non-zero; where there is no array, none is read */
    return d->values == 0 || d->values_size >= d->nnz ? 0 : SC_CODING_ERROR;
}

/* The columns of the next list, up or down from `to`; their number, or more than `room`: failed. */
static inline uint32_t sc_rice_list(sc_rice_sparse *s, SC_COL_T *to, int step, uint32_t room)
{
    const uint32_t width = s->cols, k = s->k;
    sc_bits gaps = s->gaps;
    uint32_t n = 0u, next = s->next;
    if (room > s->left) {
        room = s->left;
    }
    for (; next < width; n++) {
        if (n == room) {
            return UINT32_MAX;
        }
        *to = (SC_COL_T)next;
        to += step;
        next += 1u + sc_rice_gap(&gaps, k);
    }
    s->gaps = gaps;
    s->next = next - width;
    s->left -= n;
    return n;
}

/* After a row: 0, or an error if bits are missing or non-zeros lie behind the last row. */
static inline int sc_rice_end(sc_rice_sparse *s)
{
    s->rows--;
    if (s->rows == 0u && (s->left != 0u || s->next != 0u)) {
        return SC_CODING_ERROR;
    }
    return sc_bits_failed(&s->gaps) ? SC_CODING_ERROR : 0;
}

static inline int sc_rice_sparse_row(sc_rice_sparse *s, SC_COL_T *cols, int8_t *values,
                                     uint32_t room, uint32_t *count)
{
    const uint32_t n = sc_rice_list(s, cols, 1, room);
    if (n > room) {
        return SC_CODING_ERROR;
    }
    for (uint32_t i = 0u; i < n; i++) {
        values[i] = *s->values++;
    }
    *count = n;
    return sc_rice_end(s);
}

typedef sc_rice_sparse_stream sc_rice_ternary_stream;
typedef sc_rice_sparse sc_rice_ternary;

static inline int sc_rice_ternary_open(sc_rice_ternary *s, const sc_rice_ternary_stream *d)
{
    return sc_rice_sparse_open(s, d);
}

static inline int sc_rice_ternary_row(sc_rice_ternary *s, SC_COL_T *cols, uint32_t room,
                                      uint32_t *plus, uint32_t *minus)
{
    const uint32_t n = sc_rice_list(s, cols + room - 1, -1, room);
    if (n > room) {
        return SC_CODING_ERROR;
    }
    const uint32_t p = sc_rice_list(s, cols, 1, room - n);
    if (p > room - n) {
        return SC_CODING_ERROR;
    }
    *plus = p;
    *minus = n;
    return sc_rice_end(s);
}

#endif
