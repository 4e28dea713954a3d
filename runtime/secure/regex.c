/* How time is bounded. PCRE2's match limit counts only some steps, begins anew at each place of the text where a match could begin, and sees
 * nothing of the loops that compiled code makes over single characters: "\s+$" takes quadratic time within any limit. So:
 *
 * 1. The pattern is compiled behind a callout, which is called at each place where a match is tried and looks at the clock. A match limit
 *    that shrinks with the text bounds what one such place can cost.
 * 2. When that limit is met, which long texts may do that cost nothing out of the ordinary ("^(?:\d+,?)*$" on 100 KB), the match is made
 *    again with a callout before each of the pattern's items: they look at the clock too.
 *
 * The clock is the monotonic one, which costs no system call; only who is over the bound by it is asked how much time the thread itself had,
 * so that a busy machine fails no match. */
#include "secure/regex.h"
#include "secure/owned.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define STEPS 20000000 /* of the match limit, times the length of the text */
#define LIMIT_LEAST 16 /* of the match limit */
#define HEAP_KB 8192   /* that the interpreter may take */
#define STACK_KB_LEAST 64
#define STACK_KB 8192
#define CODE_KB 512         /* of a compiled pattern */
#define LOOK_EVERY 64       /* callouts */
#define STOPPED (-1000)     /* what a callout answers that stops the match */
#define BEFORE "(?C255)(?:" /* the callout */
#define BEFORE_LEN (sizeof BEFORE - 1)
#define NS_MOST (GW_REGEX_MILLISECONDS * (int64_t)1000000)

typedef struct watch {           /* one match's */
    int64_t until, thread_until; /* nanoseconds; 0: the clock does not run yet */
    uint32_t calls;
    bool careful;
} watch;

struct gw_regex {
    gw_owned owned;
    pcre2_code *code;    /* with the callout in front, compiled to machine code where that can be */
    pcre2_code *careful; /* with callouts everywhere; made when it is needed */
    pcre2_match_data *data;
    pcre2_match_context *context;
    char *pattern;
    size_t pattern_len;
    uint32_t options, names, name_bytes, captures;
    const uint8_t *name_table;
    watch watch;
    int places[];
};

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * (int64_t)1000000000 + t.tv_nsec;
}

/* 0: go on. */
static int look(watch *w)
{
    if (!w->until) {
        int64_t most = w->careful ? 2 * NS_MOST : NS_MOST;
        w->until = clock_ns(CLOCK_MONOTONIC) + most;
        w->thread_until = clock_ns(CLOCK_THREAD_CPUTIME_ID) + most;
        return 0;
    }
    if (gw_likely(clock_ns(CLOCK_MONOTONIC) < w->until))
        return 0;
    int64_t left = w->thread_until - clock_ns(CLOCK_THREAD_CPUTIME_ID);
    if (left <= 0)
        return STOPPED;
    w->until += left > 100000 ? left : 100000;
    return 0;
}

/* The first two calls of a match are free: nearly all matches have no more, and a clock costs more than they do. */
static int called(pcre2_callout_block *block, void *data)
{
    watch *w = data;
    uint32_t n = ++w->calls;
    if (block->callout_number == 255 && n > 2)
        return look(w);
    return n % LOOK_EVERY == 0 ? look(w) : 0;
}

static void drop(gw_owned *owned)
{
    gw_regex *r = gw_container_of(owned, gw_regex, owned);
    pcre2_match_context_free(r->context);
    pcre2_match_data_free(r->data);
    pcre2_code_free(r->careful);
    pcre2_code_free(r->code);
    free(r->pattern);
    free(r);
}

/* ---- compiling ---- */

static uint32_t options_of(int flags)
{
    /* \C would tear characters apart; a pattern that begins with "(*UTF)" would get around the flags. */
    uint32_t options = PCRE2_NEVER_BACKSLASH_C;
    options |= flags & GW_REGEX_CASELESS ? PCRE2_CASELESS : 0;
    options |= flags & GW_REGEX_MULTILINE ? PCRE2_MULTILINE : 0;
    options |= flags & GW_REGEX_DOTALL ? PCRE2_DOTALL : 0;
    options |= flags & GW_REGEX_EXTENDED ? PCRE2_EXTENDED : 0;
    options |= flags & GW_REGEX_ANCHORED ? PCRE2_ANCHORED : 0;
    options |= flags & GW_REGEX_UTF ? PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF : PCRE2_NEVER_UTF;
    return options;
}

static pcre2_code *refused(gw_regex_error *error, int at, const char *why)
{
    error->at = at;
    snprintf(error->text, sizeof error->text, "%s", why);
    return NULL;
}

static pcre2_code *compile(const char *pattern, size_t len, uint32_t options, gw_regex_error *error)
{
    int code;
    PCRE2_SIZE at;
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)pattern, len, options, &code, &at, NULL);
    if (compiled)
        return compiled;
    PCRE2_UCHAR text[160];
    if (pcre2_get_error_message(code, text, sizeof text) < 0)
        snprintf((char *)text, sizeof text, "error %d of PCRE2", code);
    return refused(error, (int)at, (const char *)text);
}

/* The pattern with the callout in front of it. A comment without an end, or \Q without \E, takes the closing parenthesis in: then NULL, and
 * callouts everywhere serve as well. */
static pcre2_code *compile_watched(const char *pattern, size_t len, uint32_t options)
{
    char *text = malloc(BEFORE_LEN + len + 1);
    if (!text)
        return NULL;
    memcpy(text, BEFORE, BEFORE_LEN);
    memcpy(text + BEFORE_LEN, pattern, len);
    text[BEFORE_LEN + len] = ')';
    gw_regex_error unused;
    pcre2_code *compiled = compile(text, BEFORE_LEN + len + 1, options, &unused);
    free(text);
    return compiled ? compiled : compile(pattern, len, options | PCRE2_AUTO_CALLOUT, &unused);
}

static pcre2_code *compile_checked(const char *pattern, size_t len, uint32_t options, gw_regex_error *error)
{
    if (len > GW_REGEX_PATTERN_MOST)
        return refused(error, -1, "it is longer than 16384 bytes");
    pcre2_code *plain = compile(pattern, len, options, error); /* for its errors and their places */
    if (!plain)
        return NULL;
    uint32_t captures = 0;
    size_t bytes = 0;
    pcre2_pattern_info(plain, PCRE2_INFO_CAPTURECOUNT, &captures);
    pcre2_pattern_info(plain, PCRE2_INFO_SIZE, &bytes);
    pcre2_code_free(plain);
    if (captures > GW_REGEX_CAPTURES_MOST)
        return refused(error, -1, "it has more than 255 groups");
    if (bytes > CODE_KB * 1024)
        return refused(error, -1, "it is too large when compiled");
    pcre2_code *watched = compile_watched(pattern, len, options);
    return watched ? watched : refused(error, -1, "not enough memory");
}

gw_regex *gw_regex_compile(const char *pattern, size_t len, int flags, gw_regex_error *error)
{
    uint32_t options = options_of(flags), captures = 0;
    pcre2_code *code = compile_checked(pattern, len, options, error);
    if (!code)
        return NULL;
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* where it cannot be, the interpreter does it */
    pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &captures);
    gw_regex *r = calloc(1, sizeof *r + 2 * (captures + 1) * sizeof *r->places);
    if (r) {
        r->owned.drop = drop;
        r->code = code;
        r->captures = captures;
        r->options = options;
        r->pattern = malloc(len + 1);
        r->pattern_len = len;
        r->data = pcre2_match_data_create_from_pattern(code, NULL);
        r->context = pcre2_match_context_create(NULL);
    } else
        pcre2_code_free(code);
    if (!r || !r->pattern || !r->data || !r->context) {
        if (r)
            drop(&r->owned);
        refused(error, -1, "not enough memory");
        return NULL;
    }
    memcpy(r->pattern, pattern, len);
    pcre2_set_callout(r->context, called, &r->watch);
    pcre2_set_heap_limit(r->context, HEAP_KB);
    pcre2_pattern_info(code, PCRE2_INFO_NAMECOUNT, &r->names);
    pcre2_pattern_info(code, PCRE2_INFO_NAMEENTRYSIZE, &r->name_bytes);
    pcre2_pattern_info(code, PCRE2_INFO_NAMETABLE, &r->name_table);
    return r;
}

int gw_regex_captures(const gw_regex *r)
{
    return (int)r->captures;
}

int gw_regex_name(const gw_regex *r, int n, const char **name)
{
    if (n < 0 || (uint32_t)n >= r->names)
        return 0;
    const uint8_t *entry = r->name_table + (size_t)n * r->name_bytes; /* two bytes of number, then the name */
    *name = (const char *)entry + 2;
    return entry[0] << 8 | entry[1];
}

int gw_regex_bytes(const gw_regex *r)
{
    size_t code = 0, machine = 0;
    pcre2_pattern_info(r->code, PCRE2_INFO_SIZE, &code);
    pcre2_pattern_info(r->code, PCRE2_INFO_JITSIZE, &machine);
    return (int)(sizeof *r + 2 * (r->captures + 1) * sizeof *r->places + r->pattern_len + code + machine + 1024);
}

/* ---- matching ---- */

static int run(gw_regex *r, const pcre2_code *code, const char *text, size_t len, size_t from, uint32_t limit, uint32_t options)
{
    pcre2_set_match_limit(r->context, limit);
    return pcre2_match(code, (PCRE2_SPTR)text, len, from, options, r->data, r->context);
}

/* Machine code with callouts everywhere, on a stack that is made for it: rare enough. What outgrows that too is for the interpreter. */
static int run_carefully(gw_regex *r, const char *text, size_t len, size_t from)
{
    gw_regex_error unused;
    if (!r->careful) {
        r->careful = compile(r->pattern, r->pattern_len, r->options | PCRE2_AUTO_CALLOUT, &unused);
        if (!r->careful)
            return PCRE2_ERROR_NOMEMORY;
        pcre2_jit_compile(r->careful, PCRE2_JIT_COMPLETE);
    }
    pcre2_jit_stack *stack = pcre2_jit_stack_create(STACK_KB_LEAST * 1024, STACK_KB * 1024, NULL);
    if (!stack)
        return PCRE2_ERROR_NOMEMORY;
    pcre2_jit_stack_assign(r->context, NULL, stack);
    r->watch = (watch){.careful = true};
    int found = run(r, r->careful, text, len, from, UINT32_MAX, 0);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
        found = run(r, r->careful, text, len, from, UINT32_MAX, PCRE2_NO_JIT);
    pcre2_jit_stack_assign(r->context, NULL, NULL);
    pcre2_jit_stack_free(stack);
    return found;
}

int gw_regex_match(gw_regex *r, const char *text, size_t len, int from)
{
    if (len > GW_REGEX_TEXT_MOST)
        return GW_INVALID;
    if (from < 0 || (size_t)from > len)
        return 0;
    r->watch = (watch){0};
    uint32_t limit = (uint32_t)(STEPS / (len + 1));
    int found = run(r, r->code, text, len, (size_t)from, limit < LIMIT_LEAST ? LIMIT_LEAST : limit, 0);
    if (gw_unlikely(found == PCRE2_ERROR_MATCHLIMIT || found == PCRE2_ERROR_JIT_STACKLIMIT))
        found = run_carefully(r, text, len, (size_t)from);
    if (found >= 0) {
        const PCRE2_SIZE *places = pcre2_get_ovector_pointer(r->data);
        for (uint32_t i = 0; i < 2 * (r->captures + 1); i++)
            r->places[i] = places[i] == PCRE2_UNSET ? -1 : (int)places[i];
        return 1;
    }
    switch (found) {
    case PCRE2_ERROR_NOMATCH:
    case PCRE2_ERROR_BADUTFOFFSET: /* a search that begins inside of a character */
        return 0;
    case PCRE2_ERROR_NOMEMORY:
        return GW_NOMEM;
    default: /* STOPPED; heap, depth and match limits */
        return GW_LIMIT;
    }
}

const int *gw_regex_places(const gw_regex *r)
{
    return r->places;
}
