/* Heads: the scan gives the same answer however the bytes arrive; what is parsed lies inside the head, is clean, and written out
 * again parses to the same. The first byte of the input chooses: bit 0 a response, bit 1 small limits, bit 2 an answer to HEAD. */
#include <sanitizer/asan_interface.h>

#include "http/fuzz_check.h"
#include "http/message.h"
#include "http/rules.h"

static gw_request request, request_again;
static gw_response response, response_again;

static int scan_in_steps(const char *bytes, size_t len, size_t step, const gw_head_limits *limits, bool is_response,
                         gw_bad_head *bad)
{
    gw_head_scan_state state = {0};
    char *copy = exact_copy(bytes, len);
    int result = GW_AGAIN;
    for (size_t have = 0; result == GW_AGAIN && have < len;) {
        have = have + step < len ? have + step : len;
        ASAN_UNPOISON_MEMORY_REGION(copy, len);
        ASAN_POISON_MEMORY_REGION(copy + have, len - have);
        result = gw_head_scan(copy, have, limits, is_response, &state, bad);
    }
    ASAN_UNPOISON_MEMORY_REGION(copy, len);
    free(copy);
    return result;
}

static void check_headers(const gw_headers *h, const char *head, size_t len, const gw_head_limits *limits)
{
    uint64_t present = 0;
    CHECK(h->count <= limits->headers && h->count <= GW_HEADERS_LIMIT);
    for (uint32_t i = 0; i < h->count; i++) {
        const gw_header *f = &h->item[i];
        CHECK(inside(f->name, head, len) && inside(f->value, head, len) && f->value.ptr);
        CHECK(gw_header_name_valid(f->name) && gw_header_value_valid(f->value));
        CHECK(f->value.len == 0 || (f->value.ptr[0] != ' ' && f->value.ptr[0] != '\t'));
        CHECK(f->value.len == 0 || (f->value.ptr[f->value.len - 1] != ' ' && f->value.ptr[f->value.len - 1] != '\t'));
        CHECK(f->id == gw_header_id_of(f->name));
        if (f->id != GW_H_OTHER)
            present |= 1ULL << f->id;
        CHECK(!f->nominated || f->id == GW_H_OTHER || f->id == GW_H_HTTP2_SETTINGS ||
              gw_header_is_hop_by_hop(&(gw_header){.id = f->id}));
    }
    CHECK(present == h->present);
    for (int id = GW_H_HOST; id <= GW_H_TRANSFER_ENCODING; id++) {
        int times = 0;
        for (uint32_t i = 0; i < h->count; i++)
            times += h->item[i].id == id;
        CHECK(times <= 1 || id == GW_H_HOST);
    }
    CHECK(!(gw_headers_has(h, GW_H_CONTENT_LENGTH) && gw_headers_has(h, GW_H_TRANSFER_ENCODING)));
}

static void check_same(const gw_headers *a, const gw_headers *b)
{
    CHECK(a->count == b->count && a->present == b->present);
    for (uint32_t i = 0; i < a->count; i++) {
        CHECK(gw_slice_equal(a->item[i].name, b->item[i].name) && gw_slice_equal(a->item[i].value, b->item[i].value));
        CHECK(a->item[i].nominated == b->item[i].nominated);
    }
}

static char *put(char *at, gw_slice s)
{
    if (s.len)
        memcpy(at, s.ptr, s.len);
    return at + s.len;
}

static char *put_fields(char *at, const gw_headers *h)
{
    for (uint32_t i = 0; i < h->count; i++) {
        at = put(put(at, h->item[i].name), GW_SLICE(":"));
        at = put(put(at, h->item[i].value), GW_SLICE("\r\n"));
    }
    return put(at, GW_SLICE("\r\n"));
}

static void check_request(const char *head, size_t len, const gw_head_limits *limits)
{
    gw_bad_head bad = {0};
    int result = gw_request_parse(&request, head, len, limits, &bad);
    if (result != GW_OK) {
        CHECK(result == GW_INVALID && bad.reason);
        CHECK(bad.status == 400 || bad.status == 405 || bad.status == 414 || bad.status == 417 || bad.status == 431 ||
              bad.status == 501 || bad.status == 505);
        return;
    }
    const gw_request *r = &request;
    check_headers(&r->headers, head, len, limits);
    CHECK(inside(r->method_name, head, len) && inside(r->target, head, len) && inside(r->query, head, len));
    CHECK(inside(r->authority, head, len) && inside(r->host, head, len) && r->authority.ptr && r->host.ptr);
    CHECK(inside(r->raw_path, head, len) || r->asterisk);
    CHECK(r->raw_path.len > 0 && (r->asterisk ? r->raw_path.ptr[0] == '*' : r->raw_path.ptr[0] == '/'));
    CHECK(r->method == gw_method_of(r->method_name) && r->method != GW_METHOD_CONNECT && r->method != GW_METHOD_TRACE);
    CHECK(r->minor == 0 || (r->minor == 1 && r->host.len > 0));
    CHECK(r->framing != GW_FRAMING_CLOSE && !(r->framing == GW_FRAMING_CHUNKED && r->minor == 0));
    CHECK(r->framing != GW_FRAMING_NONE || !(gw_headers_has(&r->headers, GW_H_CONTENT_LENGTH)));
    CHECK(!r->upgrade || (r->minor == 1 && !gw_headers_has(&r->headers, GW_H_HTTP2_SETTINGS)));

    gw_second second;
    const char *first = head;
    while (first[0] == '\r')
        first += 2;
    CHECK(gw_read_twice(HTTP_REQUEST, &r->headers, r->target, first, head + len, &second, &bad) == GW_OK);
    CHECK(gw_slice_equal(r->method_name, gw_slice_str(second.method)));

    char *again = malloc(len + 64), *at = again;
    CHECK(again);
    at = put(put(put(at, r->method_name), GW_SLICE(" ")), r->target);
    at = put_fields(put(at, r->minor ? GW_SLICE(" HTTP/1.1\r\n") : GW_SLICE(" HTTP/1.0\r\n")), &r->headers);
    char *copy = exact_copy(again, (size_t)(at - again));
    CHECK(gw_request_parse(&request_again, copy, (size_t)(at - again), limits, &bad) == GW_OK);
    check_same(&r->headers, &request_again.headers);
    CHECK(gw_slice_equal(r->raw_path, request_again.raw_path) && gw_slice_equal(r->host, request_again.host));
    CHECK(r->framing == request_again.framing && r->content_length == request_again.content_length);
    CHECK(r->keep_alive == request_again.keep_alive && r->upgrade == request_again.upgrade);
    free(again);
    free(copy);
}

static void check_response(const char *head, size_t len, enum gw_method method, const gw_head_limits *limits)
{
    gw_bad_head bad = {0};
    int result = gw_response_parse(&response, head, len, method, limits, &bad);
    if (result != GW_OK) {
        CHECK(result == GW_INVALID && bad.reason && bad.status == 502);
        return;
    }
    const gw_response *r = &response;
    check_headers(&r->headers, head, len, limits);
    CHECK(r->status >= 100 && r->status <= 999 && r->minor <= 1 && inside(r->reason, head, len));
    CHECK(!(r->keep_alive && r->framing == GW_FRAMING_CLOSE));
    CHECK(method != GW_METHOD_HEAD || r->framing == GW_FRAMING_NONE);
    CHECK(r->framing == GW_FRAMING_LENGTH || r->content_length == 0);

    gw_second second;
    CHECK(gw_read_twice(HTTP_RESPONSE, &r->headers, GW_NO_SLICE, head, head + len, &second, &bad) == GW_OK);
    CHECK(second.status == r->status);

    char *again = malloc(len + 64), *at = again;
    CHECK(again);
    at = put(at, r->minor ? GW_SLICE("HTTP/1.1 ") : GW_SLICE("HTTP/1.0 "));
    at += sprintf(at, "%03d ", r->status);
    at = put_fields(put(put(at, r->reason), GW_SLICE("\r\n")), &r->headers);
    char *copy = exact_copy(again, (size_t)(at - again));
    CHECK(gw_response_parse(&response_again, copy, (size_t)(at - again), method, limits, &bad) == GW_OK);
    check_same(&r->headers, &response_again.headers);
    CHECK(r->framing == response_again.framing && r->content_length == response_again.content_length);
    CHECK(r->keep_alive == response_again.keep_alive && r->status == response_again.status);
    free(again);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size == 0)
        return 0;
    bool is_response = input[0] & 1;
    gw_head_limits limits = {.request_line = 8192, .header_bytes = 16384, .headers = 100};
    if (input[0] & 2)
        limits = (gw_head_limits){.request_line = 24, .header_bytes = 96, .headers = 3};
    enum gw_method method = input[0] & 4 ? GW_METHOD_HEAD : GW_METHOD_GET;
    const char *bytes = (const char *)input + 1;
    size_t len = size - 1;

    gw_bad_head whole_bad = {0}, bad;
    int whole = scan_in_steps(bytes, len, len ? len : 1, &limits, is_response, &whole_bad);
    CHECK(whole > 0 || whole == GW_AGAIN || (whole == GW_INVALID && whole_bad.reason));
    CHECK(whole <= (int)len && whole <= (int)limits.header_bytes);
    const size_t steps[] = {1, 2, 7, len / 2 ? len / 2 : 1};
    for (size_t i = 0; i < GW_COUNT(steps); i++) {
        bad = (gw_bad_head){0};
        CHECK(scan_in_steps(bytes, len, steps[i], &limits, is_response, &bad) == whole);
        CHECK(bad.status == whole_bad.status && bad.reason == whole_bad.reason);
    }

    /* What was scanned, and also what was not: nobody has to trust the caller. */
    size_t head_len = whole > 0 ? (size_t)whole : len;
    char *head = exact_copy(bytes, head_len);
    if (is_response)
        check_response(head, head_len, method, &limits);
    else
        check_request(head, head_len, &limits);
    free(head);
    return 0;
}
