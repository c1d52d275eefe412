/* GigaDevice GD32VF103 at 108 MHz from the internal oscillator: an STM32F1's peripherals around
 * an RV32 core (GD32VF103 user manual). */
#if defined(SECATEUR_PORT_GD32V)
#include "stm32.h"

#define RCU 0x40021000u

/* F1 style pins: four bits a pin; 0xB: alternate output, 50 MHz; 4: floating input. */
static void pin_mode(uint32_t pin, uint32_t mode) {
  uintptr_t at = 0x40010800u + 0x400u * (pin >> 4) + ((pin & 8u) ? 4u : 0u);
  uint32_t shift = 4u * (pin & 7u);
  REG32(at) = (REG32(at) & ~(15u << shift)) | mode << shift;
}

PORT_FN void port_init(void) {
  REG32(RCU + 0x04) = 1u << 27 | 10u << 18 | 4u << 8; /* 8 MHz / 2 * 27, APB1 / 2 */
  REG32(RCU) |= 1u << 24;
  stm32_wait(RCU, 1u << 25);
  REG32(RCU + 0x04) |= 2u;
  stm32_wait(RCU + 0x04, 8);
  REG32(RCU + 0x18) |= 1u << 14 | 1u << 2 | 1u; /* USART0, GPIO A, alternate functions */
  pin_mode(SECATEUR_TX, 0xB);
  pin_mode(SECATEUR_RX, 4);
  stm32_usart1_start(F_CPU);
}
STM32_PORT(1)
#else
typedef int secateur_not_gd32v;
#endif
