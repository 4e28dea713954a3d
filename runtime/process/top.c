#define _GNU_SOURCE /* ppoll, asprintf */
#include "process/top.h"

#include "process/remote.h"
#include "script/script.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define KEPT 6 /* snapshots: what is shown is of the time between the first and the last */
#define ANSWER_SECONDS 3.0
#define ONCE_WIDTH 160

static volatile sig_atomic_t quit_wanted, stop_wanted;

static void on_signal(int number)
{
    if (number == SIGTSTP)
        stop_wanted = 1;
    else if (number != SIGWINCH && number != SIGCONT) /* those only wake us */
        quit_wanted = 1;
}

typedef struct top {
    gw_remote remote;
    char *kept[KEPT]; /* JSON, oldest first */
    int count;
    struct termios before;
    bool raw, screen; /* the terminal is as we want it */
    sigset_t outside; /* signals that come while we wait */
} top;

/* ---- the terminal ---- */

static bool put(const char *bytes, size_t len)
{
    while (len) {
        ssize_t wrote = write(STDOUT_FILENO, bytes, len);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return false;
        bytes += wrote;
        len -= (size_t)wrote;
    }
    return true;
}

static bool put_text(const char *text)
{
    return put(text, strlen(text));
}

static void enter(top *t)
{
    if (tcgetattr(STDIN_FILENO, &t->before) == 0) {
        struct termios raw = t->before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        raw.c_cc[VMIN] = 1;
        raw.c_cc[VTIME] = 0;
        t->raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    }
    t->screen = put_text("\033[?1049h\033[?25l\033[2J"); /* the other screen, no cursor */
}

static void leave(top *t)
{
    if (t->screen)
        put_text("\033[?25h\033[?1049l");
    if (t->raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &t->before);
    t->screen = t->raw = false;
}

static void size_of(int *width, int *height)
{
    struct winsize size;
    *width = 80, *height = 24;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0)
        *width = size.ws_col, *height = size.ws_row;
}

/* ---- asking ---- */

/* GW_OK; GW_LIMIT: it does not tell us, which is printed; else why there was no answer. */
static int ask(top *t)
{
    gw_asked answer;
    gw_ask wanted = {.method = "GET", .path = "/snapshot", .token = t->remote.token, .seconds = ANSWER_SECONDS};
    int status = gw_ask_admin(&t->remote.to, &wanted, &answer);
    if (status != GW_OK)
        return status;
    char *json = NULL;
    if (answer.status != 200) {
        status = GW_LIMIT;
    } else {
        json = strndup(answer.body, answer.body_len);
        status = json ? GW_OK : GW_NOMEM;
    }
    if (status == GW_LIMIT) {
        char why[128];
        int len = snprintf(why, sizeof why, "{\"error\":\"the admin address answers with status %d\"}", answer.status);
        if (answer.body_len == 0 || answer.body[0] != '{')
            answer.body = why, answer.body_len = (size_t)len;
        leave(t); /* so that it stays to be read */
        gw_remote_print("status", &answer);
    }
    gw_asked_free(&answer);
    if (!json)
        return status;
    for (char *at = json; *at; at++)
        if (*at == '\n')
            *at = ' ';
    if (t->count == KEPT) {
        free(t->kept[0]);
        memmove(t->kept, t->kept + 1, (KEPT - 1) * sizeof t->kept[0]);
        t->count--;
    }
    t->kept[t->count++] = json;
    return GW_OK;
}

/* The screen as lines, by gateway.top; malloc'ed. NULL: why stands on stderr. */
static char *render(top *t, int width, int height, bool styled)
{
    char *word = NULL, *text = NULL;
    if (asprintf(&word, "%d %d %d\n%s\n%s", width, height, styled, t->kept[0], t->kept[t->count - 1]) < 0) {
        fputs("gateway: memory is out\n", stderr);
        return NULL;
    }
    bool good = gw_script_command("gateway.top", word, &text);
    free(word);
    if (good)
        return text;
    leave(t);
    fprintf(stderr, "%s\n", text ? text : "gateway: memory is out");
    free(text);
    return NULL;
}

/* ---- once ---- */

static int columns_asked(void)
{
    const char *text = getenv("COLUMNS");
    int columns = text ? atoi(text) : 0;
    return columns >= 20 && columns <= 1000 ? columns : ONCE_WIDTH;
}

static int once(top *t)
{
    int status = ask(t);
    if (status == GW_OK) {
        struct timespec second = {.tv_sec = 1};
        while (nanosleep(&second, &second) < 0 && errno == EINTR && !quit_wanted)
            ;
        status = ask(t);
    }
    if (status != GW_OK) {
        if (status != GW_LIMIT)
            fprintf(stderr, "gateway: no answer from the admin address %s: %s\n", t->remote.at, gw_remote_why(status));
        return EXIT_FAILURE;
    }
    char *text = render(t, columns_asked(), 0, false);
    if (!text)
        return EXIT_FAILURE;
    fputs(text, stdout);
    free(text);
    return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- the screen ---- */

/* Lines are written over those that stand there, so that nothing flickers. */
static bool draw(top *t, const char *note)
{
    int width, height;
    size_t len = 0;
    char *bytes = NULL;
    size_of(&width, &height);
    char *text = render(t, width, height > 1 ? height - 1 : 1, true);
    FILE *out = text ? open_memstream(&bytes, &len) : NULL;
    bool good = out != NULL;
    if (good) {
        int rows = 0;
        fputs("\033[H", out);
        for (const char *at = text; *at && rows < height - 1; rows++) {
            size_t line = strcspn(at, "\n");
            fprintf(out, "%.*s\033[K\r\n", (int)line, at);
            at += line + (at[line] == '\n');
        }
        fprintf(out, "\033[J\033[%d;1H\033[2m%.*s\033[0m\033[K", height, width > 1 ? width - 1 : 1, note);
        good = fclose(out) == 0;
    }
    good = good && put(bytes, len);
    free(bytes);
    free(text);
    return good;
}

/* Waits for what is left of the second, for a key or a signal. False: it is over. *again: the second is over. */
static bool wait_for(const top *t, const struct timespec *until, bool *again)
{
    struct timespec now, left;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t ns = (until->tv_sec - now.tv_sec) * INT64_C(1000000000) + (until->tv_nsec - now.tv_nsec);
    *again = ns <= 0;
    left = (struct timespec){.tv_sec = ns > 0 ? ns / 1000000000 : 0, .tv_nsec = ns > 0 ? ns % 1000000000 : 0};
    struct pollfd in = {.fd = t->raw ? STDIN_FILENO : -1, .events = POLLIN};
    int ready = ppoll(&in, 1, &left, &t->outside);
    if (ready > 0) {
        char key[64];
        ssize_t got = read(STDIN_FILENO, key, sizeof key);
        if (got <= 0 || memchr(key, 'q', (size_t)got) || memchr(key, 'Q', (size_t)got))
            return false;
    }
    *again = *again || ready == 0;
    return !quit_wanted;
}

static void stop_for_a_while(top *t)
{
    stop_wanted = 0;
    leave(t);
    raise(SIGSTOP); /* until somebody says go on */
    enter(t);
}

static int watch(top *t)
{
    static const int caught[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP, SIGCONT};
    sigset_t blocked;
    sigemptyset(&blocked);
    for (size_t i = 0; i < GW_COUNT(caught); i++) {
        struct sigaction action = {.sa_handler = on_signal};
        sigemptyset(&action.sa_mask);
        sigaction(caught[i], &action, NULL);
        sigaddset(&blocked, caught[i]);
    }
    sigprocmask(SIG_BLOCK, &blocked, &t->outside);
    int status = ask(t);
    if (status != GW_OK) {
        if (status != GW_LIMIT)
            fprintf(stderr, "gateway: no answer from the admin address %s: %s\n", t->remote.at, gw_remote_why(status));
        return EXIT_FAILURE;
    }
    bool good = true, again = true;
    enter(t);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    char note[256] = " q quits";
    while (good) {
        if (stop_wanted)
            stop_for_a_while(t);
        good = draw(t, note);
        if (again)
            until.tv_sec++;
        if (!good || !wait_for(t, &until, &again))
            break;
        if (!again)
            continue;
        clock_gettime(CLOCK_MONOTONIC, &until);
        status = ask(t);
        if (status == GW_LIMIT) {
            good = false;
        } else if (status == GW_OK) {
            snprintf(note, sizeof note, " q quits");
        } else {
            snprintf(note, sizeof note, " NO ANSWER (%s): what stands above is old; asking on. q quits", gw_status_text(status));
        }
    }
    leave(t);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

int gw_top_command(const gw_options *options)
{
    top *t = calloc(1, sizeof *t);
    int status = EXIT_FAILURE;
    if (!t)
        fputs("gateway: memory is out\n", stderr);
    else if (gw_remote_find(options, &t->remote))
        status = options->once || !isatty(STDOUT_FILENO) ? once(t) : watch(t);
    for (int i = 0; t && i < t->count; i++)
        free(t->kept[i]);
    free(t);
    return status;
}
