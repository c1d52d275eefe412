/* What a board must offer to the harness. One harness_port_*.c implements the serial line and
 * clocks of a family, one harness_timer_*.c the counter; -DSECATEUR_PORT_x and
 * -DSECATEUR_TIMER_x choose. The simulator replaces these functions by name. */
#ifndef SECATEUR_HARNESS_PORT_H
#define SECATEUR_HARNESS_PORT_H
#include <stdint.h>

#define PORT_FN __attribute__((noinline, noclone))
#define REG32(address) (*(volatile uint32_t *)(uintptr_t)(address))

void port_init(void);          /* clocks, pins, serial line */
int port_getc(void);           /* next byte; waits */
void port_putc(uint8_t byte);  /* waits for room */
void port_flush(void);         /* returns when everything has left */

void port_mark(int level);     /* the pin a power meter watches, where the board has one */

void timer_init(void);
uint64_t timer_now(void);      /* ticks since timer_init, SECATEUR_TIMER_HZ of them a second */
uint32_t timer_wraps(void);    /* overflow interrupts so far; they cost instructions */

_Noreturn void fault_serve(const uint32_t *words, uint32_t count); /* reports for ever */
#endif
