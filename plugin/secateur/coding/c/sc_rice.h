/* Rice-coded gaps of ternary rows: encoding "rice_ternary". */
#ifndef SC_RICE_H
#define SC_RICE_H

#include "sc_bits.h"
#include "sc_rows.h"

typedef struct {
    const uint8_t *gaps; /* of each row's list of -1s and list of +1s */
    uint32_t gaps_size;
    uint32_t nnz;
    uint16_t rows, cols;
    uint8_t k; /* low bits of a gap */
} sc_rice_ternary_stream;

typedef struct {
    sc_bits gaps;
    uint32_t next; /* column of the next non-zero, counted from the current list's first */
    uint32_t left; /* non-zeros not yet handed out */
    uint16_t rows, cols;
    uint8_t k;
} sc_rice_ternary;

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

static inline int sc_rice_ternary_open(sc_rice_ternary *s, const sc_rice_ternary_stream *d)
{
    sc_bits_open(&s->gaps, d->gaps, d->gaps_size);
    s->left = d->nnz;
    s->rows = d->rows;
    s->cols = d->cols;
    s->k = d->k;
    s->next = sc_rice_gap(&s->gaps, d->k);
    return 0;
}

static inline int sc_rice_ternary_row(sc_rice_ternary *s, SC_COL_T *cols, uint32_t room,
                                      uint32_t *plus, uint32_t *minus)
{
    const uint32_t width = s->cols, k = s->k;
    sc_bits gaps = s->gaps;
    uint32_t front = 0u, back = room, next = s->next, left = s->left;
    for (int list = 0; list < 2; list++) {
        while (next < width) {
            if (left == 0u || front == back) {
                return SC_CODING_ERROR;
            }
            left--;
            if (list == 0) {
                cols[--back] = (SC_COL_T)next;
            } else {
                cols[front++] = (SC_COL_T)next;
            }
            next += 1u + sc_rice_gap(&gaps, k);
        }
        next -= width;
    }
    s->gaps = gaps;
    s->next = next;
    s->left = left;
    *plus = front;
    *minus = room - back;
    s->rows--;
    if (s->rows == 0u && (left != 0u || next != 0u)) {
        return SC_CODING_ERROR; /* non-zeros behind the last row */
    }
    return sc_bits_failed(&gaps) ? SC_CODING_ERROR : 0;
}

#endif
