/* STM32U5 at 16 MHz from HSI16, TrustZone off (RM0456). */
#if defined(SECATEUR_PORT_STM32U5)
#define STM32_GPIO 0x42020000u
#include "stm32.h"

#define RCC 0x46020C00u

PORT_FN void port_init(void) {
  REG32(RCC) |= 1u << 8; /* HSI16 */
  stm32_wait(RCC, 1u << 10);
  REG32(RCC + 0x1C) = (REG32(RCC + 0x1C) & ~3u) | 1u; /* CFGR1: the system runs from it */
  stm32_wait(RCC + 0x1C, 1u << 2);
  REG32(0x40022000) = (REG32(0x40022000) & ~15u) | 1u; /* flash: 1 wait state */
  REG32(0x40030400) |= 1u << 0;                        /* ICACHE */
  REG32(RCC + 0x8C) |= 0x1FF;    /* GPIO A to I */
  REG32(RCC + 0xA4) |= 1u << 14; /* USART1 */
  stm32_pins_start();
  stm32_usart2_start((F_CPU + SECATEUR_BAUD / 2) / SECATEUR_BAUD);
}
STM32_PORT(2)
#else
typedef int secateur_not_stm32u5;
#endif
