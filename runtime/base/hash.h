/* Hashes. gw_hash_keyed is the one for keys that a client chooses (tables cannot be flooded by who does not know the seed). */
#ifndef GW_BASE_HASH_H
#define GW_BASE_HASH_H

#include "base/base.h"

/* CRC-32 (IEEE 802.3, reflected 0xEDB88320), as zlib's crc32(0, ...). */
GW_API uint32_t gw_crc32(const char *bytes, size_t len);
/* 64-bit finaliser of MurmurHash3 (fmix64): spreads a weak hash over all bits. */
#ifndef GW_CDEF
static inline uint64_t gw_mix64(uint64_t h)
{
    h ^= h >> 33, h *= 0xff51afd7ed558ccdULL;
    h ^= h >> 33, h *= 0xc4ceb9fe1a85ec53ULL;
    return h ^ h >> 33;
}
#endif
/* FNV-1a, 64 bit, for names of our own. */
uint64_t gw_hash(const char *bytes, size_t len);
/* SipHash-1-3; with a key of the caller's, and with the process's random seed. */
uint64_t gw_siphash13(const char *bytes, size_t len, uint64_t k0, uint64_t k1);
GW_API uint64_t gw_hash_keyed(const char *bytes, size_t len);

/* Pseudo-random numbers, xoshiro256**: not for secrets. One state a thread. */
typedef struct gw_random {
    uint64_t s[4];
} gw_random;
void gw_random_seed(gw_random *r); /* from the kernel */
uint64_t gw_random_next(gw_random *r);

#endif
