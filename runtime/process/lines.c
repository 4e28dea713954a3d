#define _GNU_SOURCE /* vasprintf, strchrnul */
#include "process/lines.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define RENDER_MOST (64u << 20)

static void append(gw_lines *l, const char *bytes, size_t len)
{
    char *text = realloc(l->text, l->len + len + 1);
    if (!text)
        return;
    memcpy(text + l->len, bytes, len);
    l->text = text;
    l->len += len;
    text[l->len] = '\0';
}

void gw_lines_add(gw_lines *l, const char *format, ...)
{
    char *line;
    va_list arguments;
    va_start(arguments, format);
    int len = vasprintf(&line, format, arguments);
    va_end(arguments);
    if (len < 0)
        return;
    append(l, line, (size_t)len);
    free(line);
}

void gw_lines_take(gw_lines *l, char *text)
{
    if (!text)
        return;
    size_t len = strlen(text);
    append(l, text, len);
    if (len && text[len - 1] != '\n')
        append(l, "\n", 1);
    free(text);
}

void gw_lines_clear(gw_lines *l)
{
    free(l->text);
    *l = (gw_lines){0};
}

static gw_slice next_line(const char **at)
{
    const char *end = strchrnul(*at, '\n');
    gw_slice line = {*at, (size_t)(end - *at)};
    *at = *end ? end + 1 : end;
    return line;
}

void gw_lines_json(gw_text *out, const char *text, bool abridge)
{
    const size_t reserve = abridge ? 48 : 0; /* for the last member */
    bool first = true;
    if (out->cut || (size_t)(out->end - out->at) < reserve)
        return;
    for (const char *at = text ? text : ""; *at;) {
        const char *before = at;
        gw_slice line = next_line(&at);
        if (line.len == 0)
            continue;
        gw_text mark = *out;
        out->end -= reserve;
        if (!first)
            gw_text_lit(out, ",");
        gw_text_json(out, line);
        out->end += reserve;
        if (out->cut && abridge) {
            *out = mark;
            uint64_t more = 0;
            for (at = before; *at;)
                more += next_line(&at).len > 0;
            gw_text_printf(out, "%s\"... and %llu more\"", first ? "" : ",", (unsigned long long)more);
        }
        if (out->cut)
            return;
        first = false;
    }
}

char *gw_render(void (*render)(gw_text *t, void *data), void *data, size_t *len)
{
    for (size_t room = 8192; room <= RENDER_MOST; room *= 2) {
        char *bytes = malloc(room);
        if (!bytes)
            return NULL;
        gw_text text = gw_text_on(bytes, room);
        render(&text, data);
        if (!text.cut) {
            *len = gw_text_done(&text).len;
            return bytes;
        }
        free(bytes);
    }
    return NULL;
}
