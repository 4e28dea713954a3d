#include "secure/json.h"
#include "base/text.h"
#include <math.h>
#include <stdlib.h>

enum expecting {
    VALUE,
    FIRST_VALUE, /* or the end of the array */
    KEY,
    FIRST_KEY, /* or the end of the object */
    COMMA,     /* or the end of what is open */
    END
};

int gw_json_begin(gw_json *j, const char *text, size_t len, int depth)
{
    if (len > 1 << 30 || depth < 0 || depth > GW_JSON_DEPTH_MOST)
        return GW_INVALID;
    j->text = text;
    j->len = (int)len;
    j->at = 0;
    j->depth = 0;
    j->most = depth;
    j->expecting = VALUE;
    j->why = NULL;
    return GW_OK;
}

static int wrong(gw_json *j, int at, const char *why)
{
    j->at = at;
    j->why = why;
    return GW_INVALID;
}

static inline int peek(const gw_json *j, int at)
{
    return at < j->len ? (unsigned char)j->text[at] : -1;
}

static inline bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static int skip_blanks(gw_json *j)
{
    int c;
    while ((c = peek(j, j->at)) == ' ' || c == '\n' || c == '\r' || c == '\t')
        j->at++;
    return c;
}

/* ---- strings ---- */

/* Four hexadecimal digits, or -1. */
static int hex4(const gw_json *j, int at)
{
    int n = 0;
    for (int i = 0; i < 4; i++) {
        int c = peek(j, at + i);
        int digit = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0)
            return -1;
        n = n << 4 | digit;
    }
    return n;
}

/* Length of the escape that begins at `at`, its character in *code; 0: it is none. */
static int escape(const gw_json *j, int at, int *code)
{
    int c = peek(j, at + 1);
    switch (c) {
    case '"':
    case '\\':
    case '/':
        *code = c;
        return 2;
    case 'b':
        *code = '\b';
        return 2;
    case 'f':
        *code = '\f';
        return 2;
    case 'n':
        *code = '\n';
        return 2;
    case 'r':
        *code = '\r';
        return 2;
    case 't':
        *code = '\t';
        return 2;
    case 'u':
        break;
    default:
        return 0;
    }
    int high = hex4(j, at + 2);
    if (high < 0 || (high >= 0xdc00 && high <= 0xdfff))
        return 0;
    *code = high;
    if (high < 0xd800 || high > 0xdbff)
        return 6;
    int low = peek(j, at + 6) == '\\' && peek(j, at + 7) == 'u' ? hex4(j, at + 8) : -1;
    if (low < 0xdc00 || low > 0xdfff)
        return 0;
    *code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    return 12;
}

static int read_string(gw_json *j, int kind)
{
    int at = j->at + 1;
    j->first = at;
    j->escaped = 0;
    for (;;) {
        int c = peek(j, at);
        if (c < 0)
            return wrong(j, j->at, "a string without its closing quote");
        if (c == '"')
            break;
        if (c < 0x20)
            return wrong(j, at, "a control character in a string");
        if (c == '\\') {
            int code, len = escape(j, at, &code);
            if (len == 0)
                return wrong(j, at, "an escape that is none");
            j->escaped = 1;
            at += len;
        } else if (c >= 0x80) {
            int len = gw_utf8_sequence(j->text + at, (size_t)(j->len - at));
            if (len <= 0)
                return wrong(j, at, "bytes that are no UTF-8");
            at += len;
        } else
            at++;
    }
    j->bytes = at - j->first;
    j->at = at + 1;
    return kind;
}

static int put_utf8(int code, char *out)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 63));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 63));
        out[2] = (char)(0x80 | (code & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 63));
    out[2] = (char)(0x80 | (code >> 6 & 63));
    out[3] = (char)(0x80 | (code & 63));
    return 4;
}

int gw_json_unescape(const gw_json *j, char *out)
{
    char *to = out;
    int at = j->first, end = j->first + j->bytes;
    while (at < end) {
        int code;
        if (j->text[at] != '\\') {
            *to++ = j->text[at++];
            continue;
        }
        int len = escape(j, at, &code);
        if (len == 0) /* it was looked at before */
            break;
        to += put_utf8(code, to);
        at += len;
    }
    return (int)(to - out);
}

/* ---- numbers ---- */

/* Powers of ten that a double holds exactly: a number of at most 15 digits times or over one of them is rounded once, so it is right
 * (Clinger, How to read floating point numbers accurately, 1990). */
static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static int slow_number(gw_json *j, int begin, int end)
{
    char text[1024];
    if (end - begin >= (int)sizeof text)
        return wrong(j, begin, "a number of more than 1000 characters");
    memcpy(text, j->text + begin, (size_t)(end - begin));
    text[end - begin] = '\0';
    j->number = strtod(text, NULL); /* the process is in the "C" locale */
    if (!isfinite(j->number))
        return wrong(j, begin, "a number beyond the range of doubles");
    j->at = end;
    return GW_JSON_NUMBER;
}

static int read_number(gw_json *j)
{
    int begin = j->at, at = begin, digits = 0, exponent = 0;
    int64_t value = 0;
    bool negative = peek(j, at) == '-';
    at += negative;
    int whole = at;
    for (; is_digit(peek(j, at)); at++)
        if (++digits <= 15)
            value = value * 10 + (j->text[at] - '0');
    if (at == whole || (j->text[whole] == '0' && at > whole + 1))
        return wrong(j, begin, at == whole ? "a value that is none" : "a number that begins with 0");
    if (peek(j, at) == '.') {
        int fraction = ++at;
        for (; is_digit(peek(j, at)); at++)
            if (++digits <= 15) {
                value = value * 10 + (j->text[at] - '0');
                exponent--;
            }
        if (at == fraction)
            return wrong(j, begin, "a number without digits behind its point");
    }
    if (peek(j, at) == 'e' || peek(j, at) == 'E') {
        at++;
        bool below = peek(j, at) == '-';
        at += below || peek(j, at) == '+';
        int power = 0, first = at;
        for (; is_digit(peek(j, at)); at++)
            power = power < 10000 ? power * 10 + (j->text[at] - '0') : power;
        if (at == first)
            return wrong(j, begin, "a number without digits in its exponent");
        exponent += below ? -power : power;
    }
    if (digits > 15 || exponent < -22 || exponent > 22)
        return slow_number(j, begin, at);
    double n = exponent < 0 ? (double)value / tens[-exponent] : (double)value * tens[exponent];
    j->number = negative ? -n : n;
    j->at = at;
    return GW_JSON_NUMBER;
}

/* ---- tokens ---- */

static int read_word(gw_json *j, const char *word, int len, int kind)
{
    if (j->len - j->at < len || memcmp(j->text + j->at, word, (size_t)len) != 0)
        return wrong(j, j->at, "a value that is none");
    j->at += len;
    return kind;
}

static int open_one(gw_json *j, bool object)
{
    if (j->depth >= j->most)
        return wrong(j, j->at, "nested too deep");
    j->object[j->depth++] = object;
    j->expecting = object ? FIRST_KEY : FIRST_VALUE;
    j->at++;
    return object ? GW_JSON_OBJECT : GW_JSON_ARRAY;
}

static int close_one(gw_json *j)
{
    bool object = j->object[--j->depth];
    j->expecting = j->depth ? COMMA : END;
    j->at++;
    return object ? GW_JSON_OBJECT_END : GW_JSON_ARRAY_END;
}

static int read_value(gw_json *j, int c)
{
    if (c == '{' || c == '[')
        return open_one(j, c == '{');
    j->expecting = j->depth ? COMMA : END;
    switch (c) {
    case -1:
        return wrong(j, j->at, "the end, where a value is expected");
    case '"':
        return read_string(j, GW_JSON_STRING);
    case 't':
        return read_word(j, "true", 4, GW_JSON_TRUE);
    case 'f':
        return read_word(j, "false", 5, GW_JSON_FALSE);
    case 'n':
        return read_word(j, "null", 4, GW_JSON_NULL);
    default:
        return read_number(j);
    }
}

static int read_key(gw_json *j, int c)
{
    if (c != '"')
        return wrong(j, j->at, "no key, where one is expected");
    int kind = read_string(j, GW_JSON_KEY);
    if (kind < 0)
        return kind;
    if (skip_blanks(j) != ':')
        return wrong(j, j->at, "no \":\" behind a key");
    j->at++;
    j->expecting = VALUE;
    return kind;
}

int gw_json_next(gw_json *j)
{
    int c = skip_blanks(j);
    if (j->expecting == COMMA) {
        bool object = j->object[j->depth - 1];
        if (c == (object ? '}' : ']'))
            return close_one(j);
        if (c != ',')
            return wrong(j, j->at,
                         object ? "no \",\" or \"}\", where one is expected" : "no \",\" or \"]\", where one is expected");
        j->at++;
        c = skip_blanks(j);
        j->expecting = object ? KEY : VALUE;
    }
    switch (j->expecting) {
    case FIRST_VALUE:
        return c == ']' ? close_one(j) : read_value(j, c);
    case FIRST_KEY:
        return c == '}' ? close_one(j) : read_key(j, c);
    case KEY:
        return read_key(j, c);
    case VALUE:
        return read_value(j, c);
    default:
        return c < 0 ? GW_JSON_END : wrong(j, j->at, "something behind the value");
    }
}
