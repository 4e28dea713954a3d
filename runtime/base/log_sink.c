#include "base/log_sink.h"

#include <stdlib.h>
#include <unistd.h>

gw_log_sink *gw_log_sink_new(int fd, size_t bytes)
{
    gw_log_sink *s = calloc(1, sizeof *s + bytes);
    if (s)
        s->fd = fd;
    return s;
}

void gw_log_sink_free(gw_log_sink *s)
{
    if (!s)
        return;
    if (s->forget)
        s->forget(s);
    if (s->fd >= 0)
        close(s->fd);
    free(s);
}
