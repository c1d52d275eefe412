/* Nordic TIMER0, 16 MHz, 32 bits: the nRF51 has neither SysTick nor DWT. */
#if defined(SECATEUR_TIMER_NRF)
#include "port.h"

#define TIMER(offset) REG32(0x40008000u + (offset))

static uint32_t last, high;

PORT_FN void timer_init(void) {
  TIMER(0x004) = 1; /* stop */
  TIMER(0x504) = 0; /* timer mode */
  TIMER(0x508) = 3; /* 32 bits */
  TIMER(0x510) = 0; /* no prescaler */
  TIMER(0x00C) = 1; /* clear */
  TIMER(0x000) = 1; /* start */
}

/* Wraps after 268 s; an inference is shorter. */
PORT_FN uint64_t timer_now(void) {
  TIMER(0x040) = 1; /* capture into CC[0] */
  uint32_t now = TIMER(0x540);
  if (now < last) high++;
  last = now;
  return ((uint64_t)high << 32) | now;
}

PORT_FN uint32_t timer_wraps(void) { return 0; }
#else
typedef int secateur_not_nrf_timer;
#endif
