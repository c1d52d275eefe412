/* What STM32 families share. Pins are 16 * port + number, A0 = 0. */
#ifndef SECATEUR_STM32_H
#define SECATEUR_STM32_H
#include "port.h"

/* Gives up in the end, for emulators that have no clock tree. */
static inline void stm32_wait(uintptr_t address, uint32_t mask, uint32_t value) {
  for (uint32_t i = 0; i < 100000 && (REG32(address) & mask) != value; i++) continue;
}

static inline void stm32_alternate(uintptr_t gpio, uint32_t pin, uint32_t function) {
  uintptr_t port = gpio + 0x400u * (pin >> 4);
  uint32_t n = pin & 15u;
  uintptr_t select = port + 0x20u + 4u * (n >> 3);
  REG32(select) = (REG32(select) & ~(15u << (4 * (n & 7u)))) | function << (4 * (n & 7u));
  REG32(port) = (REG32(port) & ~(3u << (2 * n))) | 2u << (2 * n);
}

/* The serial lines of L4, H7, U5, WB, G4: status, receive and transmit registers apart. */
#define USART2_CR1 REG32(SECATEUR_UART_BASE + 0x00)
#define USART2_BRR REG32(SECATEUR_UART_BASE + 0x0C)
#define USART2_ISR REG32(SECATEUR_UART_BASE + 0x1C)
#define USART2_ICR REG32(SECATEUR_UART_BASE + 0x20)
#define USART2_RDR REG32(SECATEUR_UART_BASE + 0x24)
#define USART2_TDR REG32(SECATEUR_UART_BASE + 0x28)

static inline int stm32_usart2_getc(void) {
  while (!(USART2_ISR & 0x20)) USART2_ICR = 8; /* an overrun would stop reception */
  return (int)(USART2_RDR & 0xFF);
}
static inline void stm32_usart2_putc(uint8_t byte) {
  while (!(USART2_ISR & 0x80)) continue;
  USART2_TDR = byte;
}
static inline void stm32_usart2_flush(void) {
  while (!(USART2_ISR & 0x40)) continue;
}
#endif
