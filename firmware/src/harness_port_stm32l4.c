/* STM32L4+ at 120 MHz from the internal oscillator (RM0432); LPUART1. */
#if defined(SECATEUR_PORT_STM32L4)
#define STM32_GPIO 0x48000000u
#include "stm32.h"

#define RCC 0x40021000u
#define PWR 0x40007000u

static void clock_120mhz(void) {
  REG32(RCC + 0x58) |= 1u << 28;         /* power interface */
  REG32(PWR + 0x04) |= 1u << 9;          /* port G has a supply of its own */
  REG32(PWR + 0x80) &= ~(1u << 8);       /* range 1 boost: above 80 MHz */
  REG32(0x40022000) = 7u << 8 | 5u;      /* caches, prefetch, 5 wait states */
  REG32(RCC) |= 1u << 8;                 /* 16 MHz oscillator */
  stm32_wait(RCC, 1u << 10);
  REG32(RCC + 0x0C) = 1u << 24 | 30u << 8 | 1u << 4 | 2u; /* 16 MHz / 2 * 30 / 2 */
  REG32(RCC) |= 1u << 24;
  stm32_wait(RCC, 1u << 25);
  REG32(RCC + 0x08) = 8u << 4 | 3u; /* by way of 60 MHz, at least 1 us */
  stm32_wait(RCC + 0x08, 8);
  for (volatile uint32_t i = 0; i < 100; i++) continue;
  REG32(RCC + 0x08) = 3u;
}

PORT_FN void port_init(void) {
  clock_120mhz();
  REG32(RCC + 0x4C) |= 0x1FF; /* GPIO A to I */
  REG32(RCC + 0x5C) |= 1;     /* LPUART1 */
  stm32_pins_start();
  stm32_usart2_start((uint32_t)(256ull * F_CPU / SECATEUR_BAUD));
}
STM32_PORT(2)
#else
typedef int secateur_not_stm32l4;
#endif
