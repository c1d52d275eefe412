/* The text protocol of MLPerf Tiny's runner (EEMBC EnergyRunner): commands end in '%', every
 * answer in "m-ready". Written from the protocol's description; no printf, no division routine. */
#include <stddef.h>

#include "harness.h"
#include "harness_bytes.h"
#include "port.h"

#if !defined(SECATEUR_TEXT_MODEL)
#define SECATEUR_TEXT_MODEL SECATEUR_MODEL
#endif

#if defined(SECATEUR_TEXT_ANOMALY)
/* Inputs come as float32; the answer is how far the model's output is off them. */
_Static_assert(SC_GLUE_INPUT_SIZE == SC_GLUE_OUTPUT_SIZE, "the model must give back its input");
#define TEXT_INPUT (4u * SC_GLUE_INPUT_SIZE)
static float real_input[SC_GLUE_INPUT_SIZE];
#else
#define TEXT_INPUT SC_GLUE_INPUT_SIZE
#endif

static uint32_t expected, loaded; /* of `db load` */

static void put(const char *text) {
  while (*text != 0) port_putc((uint8_t)*text++);
}

static void end_line(void) { put("\r\n"); }

/* value / by in `value`, the rest returned; the compiler's routine would count as model code. */
static uint32_t divide(uint64_t *value, uint32_t by) {
  uint64_t rest = 0, quotient = 0;
  for (int32_t bit = 63; bit >= 0; bit--) {
    rest = rest << 1 | (*value >> bit & 1u);
    quotient <<= 1;
    if (rest >= by) {
      rest -= by;
      quotient |= 1u;
    }
  }
  *value = quotient;
  return (uint32_t)rest;
}

static void put_number(uint64_t value) {
  char digits[21];
  uint32_t at = sizeof digits - 1;
  digits[at] = 0;
  do {
    digits[--at] = (char)('0' + divide(&value, 10));
  } while (value != 0);
  put(digits + at);
}

static void put_hex(uint8_t byte) {
  static const char digit[] = "0123456789abcdef";
  port_putc((uint8_t)digit[byte >> 4]);
  port_putc((uint8_t)digit[byte & 15u]);
}

/* The next word of the command, or NULL; `at` moves behind it. */
static char *word(char **at) {
  char *start = *at;
  while (*start == ' ' || *start == '\r' || *start == '\n') start++;
  if (*start == 0) return NULL;
  char *end = start;
  while (*end != 0 && *end != ' ' && *end != '\r' && *end != '\n') end++;
  if (*end != 0) *end++ = 0;
  *at = end;
  return start;
}

/* A decimal number, or -1. */
static int32_t number(const char *text) {
  int32_t value = 0;
  if (*text == 0) return -1;
  for (; *text != 0; text++) {
    if (*text < '0' || *text > '9' || value > 99999999) return -1;
    value = value * 10 + (*text - '0');
  }
  return value;
}

static int32_t hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

static void timestamp(void) {
#if defined(SECATEUR_TEXT_ENERGY)
  port_mark(0); /* the monitor looks for a falling edge of at least a microsecond */
  for (volatile uint32_t i = 0; i < F_CPU / 1000000u; i++) continue;
  port_mark(1);
#else
  uint64_t ticks = timer_now(), wraps = ticks >> 44; /* ticks * 10^6 must stay below 2^64 */
  ticks = (ticks - (wraps << 44)) * 1000000u;
  (void)divide(&ticks, SECATEUR_TIMER_HZ);
  put("m-lap-us-");
  put_number(ticks);
  end_line();
#endif
}

/* Thousandths as a number with three decimals. */
static void put_milli(uint64_t milli) {
  uint32_t part = divide(&milli, 1000);
  put_number(milli);
  port_putc('.');
  for (uint32_t unit = 100; unit > 0; unit = unit == 100 ? 10 : unit == 10 ? 1 : 0) {
    char digit = '0';
    for (; part >= unit; part -= unit) digit++;
    port_putc((uint8_t)digit);
  }
}

#if defined(SECATEUR_TEXT_ANOMALY)
/* The anomaly score: the mean squared error of what the model gives back. */
static void results(void) {
  float sum = 0.0f;
  for (uint32_t i = 0; i < SC_GLUE_OUTPUT_SIZE; i++) {
    float real = SC_GLUE_OUTPUT_SCALE * (float)(harness_output[i] - (SC_GLUE_OUTPUT_ZERO_POINT));
    sum += (real - real_input[i]) * (real - real_input[i]);
  }
  sum = sum * 1000.0f / (float)SC_GLUE_OUTPUT_SIZE + 0.5f;
  put("m-results-[");
  put_milli(sum >= 0.0f && sum < 1e12f ? (uint64_t)sum : 1000000000000u); /* infinite, no number */
  put("]\r\n");
}

/* The loaded bytes as real numbers, and those as the model's codes. */
static void take_input(void) {
  for (uint32_t i = 0; i < SC_GLUE_INPUT_SIZE; i++) {
    float code = real_input[i] / SC_GLUE_INPUT_SCALE + (float)(SC_GLUE_INPUT_ZERO_POINT);
    int32_t q = code >= 127.0f ? 127 : code > -128.0f ? (int32_t)(code + 256.5f) - 256 : -128;
    harness_input[i] = (int8_t)q;
  }
}
#else
/* Real values of the outputs with three decimals. */
static void results(void) {
  const int32_t shift = SC_GLUE_OUTPUT_SCALE < 2.0f ? 12 : 0;
  const int32_t scale = (int32_t)(SC_GLUE_OUTPUT_SCALE * 1000.0f * (float)(1 << shift) + 0.5f);
  put("m-results-[");
  for (uint32_t i = 0; i < SC_GLUE_OUTPUT_SIZE; i++) {
    int32_t code = harness_output[i] - (SC_GLUE_OUTPUT_ZERO_POINT);
    uint32_t size = (uint32_t)(code < 0 ? -code : code) * (uint32_t)scale;
    uint64_t milli = (size + (shift ? 1u << (shift - 1) : 0u)) >> shift;
    if (i > 0) port_putc(',');
    if (code < 0 && milli != 0) port_putc('-');
    put_milli(milli);
  }
  put("]\r\n");
}
#endif

static void infer(char *rest) {
  char *first = word(&rest), *second = word(&rest);
  int32_t runs = first ? number(first) : 1, warm = second ? number(second) : 10;
  uint64_t ticks;
  if (runs <= 0) {
    put("e-[Inference iterations must be >0]\r\n");
    return;
  }
  if (warm < 0) {
    put("e-[Inference warmup must be >=0]\r\n");
    return;
  }
  put("m-warmup-start-");
  put_number((uint64_t)warm);
  end_line();
  int status = harness_run((uint32_t)warm, &ticks);
  put("m-warmup-done\r\nm-infer-start-");
  put_number((uint64_t)runs);
  end_line();
  port_flush();
  timestamp();
#if defined(SECATEUR_TEXT_ENERGY)
  /* Every edge of the pin is a time stamp here: the runs themselves must make none. */
  if (status == 0) status = harness_run((uint32_t)runs, &ticks);
#else
  if (status == 0) status = harness_run_marked((uint32_t)runs, &ticks);
#endif
  timestamp();
  put("m-infer-done\r\n");
  if (status == 0)
    results();
  else
    put("e-[The model's weights are damaged]\r\n");
}

/* Where `db` puts bytes. */
static uint8_t *text_input(void) {
#if defined(SECATEUR_TEXT_ANOMALY)
  return (uint8_t *)real_input;
#else
  return (uint8_t *)harness_input;
#endif
}

static void load_bytes(const char *digits) {
  uint32_t size = text_size(digits);
  if (size & 1u) {
    put("e-[Insufficient number of hex digits]\r\n");
    return;
  }
  for (uint32_t i = 0; i < size && loaded < expected; i += 2) {
    int32_t high = hex(digits[i]), low = hex(digits[i + 1]);
    if (high < 0 || low < 0) {
      put("e-[Invalid hex digit '");
      port_putc((uint8_t)digits[i]);
      port_putc((uint8_t)digits[i + 1]);
      put("']\r\n");
      return;
    }
    uint32_t byte = (uint32_t)(high << 4 | low);
#if defined(SECATEUR_TEXT_UNSIGNED)
    byte ^= 0x80u; /* images come as 0..255 */
#endif
    text_input()[loaded++] = (uint8_t)byte;
    if (loaded != expected) continue;
#if defined(SECATEUR_TEXT_ANOMALY)
    take_input();
#endif
    put("m-load-done\r\n");
  }
}

static void print_buffer(void) {
  for (uint32_t i = 0; i < expected; i++) {
    if (i % 8 == 0) put("m-buffer-");
    put_hex(text_input()[i]);
    if (i % 8 == 7 || i + 1 == expected)
      end_line();
    else
      port_putc('-');
  }
}

static void buffer(char *rest) {
  char *sub = word(&rest);
  if (sub == NULL) {
    put("e-[Command 'db' requires a subcommand]\r\n");
  } else if (text_equal(sub, "load")) {
    char *size = word(&rest);
    int32_t bytes = size ? number(size) : 0;
    expected = loaded = 0;
    if (size == NULL) {
      put("e-[Command 'db load' requires the # of bytes]\r\n");
    } else if (bytes <= 0) {
      put("e-[Command 'db load' must be >0 bytes]\r\n");
    } else if ((uint32_t)bytes > TEXT_INPUT) {
      put("e-[The model takes ");
      put_number(TEXT_INPUT);
      put(" bytes]\r\n");
    } else {
      expected = (uint32_t)bytes;
      put("m-[Expecting ");
      put_number(expected);
      put(" bytes]\r\n");
    }
  } else if (text_equal(sub, "print")) {
    print_buffer();
  } else {
    load_bytes(sub);
  }
}

void text_command(char *line, uint32_t size) {
  line[size] = 0;
  char *rest = line, *command = word(&rest);
  if (command == NULL) {
    /* a terminator alone: the runner empties the line with it */
  } else if (text_equal(command, "name")) {
    put("m-name-dut-[secateur]\r\n");
  } else if (text_equal(command, "timestamp")) {
    timestamp();
  } else if (text_equal(command, "profile")) {
    put("m-profile-[ULPMark for tinyML Firmware V0.0.1]\r\nm-model-[");
    put(GLUE_STRING(SECATEUR_TEXT_MODEL));
    put("]\r\n");
  } else if (text_equal(command, "help")) {
    put("name, profile, timestamp, db load N, db HH.., db print, infer N [W], results\r\n");
  } else if (text_equal(command, "db")) {
    buffer(rest);
  } else if (text_equal(command, "infer")) {
    infer(rest);
  } else if (text_equal(command, "results")) {
    results();
  } else {
    put("e-[Unknown command: ");
    put(command);
    put("]\r\n");
  }
  put("m-ready\r\n");
  port_flush();
}

void text_start(void) {
#if defined(SECATEUR_TEXT_ENERGY)
  port_mark(1);
  put("m-timestamp-mode-energy\r\n");
#else
  put("m-timestamp-mode-performance\r\n");
#endif
  put("m-init-done\r\nm-ready\r\n");
  port_flush();
}
