/* Huffman over every weight, `block` weights to a symbol: encoding "huffman_dense". */
#ifndef SC_HUFFMAN_DENSE_H
#define SC_HUFFMAN_DENSE_H

#include "sc_huffman.h"

typedef struct {
    const uint8_t *data;
    const uint8_t *table;
    const int8_t *book; /* 0: a digit is the value + 128 */
    uint32_t size;
    uint32_t inverse; /* ceil(65536 / levels): exact for every symbol of an alphabet <= 1024 */
    uint16_t symbols; /* levels ** block */
    uint16_t rows, cols;
    uint16_t levels;
    uint8_t block;
} sc_huffman_dense_stream;

typedef struct {
    const sc_huffman_dense_stream *d;
    sc_bits bits;
    uint32_t symbol; /* digits not yet handed out */
    uint32_t held;   /* how many */
    sc_huffman code;
} sc_huffman_dense;

static inline int sc_huffman_dense_open(sc_huffman_dense *s, const sc_huffman_dense_stream *d)
{
    s->d = d;
    s->symbol = 0u;
    s->held = 0u;
    sc_bits_open(&s->bits, d->data, d->size);
    return sc_huffman_open(&s->code, d->table, d->symbols);
}

static inline int sc_huffman_dense_row(sc_huffman_dense *s, int8_t *row)
{
    const sc_huffman_dense_stream *d = s->d;
    const int8_t *book = d->book;
    const uint32_t levels = d->levels, inverse = d->inverse, block = d->block;
    sc_bits bits = s->bits;
    uint32_t symbol = s->symbol, held = s->held;
    for (uint32_t i = 0u; i < d->cols; i++) {
        if (held == 0u) {
            symbol = sc_huffman_read(&s->code, &bits);
            held = block;
        }
        uint32_t rest = (symbol * inverse) >> 16;
        uint32_t digit = symbol - rest * levels;
        row[i] = book != 0 ? book[digit] : (int8_t)((int32_t)digit - 128);
        symbol = rest;
        held--;
    }
    s->bits = bits;
    s->symbol = symbol;
    s->held = held;
    return sc_bits_failed(&bits) ? SC_CODING_ERROR : 0;
}

#endif
