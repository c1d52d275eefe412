/* The harness' parts: frames (harness_main.c) and the benchmark's text (harness_text.c). */
#ifndef SECATEUR_HARNESS_H
#define SECATEUR_HARNESS_H
#include <stdint.h>

#include "model_glue.h"

typedef int (*model_fn)(const int8_t *input, int8_t *output);

extern int8_t harness_input[SC_GLUE_INPUT_SIZE];
extern int8_t harness_output[SC_GLUE_OUTPUT_SIZE];

/* Runs the model `runs` times on the input; its status. */
int harness_run(uint32_t runs, uint64_t *ticks);
int harness_run_marked(uint32_t runs, uint64_t *ticks); /* the trigger pin low meanwhile */

void text_start(void);                        /* says that the device is ready */
void text_command(char *line, uint32_t size); /* one command without its '%'; answers it */
#define TEXT_COMMAND 80u                      /* longest command */
#endif
