/* CIDR sets: binary tries in one array of nodes. A node's children are indexes, so that growing moves everything safely. */
#include "net/address.h"
#include <stdlib.h>

enum { ROOT_V4, ROOT_V6, ROOTS };

typedef struct node {
    uint32_t child[2]; /* 0: none, for roots are nobody's children */
    bool all;          /* everything below is in the set */
} node;

struct gw_cidr_set {
    node *nodes;
    uint32_t count, cap;
};

gw_cidr_set *gw_cidr_set_new(void)
{
    gw_cidr_set *set = calloc(1, sizeof *set);
    if (!set)
        return NULL;
    set->cap = 64;
    set->nodes = calloc(set->cap, sizeof *set->nodes);
    if (!set->nodes) {
        free(set);
        return NULL;
    }
    set->count = ROOTS;
    return set;
}

void gw_cidr_set_free(gw_cidr_set *set)
{
    if (!set)
        return;
    free(set->nodes);
    free(set);
}

static bool is_v4(const uint8_t bytes[16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return memcmp(bytes, mapped, sizeof mapped) == 0;
}

static inline int bit_of(const uint8_t bytes[16], unsigned bit)
{
    return bytes[bit >> 3] >> (7 - (bit & 7)) & 1;
}

/* A prefix length, 0 to `most`, in plain decimal. */
static bool parse_prefix(gw_slice text, unsigned most, unsigned *out)
{
    if (text.len == 0 || text.len > 3 || (text.len > 1 && text.ptr[0] == '0'))
        return false;
    unsigned n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        n = n * 10 + (unsigned)(text.ptr[i] - '0');
    }
    *out = n;
    return n <= most;
}

/* Text to 16 bytes and a prefix over all 128 bits. */
static int parse_block(gw_slice text, gw_ip *ip, unsigned *prefix, const char **reason)
{
    *prefix = 128;
    if (gw_slice_equal(text, GW_SLICE("unix"))) {
        memset(ip, 0, sizeof *ip);
        return 0;
    }
    const char *slash = text.len ? memchr(text.ptr, '/', text.len) : NULL;
    gw_slice host = slash ? gw_slice_of(text.ptr, (size_t)(slash - text.ptr)) : text;
    const char *colon = host.len ? memchr(host.ptr, ':', host.len) : NULL;
    const char *dot = host.len ? memchr(host.ptr, '.', host.len) : NULL;
    /* gw_ip_parse also takes brackets and ports, which make no sense here. */
    if (host.len == 0 || host.ptr[0] == '[' || (colon && dot && dot < colon) || gw_ip_parse(host, ip) < 0) {
        *reason = "an IP address or a CIDR block like 10.0.0.0/8 or 2001:db8::/32 is expected";
        return GW_INVALID;
    }
    if (!slash)
        return 0;
    if (!parse_prefix(gw_slice_of(slash + 1, text.len - host.len - 1), colon ? 128 : 32, prefix)) {
        *reason = colon ? "the prefix length must be a number from 0 to 128" : "the prefix length must be a number from 0 to 32";
        return GW_INVALID;
    }
    if (!colon)
        *prefix += 96;
    for (unsigned bit = *prefix; bit < 128; bit++) {
        if (bit_of(ip->bytes, bit)) {
            *reason = "bits are set behind the prefix length";
            return GW_INVALID;
        }
    }
    return 0;
}

static uint32_t add_node(gw_cidr_set *set)
{
    if (set->count == set->cap) {
        node *grown = set->cap > UINT32_MAX / 2 ? NULL : reallocarray(set->nodes, set->cap * 2, sizeof *grown);
        if (!grown)
            return 0;
        set->nodes = grown;
        set->cap *= 2;
    }
    set->nodes[set->count] = (node){{0, 0}, false};
    return set->count++;
}

int gw_cidr_set_add(gw_cidr_set *set, gw_slice text, const char **reason)
{
    gw_ip ip;
    unsigned prefix;
    int status = parse_block(text, &ip, &prefix, reason);
    if (status < 0)
        return status;
    bool v4 = prefix >= 96 && is_v4(ip.bytes);
    uint32_t at = v4 ? ROOT_V4 : ROOT_V6;
    for (unsigned bit = v4 ? 96 : 0; bit < prefix; bit++) {
        if (set->nodes[at].all)
            return 0; /* a wider block is there already */
        int side = bit_of(ip.bytes, bit);
        if (!set->nodes[at].child[side]) {
            uint32_t made = add_node(set); /* may move the nodes */
            if (!made)
                return GW_NOMEM;
            set->nodes[at].child[side] = made;
        }
        at = set->nodes[at].child[side];
    }
    set->nodes[at].all = true;
    return 0;
}

bool gw_cidr_set_has(const gw_cidr_set *set, const gw_ip *ip)
{
    bool v4 = is_v4(ip->bytes);
    uint32_t at = v4 ? ROOT_V4 : ROOT_V6;
    for (unsigned bit = v4 ? 96 : 0; bit < 128; bit++) {
        if (set->nodes[at].all)
            return true;
        at = set->nodes[at].child[bit_of(ip->bytes, bit)];
        if (!at)
            return false;
    }
    return set->nodes[at].all;
}
