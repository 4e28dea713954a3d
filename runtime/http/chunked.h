/* Chunked framing (RFC 9112 section 7.1): a strict decoder that works in place, and what an encoder needs.
 *
 * Strict: sizes are 1 to 15 hex digits; extensions must be well-formed (token [= token or quoted-string], optional whitespace only
 * as BWS) and are dropped; every line ends in CRLF; trailer fields obey the rules of header fields, and are bounded. */
#ifndef GW_HTTP_CHUNKED_H
#define GW_HTTP_CHUNKED_H

#include "base/arena.h"
#include "base/base.h"

#define GW_CHUNK_LINE_MAX 4096    /* longest size line with its extensions */
#define GW_TRAILER_BYTES_MAX 8192 /* longest trailer section */

typedef struct gw_chunked {
    uint64_t left;   /* bytes left of the current chunk */
    gw_arena *arena; /* where trailer fields are gathered (taken at the first one only); NULL: they are checked and dropped */
    char *trailers;  /* complete, checked "Name: value\r\n" lines, without the fields that may not be trailers */
    uint32_t trailers_len;
    uint32_t line;          /* bytes of the current line so far */
    uint32_t trailer_bytes; /* of the whole trailer section so far */
    uint8_t state, digits;
    bool done; /* the last chunk and the trailer section are read */
} gw_chunked;

static inline void gw_chunked_init(gw_chunked *c, gw_arena *arena)
{
    memset(c, 0, sizeof *c);
    c->arena = arena;
}

/* Decodes bytes[0, len) in place: the data of the chunks is moved together at the front. Returns how many bytes of input were
 * consumed (len, unless the body ended: what follows belongs to the next message) and puts how many data bytes now stand at
 * bytes[0, *data). GW_INVALID: malformed, *reason says why. GW_LIMIT: a line or the trailer section is too long. GW_NOMEM.
 * Trailer fields for framing, routing, authentication or hop-by-hop (RFC 9110 section 6.5.1) are dropped silently. */
int64_t gw_chunked_decode(gw_chunked *c, char *bytes, size_t len, size_t *data, const char **reason);

/* "1f4\r\n" into out (at most 18 bytes); returns its length. The data and "\r\n" follow; "0\r\n" TRAILERS "\r\n" ends. */
size_t gw_chunked_size_line(uint64_t size, char out[18]);

#endif
