/* `gateway routes`: the routes in the order in which they are tried, as a table. */
#include "base/text.h"
#include "script/script.h"
#include <stdio.h>

enum { METHODS, HOST, PATH, HEADERS, CHAIN, TO, SOURCE, COLUMNS };
static const char *const titles[COLUMNS] = {"METHODS", "HOST", "PATH", "HEADERS", "USE", "TO", "SOURCE"};

#define CELL_BYTES 512

static void methods_cell(gw_text *t, const gw_match *m)
{
    if (m->methods) {
        char names[256];
        gw_text_add(t, names, gw_allow_text(m->methods, names));
    }
    for (uint32_t i = 0; i < m->other_method_count; i++) {
        if (t->at > t->begin)
            gw_text_lit(t, ", ");
        gw_text_slice(t, m->other_methods[i]);
    }
}

static void headers_cell(gw_text *t, const gw_match *m)
{
    for (uint32_t i = 0; i < m->header_count; i++) {
        if (i)
            gw_text_lit(t, ", ");
        gw_text_slice(t, m->headers[i].name);
        gw_text_lit(t, ": ");
        gw_text_slice(t, m->headers[i].value.ptr ? m->headers[i].value : GW_SLICE("*"));
    }
}

static gw_slice cell(const gw_match *m, int column, char bytes[CELL_BYTES])
{
    const gw_route *route = m->route;
    gw_text t = gw_text_on(bytes, CELL_BYTES);
    gw_slice s = GW_NO_SLICE;
    switch (column) {
    case METHODS:
        methods_cell(&t, m);
        break;
    case HOST:
        s = m->host;
        break;
    case PATH:
        s = m->pattern;
        break;
    case HEADERS:
        headers_cell(&t, m);
        break;
    case CHAIN:
        s = route->chain_text;
        break;
    case TO:
        s = route->target_text;
        break;
    default:
        s = m->source;
        break;
    }
    if (!s.ptr)
        s = gw_text_done(&t);
    return s.len ? s : GW_SLICE("-");
}

void gw_script_print_routes(const gw_generation *g, void *file)
{
    char bytes[CELL_BYTES];
    size_t width[COLUMNS];
    for (int k = 0; k < COLUMNS; k++)
        width[k] = strlen(titles[k]);
    const gw_match *m;
    for (uint32_t i = 0; (m = gw_router_at(g->router, i)) != NULL; i++)
        for (int k = 0; k < COLUMNS; k++) {
            size_t len = cell(m, k, bytes).len;
            if (len > width[k])
                width[k] = len;
        }
    for (int k = 0; k + 1 < COLUMNS; k++)
        fprintf(file, "%-*s  ", (int)width[k], titles[k]);
    fprintf(file, "%s\n", titles[COLUMNS - 1]);
    for (uint32_t i = 0; (m = gw_router_at(g->router, i)) != NULL; i++)
        for (int k = 0; k < COLUMNS; k++) {
            gw_slice s = cell(m, k, bytes);
            fprintf(file, "%.*s", (int)s.len, s.ptr);
            if (k + 1 < COLUMNS)
                fprintf(file, "%*s", (int)(width[k] - s.len) + 2, "");
            else
                fputc('\n', file);
        }
}
