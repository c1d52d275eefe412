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
    sc_codes codes;
    uint32_t symbol; /* weights not yet handed out */
    uint32_t held;   /* how many */
    sc_huffman code; /* whose look-up holds batches, unless a symbol is more weights than fit in */
} sc_huffman_dense;

/*
 * A batch: the weights of as many codes as the look-up's bits hold, so that short codes are decoded
 * several at a time: bits 6..29 three values, the first lowest; 4..5 their number; 0..3 all codes'
 * length.
 */
#define SC_BATCH 3u

/* The value of the lowest digit of *symbol, which is taken away. */
static inline int8_t sc_huffman_dense_digit(const sc_huffman_dense_stream *d, uint32_t *symbol)
{
    const uint32_t rest = (*symbol * d->inverse) >> 16;
    const uint32_t digit = *symbol - rest * d->levels;
    *symbol = rest;
    return d->book != 0 ? d->book[digit] : (int8_t)((int32_t)digit - 128);
}

/* An entry's symbol as a batch. */
static inline uint32_t sc_huffman_dense_batch(const sc_huffman_dense_stream *d, uint32_t entry)
{
    uint32_t symbol = (entry & ~SC_HUFFMAN_RAW) >> 4, batch = (uint32_t)d->block << 4 | (entry & 15u);
    for (uint32_t i = 0u; i < d->block; i++) {
        batch |= (uint32_t)(uint8_t)sc_huffman_dense_digit(d, &symbol) << (6u + 8u * i);
    }
    return batch;
}

static inline int sc_huffman_dense_open(sc_huffman_dense *s, const sc_huffman_dense_stream *d)
{
    uint32_t *const quick = s->code.quick;
    s->d = d;
    s->symbol = 0u;
    s->held = 0u;
    sc_codes_open(&s->codes, d->data, d->size);
    if (sc_huffman_open(&s->code, d->table, d->symbols) != 0) {
        return SC_CODING_ERROR;
    }
    if (d->block > SC_BATCH) {
        return 0;
    }
    for (uint32_t i = 0u; i < 1u << SC_HUFFMAN_PEEK; i++) {
        if ((quick[i] & 15u) != SC_HUFFMAN_LONG) {
            quick[i] = sc_huffman_dense_batch(d, quick[i]);
        }
    }
    for (uint32_t i = (1u << SC_HUFFMAN_PEEK) - 1u; i > 0u; i--) { /* what follows is still single */
        uint32_t batch = quick[i];
        for (;;) {
            const uint32_t length = batch & 15u, held = batch >> 4 & 3u;
            if (length == 0u || length == SC_HUFFMAN_LONG) {
                break; /* a code of no bits says nothing of the next */
            }
            const uint32_t more = quick[i >> length];
            if (length + (more & 15u) > SC_HUFFMAN_PEEK || held + d->block > SC_BATCH) {
                break;
            }
            batch += (more & 63u) + ((more >> 6) << (6u + 8u * held));
        }
        quick[i] = batch;
    }
    return 0;
}

/* Batches of short codes, to at most end - row weights. Returns where the row goes on. */
static inline int8_t *sc_huffman_dense_fast(const uint32_t *quick, sc_codes *codes, int8_t *row,
                                            const int8_t *end)
{
    sc_codes c = *codes;
    uint32_t batch = 0u;
    while (end - row >= 9 && c.at + 32u <= c.bits && (batch & 15u) != SC_HUFFMAN_LONG) {
        uint32_t word = sc_codes_word(&c);
        for (uint32_t i = 0u; i < 3u; i++) { /* each takes at most 8 of 25 bits */
            batch = quick[word & ((1u << SC_HUFFMAN_PEEK) - 1u)];
            const uint32_t length = batch & 15u;
            if (length == SC_HUFFMAN_LONG) {
                break;
            }
            word >>= length;
            c.at += length;
            row[0] = (int8_t)(batch >> 6);
            row[1] = (int8_t)(batch >> 14);
            row[2] = (int8_t)(batch >> 22);
            row += batch >> 4 & 3u;
        }
    }
    codes->at = c.at;
    return row;
}

static inline int sc_huffman_dense_row(sc_huffman_dense *s, int8_t *row)
{
    const sc_huffman_dense_stream *d = s->d;
    const bool batches = d->block <= SC_BATCH;
    const int8_t *const end = row + d->cols;
    sc_codes codes = s->codes;
    uint32_t symbol = s->symbol, held = s->held;
    for (;;) {
        for (; held > 0u && row != end; held--) {
            if (batches) {
                *row++ = (int8_t)symbol;
                symbol >>= 8;
            } else {
                *row++ = sc_huffman_dense_digit(d, &symbol);
            }
        }
        if (row == end) {
            break;
        }
        if (batches) {
            row = sc_huffman_dense_fast(s->code.quick, &codes, row, end);
        }
        uint32_t entry = sc_huffman_next(&s->code, &codes);
        if (entry == SC_HUFFMAN_NONE) {
            return SC_CODING_ERROR;
        }
        if (batches) {
            entry = (entry & SC_HUFFMAN_RAW) != 0u ? sc_huffman_dense_batch(d, entry) : entry;
        }
        symbol = batches ? entry >> 6 : (entry & ~SC_HUFFMAN_RAW) >> 4;
        held = batches ? entry >> 4 & 3u : d->block;
    }
    s->codes = codes;
    s->symbol = symbol;
    s->held = held;
    return sc_codes_failed(&codes) ? SC_CODING_ERROR : 0;
}

#endif
