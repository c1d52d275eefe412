/* SiFive FE310-G002 at 16 MHz from the board's crystal (FE310-G002 manual). */
#if defined(SECATEUR_PORT_FE310)
#include "port.h"

#define PRCI 0x10008000u
#define GPIO 0x10012000u
#define UART_TX REG32(SECATEUR_UART_BASE + 0x00) /* bit 31: full */
#define UART_RX REG32(SECATEUR_UART_BASE + 0x04) /* bit 31: empty */
#define UART_TXCTRL REG32(SECATEUR_UART_BASE + 0x08)
#define UART_RXCTRL REG32(SECATEUR_UART_BASE + 0x0C)
#define UART_DIV REG32(SECATEUR_UART_BASE + 0x18)

PORT_FN void port_init(void) {
  REG32(PRCI + 0x04) = 1u << 30; /* crystal on */
  for (uint32_t i = 0; i < 20000 && !(REG32(PRCI + 0x04) >> 31); i++) continue;
  REG32(PRCI + 0x08) = 1u << 18 | 1u << 17 | 1u << 16; /* crystal through the bypassed PLL */
  REG32(PRCI + 0x00) &= ~(1u << 30);                   /* ring oscillator off */
  REG32(GPIO + 0x3C) &= ~(1u << SECATEUR_TX | 1u << SECATEUR_RX); /* function 0: UART0 */
  REG32(GPIO + 0x38) |= 1u << SECATEUR_TX | 1u << SECATEUR_RX;
  UART_DIV = F_CPU / SECATEUR_BAUD - 1;
  UART_TXCTRL = 3; /* on, two stop bits */
  UART_RXCTRL = 1;
}
PORT_FN int port_getc(void) {
  for (;;) {
    uint32_t word = UART_RX;
    if (!(word >> 31)) return (int)(word & 0xFF);
  }
}
PORT_FN void port_putc(uint8_t byte) {
  while (UART_TX >> 31) continue;
  UART_TX = byte;
}
PORT_FN void port_flush(void) {} /* the queue empties itself; nothing follows that would stop it */
#else
typedef int secateur_not_fe310;
#endif
