/* Digests, HMAC, comparison in constant time and random bytes, by OpenSSL. Part of script/api.h: Lua sees this. */
#ifndef GW_SECURE_DIGEST_H
#define GW_SECURE_DIGEST_H

#ifdef GW_CDEF
#define GW_API
#else
#include "base/base.h"
#endif

enum gw_digest_kind { GW_DIGEST_MD5, GW_DIGEST_SHA1, GW_DIGEST_SHA256, GW_DIGEST_SHA384, GW_DIGEST_SHA512, GW_DIGEST_KINDS };

#define GW_DIGEST_MOST 64 /* bytes of the longest one */

/* The digest (FIPS 180-4; RFC 1321) or the HMAC (RFC 2104) into out, which has room for GW_DIGEST_MOST bytes. Returns its length;
 * INVALID: no such kind, or one that this OpenSSL is configured to refuse (FIPS mode); NOMEM. */
GW_API int gw_digest(int kind, const char *bytes, size_t len, char *out);
GW_API int gw_hmac(int kind, const char *key, size_t key_len, const char *bytes, size_t len, char *out);

/* 1 when the bytes are equal. How long it takes tells the lengths and nothing of the contents. */
GW_API int gw_equal_secret(const char *a, size_t a_len, const char *b, size_t b_len);

/* Bytes that nobody can guess. GW_OK or INVALID: the system has none to give. */
GW_API int gw_random_secret(char *out, size_t len);

#endif
