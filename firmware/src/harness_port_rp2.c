/* Raspberry Pi RP2040 at 125 MHz and RP2350 at 150 MHz; UART0 is Arm's PL011. The two differ in
 * addresses, and in pads that start isolated on the RP2350. */
#if defined(SECATEUR_PORT_RP2040) || defined(SECATEUR_PORT_RP2350)
#include "port.h"

#if defined(SECATEUR_PORT_RP2040)
#define CLOCKS 0x40008000u
#define RESETS 0x4000C000u
#define IO_BANK 0x40014000u
#define PADS 0x4001C000u
#define XOSC 0x40024000u
#define PLL 0x40028000u
#define UNRESET (1u << 22 | 1u << 12 | 1u << 8 | 1u << 5) /* UART0, PLL, pads, pins */
#define POST_DIVIDERS (6u << 16 | 2u << 12)
#define SIO_OUT_CLEAR REG32(0xD0000018)
#define SIO_OE_SET REG32(0xD0000024)
#define SIO_OE_CLEAR REG32(0xD0000028)
#else
#define CLOCKS 0x40010000u
#define RESETS 0x40020000u
#define IO_BANK 0x40028000u
#define PADS 0x40038000u
#define XOSC 0x40048000u
#define PLL 0x40050000u
#define UNRESET (1u << 26 | 1u << 14 | 1u << 9 | 1u << 6)
#define POST_DIVIDERS (5u << 16 | 2u << 12)
#define SIO_OUT_CLEAR REG32(0xD0000020)
#define SIO_OE_SET REG32(0xD0000038)
#define SIO_OE_CLEAR REG32(0xD0000040)
#endif
#define UART(offset) REG32(SECATEUR_UART_BASE + (offset))

static void wait_bits(uintptr_t address, uint32_t bits) {
  for (uint32_t i = 0; i < 20000 && (REG32(address) & bits) != bits; i++) continue;
}

static void clocks(void) {
  REG32(XOSC + 0x0C) = 47; /* 1 ms at 12 MHz */
  REG32(XOSC) = 0xFABAA0;
  wait_bits(XOSC + 0x04, 1u << 31);
  REG32(PLL + 0x00) = 1;   /* 12 MHz * 125 = 1.5 GHz */
  REG32(PLL + 0x08) = 125;
  REG32(PLL + 0x3000 + 0x04) = 1u << 5 | 1u; /* power: clear */
  wait_bits(PLL, 1u << 31);
  REG32(PLL + 0x0C) = POST_DIVIDERS;
  REG32(PLL + 0x3000 + 0x04) = 1u << 3;
  REG32(CLOCKS + 0x30) = 2; /* reference from the crystal */
  wait_bits(CLOCKS + 0x38, 4);
  REG32(CLOCKS + 0x3C) = 0; /* system: auxiliary source PLL, then switch to it */
  REG32(CLOCKS + 0x3C) = 1;
  wait_bits(CLOCKS + 0x44, 2);
  REG32(CLOCKS + 0x48) = 1u << 11; /* peripherals from the system clock */
}

static void pin_function(uint32_t pin, uint32_t function) {
  REG32(PADS + 4 + 4 * pin) = 1u << 6 | 1u << 4; /* input on, 4 mA, not isolated */
  REG32(IO_BANK + 4 + 8 * pin) = function;
}

#if defined(SECATEUR_MARK)
#define MARK_BIT (1u << SECATEUR_MARK)
#define MARK_RELEASE SIO_OE_CLEAR
#define MARK_PULL SIO_OE_SET
/* Open drain: driven low, or not driven. */
static void mark_start(void) {
  SIO_OE_CLEAR = MARK_BIT;
  SIO_OUT_CLEAR = MARK_BIT;
  pin_function(SECATEUR_MARK, 5);
}
#endif
#include "mark.h"

PORT_FN void port_init(void) {
  REG32(RESETS + 0x3000) = UNRESET;
  wait_bits(RESETS + 0x08, UNRESET);
  clocks();
  mark_start();
  pin_function(SECATEUR_TX, 2);
  pin_function(SECATEUR_RX, 2);
  uint32_t divider = (uint32_t)(4ull * F_CPU / SECATEUR_BAUD); /* in 64ths of 16 clocks */
  UART(0x24) = divider >> 6;
  UART(0x28) = divider & 63;
  UART(0x2C) = 3u << 5 | 1u << 4; /* 8N1, queues */
  UART(0x30) = 0x301;
}
PORT_FN int port_getc(void) {
  while (UART(0x18) & 1u << 4) continue;
  return (int)(UART(0x00) & 0xFF);
}
PORT_FN void port_putc(uint8_t byte) {
  while (UART(0x18) & 1u << 5) continue;
  UART(0x00) = byte;
}
PORT_FN void port_flush(void) {
  while (UART(0x18) & 1u << 3) continue;
}
#else
typedef int secateur_not_rp2;
#endif
