/* The C library's functions, for the harness alone: linked from the library they would count as
 * the model's code. */
#include "harness_bytes.h"

#if defined(__GNUC__) && !defined(__clang__)
/* These loops are memcpy and memset; the compiler must not say so. */
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif

void bytes_copy(void *to, const void *from, uint32_t size) {
  uint8_t *t = to;
  const uint8_t *f = from;
  while (size-- > 0) *t++ = *f++;
}

void bytes_fill(void *to, uint8_t value, uint32_t size) {
  uint8_t *t = to;
  while (size-- > 0) *t++ = value;
}

uint32_t text_size(const char *text) {
  uint32_t size = 0;
  while (text[size] != 0) size++;
  return size;
}

int text_equal(const char *a, const char *b) {
  while (*a != 0 && *a == *b) {
    a++;
    b++;
  }
  return *a == *b;
}
