/* A fleet of miners behind every address of 127.0.0.0/8, as cheap as an answer can be.
 *
 *     peer REPLIES LATENCY_MS
 *
 * The second octet of the address says who is asked: 127.F.x.y is miner x.y of firmware F (1 … 9).
 * 127.1F is the same and hung (takes the request, never answers), 127.2F answers garbage, 127.3F
 * 10 MB; 127.4F, 5F and 6F are well until they are commanded, then 1F, 2F and 3F. REPLIES is a file
 * of replies by name, `F.rpc.COMMAND`, `F.http.PATH` with `_` for each `/`, or `F.grpc.METHOD` (on
 * the port of HTTP too); `a+b` is joined from those of a and b. What commands a miner (curtail,
 * enc, POST …) is answered from `F.rpc.act` or `F.http.act`, and the moment it was READ is kept.
 *
 * Standard output says the ports, a JSON line. Standard input takes `report` and `usual-ports`
 * (4028 and 80 too), answered by a JSON line each, `clear` (forget the moments) and `latency MS`;
 * its end ends the peer. */
#include "calls.h"
#include "common.h"
#include "listen.h"
#include "moments.h"
#include "replies.h"

enum { LISTENERS = 16, REQUEST_MAX = 4096 };
enum { HUNG = 1, GARBAGE = 2, HUGE_REPLY = 3, FAULTS = 4 };
enum { HUGE_BYTES = 10000000 };

typedef struct {
    uint32_t generation;
    uint8_t kind, is_http, is_done, is_writing, is_whole;
    uint16_t miner;
    uint32_t got;
    size_t skip;       /* bytes of a body still to be thrown away */
    char *reply;       /* NULL: nothing to say yet */
    size_t size, sent;
    char *joined;      /* the reply, where it is this connection's own */
    char request[REQUEST_MAX + 1];
} Connection;

typedef struct {
    int64_t due_ns;
    int fd;
    uint32_t generation;
} Waiting;

static Connection **connections;
static int fds_max, epoll_fd;
static Waiting *waiting;
static size_t waiting_mask, waiting_head, waiting_tail;
static int64_t latency_ns;
static char *huge, garbage[600];

static void watch(int fd, uint32_t events, uint64_t data, int op) {
    struct epoll_event e = {.events = events, .data.u64 = data};
    if (epoll_ctl(epoll_fd, op, fd, &e) != 0)
        fatal("epoll: %s", strerror(errno));
}

enum { RPC_LISTENER = 1, HTTP_LISTENER = 2 };

/* Several queues on one port: each holds what the system allows (somaxconn) of a wave. Port 0: any.
 * Returns the port, or 0 with errno. */
static int listen_many(uint64_t role, int port) {
    struct sockaddr_in a = {.sin_port = htons((uint16_t)port)};
    socklen_t size = sizeof a;
    for (int i = 0; i < LISTENERS; i++) {
        int fd = listen_all(ntohs(a.sin_port));
        if (fd < 0)
            return 0;
        getsockname(fd, (struct sockaddr *)&a, &size);
        watch(fd, EPOLLIN, role << 32 | (uint64_t)fd, EPOLL_CTL_ADD);
    }
    return ntohs(a.sin_port);
}

/* The ports that real miners have, for programs that know no others; or why they cannot be had. */
static void listen_as_usual(void) {
    if (listen_many(RPC_LISTENER, 4028) && listen_many(HTTP_LISTENER, 80))
        printf("{\"refused\": null}\n");
    else
        printf("{\"refused\": \"ports 4028 and 80: %s\"}\n", strerror(errno));
    fflush(stdout);
}

static void finish(int fd) {
    Connection *c = connections[fd];
    c->generation++;
    free(c->joined);
    c->joined = NULL;
    close(fd);
}

static void send_reply(int fd) {
    Connection *c = connections[fd];
    while (c->sent < c->size) {
        ssize_t n = send(fd, c->reply + c->sent, c->size - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            if (!c->is_writing)
                watch(fd, EPOLLOUT, (uint64_t)fd, EPOLL_CTL_MOD);
            c->is_writing = 1;
            return;
        }
        if (n <= 0)
            break;
        c->sent += (size_t)n;
    }
    answered++;
    finish(fd);
}

static void answer(int fd, char *body, size_t size) {
    Connection *c = connections[fd];
    c->reply = body, c->size = size, c->sent = 0;
    if (latency_ns == 0) {
        send_reply(fd);
        return;
    }
    if (waiting_tail - waiting_head > waiting_mask)
        fatal("more answers wait than there may be connections: lower the latency");
    waiting[waiting_tail++ & waiting_mask] =
        (Waiting){.due_ns = now_ns() + latency_ns, .fd = fd, .generation = c->generation};
}

static void answer_joined(int fd, int firmware, char *names) {
    size_t size;
    char *body = connections[fd]->joined = join_replies(firmware, names, &size);
    answer(fd, body, size);
}

/* The text after "name" and a colon, cut out in place; NULL where there is none. */
static char *value_of(char *request, const char *name) {
    char *at = strstr(request, name), *end;
    if (at == NULL || (at = strchr(at + strlen(name), '"')) == NULL)
        return NULL;
    end = strchr(++at, '"');
    if (end == NULL)
        return NULL;
    *end = '\0';
    return at;
}

static void respond(int fd, const char *service, const char *what, int acts) {
    Connection *c = connections[fd];
    int firmware = c->kind % 10, fault = c->kind / 10;
    char key[96], name[REQUEST_MAX];
    c->is_done = 1;
    asked++;
    if (acts)
        note_act(firmware, c->miner);
    switch (fault < FAULTS ? fault : acts ? fault - FAULTS + 1 : 0) {
    case HUNG:
        return;
    case GARBAGE:
        asked_garbage++;
        answer(fd, garbage, sizeof garbage);
        return;
    case HUGE_REPLY:
        asked_huge++;
        answer(fd, huge, HUGE_BYTES);
        return;
    }
    snprintf(name, sizeof name, "%s", what);
    if (!c->is_http && strchr(name, '+')) {
        answer_joined(fd, firmware, name);
        return;
    }
    snprintf(key, sizeof key, "%d.%s.%.80s", firmware, service, name);
    Reply *r = find(key);
    if (r == NULL) {
        snprintf(key, sizeof key, "%d.%s.unknown", firmware, service);
        r = find(key);
    }
    if (r == NULL)
        finish(fd);
    else
        answer(fd, r->body, r->size);
}

static void take_rpc(int fd) {
    Connection *c = connections[fd];
    char *end = c->request + c->got;
    while (end > c->request && (end[-1] == '\0' || end[-1] == '\n' || end[-1] == '\r'))
        end--;
    if (end == c->request || end[-1] != '}')
        return; /* not whole */
    char *name = strstr(c->request, "\"enc\"") ? "enc" : value_of(c->request, "\"command\"");
    if (name == NULL)
        name = value_of(c->request, "\"cmd\"");
    if (name == NULL)
        name = "unknown";
    int acts = is_act(name);
    respond(fd, "rpc", acts ? "act" : name, acts);
}

static void take_call(int fd) {
    Connection *c = connections[fd];
    if (!is_whole_call(c->request, c->got))
        return;
    const char *method = method_of(c->kind % 10, c->request, c->got);
    if (method == NULL)
        method = "unknown";
    respond(fd, "grpc", method, is_act(method));
}

static void take_http(int fd) {
    Connection *c = connections[fd];
    char *body = strstr(c->request, "\r\n\r\n"), *length, *path, *end;
    int is_write = strncmp(c->request, "POST ", 5) == 0;
    if (is_http2(c->request, c->got)) {
        take_call(fd);
        return;
    }
    if (body == NULL)
        return; /* not whole */
    length = strcasestr(c->request, "\r\ncontent-length:");
    if (length != NULL && length < body && !c->is_whole) {
        size_t whole = (size_t)strtoull(length + 17, NULL, 10) + (size_t)(body + 4 - c->request);
        if (whole > c->got) {
            c->skip = whole - c->got; /* thrown away as it comes */
            return;
        }
    }
    path = strchr(c->request, ' ');
    end = path ? strpbrk(path + 1, " ?") : NULL;
    if (end == NULL) {
        finish(fd);
        return;
    }
    *end = '\0';
    for (char *p = ++path; *p; p++)
        if (*p == '/')
            *p = '_';
    if (strcmp(path, "_api_v2_write") == 0) {
        respond(fd, "http", path, 0); /* telemetry is written here */
        return;
    }
    if (strcasestr(end + 1, "\r\nauthorization: digest") == NULL) {
        respond(fd, "http", "challenge", 0);
        return;
    }
    respond(fd, "http", is_write ? "act" : path, is_write);
}

static void readable(int fd) {
    Connection *c = connections[fd];
    char waste[65536];
    for (;;) {
        int wastes = c->is_done || c->skip;
        ssize_t n = recv(fd, wastes ? waste : c->request + c->got,
                         wastes ? sizeof waste : REQUEST_MAX - c->got, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            finish(fd);
            return;
        }
        if (c->is_done)
            continue;
        if (c->skip) {
            c->skip = (size_t)n >= c->skip ? 0 : c->skip - (size_t)n;
            if (c->skip)
                continue;
            c->is_whole = 1;
        } else {
            c->got += (uint32_t)n;
            c->request[c->got] = '\0';
        }
        uint32_t generation = c->generation;
        if (c->is_http)
            take_http(fd);
        else
            take_rpc(fd);
        if (c->generation != generation)
            return;
        if (c->got == REQUEST_MAX && !c->is_done && !c->skip) {
            finish(fd); /* more than any request has */
            return;
        }
    }
}

static void accept_all(int listener, int is_http) {
    struct sockaddr_in a;
    socklen_t size = sizeof a;
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (fd >= fds_max)
            fatal("more than %d connections: raise the limit of open files (ulimit -n)", fds_max);
        size = sizeof a;
        getsockname(fd, (struct sockaddr *)&a, &size);
        uint32_t address = ntohl(a.sin_addr.s_addr);
        Connection *c = connections[fd];
        if (c == NULL)
            c = connections[fd] = must(calloc(1, sizeof *c));
        c->kind = (uint8_t)(address >> 16 & 0xff);
        c->miner = (uint16_t)(address & 0xffff);
        c->is_http = (uint8_t)is_http;
        c->is_done = c->is_writing = c->is_whole = 0;
        c->got = 0, c->skip = 0;
        accepted++;
        watch(fd, EPOLLIN, (uint64_t)fd, EPOLL_CTL_ADD);
    }
    if (errno == EMFILE)
        fatal("too many open files: raise the limit (ulimit -n)");
}

static void obey(void) {
    static char line[256];
    static size_t at;
    char c;
    ssize_t n;
    while ((n = read(STDIN_FILENO, &c, 1)) == 1) {
        if (c != '\n') {
            if (at < sizeof line - 1)
                line[at++] = c;
            continue;
        }
        line[at] = '\0', at = 0;
        if (strcmp(line, "report") == 0)
            report();
        else if (strcmp(line, "clear") == 0)
            memset(read_ns, 0, sizeof read_ns);
        else if (strcmp(line, "usual-ports") == 0)
            listen_as_usual();
        else if (strncmp(line, "latency ", 8) == 0)
            latency_ns = (int64_t)(strtod(line + 8, NULL) * 1e6);
        return; /* level-triggered: what is left comes again */
    }
    if (n == 0)
        exit(0);
}

static int milliseconds_to_next(void) {
    if (waiting_head == waiting_tail)
        return -1;
    int64_t left = waiting[waiting_head & waiting_mask].due_ns - now_ns();
    return left <= 0 ? 0 : (int)(left / 1000000) + 1;
}

static void send_due(void) {
    int64_t now = waiting_head == waiting_tail ? 0 : now_ns();
    while (waiting_head != waiting_tail && waiting[waiting_head & waiting_mask].due_ns <= now) {
        Waiting w = waiting[waiting_head++ & waiting_mask];
        if (connections[w.fd]->generation == w.generation)
            send_reply(w.fd);
    }
}

int main(int count, char **words) {
    struct rlimit files;
    struct epoll_event events[512];
    if (count != 3)
        fatal("usage: peer REPLIES LATENCY_MS");
    getrlimit(RLIMIT_NOFILE, &files);
    fds_max = files.rlim_cur > 65535 ? 65535 : (int)files.rlim_cur;
    connections = must(calloc((size_t)fds_max, sizeof *connections));
    for (waiting_mask = 1024; waiting_mask < (size_t)fds_max * 4; waiting_mask *= 2)
        ;
    waiting = must(calloc(waiting_mask--, sizeof *waiting));
    huge = must(malloc(HUGE_BYTES));
    memset(huge, 'x', HUGE_BYTES);
    for (size_t i = 0; i < sizeof garbage; i++)
        garbage[i] = (char)(i * 197 + 131);
    load(words[1]);
    latency_ns = (int64_t)(strtod(words[2], NULL) * 1e6);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int rpc = listen_many(RPC_LISTENER, 0), http = rpc ? listen_many(HTTP_LISTENER, 0) : 0;
    if (http == 0)
        fatal("cannot listen on the device lo (%s): this needs Linux 5.7 or newer, or the "
              "capability CAP_NET_RAW", strerror(errno));
    struct epoll_event words_come = {.events = EPOLLIN, .data.u64 = (uint64_t)3 << 32};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &words_come) != 0)
        fatal("standard input must be a pipe or a terminal: its end ends the peer");
    printf("{\"rpc_port\": %d, \"http_port\": %d}\n", rpc, http);
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, 512, milliseconds_to_next());
        for (int i = 0; i < n; i++) {
            int fd = (int)(events[i].data.u64 & 0xffffffff);
            switch (events[i].data.u64 >> 32) {
            case RPC_LISTENER:
                accept_all(fd, 0);
                break;
            case HTTP_LISTENER:
                accept_all(fd, 1);
                break;
            case 3:
                obey();
                break;
            default:
                if (events[i].events & EPOLLOUT)
                    send_reply(fd);
                else
                    readable(fd);
            }
        }
        send_due();
    }
}
