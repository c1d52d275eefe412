/* Start-up of a bare RV32 machine. */
#if defined(__riscv)
#include <stdint.h>

#include "port.h"

extern uint32_t _data_load[], _data[], _end_of_data[], _bss[], _end_of_bss[];
int main(void);
void _start(void);
_Noreturn void start_c(void);

__attribute__((naked, section(".boot"), used)) void _start(void) {
  __asm volatile(
      ".option push\n.option norelax\n"
      "la gp, __global_pointer$\n"
      ".option pop\n"
      "la sp, _top_of_stack\n"
      "la t0, trap_entry\n" /* the harness reports */
      ".option push\n.option arch, +zicsr\n"
      "csrw mtvec, t0\n"
      ".option pop\n"
      "j start_c\n");
}

__attribute__((used)) void start_c(void) {
  for (uint32_t *from = _data_load, *to = _data; to < _end_of_data;) *to++ = *from++;
  for (uint32_t *to = _bss; to < _end_of_bss;) *to++ = 0;
  (void)main();
  for (;;) continue;
}
#else
typedef int secateur_not_rv32;
#endif
