/* When each miner's command was READ, and how much the peer has done. */
#ifndef NARYN_BENCH_MOMENTS_H
#define NARYN_BENCH_MOMENTS_H

#include "common.h"

enum { FIRMWARES = 10, MINERS = 65536 };

static int64_t read_ns[FIRMWARES][MINERS]; /* CLOCK_MONOTONIC; 0: none was read */
static uint64_t accepted, asked, answered, acted, asked_garbage, asked_huge;

static const char *ACTS[] = {"enc",   "curtail", "pause",     "resume",      "power_off",
                             "power_on", "ascset",  "power_limit", "profileset", "PauseMining"};

/* Whether this request commands its miner. */
static int is_act(const char *name) {
    for (size_t i = 0; i < sizeof ACTS / sizeof *ACTS; i++)
        if (strcmp(name, ACTS[i]) == 0)
            return 1;
    return 0;
}

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

/* How many miners of these firmwares have a command; when the first, median and last was READ. */
static void print_moments(int from, int until) {
    static int64_t all[FIRMWARES * MINERS];
    size_t count = 0;
    for (int f = from; f < until; f++)
        for (int m = 0; m < MINERS; m++)
            if (read_ns[f][m])
                all[count++] = read_ns[f][m];
    qsort(all, count, sizeof *all, by_size);
    printf("\"miners_acted\": %zu, ", count);
    if (count)
        printf("\"first_ns\": %lld, \"median_ns\": %lld, \"last_ns\": %lld", (long long)all[0],
               (long long)all[(count - 1) / 2], (long long)all[count - 1]);
    else
        printf("\"first_ns\": null, \"median_ns\": null, \"last_ns\": null");
}

static void report(void) {
    printf("{\"accepted\": %llu, \"asked\": %llu, \"answered\": %llu, \"acts\": %llu, "
           "\"asked_garbage\": %llu, \"asked_huge\": %llu, \"cpu_us\": %lld, ",
           (unsigned long long)accepted, (unsigned long long)asked, (unsigned long long)answered,
           (unsigned long long)acted, (unsigned long long)asked_garbage,
           (unsigned long long)asked_huge, (long long)cpu_us());
    print_moments(0, FIRMWARES);
    printf(", \"by_firmware\": {");
    for (int f = 1; f < FIRMWARES; f++) {
        printf("%s\"%d\": {", f > 1 ? ", " : "", f);
        print_moments(f, f + 1);
        printf("}");
    }
    printf("}}\n");
    fflush(stdout);
}

#endif
