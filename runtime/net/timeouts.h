/* Between loop.c and timeouts.c (and the specs, which turn the wheel on a clock of their own); nobody else's. */
#ifndef GW_NET_TIMEOUTS_H
#define GW_NET_TIMEOUTS_H

#include "net/loop.h"

void gw_loop_wheel_init(gw_loop *loop);   /* loop->now and loop->ev are set */
void gw_loop_wheel_turn(gw_loop *loop);   /* loop->now has changed */
void gw_loop_wheel_expire(gw_loop *loop); /* calls what is due by loop->now_tick */
void gw_loop_wheel_clear(gw_loop *loop);  /* unlinks what is armed */

#endif
