/* Nordic nRF51 and nRF52: the UART without DMA, which both have at the same place. */
#if defined(SECATEUR_PORT_NRF)
#include "port.h"

#define CLOCK_HFCLKSTART REG32(0x40000000)
#define CLOCK_HFCLKSTARTED REG32(0x40000100)
#define UART(offset) REG32(SECATEUR_UART_BASE + (offset))
#define UART_STARTRX UART(0x000)
#define UART_STARTTX UART(0x008)
#define UART_RXDRDY UART(0x108)
#define UART_TXDRDY UART(0x11C)
#define UART_ENABLE UART(0x500)
#define UART_PSELTXD UART(0x50C)
#define UART_PSELRXD UART(0x514)
#define UART_RXD UART(0x518)
#define UART_TXD UART(0x51C)
#define UART_BAUDRATE UART(0x524)

#if defined(SECATEUR_MARK)
#define MARK_PORT(offset) REG32(0x50000000u + 0x300u * (SECATEUR_MARK >> 5) + (offset))
#define MARK_BIT (1u << (SECATEUR_MARK & 31u))
#define MARK_RELEASE MARK_PORT(0x508)
#define MARK_PULL MARK_PORT(0x50C)

/* Open drain: drives low, lets go for high. */
static void mark_start(void) {
  REG32(0x50000000u + 0x300u * (SECATEUR_MARK >> 5) + 0x700u + 4u * (SECATEUR_MARK & 31u)) =
      1u | 6u << 8; /* output, standard 0, disconnected 1 */
  MARK_RELEASE = MARK_BIT;
}
#endif
#include "mark.h"

PORT_FN void port_init(void) {
#if defined(__ARM_ARCH_7EM__)
  REG32(0x4001E540) = 1; /* nRF52: cache before flash */
#endif
  mark_start();
  CLOCK_HFCLKSTARTED = 0;
  CLOCK_HFCLKSTART = 1; /* the crystal: the RC oscillator is too vague for 115200 baud */
  for (uint32_t i = 0; i < 100000 && !CLOCK_HFCLKSTARTED; i++) continue;
  UART_PSELTXD = SECATEUR_TX;
  UART_PSELRXD = SECATEUR_RX;
  UART_BAUDRATE = (uint32_t)(((uint64_t)SECATEUR_BAUD << 32) / 16000000u + 0x800u) & 0xFFFFF000u;
  UART_ENABLE = 4;
  UART_RXDRDY = 0;
  UART_TXDRDY = 0;
  UART_STARTRX = 1;
  UART_STARTTX = 1;
}
PORT_FN int port_getc(void) {
  while (!UART_RXDRDY) continue;
  UART_RXDRDY = 0;
  return (int)(UART_RXD & 0xFF);
}
PORT_FN void port_putc(uint8_t byte) {
  UART_TXDRDY = 0;
  UART_TXD = byte;
  while (!UART_TXDRDY) continue;
}
PORT_FN void port_flush(void) {} /* port_putc waits for the last bit */
#else
typedef int secateur_not_nrf;
#endif
