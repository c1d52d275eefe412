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
    sc_bits gaps;
    sc_bits values;
} sc_huffman_sparse_hot;

typedef struct {
    sc_huffman_sparse_hot hot;
    const int8_t *book;
    uint16_t rows, cols, escape, levels;
    sc_huffman gap;
    sc_huffman value;
} sc_huffman_sparse;

static inline int sc_huffman_sparse_open(sc_huffman_sparse *s, const sc_huffman_sparse_stream *d)
{
    s->hot.walk = (sc_walk){0u, d->nnz, 0};
    sc_bits_open(&s->hot.gaps, d->gaps, d->gaps_size);
    sc_bits_open(&s->hot.values, d->values, d->values_size);
    s->book = d->book;
    s->rows = d->rows;
    s->cols = d->cols;
    s->escape = d->escape;
    s->levels = d->levels;
    if (sc_huffman_open(&s->gap, d->gap_table, d->escape + 1u) != 0) {
        return SC_CODING_ERROR;
    }
    return sc_huffman_open(&s->value, d->value_table, d->levels);
}

static inline void sc_huffman_sparse_step(sc_huffman_sparse *s, sc_huffman_sparse_hot *h)
{
    uint32_t gap = sc_huffman_read(&s->gap, &h->gaps);
    h->walk.next += gap;
    if (gap != s->escape) {
        uint32_t level = sc_huffman_read(&s->value, &h->values);
        h->walk.value = s->book != 0 ? s->book[level] : (int8_t)((int32_t)level - 128);
        h->walk.left--;
    }
}

static inline bool sc_huffman_sparse_failed(const sc_huffman_sparse *s,
                                            const sc_huffman_sparse_hot *h)
{
    (void)s;
    return sc_bits_failed(&h->gaps) || sc_bits_failed(&h->values);
}

SC_SPARSE_ROW(sc_huffman_sparse)

#endif
