/* Who may ask at the admin address: whoever reaches it, unless a token is asked for; never a web page from elsewhere. */
#include "http/message.h"
#include "process/admin.h"
#include "secure/digest.h"

/* A name that a page from elsewhere cannot have: a browser that was led here by a rebound name sends that name. */
static bool ours(const gw_operation_spec *o, gw_slice host)
{
    static const gw_slice local = {"localhost", 9};
    gw_ip ip;
    if (host.len == 0 || gw_slice_equal_nocase(host, local) || gw_ip_parse(host, &ip) == 0)
        return true;
    if (o->admin_host.len && gw_slice_equal_nocase(host, o->admin_host))
        return true;
    return host.len > local.len + 1 && host.ptr[host.len - local.len - 1] == '.' &&
           gw_slice_equal_nocase(gw_slice_of(host.ptr + host.len - local.len, local.len), local);
}

/* Origin, where there is one, is the page that sent the request: it must be a page of ours. */
static bool own_page(const gw_request *r)
{
    int at = gw_headers_find(&r->headers, GW_SLICE("Origin"), 0);
    if (at < 0)
        return true;
    gw_slice origin = r->headers.item[at].value;
    if (gw_headers_find(&r->headers, GW_SLICE("Origin"), (uint32_t)at + 1) >= 0)
        return false;
    const char *slashes = memmem(origin.ptr, origin.len, "://", 3);
    if (!slashes || r->authority.len == 0)
        return false; /* "null" */
    const char *authority = slashes + 3;
    return gw_slice_equal_nocase(gw_slice_of(authority, (size_t)(origin.ptr + origin.len - authority)), r->authority);
}

static bool has_token(const gw_operation_spec *o, const gw_request *r)
{
    static const gw_slice scheme = {"Bearer ", 7};
    int at = gw_headers_find(&r->headers, GW_SLICE("Authorization"), 0);
    if (at < 0 || gw_headers_find(&r->headers, GW_SLICE("Authorization"), (uint32_t)at + 1) >= 0)
        return false;
    gw_slice value = r->headers.item[at].value;
    if (value.len <= scheme.len || !gw_slice_equal_nocase(gw_slice_of(value.ptr, scheme.len), scheme))
        return false;
    return gw_equal_secret(value.ptr + scheme.len, value.len - scheme.len, o->admin_token.ptr, o->admin_token.len);
}

int gw_admin_access(const gw_operation_spec *o, const gw_request *r, bool by_path, bool probe, const char **reason)
{
    if (!own_page(r)) {
        *reason = "requests from web pages elsewhere are refused";
        return 403;
    }
    if (o->admin_token.len) { /* which a page from elsewhere does not know, whatever the name by which it came */
        *reason = "expected the header Authorization: Bearer TOKEN";
        return probe || has_token(o, r) ? 0 : 401;
    }
    *reason = "expected a Host that is localhost, an IP address or the host of gateway.admin";
    return by_path || ours(o, r->host) ? 0 : 403;
}
