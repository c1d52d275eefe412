/* Reads 16-bit samples at 16 kHz from standard input and prints the words it hears. */
#include <stdio.h>

#include "ears_features.h"

static const char *const WORDS[EARS_OUTPUT_SIZE] = {"(nothing)", "yes", "no", "stop", "go"};

int main(void)
{
    static uint32_t state[EARS_FEATURES_BYTES / 4], arena[(EARS_ARENA_BYTES + 3) / 4];
    int16_t samples[EARS_HOP];
    int8_t answer[EARS_OUTPUT_SIZE];
    int last = 0, turns = 0;

    ears_listen_reset(state, arena);
    while (fread(samples, sizeof *samples, EARS_HOP, stdin) == EARS_HOP) {
        const int status = ears_listen(state, arena, samples, answer);
        if (status < 0) {
            fprintf(stderr, "ears_listen: error %d\n", status);
            return 1;
        }
        if (status != EARS_OK) {
            continue; /* EARS_WAITING: no answer in this step */
        }
        int best = 0;
        for (int i = 1; i < EARS_OUTPUT_SIZE; i++) {
            best = answer[i] > answer[best] ? i : best;
        }
        turns = best == last ? turns + 1 : 0;
        last = best;
        if (turns == 3) { /* the same word four times in a row */
            puts(WORDS[best]);
            fflush(stdout);
        }
    }
    return 0;
}
