#include "harness_memory.h"

#include "port.h"

#if defined(SECATEUR_PORT_HOST)
/* The host's stack belongs to its operating system and its sanitizers. */
uint32_t memory_stack(model_fn run, const int8_t *input, int8_t *output, uint8_t paint,
                      int *status) {
  (void)paint;
  *status = run(input, output);
  return 0;
}
#else
extern uint8_t _end_of_bss[];
#define STACK_LOOK 16384u /* painted at most; a model's stack is a few hundred bytes */

PORT_FN uint32_t memory_stack(model_fn run, const int8_t *input, int8_t *output, uint8_t paint,
                              int *status) {
  uintptr_t top;
#if defined(__riscv)
  __asm volatile("mv %0, sp" : "=r"(top));
#else
  __asm volatile("mov %0, sp" : "=r"(top));
#endif
  uintptr_t bottom = (uintptr_t)_end_of_bss;
  if (top - bottom > STACK_LOOK) bottom = top - STACK_LOOK;
  for (volatile uint8_t *p = (volatile uint8_t *)bottom; (uintptr_t)p < top; p++) *p = paint;
  *status = run(input, output);
  volatile uint8_t *low = (volatile uint8_t *)bottom;
  while ((uintptr_t)low < top && *low == paint) low++;
  return (uint32_t)(top - (uintptr_t)low);
}
#endif
