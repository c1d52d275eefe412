/* How deep the stack and how far the arena are used: paint, run, look. */
#ifndef SECATEUR_HARNESS_MEMORY_H
#define SECATEUR_HARNESS_MEMORY_H
#include "harness.h"

/* Runs once on a stack painted with `paint`; the bytes of stack below the call that changed. */
uint32_t memory_stack(model_fn run, const int8_t *input, int8_t *output, uint8_t paint, int *status);
#endif
