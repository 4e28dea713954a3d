#include "base/base.h"

const char *gw_status_text(int status)
{
    switch (status) {
    case GW_OK:
        return "ok";
    case GW_AGAIN:
        return "would block";
    case GW_EOF:
        return "closed by the peer";
    case GW_RESET:
        return "connection broken";
    case GW_NOMEM:
        return "out of memory";
    case GW_INVALID:
        return "invalid";
    case GW_LIMIT:
        return "over the limit";
    case GW_REFUSED:
        return "connection refused";
    case GW_TIMEOUT:
        return "timed out";
    case GW_NOFILES:
        return "out of file descriptors";
    case GW_NOTFOUND:
        return "not found";
    default:
        return "unknown status";
    }
}
