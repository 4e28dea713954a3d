#define _GNU_SOURCE /* vasprintf, memmem */
#include "script/messages.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void gw_messages_add(gw_messages *m, const char *format, ...)
{
    m->count++;
    char *line = NULL;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&line, format, args);
    va_end(args);
    if (len < 0)
        return;
    size_t need = m->len + (size_t)len + 2;
    if (need > m->cap) {
        size_t cap = need < 1024 ? 1024 : need * 2;
        char *text = realloc(m->text, cap);
        if (!text) {
            free(line);
            return;
        }
        m->text = text;
        m->cap = cap;
    }
    if (m->len)
        m->text[m->len++] = '\n';
    memcpy(m->text + m->len, line, (size_t)len + 1);
    m->len += (size_t)len;
    free(line);
}

/* ---- one by one ---- */

typedef struct message {
    gw_slice text;  /* without the line end */
    gw_slice file;  /* "dir/main.lua" */
    gw_slice place; /* "dir/main.lua:12"; of nothing when it names no line */
    uint64_t line;
    uint32_t index;
    bool first;
} message;

/* "file:12: ..." into its parts. The file's name may hold colons: the first ":digits:" counts. */
static void read_place(message *m)
{
    const char *end = m->text.ptr + m->text.len;
    for (const char *at = m->text.ptr; at < end && *at != '\n'; at++) {
        if (*at != ':')
            continue;
        const char *digit = at + 1;
        uint64_t line = 0;
        while (digit < end && *digit >= '0' && *digit <= '9' && digit - at < 12)
            line = line * 10 + (uint64_t)(*digit++ - '0');
        if (digit > at + 1 && digit < end && *digit == ':') {
            m->file = gw_slice_of(m->text.ptr, (size_t)(at - m->text.ptr));
            m->place = gw_slice_of(m->text.ptr, (size_t)(digit - m->text.ptr));
            m->line = line;
            return;
        }
        if (digit == at + 1 && digit < end && *digit == ' ') { /* "file: ..." */
            m->file = gw_slice_of(m->text.ptr, (size_t)(at - m->text.ptr));
            return;
        }
    }
}

/* malloc'ed; NULL: none, or memory is out. */
static message *split(const gw_messages *m, uint32_t *count)
{
    *count = 0;
    if (!m->text || m->len == 0)
        return NULL;
    uint32_t lines = 1;
    for (size_t i = 0; i < m->len; i++)
        lines += m->text[i] == '\n';
    message *list = calloc(lines, sizeof *list);
    if (!list)
        return NULL;
    for (const char *at = m->text, *end = m->text + m->len; at < end;) {
        const char *stop = at;
        do {
            stop = memchr(stop, '\n', (size_t)(end - stop));
            stop = stop ? stop + 1 : end + 1;
        } while (stop < end && *stop == '\t');
        message *one = &list[*count];
        *one = (message){.text = gw_slice_of(at, (size_t)(stop - 1 - at)), .index = *count};
        read_place(one);
        ++*count;
        at = stop;
    }
    return list;
}

static int compare_slices(gw_slice a, gw_slice b)
{
    int order = memcmp(a.ptr ? a.ptr : "", b.ptr ? b.ptr : "", a.len < b.len ? a.len : b.len);
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare(const void *left, const void *right)
{
    const message *a = left, *b = right;
    if (!a->file.len != !b->file.len) /* "... and 5 more" */
        return a->file.len ? -1 : 1;
    if (a->first != b->first)
        return a->first ? -1 : 1;
    int order = compare_slices(a->file, b->file);
    if (order)
        return order;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

void gw_messages_sort(gw_messages *m, const char *first)
{
    uint32_t count;
    message *list = split(m, &count);
    gw_messages sorted = {0};
    for (uint32_t i = 0; i < count; i++)
        list[i].first = gw_slice_equal(list[i].file, gw_slice_str(first));
    if (list)
        qsort(list, count, sizeof *list, compare);
    for (uint32_t i = 0; i < count; i++) {
        bool known = false;
        for (uint32_t k = i; k-- > 0 && gw_slice_equal(list[k].place, list[i].place) && !known;)
            known = gw_slice_equal(list[k].text, list[i].text);
        if (!known)
            gw_messages_add(&sorted, "%.*s", (int)list[i].text.len, list[i].text.ptr);
    }
    free(list);
    if (sorted.text && sorted.len <= m->len && (sorted.len == m->len || sorted.count < count)) {
        free(m->text);
        *m = sorted;
    } else {
        gw_messages_clear(&sorted); /* memory ran out on the way */
    }
}

static bool speaks_of(gw_slice text, gw_slice place)
{
    for (const char *at = text.ptr, *end = text.ptr + text.len; place.len && (size_t)(end - at) >= place.len; at++) {
        at = memmem(at, (size_t)(end - at), place.ptr, place.len);
        if (!at)
            return false;
        const char *behind = at + place.len;
        if (behind == end || *behind < '0' || *behind > '9')
            return true;
    }
    return false;
}

void gw_messages_add_new(gw_messages *m, const gw_messages *more)
{
    uint32_t known_count, count;
    message *known = split(m, &known_count), *list = split(more, &count);
    gw_messages fresh = {0};
    for (uint32_t i = 0; i < count; i++) {
        bool follows = !list[i].place.len;
        for (uint32_t k = 0; k < known_count && !follows; k++)
            follows = speaks_of(list[i].text, known[k].place);
        if (!follows)
            gw_messages_add(&fresh, "%.*s", (int)list[i].text.len, list[i].text.ptr);
    }
    free(known);
    free(list);
    if (fresh.text) {
        gw_messages_add(m, "%s", fresh.text);
        m->count += fresh.count - 1;
    }
    gw_messages_clear(&fresh);
}

void gw_messages_clear(gw_messages *m)
{
    free(m->text);
    memset(m, 0, sizeof *m);
}
