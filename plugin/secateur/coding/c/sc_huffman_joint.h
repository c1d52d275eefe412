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
    sc_codes codes;
} sc_huffman_joint_hot;

typedef struct {
    sc_huffman_joint_hot hot;
    const int8_t *book;
    uint16_t rows, cols, escape;
    uint8_t width, levels;
    sc_huffman code; /* whose look-up holds pairs */
} sc_huffman_joint;

/* An entry as a *pair*: gap << 12 | value << 4 | length; a gap without a value has value 0.
 * SC_HUFFMAN_NONE of a symbol that no encoder writes. */
static inline uint32_t sc_huffman_joint_pair(const sc_huffman_joint *s, uint32_t entry)
{
    const uint32_t symbol = (entry & ~SC_HUFFMAN_RAW) >> 4, gap = symbol >> s->width;
    const uint32_t level = symbol & ((1u << s->width) - 1u);
    if (gap == s->escape) {
        return gap << 12 | (entry & 15u);
    }
    if (level >= s->levels || s->book[level] == 0) {
        return SC_HUFFMAN_NONE;
    }
    return gap << 12 | (uint32_t)(uint8_t)s->book[level] << 4 | (entry & 15u);
}

static inline int sc_huffman_joint_open(sc_huffman_joint *s, const sc_huffman_joint_stream *d)
{
    s->hot.walk = (sc_walk){0u, d->nnz, 0};
    sc_codes_open(&s->hot.codes, d->data, d->size);
    s->book = d->book;
    s->rows = d->rows;
    s->cols = d->cols;
    s->escape = d->escape;
    s->width = d->width;
    s->levels = d->levels;
    if (sc_huffman_open(&s->code, d->table, ((uint32_t)d->escape << d->width) + 1u) != 0) {
        return SC_CODING_ERROR;
    }
    for (uint32_t i = 0u; i < 1u << SC_HUFFMAN_PEEK; i++) {
        const uint32_t entry = s->code.quick[i];
        if ((entry & 15u) != SC_HUFFMAN_LONG) {
            /* a table that layers share has symbols of theirs: no pair, until one is read */
            s->code.quick[i] = sc_huffman_joint_pair(s, entry);
        }
    }
    return 0;
}

/* The next pair where the look-up does not tell. */
SC_RARE uint32_t sc_huffman_joint_search(const sc_huffman_joint *s, const uint8_t *data,
                                         uint32_t at, uint32_t bits)
{
    const uint32_t entry = sc_huffman_search(&s->code, data, at, bits);
    return (entry & SC_HUFFMAN_RAW) == 0u || entry == SC_HUFFMAN_NONE
               ? entry
               : sc_huffman_joint_pair(s, entry);
}

/* The next pair; SC_HUFFMAN_NONE if there is none. */
SC_HOT uint32_t sc_huffman_joint_next(const sc_huffman_joint *s, sc_codes *c)
{
    uint32_t pair = sc_huffman_quick(&s->code, c);
    if ((pair & 15u) == SC_HUFFMAN_LONG) {
        pair = sc_huffman_joint_search(s, c->data, c->at, c->bits);
    }
    c->at += pair & 15u;
    return pair;
}

static inline void sc_huffman_joint_step(sc_huffman_joint *s, sc_huffman_joint_hot *h)
{
    const uint32_t pair = sc_huffman_joint_next(s, &h->codes);
    if (pair == SC_HUFFMAN_NONE) {
        h->codes.at = SC_CODES_FAILED;
        h->walk.left = 0u;
        return;
    }
    h->walk.next += pair >> 12;
    h->walk.value = (int8_t)(pair >> 4);
    h->walk.left -= h->walk.value != 0 ? 1u : 0u;
}

static inline bool sc_huffman_joint_failed(const sc_huffman_joint *s,
                                           const sc_huffman_joint_hot *h)
{
    (void)s;
    return sc_codes_failed(&h->codes);
}

SC_SPARSE_ROW(sc_huffman_joint)

typedef sc_huffman_joint_stream sc_huffman_ternary_stream;
typedef sc_huffman_joint_hot sc_huffman_ternary_hot;
typedef sc_huffman_joint sc_huffman_ternary;

static inline int sc_huffman_ternary_open(sc_huffman_ternary *s,
                                          const sc_huffman_ternary_stream *d)
{
    static const int8_t signs[2] = {1, -1};
    sc_huffman_joint_stream joint = *d;
    joint.book = signs;
    return sc_huffman_joint_open(s, &joint);
}

static inline void sc_huffman_ternary_step(sc_huffman_ternary *s, sc_huffman_ternary_hot *h)
{
    sc_huffman_joint_step(s, h);
}

static inline bool sc_huffman_ternary_failed(const sc_huffman_ternary *s,
                                             const sc_huffman_ternary_hot *h)
{
    return sc_huffman_joint_failed(s, h);
}

SC_TERNARY_ROW(sc_huffman_ternary)

#endif
