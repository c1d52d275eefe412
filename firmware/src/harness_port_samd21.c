/* Atmel SAMD21 at 48 MHz from its calibrated oscillator; SERCOM with TX on pad 2, RX on pad 3. */
#if defined(SECATEUR_PORT_SAMD21)
#include "port.h"

#define REG16(address) (*(volatile uint16_t *)(uintptr_t)(address))
#define REG8(address) (*(volatile uint8_t *)(uintptr_t)(address))
#define SYSCTRL 0x40000800u
#define GCLK 0x40000C00u
#define SERCOM(offset) (SECATEUR_UART_BASE + (offset))

static void wait_bit(uintptr_t address, uint32_t bit) {
  for (uint32_t i = 0; i < 20000 && !(REG32(address) & bit); i++) continue;
}

static void clock_48mhz(void) {
  REG32(0x41004004) |= 1u << 1; /* one flash wait state */
  REG16(SYSCTRL + 0x24) = 1u << 1; /* erratum: no on-demand before the first write */
  wait_bit(SYSCTRL + 0x0C, 1u << 4);
  uint32_t coarse = REG32(0x00806024) >> 26; /* from the factory */
  REG32(SYSCTRL + 0x28) = coarse << 10 | 512u;
  REG16(SYSCTRL + 0x24) = 1u << 1;
  wait_bit(SYSCTRL + 0x0C, 1u << 4);
  REG32(GCLK + 0x04) = 1u << 16 | 7u << 8; /* generator 0: DFLL48M */
}

static void pin_function(uint32_t pin) {
  uintptr_t port = 0x41004400u + 0x80u * (pin >> 5);
  uint32_t n = pin & 31u, shift = (n & 1u) ? 4 : 0;
  uintptr_t multiplexer = port + 0x30 + n / 2;
  REG8(multiplexer) = (uint8_t)((REG8(multiplexer) & (0xF0u >> shift)) |
                                (uint32_t)SECATEUR_PIN_FUNCTION << shift);
  REG8(port + 0x40 + n) = 3; /* to the peripheral, input on */
}

#if defined(SECATEUR_MARK)
#define MARK_PORT(offset) REG32(0x41004400u + 0x80u * (SECATEUR_MARK >> 5) + (offset))
#define MARK_BIT (1u << (SECATEUR_MARK & 31u))
#define MARK_RELEASE MARK_PORT(0x04)
#define MARK_PULL MARK_PORT(0x08)

/* Open drain: driven low, or not driven. */
static void mark_start(void) {
  MARK_RELEASE = MARK_BIT; /* input */
  MARK_PORT(0x14) = MARK_BIT; /* low, once it is an output */
}
#endif
#include "mark.h"

PORT_FN void port_init(void) {
  clock_48mhz();
  mark_start();
  REG32(0x40000420) |= 1u << 7;                       /* SERCOM5's bus clock */
  REG16(GCLK + 0x02) = (uint16_t)(1u << 14 | 0x19u);  /* SERCOM5 core from generator 0 */
  pin_function(SECATEUR_TX);
  pin_function(SECATEUR_RX);
  REG32(SERCOM(0x00)) = 1u << 30 | 3u << 20 | 1u << 16 | 1u << 2;
  REG16(SERCOM(0x0C)) = (uint16_t)(65536u - (uint32_t)((uint64_t)65536u * 16u * SECATEUR_BAUD / F_CPU));
  REG32(SERCOM(0x04)) = 3u << 16;
  REG32(SERCOM(0x00)) |= 2u;
}
PORT_FN int port_getc(void) {
  while (!(REG8(SERCOM(0x18)) & 4)) continue;
  return (int)(REG16(SERCOM(0x28)) & 0xFF);
}
PORT_FN void port_putc(uint8_t byte) {
  while (!(REG8(SERCOM(0x18)) & 1)) continue;
  REG16(SERCOM(0x28)) = byte;
}
PORT_FN void port_flush(void) {
  while (!(REG8(SERCOM(0x18)) & 2)) continue;
}
#else
typedef int secateur_not_samd21;
#endif
