/* The order in which smooth weighted round robin goes through weights, worked out ahead of time. For runtime/policy/. */
#ifndef GW_POLICY_WEIGHTED_H
#define GW_POLICY_WEIGHTED_H

#include "base/base.h"

typedef struct gw_sequence {
    uint32_t length; /* a whole turn */
    uint16_t entry[];
} gw_sequence;

/* A turn over `count` weights (1 to 65535 of them, none 0): entries are places in `weights`. nginx's order exactly, as long as a turn
 * has at most 65,536 entries (after the weights' greatest common divisor is taken out) and is not too dear to work out; weights are
 * scaled down to that otherwise, none below 1. NULL: memory is out. free() it. */
GW_API gw_sequence *gw_sequence_new(const uint32_t *weights, uint32_t count);

#endif
