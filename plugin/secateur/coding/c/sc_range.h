/* Range-coded gaps and values: encodings "range_sparse", "range_ternary" (see range_sparse.py). */
#ifndef SC_RANGE_H
#define SC_RANGE_H

#include "sc_range_coder.h"
#include "sc_rows.h"

#define SC_RANGE_UNARY 20u
#define SC_RANGE_MODELLED 3u
#define SC_RANGE_TREE ((1u << SC_RANGE_MODELLED) - 1u)
#define SC_RANGE_VALUE (SC_RANGE_UNARY + 2u * SC_RANGE_TREE)

typedef struct {
    const uint8_t *data;
    const int8_t *book; /* 0: a level is the value + 128; unused by the ternary form */
    uint32_t size;
    uint32_t nnz;
    uint16_t rows, cols;
    uint16_t levels;
    uint16_t contexts;
    uint8_t k;     /* low bits of a gap */
    uint8_t width; /* bits of a level */
} sc_range_sparse_stream;

typedef struct {
    sc_walk walk;
    sc_range range;
    uint32_t negative; /* sign of the last value, ternary form */
} sc_range_sparse_hot;

typedef struct {
    sc_range_sparse_hot hot;
    const int8_t *book;
    uint16_t rows, cols, levels;
    uint8_t k, width;
    sc_range_cell cells[SC_RANGE_CONTEXTS];
} sc_range_sparse;

static inline int sc_range_sparse_open(sc_range_sparse *s, const sc_range_sparse_stream *d)
{
    s->hot.walk = (sc_walk){0u, d->nnz, 0};
    s->hot.negative = 0u;
    s->book = d->book;
    s->rows = d->rows;
    s->cols = d->cols;
    s->levels = d->levels;
    s->k = d->k;
    s->width = d->width;
    if (d->contexts > SC_RANGE_CONTEXTS) {
        return SC_CODING_ERROR;
    }
    sc_range_open(&s->hot.range, s->cells, d->contexts, d->data, d->size);
    return 0;
}

static inline uint32_t sc_range_gap(sc_range_sparse *s, sc_range *r)
{
    sc_range_cell *cells = s->cells;
    const uint32_t k = s->k;
    const uint32_t modelled = k < SC_RANGE_MODELLED ? k : SC_RANGE_MODELLED;
    uint32_t quotient = 0u;
    while (quotient < SC_RANGE_UNARY && sc_range_bin(r, &cells[quotient]) != 0u) {
        quotient++;
    }
    if (quotient == SC_RANGE_UNARY) {
        uint32_t extra = 0u;
        while (extra < 31u && sc_range_raw(r, 1u) != 0u) {
            extra++;
        }
        quotient += (1u << extra | sc_range_raw(r, extra)) - 1u;
    }
    const uint32_t base = SC_RANGE_UNARY - 1u + (quotient != 0u ? SC_RANGE_TREE : 0u);
    uint32_t node = 1u;
    for (uint32_t i = 0u; i < modelled; i++) {
        node = node << 1 | sc_range_bin(r, &cells[base + node]);
    }
    node -= 1u << modelled;
    if (k > modelled) {
        node = node << (k - modelled) | sc_range_raw(r, k - modelled);
    }
    return quotient << k | node;
}

static inline void sc_range_sparse_step(sc_range_sparse *s, sc_range_sparse_hot *h)
{
    uint32_t node = 1u;
    h->walk.next += sc_range_gap(s, &h->range);
    h->walk.left--;
    for (uint32_t i = 0u; i < s->width; i++) {
        node = node << 1 | sc_range_bin(&h->range, &s->cells[SC_RANGE_VALUE - 1u + node]);
    }
    node -= 1u << s->width;
    if (s->book == 0) {
        h->walk.value = (int8_t)((int32_t)node - 128);
    } else if (node < s->levels) {
        h->walk.value = s->book[node];
    } else {
        h->range.past = 5u; /* damaged */
    }
}

static inline bool sc_range_sparse_failed(const sc_range_sparse *s, const sc_range_sparse_hot *h)
{
    (void)s;
    return sc_range_failed(&h->range);
}

SC_SPARSE_ROW(sc_range_sparse)

typedef sc_range_sparse_stream sc_range_ternary_stream;
typedef sc_range_sparse_hot sc_range_ternary_hot;
typedef sc_range_sparse sc_range_ternary;

static inline int sc_range_ternary_open(sc_range_ternary *s, const sc_range_ternary_stream *d)
{
    return sc_range_sparse_open(s, d);
}

static inline void sc_range_ternary_step(sc_range_ternary *s, sc_range_ternary_hot *h)
{
    uint32_t gap = sc_range_gap(s, &h->range);
    h->walk.next += gap;
    h->walk.left--;
    h->negative = sc_range_bin(
        &h->range, &s->cells[SC_RANGE_VALUE + 2u * h->negative + (gap == 0u ? 1u : 0u)]);
    h->walk.value = h->negative != 0u ? -1 : 1;
}

static inline bool sc_range_ternary_failed(const sc_range_ternary *s,
                                           const sc_range_ternary_hot *h)
{
    return sc_range_sparse_failed(s, h);
}

SC_TERNARY_ROW(sc_range_ternary)

#endif
