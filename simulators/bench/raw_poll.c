/* The least work that reads a fleet: connect, send, receive to the end, close; nothing is decoded.
 *
 *     raw_poll PORT SECONDS IN_FLIGHT < PLAN
 *
 * PLAN holds a line a firmware, tab-separated: KIND COUNT WEIGHT REQUEST [REQUEST …]: the second
 * octet of its miners' addresses, how many there are, its share, and the requests of one poll, each
 * on a connection of its own. Polls flat out; prints one JSON line. */
#include "common.h"

enum { KINDS_MAX = 16, REQUESTS_MAX = 8, DECK_MAX = 1024, RECEIVE = 262144 };

typedef struct {
    unsigned kind, count, next;
    int requests;
    char *request[REQUESTS_MAX];
    size_t size[REQUESTS_MAX];
} Kind;

typedef struct {
    int fd, at, is_sent;
    unsigned index;
    Kind *kind;
    char last;
} Poll;

static Kind kinds[KINDS_MAX];
static Kind *deck[DECK_MAX];
static int kind_count, deck_size, deck_next, epoll_fd;
static unsigned port;
static uint64_t polls, opened, failed, received;

static void read_plan(void) {
    char line[8192];
    while (fgets(line, sizeof line, stdin) != NULL && kind_count < KINDS_MAX) {
        Kind *k = &kinds[kind_count];
        char *save = NULL, *word;
        line[strcspn(line, "\n")] = '\0';
        if ((word = strtok_r(line, "\t", &save)) == NULL)
            continue;
        k->kind = (unsigned)atoi(word);
        k->count = (word = strtok_r(NULL, "\t", &save)) ? (unsigned)atoi(word) : 0;
        int weight = (word = strtok_r(NULL, "\t", &save)) ? atoi(word) : 0;
        while ((word = strtok_r(NULL, "\t", &save)) != NULL && k->requests < REQUESTS_MAX) {
            k->size[k->requests] = strlen(word);
            k->request[k->requests++] = must(strdup(word));
        }
        if (k->count == 0 || weight <= 0 || k->requests == 0)
            fatal("plan, line %d: needs KIND COUNT WEIGHT REQUEST, separated by tabs",
                  kind_count + 1);
        for (int i = 0; i < weight && deck_size < DECK_MAX; i++)
            deck[deck_size++] = k;
        kind_count++;
    }
    if (deck_size == 0)
        fatal("the plan on standard input is empty");
}

static void open_next(Poll *p) {
    struct sockaddr_in a = miner_address(p->kind->kind, p->index, port);
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = p};
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->fd < 0)
        fatal("socket: %s: raise the limit of open files (ulimit -n)", strerror(errno));
    p->is_sent = 0, p->last = '\0';
    opened++;
    if (connect(p->fd, (struct sockaddr *)&a, sizeof a) != 0 && errno != EINPROGRESS)
        fatal("connect: %s", strerror(errno));
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, p->fd, &e);
}

static void begin(Poll *p) {
    p->kind = deck[deck_next++ % deck_size];
    p->index = p->kind->next++ % p->kind->count;
    p->at = 0;
    open_next(p);
}

/* One exchange is over. */
static void end(Poll *p, int is_well) {
    close(p->fd);
    if (!is_well)
        failed++;
    else if (++p->at < p->kind->requests) {
        open_next(p);
        return;
    } else
        polls++;
    begin(p);
}

static void step(Poll *p, uint32_t events) {
    static char body[RECEIVE];
    if (!p->is_sent && events & EPOLLOUT) {
        size_t size = p->kind->size[p->at];
        if (send(p->fd, p->kind->request[p->at], size, MSG_NOSIGNAL) != (ssize_t)size) {
            end(p, 0);
            return;
        }
        p->is_sent = 1;
    }
    if (!(events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
        return;
    for (;;) {
        ssize_t n = recv(p->fd, body, sizeof body, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            end(p, n == 0 && p->last != '\0');
            return;
        }
        received += (uint64_t)n;
        p->last = '}';
        if (body[n - 1] == '\0') {
            end(p, 1);
            return;
        }
    }
}

int main(int count, char **words) {
    struct epoll_event events[256];
    if (count != 4)
        fatal("usage: raw_poll PORT SECONDS IN_FLIGHT < PLAN");
    port = (unsigned)atoi(words[1]);
    int in_flight = atoi(words[3]);
    read_plan();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    Poll *all = must(calloc((size_t)in_flight, sizeof *all));
    int64_t begun = now_ns(), until = begun + (int64_t)(atof(words[2]) * 1e9);
    int64_t cpu = cpu_us(), queued = queued_us();
    for (int i = 0; i < in_flight; i++)
        begin(&all[i]);
    while (now_ns() < until) {
        int n = epoll_wait(epoll_fd, events, 256, 100);
        for (int i = 0; i < n; i++)
            step(events[i].data.ptr, events[i].events);
    }
    double wall_us = (double)(now_ns() - begun) / 1e3;
    cpu = cpu_us() - cpu, queued = queued_us() - queued;
    printf("{\"polls\": %llu, \"connections\": %llu, \"failed\": %llu, \"bytes\": %llu, "
           "\"seconds\": %.3f, \"cpu_us_per_poll\": %.2f, \"cpu_us_per_connection\": %.2f, "
           "\"busy_percent\": %.1f}\n",
           (unsigned long long)polls, (unsigned long long)opened, (unsigned long long)failed,
           (unsigned long long)received, wall_us / 1e6, polls ? (double)cpu / (double)polls : 0.0,
           opened ? (double)cpu / (double)opened : 0.0,
           100.0 * (double)(cpu + queued) / wall_us);
    return 0;
}
