#include "net/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void gw_notify_open(gw_notify *n)
{
    *n = (gw_notify){.fd = -1};
    const char *path = getenv("NOTIFY_SOCKET"), *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t len = path ? strlen(path) : 0;
    if (len < 2 || len >= sizeof to.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(to.sun_path, path, len);
    if (path[0] == '@')
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, (struct sockaddr *)&to, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0) {
        close(fd);
        return;
    }
    n->fd = fd;
    if (usec && (!pid || strtol(pid, NULL, 10) == (long)getpid()))
        n->watchdog = strtod(usec, NULL) / 1e6;
    if (!(n->watchdog > 0 && n->watchdog < 1e6))
        n->watchdog = 0;
}

void gw_notify_close(gw_notify *n)
{
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
}

void gw_notify_say(const gw_notify *n, const char *format, ...)
{
    if (n->fd < 0)
        return;
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (len <= 0)
        return;
    size_t whole = (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
    while (send(n->fd, text, whole, MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}
