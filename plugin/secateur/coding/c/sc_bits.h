/* Reads a byte array bit by bit, bit 0 of byte 0 first. Past the end it yields zeros. */
#ifndef SC_BITS_H
#define SC_BITS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
    uint32_t buffer;
    uint32_t held; /* bits in the buffer */
    uint32_t past; /* of these, made up behind the end */
} sc_bits;

static inline void sc_bits_open(sc_bits *b, const uint8_t *data, uint32_t size)
{
    b->at = data;
    b->end = data + size;
    b->buffer = 0u;
    b->held = 0u;
    b->past = 0u;
}

/* At least 16 bits in the buffer. */
static inline void sc_bits_fill(sc_bits *b)
{
    if (b->held < 16u) {
        uint32_t two;
        if (b->end - b->at >= 2) {
            two = b->at[0] | (uint32_t)b->at[1] << 8;
            b->at += 2;
        } else if (b->at != b->end) {
            two = *b->at++;
            b->past += 8u;
        } else {
            two = 0u;
            b->past += 16u;
        }
        b->buffer |= two << b->held;
        b->held += 16u;
    }
}

static inline void sc_bits_drop(sc_bits *b, uint32_t count)
{
    b->buffer >>= count;
    b->held -= count;
}

/* The next `count` (0..16) bits. */
static inline uint32_t sc_bits_read(sc_bits *b, uint32_t count)
{
    sc_bits_fill(b);
    uint32_t value = b->buffer & ((1u << count) - 1u);
    sc_bits_drop(b, count);
    return value;
}

/* Whether more bits were used than the array has. */
static inline bool sc_bits_failed(const sc_bits *b)
{
    return b->past > b->held;
}

/* Give up on the array: from here on it has failed. */
static inline void sc_bits_fail(sc_bits *b)
{
    b->at = b->end;
    b->past = b->held + 1u;
}

#endif
