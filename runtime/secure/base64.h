/* Base64 (RFC 4648 sections 4 and 5), strictly: one text for one value. Part of script/api.h: Lua sees this. */
#ifndef GW_SECURE_BASE64_H
#define GW_SECURE_BASE64_H

#ifdef GW_CDEF
#define GW_API
#else
#include "base/base.h"
#endif

/* url: '-' and '_' for '+' and '/'. padded: with '=' to a multiple of four. Room for len / 3 * 4 + 4 bytes in out. Returns the length. */
GW_API int gw_base64_encode(const char *bytes, size_t len, int url, int padded, char *out);

enum gw_base64_padding { GW_BASE64_NO_PADDING, GW_BASE64_PADDING, GW_BASE64_EITHER };

/* Room for len / 4 * 3 + 3 bytes in out. Puts the length into *made and returns GW_OK; or INVALID with the position of what is wrong
 * in *made: a character that does not belong (line ends and blanks too), padding other than was asked for, a single character at
 * the end, bits that are set behind the last byte. */
GW_API int gw_base64_decode(const char *text, size_t len, int url, int padding, char *out, int *made);

#endif
