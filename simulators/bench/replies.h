/* The peer's replies: loaded once, and joined ones put together from several. */
#ifndef NARYN_BENCH_REPLIES_H
#define NARYN_BENCH_REPLIES_H

#include "common.h"

enum { KEY_MAX = 96, REPLIES_MAX = 256, JOINED_MAX = 32, JOINED_BYTES_MAX = 262144 };

typedef struct {
    char key[KEY_MAX];
    char *body;
    size_t size;
} Reply;

static Reply replies[REPLIES_MAX];
static int reply_count;

static Reply *find(const char *key) {
    for (int i = 0; i < reply_count; i++)
        if (strcmp(replies[i].key, key) == 0)
            return &replies[i];
    return NULL;
}

/* One file holds all: `KEY SIZE`, a line feed, and that many bytes; again and again. */
static void load(const char *path) {
    FILE *f = fopen(path, "rb");
    Reply r;
    if (f == NULL)
        fatal("%s: %s", path, strerror(errno));
    while (fscanf(f, "%95s %zu", r.key, &r.size) == 2 && fgetc(f) == '\n') {
        r.body = must(malloc(r.size + 1));
        if (reply_count == REPLIES_MAX || fread(r.body, 1, r.size, f) != r.size)
            fatal("%s: reply %s is cut off, or is one of more than %d", path, r.key, REPLIES_MAX);
        replies[reply_count++] = r;
    }
    fclose(f);
}

/* The answer to several commands at once, NUL byte included; the caller frees it. Commands without
 * a reply are left out, as they are by miners that do not know them. */
static char *join_replies(int firmware, char *names, size_t *size) {
    char *body = must(malloc(JOINED_BYTES_MAX + 4096)), *save = NULL;
    size_t at = 0;
    int count = 0;
    body[at++] = '{';
    for (char *n = strtok_r(names, "+", &save); n && count < JOINED_MAX;
         n = strtok_r(NULL, "+", &save), count++) {
        char key[KEY_MAX];
        snprintf(key, sizeof key, "%d.rpc.%.64s", firmware, n);
        Reply *r = find(key);
        if (r == NULL || at + r->size > JOINED_BYTES_MAX)
            continue;
        size_t bare = r->size && r->body[r->size - 1] == '\0' ? r->size - 1 : r->size;
        at += (size_t)sprintf(body + at, "%s\"%.64s\":[", at > 1 ? "," : "", n);
        memcpy(body + at, r->body, bare);
        at += bare;
        body[at++] = ']';
    }
    *size = at + (size_t)sprintf(body + at, "%s\"id\":1}", at > 1 ? "," : "") + 1;
    return body;
}

#endif
