/* What the simulator executes, counted in C: Unicorn calls these two functions. The same as class
 * PythonCounter of trace.py and class Waits of estimates/flash.py, which tests compare; some thirty
 * times faster. Built by the computer's own compiler when a run is counted. */
#include <stddef.h>
#include <stdint.h>

struct edge { /* control went from one block to another so often; a block is address and size */
  uint32_t from, from_size, to, to_size;
  uint64_t times;
};

struct cache { /* lines of 1 << shift bytes; `held`: line + 1 by set, the latest first, 0: none */
  uint32_t shift, sets, ways;
  uint32_t *held;
};

struct trace {
  struct edge *edges;
  uint32_t mask; /* edges is a hash table of mask + 1 entries */
  uint32_t used, full;
  uint32_t last, last_size; /* block before; a size of 0: none */
  uint32_t flash, flash_end, wait, ahead;
  struct cache code, data;
  struct cache *reads; /* for constants; NULL: each one waits */
  uint32_t last_line;
  uint64_t code_waits, data_waits, flash_reads;
  int32_t (*reg_read)(void *, int32_t, void *); /* of Unicorn, for on_read */
  int32_t (*reg_write)(void *, int32_t, const void *);
  int32_t epsr; /* register, or -1 */
};

/* Whether a line is not held; it is from here on. */
static int miss(struct cache *cache, uint32_t line) {
  uint32_t *held = cache->held + (size_t)(line & (cache->sets - 1u)) * cache->ways;
  uint32_t way = 0;
  while (way < cache->ways - 1u && held[way] != line + 1u) way++;
  int missed = held[way] != line + 1u;
  for (; way > 0; way--) held[way] = held[way - 1u];
  held[0] = line + 1u;
  return missed;
}

static void count(struct trace *t, uint32_t to, uint32_t size) {
  uint32_t at = (t->last * 2654435761u ^ to * 2246822519u) >> 8;
  for (;; at++) {
    struct edge *e = t->edges + (at & t->mask);
    if (e->times != 0 && e->to == to && e->from == t->last && e->to_size == size &&
        e->from_size == t->last_size) {
      e->times++;
      return;
    }
    if (e->times == 0) {
      if (t->used > t->mask / 2u) {
        t->full = 1;
        return;
      }
      t->used++;
      e->from = t->last;
      e->from_size = t->last_size;
      e->to = to;
      e->to_size = size;
      e->times = 1;
      return;
    }
  }
}

void on_block(void *uc, uint64_t address, uint32_t size, void *data) {
  struct trace *t = data;
  uint32_t to = (uint32_t)address;
  (void)uc;
  count(t, to, size);
  t->last = to;
  t->last_size = size;
  if (t->wait == 0 || to < t->flash || to >= t->flash_end) return;
  for (uint32_t line = to >> t->code.shift; line <= (to + size - 1u) >> t->code.shift; line++) {
    if (!miss(&t->code, line)) continue;
    t->code_waits += line == t->last_line + 1u ? t->ahead : t->wait;
    t->last_line = line;
  }
}

/* Unicorn 2.1 leaves the IT bits of a conditional load behind for the code that follows. */
void on_read(void *uc, int32_t type, uint64_t address, int32_t size, int64_t value, void *data) {
  struct trace *t = data;
  uint32_t state = 0;
  (void)type;
  (void)size;
  (void)value;
  if (t->epsr >= 0) {
    t->reg_read(uc, t->epsr, &state);
    if (state & 0x0600FC00u) {
      state &= ~0x0600FC00u;
      t->reg_write(uc, t->epsr, &state);
    }
  }
  t->flash_reads++;
  if (t->reads == NULL || miss(t->reads, (uint32_t)address >> t->reads->shift))
    t->data_waits += t->wait;
}
