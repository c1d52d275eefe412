/* SysTick at the processor clock, 24 bits, extended by its interrupt. */
#if defined(SECATEUR_TIMER_SYSTICK)
#include "port.h"

#define SYST_CSR REG32(0xE000E010)
#define SYST_RVR REG32(0xE000E014)
#define SYST_CVR REG32(0xE000E018)

#if !defined(SECATEUR_SYSTICK_BITS)
#define SECATEUR_SYSTICK_BITS 24 /* tests make the counter overflow sooner */
#endif
#define PERIOD (1u << SECATEUR_SYSTICK_BITS)

volatile uint32_t timer_high;

/* Exactly five instructions, so that emulators' counts can be corrected by the wraps. */
__attribute__((naked)) void SysTick_Handler(void) {
  __asm volatile(
      ".syntax unified\n"
      "ldr r0, =timer_high\n"
      "ldr r1, [r0]\n"
      "adds r1, #1\n"
      "str r1, [r0]\n"
      "bx lr\n");
}

PORT_FN void timer_init(void) {
  SYST_RVR = PERIOD - 1u;
  SYST_CVR = 0;
  SYST_CSR = 7; /* processor clock, interrupt, on */
}

/* At 0 the interrupt may have been served or not: that tick is waited out, and behind it the
 * interrupt has been, so that time never runs back. */
PORT_FN uint64_t timer_now(void) {
  uint32_t high, low;
  do {
    high = timer_high;
    low = SYST_CVR;
    __asm volatile("isb" ::: "memory"); /* a pending interrupt comes now */
  } while (low == 0 || high != timer_high);
  return ((uint64_t)high << SECATEUR_SYSTICK_BITS) + (PERIOD - low);
}

PORT_FN uint32_t timer_wraps(void) { return timer_high; }
#else
typedef int secateur_not_systick;
#endif
