/* Runs of zeros and runs of values, a byte each: encoding "runlength". */
#ifndef SC_RUNLENGTH_H
#define SC_RUNLENGTH_H

#include "sc_rows.h"

typedef struct {
    const uint8_t *gaps; /* zeros before a run */
    const uint8_t *runs; /* its length; as many as there are gaps */
    const int8_t *values;
    uint32_t gaps_size, values_size;
    uint32_t nnz;
    uint16_t rows, cols;
} sc_runlength_stream;

typedef struct {
    sc_walk walk;
    uint32_t run;  /* values to come in this run */
    uint32_t at;   /* next gap */
    uint32_t from; /* next value */
    bool failed;
} sc_runlength_hot;

typedef struct {
    sc_runlength_hot hot;
    const sc_runlength_stream *d;
    uint16_t rows, cols;
} sc_runlength;

static inline int sc_runlength_open(sc_runlength *s, const sc_runlength_stream *d)
{
    s->hot = (sc_runlength_hot){{0u, d->nnz, 0}, 0u, 0u, 0u, false};
    s->d = d;
    s->rows = d->rows;
    s->cols = d->cols;
    return 0;
}

static inline void sc_runlength_step(sc_runlength *s, sc_runlength_hot *h)
{
    const sc_runlength_stream *d = s->d;
    if (h->run == 0u) {
        if (h->at == d->gaps_size) {
            h->failed = true;
            h->walk.left = 0u;
            return;
        }
        h->walk.next += d->gaps[h->at];
        h->run = d->runs[h->at];
        h->at++;
    }
    if (h->run != 0u) {
        if (h->from == d->values_size) {
            h->failed = true;
            h->walk.left = 0u;
            return;
        }
        h->walk.value = d->values[h->from];
        h->from++;
        h->run--;
        h->walk.left--;
    }
}

static inline bool sc_runlength_failed(const sc_runlength *s, const sc_runlength_hot *h)
{
    (void)s;
    return h->failed;
}

SC_SPARSE_ROW(sc_runlength)

#endif
