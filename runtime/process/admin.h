/* The admin listener: a small HTTP/1.1 server on the control thread, for operators and probes. */
#ifndef GW_PROCESS_ADMIN_H
#define GW_PROCESS_ADMIN_H

#include "gateway/generation.h"
#include "net/handover.h"
#include "net/listener.h"
#include "process/lines.h"

struct gw_supervisor;
typedef struct gw_admin gw_admin;

gw_admin *gw_admin_new(struct gw_supervisor *s); /* not listening yet; NULL: memory is out */
void gw_admin_free(gw_admin *a);                 /* closes everything; NULL is fine */

typedef struct gw_admin_change {
    bool changed; /* the address is another one, or there is none any more */
    bool listen;
    gw_address asked, at;
    int fd, mode;
    bool inherited, foreign;
} gw_admin_change;
/* Binds the address if it is a new one. False: it could not be bound; why is appended. */
bool gw_admin_prepare(gw_admin *a, const gw_generation *g, gw_admin_change *change, gw_lines *errors);
void gw_admin_discard(gw_admin_change *change);
void gw_admin_apply(gw_admin *a, gw_admin_change *change);
/* For a successor: its socket, by *fd; false: it has none. */
bool gw_admin_handed(const gw_admin *a, gw_handed *handed, int *fd);
void gw_admin_stop(gw_admin *a); /* listens no more */
/* The address at which it listens, as text; "" for none. */
const char *gw_admin_text(const gw_admin *a);

/* An answer that takes its time. Zeroed before use; told once, and out of any list by then. */
typedef struct gw_admin_wait {
    gw_list link;
    void (*done)(struct gw_admin_wait *w, int status, char *json /* freed by who is told; NULL: memory is out */, size_t len);
} gw_admin_wait;
static inline void gw_admin_wait_cancel(gw_admin_wait *w)
{
    if (w->link.next)
        gw_list_remove(&w->link);
}

/* ---- admin_access.c: who may ask ---- */
struct gw_request;
/* 0; or the status of a refusal, 401 (a token is asked for) or 403, and *reason. `by_path`: it came by a unix socket. `probe`: a resource that tells
 * nothing but whether we are alive. */
int gw_admin_access(const gw_operation_spec *o, const struct gw_request *r, bool by_path, bool probe, const char **reason);

/* ---- status.c, endpoints.c ---- */
struct gw_reload_result;
/* The JSON of /status, and of a reload's result: malloc'ed; NULL: memory is out. */
char *gw_status_json(struct gw_supervisor *s, size_t *len);
char *gw_reload_json(const struct gw_reload_result *result, size_t *len);
/* What a staged reload is at, and the result of the last reload: of /status, and of who waits. */
char *gw_staged_json(struct gw_supervisor *s, size_t *len);
void gw_result_status(gw_text *t, const struct gw_supervisor *s);
/* An upstream's member of /status. */
void gw_endpoints_status(gw_text *t, const gw_upstream *u);
/* Ends the gateway in order; what it has to say about that. */
char *gw_drain_json(struct gw_supervisor *s, size_t *len);
/* Takes an endpoint out of rotation (requests under way finish), or lets it in again. JSON and *status: 200 or 404. */
char *gw_endpoint_drain_json(struct gw_supervisor *s, gw_slice upstream, gw_slice endpoint, bool drain, int *status, size_t *len);

#endif
