/* The conditions under which a staged reload goes back. */
#include "base/text.h"
#include "gateway/staging.h"
#include <stdio.h>

static const char *const names[] = {"errors", "mean", "p50", "p90", "p99"};

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

static void skip(gw_slice *s)
{
    while (s->len && blank(*s->ptr))
        s->ptr++, s->len--;
    while (s->len && blank(s->ptr[s->len - 1]))
        s->len--;
}

static bool take(gw_slice *s, const char *word)
{
    size_t n = strlen(word);
    if (s->len < n || memcmp(s->ptr, word, n) != 0)
        return false;
    s->ptr += n, s->len -= n;
    skip(s);
    return true;
}

/* A decimal number without sign or exponent. */
static bool take_number(gw_slice *s, double *out)
{
    double value = 0, unit = 0.1;
    size_t i = 0;
    for (; i < s->len && s->ptr[i] >= '0' && s->ptr[i] <= '9'; i++)
        value = value * 10 + (s->ptr[i] - '0');
    size_t digits = i;
    if (i + 1 < s->len && s->ptr[i] == '.' && digits)
        for (i++; i < s->len && s->ptr[i] >= '0' && s->ptr[i] <= '9'; i++, unit /= 10)
            value += (s->ptr[i] - '0') * unit;
    if (!digits || i > 12)
        return false;
    s->ptr += i, s->len -= i;
    skip(s);
    *out = value;
    return true;
}

/* What the metric is compared with: a share or a count of errors; a time. */
static bool take_value(gw_slice *s, gw_staged_rule *r)
{
    if (!take_number(s, &r->plus))
        return false;
    if (r->metric == GW_STAGED_ERRORS) {
        r->percent = take(s, "%");
        if (r->percent)
            r->plus /= 100;
        return true;
    }
    if (take(s, "ms"))
        r->plus /= 1000;
    else if (take(s, "us"))
        r->plus /= 1e6;
    else
        take(s, "s");
    return true;
}

int gw_staged_rule_parse(gw_slice text, gw_staged_rule *r, const char **reason)
{
    *r = (gw_staged_rule){.metric = -1};
    *reason = "expected a condition such as \"errors>1%\", \"p99>250ms\", \"errors>stable+1%\" or \"p99>stable*1.5\"";
    skip(&text);
    if (text.len >= sizeof r->text)
        return GW_INVALID;
    memcpy(r->text, text.ptr, text.len);
    for (size_t i = 0; i < text.len; i++) /* it is shown to people */
        if (r->text[i] < ' ' || r->text[i] > '~')
            return GW_INVALID;
    for (int i = 0; i < (int)GW_COUNT(names) && r->metric < 0; i++)
        if (take(&text, names[i]))
            r->metric = i;
    if (r->metric < 0 || !take(&text, ">"))
        return GW_INVALID;
    if (take(&text, "stable")) {
        r->factor = 1;
        r->percent = r->metric == GW_STAGED_ERRORS;
        if (take(&text, "*") && !(take_number(&text, &r->factor) && r->factor > 0))
            return GW_INVALID;
        skip(&text);
        if (take(&text, "+")) {
            if (!take_value(&text, r))
                return GW_INVALID;
            if (r->metric == GW_STAGED_ERRORS && !r->percent) {
                *reason = "beside stable errors are compared by their share: expected one such as \"errors>stable+1%\"";
                return GW_INVALID;
            }
        }
    } else if (!take_value(&text, r)) {
        return GW_INVALID;
    }
    skip(&text);
    if (text.len)
        return GW_INVALID;
    if (r->metric == GW_STAGED_ERRORS && r->percent && r->plus > 1) {
        *reason = "expected at most 100%";
        return GW_INVALID;
    }
    return GW_OK;
}

static double value_of(const gw_staged_rule *r, const gw_staged_sum *s)
{
    switch (r->metric) {
    case GW_STAGED_ERRORS:
        if (!r->percent)
            return (double)s->errors;
        return s->requests ? (double)s->errors / (double)s->requests : 0;
    case GW_STAGED_MEAN:
        return s->mean;
    case GW_STAGED_P50:
        return s->p50;
    case GW_STAGED_P90:
        return s->p90;
    default:
        return s->p99;
    }
}

static void in_words(const gw_staged_rule *r, double value, char *out, size_t bytes)
{
    if (r->metric == GW_STAGED_ERRORS && r->percent)
        snprintf(out, bytes, "%.3g%%", value * 100);
    else if (r->metric == GW_STAGED_ERRORS)
        snprintf(out, bytes, "%.0f", value);
    else
        snprintf(out, bytes, value < 1 ? "%.3g ms" : "%.3g s", value < 1 ? value * 1000 : value);
}

bool gw_staged_rule_broken(const gw_staged_rule *r, const gw_staged_sum *stable, const gw_staged_sum *candidate, char *why,
                           size_t why_bytes)
{
    double found = value_of(r, candidate), base = r->factor > 0 ? value_of(r, stable) : 0;
    double bound = base * r->factor + r->plus;
    if (!(found > bound))
        return false;
    char a[32], b[32], c[32];
    in_words(r, found, a, sizeof a);
    in_words(r, bound, b, sizeof b);
    in_words(r, base, c, sizeof c);
    if (r->factor > 0)
        snprintf(why, why_bytes, "%s: the candidate's is %s, the stable one's %s, %s allowed", r->text, a, c, b);
    else
        snprintf(why, why_bytes, "%s: the candidate's is %s", r->text, a);
    return true;
}
