#include "script/guard.h"

int gw_guard_resume(gw_state *s, lua_State *co, int arguments)
{
    (void)s;
    return lua_resume(co, arguments);
}

void gw_guard_tell_losers(gw_state *s)
{
    while (!gw_list_empty(&s->losers)) {
        gw_loser *l = gw_container_of(s->losers.next, gw_loser, link);
        gw_list_remove(&l->link);
        l->lost(l);
    }
}
