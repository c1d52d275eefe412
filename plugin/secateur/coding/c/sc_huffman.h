/*
 * Canonical Huffman codes of at most 12 bits, looked up by 8 bits at a time.
 *
 * A table is one nibble a symbol, low nibble first: the code's length, 0 for none, 15 for the only
 * symbol of a stream, which takes no bits.
 *
 * An *entry* is what a code stands for, above four bits with its length. `sc_huffman_open` fills the
 * look-up with symbols; a decoder may put something in their place that saves it work later.
 */
#ifndef SC_HUFFMAN_H
#define SC_HUFFMAN_H

#include "sc_rows.h"

#ifndef SC_HUFFMAN_SYMBOLS
#define SC_HUFFMAN_SYMBOLS 1025 /* largest alphabet of the model */
#endif
#define SC_HUFFMAN_LIMIT 12u
#define SC_HUFFMAN_PEEK 8u
#define SC_HUFFMAN_ONLY 15u
#define SC_HUFFMAN_LONG 15u         /* length of an entry whose code is longer than the look-up */
#define SC_HUFFMAN_RAW 0x80000000u  /* on an entry that did not come from the look-up: a symbol */
#define SC_HUFFMAN_NONE 0xffffffffu /* no entry: there is no such code */

#if defined(__GNUC__) /* also where the compiler is told to save space */
#define SC_RARE static __attribute__((noinline, unused))
#define SC_HOT static inline __attribute__((always_inline, unused))
#else
#define SC_RARE static
#define SC_HOT static inline
#endif

typedef struct {
    uint32_t quick[1u << SC_HUFFMAN_PEEK]; /* entry by the next 8 bits; of a longer code these bits,
                                              first one highest, and SC_HUFFMAN_LONG */
    uint16_t sorted[SC_HUFFMAN_SYMBOLS];   /* symbols by code */
    uint16_t count[SC_HUFFMAN_LIMIT + 1u]; /* codes of each length */
    uint16_t first, index;                 /* of the codes longer than the look-up, at its length */
} sc_huffman;

static inline uint32_t sc_huffman_length(const uint8_t *table, uint32_t symbol)
{
    return (uint32_t)(table[symbol >> 1] >> ((symbol & 1u) << 2)) & 15u;
}

/* Bits 0..7 in reverse order. */
static inline uint32_t sc_reversed8(uint32_t bits)
{
    bits = (bits & 0x0fu) << 4 | (bits >> 4 & 0x0fu);
    bits = (bits & 0x33u) << 2 | (bits >> 2 & 0x33u);
    return (bits & 0x55u) << 1 | (bits >> 1 & 0x55u);
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
    h->first = 0u;
    h->index = 0u;
    if (symbols > SC_HUFFMAN_SYMBOLS) {
        return SC_CODING_ERROR;
    }
    for (uint32_t s = 0u; s < symbols; s++) {
        uint32_t length = sc_huffman_length(table, s);
        if (length == SC_HUFFMAN_ONLY) {
            for (uint32_t i = 0u; i < 1u << SC_HUFFMAN_PEEK; i++) {
                h->quick[i] = s << 4;
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
    if (room != 0u) { /* incomplete, or no code at all: then whatever comes is no code */
        for (uint32_t i = 0u; i < 1u << SC_HUFFMAN_PEEK; i++) {
            h->quick[i] = SC_HUFFMAN_LONG;
        }
        return used == 0u ? 0 : SC_CODING_ERROR;
    }
    code[1] = 0u;
    index[1] = 0u;
    for (uint32_t l = 1u; l <= SC_HUFFMAN_LIMIT; l++) {
        code[l + 1u] = (uint16_t)((code[l] + h->count[l]) << 1);
        index[l + 1u] = (uint16_t)(index[l] + h->count[l]);
    }
    h->first = (uint16_t)(code[SC_HUFFMAN_PEEK + 1u] >> 1);
    h->index = index[SC_HUFFMAN_PEEK + 1u];
    for (uint32_t s = 0u; s < symbols; s++) {
        uint32_t length = sc_huffman_length(table, s);
        if (length == 0u) {
            continue;
        }
        uint32_t forward = code[length]++;
        h->sorted[index[length]++] = (uint16_t)s;
        if (length > SC_HUFFMAN_PEEK) {
            forward >>= length - SC_HUFFMAN_PEEK;
            h->quick[sc_reversed8(forward)] = forward << 4 | SC_HUFFMAN_LONG;
            continue;
        }
        for (uint32_t at = sc_reversed8(forward << (SC_HUFFMAN_PEEK - length));
             at < 1u << SC_HUFFMAN_PEEK; at += 1u << length) {
            h->quick[at] = s << 4 | length;
        }
    }
    return 0;
}

/* A stream of codes, and the bit of it that comes next. */
typedef struct {
    const uint8_t *data;
    uint32_t at;
    uint32_t bits; /* all there are; beyond, zeros are read */
} sc_codes;

#define SC_CODES_FAILED 0x80000000u /* a position no stream has */

static inline void sc_codes_open(sc_codes *c, const uint8_t *data, uint32_t size)
{
    c->data = data;
    c->at = 0u;
    c->bits = 8u * size;
}

/* Whether more bits were used than there are. */
static inline bool sc_codes_failed(const sc_codes *c)
{
    return c->at > c->bits;
}

/* The next 25 bits or more, where at least 32 are left. */
SC_HOT uint32_t sc_codes_word(const sc_codes *c)
{
    const uint8_t *p = c->data + (c->at >> 3);
    const uint32_t word = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    return word >> (c->at & 7u);
}

/* The next code by canonical order, a bit at a time: where the look-up does not tell, and for the last
 * bits, behind which it would see others that are not there. */
SC_RARE uint32_t sc_huffman_search(const sc_huffman *h, const uint8_t *data, uint32_t at,
                                   uint32_t bits)
{
    const uint32_t byte = at >> 3, size = bits >> 3;
    uint32_t next = 0u, length = 1u, code = 0u, first = 0u, index = 0u;
    for (uint32_t i = 0u; i < 3u; i++) {
        next |= byte + i < size ? (uint32_t)data[byte + i] << (8u * i) : 0u;
    }
    next >>= at & 7u;
    const uint32_t entry = h->quick[next & ((1u << SC_HUFFMAN_PEEK) - 1u)];
    if ((entry & 15u) == 0u) {
        return entry; /* the only symbol of its stream */
    }
    if ((entry & 15u) == SC_HUFFMAN_LONG) {
        length = SC_HUFFMAN_PEEK + 1u;
        next >>= SC_HUFFMAN_PEEK;
        code = entry >> 4;
        first = h->first;
        index = h->index;
    }
    for (; length <= SC_HUFFMAN_LIMIT; length++) {
        const uint32_t count = h->count[length];
        code = code << 1 | (next & 1u);
        next >>= 1;
        first <<= 1;
        if (code - first < count) {
            return SC_HUFFMAN_RAW | (uint32_t)h->sorted[index + code - first] << 4 | length;
        }
        first += count;
        index += count;
    }
    return SC_HUFFMAN_NONE;
}

/* What the look-up has for the next bits: SC_HUFFMAN_LONG where it does not tell the code. */
SC_HOT uint32_t sc_huffman_quick(const sc_huffman *h, const sc_codes *c)
{
    if (c->at + 16u > c->bits) { /* there are no two bytes to read from */
        return SC_HUFFMAN_LONG;
    }
    const uint8_t *p = c->data + (c->at >> 3);
    const uint32_t two = p[0] | (uint32_t)p[1] << 8;
    return h->quick[(two >> (c->at & 7u)) & ((1u << SC_HUFFMAN_PEEK) - 1u)];
}

/* The next entry; the reader moves on by its length. Where there is none, the reader has failed. */
SC_HOT uint32_t sc_huffman_next(const sc_huffman *h, sc_codes *c)
{
    uint32_t entry = sc_huffman_quick(h, c);
    if ((entry & 15u) == SC_HUFFMAN_LONG) {
        entry = sc_huffman_search(h, c->data, c->at, c->bits);
        if (entry == SC_HUFFMAN_NONE) {
            c->at = SC_CODES_FAILED;
            return SC_HUFFMAN_NONE;
        }
    }
    c->at += entry & 15u;
    return entry;
}

#endif
