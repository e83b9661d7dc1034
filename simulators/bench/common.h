/* What the programs of this folder share: clocks, the cost of this process, and fatal mistakes. */
#ifndef NARYN_BENCH_COMMON_H
#define NARYN_BENCH_COMMON_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static inline int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int64_t cpu_us(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * (int64_t)1000000 + u.ru_utime.tv_usec +
           u.ru_stime.tv_usec;
}

/* Time for which this thread stood ready while something else had its core. */
static inline int64_t queued_us(void) {
    unsigned long long ran = 0, waited = 0;
    FILE *f = fopen("/proc/self/schedstat", "r");
    if (f != NULL) {
        if (fscanf(f, "%llu %llu", &ran, &waited) != 2)
            waited = 0;
        fclose(f);
    }
    return (int64_t)(waited / 1000);
}

__attribute__((noreturn, format(printf, 1, 2))) static inline void fatal(const char *form, ...) {
    va_list a;
    va_start(a, form);
    vfprintf(stderr, form, a);
    va_end(a);
    fputc('\n', stderr);
    exit(1);
}

static inline void *must(void *p) {
    if (p == NULL)
        fatal("out of memory");
    return p;
}

/* Address of one miner: 127.KIND.high.low. */
static inline struct sockaddr_in miner_address(unsigned kind, unsigned index, unsigned port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(127u << 24 | kind << 16 | (index & 0xffff));
    return a;
}

#endif
