/* Spans to an OpenTelemetry collector: OTLP over HTTP, JSON encoding (opentelemetry-proto, OTLP specification 1.x), in batches.
 *
 * It is a log sink: workers write spans as lines into rings that never block, the log's writer thread gathers them and sends a batch here,
 * waiting as long as `timeout` says. A collector that cannot be reached costs spans, which are counted, and nothing else. */
#ifndef GW_NET_OTLP_H
#define GW_NET_OTLP_H

#include "base/log.h"

typedef struct gw_otlp_spec {
    gw_slice url;     /* "http://HOST[:PORT][/PATH]" as given; {NULL,0}: none */
    gw_slice host;    /* without brackets */
    uint16_t port;    /* 4318 when none is named */
    gw_slice path;    /* "/v1/traces" when none is named */
    gw_slice headers; /* more header lines, each ending in CR LF */
    gw_slice service; /* service.name */
    double timeout;   /* seconds a batch may take */
} gw_otlp_spec;

/* Fills host, port, path from url. GW_OK, or GW_INVALID with what is wrong in *reason. Slices point into `url`, or to literals. */
GW_API int gw_otlp_parse(gw_slice url, gw_otlp_spec *out, const char **reason);

/* Copies the spec. `events` (one of its own; may be NULL) gets a line, once a minute at most, when batches are lost. NULL: memory is out. */
gw_log_sink *gw_otlp_sink_new(const gw_otlp_spec *spec, gw_log_ring *events);

/* Spans that collectors have taken, in the life of the process. */
uint64_t gw_otlp_exported(void);

#endif
