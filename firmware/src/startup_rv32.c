/* Start-up and trap handler of a bare RV32 machine. */
#if defined(__riscv)
#include <stdint.h>

#include "port.h"

extern uint32_t _data_load[], _data[], _end_of_data[], _bss[], _end_of_bss[];
int main(void);
void _start(void);
void trap_entry(void);
_Noreturn void start_c(void);
_Noreturn void trap_report(uint32_t cause, uint32_t pc, uint32_t value);

__attribute__((naked, section(".boot"), used)) void _start(void) {
  __asm volatile(
      ".option push\n.option norelax\n"
      "la gp, __global_pointer$\n"
      ".option pop\n"
      "la sp, _top_of_stack\n"
      "la t0, trap_entry\n"
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
#else
typedef int secateur_not_rv32;
#endif
