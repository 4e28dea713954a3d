/* Password hashes as crypt(5) writes them, by libcrypt (libxcrypt). Part of script/api.h: Lua sees gw_password_problem only, for a check
 * is made to be slow: tens of milliseconds, which belong on no worker's thread. */
#ifndef GW_SECURE_PASSWORD_H
#define GW_SECURE_PASSWORD_H

#ifdef GW_CDEF
#define GW_API
#else
#include "base/base.h"
#endif

#define GW_PASSWORD_HASH_MOST 256 /* bytes of a hash */
#define GW_PASSWORD_MOST 512      /* of a password; longer ones are nobody's */

/* Why this can be no hash to check against, or NULL: it can. Taken are bcrypt ($2a$, $2b$, $2y$, cost 4 to 16), yescrypt ($y$, $gy$),
 * scrypt ($7$), SHA-512-crypt ($6$) and SHA-256-crypt ($5$, both to 10 million rounds), complete with their digest. */
GW_API const char *gw_password_problem(const char *hash, size_t len);

#ifndef GW_CDEF
/* 1: the password is this hash's; 0: it is not; INVALID: gw_password_problem has the reason; NOMEM. Slow. */
GW_API int gw_password_check(const char *hash, size_t hash_len, const char *password, size_t len);
#endif

#endif
