/* Classifies a point and waits. Start-up and vectors of your platform belong here, too; this
 * example brings the least that a Cortex-M4 needs. */
#include <stdint.h>

#include <secateur.h> /* makes PlatformIO look into the library, which converts */

#include "model.h"

extern uint32_t _data_load[], _data[], _end_of_data[], _bss[], _end_of_bss[], _top_of_stack[];

volatile int8_t answer[MODEL_OUTPUT_SIZE];

static int run(void) {
  const int8_t input[MODEL_INPUT_SIZE] = {10, 20};
  int8_t output[MODEL_OUTPUT_SIZE];
  int status = model_run(input, output);
  for (uint32_t i = 0; i < MODEL_OUTPUT_SIZE; i++) answer[i] = output[i];
  return status;
}

void Reset_Handler(void);
void Reset_Handler(void) {
  for (uint32_t *from = _data_load, *to = _data; to < _end_of_data;) *to++ = *from++;
  for (uint32_t *to = _bss; to < _end_of_bss;) *to++ = 0;
  (void)run();
  for (;;) continue;
}

__attribute__((section(".vectors"), used)) const uintptr_t vectors[2] = {
    (uintptr_t)_top_of_stack, (uintptr_t)Reset_Handler};
