/* The harness' fault reporter: the vectors lead here, and the host is told what happened. */
#include <stdint.h>

#include "port.h"

#if defined(__arm__) && !defined(SECATEUR_PORT_HOST)
extern uint32_t _top_of_stack[];
void Fault_Handler(void);
_Noreturn void fault_report(const uint32_t *frame, uint32_t exception_return);

/* The stack may be what broke: report from a fresh one. The old frame is read, never trusted. */
__attribute__((naked)) void Fault_Handler(void) {
  __asm volatile(
      "mov r0, sp\n"
      "mov r1, lr\n"
      "ldr r2, =_top_of_stack\n"
      "mov sp, r2\n"
      "ldr r2, =fault_report\n"
      "bx r2\n");
}

__attribute__((used)) void fault_report(const uint32_t *frame, uint32_t exception_return) {
  uint32_t words[14];
  for (uint32_t i = 0; i < 14; i++) words[i] = 0;
  uintptr_t at = (uintptr_t)frame;
  /* A stack pointer that has left RAM would fault again, and lock up. */
  if (at >= (uintptr_t)SECATEUR_RAM_ORIGIN && at + 32 <= (uintptr_t)_top_of_stack)
    for (uint32_t i = 0; i < 8; i++) words[i] = frame[i]; /* r0-r3, r12, lr, pc, xpsr */
#if __ARM_ARCH_6M__ == 0
  words[8] = REG32(0xE000ED28);  /* CFSR */
  words[9] = REG32(0xE000ED2C);  /* HFSR */
  words[10] = REG32(0xE000ED34); /* MMFAR */
  words[11] = REG32(0xE000ED38); /* BFAR */
#endif
  words[12] = exception_return;
  words[13] = (uint32_t)at;
  fault_serve(words, 14);
}
#elif defined(__riscv) && !defined(SECATEUR_PORT_HOST)
void trap_entry(void);
_Noreturn void trap_report(uint32_t cause, uint32_t pc, uint32_t value);

/* mtvec wants four bytes of alignment. The stack may be what broke: report from a fresh one. */
__attribute__((naked, aligned(4), used)) void trap_entry(void) {
  __asm volatile(
      ".option push\n.option arch, +zicsr\n"
      "csrr a0, mcause\n"
      "csrr a1, mepc\n"
      "csrr a2, mtval\n"
      ".option pop\n"
      "la sp, _top_of_stack\n"
      "j trap_report\n");
}

__attribute__((used)) void trap_report(uint32_t cause, uint32_t pc, uint32_t value) {
  const uint32_t words[3] = {cause, pc, value};
  fault_serve(words, 3);
}
#endif
