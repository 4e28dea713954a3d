#include "secure/base64.h"

static const char letters[2][65] = {
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

int gw_base64_encode(const char *bytes, size_t len, int url, int padded, char *out)
{
    const char *set = letters[url != 0];
    const unsigned char *in = (const unsigned char *)bytes;
    char *at = out;
    size_t i = 0;
    for (; i + 3 <= len; i += 3) {
        uint32_t v = (uint32_t)in[i] << 16 | (uint32_t)in[i + 1] << 8 | in[i + 2];
        *at++ = set[v >> 18];
        *at++ = set[v >> 12 & 63];
        *at++ = set[v >> 6 & 63];
        *at++ = set[v & 63];
    }
    size_t rest = len - i;
    if (rest) {
        uint32_t v = (uint32_t)in[i] << 16 | (rest == 2 ? (uint32_t)in[i + 1] << 8 : 0);
        *at++ = set[v >> 18];
        *at++ = set[v >> 12 & 63];
        if (rest == 2)
            *at++ = set[v >> 6 & 63];
        for (; padded && rest < 3; rest++)
            *at++ = '=';
    }
    return (int)(at - out);
}

/* A letter's value, or -1. */
static inline int value_of(unsigned char c, int url)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == (url ? '-' : '+'))
        return 62;
    return c == (url ? '_' : '/') ? 63 : -1;
}

static int wrong(size_t at, int *made)
{
    *made = (int)at;
    return GW_INVALID;
}

int gw_base64_decode(const char *text, size_t len, int url, int padding, char *out, int *made)
{
    size_t letters_len = len;
    while (letters_len > 0 && len - letters_len < 2 && text[letters_len - 1] == '=')
        letters_len--;
    size_t pads = len - letters_len, last = letters_len % 4;
    char *at = out;
    uint32_t v = 0;
    for (size_t i = 0; i < letters_len; i++) {
        int six = value_of((unsigned char)text[i], url);
        if (six < 0)
            return wrong(i, made);
        v = v << 6 | (uint32_t)six;
        if (i % 4 == 3) {
            *at++ = (char)(v >> 16);
            *at++ = (char)(v >> 8);
            *at++ = (char)v;
            v = 0;
        }
    }
    if (pads && (padding == GW_BASE64_NO_PADDING || len % 4 != 0))
        return wrong(letters_len, made);
    if (padding == GW_BASE64_PADDING && len % 4 != 0)
        return wrong(len, made);
    if (last == 1 || (last == 2 && v & 15) || (last == 3 && v & 3))
        return wrong(letters_len - 1, made);
    if (last >= 2)
        *at++ = (char)(last == 2 ? v >> 4 : v >> 10);
    if (last == 3)
        *at++ = (char)(v >> 2);
    *made = (int)(at - out);
    return GW_OK;
}
