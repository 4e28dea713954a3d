/* `gateway plan`: what another script would change, found out beside the running gateway and never in it. The recent request heads are fetched
 * from the workers; then a process of its own (this program, with less time, memory and priority) loads both scripts, sends the heads
 * through both, in gateways that are played (script/testing.h), and says how they differ. Nothing is swapped, nobody is asked, and a script
 * that runs away takes its process with it.
 *
 *   POST /plan?script=PATH ──► heads, by a round ──► a thread starts the process and waits ──► mail ──► answer */
#ifndef GW_PROCESS_PLAN_H
#define GW_PROCESS_PLAN_H

#include "base/list.h"
#include "net/loop.h"
#include <pthread.h>
#include <stdatomic.h>

struct gw_supervisor;
struct gw_admin_wait;

#define GW_PLAN_WORD "--plan-child" /* the process is this program with that word, and the two scripts */

typedef struct gw_plan {
    bool busy, threaded;
    char *script; /* malloc'ed: the candidate's */
    char *stable; /* of the generation that serves, and its digest in hex: malloc'ed */
    char digest[17];
    char *heads; /* JSON, malloc'ed */
    size_t heads_len;
    pthread_t thread;
    _Atomic bool cancelled; /* the thread is to end the process */
    gw_mail ended;
    char *answer; /* the thread's until `ended` is posted: JSON, malloc'ed; NULL: memory is out */
    size_t answer_len;
    int status;
    gw_list waiting; /* of gw_admin_wait: one at most */
} gw_plan;

void gw_plan_init(struct gw_supervisor *s);
/* The query of POST /plan: script, a whole path. 200 with what would change, 422 with what is wrong with it. */
void gw_plan_request(struct gw_supervisor *s, gw_slice query, struct gw_admin_wait *w);
/* At the end. False: the thread still runs. */
bool gw_plan_clear(struct gw_supervisor *s);

/* That process, from its main: the two scripts and the digest of the first; heads on its standard input, the answer on its standard output.
 * The exit status: 0, or 1 when the candidate has errors. */
int gw_plan_child(const char *stable, const char *candidate, const char *digest);

#endif
