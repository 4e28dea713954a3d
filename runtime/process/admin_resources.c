#include "process/admin_resources.h"

const gw_admin_resource gw_admin_resources[] = {
    {"/", GW_METHOD_GET, ACT_PAGE, true},
    {"/help", GW_METHOD_GET, ACT_HELP, false},
    {"/snapshot", GW_METHOD_GET, ACT_SNAPSHOT, false},
    {"/events", GW_METHOD_GET, ACT_EVENTS, false},
    {"/healthz", GW_METHOD_GET, ACT_HEALTHZ, true},
    {"/readyz", GW_METHOD_GET, ACT_READYZ, true},
    {"/status", GW_METHOD_GET, ACT_STATUS, false},
    {"/metrics", GW_METHOD_GET, ACT_METRICS, false},
    {"/recent", GW_METHOD_GET, ACT_RECENT, false},
    {"/plan", GW_METHOD_POST, ACT_PLAN, false},
    {"/reload", GW_METHOD_POST, ACT_RELOAD, false},
    {"/shutdown", GW_METHOD_POST, ACT_END, false},
    {"/drain", GW_METHOD_POST, ACT_DRAIN, false},
    {"/undrain", GW_METHOD_POST, ACT_UNDRAIN, false},
};
const size_t gw_admin_resource_count = GW_COUNT(gw_admin_resources);

const char gw_admin_help[] = "gateway, admin address\n"
                             "\n"
                             "GET  /          the dashboard, for browsers\n"
                             "GET  /help      this\n"
                             "GET  /healthz   200 while the process is alive\n"
                             "GET  /readyz    200 while it takes connections, 503 while it drains\n"
                             "GET  /status    generation, workers, listeners, upstreams, last reload (JSON)\n"
                             "GET  /snapshot  traffic, upstreams, reloads, scripts, slow requests (JSON)\n"
                             "GET  /events    the same each second, as server-sent events\n"
                             "GET  /metrics   for Prometheus: text, or OpenMetrics by Accept\n"
                             "GET  /recent    the last request heads of routes with record = true, secrets masked (JSON)\n"
                             "POST /reload    loads the script anew: 200, or 422 with what is wrong with it\n"
                             "POST /reload?share=5%&for=60s&abort_if=errors>1%&min=20&script=PATH&wait=0\n"
                             "                first for some of the clients: 200 put in place, 202 staged, 409 taken back\n"
                             "POST /reload?end=promote|back    ends a staged reload\n"
                             "POST /plan?script=PATH    what that script would change: 200, or 422 with what is wrong with it\n"
                             "POST /shutdown  ends the gateway in order, as SIGTERM does\n"
                             "POST /drain?upstream=NAME&endpoint=ADDRESS     no new requests for it; those under way finish\n"
                             "POST /undrain?upstream=NAME&endpoint=ADDRESS   it takes requests again\n";

const gw_admin_resource *gw_admin_find(gw_slice path)
{
    for (size_t i = 0; i < gw_admin_resource_count; i++)
        if (gw_slice_equal(path, gw_slice_str(gw_admin_resources[i].path)))
            return &gw_admin_resources[i];
    return NULL;
}
