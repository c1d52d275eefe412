/* RISC-V's cycle counter. */
#if defined(SECATEUR_TIMER_MCYCLE)
#include "port.h"

/* Not -march=..._zicsr: GCC 12 would choose another set of libraries. */
#define READ_CSR(csr, value) \
  __asm volatile(".option push\n.option arch, +zicsr\ncsrr %0, " #csr "\n.option pop" : "=r"(value))

PORT_FN void timer_init(void) {
#if defined(SECATEUR_PORT_RP2350)
  __asm volatile(".option push\n.option arch, +zicsr\ncsrw 0x320, zero\n.option pop"); /* mcountinhibit: its counters stand still after reset */
#endif
}

PORT_FN uint64_t timer_now(void) {
  uint32_t high, low, again;
  do {
    READ_CSR(mcycleh, high);
    READ_CSR(mcycle, low);
    READ_CSR(mcycleh, again);
  } while (high != again);
  return ((uint64_t)high << 32) | low;
}

PORT_FN uint32_t timer_wraps(void) { return 0; }
#else
typedef int secateur_not_mcycle;
#endif
