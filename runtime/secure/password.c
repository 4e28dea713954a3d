#include "secure/password.h"
#include "secure/digest.h"
#include <crypt.h>
#include <stdlib.h>

static bool crypt_alphabet(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '.' && c <= '9')))
            return false;
    }
    return true;
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool begins(const char *hash, size_t len, const char *prefix)
{
    size_t n = strlen(prefix);
    return len >= n && memcmp(hash, prefix, n) == 0;
}

/* "$2b$12$" and 53 characters: 22 of salt, 31 of digest. */
static const char *bcrypt_problem(const char *hash, size_t len)
{
    if (len != 60 || !digit(hash[4]) || !digit(hash[5]) || hash[6] != '$' || !crypt_alphabet(hash + 7, 53))
        return "a bcrypt hash is \"$2b$\", a cost of two digits, \"$\" and 53 characters";
    int cost = (hash[4] - '0') * 10 + hash[5] - '0';
    return cost < 4 || cost > 16 ? "the cost of a bcrypt hash must be 4 to 16: each step more doubles the time of a check" : NULL;
}

/* The digest stands behind the last '$'. */
static const char *digest_problem(const char *hash, size_t len, size_t digest, const char *words)
{
    const char *last = memrchr(hash, '$', len);
    size_t rest = len - (size_t)(last + 1 - hash);
    return last < hash + 3 || rest != digest || !crypt_alphabet(last + 1, rest) ? words : NULL;
}

static const char *sha_problem(const char *hash, size_t len, size_t digest)
{
    static const char rounds[] = "rounds=";
    if (len > 10 && memcmp(hash + 3, rounds, 7) == 0) {
        size_t n = 0, at = 10;
        while (at < len && digit(hash[at]) && n <= 10000000)
            n = n * 10 + (size_t)(hash[at++] - '0');
        if (n < 1000 || n > 10000000 || at >= len || hash[at] != '$')
            return "the rounds of a SHA-crypt hash must be 1000 to 10000000";
    }
    return digest_problem(hash, len, digest,
                          "the SHA-crypt hash is not complete: its digest does not stand behind the last \"$\"");
}

const char *gw_password_problem(const char *hash, size_t len)
{
    static const struct {
        const char *prefix, *why;
    } others[] = {
        {"$argon2", "argon2 is not supported by this system's libcrypt: use bcrypt ($2b$) or yescrypt ($y$)"},
        {"$apr1$", "Apache's MD5 hashes ($apr1$) are too weak: use bcrypt (htpasswd -B)"},
        {"$1$", "MD5-crypt ($1$) is too weak: use bcrypt ($2b$) or yescrypt ($y$)"},
        {"$2x$", "$2x$ marks bcrypt hashes of a broken program: hash the password again"},
        {"{", "LDAP's hashes ({SHA}, {SSHA}) are too weak: use bcrypt (htpasswd -B)"},
    };
    if (len == 0)
        return "it is empty";
    if (len > GW_PASSWORD_HASH_MOST)
        return "it is longer than any hash";
    if (begins(hash, len, "$2a$") || begins(hash, len, "$2b$") || begins(hash, len, "$2y$"))
        return bcrypt_problem(hash, len);
    if (begins(hash, len, "$6$"))
        return sha_problem(hash, len, 86);
    if (begins(hash, len, "$5$"))
        return sha_problem(hash, len, 43);
    if (begins(hash, len, "$y$") || begins(hash, len, "$gy$") || begins(hash, len, "$7$"))
        return digest_problem(hash, len, 43, "the hash is not complete: its digest does not stand behind the last \"$\"");
    for (size_t i = 0; i < GW_COUNT(others); i++)
        if (begins(hash, len, others[i].prefix))
            return others[i].why;
    return "it is no hash that is known: use bcrypt ($2b$), yescrypt ($y$), scrypt ($7$), SHA-512-crypt ($6$) or SHA-256-crypt "
           "($5$)";
}

int gw_password_check(const char *hash, size_t hash_len, const char *password, size_t len)
{
    if (gw_password_problem(hash, hash_len))
        return GW_INVALID;
    if (len >= GW_PASSWORD_MOST || memchr(password, '\0', len))
        return 0;
    struct work {
        struct crypt_data data; /* 32 KB */
        char hash[GW_PASSWORD_HASH_MOST + 1], password[GW_PASSWORD_MOST];
    } *work = calloc(1, sizeof *work);
    if (!work)
        return GW_NOMEM;
    memcpy(work->hash, hash, hash_len);
    memcpy(work->password, password, len);
    const char *made = crypt_rn(work->password, work->hash, &work->data, sizeof work->data);
    int result = made ? gw_equal_secret(made, strlen(made), hash, hash_len) : GW_INVALID;
    explicit_bzero(work, sizeof *work);
    free(work);
    return result;
}
