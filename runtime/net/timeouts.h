/* Between loop.c and timeouts.c; nobody else's. */
#ifndef GW_NET_TIMEOUTS_H
#define GW_NET_TIMEOUTS_H

#include "net/loop.h"

void gw_loop_wheel_init(gw_loop *loop);  /* loop->now and loop->ev are set */
void gw_loop_wheel_turn(gw_loop *loop);  /* loop->now has changed */
void gw_loop_wheel_clear(gw_loop *loop); /* unlinks what is armed */

#endif
