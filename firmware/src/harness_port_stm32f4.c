/* STM32F4 at 168 MHz from the internal oscillator (RM0390, RM0090). */
#if defined(SECATEUR_PORT_STM32F4)
#define STM32_GPIO 0x40020000u
#include "stm32.h"

#define RCC 0x40023800u
#define APB_HZ (SECATEUR_UART_BASE >= 0x40010000u ? F_CPU / 2 : F_CPU / 4)

static void clock_168mhz(void) {
  REG32(RCC + 0x40) |= 1u << 28;                       /* power interface */
  REG32(0x40007000) |= 3u << 14;                       /* voltage scale 1 */
  REG32(0x40023C00) = 7u << 8 | 5u;                    /* caches, prefetch, 5 wait states */
  REG32(RCC + 0x04) = 2u << 28 | 7u << 24 | 168u << 6 | 8u; /* 16 MHz / 8 * 168 / 2 */
  REG32(RCC) |= 1u << 24;
  stm32_wait(RCC, 1u << 25);
  REG32(RCC + 0x08) = 4u << 13 | 5u << 10 | 2u; /* APB2 / 2, APB1 / 4, PLL */
  stm32_wait(RCC + 0x08, 8);
}

PORT_FN void port_init(void) {
  clock_168mhz();
  REG32(RCC + 0x30) |= 0xFF;              /* GPIO A to H */
  REG32(RCC + 0x40) |= 1u << 17 | 1u << 18; /* USART2, USART3 */
  REG32(RCC + 0x44) |= 1u << 4 | 1u << 5;   /* USART1, USART6 */
  stm32_pins_start();
  stm32_usart1_start(APB_HZ);
}
STM32_PORT(1)
#else
typedef int secateur_not_stm32f4;
#endif
