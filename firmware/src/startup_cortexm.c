/* Start-up, vectors and fault handler of every Cortex-M. */
#if defined(__arm__) && !defined(SECATEUR_PORT_HOST)
#include <stdint.h>

#include "port.h"

extern uint32_t _data_load[], _data[], _end_of_data[], _bss[], _end_of_bss[], _top_of_stack[];
int main(void);
_Noreturn void fault_report(const uint32_t *frame, uint32_t exception_return);

void Reset_Handler(void);
void SysTick_Handler(void);
void Fault_Handler(void);
extern const uintptr_t vectors[16];

__attribute__((weak)) void SysTick_Handler(void) {}

void Reset_Handler(void) {
#if __ARM_ARCH_6M__ == 0
  REG32(0xE000ED08) = (uint32_t)(uintptr_t)vectors; /* VTOR: a boot loader may have kept its own */
#endif
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
  REG32(0xE000ED88) |= 0xFu << 20; /* CPACR: FPU and vector unit on */
  __asm volatile("dsb\nisb" ::: "memory");
#endif
  for (uint32_t *from = _data_load, *to = _data; to < _end_of_data;) *to++ = *from++;
  for (uint32_t *to = _bss; to < _end_of_bss;) *to++ = 0;
  (void)main();
  for (;;) continue;
}

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

#define ENTRY(function) (uintptr_t)(function)
__attribute__((section(".vectors"), used)) const uintptr_t vectors[16] = {
    ENTRY(_top_of_stack), ENTRY(Reset_Handler), ENTRY(Fault_Handler), ENTRY(Fault_Handler),
    ENTRY(Fault_Handler), ENTRY(Fault_Handler), ENTRY(Fault_Handler), ENTRY(Fault_Handler),
    0,                    0,                    0,                    ENTRY(Fault_Handler),
    ENTRY(Fault_Handler), 0,                    ENTRY(Fault_Handler), ENTRY(SysTick_Handler)};
#else
typedef int secateur_not_cortexm;
#endif
