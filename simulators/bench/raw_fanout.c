/* The least work that commands a fleet: a connection to each miner, one request, its answer.
 *
 *     raw_fanout PORT KIND MINERS REQUEST [DEADLINE_S]
 *
 * `busy_percent`: until the last command left it ran, or waited for its core.
 * All connections are in flight at once. Miners are 127.KIND.0.0 and up. Prints one JSON line;
 * when each command was READ is what the peer reports (its clock is the same CLOCK_MONOTONIC). */
#include "common.h"

typedef struct {
    int fd, is_sent;
} Exchange;

int main(int count, char **words) {
    struct epoll_event events[256];
    char body[65536];
    if (count != 5 && count != 6)
        fatal("usage: raw_fanout PORT KIND MINERS REQUEST [DEADLINE_S]");
    unsigned port = (unsigned)atoi(words[1]), kind = (unsigned)atoi(words[2]);
    unsigned miners = (unsigned)atoi(words[3]), open_now = 0, sent = 0, done = 0, failed = 0;
    size_t size = strlen(words[4]);
    int64_t deadline_ns = (int64_t)((count == 6 ? atof(words[5]) : 10.0) * 1e9);
    if (miners == 0 || miners > 65536)
        fatal("MINERS is 1 to 65536");
    Exchange *all = must(calloc(miners, sizeof *all));
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int64_t cpu = cpu_us(), queued = queued_us(), go = now_ns(), last_sent = go, last_done = go;
    int64_t busy_us = 0;
    for (unsigned i = 0; i < miners; i++) {
        struct sockaddr_in a = miner_address(kind, i, port);
        struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &all[i]};
        int fd = all[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
            fatal("socket %u of %u: %s: raise the limit of open files (ulimit -n)", i + 1, miners,
                  strerror(errno));
        if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0 && errno != EINPROGRESS)
            fatal("connect: %s", strerror(errno));
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
        open_now++;
    }
    while (open_now && now_ns() - go < deadline_ns) {
        int n = epoll_wait(epoll_fd, events, 256, 10);
        for (int i = 0; i < n; i++) {
            Exchange *x = events[i].data.ptr;
            uint32_t what = events[i].events;
            ssize_t got = -1;
            if (!x->is_sent && what & EPOLLOUT && !(what & (EPOLLERR | EPOLLHUP))) {
                x->is_sent = send(x->fd, words[4], size, MSG_NOSIGNAL) == (ssize_t)size;
                sent += (unsigned)x->is_sent;
                last_sent = now_ns();
                if (sent == miners)
                    busy_us = cpu_us() - cpu + queued_us() - queued;
            }
            if (!(what & (EPOLLIN | EPOLLERR | EPOLLHUP)))
                continue;
            got = recv(x->fd, body, sizeof body, 0);
            if (got < 0 && errno == EAGAIN)
                continue;
            close(x->fd);
            open_now--;
            if (got > 0)
                done++, last_done = now_ns();
            else
                failed++;
        }
    }
    printf("{\"miners\": %u, \"sent\": %u, \"answered\": %u, \"failed\": %u, \"unanswered\": %u, "
           "\"go_ns\": %lld, \"last_sent_ms\": %.3f, \"last_answered_ms\": %.3f, "
           "\"cpu_us_per_miner\": %.2f, \"busy_percent\": %.1f}\n",
           miners, sent, done, failed, open_now, (long long)go, (double)(last_sent - go) / 1e6,
           (double)(last_done - go) / 1e6, (double)(cpu_us() - cpu) / miners,
           last_sent > go ? 1e5 * (double)busy_us / (double)(last_sent - go) : 0.0);
    return 0;
}
