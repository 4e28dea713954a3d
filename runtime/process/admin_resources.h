/* What there is at the admin address. A new one is a row of the table, a line of the help, and a case in admin.c. */
#ifndef GW_PROCESS_ADMIN_RESOURCES_H
#define GW_PROCESS_ADMIN_RESOURCES_H

#include "http/message.h"

enum gw_admin_action {
    ACT_ERROR,
    ACT_PAGE,
    ACT_HELP,
    ACT_SNAPSHOT,
    ACT_EVENTS,
    ACT_HEALTHZ,
    ACT_READYZ,
    ACT_STATUS,
    ACT_METRICS,
    ACT_RELOAD,
    ACT_DRAIN,
    ACT_UNDRAIN,
    ACT_END,
    ACT_RECENT,
    ACT_PLAN
};

typedef struct gw_admin_resource {
    const char *path;
    enum gw_method method; /* GET: HEAD too */
    enum gw_admin_action action;
    bool open; /* needs no token: it tells nothing but whether we are alive, or is the same everywhere */
} gw_admin_resource;

extern const gw_admin_resource gw_admin_resources[];
extern const size_t gw_admin_resource_count;
extern const char gw_admin_help[];

/* NULL: there is none of that path. */
const gw_admin_resource *gw_admin_find(gw_slice path);

#endif
