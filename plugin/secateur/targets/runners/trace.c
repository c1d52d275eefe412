/* What the simulator executes, counted in C: Unicorn calls these two functions. The same as class
 * PythonCounter of trace.py and class Waits of estimates/flash.py, which tests compare; some thirty
 * times faster. Built by the computer's own compiler when a run is counted. */
#include <stddef.h>
#include <stdint.h>

struct edge { /* control went from one block to another so often; a block is address and size */
  uint32_t from, from_size, to, to_size;
  uint64_t times;
  uint32_t conditional; /* an IT instruction may stand in `to` */
  uint32_t place;       /* of its number in `numbers` */
};

struct cache { /* lines of 1 << shift bytes, of flash alone, which begins with line `first` */
  uint32_t shift, sets, ways, first;
  uint32_t *held; /* line + 1 by set and way, 0: none */
  uint64_t *used; /* by line: when it was looked up last, 0: it is not held */
  uint64_t now;
};

struct trace {
  struct edge *edges; /* the first `used` ones */
  uint32_t *numbers;  /* of edges, from 1 on: a hash table of mask + 1 entries, half of them free */
  uint32_t mask, used, full;
  uint32_t last, last_size; /* block before; a size of 0: none */
  uint32_t flash, flash_end, wait, ahead;
  struct cache code, data;
  struct cache *reads; /* for constants; NULL: each one waits */
  uint32_t last_line;
  uint64_t code_waits, data_waits, flash_reads;
  int32_t (*reg_read)(void *, int32_t, void *); /* of Unicorn, for on_read */
  int32_t (*reg_write)(void *, int32_t, const void *);
  int32_t (*mem_read)(void *, uint64_t, void *, uint64_t);
  int32_t epsr; /* register, or -1: this core has no IT instruction */
  uint32_t conditional; /* loads may be: of this block or, where it was cut, of the one before */
};

/* When a line was looked up last. */
static uint64_t *used(const struct cache *cache, uint32_t line) {
  return cache->used + (line - cache->first);
}

/* Whether a line is not held; it is from here on, and the one used longest ago goes. */
static int miss(struct cache *cache, uint32_t line) {
  int missed = *used(cache, line) == 0;
  *used(cache, line) = ++cache->now;
  if (!missed) return 0;
  uint32_t *held = cache->held + (size_t)(line & (cache->sets - 1u)) * cache->ways;
  uint32_t oldest = 0;
  for (uint32_t way = 1; way < cache->ways && held[oldest] != 0; way++) {
    if (held[way] == 0 || *used(cache, held[way] - 1u) < *used(cache, held[oldest] - 1u))
      oldest = way;
  }
  if (held[oldest] != 0) *used(cache, held[oldest] - 1u) = 0;
  held[oldest] = line + 1u;
  return 1;
}

/* Whether an IT instruction (BFxy, y not 0) may stand in a block; half of another looks alike. */
static uint32_t has_it(const struct trace *t, void *uc, uint32_t address, uint32_t size) {
  uint8_t code[256];
  for (uint32_t at = 0; at < size; at += sizeof code) {
    uint32_t part = size - at < sizeof code ? size - at : (uint32_t)sizeof code;
    if (t->mem_read(uc, address + at, code, part) != 0) return 1;
    for (uint32_t i = 0; i + 1u < part; i += 2u) {
      if (code[i + 1u] == 0xBFu && (code[i] & 0xFu) != 0) return 1;
    }
  }
  return 0;
}

/* Returns whether an IT instruction may stand in the block. */
static uint32_t count(struct trace *t, void *uc, uint32_t to, uint32_t size) {
  uint32_t at = (t->last * 2654435761u ^ to * 2246822519u) >> 8 & t->mask;
  for (; t->numbers[at] != 0; at = (at + 1u) & t->mask) {
    struct edge *e = t->edges + (t->numbers[at] - 1u);
    if (e->to == to && e->from == t->last && e->to_size == size && e->from_size == t->last_size) {
      e->times++;
      return e->conditional;
    }
  }
  if (t->used > t->mask / 2u) {
    t->full = 1;
    return 1;
  }
  uint32_t conditional = t->epsr >= 0 ? has_it(t, uc, to, size) : 0;
  t->edges[t->used++] = (struct edge){t->last, t->last_size, to, size, 1, conditional, at};
  t->numbers[at] = t->used;
  return conditional;
}

/* Begin anew; caches keep their lines. */
void forget(struct trace *t) {
  for (uint32_t i = 0; i < t->used; i++) t->numbers[t->edges[i].place] = 0;
  t->used = t->last = t->last_size = 0;
}

void on_block(void *uc, uint64_t address, uint32_t size, void *data) {
  struct trace *t = data;
  uint32_t to = (uint32_t)address;
  uint32_t before = t->conditional & 1u;
  t->conditional = count(t, uc, to, size) | before << 1;
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
  if (t->conditional) {
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
