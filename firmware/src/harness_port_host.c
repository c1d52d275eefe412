/* The host: standard input and output, no counter worth reading. */
#if defined(SECATEUR_PORT_HOST)
#include <stdio.h>
#include <stdlib.h>

#include "port.h"

void port_init(void) {}
int port_getc(void) {
  int c = getchar();
  if (c == EOF) exit(0);
  return c;
}
void port_putc(uint8_t byte) { putchar(byte); }
void port_flush(void) { fflush(stdout); }
void timer_init(void) {}
uint64_t timer_now(void) { return 0; }
uint32_t timer_wraps(void) { return 0; }
#else
typedef int secateur_not_host;
#endif
