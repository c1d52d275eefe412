/* The DWT cycle counter of Cortex-M3 and later: 32 bits, of which every read sees at most one
 * overflow. It is read around every inference, so one longer than 2^32 cycles (25 s at 168 MHz)
 * would be cut. */
#if defined(SECATEUR_TIMER_DWT)
#include "port.h"

#define DEMCR REG32(0xE000EDFC)
#define DWT_CTRL REG32(0xE0001000)
#define DWT_CYCCNT REG32(0xE0001004)
#define DWT_LAR REG32(0xE0001FB0)

static uint32_t last, high;

PORT_FN void timer_init(void) {
  DEMCR |= 1u << 24;
  DWT_LAR = 0xC5ACCE55; /* Cortex-M7 locks its DWT; elsewhere the write is ignored */
  DWT_CYCCNT = 0;
  DWT_CTRL |= 1;
}

PORT_FN uint64_t timer_now(void) {
  uint32_t now = DWT_CYCCNT;
  if (now < last) high++;
  last = now;
  return ((uint64_t)high << 32) | now;
}

PORT_FN uint32_t timer_wraps(void) { return 0; }
#else
typedef int secateur_not_dwt;
#endif
