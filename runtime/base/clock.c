#include "base/clock.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

static _Thread_local struct {
    bool on;
    int64_t monotonic_ns;
    double wall;
} standing;

void gw_clock_stand(int64_t monotonic_ns, double wall)
{
    standing.on = true;
    standing.monotonic_ns = monotonic_ns;
    standing.wall = wall;
}

void gw_clock_go(void)
{
    standing.on = false;
}

int64_t gw_clock_monotonic_ns(void)
{
    if (__builtin_expect(standing.on, false))
        return standing.monotonic_ns;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail: the clock exists on every Linux */
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

double gw_clock_wall(void)
{
    if (__builtin_expect(standing.on, false))
        return standing.wall;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

typedef struct civil {
    unsigned year, month, day, hour, minute, second, millisecond, weekday; /* month from 1; weekday 0: Sunday */
} civil;

/* UTC date and time of a moment, by arithmetic: gmtime_r takes the C library's time zone lock, which all workers would share.
 * Days to date: Howard Hinnant, "chrono-compatible low-level date algorithms" (civil_from_days). What lies outside the years
 * 0 to 9999, and NaN, becomes the nearest end, so that the text always has its length. */
static int64_t milliseconds_of(double wall)
{
    const double least = -62167219200.0, most = 253402300799.999;
    double clamped = wall >= least ? (wall <= most ? wall : most) : least;
    return (int64_t)((clamped - least) * 1000.0 + 0.5); /* since 0000-01-01, so never negative */
}

static civil civil_of(double wall)
{
    int64_t ms = milliseconds_of(wall);
    int64_t seconds = ms / 1000;
    int64_t days = seconds / 86400, in_day = seconds % 86400;

    int64_t shifted = days - 60 + 146097; /* days since a 1 March, one whole 400-year era early so as to stay positive */
    int64_t of_era = shifted % 146097;
    int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * of_year + 2) / 153;
    int64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    int64_t year = year_of_era + (shifted / 146097 - 1) * 400 + (month <= 2);
    return (civil){
        .year = (unsigned)year,
        .month = (unsigned)month,
        .day = (unsigned)(of_year - (153 * month_from_march + 2) / 5 + 1),
        .hour = (unsigned)(in_day / 3600),
        .minute = (unsigned)(in_day / 60 % 60),
        .second = (unsigned)(in_day % 60),
        .millisecond = (unsigned)(ms % 1000),
        .weekday = (unsigned)((days + 6) % 7), /* 0000-01-01 was a Saturday */
    };
}

static char *digits(char *out, unsigned n, int count)
{
    for (int i = count; i-- > 0; n /= 10)
        out[i] = (char)('0' + n % 10);
    return out + count;
}

static char *word(char *out, const char *text, size_t len)
{
    memcpy(out, text, len);
    return out + len;
}

/* Days and hours stay for a while: those of the second that was written last are kept. */
static _Thread_local struct {
    int64_t ms; /* where that second begins, as in civil_of; 0: none yet */
    char text[20];
} last_second;

void gw_clock_iso8601(double wall, char out[25])
{
    int64_t into = milliseconds_of(wall) - last_second.ms;
    if (last_second.ms && into >= 0 && into < 1000) {
        memcpy(out, last_second.text, 20);
        *digits(out + 20, (unsigned)into, 3) = 'Z';
        out[24] = '\0';
        return;
    }
    char *begin = out;
    civil c = civil_of(wall);
    out = digits(out, c.year, 4);
    *out++ = '-';
    out = digits(out, c.month, 2);
    *out++ = '-';
    out = digits(out, c.day, 2);
    *out++ = 'T';
    out = digits(out, c.hour, 2);
    *out++ = ':';
    out = digits(out, c.minute, 2);
    *out++ = ':';
    out = digits(out, c.second, 2);
    *out++ = '.';
    out = digits(out, c.millisecond, 3);
    *out++ = 'Z';
    *out = '\0';
    last_second.ms = milliseconds_of(wall) / 1000 * 1000;
    memcpy(last_second.text, begin, 20);
}

void gw_clock_http_date(double wall, char out[30])
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    civil c = civil_of(__builtin_floor(wall)); /* a date names the second that has begun */
    out = word(out, days + (size_t)c.weekday * 3, 3);
    out = word(out, ", ", 2);
    out = digits(out, c.day, 2);
    *out++ = ' ';
    out = word(out, months + (size_t)(c.month - 1) * 3, 3);
    *out++ = ' ';
    out = digits(out, c.year, 4);
    *out++ = ' ';
    out = digits(out, c.hour, 2);
    *out++ = ':';
    out = digits(out, c.minute, 2);
    *out++ = ':';
    out = digits(out, c.second, 2);
    out = word(out, " GMT", 4);
    *out = '\0';
}
