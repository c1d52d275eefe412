/* CRC-32 (reflected polynomial 0xEDB88320), four bits a step: 64 bytes of table. */
#ifndef SC_CRC32_H
#define SC_CRC32_H

#include <stdint.h>

/* Start with crc = 0; feed the result back in to continue over the next array. */
static inline uint32_t sc_crc32(uint32_t crc, const void *data, uint32_t size)
{
    static const uint32_t table[16] = {
        0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u,
        0x4db26158u, 0x5005713cu, 0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu,
        0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu};
    const uint8_t *p = (const uint8_t *)data;
    crc = ~crc;
    while (size != 0u) {
        crc ^= *p++;
        crc = (crc >> 4) ^ table[crc & 15u];
        crc = (crc >> 4) ^ table[crc & 15u];
        size--;
    }
    return ~crc;
}

#endif
