/* ARM's MPS2 and MPS3 boards: CMSDK APB UART. */
#if defined(SECATEUR_PORT_CMSDK)
#include "port.h"

#define UART_DATA REG32(SECATEUR_UART_BASE + 0x00)
#define UART_STATE REG32(SECATEUR_UART_BASE + 0x04) /* bit 0: sending, bit 1: received */
#define UART_CTRL REG32(SECATEUR_UART_BASE + 0x08)
#define UART_BAUDDIV REG32(SECATEUR_UART_BASE + 0x10)

PORT_FN void port_init(void) {
  UART_BAUDDIV = F_CPU / SECATEUR_BAUD;
  UART_CTRL = 3; /* send, receive */
}
PORT_FN int port_getc(void) {
  while (!(UART_STATE & 2)) continue;
  return (int)(UART_DATA & 0xFF);
}
PORT_FN void port_putc(uint8_t byte) {
  while (UART_STATE & 1) continue;
  UART_DATA = byte;
}
PORT_FN void port_flush(void) {
  while (UART_STATE & 1) continue;
}
#else
typedef int secateur_not_cmsdk;
#endif
