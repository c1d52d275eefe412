/* Gaps and values of fixed width: encodings "gap_sparse", "gap_ternary". */
#ifndef SC_PACKED_GAPS_H
#define SC_PACKED_GAPS_H

#include "sc_bits.h"
#include "sc_rows.h"

typedef struct {
    const uint8_t *gaps;
    const uint8_t *values;
    const int8_t *book; /* 0: a level is the value + 128; unused by the ternary form */
    uint32_t gaps_size, values_size;
    uint32_t nnz;
    uint16_t rows, cols;
    uint16_t levels;
    uint8_t gap_bits; /* a gap of all ones has no value behind it */
    uint8_t width;    /* bits of a level; ternary: 1, or 0 where no weight is negative */
} sc_gap_sparse_stream;

typedef struct {
    sc_walk walk;
    sc_bits gaps;
    sc_bits values;
} sc_gap_sparse_hot;

typedef struct {
    sc_gap_sparse_hot hot;
    const int8_t *book;
    uint16_t rows, cols, levels;
    uint8_t gap_bits, width;
} sc_gap_sparse;

static inline int sc_gap_sparse_open(sc_gap_sparse *s, const sc_gap_sparse_stream *d)
{
    s->hot.walk = (sc_walk){0u, d->nnz, 0};
    sc_bits_open(&s->hot.gaps, d->gaps, d->gaps_size);
    sc_bits_open(&s->hot.values, d->values, d->values_size);
    s->book = d->book;
    s->rows = d->rows;
    s->cols = d->cols;
    s->levels = d->levels;
    s->gap_bits = d->gap_bits;
    s->width = d->width;
    return 0;
}

static inline void sc_gap_sparse_step(sc_gap_sparse *s, sc_gap_sparse_hot *h)
{
    uint32_t gap = sc_bits_read(&h->gaps, s->gap_bits);
    h->walk.next += gap;
    if (gap != (1u << s->gap_bits) - 1u) {
        uint32_t level = sc_bits_read(&h->values, s->width);
        h->walk.left--;
        if (s->book == 0) {
            h->walk.value = (int8_t)((int32_t)level - 128);
        } else if (level < s->levels) {
            h->walk.value = s->book[level];
        } else {
            sc_bits_fail(&h->values);
        }
    }
}

static inline bool sc_gap_sparse_failed(const sc_gap_sparse *s, const sc_gap_sparse_hot *h)
{
    (void)s;
    return sc_bits_failed(&h->gaps) || sc_bits_failed(&h->values);
}

SC_SPARSE_ROW(sc_gap_sparse)

typedef sc_gap_sparse_stream sc_gap_ternary_stream;
typedef sc_gap_sparse_hot sc_gap_ternary_hot;
typedef sc_gap_sparse sc_gap_ternary;

static inline int sc_gap_ternary_open(sc_gap_ternary *s, const sc_gap_ternary_stream *d)
{
    return sc_gap_sparse_open(s, d);
}

static inline void sc_gap_ternary_step(sc_gap_ternary *s, sc_gap_ternary_hot *h)
{
    uint32_t gap = sc_bits_read(&h->gaps, s->gap_bits);
    h->walk.next += gap;
    if (gap != (1u << s->gap_bits) - 1u) {
        h->walk.value = sc_bits_read(&h->values, s->width) != 0u ? -1 : 1;
        h->walk.left--;
    }
}

static inline bool sc_gap_ternary_failed(const sc_gap_ternary *s, const sc_gap_ternary_hot *h)
{
    return sc_gap_sparse_failed(s, h);
}

SC_TERNARY_ROW(sc_gap_ternary)

#endif
