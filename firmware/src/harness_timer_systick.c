/* SysTick at the processor clock, 24 bits, extended by its interrupt. */
#if defined(SECATEUR_TIMER_SYSTICK)
#include "port.h"

#define SYST_CSR REG32(0xE000E010)
#define SYST_RVR REG32(0xE000E014)
#define SYST_CVR REG32(0xE000E018)

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
  SYST_RVR = 0xFFFFFF;
  SYST_CVR = 0;
  SYST_CSR = 7; /* processor clock, interrupt, on */
}

/* The interrupt comes when the counter reaches 0, so 0 is the first tick of a new period. */
PORT_FN uint64_t timer_now(void) {
  uint32_t high, low;
  do {
    high = timer_high;
    low = SYST_CVR;
  } while (high != timer_high);
  return ((uint64_t)high << 24) + ((0u - low) & 0xFFFFFFu);
}

PORT_FN uint32_t timer_wraps(void) { return timer_high; }
#else
typedef int secateur_not_systick;
#endif
