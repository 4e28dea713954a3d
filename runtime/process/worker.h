/* A worker: one thread, one loop, one engine. The supervisor talks to it by mail only. */
#ifndef GW_PROCESS_WORKER_H
#define GW_PROCESS_WORKER_H

#include "gateway/engine.h"
#include <pthread.h>

typedef struct gw_worker {
    gw_engine engine;
    gw_loop *loop;
    pthread_t thread;
    gw_list listeners;         /* of struct gw_worker_listener */
    _Atomic bool ended;
    void *supervisor;
} gw_worker;

#endif
