/* When each miner's command was READ, and how much the peer has done. */
#ifndef NARYN_BENCH_MOMENTS_H
#define NARYN_BENCH_MOMENTS_H

#include "common.h"

enum { FIRMWARES = 10, MINERS = 65536 };

static int64_t read_ns[FIRMWARES][MINERS]; /* CLOCK_MONOTONIC; 0: none was read */
static uint64_t accepted, answered, acted;

/* The first command of a miner counts: a second one comes to a miner that has its order. */
static void note_act(unsigned firmware, unsigned miner) {
    acted++;
    if (read_ns[firmware][miner] == 0)
        read_ns[firmware][miner] = now_ns();
}

static int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void report(void) {
    static int64_t all[FIRMWARES * MINERS];
    size_t count = 0;
    for (int f = 0; f < FIRMWARES; f++)
        for (int m = 0; m < MINERS; m++)
            if (read_ns[f][m])
                all[count++] = read_ns[f][m];
    qsort(all, count, sizeof *all, by_size);
    printf("{\"accepted\": %llu, \"answered\": %llu, \"acts\": %llu, \"cpu_us\": %lld, ",
           (unsigned long long)accepted, (unsigned long long)answered, (unsigned long long)acted,
           (long long)cpu_us());
    if (count)
        printf("\"miners_acted\": %zu, \"first_ns\": %lld, \"median_ns\": %lld, \"last_ns\": %lld}\n",
               count, (long long)all[0], (long long)all[(count - 1) / 2], (long long)all[count - 1]);
    else
        printf("\"miners_acted\": 0, \"first_ns\": null, \"median_ns\": null, \"last_ns\": null}\n");
    fflush(stdout);
}

#endif
