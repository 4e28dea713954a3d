#include "http/chunked.h"

#include "http/chars.h"
#include "http/headers.h"

/*            hex          CRLF         left bytes         CRLF
 *   SIZE ─────────► SIZE ──────► DATA ──────────► DATA_CR ────► SIZE
 *                    │ BWS ";"   └ size 0: TRAILER_START
 *                    ▼
 *                  EXT_… (an automaton of RFC 9112 section 7.1.1) ──CRLF──► as SIZE
 *
 *   TRAILER_START ──name──► TRAILER_NAME ──":"──► TRAILER_SPACE ──► TRAILER_VALUE ──CRLF──► TRAILER_START
 *        └──CRLF──► END
 */
enum state {
    SIZE,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    EXT_BEFORE,     /* whitespace behind the size or a value: ';' has to come */
    EXT_NAME_START, /* behind ';' */
    EXT_NAME,
    EXT_NAME_AFTER, /* whitespace behind a name: '=' or ';' has to come */
    EXT_VALUE_START,
    EXT_VALUE,
    EXT_QUOTED,
    EXT_ESCAPED,
    EXT_QUOTED_END,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_SPACE,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF,
    END
};

#define SIZE_DIGITS_MAX 15
/* Stored lines have a space behind the colon that the shortest line on the wire ("a:\r\n") does not have. */
#define TRAILER_ROOM (GW_TRAILER_BYTES_MAX + GW_TRAILER_BYTES_MAX / 4)

static int refuse(const char **reason, int status, const char *text)
{
    *reason = text;
    return status;
}

/* Fields that may not be trailers (RFC 9110 section 6.5.1), beside all that the gateway itself acts on. */
static bool may_be_trailer(gw_slice name)
{
    static const char *const never[] = {
        "age",
        "cache-control",
        "content-encoding",
        "content-range",
        "expires",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "max-forwards",
        "pragma",
        "range",
        "retry-after",
        "vary",
        "warning",
        "www-authenticate",
        "authentication-info",
        "proxy-authentication-info",
    };
    const size_t prefix = sizeof "x-forwarded-" - 1;
    if (gw_header_id_of(name) != GW_H_OTHER)
        return false;
    if (name.len >= prefix && gw_slice_equal_nocase(gw_slice_of(name.ptr, prefix), GW_SLICE("x-forwarded-")))
        return false;
    for (size_t i = 0; i < GW_COUNT(never); i++)
        if (gw_slice_equal_nocase(name, gw_slice_str(never[i])))
            return false;
    return true;
}

/* While a trailer line is read, `line` counts what is stored of it and `left` is the length of its name. */
static void store(gw_chunked *c, char byte)
{
    if (c->trailers)
        c->trailers[c->trailers_len + c->line++] = byte;
}

static void end_trailer_line(gw_chunked *c)
{
    if (!c->trailers)
        return;
    char *line = c->trailers + c->trailers_len;
    while (c->line > c->left + 2 && gw_char_is_space(line[c->line - 1]))
        c->line--;
    store(c, '\r');
    store(c, '\n');
    if (may_be_trailer(gw_slice_of(line, (size_t)c->left)))
        c->trailers_len += c->line;
}

static int trailer_byte(gw_chunked *c, char b, const char **reason)
{
    if (++c->trailer_bytes > GW_TRAILER_BYTES_MAX)
        return refuse(reason, GW_LIMIT, "trailer section too long");
    switch (c->state) {
    case TRAILER_START:
        if (b == '\r') {
            c->state = END_LF;
            return GW_OK;
        }
        if (!gw_char_is(b, GW_CHAR_TOKEN))
            return refuse(reason, GW_INVALID, gw_char_is_space(b) ? "obs-fold in a trailer field" : "malformed trailer field");
        if (c->arena && !c->trailers) {
            c->trailers = gw_arena_bytes(c->arena, TRAILER_ROOM);
            if (!c->trailers)
                return refuse(reason, GW_NOMEM, "out of memory for trailer fields");
        }
        c->line = 0;
        c->left = 1;
        store(c, b);
        c->state = TRAILER_NAME;
        return GW_OK;
    case TRAILER_NAME:
        if (b == ':') {
            store(c, ':');
            store(c, ' ');
            c->state = TRAILER_SPACE;
            return GW_OK;
        }
        if (!gw_char_is(b, GW_CHAR_TOKEN))
            return refuse(reason, GW_INVALID, "invalid character in the name of a trailer field");
        c->left++;
        store(c, b);
        return GW_OK;
    case TRAILER_SPACE:
        if (gw_char_is_space(b))
            return GW_OK;
        c->state = TRAILER_VALUE;
        /* fall through */
    case TRAILER_VALUE:
        if (b == '\r') {
            c->state = TRAILER_LF;
            return GW_OK;
        }
        if (!gw_char_is(b, GW_CHAR_VALUE))
            return refuse(reason, GW_INVALID,
                          b == '\n' ? "bare LF in the trailer section" : "control character in a trailer field");
        store(c, b);
        return GW_OK;
    case TRAILER_LF:
        if (b != '\n')
            return refuse(reason, GW_INVALID, "CR without LF in the trailer section");
        end_trailer_line(c);
        c->left = 0;
        c->state = TRAILER_START;
        return GW_OK;
    default: /* END_LF */
        if (b != '\n')
            return refuse(reason, GW_INVALID, "CR without LF in the trailer section");
        c->state = END;
        c->done = true;
        return GW_OK;
    }
}

static int bad_extension(const char **reason)
{
    return refuse(reason, GW_INVALID, "malformed chunk extension");
}

/* Behind the name or the value of an extension, or behind the size: CR ends the line, ';' begins an extension. */
static int after_part(gw_chunked *c, char b, enum state on_space)
{
    if (b == '\r')
        c->state = SIZE_LF;
    else if (b == ';')
        c->state = EXT_NAME_START;
    else if (gw_char_is_space(b))
        c->state = on_space;
    else
        return GW_INVALID;
    return GW_OK;
}

static int extension_byte(gw_chunked *c, char b, const char **reason)
{
    switch (c->state) {
    case EXT_BEFORE:
        if (gw_char_is_space(b))
            return GW_OK;
        if (b != ';')
            return refuse(reason, GW_INVALID, "whitespace behind a chunk size");
        c->state = EXT_NAME_START;
        return GW_OK;
    case EXT_NAME_START:
        if (gw_char_is_space(b))
            return GW_OK;
        c->state = EXT_NAME;
        return gw_char_is(b, GW_CHAR_TOKEN) ? GW_OK : bad_extension(reason);
    case EXT_NAME:
        if (gw_char_is(b, GW_CHAR_TOKEN))
            return GW_OK;
        if (b == '=') {
            c->state = EXT_VALUE_START;
            return GW_OK;
        }
        return after_part(c, b, EXT_NAME_AFTER) == GW_OK ? GW_OK : bad_extension(reason);
    case EXT_NAME_AFTER:
        if (gw_char_is_space(b))
            return GW_OK;
        if (b != '=' && b != ';')
            return bad_extension(reason);
        c->state = b == '=' ? EXT_VALUE_START : EXT_NAME_START;
        return GW_OK;
    case EXT_VALUE_START:
        if (gw_char_is_space(b))
            return GW_OK;
        c->state = b == '"' ? EXT_QUOTED : EXT_VALUE;
        return b == '"' || gw_char_is(b, GW_CHAR_TOKEN) ? GW_OK : bad_extension(reason);
    case EXT_VALUE:
        if (gw_char_is(b, GW_CHAR_TOKEN))
            return GW_OK;
        return after_part(c, b, EXT_BEFORE) == GW_OK ? GW_OK : bad_extension(reason);
    case EXT_QUOTED:
        if (b == '"')
            c->state = EXT_QUOTED_END;
        else if (b == '\\')
            c->state = EXT_ESCAPED;
        else if (!gw_char_is(b, GW_CHAR_VALUE))
            return bad_extension(reason);
        return GW_OK;
    case EXT_ESCAPED:
        c->state = EXT_QUOTED;
        return gw_char_is(b, GW_CHAR_VALUE) ? GW_OK : bad_extension(reason);
    default: /* EXT_QUOTED_END */
        return after_part(c, b, EXT_BEFORE) == GW_OK ? GW_OK : bad_extension(reason);
    }
}

static int size_byte(gw_chunked *c, char b, const char **reason)
{
    if (gw_char_is(b, GW_CHAR_HEX)) {
        if (c->digits == SIZE_DIGITS_MAX)
            return refuse(reason, GW_INVALID, "chunk size too large");
        c->digits++;
        c->left = c->left << 4 | gw_char_hex(b);
        return GW_OK;
    }
    if (c->digits == 0)
        return refuse(reason, GW_INVALID, "chunk size is no hexadecimal number");
    if (after_part(c, b, EXT_BEFORE) != GW_OK)
        return refuse(reason, GW_INVALID, b == '\n' ? "bare LF behind a chunk size" : "chunk size is no hexadecimal number");
    return GW_OK;
}

/* One byte of framing. */
static int framing_byte(gw_chunked *c, char b, const char **reason)
{
    if (c->state >= TRAILER_START)
        return trailer_byte(c, b, reason);
    switch (c->state) {
    case DATA_CR:
        if (b != '\r')
            return refuse(reason, GW_INVALID, "chunk data does not end in CRLF");
        c->state = DATA_LF;
        return GW_OK;
    case DATA_LF:
        if (b != '\n')
            return refuse(reason, GW_INVALID, "chunk data does not end in CRLF");
        c->state = SIZE;
        c->digits = 0;
        c->line = 0;
        return GW_OK;
    default:
        break;
    }
    if (++c->line > GW_CHUNK_LINE_MAX)
        return refuse(reason, GW_LIMIT, "chunk size line too long");
    if (c->state == SIZE)
        return size_byte(c, b, reason);
    if (c->state != SIZE_LF)
        return extension_byte(c, b, reason);
    if (b != '\n')
        return refuse(reason, GW_INVALID, "CR without LF behind a chunk size");
    c->state = c->left ? DATA : TRAILER_START;
    return GW_OK;
}

int64_t gw_chunked_decode(gw_chunked *c, char *bytes, size_t len, size_t *data, const char **reason)
{
    size_t at = 0, out = 0;
    int status = GW_OK;
    while (at < len && c->state != END) {
        if (c->state == DATA) {
            size_t n = c->left < len - at ? (size_t)c->left : len - at;
            if (out != at)
                memmove(bytes + out, bytes + at, n);
            at += n, out += n;
            c->left -= n;
            if (c->left == 0)
                c->state = DATA_CR;
        } else {
            status = framing_byte(c, bytes[at], reason);
            if (status != GW_OK)
                break;
            at++;
        }
    }
    *data = out;
    return status == GW_OK ? (int64_t)at : status;
}

size_t gw_chunked_size_line(uint64_t size, char out[18])
{
    int digits = 1;
    while (digits < 16 && size >> (4 * digits))
        digits++;
    for (int i = 0; i < digits; i++)
        out[i] = "0123456789abcdef"[size >> (4 * (digits - 1 - i)) & 15];
    out[digits] = '\r';
    out[digits + 1] = '\n';
    return (size_t)digits + 2;
}
