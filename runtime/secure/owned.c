#include "secure/owned.h"

void gw_owned_drop(void *object)
{
    gw_owned *o = object;
    if (!o)
        return;
    if (o->at) {
        *o->at = o->next;
        if (o->next)
            o->next->at = o->at;
    }
    o->drop(o);
}

void gw_owned_clear(gw_owned **list)
{
    while (*list)
        gw_owned_drop(*list);
}
