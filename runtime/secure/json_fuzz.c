/* Reading JSON ends, in one way or another; tokens lie inside of the text, in order; what is opened is closed; strings without their
 * escapes fit and are UTF-8. The first byte of the input is the depth. */
#include "base/text.h"
#include "secure/json.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(x)                                                                                                                 \
    do {                                                                                                                         \
        if (!(x)) {                                                                                                              \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                                              \
            abort();                                                                                                             \
        }                                                                                                                        \
    } while (0)

static void check_string(const gw_json *j, int before)
{
    CHECK(j->first > before && j->bytes >= 0 && j->first + j->bytes < j->at);
    char *room = malloc(j->bytes ? (size_t)j->bytes : 1);
    CHECK(room);
    int len = gw_json_unescape(j, room);
    CHECK(len >= 0 && len <= j->bytes && (j->escaped || len == j->bytes));
    for (int at = 0; at < len;) {
        int n = gw_utf8_sequence(room + at, (size_t)(len - at));
        CHECK(n > 0);
        at += n;
    }
    free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    int most = data[0], open = 0, before = -1;
    size_t len = size - 1, tokens = 0;
    char *text = malloc(len ? len : 1);
    CHECK(text);
    memcpy(text, data + 1, len);
    gw_json j;
    CHECK(gw_json_begin(&j, text, len, most) == GW_OK);
    for (;;) {
        int kind = gw_json_next(&j);
        CHECK(j.at >= 0 && (size_t)j.at <= len);
        if (kind < 0) {
            CHECK(kind == GW_INVALID && j.why);
            break;
        }
        CHECK(++tokens <= len + 1);
        if (kind == GW_JSON_END) {
            CHECK(open == 0 && (size_t)j.at == len && tokens > 1);
            break;
        }
        CHECK(j.at > before);
        if (kind == GW_JSON_OBJECT || kind == GW_JSON_ARRAY)
            CHECK(++open <= most);
        if (kind == GW_JSON_OBJECT_END || kind == GW_JSON_ARRAY_END)
            CHECK(--open >= 0);
        if (kind == GW_JSON_KEY || kind == GW_JSON_STRING)
            check_string(&j, before);
        if (kind == GW_JSON_NUMBER)
            CHECK(isfinite(j.number));
        CHECK(open == j.depth);
        before = j.at - 1;
    }
    free(text);
    return 0;
}
