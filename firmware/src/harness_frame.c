#include "harness_frame.h"

#include "port.h"

uint32_t frame_crc(const uint8_t *data, uint32_t size) {
  static const uint32_t nibble[16] = {
      0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4,
      0x4DB26158, 0x5005713C, 0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C,
      0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
  uint32_t crc = 0xFFFFFFFFu;
  for (uint32_t i = 0; i < size; i++) {
    crc = nibble[(crc ^ data[i]) & 15u] ^ (crc >> 4);
    crc = nibble[(crc ^ (uint32_t)(data[i] >> 4)) & 15u] ^ (crc >> 4);
  }
  return ~crc;
}

uint32_t frame_decode(uint8_t *data, uint32_t size) {
  uint32_t in = 0, out = 0;
  while (in < size) {
    uint32_t code = data[in++];
    if (code == 0 || in + code - 1 > size) return 0;
    for (uint32_t i = 1; i < code; i++) data[out++] = data[in++];
    if (in < size) data[out++] = 0; /* blocks of 255 never occur: FRAME_RAW < 254 */
  }
  if (out < FRAME_HEADER + FRAME_CRC) return 0;
  out -= FRAME_CRC;
  return frame_crc(data, out) == get32(data + out) ? out : 0;
}

void frame_send(uint8_t *raw, uint32_t size) {
  put32(raw + size, frame_crc(raw, size));
  size += FRAME_CRC;
  port_putc(0);
  for (uint32_t start = 0; start <= size;) {
    uint32_t end = start;
    while (end < size && raw[end] != 0) end++;
    port_putc((uint8_t)(end - start + 1));
    for (uint32_t i = start; i < end; i++) port_putc(raw[i]);
    start = end + 1;
  }
  port_putc(0);
  port_flush();
}
