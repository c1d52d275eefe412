/* What STM32 families share. Pins are 16 * port + number, A0 = 0. */
#ifndef SECATEUR_STM32_H
#define SECATEUR_STM32_H
#include "port.h"

/* Waits for a bit, in the end in vain: emulators have no clock tree. */
static inline void stm32_wait(uintptr_t address, uint32_t bit) {
  for (uint32_t i = 0; i < 20000 && !(REG32(address) & bit); i++) continue;
}

static inline void stm32_alternate(uintptr_t gpio, uint32_t pin, uint32_t function) {
  uintptr_t port = gpio + 0x400u * (pin >> 4);
  uint32_t n = pin & 15u;
  uintptr_t select = port + 0x20u + 4u * (n >> 3);
  REG32(select) = (REG32(select) & ~(15u << (4 * (n & 7u)))) | function << (4 * (n & 7u));
  REG32(port) = (REG32(port) & ~(3u << (2 * n))) | 2u << (2 * n);
}

#if defined(SECATEUR_MARK) && defined(STM32_GPIO)
#define STM32_MARK(offset) REG32(STM32_GPIO + 0x400u * (SECATEUR_MARK >> 4) + (offset))
#define STM32_MARK_BIT (SECATEUR_MARK & 15u)

/* Open drain: a monitor of another voltage pulls it up. */
static inline void stm32_mark_start(void) {
  STM32_MARK(0x18) = 1u << STM32_MARK_BIT;
  STM32_MARK(0x04) |= 1u << STM32_MARK_BIT;
  STM32_MARK(0x0C) = (STM32_MARK(0x0C) & ~(3u << 2 * STM32_MARK_BIT)) | 1u << 2 * STM32_MARK_BIT;
  STM32_MARK(0x00) = (STM32_MARK(0x00) & ~(3u << 2 * STM32_MARK_BIT)) | 1u << 2 * STM32_MARK_BIT;
}
void port_mark(int level) {
  STM32_MARK(0x18) = 1u << (STM32_MARK_BIT + (level ? 0u : 16u));
}
#else
static inline void stm32_mark_start(void) {}
#endif

#if defined(SECATEUR_PIN_FUNCTION) && defined(STM32_GPIO)
/* Trigger pin and the serial line's two pins; their clocks are on. */
static inline void stm32_pins_start(void) {
  stm32_mark_start();
  stm32_alternate(STM32_GPIO, SECATEUR_TX, SECATEUR_PIN_FUNCTION);
  stm32_alternate(STM32_GPIO, SECATEUR_RX, SECATEUR_PIN_FUNCTION);
}
#endif

/* The serial lines of F1, F4 and GD32V: one data register. */
#define USART1_SR REG32(SECATEUR_UART_BASE + 0x00)
#define USART1_DR REG32(SECATEUR_UART_BASE + 0x04)
#define USART1_BRR REG32(SECATEUR_UART_BASE + 0x08)
#define USART1_CR1 REG32(SECATEUR_UART_BASE + 0x0C)

static inline void stm32_usart1_start(uint32_t hz) {
  USART1_BRR = (hz + SECATEUR_BAUD / 2) / SECATEUR_BAUD;
  USART1_CR1 = 1u << 13 | 3u << 2; /* on, send, receive */
}
static inline int stm32_usart1_getc(void) {
  while (!(USART1_SR & 0x20)) continue;
  return (int)(USART1_DR & 0xFF);
}
static inline void stm32_usart1_putc(uint8_t byte) {
  while (!(USART1_SR & 0x80)) continue;
  USART1_DR = byte;
}
static inline void stm32_usart1_flush(void) {
  while (!(USART1_SR & 0x40)) continue;
}

/* The serial lines of L4, H7, U5, WB, G4: status, receive and transmit registers apart. */
#define USART2_CR1 REG32(SECATEUR_UART_BASE + 0x00)
#define USART2_BRR REG32(SECATEUR_UART_BASE + 0x0C)
#define USART2_ISR REG32(SECATEUR_UART_BASE + 0x1C)
#define USART2_ICR REG32(SECATEUR_UART_BASE + 0x20)
#define USART2_RDR REG32(SECATEUR_UART_BASE + 0x24)
#define USART2_TDR REG32(SECATEUR_UART_BASE + 0x28)

static inline void stm32_usart2_start(uint32_t divider) {
  USART2_BRR = divider;
  USART2_CR1 = 0xD; /* on, receive, send */
}
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

/* The port's functions, for a family whose line is one of these: 1 or 2. */
#define STM32_PORT(line) \
  PORT_FN int port_getc(void) { return stm32_usart##line##_getc(); } \
  PORT_FN void port_putc(uint8_t byte) { stm32_usart##line##_putc(byte); } \
  PORT_FN void port_flush(void) { stm32_usart##line##_flush(); }
#endif
