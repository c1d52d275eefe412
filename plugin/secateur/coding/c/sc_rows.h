/*
 * Row forms: what every decoder of coded weights hands out, one row after the other.
 *
 * For an encoding with C name X there are
 *     sc_X_stream    const descriptor of a layer (Encoding.c_stream prints its initializer)
 *     sc_X           the decoder's state, in RAM, live while the layer runs
 *     int sc_X_open(sc_X *s, const sc_X_stream *stream)
 *     int sc_X_row(sc_X *s, ...)      decodes the next row; call it `rows` times:
 *
 * sparse form   int sc_X_row(sc_X *s, SC_COL_T *cols, int8_t *values, uint32_t room,
 *                            uint32_t *count)
 *     cols[0..count) ascending, values[0..count).
 * ternary form  int sc_X_row(sc_X *s, SC_COL_T *cols, uint32_t room, uint32_t *plus,
 *                            uint32_t *minus)
 *     columns of +1 ascend in cols[0..plus), columns of -1 descend in cols[room - minus..room).
 * dense form    int sc_X_row(sc_X *s, int8_t *row)
 *     row[0..cols).
 *
 * `room` is the number of elements of the buffers; the layer's "row_nnz" is enough. All return 0,
 * or SC_CODING_ERROR if the stream is damaged; the row is then meaningless, but every column
 * written is below the layer's number of columns, and nothing was read or written out of bounds.
 *
 * SC_COL_T is uint16_t unless defined as uint8_t (layers of at most 256 columns) beforehand.
 */
#ifndef SC_ROWS_H
#define SC_ROWS_H

#include <stdbool.h>
#include <stdint.h>

#ifndef SC_COL_T
#define SC_COL_T uint16_t
#endif

#define SC_CODING_ERROR (-1)

/* Where a decoder of gaps is: the row's columns, the next non-zero, the non-zeros to come. */
typedef struct {
    uint32_t next; /* column, counted from the current row's first; may lie in a later row */
    uint32_t left; /* non-zeros not yet read */
    int8_t value;  /* of the non-zero at `next`; 0: there is none, read on */
} sc_walk;

/*
 * The rows of a decoder with a `hot` part (copied to locals for the time of a row, it ends up in
 * registers) that holds `walk`, and these functions:
 *     void T_step(T *s, T_hot *h)           read one symbol: move walk.next, set walk.value
 *     bool T_failed(const T *s, const T_hot *h)
 *
 * PUT stores the non-zero at h.walk.next, or sets `full` and breaks where there is no room; DONE
 * gives the row's counts to the caller.
 */
#define SC_WALK_ROW(T, PUT, DONE)                                                                \
    T##_hot h = s->hot;                                                                          \
    const uint32_t width = s->cols;                                                              \
    bool full = false;                                                                           \
    while (h.walk.next < width) {                                                                \
        if (h.walk.value != 0) {                                                                 \
            PUT                                                                                  \
            h.walk.next++;                                                                       \
            h.walk.value = 0;                                                                    \
        }                                                                                        \
        if (h.walk.left == 0u) {                                                                 \
            h.walk.next = width;                                                                 \
        } else {                                                                                 \
            T##_step(s, &h);                                                                     \
        }                                                                                        \
    }                                                                                            \
    h.walk.next -= width;                                                                        \
    s->hot = h;                                                                                  \
    DONE                                                                                         \
    s->rows--;                                                                                   \
    if (s->rows == 0u && (h.walk.left != 0u || h.walk.value != 0)) {                             \
        full = true; /* non-zeros behind the last row */                                         \
    }                                                                                            \
    return full || T##_failed(s, &h) ? SC_CODING_ERROR : 0;

#define SC_PUT_SPARSE                                                                            \
    if (n == room) {                                                                             \
        full = true;                                                                             \
        break;                                                                                   \
    }                                                                                            \
    cols[n] = (SC_COL_T)h.walk.next;                                                             \
    values[n] = h.walk.value;                                                                    \
    n++;

#define SC_SPARSE_ROW(T)                                                                         \
    static inline int T##_row(T *s, SC_COL_T *cols, int8_t *values, uint32_t room,               \
                              uint32_t *count)                                                   \
    {                                                                                            \
        uint32_t n = 0u;                                                                         \
        SC_WALK_ROW(T, SC_PUT_SPARSE, *count = n;)                                               \
    }

#define SC_PUT_TERNARY                                                                           \
    if (front == back) {                                                                         \
        full = true;                                                                             \
        break;                                                                                   \
    }                                                                                            \
    if (h.walk.value > 0) {                                                                      \
        cols[front++] = (SC_COL_T)h.walk.next;                                                   \
    } else {                                                                                     \
        cols[--back] = (SC_COL_T)h.walk.next;                                                    \
    }

#define SC_TERNARY_ROW(T)                                                                        \
    static inline int T##_row(T *s, SC_COL_T *cols, uint32_t room, uint32_t *plus,               \
                              uint32_t *minus)                                                   \
    {                                                                                            \
        uint32_t front = 0u, back = room;                                                        \
        SC_WALK_ROW(T, SC_PUT_TERNARY, *plus = front; *minus = room - back;)                     \
    }

#endif
