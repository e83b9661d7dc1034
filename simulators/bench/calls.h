/* Just enough of HTTP/2 to know which gRPC call a fresh connection makes. */
#ifndef NARYN_BENCH_CALLS_H
#define NARYN_BENCH_CALLS_H

#include "replies.h"

enum { PREFACE = 24, FRAME_HEAD = 9, DATA_FRAME = 0, END_STREAM = 1 };

static int is_http2(const char *request, size_t got) {
    return got >= 3 && memcmp(request, "PRI", 3) == 0;
}

/* A call is whole when its last DATA frame is. */
static int is_whole_call(const char *request, size_t got) {
    const unsigned char *b = (const unsigned char *)request;
    size_t at = PREFACE;
    while (at + FRAME_HEAD <= got) {
        size_t size = (size_t)b[at] << 16 | (size_t)b[at + 1] << 8 | b[at + 2];
        if (at + FRAME_HEAD + size > got)
            return 0;
        if (b[at + 3] == DATA_FRAME && b[at + 4] & END_STREAM)
            return 1;
        at += FRAME_HEAD + size;
    }
    return 0;
}

/* Its method. A header's text goes in a code that is the same for the same text, so `F.call.METHOD`
 * among the replies holds the bytes to look for. NULL: none that this peer knows. */
static const char *method_of(int firmware, const char *request, size_t got) {
    char key[KEY_MAX];
    size_t prefix = (size_t)snprintf(key, sizeof key, "%d.call.", firmware);
    for (int i = 0; i < reply_count; i++)
        if (strncmp(replies[i].key, key, prefix) == 0 &&
            memmem(request, got, replies[i].body, replies[i].size) != NULL)
            return replies[i].key + prefix;
    return NULL;
}

#endif
