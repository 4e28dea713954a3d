#define _GNU_SOURCE /* vasprintf */
#include "script/messages.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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

void gw_messages_clear(gw_messages *m)
{
    free(m->text);
    memset(m, 0, sizeof *m);
}
