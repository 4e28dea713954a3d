/* Objects in C that a Lua state owns: the collector drops them one by one, and whatever is left goes when the state does, also when that
 * was given up in the middle and its collector never runs again.
 *
 * The first member of what is owned. A list belongs to one thread. Part of script/api.h: Lua sees this. */
#ifndef GW_SECURE_OWNED_H
#define GW_SECURE_OWNED_H

#ifdef GW_CDEF
#define GW_API
#else
#include "base/base.h"

typedef struct gw_owned {
    struct gw_owned *next, **at; /* at: what points here; NULL: in no list */
    void (*drop)(struct gw_owned *object);
} gw_owned;

static inline void gw_owned_add(gw_owned **list, gw_owned *object)
{
    object->next = *list;
    object->at = list;
    if (object->next)
        object->next->at = &object->next;
    *list = object;
}

void gw_owned_clear(gw_owned **list);
#endif

/* Frees it, and takes it out of its list. Any object that begins with a gw_owned; NULL is fine. */
GW_API void gw_owned_drop(void *object);

#endif
