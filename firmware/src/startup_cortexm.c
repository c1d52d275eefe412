/* Start-up and vectors of every Cortex-M. */
#if defined(__arm__) && !defined(SECATEUR_PORT_HOST)
#include <stdint.h>

#include "port.h"

#pragma GCC optimize("Os") /* runs once */

extern uint32_t _data_load[], _data[], _end_of_data[], _bss[], _end_of_bss[], _top_of_stack[];
int main(void);

void Reset_Handler(void);
void SysTick_Handler(void);
void Fault_Handler(void); /* the harness reports */
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

#define ENTRY(function) (uintptr_t)(function)
__attribute__((section(".vectors"), used)) const uintptr_t vectors[16] = {
    ENTRY(_top_of_stack), ENTRY(Reset_Handler), ENTRY(Fault_Handler), ENTRY(Fault_Handler),
    ENTRY(Fault_Handler), ENTRY(Fault_Handler), ENTRY(Fault_Handler), ENTRY(Fault_Handler),
    0,                    0,                    0,                    ENTRY(Fault_Handler),
    ENTRY(Fault_Handler), 0,                    ENTRY(Fault_Handler), ENTRY(SysTick_Handler)};
#else
typedef int secateur_not_cortexm;
#endif
