/* STM32H743 at 64 MHz, the internal oscillator it starts with (RM0433). Caches on: the model's
 * constants are in flash behind the AXI bus. */
#if defined(SECATEUR_PORT_STM32H7)
#define STM32_GPIO 0x58020000u
#include "stm32.h"

#define RCC 0x58024400u
#define SCB_CCR REG32(0xE000ED14)
#define SCB_ICIALLU REG32(0xE000EF50)
#define SCB_CCSIDR REG32(0xE000ED80)
#define SCB_CSSELR REG32(0xE000ED84)
#define SCB_DCISW REG32(0xE000EF60)

static void caches_on(void) {
  SCB_ICIALLU = 0;
  SCB_CSSELR = 0;
  __asm volatile("dsb" ::: "memory");
  uint32_t shape = SCB_CCSIDR;
  uint32_t sets = (shape >> 13 & 0x7FFF) + 1, ways = (shape >> 3 & 0x3FF) + 1;
  for (uint32_t set = 0; set < sets; set++)
    for (uint32_t way = 0; way < ways; way++) SCB_DCISW = way << 30 | set << 5;
  __asm volatile("dsb" ::: "memory");
  SCB_CCR |= 1u << 17 | 1u << 16;
  __asm volatile("dsb\nisb" ::: "memory");
}

PORT_FN void port_init(void) {
  REG32(0x52002000) = 1u << 4 | 1u; /* flash: one wait state to 90 MHz, after reset it has seven */
  caches_on();
  REG32(RCC + 0xE0) |= 0x7FF;    /* GPIO A to K */
  REG32(RCC + 0xE8) |= 1u << 18; /* USART3 */
  stm32_pins_start();
  stm32_usart2_start((F_CPU + SECATEUR_BAUD / 2) / SECATEUR_BAUD);
}
STM32_PORT(2)
#else
typedef int secateur_not_stm32h7;
#endif
