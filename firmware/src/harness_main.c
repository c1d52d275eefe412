/* The serial harness: takes an input, runs the model, gives back output and counters. Frames and
 * text share the line: a frame stands between zero bytes, which text never has. */
#include "harness.h"
#include "harness_bytes.h"
#include "harness_frame.h"
#include "harness_memory.h"
#include "port.h"

enum { CMD_INFO = 1, CMD_LOAD, CMD_RUN, CMD_READ, CMD_MEMORY, CMD_NAK = 0x15, CMD_FAULT = 0x7E };
enum { STATUS_OK, STATUS_UNKNOWN, STATUS_RANGE, STATUS_VERSION };
enum { REPLY = 0x80 };

int8_t harness_input[SC_GLUE_INPUT_SIZE] __attribute__((aligned(8)));
int8_t harness_output[SC_GLUE_OUTPUT_SIZE] __attribute__((aligned(8)));
static uint8_t request[FRAME_CODED];
static uint8_t reply[FRAME_RAW];
static uint32_t reply_size;  /* 0: nothing to repeat */
static uint32_t request_crc; /* of the request that `reply` answers */
static uint32_t overhead;    /* ticks of a call of an empty model */

__attribute__((weak)) void port_mark(int level) { (void)level; }

static int empty_model(const int8_t *in, int8_t *out) {
  (void)in;
  (void)out;
  return 0;
}

/* Through a volatile pointer, so that the model and the empty model cost the same to call. */
static int timed(model_fn function, uint64_t *ticks) {
  model_fn volatile call = function;
  model_fn run = call;
  uint64_t start = timer_now();
  int status = run(harness_input, harness_output);
  *ticks = timer_now() - start;
  return status;
}

static uint32_t highest_change(const uint8_t *area, uint32_t size, uint8_t paint) {
  while (size > 0 && area[size - 1] == paint) size--;
  return size;
}

/* Twice, with two paints: a byte that happens to be written with one is seen by the other. */
static int measure_memory(uint32_t *stack, uint32_t *arena) {
  static const uint8_t paints[2] = {0xA5, 0x5A};
  int status = 0;
  *stack = 0;
  *arena = 0;
  for (uint32_t i = 0; i < 2 && status == 0; i++) {
    bytes_fill(SC_GLUE_ARENA, paints[i], SC_GLUE_ARENA_BYTES);
    uint32_t depth = memory_stack(SC_GLUE_RUN, harness_input, harness_output, paints[i], &status);
    uint32_t used = highest_change(SC_GLUE_ARENA, SC_GLUE_ARENA_BYTES, paints[i]);
    if (depth > *stack) *stack = depth;
    if (used > *arena) *arena = used;
  }
  return status;
}

static uint32_t command_info(uint8_t *out) {
  static const char name[] = SC_GLUE_NAME;
  uint32_t n = sizeof name - 1 < 64 ? sizeof name - 1 : 64;
  put32(out, SC_GLUE_INPUT_SIZE);
  put32(out + 4, SC_GLUE_OUTPUT_SIZE);
  put32(out + 8, SC_GLUE_ARENA_BYTES);
  put32(out + 12, SECATEUR_TIMER_HZ);
  put32(out + 16, overhead);
  bytes_copy(out + 20, name, n);
  return 20 + n;
}

int harness_run(uint32_t runs, uint64_t *ticks) {
  int status = 0;
  *ticks = 0;
  for (uint32_t i = 0; i < runs && status == 0; i++) {
    uint64_t once;
    status = timed(SC_GLUE_RUN, &once);
    *ticks += once - overhead;
  }
  return status;
}

int harness_run_marked(uint32_t runs, uint64_t *ticks) {
  port_mark(0); /* low while the model runs: what a power meter triggers on */
  int status = harness_run(runs, ticks);
  port_mark(1);
  return status;
}

static uint32_t command_run(uint8_t *out, uint32_t runs) {
  uint64_t ticks;
  uint32_t wraps = timer_wraps();
  put32(out, (uint32_t)harness_run_marked(runs, &ticks));
  put32(out + 4, runs);
  put32(out + 8, (uint32_t)ticks);
  put32(out + 12, (uint32_t)(ticks >> 32));
  put32(out + 16, timer_wraps() - wraps);
  return 20;
}

/* Answers the request in `request` (size without CRC) into `reply`. */
static void execute(uint32_t size) {
  const uint8_t *in = request + FRAME_HEADER;
  uint8_t *out = reply + FRAME_HEADER;
  uint32_t given = size - FRAME_HEADER, produced = 0;
  uint8_t status = STATUS_OK;
  if (request[0] != FRAME_VERSION) {
    status = STATUS_VERSION;
  } else if (request[1] == CMD_INFO && given == 0) {
    produced = command_info(out);
  } else if (request[1] == CMD_LOAD && given >= 4) {
    uint32_t at = get32(in), n = given - 4;
    if (at > SC_GLUE_INPUT_SIZE || n > SC_GLUE_INPUT_SIZE - at) {
      status = STATUS_RANGE;
    } else {
      bytes_copy(harness_input + at, in + 4, n);
      put32(out, at + n);
      produced = 4;
    }
  } else if (request[1] == CMD_RUN && given == 4) {
    produced = command_run(out, get32(in));
  } else if (request[1] == CMD_READ && given == 8) {
    uint32_t at = get32(in), n = get32(in + 4);
    if (at > SC_GLUE_OUTPUT_SIZE || n > SC_GLUE_OUTPUT_SIZE - at || n > FRAME_PAYLOAD) {
      status = STATUS_RANGE;
    } else {
      bytes_copy(out, harness_output + at, n);
      produced = n;
    }
  } else if (request[1] == CMD_MEMORY && given == 0) {
    uint32_t stack, arena;
    put32(out, (uint32_t)measure_memory(&stack, &arena));
    put32(out + 4, stack);
    put32(out + 8, arena);
    produced = 12;
  } else {
    status = STATUS_UNKNOWN;
  }
  reply[0] = FRAME_VERSION;
  reply[1] = request[1] | REPLY;
  reply[2] = request[2];
  reply[3] = status;
  reply_size = FRAME_HEADER + produced;
}

static void send_nak(void) {
  uint8_t nak[FRAME_HEADER + FRAME_CRC];
  nak[0] = FRAME_VERSION; /* an initializer would be a call of memset on a Cortex-M0+ */
  nak[1] = CMD_NAK;
  nak[2] = nak[3] = 0;
  frame_send(nak, FRAME_HEADER);
}

/* Reads up to a frame's end and gives its size; texts on the way are answered. Bytes beyond a
 * frame's length are noise: the size then says too much. */
static uint32_t receive(void) {
  static uint8_t in_frame;
  uint32_t size = 0;
  for (;;) {
    uint8_t byte = (uint8_t)port_getc();
    if (byte == 0 && in_frame && size == 0) continue; /* an end, and the next beginning */
    if (byte == 0) {
      in_frame = !in_frame;
      if (!in_frame) return size;
      if (size > 0) return FRAME_CODED + 1; /* no text: a frame without its beginning */
    } else if (!in_frame && byte == '%') {
      text_command((char *)request, size < TEXT_COMMAND ? size : TEXT_COMMAND);
      reply_size = 0; /* `request` no longer is what `reply` answers */
      size = 0;
    } else {
      if (size < FRAME_CODED) request[size] = byte;
      if (size <= FRAME_CODED) size++;
    }
  }
}

static void serve(void) {
  uint32_t coded = receive();
  uint32_t size = coded <= FRAME_CODED ? frame_decode(request, coded) : 0;
  if (size == 0) {
    send_nak();
    return;
  }
  /* The same request again means that its reply was lost: repeat that, do not run twice. */
  uint32_t crc = get32(request + size);
  if (request[1] == CMD_INFO || reply_size == 0 || crc != request_crc) {
    execute(size);
    request_crc = crc;
  }
  frame_send(reply, reply_size);
}

void fault_serve(const uint32_t *words, uint32_t count) {
  for (;;) {
    reply[0] = FRAME_VERSION;
    reply[1] = CMD_FAULT;
    reply[2] = request[2];
    reply[3] = STATUS_OK;
    for (uint32_t i = 0; i < count; i++) put32(reply + FRAME_HEADER + 4 * i, words[i]);
    frame_send(reply, FRAME_HEADER + 4 * count);
    (void)port_getc();
    while (port_getc() != 0) continue; /* the next request gets the same answer */
  }
}

int main(void) {
  uint64_t ticks;
  port_init();
  timer_init();
  (void)timed(empty_model, &ticks); /* caches warm */
  (void)timed(empty_model, &ticks);
  overhead = (uint32_t)ticks;
  (void)SC_GLUE_CHECK(); /* so that no run is timed with it; a run says again what it found */
  text_start();
  for (;;) serve();
}
