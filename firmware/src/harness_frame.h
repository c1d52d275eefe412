/* Frames on the serial line, version 1. docs/harness.md is the definition.
 *   00 | COBS( version, command, sequence, status, payload 0..224, CRC-32 little endian ) | 00 */
#ifndef SECATEUR_HARNESS_FRAME_H
#define SECATEUR_HARNESS_FRAME_H
#include <stdint.h>

#define FRAME_VERSION 1u
#define FRAME_HEADER 4u
#define FRAME_CRC 4u
#define FRAME_PAYLOAD 224u
#define FRAME_RAW (FRAME_HEADER + FRAME_PAYLOAD + FRAME_CRC)
#define FRAME_CODED (FRAME_RAW + 2u) /* one COBS block: FRAME_RAW < 254 */

uint32_t frame_crc(const uint8_t *data, uint32_t size);
/* In place; the size of the decoded frame without its CRC, or 0 if it is not a whole frame. */
uint32_t frame_decode(uint8_t *data, uint32_t size);
/* raw has FRAME_CRC bytes of room behind size; sends delimiter, code, delimiter. */
void frame_send(uint8_t *raw, uint32_t size);

static inline uint32_t get32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline void put32(uint8_t *p, uint32_t v) {
  p[0] = (uint8_t)v;
  p[1] = (uint8_t)(v >> 8);
  p[2] = (uint8_t)(v >> 16);
  p[3] = (uint8_t)(v >> 24);
}
#endif
