/* Gives the one generated model of this image fixed names. Build flags:
 *   -DSECATEUR_MODEL=kws         functions kws_run, kws_check_weights, kws_arena; header kws.h
 *   -DSECATEUR_MACRO=KWS         macros KWS_INPUT_SIZE, ... */
#ifndef SECATEUR_MODEL_GLUE_H
#define SECATEUR_MODEL_GLUE_H
#define GLUE_STRING_(x) #x
#define GLUE_STRING(x) GLUE_STRING_(x)
#define GLUE_JOIN_(a, b) a##b
#define GLUE_JOIN(a, b) GLUE_JOIN_(a, b)
#define GLUE_HEADER_(x) GLUE_STRING_(x.h)
#define GLUE_HEADER(x) GLUE_HEADER_(x)

#include GLUE_HEADER(SECATEUR_MODEL)

#define SC_GLUE_NAME GLUE_STRING(SECATEUR_MODEL)
#if GLUE_JOIN(SECATEUR_MACRO, _ENDS) /* several inputs or outputs, or other types than int8 */
static inline int sc_glue_run_bytes(const int8_t *input, int8_t *output)
{
  return GLUE_JOIN(SECATEUR_MODEL, _run_bytes_in)(GLUE_JOIN(SECATEUR_MODEL, _arena), input, output);
}
#define SC_GLUE_RUN sc_glue_run_bytes
#else
#define SC_GLUE_RUN GLUE_JOIN(SECATEUR_MODEL, _run)
#endif
#define SC_GLUE_CHECK GLUE_JOIN(SECATEUR_MODEL, _check_weights)
#define SC_GLUE_ARENA GLUE_JOIN(SECATEUR_MODEL, _arena)
#define SC_GLUE_INPUT_SIZE GLUE_JOIN(SECATEUR_MACRO, _INPUT_SIZE)
#define SC_GLUE_OUTPUT_SIZE GLUE_JOIN(SECATEUR_MACRO, _OUTPUT_SIZE)
#define SC_GLUE_ARENA_BYTES GLUE_JOIN(SECATEUR_MACRO, _ARENA_BYTES)
#define SC_GLUE_INPUT_SCALE GLUE_JOIN(SECATEUR_MACRO, _INPUT_SCALE)
#define SC_GLUE_INPUT_ZERO_POINT GLUE_JOIN(SECATEUR_MACRO, _INPUT_ZERO_POINT)
#define SC_GLUE_OUTPUT_SCALE GLUE_JOIN(SECATEUR_MACRO, _OUTPUT_SCALE)
#define SC_GLUE_OUTPUT_ZERO_POINT GLUE_JOIN(SECATEUR_MACRO, _OUTPUT_ZERO_POINT)
#endif
