/*
 * Canonical Huffman codes of at most 12 bits, looked up by 8 bits at a time.
 *
 * A table is one nibble a symbol, low nibble first: the code's length, 0 for none, 15 for the only
 * symbol of a stream, which takes no bits.
 */
#ifndef SC_HUFFMAN_H
#define SC_HUFFMAN_H

#include "sc_bits.h"
#include "sc_rows.h"

#ifndef SC_HUFFMAN_SYMBOLS
#define SC_HUFFMAN_SYMBOLS 1025 /* largest alphabet of the model */
#endif
#define SC_HUFFMAN_LIMIT 12u
#define SC_HUFFMAN_PEEK 8u
#define SC_HUFFMAN_ONLY 15u
#define SC_HUFFMAN_LONG 15u

typedef struct {
    uint16_t quick[1u << SC_HUFFMAN_PEEK];  /* symbol << 4 | length by the next 8 bits */
    uint16_t sorted[SC_HUFFMAN_SYMBOLS];    /* symbols by code */
    uint16_t count[SC_HUFFMAN_LIMIT + 1u];  /* codes of each length */
} sc_huffman;

static inline uint32_t sc_huffman_length(const uint8_t *table, uint32_t symbol)
{
    return (uint32_t)(table[symbol >> 1] >> ((symbol & 1u) << 2)) & 15u;
}

/* Build the tables. Returns SC_CODING_ERROR unless the code is complete. */
static inline int sc_huffman_open(sc_huffman *h, const uint8_t *table, uint32_t symbols)
{
    uint16_t code[SC_HUFFMAN_LIMIT + 2u];
    uint16_t index[SC_HUFFMAN_LIMIT + 2u];
    uint32_t room = 1u << SC_HUFFMAN_LIMIT;
    uint32_t used = 0u;

    for (uint32_t i = 0u; i <= SC_HUFFMAN_LIMIT; i++) {
        h->count[i] = 0u;
    }
    for (uint32_t i = 0u; i < 1u << SC_HUFFMAN_PEEK; i++) {
        h->quick[i] = (uint16_t)SC_HUFFMAN_LONG;
    }
    if (symbols > SC_HUFFMAN_SYMBOLS) {
        return SC_CODING_ERROR;
    }
    for (uint32_t s = 0u; s < symbols; s++) {
        uint32_t length = sc_huffman_length(table, s);
        if (length == SC_HUFFMAN_ONLY) {
            for (uint32_t i = 0u; i < 1u << SC_HUFFMAN_PEEK; i++) {
                h->quick[i] = (uint16_t)(s << 4);
            }
            return 0;
        }
        if (length != 0u) {
            uint32_t share = length <= SC_HUFFMAN_LIMIT ? 1u << (SC_HUFFMAN_LIMIT - length) : room + 1u;
            if (share > room) {
                return SC_CODING_ERROR;
            }
            room -= share;
            used++;
            h->count[length]++;
        }
    }
    if (room != 0u) {
        return used == 0u ? 0 : SC_CODING_ERROR;
    }
    code[1] = 0u;
    index[1] = 0u;
    for (uint32_t l = 1u; l <= SC_HUFFMAN_LIMIT; l++) {
        code[l + 1u] = (uint16_t)((code[l] + h->count[l]) << 1);
        index[l + 1u] = (uint16_t)(index[l] + h->count[l]);
    }
    for (uint32_t s = 0u; s < symbols; s++) {
        uint32_t length = sc_huffman_length(table, s);
        if (length == 0u) {
            continue;
        }
        uint32_t forward = code[length]++;
        h->sorted[index[length]++] = (uint16_t)s;
        if (length <= SC_HUFFMAN_PEEK) {
            uint32_t reversed = 0u;
            for (uint32_t i = 0u; i < length; i++) {
                reversed = reversed << 1 | ((forward >> i) & 1u);
            }
            while (reversed < 1u << SC_HUFFMAN_PEEK) {
                h->quick[reversed] = (uint16_t)(s << 4 | length);
                reversed += 1u << length;
            }
        }
    }
    return 0;
}

/*
 * Codes longer than the look-up, rare: by canonical order, a bit at a time. Returns
 * symbol << 4 | length; length 15 if there is no such code.
 */
static inline uint32_t sc_huffman_long(const sc_huffman *h, uint32_t bits)
{
    uint32_t code = 0u, first = 0u, index = 0u;
    for (uint32_t length = 1u; length <= SC_HUFFMAN_LIMIT; length++) {
        uint32_t count = h->count[length];
        code = code << 1 | (bits & 1u);
        bits >>= 1;
        first <<= 1;
        if (code - first < count) {
            return (uint32_t)h->sorted[index + code - first] << 4 | length;
        }
        first += count;
        index += count;
    }
    return SC_HUFFMAN_LONG;
}

/* The next symbol, below the table's number of symbols. */
static inline uint32_t sc_huffman_read(const sc_huffman *h, sc_bits *b)
{
    sc_bits_fill(b);
    uint32_t entry = h->quick[b->buffer & ((1u << SC_HUFFMAN_PEEK) - 1u)];
    if ((entry & 15u) == SC_HUFFMAN_LONG) {
        entry = sc_huffman_long(h, b->buffer);
        if (entry == SC_HUFFMAN_LONG) {
            sc_bits_fail(b);
            return 0u;
        }
    }
    sc_bits_drop(b, entry & 15u);
    return entry >> 4;
}

#endif
