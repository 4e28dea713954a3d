/* The one place that reads clocks. Policy and http take `now` as a parameter and never come here. */
#ifndef GW_BASE_CLOCK_H
#define GW_BASE_CLOCK_H

#include <stdint.h>

int64_t gw_clock_monotonic_ns(void); /* never jumps */
double gw_clock_wall(void);          /* seconds since 1970 */
/* For tests: from here on both clocks stand still on this thread, at these times, until set anew or given back. */
void gw_clock_stand(int64_t monotonic_ns, double wall);
void gw_clock_go(void);
/* "2026-01-31T12:00:00.123Z" into 25 bytes, NUL-terminated. */
void gw_clock_iso8601(double wall, char out[25]);
/* "Sat, 31 Jan 2026 12:00:00 GMT" (IMF-fixdate, RFC 9110 section 5.6.7) into 30 bytes, NUL-terminated. */
void gw_clock_http_date(double wall, char out[30]);

#endif
