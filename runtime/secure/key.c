#include "secure/key.h"
#include "secure/owned.h"
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>

#define TEXT_MOST (64 * 1024)
#define RSA_BITS_LEAST 2048 /* RFC 7518 section 3.3 */
#define RSA_BITS_MOST 8192  /* a check takes time by the square of it, and keys can come from afar */

struct gw_key {
    gw_owned owned;
    EVP_PKEY *pkey;
    enum gw_key_kind kind;
    bool private;
};

static const struct curve {
    const char *group;
    size_t bytes; /* of a coordinate */
} curves[GW_KEY_KINDS] = {
    [GW_KEY_P256] = {"P-256", 32}, [GW_KEY_P384] = {"P-384", 48}, [GW_KEY_P521] = {"P-521", 66},
    [GW_KEY_ED25519] = {NULL, 32}, [GW_KEY_ED448] = {NULL, 57},
};

static void drop(gw_owned *owned)
{
    gw_key *key = gw_container_of(owned, gw_key, owned);
    EVP_PKEY_free(key->pkey);
    free(key);
}

/* Takes the pkey, whatever comes of it. */
static gw_key *key_of(EVP_PKEY *pkey, bool private, const char **reason)
{
    ERR_clear_error();
    gw_key *key = calloc(1, sizeof *key);
    if (!key) {
        *reason = "not enough memory";
        EVP_PKEY_free(pkey);
        return NULL;
    }
    *key = (gw_key){.owned.drop = drop, .pkey = pkey, .private = private};
    char group[64] = "";
    switch (EVP_PKEY_get_base_id(pkey)) {
    case EVP_PKEY_RSA:
        key->kind = GW_KEY_RSA;
        if (EVP_PKEY_get_bits(pkey) >= RSA_BITS_LEAST && EVP_PKEY_get_bits(pkey) <= RSA_BITS_MOST)
            return key;
        *reason = "an RSA key must have 2048 to 8192 bits";
        break;
    case EVP_PKEY_EC:
        EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL);
        for (int kind = GW_KEY_P256; kind <= GW_KEY_P521; kind++) {
            if (strcmp(group, kind == GW_KEY_P256   ? "prime256v1"
                              : kind == GW_KEY_P384 ? "secp384r1"
                                                    : "secp521r1") == 0 ||
                strcmp(group, curves[kind].group) == 0) {
                key->kind = (enum gw_key_kind)kind;
                return key;
            }
        }
        *reason = "the curve of an EC key must be P-256, P-384 or P-521";
        break;
    case EVP_PKEY_ED25519:
        key->kind = GW_KEY_ED25519;
        return key;
    case EVP_PKEY_ED448:
        key->kind = GW_KEY_ED448;
        return key;
    default:
        *reason = "the key must be RSA, EC, Ed25519 or Ed448";
    }
    drop(&key->owned);
    return NULL;
}

/* ---- PEM ---- */

/* Nobody sits there to type one. */
static int no_pass_phrase(char *out, int size, int writing, void *unused)
{
    (void)out, (void)size, (void)writing, (void)unused;
    return -1;
}

static EVP_PKEY *decode(BIO *bio, int selection)
{
    EVP_PKEY *pkey = NULL;
    OSSL_DECODER_CTX *decoder = OSSL_DECODER_CTX_new_for_pkey(&pkey, "PEM", NULL, NULL, selection, NULL, NULL);
    if (!decoder)
        return NULL;
    OSSL_DECODER_CTX_set_pem_password_cb(decoder, no_pass_phrase, NULL);
    if (OSSL_DECODER_from_bio(decoder, bio) != 1) {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
    OSSL_DECODER_CTX_free(decoder);
    return pkey;
}

static bool holds(const char *text, size_t len, const char *word)
{
    return memmem(text, len, word, strlen(word)) != NULL;
}

gw_key *gw_key_pem(const char *text, size_t len, const char **reason)
{
    if (len > TEXT_MOST || !holds(text, len, "-----BEGIN ")) {
        *reason = len > TEXT_MOST ? "the text is longer than 64 KB" : "there is no line \"-----BEGIN ...\" in it";
        return NULL;
    }
    if (holds(text, len, "-----BEGIN ENCRYPTED PRIVATE KEY") || holds(text, len, "Proc-Type: 4,ENCRYPTED")) {
        *reason = "the private key needs a pass phrase";
        return NULL;
    }
    BIO *bio = BIO_new_mem_buf(text, (int)len);
    if (!bio) {
        *reason = "not enough memory";
        ERR_clear_error();
        return NULL;
    }
    EVP_PKEY *pkey = NULL;
    bool private = holds(text, len, "PRIVATE KEY-----");
    if (private || !holds(text, len, "-----BEGIN CERTIFICATE-----"))
        pkey = decode(bio, private ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY);
    else {
        X509 *certificate = PEM_read_bio_X509(bio, NULL, no_pass_phrase, NULL);
        if (certificate)
            pkey = X509_get_pubkey(certificate);
        X509_free(certificate);
    }
    BIO_free(bio);
    if (!pkey) {
        ERR_clear_error();
        *reason = private ? "the private key could not be read" : "the public key or certificate could not be read";
        return NULL;
    }
    return key_of(pkey, private, reason);
}

/* ---- the numbers of a JSON Web Key ---- */

/* Adds a big-endian number. The BIGNUM must live as long as the builder. */
static BIGNUM *push_number(OSSL_PARAM_BLD *builder, const char *name, const char *bytes, size_t len)
{
    BIGNUM *number = BN_bin2bn((const unsigned char *)bytes, (int)len, NULL);
    if (number && OSSL_PARAM_BLD_push_BN(builder, name, number) != 1) {
        BN_free(number);
        number = NULL;
    }
    return number;
}

static EVP_PKEY *public_key_of(const char *type, OSSL_PARAM_BLD *builder)
{
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM *numbers = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *making = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (numbers && making && EVP_PKEY_fromdata_init(making) == 1 &&
        EVP_PKEY_fromdata(making, &pkey, EVP_PKEY_PUBLIC_KEY, numbers) != 1)
        pkey = NULL;
    EVP_PKEY_CTX_free(making);
    OSSL_PARAM_free(numbers);
    return pkey;
}

gw_key *gw_key_rsa(const char *n, size_t n_len, const char *e, size_t e_len, const char **reason)
{
    /* Exponents above 64 bits have no use but to make checks slow. */
    if (n_len == 0 || n_len > RSA_BITS_MOST / 8 + 1 || e_len == 0 || e_len > 8) {
        *reason = "n must be a modulus of 2048 to 8192 bits and e an exponent of at most 64";
        return NULL;
    }
    if (!(n[n_len - 1] & 1) || !(e[e_len - 1] & 1) || (e_len == 1 && e[0] == 1)) {
        *reason = "n and e must be odd, and e above 1";
        return NULL;
    }
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    BIGNUM *modulus = builder ? push_number(builder, OSSL_PKEY_PARAM_RSA_N, n, n_len) : NULL;
    BIGNUM *exponent = modulus ? push_number(builder, OSSL_PKEY_PARAM_RSA_E, e, e_len) : NULL;
    EVP_PKEY *pkey = exponent ? public_key_of("RSA", builder) : NULL;
    BN_free(modulus);
    BN_free(exponent);
    OSSL_PARAM_BLD_free(builder);
    if (!pkey) {
        ERR_clear_error();
        *reason = exponent ? "n and e are no RSA key" : "not enough memory";
        return NULL;
    }
    return key_of(pkey, false, reason);
}

gw_key *gw_key_point(int kind, const char *x, size_t x_len, const char *y, size_t y_len, const char **reason)
{
    if (kind <= GW_KEY_RSA || kind >= GW_KEY_KINDS) {
        *reason = "no such curve";
        return NULL;
    }
    const struct curve *curve = &curves[kind];
    if (x_len != curve->bytes || y_len != (curve->group ? curve->bytes : 0)) {
        *reason = "a coordinate has not the curve's length";
        return NULL;
    }
    EVP_PKEY *pkey = NULL;
    if (curve->group) {
        char
            point[1 + 2 * 66]; /* SEC 1 section 2.3.3, not compressed. That it is on the curve is looked at when it is taken in */
        point[0] = 4;
        memcpy(point + 1, x, x_len);
        memcpy(point + 1 + x_len, y, y_len);
        OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
        if (builder && OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, curve->group, 0) == 1 &&
            OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * x_len) == 1)
            pkey = public_key_of("EC", builder);
        OSSL_PARAM_BLD_free(builder);
    } else
        pkey = EVP_PKEY_new_raw_public_key(kind == GW_KEY_ED25519 ? EVP_PKEY_ED25519 : EVP_PKEY_ED448, NULL,
                                           (const unsigned char *)x, x_len);
    if (!pkey) {
        ERR_clear_error();
        *reason = "the point is not on the curve";
        return NULL;
    }
    return key_of(pkey, false, reason);
}

int gw_key_kind(const gw_key *key)
{
    return (int)key->kind;
}

int gw_key_bits(const gw_key *key)
{
    return EVP_PKEY_get_bits(key->pkey);
}

int gw_key_private(const gw_key *key)
{
    return key->private;
}

/* ---- signatures ---- */

static bool fits(const gw_key *key, int algorithm)
{
    switch (algorithm) {
    case GW_JWS_RS256:
    case GW_JWS_RS384:
    case GW_JWS_RS512:
    case GW_JWS_PS256:
    case GW_JWS_PS384:
    case GW_JWS_PS512:
        return key->kind == GW_KEY_RSA;
    case GW_JWS_ES256:
        return key->kind == GW_KEY_P256;
    case GW_JWS_ES384:
        return key->kind == GW_KEY_P384;
    case GW_JWS_ES512:
        return key->kind == GW_KEY_P521;
    case GW_JWS_EDDSA:
        return key->kind == GW_KEY_ED25519 || key->kind == GW_KEY_ED448;
    default:
        return false;
    }
}

static const EVP_MD *digest_of(int algorithm)
{
    switch (algorithm) {
    case GW_JWS_RS256:
    case GW_JWS_PS256:
    case GW_JWS_ES256:
        return EVP_sha256();
    case GW_JWS_RS384:
    case GW_JWS_PS384:
    case GW_JWS_ES384:
        return EVP_sha384();
    case GW_JWS_RS512:
    case GW_JWS_PS512:
    case GW_JWS_ES512:
        return EVP_sha512();
    default:
        return NULL; /* EdDSA has its own */
    }
}

/* PS*: MGF1 of the same digest, a salt of its length (RFC 7518 section 3.5). */
static bool set_padding(EVP_PKEY_CTX *context, int algorithm)
{
    if (algorithm < GW_JWS_PS256 || algorithm > GW_JWS_PS512)
        return true;
    return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1;
}

/* r and s, each as long as the curve's coordinates (RFC 7518 section 3.4), as OpenSSL wants them: DER, to be freed with OPENSSL_free. */
static int to_der(const char *signature, size_t half, unsigned char **out)
{
    ECDSA_SIG *parts = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn((const unsigned char *)signature, (int)half, NULL);
    BIGNUM *s = BN_bin2bn((const unsigned char *)signature + half, (int)half, NULL);
    int len = -1;
    if (parts && r && s && ECDSA_SIG_set0(parts, r, s) == 1) {
        *out = NULL;
        len = i2d_ECDSA_SIG(parts, out);
    } else {
        BN_free(r);
        BN_free(s);
    }
    ECDSA_SIG_free(parts);
    return len;
}

static int from_der(const unsigned char *der, size_t len, size_t half, char *out)
{
    ECDSA_SIG *parts = d2i_ECDSA_SIG(NULL, &der, (long)len);
    if (!parts)
        return GW_NOMEM;
    bool good = BN_bn2binpad(ECDSA_SIG_get0_r(parts), (unsigned char *)out, (int)half) >= 0 &&
                BN_bn2binpad(ECDSA_SIG_get0_s(parts), (unsigned char *)out + half, (int)half) >= 0;
    ECDSA_SIG_free(parts);
    return good ? (int)(2 * half) : GW_NOMEM;
}

static bool is_ec(const gw_key *key)
{
    return key->kind >= GW_KEY_P256 && key->kind <= GW_KEY_P521;
}

int gw_key_verify(const gw_key *key, int algorithm, const char *text, size_t len, const char *signature, size_t signature_len)
{
    if (!fits(key, algorithm))
        return GW_INVALID;
    unsigned char *der = NULL;
    const unsigned char *bytes = (const unsigned char *)signature;
    if (is_ec(key)) {
        size_t half = curves[key->kind].bytes;
        if (signature_len != 2 * half)
            return 0;
        int der_len = to_der(signature, half, &der);
        if (der_len <= 0) {
            ERR_clear_error();
            return GW_NOMEM;
        }
        bytes = der;
        signature_len = (size_t)der_len;
    }
    int result = GW_NOMEM;
    EVP_PKEY_CTX *settings = NULL; /* the context's */
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context && EVP_DigestVerifyInit(context, &settings, digest_of(algorithm), NULL, key->pkey) == 1 &&
        set_padding(settings, algorithm))
        result = EVP_DigestVerify(context, bytes, signature_len, (const unsigned char *)text, len) == 1;
    EVP_MD_CTX_free(context);
    OPENSSL_free(der);
    ERR_clear_error();
    return result;
}

int gw_key_sign(const gw_key *key, int algorithm, const char *text, size_t len, char *out)
{
    if (!fits(key, algorithm) || !key->private)
        return GW_INVALID;
    unsigned char made[GW_KEY_SIGNATURE_MOST];
    size_t made_len = sizeof made;
    EVP_PKEY_CTX *settings = NULL;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context && EVP_DigestSignInit(context, &settings, digest_of(algorithm), NULL, key->pkey) == 1 &&
                set_padding(settings, algorithm) &&
                EVP_DigestSign(context, made, &made_len, (const unsigned char *)text, len) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    if (!good)
        return GW_NOMEM;
    if (is_ec(key))
        return from_der(made, made_len, curves[key->kind].bytes, out);
    memcpy(out, made, made_len);
    return (int)made_len;
}
