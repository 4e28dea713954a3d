/* The algorithms are looked up once in a process; each thread keeps its contexts, so that a digest takes no memory and no lock of ours. */
#include "secure/digest.h"
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>

static const char *const names[GW_DIGEST_KINDS] = {"MD5", "SHA1", "SHA256", "SHA384", "SHA512"};

typedef struct thread_contexts {
    EVP_MD_CTX *digest;
    EVP_MAC_CTX *mac[GW_DIGEST_KINDS];
} thread_contexts;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *digests[GW_DIGEST_KINDS];
static EVP_MAC *hmac;
static pthread_key_t contexts_key;
static bool have_key;
static _Thread_local thread_contexts *contexts_here;

static void free_contexts(void *pointer)
{
    thread_contexts *t = pointer;
    EVP_MD_CTX_free(t->digest);
    for (size_t i = 0; i < GW_DIGEST_KINDS; i++)
        EVP_MAC_CTX_free(t->mac[i]);
    free(t);
    contexts_here = NULL;
}

static void look_up(void)
{
    for (size_t i = 0; i < GW_DIGEST_KINDS; i++)
        digests[i] = EVP_MD_fetch(NULL, names[i], NULL);
    hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    have_key = pthread_key_create(&contexts_key, free_contexts) == 0;
    ERR_clear_error();
}

/* NULL: no such kind; or, with *status NOMEM, memory is out. */
static thread_contexts *contexts(int kind, int *status)
{
    *status = GW_INVALID;
    if (kind < 0 || kind >= GW_DIGEST_KINDS || pthread_once(&once, look_up) != 0 || !digests[kind])
        return NULL;
    if (gw_likely(contexts_here))
        return contexts_here;
    *status = GW_NOMEM;
    thread_contexts *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->digest = EVP_MD_CTX_new();
    if (!t->digest || !have_key || pthread_setspecific(contexts_key, t) != 0) {
        EVP_MD_CTX_free(t->digest);
        free(t);
        return NULL;
    }
    contexts_here = t;
    return t;
}

static int failed(void)
{
    ERR_clear_error(); /* what is left there would be taken for the error of somebody else's call */
    return GW_NOMEM;
}

int gw_digest(int kind, const char *bytes, size_t len, char *out)
{
    int status;
    thread_contexts *t = contexts(kind, &status);
    if (!t)
        return status;
    unsigned int made = 0;
    if (EVP_DigestInit_ex2(t->digest, digests[kind], NULL) != 1 || EVP_DigestUpdate(t->digest, bytes, len) != 1 ||
        EVP_DigestFinal_ex(t->digest, (unsigned char *)out, &made) != 1)
        return failed();
    return (int)made;
}

int gw_hmac(int kind, const char *key, size_t key_len, const char *bytes, size_t len, char *out)
{
    int status;
    thread_contexts *t = contexts(kind, &status);
    if (!t)
        return status;
    EVP_MAC_CTX *mac = t->mac[kind];
    if (!mac) {
        mac = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
        OSSL_PARAM settings[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)names[kind], 0),
                                 OSSL_PARAM_construct_end()};
        if (!mac || EVP_MAC_CTX_set_params(mac, settings) != 1) {
            EVP_MAC_CTX_free(mac);
            return failed();
        }
        t->mac[kind] = mac;
    }
    /* An empty key is a key; a NULL one would mean the one before. */
    size_t made = 0;
    const unsigned char *key_bytes = (const unsigned char *)(key_len ? key : "");
    if (EVP_MAC_init(mac, key_bytes, key_len, NULL) != 1 || EVP_MAC_update(mac, (const unsigned char *)bytes, len) != 1 ||
        EVP_MAC_final(mac, (unsigned char *)out, &made, GW_DIGEST_MOST) != 1)
        return failed();
    return (int)made;
}

int gw_equal_secret(const char *a, size_t a_len, const char *b, size_t b_len)
{
    return a_len == b_len && CRYPTO_memcmp(a, b, a_len) == 0;
}

int gw_random_secret(char *out, size_t len)
{
    while (len > 0) {
        int some = len > 1 << 20 ? 1 << 20 : (int)len;
        if (RAND_bytes((unsigned char *)out, some) != 1) {
            ERR_clear_error();
            return GW_INVALID;
        }
        out += some;
        len -= (size_t)some;
    }
    return GW_OK;
}
