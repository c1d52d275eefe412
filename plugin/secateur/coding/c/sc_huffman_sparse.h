/* Huffman-coded gaps and values in streams of their own: encoding "huffman_sparse". */
#ifndef SC_HUFFMAN_SPARSE_H
#define SC_HUFFMAN_SPARSE_H

#include "sc_huffman.h"

typedef struct {
    const uint8_t *gaps;
    const uint8_t *values;
    const uint8_t *gap_table;
    const uint8_t *value_table;
    const int8_t *book; /* 0: a symbol is the value + 128 */
    uint32_t gaps_size, values_size;
    uint32_t nnz;
    uint16_t rows, cols;
    uint16_t escape; /* the gap that has no value behind it */
    uint16_t levels;
} sc_huffman_sparse_stream;

typedef struct {
    sc_walk walk;
    sc_codes gaps;
    sc_codes values;
} sc_huffman_sparse_hot;

typedef struct {
    sc_huffman_sparse_hot hot;
    const int8_t *book;
    uint16_t rows, cols, escape, levels;
    sc_huffman gap;
    sc_huffman value;
} sc_huffman_sparse;

/* The value of a symbol. */
static inline int8_t sc_huffman_sparse_value(const sc_huffman_sparse *s, uint32_t symbol)
{
    return s->book != 0 ? s->book[symbol] : (int8_t)((int32_t)symbol - 128);
}

static inline int sc_huffman_sparse_open(sc_huffman_sparse *s, const sc_huffman_sparse_stream *d)
{
    s->hot.walk = (sc_walk){0u, d->nnz, 0};
    sc_codes_open(&s->hot.gaps, d->gaps, d->gaps_size);
    sc_codes_open(&s->hot.values, d->values, d->values_size);
    s->book = d->book;
    s->rows = d->rows;
    s->cols = d->cols;
    s->escape = d->escape;
    s->levels = d->levels;
    if (sc_huffman_open(&s->gap, d->gap_table, d->escape + 1u) != 0 ||
        sc_huffman_open(&s->value, d->value_table, d->levels) != 0) {
        return SC_CODING_ERROR;
    }
    for (uint32_t i = 0u; i < 1u << SC_HUFFMAN_PEEK; i++) { /* symbols become values */
        const uint32_t entry = s->value.quick[i];
        if ((entry & 15u) != SC_HUFFMAN_LONG) {
            const uint32_t value = (uint8_t)sc_huffman_sparse_value(s, entry >> 4);
            s->value.quick[i] = value << 4 | (entry & 15u);
        }
    }
    return 0;
}

/* The next value; where there is none, the stream has failed. */
static inline int8_t sc_huffman_sparse_next(const sc_huffman_sparse *s, sc_codes *c)
{
    const uint32_t entry = sc_huffman_next(&s->value, c);
    if ((entry & SC_HUFFMAN_RAW) == 0u) {
        return (int8_t)(entry >> 4);
    }
    return entry == SC_HUFFMAN_NONE
               ? 1
               : sc_huffman_sparse_value(s, (entry & ~SC_HUFFMAN_RAW) >> 4);
}

static inline void sc_huffman_sparse_step(sc_huffman_sparse *s, sc_huffman_sparse_hot *h)
{
    const uint32_t gap = (sc_huffman_next(&s->gap, &h->gaps) & ~SC_HUFFMAN_RAW) >> 4;
    if (h->gaps.at == SC_CODES_FAILED) {
        h->walk.left = 0u;
        return;
    }
    h->walk.next += gap;
    if (gap != s->escape) {
        h->walk.value = sc_huffman_sparse_next(s, &h->values);
        h->walk.left--;
    }
}

static inline bool sc_huffman_sparse_failed(const sc_huffman_sparse *s,
                                            const sc_huffman_sparse_hot *h)
{
    (void)s;
    return sc_codes_failed(&h->gaps) || sc_codes_failed(&h->values);
}

SC_SPARSE_ROW(sc_huffman_sparse)

#endif
