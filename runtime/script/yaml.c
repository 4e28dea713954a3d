/* libyaml runs twice, and never while Lua runs: once to check and to measure, once to write a flat list of nodes into a userdata of
 * that size. Then libyaml is gone and the tables are made from the list. So whichever way Lua leaves (an error, memory that is
 * out, a state that is abandoned in the middle), nothing is lost with it. */
#include "script/yaml.h"

#include <lauxlib.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#define CORE_TAG "tag:yaml.org,2002:"
#define EXACT_MOST (1ULL << 53) /* 2^53: beyond it a double skips whole numbers */

enum node_kind { NODE_NULL, NODE_FALSE, NODE_TRUE, NODE_NUMBER, NODE_FLOAT, NODE_STRING, NODE_LIST, NODE_MAP, NODE_END };

/* A list and a map are followed by their items (a map: key, value, key, value) and NODE_END. */
typedef struct node {
    uint32_t kind;
    uint32_t line, column; /* from 1 */
    uint32_t len;          /* bytes of a string or float; of a list or map: how many items */
    union {
        double number;
        size_t text; /* offset into the bytes behind the nodes */
    };
} node;

typedef struct level {
    bool map, value; /* value: a map's key was read */
    size_t node;
} level;

typedef struct reader {
    yaml_parser_t parser;
    const char *name;
    gw_slice input;
    node *nodes; /* NULL while measuring */
    char *bytes;
    size_t count, used;
    uint32_t depth;
    level levels[GW_YAML_DEPTH];
    char message[1024];
} reader;

__attribute__((format(printf, 3, 4))) static int refuse(reader *r, yaml_mark_t at, const char *format, ...)
{
    int used = snprintf(r->message, sizeof r->message, "%.400s:%zu:%zu: ", r->name, at.line + 1, at.column + 1);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(r->message + used, sizeof r->message - (size_t)used, format, arguments);
    va_end(arguments);
    return GW_INVALID;
}

/* libyaml's reader knows only an offset. */
static yaml_mark_t mark_at(gw_slice input, size_t offset)
{
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < offset && i < input.len; i++) {
        if (input.ptr[i] == '\n')
            mark.line++, mark.column = 0;
        else
            mark.column++;
    }
    return mark;
}

static int refuse_syntax(reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem ? p->problem : "cannot be read";
    if (p->error == YAML_MEMORY_ERROR)
        return GW_NOMEM;
    if (p->error == YAML_READER_ERROR)
        return refuse(r, mark_at(r->input, p->problem_offset), "%s; expected text in UTF-8", problem);
    /* The mark's index counts characters, its line and column are exact: find the byte by them. */
    const char *at = r->input.ptr, *end = r->input.ptr + r->input.len;
    for (size_t line = p->problem_mark.line; line && at; line--) {
        at = memchr(at, '\n', (size_t)(end - at));
        at = at ? at + 1 : NULL;
    }
    if (at && (size_t)(end - at) > p->problem_mark.column && at[p->problem_mark.column] == '\t')
        return refuse(r, p->problem_mark, "found a tab, expected spaces: YAML is indented with spaces only");
    if (p->context)
        return refuse(r, p->problem_mark, "%s (%s that begins at line %zu)", problem, p->context, p->context_mark.line + 1);
    return refuse(r, p->problem_mark, "%s", problem);
}

static node *emit(reader *r, enum node_kind kind, yaml_mark_t at)
{
    static _Thread_local node dummy; /* while measuring */
    node *n = r->nodes ? &r->nodes[r->count] : &dummy;
    r->count++;
    *n = (node){.kind = kind, .line = (uint32_t)at.line + 1, .column = (uint32_t)at.column + 1};
    return n;
}

static void emit_text(reader *r, enum node_kind kind, yaml_mark_t at, gw_slice text)
{
    node *n = emit(r, kind, at);
    n->len = (uint32_t)text.len;
    n->text = r->used;
    if (r->nodes && text.len)
        memcpy(r->bytes + r->used, text.ptr, text.len);
    r->used += text.len;
}

static bool is_one_of(gw_slice s, const char *const *words)
{
    for (; *words; words++)
        if (gw_slice_equal(s, gw_slice_str(*words)))
            return true;
    return false;
}

static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
static const char *const trues[] = {"true", "True", "TRUE", NULL};
static const char *const falses[] = {"false", "False", "FALSE", NULL};
static const char *const infinities[] = {".inf", ".Inf", ".INF", NULL};
static const char *const not_numbers[] = {".nan", ".NaN", ".NAN", NULL};

static size_t digits(gw_slice s, size_t at, const char *allowed)
{
    size_t n = 0;
    while (at + n < s.len && s.ptr[at + n] && strchr(allowed, s.ptr[at + n]))
        n++;
    return n;
}

/* [-+]? [0-9]+ | 0o [0-7]+ | 0x [0-9a-fA-F]+ : its base, or 0. */
static int integer_base(gw_slice s)
{
    if (s.len > 2 && s.ptr[0] == '0' && s.ptr[1] == 'o')
        return digits(s, 2, "01234567") == s.len - 2 ? 8 : 0;
    if (s.len > 2 && s.ptr[0] == '0' && s.ptr[1] == 'x')
        return digits(s, 2, "0123456789abcdefABCDEF") == s.len - 2 ? 16 : 0;
    size_t sign = s.len && (s.ptr[0] == '-' || s.ptr[0] == '+');
    return s.len > sign && digits(s, sign, "0123456789") == s.len - sign ? 10 : 0;
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool is_float(gw_slice s)
{
    size_t at = s.len && (s.ptr[0] == '-' || s.ptr[0] == '+');
    size_t whole = digits(s, at, "0123456789"), fraction = 0;
    at += whole;
    if (at < s.len && s.ptr[at] == '.') {
        fraction = digits(s, at + 1, "0123456789");
        at += 1 + fraction;
    }
    if (whole + fraction == 0)
        return false;
    if (at < s.len && (s.ptr[at] == 'e' || s.ptr[at] == 'E')) {
        at++;
        at += at < s.len && (s.ptr[at] == '-' || s.ptr[at] == '+');
        size_t exponent = digits(s, at, "0123456789");
        if (exponent == 0)
            return false;
        at += exponent;
    }
    return at == s.len;
}

static int emit_integer(reader *r, yaml_mark_t at, gw_slice s, int base)
{
    uint64_t value = 0;
    bool negative = s.ptr[0] == '-';
    for (size_t i = base == 10 ? negative || s.ptr[0] == '+' : 2; i < s.len && value <= EXACT_MOST; i++) {
        int c = s.ptr[i] | 0x20;
        value = value * (uint64_t)base + (uint64_t)(c >= 'a' ? c - 'a' + 10 : s.ptr[i] - '0');
    }
    if (value > EXACT_MOST)
        return refuse(r, at, "found the number %.*s, expected one up to 2^53 (put text in quotes)",
                      (int)(s.len > 60 ? 60 : s.len), s.ptr);
    emit(r, NODE_NUMBER, at)->number = negative ? -(double)value : (double)value;
    return GW_OK;
}

/* The kind that a plain scalar has by the core schema. */
static int emit_plain(reader *r, yaml_mark_t at, gw_slice s)
{
    int base = integer_base(s);
    size_t sign = s.len && (s.ptr[0] == '-' || s.ptr[0] == '+');
    if (is_one_of(s, nulls))
        emit(r, NODE_NULL, at);
    else if (is_one_of(s, trues))
        emit(r, NODE_TRUE, at);
    else if (is_one_of(s, falses))
        emit(r, NODE_FALSE, at);
    else if (base)
        return emit_integer(r, at, s, base);
    else if (is_float(s))
        emit_text(r, NODE_FLOAT, at, s); /* Lua reads it: strtod depends on the locale */
    else if (is_one_of(gw_slice_of(s.ptr + sign, s.len - sign), infinities))
        emit(r, NODE_NUMBER, at)->number = s.ptr[0] == '-' ? -HUGE_VAL : HUGE_VAL;
    else if (is_one_of(s, not_numbers))
        emit(r, NODE_NUMBER, at)->number = (double)NAN;
    else
        emit_text(r, NODE_STRING, at, s);
    return GW_OK;
}

/* What a tag of the core schema calls its scalar; NULL for another tag. */
static const char *core_type(const char *tag)
{
    static const char *const types[] = {"str", "int", "float", "bool", "null", "map", "seq"};
    for (size_t i = 0; i < GW_COUNT(types); i++)
        if (strncmp(tag, CORE_TAG, sizeof CORE_TAG - 1) == 0 && strcmp(tag + sizeof CORE_TAG - 1, types[i]) == 0)
            return types[i];
    return NULL;
}

static int refuse_tag(reader *r, yaml_mark_t at, const char *tag)
{
    return refuse(r, at, "found the tag \"%.80s\", expected none, or one of !!str !!int !!float !!bool !!null !!map !!seq", tag);
}

static int emit_tagged(reader *r, yaml_mark_t at, const char *tag, gw_slice s)
{
    const char *type = core_type(tag);
    if (strcmp(tag, "!") == 0 || (type && strcmp(type, "str") == 0)) {
        emit_text(r, NODE_STRING, at, s);
        return GW_OK;
    }
    if (type == NULL)
        return refuse_tag(r, at, tag);
    bool fits =
        strcmp(type, "int") == 0    ? integer_base(s) != 0
        : strcmp(type, "bool") == 0 ? is_one_of(s, trues) || is_one_of(s, falses)
        : strcmp(type, "null") == 0 ? is_one_of(s, nulls)
        : strcmp(type, "float") == 0
            ? is_float(s) || is_one_of(s, not_numbers) ||
                  is_one_of(s.len && (s.ptr[0] == '-' || s.ptr[0] == '+') ? gw_slice_of(s.ptr + 1, s.len - 1) : s, infinities)
            : false;
    if (!fits)
        return refuse(r, at, "found \"%.*s\", expected what the tag !!%s says", (int)(s.len > 60 ? 60 : s.len), s.ptr, type);
    if (strcmp(type, "float") == 0 && is_float(s)) {
        emit_text(r, NODE_FLOAT, at, s);
        return GW_OK;
    }
    return emit_plain(r, at, s);
}

static int read_key(reader *r, const yaml_event_t *e)
{
    gw_slice s = {(const char *)e->data.scalar.value, e->data.scalar.length};
    if (e->data.scalar.tag && strcmp((const char *)e->data.scalar.tag, CORE_TAG "str") != 0)
        return refuse(r, e->start_mark, "found a tag on a key, expected the key alone");
    if (e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && s.len == 2 && s.ptr[0] == '<' && s.ptr[1] == '<')
        return refuse(r, e->start_mark,
                      "found a merge key (\"<<\"), which YAML 1.2 does not have; expected the keys written out");
    if (e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && s.len == 0)
        return refuse(r, e->start_mark, "found no key before the ':', expected a name");
    emit_text(r, NODE_STRING, e->start_mark, s);
    return GW_OK;
}

static int read_scalar(reader *r, const yaml_event_t *e)
{
    gw_slice s = {(const char *)e->data.scalar.value, e->data.scalar.length};
    bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    size_t before = r->count;
    int status = GW_OK;
    if (e->data.scalar.tag)
        status = emit_tagged(r, e->start_mark, (const char *)e->data.scalar.tag, s);
    else if (plain)
        status = emit_plain(r, e->start_mark, s);
    else
        emit_text(r, NODE_STRING, e->start_mark, s);
    bool in_list = r->depth && !r->levels[r->depth - 1].map;
    if (status == GW_OK && in_list && r->nodes && r->nodes[before].kind == NODE_NULL)
        return refuse(r, e->start_mark, "found an empty item (null) in a list, expected a value");
    return status;
}

static int open_level(reader *r, const yaml_event_t *e)
{
    bool map = e->type == YAML_MAPPING_START_EVENT;
    const char *tag = (const char *)(map ? e->data.mapping_start.tag : e->data.sequence_start.tag);
    const char *type = tag ? core_type(tag) : NULL;
    if (tag && strcmp(tag, "!") != 0 && type == NULL)
        return refuse_tag(r, e->start_mark, tag);
    if (type && strcmp(type, map ? "map" : "seq") != 0)
        return refuse(r, e->start_mark, "found a %s, expected what the tag !!%s says", map ? "map" : "list", type);
    if (r->depth == GW_YAML_DEPTH)
        return refuse(r, e->start_mark, "found maps and lists nested more than %d deep, expected fewer levels", GW_YAML_DEPTH);
    r->levels[r->depth++] = (level){.map = map, .node = r->count};
    emit(r, map ? NODE_MAP : NODE_LIST, e->start_mark);
    return GW_OK;
}

static int read_node(reader *r, const yaml_event_t *e)
{
    level *in = r->depth ? &r->levels[r->depth - 1] : NULL;
    bool scalar = e->type == YAML_SCALAR_EVENT, key = in && in->map && !in->value;
    const yaml_char_t *anchor = scalar                                ? e->data.scalar.anchor
                                : e->type == YAML_MAPPING_START_EVENT ? e->data.mapping_start.anchor
                                                                      : e->data.sequence_start.anchor;
    if (anchor)
        return refuse(r, e->start_mark,
                      "found the anchor \"&%.60s\", expected none: aliases are not supported, values are written out",
                      (const char *)anchor);
    if (key && !scalar)
        return refuse(r, e->start_mark, "found a %s as a key, expected a name",
                      e->type == YAML_MAPPING_START_EVENT ? "map" : "list");
    if (in) {
        if (in->map)
            in->value = key;
        if (!key && r->nodes)
            r->nodes[in->node].len++;
    }
    return key ? read_key(r, e) : scalar ? read_scalar(r, e) : open_level(r, e);
}

static int read_event(reader *r, const yaml_event_t *e, uint32_t *documents)
{
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++*documents > 1)
            return refuse(r, e->start_mark, "found a second document, expected one in a file");
        return GW_OK;
    case YAML_ALIAS_EVENT:
        return refuse(r, e->start_mark,
                      "found the alias \"*%.60s\", expected the value written out (text that begins with '*' needs quotes)",
                      (const char *)e->data.alias.anchor);
    case YAML_SCALAR_EVENT:
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return read_node(r, e);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        r->depth--;
        emit(r, NODE_END, e->end_mark);
        return GW_OK;
    default:
        return GW_OK;
    }
}

/* One run of libyaml over the input. 0, GW_NOMEM, or GW_INVALID with the message. No Lua in here. */
static int run(reader *r)
{
    r->count = r->used = 0;
    r->depth = 0;
    if (!yaml_parser_initialize(&r->parser))
        return GW_NOMEM;
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)r->input.ptr, r->input.len);
    uint32_t documents = 0;
    int status = GW_OK;
    for (bool done = false; !done && status == GW_OK;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&r->parser, &event)) {
            status = refuse_syntax(r);
            break;
        }
        done = event.type == YAML_STREAM_END_EVENT;
        status = read_event(r, &event, &documents);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&r->parser);
    return status;
}

/* From the list of nodes to tables. */

typedef struct builder {
    const char *name;
    const node *nodes;
    const char *bytes;
    size_t at;
    int lines;       /* stack index of the table of lines */
    const node *bad; /* what was refused: then `message` stands on the stack */
} builder;

static bool push_value(lua_State *L, builder *b);

static bool complain(lua_State *L, builder *b, const node *n, const char *message)
{
    b->bad = n;
    lua_pushfstring(L, "%s:%d:%d: %s", b->name, (int)n->line, (int)n->column, message);
    return false;
}

/* Stack: the map, its lines. */
static bool push_pairs(lua_State *L, builder *b)
{
    while (b->nodes[b->at].kind != NODE_END) {
        const node *key = &b->nodes[b->at++];
        lua_pushlstring(L, b->bytes + key->text, key->len);
        lua_pushvalue(L, -1);
        lua_rawget(L, -3);
        if (!lua_isnil(L, -1)) {
            lua_pushfstring(L, "found the key \"%s\" again, expected it once (first at line %d)", lua_tostring(L, -2),
                            (int)lua_tointeger(L, -1));
            return complain(L, b, key, lua_tostring(L, -1));
        }
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_pushinteger(L, key->line);
        lua_rawset(L, -4);
        if (!push_value(L, b))
            return false;
        lua_rawset(L, -4);
    }
    return true;
}

static bool push_items(lua_State *L, builder *b)
{
    for (int i = 1; b->nodes[b->at].kind != NODE_END; i++) {
        lua_pushinteger(L, b->nodes[b->at].line);
        lua_rawseti(L, -2, i);
        if (!push_value(L, b))
            return false;
        lua_rawseti(L, -3, i);
    }
    return true;
}

/* Pushes the value at b->at; false: refused. Depth is bounded by GW_YAML_DEPTH. */
static bool push_value(lua_State *L, builder *b)
{
    const node *n = &b->nodes[b->at++];
    luaL_checkstack(L, 12, "for YAML");
    switch ((enum node_kind)n->kind) {
    case NODE_FALSE:
    case NODE_TRUE:
        lua_pushboolean(L, n->kind == NODE_TRUE);
        return true;
    case NODE_NUMBER:
        lua_pushnumber(L, n->number);
        return true;
    case NODE_FLOAT: {
        lua_pushlstring(L, b->bytes + n->text, n->len);
        double value = lua_tonumber(L, -1);
        lua_pop(L, 1);
        if (isinf(value))
            return complain(L, b, n, "found a number that is too large, expected one below 1.8e308");
        lua_pushnumber(L, value);
        return true;
    }
    case NODE_STRING:
        lua_pushlstring(L, b->bytes + n->text, n->len);
        return true;
    case NODE_LIST:
    case NODE_MAP: {
        bool map = n->kind == NODE_MAP;
        int items = n->len > 1 << 20 ? 1 << 20 : (int)n->len;
        lua_createtable(L, map ? 0 : items, map ? items : 0);
        lua_createtable(L, map ? 1 : items + 1, map ? items : 0);
        lua_pushinteger(L, n->line);
        lua_rawseti(L, -2, 0);
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, b->lines);
        if (!(map ? push_pairs(L, b) : push_items(L, b)))
            return false;
        b->at++; /* NODE_END */
        lua_pop(L, 1);
        return true;
    }
    case NODE_NULL:
    case NODE_END:
        break;
    }
    lua_pushnil(L);
    return true;
}

static int give_up(lua_State *L, const reader *r, int status)
{
    if (status == GW_NOMEM)
        return luaL_error(L, "not enough memory");
    lua_pushnil(L);
    lua_pushstring(L, r->message);
    return 2;
}

int gw_yaml_load(lua_State *L)
{
    reader r = {.name = luaL_checkstring(L, 2)};
    r.input.ptr = luaL_checklstring(L, 1, &r.input.len);
    lua_settop(L, 2);
    int status;
    if (r.input.len > GW_YAML_BYTES)
        status = refuse(&r, (yaml_mark_t){0}, "found %zu bytes, expected at most %d", r.input.len, GW_YAML_BYTES);
    else
        status = run(&r);
    if (status != GW_OK)
        return give_up(L, &r, status);
    if (r.count == 0)
        return 0;
    size_t measured = r.count;
    r.nodes = lua_newuserdata(L, r.count * sizeof(node) + r.used);
    r.bytes = (char *)(r.nodes + r.count);
    status = run(&r);
    if (status != GW_OK)
        return give_up(L, &r, status);
    if (r.count != measured)
        return luaL_error(L, "libyaml read one text in two ways");
    lua_newtable(L);
    builder b = {.name = r.name, .nodes = r.nodes, .bytes = r.bytes, .lines = lua_gettop(L)};
    if (!push_value(L, &b)) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    if (lua_isnil(L, -1))
        return 0;
    lua_pushvalue(L, b.lines);
    return 2;
}
