#include "http/chars.h"
#include "http/rules.h"

#define EMPTY_LINES_MAX 4 /* CRLF before a request, two bytes each */

/* What can be said of the first line before it is complete: judged on every byte count alike, so that the answer does not depend
 * on how the bytes arrived. `n` is how many bytes of it are there, without its line end. */
static int first_line(const char *line, size_t n, const gw_head_limits *limits, bool response, gw_bad_head *bad)
{
    if (gw_unlikely(!gw_char_is(line[0], GW_CHAR_TOKEN)))
        return gw_refuse(bad, 400, response ? "not an HTTP response" : "not an HTTP request");
    /* A CR at its end may yet begin the line end. */
    if (gw_unlikely(!response && n > limits->request_line && (n - 1 > limits->request_line || line[n - 1] != '\r')))
        return gw_refuse(bad, 414, "request line too long");
    return GW_OK;
}

static int too_long(bool response, gw_bad_head *bad)
{
    return gw_refuse(bad, response ? 502 : 431, "head too long");
}

int gw_head_scan(const char *bytes, size_t len, const gw_head_limits *limits, bool response, gw_head_scan_state *state,
                 gw_bad_head *bad)
{
    /* Past the limit nothing is looked at; nor does a length leave the range of the result. */
    size_t most = limits->header_bytes < INT32_MAX ? limits->header_bytes : INT32_MAX;
    size_t cap = len < most ? len : most;
    size_t at = state->at, line = state->line;
    uint32_t lines = state->lines, fields = limits->headers < GW_HEADERS_LIMIT ? limits->headers : GW_HEADERS_LIMIT;
    int status = GW_AGAIN;

    while (at < cap) {
        const char *lf = gw_find(bytes + at, bytes + cap, '\n');
        size_t stop = lf ? (size_t)(lf - bytes) : cap; /* the line, as far as it is there, is [line, stop) */
        if (lines == 0 && stop > line && bytes[line] != '\r' &&
            gw_unlikely(first_line(bytes + line, stop - line, limits, response, bad) != GW_OK)) {
            status = GW_INVALID;
            break;
        }
        if (gw_unlikely(stop - line >= 2 && bytes[line] == '\r')) {
            status = gw_refuse(bad, 400, "CR without LF in the head");
            break;
        }
        at = stop;
        if (!lf)
            break;
        if (gw_unlikely(stop == line || bytes[stop - 1] != '\r')) {
            status = gw_refuse(bad, 400, "bare LF in the head");
            break;
        }
        bool empty = stop - line == 1;
        at = line = stop + 1;
        if (!empty) {
            if (gw_unlikely(lines++ > fields)) {
                status = gw_refuse(bad, 431, "too many header fields");
                break;
            }
        } else if (gw_likely(lines > 0)) {
            status = (int)at;
            break;
        } else if (response || at > 2 * EMPTY_LINES_MAX) {
            status = gw_refuse(bad, 400, response ? "empty line before a response" : "too many empty lines before a request");
            break;
        }
    }
    state->at = (uint32_t)at;
    state->line = (uint32_t)line;
    state->lines = lines;
    if (status == GW_AGAIN && len > most)
        status = too_long(response, bad);
    if (status == GW_INVALID && response)
        bad->status = 502;
    return status;
}
