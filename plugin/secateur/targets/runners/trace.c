/* What the simulator executes, counted in C: Unicorn calls the functions on_*. The same as class
 * PythonCounter of trace.py and class Waits of estimates/flash.py, which tests compare; some thirty
 * times faster. Built by the computer's own compiler when a run is counted. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct edge { /* control went from one block to another so often; a block is address and size */
  uint32_t from, from_size, to, to_size;
  uint64_t times;
  uint32_t next;  /* the edge that followed last time, which mostly follows again */
  uint32_t place; /* of its number in `numbers` */
};

struct cache { /* lines of 1 << shift bytes, of flash alone, which begins with line `first` */
  uint32_t shift, sets, ways, first;
  uint32_t *held; /* line + 1 by set and way, 0: none */
  uint64_t *used; /* by line: when it was looked up last, 0: it is not held */
  uint64_t now;
  /* Where any line may go (NULL: the one used longest ago). `held` then is the stretch of lines
   * used since more than there are ways were, `used` whether a line ever was. */
  uint32_t *last;    /* by set: line + 1 that was used last */
  uint32_t *stretch; /* by set: twice the number of lines, 1 more if a miss of it is counted */
};

struct waits { /* by one reading of the sources */
  uint32_t wait, ahead;
  struct cache code, data;
  struct cache *reads; /* for constants; NULL: each one waits */
  uint32_t last_line;
  uint64_t low, high; /* cycles waited, at least and at most */
};

struct trace {
  struct edge *edges; /* the first `used` ones */
  uint32_t *numbers;  /* of edges, from 1 on: a hash table of mask + 1 entries, half of them free */
  uint32_t mask, used, full;
  uint32_t last, last_size; /* block before; a size of 0: none */
  uint32_t edge;            /* by which it was come to, where there is one */
  uint32_t flash, flash_end;
  uint32_t readings; /* 0: flash does not wait */
  struct waits waits[2];
  const uint8_t *image; /* what flash holds */
  uint64_t alias;       /* where data reads of flash are sent, to on_read */
  uint32_t watching;    /* reads are counted */
};

enum { HELD = 0, LOW = 1, HIGH = 2 }; /* a miss by the order that misses least, by any order */

/* When a line was looked up last. */
static uint64_t *used(const struct cache *cache, uint32_t line) {
  return cache->used + (line - cache->first);
}

/* A line that was not held is from here on, and the one used longest ago goes. */
static void take(struct cache *cache, uint32_t line) {
  *used(cache, line) = ++cache->now;
  uint32_t *held = cache->held + (size_t)(line & (cache->sets - 1u)) * cache->ways;
  uint32_t oldest = 0;
  for (uint32_t way = 1; way < cache->ways && held[oldest] != 0; way++) {
    if (held[way] == 0 || *used(cache, held[way] - 1u) < *used(cache, held[oldest] - 1u))
      oldest = way;
  }
  if (held[oldest] != 0) *used(cache, held[oldest] - 1u) = 0;
  held[oldest] = line + 1u;
}

/* As class _AnyOrder. */
static uint32_t look_any(struct cache *cache, uint32_t line) {
  uint32_t set = line & (cache->sets - 1u);
  if (cache->last[set] == line + 1u) return HELD;
  uint32_t *held = cache->held + (size_t)set * cache->ways, *stretch = cache->stretch + set;
  uint32_t lines = *stretch >> 1, new = *used(cache, line) == 0;
  cache->last[set] = line + 1u;
  *used(cache, line) = 1;
  for (uint32_t i = 0; i < lines; i++) {
    if (held[i] == line + 1u) return HIGH;
  }
  uint32_t least = new;
  if (lines == cache->ways) {
    least = new | ((*stretch & 1u) == 0);
    lines = *stretch = 0;
  } else if (new && lines != 0) {
    *stretch |= 1u;
  }
  held[lines] = line + 1u;
  *stretch += 2u;
  return least ? LOW | HIGH : HIGH;
}

/* Whether a line is missed. */
static uint32_t look(struct cache *cache, uint32_t line) {
  if (cache->last != NULL) return look_any(cache, line);
  uint64_t *when = used(cache, line);
  if (*when != 0) { /* held, as nearly always */
    *when = ++cache->now;
    return HELD;
  }
  take(cache, line);
  return LOW | HIGH;
}

static void waited(struct waits *w, uint32_t missed, uint32_t cycles) {
  w->low += missed & LOW ? cycles : 0u;
  w->high += cycles;
}

static void count(struct trace *t, uint32_t to, uint32_t size) {
  if (t->last_size != 0) {
    uint32_t next = t->edges[t->edge].next;
    if (t->edges[next].to == to && t->edges[next].to_size == size &&
        t->edges[next].from == t->last && t->edges[next].from_size == t->last_size) {
      t->edges[next].times++;
      t->edge = next;
      return;
    }
  }
  uint32_t at = (t->last * 2654435761u ^ to * 2246822519u) >> 8 & t->mask;
  uint32_t found = t->used;
  for (; t->numbers[at] != 0; at = (at + 1u) & t->mask) {
    struct edge *e = t->edges + (t->numbers[at] - 1u);
    if (e->to == to && e->from == t->last && e->to_size == size && e->from_size == t->last_size) {
      found = t->numbers[at] - 1u;
      break;
    }
  }
  if (found == t->used) {
    if (t->used > t->mask / 2u) {
      t->full = 1;
      return;
    }
    t->edges[found] = (struct edge){t->last, t->last_size, to, size, 0, found, at};
    t->numbers[at] = ++t->used;
  }
  t->edges[found].times++;
  if (t->last_size != 0) t->edges[t->edge].next = found;
  t->edge = found;
}

/* Begin anew; caches keep their lines. */
void forget(struct trace *t) {
  for (uint32_t i = 0; i < t->used; i++) t->numbers[t->edges[i].place] = 0;
  t->used = t->last = t->last_size = t->edge = 0;
}

void on_block(void *uc, uint64_t address, uint32_t size, void *data) {
  struct trace *t = data;
  uint32_t to = (uint32_t)address;
  (void)uc;
  count(t, to, size);
  t->last = to;
  t->last_size = size;
  if (to < t->flash || to >= t->flash_end) return;
  for (uint32_t i = 0; i < t->readings; i++) {
    struct waits *w = t->waits + i;
    uint32_t line = to >> w->code.shift, end = (to + size - 1u) >> w->code.shift;
    const uint32_t *last = w->code.last, mask = w->code.sets - 1u;
    for (; line <= end; line++) {
      if (last != NULL && last[line & mask] == line + 1u) continue; /* held, as nearly always */
      uint32_t missed = look(&w->code, line);
      if (missed == HELD) continue;
      waited(w, missed, line == w->last_line + 1u ? w->ahead : w->wait);
      w->last_line = line;
    }
  }
}

struct translation { /* as Unicorn's uc_tlb_entry */
  uint64_t physical;
  uint32_t allowed; /* 1: reads, 2: writes, 4: execution */
};

/* Where a page is. Code of flash is executed where it stands; what is read of flash as data comes
 * from `alias`, which is a device: so Unicorn calls for those reads alone, and reads and writes of
 * RAM stay as fast as without (its own hook of reads makes every one of them slow). */
int on_page(void *uc, uint64_t address, int32_t access, struct translation *out, void *data) {
  struct trace *t = data;
  (void)uc;
  out->physical = address;
  out->allowed = 7u;
  if (address < t->flash || address >= t->flash_end) return 1;
  out->allowed = 4u;
  if (access != 16) return access == 18; /* READ, FETCH; nothing is written to flash */
  out->physical = t->alias + (address - t->flash);
  out->allowed = 1u;
  return 1;
}

uint64_t on_read(void *uc, uint64_t offset, unsigned size, void *data) {
  struct trace *t = data;
  uint64_t value = 0;
  (void)uc;
  if (size == 4) { /* known sizes need no call */
    memcpy(&value, t->image + offset, 4);
  } else if (size == 1) {
    value = t->image[offset];
  } else {
    memcpy(&value, t->image + offset, size);
  }
  if (t->watching == 0) return value;
  uint32_t address = t->flash + (uint32_t)offset;
  for (uint32_t i = 0; i < t->readings; i++) {
    struct waits *w = t->waits + i;
    uint32_t missed = LOW | HIGH;
    if (w->reads != NULL) missed = look(w->reads, address >> w->reads->shift);
    if (missed != HELD) waited(w, missed, w->wait);
  }
  return value;
}
