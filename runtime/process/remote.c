#include "process/remote.h"

#include "base/text.h"
#include "net/ask.h"
#include "script/script.h"
#include <ctype.h>
#include <netdb.h>
#include <stdlib.h>

#define DEFAULT_ADMIN "127.0.0.1:9901"
#define ANSWER_SECONDS 30.0
#define RELOAD_SECONDS 700.0 /* a script may ask for 600 s to load in */
#define PLAN_SECONDS 60.0

/* The address, or false and why not on stderr. */
static bool find_address(const char *text, gw_address *to)
{
    gw_slice name;
    uint16_t port;
    const char *reason = "it is not known here";
    int kind = gw_address_parse(gw_slice_str(text), -1, to, &name, &port, &reason);
    if (kind == GW_ADDRESS_NAME) {
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *found = NULL;
        char host[256], service[8];
        snprintf(host, sizeof host, "%.*s", (int)name.len, name.ptr);
        snprintf(service, sizeof service, "%u", port);
        int status = getaddrinfo(host, service, &hints, &found);
        if (status == 0 && found->ai_addrlen <= sizeof to->un) {
            memcpy(&to->any, found->ai_addr, found->ai_addrlen);
            to->len = found->ai_addrlen;
            kind = GW_ADDRESS_NUMERIC;
        }
        if (status == 0)
            freeaddrinfo(found);
        else
            reason = gai_strerror(status);
    }
    if (kind == GW_ADDRESS_NUMERIC)
        return true;
    fprintf(stderr, "gateway: the admin address: expected \"127.0.0.1:9901\" or \"unix:/path\", found \"%s\" (%s)\n", text,
            reason);
    return false;
}

/* The token into `room`, or NULL: there is none. False: there should be. */
static bool find_token(const gw_options *o, char room[GW_TOKEN_MOST], const char **token)
{
    const char *file = o->token_file;
    *token = o->token;
    if (!*token && !file)
        *token = getenv("GATEWAY_TOKEN");
    if ((!*token || !**token) && !file)
        file = getenv("GATEWAY_TOKEN_FILE");
    if (file && *file) {
        FILE *f = fopen(file, "re");
        size_t n = f ? fread(room, 1, GW_TOKEN_MOST - 1, f) : 0;
        bool good = f && !ferror(f);
        if (!good)
            fprintf(stderr, "gateway: cannot read the token in %s: %m\n", file);
        if (f)
            fclose(f);
        if (!good)
            return false;
        while (n && isspace((unsigned char)room[n - 1]))
            n--;
        room[n] = '\0';
        *token = room;
    }
    if (*token && **token == '\0')
        *token = NULL;
    for (const char *at = *token; at && *at; at++) {
        if (*at <= ' ' || *at > '~') { /* it must not break out of its header */
            fputs("gateway: the token: expected visible ASCII characters without spaces\n", stderr);
            return false;
        }
    }
    return true;
}

static void add_escaped(gw_text *t, const char *text)
{
    for (; *text; text++) {
        if (isalnum((unsigned char)*text) || strchr("-._~", *text))
            gw_text_add(t, text, 1);
        else
            gw_text_printf(t, "%%%02X", (unsigned char)*text);
    }
}

/* The answer in words: its JSON through the library's gateway.remote. */
int gw_remote_print(const char *what, const gw_asked *answer)
{
    char *text = NULL, *asked = NULL;
    int status = EXIT_FAILURE;
    if (asprintf(&asked, "%s %d %.*s", what, answer->status, (int)answer->body_len, answer->body) < 0) {
        fputs("gateway: memory is out\n", stderr);
        return status;
    }
    if (gw_script_command("gateway.remote", asked, &text)) {
        fputs(text, stdout);
        status = fflush(stdout) == 0 && !ferror(stdout) ? EXIT_SUCCESS : EXIT_FAILURE;
    } else {
        fprintf(stderr, "%s\n", text ? text : "gateway: memory is out");
    }
    free(text);
    free(asked);
    return status;
}

/* How long a staged reload takes; what is no time is refused by the gateway. */
static double seconds_of(const char *text)
{
    if (!text)
        return 60;
    char *rest;
    double n = strtod(text, &rest);
    n *= *rest == 'm' && rest[1] != 's' ? 60 : *rest == 'h' ? 3600 : 1;
    return n > 0 && n < 1e6 ? n : 0;
}

static void add_option(gw_text *t, const char *name, const char *value)
{
    if (!value)
        return;
    gw_text_printf(t, "&%s=", name);
    add_escaped(t, value);
}

/* The gateway stands in another folder than we, so a path is made a whole one. */
static bool add_path(gw_text *t, const char *name, const char *path)
{
    char *whole = path ? realpath(path, NULL) : NULL;
    if (path && !whole) {
        fprintf(stderr, "gateway: %s: %m\n", path);
        return false;
    }
    add_option(t, name, whole);
    free(whole);
    return true;
}

/* The query of a staged reload. */
static bool add_staged(gw_text *t, const gw_options *o)
{
    if (o->promote || o->back)
        gw_text_printf(t, "?end=%s", o->promote ? "promote" : "back");
    if (!o->share)
        return true;
    gw_text_printf(t, "?wait=%d", !o->no_wait);
    add_option(t, "share", o->share);
    add_option(t, "for", o->lasts);
    add_option(t, "min", o->least);
    for (int i = 0; i < o->abort_if.count; i++)
        add_option(t, "abort_if", o->abort_if.value[i]);
    return add_path(t, "script", o->candidate);
}

bool gw_remote_find(const gw_options *o, gw_remote *r)
{
    r->at = o->admin ? o->admin : getenv("GATEWAY_ADMIN");
    if (!r->at || !*r->at)
        r->at = DEFAULT_ADMIN;
    r->to = (gw_address){0};
    return find_address(r->at, &r->to) && find_token(o, r->room, &r->token);
}

const char *gw_remote_why(int status)
{
    return status == GW_REFUSED ? "nobody listens there, or not for this user (--admin and GATEWAY_ADMIN say where to ask)"
                                : gw_status_text(status);
}

int gw_remote_command(const gw_options *o)
{
    gw_remote r;
    char path[2048];
    if (!gw_remote_find(o, &r))
        return EXIT_FAILURE;
    const char *what = "status";
    gw_ask ask = {.method = "POST", .path = path, .token = r.token, .seconds = ANSWER_SECONDS};
    gw_text text = gw_text_on(path, sizeof path - 1);
    switch (o->command) {
    case GW_COMMAND_RELOAD:
        what = o->share || o->promote || o->back ? "staged" : "reload";
        ask.seconds = RELOAD_SECONDS + seconds_of(o->lasts);
        gw_text_lit(&text, "/reload");
        if (!add_staged(&text, o))
            return EXIT_FAILURE;
        break;
    case GW_COMMAND_DRAIN:
        what = o->undo ? "undrain" : "drain";
        gw_text_printf(&text, "/%s", o->endpoint ? what : "shutdown");
        if (o->endpoint) {
            gw_text_lit(&text, "?upstream=");
            add_escaped(&text, o->upstream);
            gw_text_lit(&text, "&endpoint=");
            add_escaped(&text, o->endpoint);
        }
        break;
    case GW_COMMAND_PLAN:
        what = "plan";
        ask.seconds = PLAN_SECONDS;
        gw_text_lit(&text, "/plan?_=");
        if (!add_path(&text, "script", o->script))
            return EXIT_FAILURE;
        break;
    default:
        ask.method = "GET";
        gw_text_lit(&text, "/status");
        break;
    }
    *text.at = '\0';
    if (text.cut) {
        fputs("gateway: the options are too long\n", stderr);
        return EXIT_FAILURE;
    }
    gw_asked answer;
    int status = gw_ask_admin(&r.to, &ask, &answer);
    if (status != GW_OK) {
        fprintf(stderr, "gateway: no answer from the admin address %s: %s\n", r.at, gw_remote_why(status));
        return EXIT_FAILURE;
    }
    if (o->json && answer.status == 200)
        status = fwrite(answer.body, 1, answer.body_len, stdout) == answer.body_len && fflush(stdout) == 0 ? EXIT_SUCCESS
                                                                                                           : EXIT_FAILURE;
    else
        status = gw_remote_print(what, &answer);
    gw_asked_free(&answer);
    return status;
}
