#include "process/dashboard.h"

#include "base/text.h"
#include "secure/base64.h"
#include "secure/digest.h"

static bool add_digest(gw_text *t, const size_t part[2])
{
    char digest[GW_DIGEST_MOST], text[GW_DIGEST_MOST / 3 * 4 + 4];
    int len = gw_digest(GW_DIGEST_SHA256, gw_dashboard_page + part[0], part[1], digest);
    if (len < 0)
        return false;
    gw_text_lit(t, "'sha256-");
    gw_text_add(t, text, (size_t)gw_base64_encode(digest, (size_t)len, 0, 1, text));
    gw_text_lit(t, "'");
    return true;
}

const char *gw_dashboard_fields(void)
{
    static char fields[640];
    if (fields[0])
        return fields;
    gw_text t = gw_text_on(fields, sizeof fields - 1);
    gw_text_lit(&t, "Content-Security-Policy: default-src 'none'; script-src ");
    bool good = add_digest(&t, gw_dashboard_script);
    gw_text_lit(&t, "; style-src ");
    good = good && add_digest(&t, gw_dashboard_style);
    gw_text_lit(&t, "; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
                    "Referrer-Policy: no-referrer\r\nCross-Origin-Opener-Policy: same-origin\r\n"
                    "Cross-Origin-Resource-Policy: same-origin\r\n");
    *t.at = '\0';
    if (!good || t.cut)
        fields[0] = '\0';
    return fields[0] ? fields : NULL;
}
