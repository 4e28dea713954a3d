/* Chunked framing: data, trailers, end and refusal are the same however the bytes arrive; what the encoder writes comes back. The
 * first byte of the input chooses the size of the steps. */
#include "http/chunked.h"
#include "http/fuzz_check.h"

typedef struct outcome {
    int64_t status; /* 0, or why it was refused */
    size_t consumed, data_len, trailers_len;
    bool done;
    const char *reason;
    char *data, *trailers;
} outcome;

static outcome decode(const char *bytes, size_t len, size_t step, bool gather)
{
    outcome o = {.data = malloc(len ? len : 1)};
    gw_arena arena;
    gw_chunked c;
    CHECK(o.data);
    gw_arena_init(&arena, 4096, 0);
    gw_chunked_init(&c, gather ? &arena : NULL);
    while (o.consumed < len && !c.done && o.status == 0) {
        size_t n = len - o.consumed < step ? len - o.consumed : step, data = 0;
        char *piece = exact_copy(bytes + o.consumed, n);
        int64_t taken = gw_chunked_decode(&c, piece, n, &data, &o.reason);
        CHECK(data <= n);
        memcpy(o.data + o.data_len, piece, data);
        o.data_len += data;
        if (taken < 0) {
            CHECK(o.reason);
            o.status = taken;
        } else {
            CHECK((size_t)taken == n || (c.done && (size_t)taken < n));
            o.consumed += (size_t)taken;
        }
        free(piece);
    }
    o.done = c.done;
    o.trailers_len = c.trailers_len;
    CHECK(gather || (c.trailers == NULL && c.trailers_len == 0));
    o.trailers = exact_copy(c.trailers, c.trailers_len);
    gw_arena_clear(&arena);
    return o;
}

static void forget(outcome o)
{
    free(o.data);
    free(o.trailers);
}

static void check_same(outcome a, outcome b, bool trailers)
{
    CHECK(a.status == b.status && a.done == b.done && a.data_len == b.data_len && a.reason == b.reason);
    CHECK(a.status != 0 || a.consumed == b.consumed);
    CHECK(memcmp(a.data, b.data, a.data_len) == 0);
    CHECK(!trailers || (a.trailers_len == b.trailers_len && memcmp(a.trailers, b.trailers, a.trailers_len) == 0));
}

/* Trailers that were kept are good trailers: read again behind a last chunk, they are all kept. */
static void check_trailers(outcome o)
{
    char *body = malloc(3 + o.trailers_len + 2);
    CHECK(body);
    memcpy(body, "0\r\n", 3);
    memcpy(body + 3, o.trailers, o.trailers_len);
    memcpy(body + 3 + o.trailers_len, "\r\n", 2);
    if (o.trailers_len + 2 <= GW_TRAILER_BYTES_MAX) {
        outcome again = decode(body, 3 + o.trailers_len + 2, SIZE_MAX, true);
        CHECK(again.status == 0 && again.done && again.trailers_len == o.trailers_len);
        CHECK(memcmp(again.trailers, o.trailers, o.trailers_len) == 0);
        forget(again);
    }
    free(body);
}

static void check_round_trip(const char *bytes, size_t len, size_t step)
{
    char *body = malloc(len + 18 + 2 + 5), *at = body;
    CHECK(body);
    if (len) {
        at += gw_chunked_size_line(len, at);
        memcpy(at, bytes, len);
        memcpy(at + len, "\r\n", 2);
        at += len + 2;
    }
    memcpy(at, "0\r\n\r\n", 5);
    at += 5;
    outcome o = decode(body, (size_t)(at - body), step, false);
    CHECK(o.status == 0 && o.done && o.consumed == (size_t)(at - body) && o.data_len == len && memcmp(o.data, bytes, len) == 0);
    forget(o);
    free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size == 0)
        return 0;
    const char *bytes = (const char *)input + 1;
    size_t len = size - 1, step = (size_t)input[0] % 61 + 1;
    outcome whole = decode(bytes, len, SIZE_MAX, true), single = decode(bytes, len, 1, true),
            steps = decode(bytes, len, step, true), dropped = decode(bytes, len, step, false);
    check_same(whole, single, true);
    check_same(whole, steps, true);
    check_same(whole, dropped, false);
    CHECK(whole.data_len <= len);
    if (whole.done)
        check_trailers(whole);
    forget(whole);
    forget(single);
    forget(steps);
    forget(dropped);
    check_round_trip(bytes, len, step);
    return 0;
}
