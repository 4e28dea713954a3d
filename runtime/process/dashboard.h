/* The admin address's page: HTML with its style and script in it, as the build joined them from runtime/process/dashboard/. */
#ifndef GW_PROCESS_DASHBOARD_H
#define GW_PROCESS_DASHBOARD_H

#include "base/base.h"

extern const char gw_dashboard_page[];
extern const size_t gw_dashboard_page_len;
/* Where in the page the style stands, and the script: what is between their tags. */
extern const size_t gw_dashboard_style[2], gw_dashboard_script[2]; /* offset, length */

/* Header lines for it, with a Content-Security-Policy that lets in this style and this script by their digests and nothing else. NULL: OpenSSL
 * has no SHA-256 to give. Control thread. */
const char *gw_dashboard_fields(void);

#endif
