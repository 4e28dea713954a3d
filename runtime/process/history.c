#include "process/history.h"

#include "process/reload.h"
#include <string.h>

/* Whole lines of `from`, at most GW_HISTORY_TEXT bytes of them. */
static void copy(gw_lines *to, const gw_lines *from)
{
    if (from->len <= GW_HISTORY_TEXT) {
        if (from->len)
            gw_lines_add(to, "%s", from->text);
        return;
    }
    size_t len = GW_HISTORY_TEXT;
    while (len && from->text[len - 1] != '\n')
        len--;
    if (!len) /* one line that is longer than all room */
        len = GW_HISTORY_TEXT;
    gw_lines_add(to, "%.*s%s... and more: the log has all of it\n", (int)len, from->text,
                 from->text[len - 1] == '\n' ? "" : "\n");
}

void gw_history_add(gw_history *h, const gw_reload_result *result)
{
    gw_history_entry *e;
    if (h->count < GW_HISTORY_MOST) {
        e = &h->entry[(h->first + h->count++) % GW_HISTORY_MOST];
    } else {
        e = &h->entry[h->first];
        h->first = (h->first + 1) % GW_HISTORY_MOST;
        gw_lines_clear(&e->errors);
        gw_lines_clear(&e->warnings);
    }
    *e = (gw_history_entry){
        .ok = result->ok, .generation = result->generation, .cause = result->cause, .at = result->at, .seconds = result->seconds};
    copy(&e->errors, &result->errors);
    copy(&e->warnings, &result->warnings);
}

void gw_history_clear(gw_history *h)
{
    for (uint32_t i = 0; i < GW_HISTORY_MOST; i++) {
        gw_lines_clear(&h->entry[i].errors);
        gw_lines_clear(&h->entry[i].warnings);
    }
    h->count = h->first = 0;
}

void gw_history_json(gw_text *t, const gw_history *h)
{
    gw_text_lit(t, "[");
    for (uint32_t i = h->count; i-- > 0 && !t->cut;) {
        const gw_history_entry *e = &h->entry[(h->first + i) % GW_HISTORY_MOST];
        gw_text_printf(t, "%s{\"ok\":%s,\"generation\":%llu,\"cause\":", i + 1 < h->count ? "," : "", e->ok ? "true" : "false",
                       (unsigned long long)e->generation);
        gw_text_json(t, gw_slice_str(e->cause));
        gw_text_lit(t, ",\"at\":");
        gw_text_fixed(t, e->at, 3);
        gw_text_lit(t, ",\"seconds\":");
        gw_text_fixed(t, e->seconds, 6);
        gw_text_lit(t, ",\"errors\":[");
        gw_lines_json(t, e->errors.text, false);
        gw_text_lit(t, "],\"warnings\":[");
        gw_lines_json(t, e->warnings.text, false);
        gw_text_lit(t, "]}");
    }
    gw_text_lit(t, "]");
}
