/* Keys of public-key signatures, and the signatures of JSON Web Signature (RFC 7515, 7518, 8037) by OpenSSL.
 *
 * A key is parsed once and then only read. Part of script/api.h: Lua sees this. */
#ifndef GW_SECURE_KEY_H
#define GW_SECURE_KEY_H

#ifdef GW_CDEF
#define GW_API
#else
#include "base/base.h"
#endif

/* What a key can be used for follows from its kind: RSA for RS* and PS*, each curve for its ES*, Ed25519 and Ed448 for EdDSA. */
enum gw_key_kind { GW_KEY_RSA, GW_KEY_P256, GW_KEY_P384, GW_KEY_P521, GW_KEY_ED25519, GW_KEY_ED448, GW_KEY_KINDS };

enum gw_jws {
    GW_JWS_RS256,
    GW_JWS_RS384,
    GW_JWS_RS512,
    GW_JWS_PS256,
    GW_JWS_PS384,
    GW_JWS_PS512,
    GW_JWS_ES256,
    GW_JWS_ES384,
    GW_JWS_ES512,
    GW_JWS_EDDSA,
    GW_JWS_ALGORITHMS
};

enum { GW_KEY_SIGNATURE_MOST = 1024 }; /* bytes: RSA of 8192 bits */

typedef struct gw_key gw_key;

/* A key from PEM: a public key (SubjectPublicKeyInfo or PKCS #1), a certificate's, or a private one (PKCS #8, SEC 1, PKCS #1; without a
 * pass phrase). NULL with *reason. */
GW_API gw_key *gw_key_pem(const char *text, size_t len, const char **reason);

/* A public key from what a JSON Web Key holds, big-endian numbers as bytes (RFC 7518 section 6). NULL with *reason. */
GW_API gw_key *gw_key_rsa(const char *n, size_t n_len, const char *e, size_t e_len, const char **reason);
GW_API gw_key *gw_key_point(int kind, const char *x, size_t x_len, const char *y, size_t y_len,
                            const char **reason); /* Ed*: no y */

GW_API int gw_key_kind(const gw_key *key);    /* enum gw_key_kind */
GW_API int gw_key_bits(const gw_key *key);    /* of the modulus, or the curve */
GW_API int gw_key_private(const gw_key *key); /* 1: it can sign */

/* 1: the signature is this key's; 0: it is not; INVALID: the algorithm (enum gw_jws) is none for this kind of key; NOMEM. */
GW_API int gw_key_verify(const gw_key *key, int algorithm, const char *text, size_t len, const char *signature,
                         size_t signature_len);
/* Puts the signature into out, which has room for GW_KEY_SIGNATURE_MOST. Its length; INVALID: as above, or the key is a public one; NOMEM. */
GW_API int gw_key_sign(const gw_key *key, int algorithm, const char *text, size_t len, char *out);

#endif
