#ifndef SECATEUR_HARNESS_BYTES_H
#define SECATEUR_HARNESS_BYTES_H
#include <stdint.h>

void bytes_copy(void *to, const void *from, uint32_t size);
void bytes_fill(void *to, uint8_t value, uint32_t size);
uint32_t text_size(const char *text);
int text_equal(const char *a, const char *b);
#endif
