/*
 * A bin with a context for every weight: encodings "context_sparse", "context_ternary".
 * secateur/coding/context.py is the definition.
 */
#ifndef SC_CONTEXT_H
#define SC_CONTEXT_H

#include "sc_range_coder.h"
#include "sc_rows.h"

#ifndef SC_CONTEXT_COLS
#define SC_CONTEXT_COLS 1024 /* most columns of a layer of the model */
#endif
#define SC_CONTEXT_CLASSES 6u
#define SC_CONTEXT_NEAR 7u
#define SC_CONTEXT_SIGN (SC_CONTEXT_CLASSES * SC_CONTEXT_NEAR)
#define SC_CONTEXT_SIGNS 9u
#define SC_CONTEXT_DEAD (SC_CONTEXT_SIGN + SC_CONTEXT_SIGNS)
#define SC_CONTEXT_EMPTY (SC_CONTEXT_DEAD + 3u)
#define SC_CONTEXT_MAGNITUDE (SC_CONTEXT_EMPTY + 1u)
#define SC_CONTEXT_MANY 3u
#define SC_CONTEXT_PAD 128u /* twice the farthest stride */
#define SC_CONTEXT_IS_DEAD 255u

typedef struct {
    const uint8_t *data;
    const int8_t *book; /* positive levels, negative levels; 0: a rank is the magnitude - 1 */
    uint32_t size;
    uint32_t growth; /* non-zeros a row adds to the average column, 1/65536 */
    uint16_t rows, cols;
    uint8_t stride;
    uint8_t width; /* bits of a rank */
    uint8_t positive, negative;
} sc_context_sparse_stream;

typedef struct {
    const sc_context_sparse_stream *d;
    sc_range range;
    uint32_t expected;
    sc_range_cell cells[SC_RANGE_CONTEXTS];
    uint8_t seen[SC_CONTEXT_COLS]; /* non-zeros of a column so far, up to 254 */
    int8_t row[SC_CONTEXT_PAD + SC_CONTEXT_COLS]; /* behind zeros: 32 * significant + sign */
} sc_context_sparse;

static inline int sc_context_sparse_open(sc_context_sparse *s, const sc_context_sparse_stream *d)
{
    const uint32_t contexts = SC_CONTEXT_MAGNITUDE + 4u * ((1u << d->width) - 1u);
    const uint32_t stride = d->stride;
    s->d = d;
    s->expected = 0u;
    if (contexts > SC_RANGE_CONTEXTS || d->cols > SC_CONTEXT_COLS) {
        return SC_CODING_ERROR;
    }
    for (uint32_t i = 0u; i < SC_CONTEXT_PAD; i++) {
        s->row[i] = 0;
    }
    sc_range_open(&s->range, s->cells, contexts, d->data, d->size);
    for (uint32_t c = 0u; c < d->cols; c++) {
        uint32_t context = SC_CONTEXT_DEAD;
        context += c > 0u && s->seen[c - 1u] == SC_CONTEXT_IS_DEAD ? 1u : 0u;
        context += stride != 0u && c >= stride && s->seen[c - stride] == SC_CONTEXT_IS_DEAD ? 1u
                                                                                           : 0u;
        s->seen[c] = sc_range_bin(&s->range, &s->cells[context]) != 0u ? SC_CONTEXT_IS_DEAD : 0u;
    }
    return sc_range_failed(&s->range) ? SC_CODING_ERROR : 0;
}

/* Value of the non-zero behind a neighbourhood; 0 if the stream is damaged. */
static inline int32_t sc_context_value(sc_context_sparse *s, sc_range *r, uint32_t near,
                                       int32_t pull, uint32_t width)
{
    const sc_context_sparse_stream *d = s->d;
    pull = pull < -4 ? -4 : pull > 4 ? 4 : pull;
    uint32_t minus = sc_range_bin(r, &s->cells[(int32_t)SC_CONTEXT_SIGN + 4 + pull]);
    uint32_t rank = 0u;
    if (width != 0u) {
        const uint32_t tree = (near >= SC_CONTEXT_MANY ? 2u : 0u) + minus;
        const uint32_t base = SC_CONTEXT_MAGNITUDE - 1u + tree * ((1u << width) - 1u);
        uint32_t node = 1u;
        for (uint32_t i = 0u; i < width; i++) {
            node = node << 1 | sc_range_bin(r, &s->cells[base + node]);
        }
        rank = node - (1u << width);
    }
    if (d->book == 0) {
        if (rank == 127u) {
            return 0;
        }
        return minus != 0u ? -(int32_t)rank - 1 : (int32_t)rank + 1;
    }
    if (minus != 0u) {
        return rank < d->negative ? d->book[d->positive + rank] : 0;
    }
    return rank < d->positive ? d->book[rank] : 0;
}

/*
 * The next row: columns into cols[0..*front); with `values` 0, those of negative weights into
 * cols[*back..room) instead.
 */
static inline int sc_context_cells(sc_context_sparse *s, SC_COL_T *cols, int8_t *values,
                                   uint32_t room, uint32_t *front, uint32_t *back)
{
    const sc_context_sparse_stream *d = s->d;
    const uint32_t width = values != 0 ? d->width : 0u;
    const uint32_t stride = d->stride;
    const uint32_t limit = s->expected >> 14;
    sc_range r = s->range;
    uint32_t first = 0u, last = room;

    *front = 0u;
    *back = room;
    if (sc_range_bin(&r, &s->cells[SC_CONTEXT_EMPTY]) != 0u) {
        s->range = r;
        return sc_range_failed(&r) ? SC_CODING_ERROR : 0;
    }
    int8_t *here = s->row + SC_CONTEXT_PAD;
    const int8_t *far = here - stride;
    for (uint32_t c = 0u; c < d->cols; c++) {
        const uint32_t seen = s->seen[c];
        int32_t mark = 0;
        if (seen != SC_CONTEXT_IS_DEAD) {
            int32_t sum = 0;
            if (stride != 0u) {
                sum = 2 * (here[-1] + far[0]) + here[-2] + far[1] + far[-1];
                sum += far[-(int32_t)stride];
            }
            uint32_t near = (uint32_t)(sum + 16) >> 5;
            uint32_t context = near < SC_CONTEXT_NEAR ? near : SC_CONTEXT_NEAR - 1u;
            context *= SC_CONTEXT_CLASSES;
            context += (seen > limit ? 1u : 0u) + (seen > limit >> 1 ? 1u : 0u);
            context += (seen > limit >> 2 ? 1u : 0u) + (seen > limit >> 3 ? 1u : 0u);
            context += seen > limit >> 4 ? 1u : 0u;
            if (sc_range_bin(&r, &s->cells[context]) != 0u) {
                int32_t value = sc_context_value(s, &r, near, sum - (int32_t)(near << 5), width);
                if (value == 0 || first == last) {
                    return SC_CODING_ERROR;
                }
                if (values != 0) {
                    values[first] = (int8_t)value;
                    cols[first++] = (SC_COL_T)c;
                } else if (value > 0) {
                    cols[first++] = (SC_COL_T)c;
                } else {
                    cols[--last] = (SC_COL_T)c;
                }
                mark = value > 0 ? 33 : 31;
                s->seen[c] = (uint8_t)(seen < 254u ? seen + 1u : seen);
            }
        }
        *here++ = (int8_t)mark;
        far++;
    }
    s->expected += d->growth;
    s->range = r;
    *front = first;
    *back = last;
    return sc_range_failed(&r) ? SC_CODING_ERROR : 0;
}

static inline int sc_context_sparse_row(sc_context_sparse *s, SC_COL_T *cols, int8_t *values,
                                        uint32_t room, uint32_t *count)
{
    uint32_t back;
    return sc_context_cells(s, cols, values, room, count, &back);
}

typedef sc_context_sparse_stream sc_context_ternary_stream;
typedef sc_context_sparse sc_context_ternary;

static inline int sc_context_ternary_open(sc_context_ternary *s,
                                          const sc_context_ternary_stream *d)
{
    return sc_context_sparse_open(s, d);
}

static inline int sc_context_ternary_row(sc_context_ternary *s, SC_COL_T *cols, uint32_t room,
                                         uint32_t *plus, uint32_t *minus)
{
    uint32_t back;
    int status = sc_context_cells(s, cols, 0, room, plus, &back);
    *minus = room - back;
    return status;
}

#endif
