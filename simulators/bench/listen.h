/* One wildcard port serves all addresses, bound to the device lo so that nobody outside hears it:
 * since Linux 5.7 that needs no privilege while a socket is not bound to another device. */
#ifndef NARYN_BENCH_LISTEN_H
#define NARYN_BENCH_LISTEN_H

#include "common.h"

/* Returns -1 with errno when the port cannot be had. */
static int listen_all(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2) == 0 &&
        bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 65535) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

#endif
