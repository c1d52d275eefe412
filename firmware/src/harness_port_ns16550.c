/* The 16550 UART: QEMU's and many others' RISC-V boards. Byte-wide registers. */
#if defined(SECATEUR_PORT_NS16550)
#include "port.h"

#define REG8(offset) (*(volatile uint8_t *)(uintptr_t)(SECATEUR_UART_BASE + (offset)))
#define UART_DATA REG8(0)
#define UART_INTERRUPTS REG8(1)
#define UART_FIFO REG8(2)
#define UART_LINE REG8(3)
#define UART_STATUS REG8(5) /* bit 0: received, bit 5: room to send, bit 6: all sent */

PORT_FN void port_init(void) {
  UART_INTERRUPTS = 0;
  UART_LINE = 3; /* 8N1 */
  UART_FIFO = 1;
}
PORT_FN int port_getc(void) {
  while (!(UART_STATUS & 1)) continue;
  return UART_DATA;
}
PORT_FN void port_putc(uint8_t byte) {
  while (!(UART_STATUS & 0x20)) continue;
  UART_DATA = byte;
}
PORT_FN void port_flush(void) {
  while (!(UART_STATUS & 0x40)) continue;
}
#else
typedef int secateur_not_ns16550;
#endif
