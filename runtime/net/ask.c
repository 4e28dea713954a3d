#include "net/ask.h"

#include "base/clock.h"
#include "net/raw.h"
#include <stdio.h>
#include <stdlib.h>

#define ANSWER_MOST (64u << 20)

static double left(double until)
{
    return until - (double)gw_clock_monotonic_ns() * 1e-9;
}

static int send_all(int fd, const char *bytes, size_t len, double until)
{
    while (len) {
        int64_t n = gw_raw_write(fd, bytes, len);
        if (n == GW_AGAIN)
            n = gw_raw_wait(&fd, 1, 0, left(until)) == GW_OK ? 0 : GW_TIMEOUT;
        if (n < 0)
            return (int)n;
        bytes += n, len -= (size_t)n;
    }
    return GW_OK;
}

/* Reads to the end of the connection: the request asked for that. */
static int receive_all(int fd, gw_asked *answer, size_t *len, double until)
{
    size_t room = 16384;
    *len = 0;
    answer->text = malloc(room);
    if (!answer->text)
        return GW_NOMEM;
    for (;;) {
        if (*len + 1 == room) {
            char *larger = room < ANSWER_MOST ? realloc(answer->text, room * 2) : NULL;
            if (!larger)
                return GW_NOMEM;
            answer->text = larger;
            room *= 2;
        }
        int64_t n = gw_raw_read(fd, answer->text + *len, room - 1 - *len);
        if (n == GW_EOF)
            break;
        if (n == GW_AGAIN)
            n = gw_raw_wait(&fd, 1, 1, left(until)) == GW_OK ? 0 : GW_TIMEOUT;
        if (n < 0)
            return (int)n;
        *len += (size_t)n;
    }
    answer->text[*len] = '\0';
    return GW_OK;
}

/* Status and body; its length must be the announced one. */
static int parse(gw_asked *answer, size_t len)
{
    static const char length[] = "\r\nContent-Length: ";
    if (len == 0)
        return GW_RESET;
    const char *end = memmem(answer->text, len, "\r\n\r\n", 4);
    if (!end || sscanf(answer->text, "HTTP/1.%*1d %3d ", &answer->status) != 1)
        return GW_INVALID;
    answer->body = end + 4;
    answer->body_len = len - (size_t)(answer->body - answer->text);
    const char *said = memmem(answer->text, (size_t)(end - answer->text), length, sizeof length - 1);
    if (!said)
        return GW_INVALID;
    unsigned long long announced = strtoull(said + sizeof length - 1, NULL, 10);
    return announced == answer->body_len ? GW_OK : announced > answer->body_len ? GW_RESET : GW_INVALID;
}

int gw_ask_admin(const gw_address *to, const gw_ask *ask, gw_asked *answer)
{
    *answer = (gw_asked){0};
    double until = (double)gw_clock_monotonic_ns() * 1e-9 + ask->seconds;
    int fd = gw_raw_connect(to, ask->seconds);
    if (fd < 0)
        return fd;
    char host[GW_ADDRESS_TEXT];
    host[gw_address_text(to, host)] = '\0';
    char *request = NULL;
    size_t len;
    int made = asprintf(&request, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s%s%s%s\r\n", ask->method, ask->path,
                        to->any.sa_family == AF_UNIX ? "localhost" : host,
                        strcmp(ask->method, "GET") == 0 ? "" : "Content-Length: 0\r\n",
                        ask->token ? "Authorization: Bearer " : "", ask->token ? ask->token : "", ask->token ? "\r\n" : "");
    int status = made < 0 ? GW_NOMEM : send_all(fd, request, (size_t)made, until);
    if (status == GW_OK)
        status = receive_all(fd, answer, &len, until);
    if (status == GW_OK)
        status = parse(answer, len);
    if (made >= 0)
        free(request);
    gw_raw_close(fd);
    if (status != GW_OK)
        gw_asked_free(answer);
    return status;
}

void gw_asked_free(gw_asked *answer)
{
    free(answer->text);
    *answer = (gw_asked){0};
}
