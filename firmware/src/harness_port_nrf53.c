/* Nordic nRF5340, application core at 64 MHz: its serial line has only DMA. Two bytes of buffer
 * take turns, so that one is being filled while the other is read. */
#if defined(SECATEUR_PORT_NRF53)
#include "port.h"

#define UARTE(offset) REG32(SECATEUR_UART_BASE + (offset))

static volatile uint8_t received[2], sent;
static uint32_t turn;

PORT_FN void port_init(void) {
  REG32(0x50005100) = 0;
  REG32(0x50005000) = 1; /* crystal */
  for (uint32_t i = 0; i < 20000 && !REG32(0x50005100); i++) continue;
  UARTE(0x50C) = SECATEUR_TX;
  UARTE(0x514) = SECATEUR_RX;
  UARTE(0x524) = (uint32_t)(((uint64_t)SECATEUR_BAUD << 32) / 16000000u + 0x800u) & 0xFFFFF000u;
  UARTE(0x500) = 8;
  UARTE(0x200) = 1u << 5; /* the end of one reception starts the next */
  UARTE(0x534) = (uint32_t)(uintptr_t)&received[0];
  UARTE(0x538) = 1;
  UARTE(0x14C) = 0; /* RXSTARTED: the pointer is taken over, the next may be set */
  UARTE(0x000) = 1;
  for (uint32_t i = 0; i < 20000 && !UARTE(0x14C); i++) continue;
  UARTE(0x534) = (uint32_t)(uintptr_t)&received[1];
}
PORT_FN int port_getc(void) {
  while (!UARTE(0x110)) continue;
  UARTE(0x110) = 0;
  uint8_t byte = received[turn];
  UARTE(0x534) = (uint32_t)(uintptr_t)&received[turn];
  turn ^= 1u;
  return byte;
}
PORT_FN void port_putc(uint8_t byte) {
  sent = byte;
  UARTE(0x544) = (uint32_t)(uintptr_t)&sent;
  UARTE(0x548) = 1;
  UARTE(0x120) = 0;
  UARTE(0x008) = 1;
  while (!UARTE(0x120)) continue;
}
PORT_FN void port_flush(void) {}
#else
typedef int secateur_not_nrf53;
#endif
