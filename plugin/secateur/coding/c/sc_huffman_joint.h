/* One Huffman symbol for a gap and the value behind it: "huffman_joint", "huffman_ternary". */
#ifndef SC_HUFFMAN_JOINT_H
#define SC_HUFFMAN_JOINT_H

#include "sc_huffman.h"

typedef struct {
    const uint8_t *data;
    const uint8_t *table;
    const int8_t *book;
    uint32_t size;
    uint32_t nnz;
    uint16_t rows, cols;
    uint16_t escape; /* the gap that has no value behind it */
    uint8_t width;   /* a symbol is gap << width | level */
    uint8_t levels;
} sc_huffman_joint_stream;

typedef struct {
    sc_walk walk;
    sc_bits bits;
} sc_huffman_joint_hot;

typedef struct {
    sc_huffman_joint_hot hot;
    const int8_t *book;
    uint16_t rows, cols, escape;
    uint8_t width, levels;
    sc_huffman code;
} sc_huffman_joint;

static inline int sc_huffman_joint_open(sc_huffman_joint *s, const sc_huffman_joint_stream *d)
{
    s->hot.walk = (sc_walk){0u, d->nnz, 0};
    sc_bits_open(&s->hot.bits, d->data, d->size);
    s->book = d->book;
    s->rows = d->rows;
    s->cols = d->cols;
    s->escape = d->escape;
    s->width = d->width;
    s->levels = d->levels;
    return sc_huffman_open(&s->code, d->table, ((uint32_t)d->escape << d->width) + 1u);
}

static inline void sc_huffman_joint_step(sc_huffman_joint *s, sc_huffman_joint_hot *h)
{
    uint32_t symbol = sc_huffman_read(&s->code, &h->bits);
    uint32_t gap = symbol >> s->width;
    h->walk.next += gap;
    if (gap != s->escape) {
        uint32_t level = symbol & ((1u << s->width) - 1u);
        if (level < s->levels) { /* else the table is damaged, and the count will not come out */
            h->walk.value = s->book[level];
            h->walk.left--;
        } else {
            sc_bits_fail(&h->bits);
            h->walk.left = 0u;
        }
    }
}

static inline bool sc_huffman_joint_failed(const sc_huffman_joint *s,
                                           const sc_huffman_joint_hot *h)
{
    (void)s;
    return sc_bits_failed(&h->bits);
}

SC_SPARSE_ROW(sc_huffman_joint)

typedef sc_huffman_joint_stream sc_huffman_ternary_stream;
typedef sc_huffman_joint_hot sc_huffman_ternary_hot;
typedef sc_huffman_joint sc_huffman_ternary;

static inline int sc_huffman_ternary_open(sc_huffman_ternary *s,
                                          const sc_huffman_ternary_stream *d)
{
    return sc_huffman_joint_open(s, d);
}

static inline void sc_huffman_ternary_step(sc_huffman_ternary *s, sc_huffman_ternary_hot *h)
{
    uint32_t symbol = sc_huffman_read(&s->code, &h->bits);
    uint32_t gap = symbol >> s->width; /* width 0: no weight is negative */
    h->walk.next += gap;
    if (gap != s->escape) {
        h->walk.value = (symbol & s->width) != 0u ? -1 : 1;
        h->walk.left--;
    }
}

static inline bool sc_huffman_ternary_failed(const sc_huffman_ternary *s,
                                             const sc_huffman_ternary_hot *h)
{
    return sc_huffman_joint_failed(s, h);
}

SC_TERNARY_ROW(sc_huffman_ternary)

#endif
