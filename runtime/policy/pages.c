#include "policy/pages.h"

#define WHOLE_FROM (GW_PAGE_BYTES / 2) /* bytes: fewer than these would leave most of a page empty */

void gw_pages_init(gw_pages *p, char *memory, gw_pages_page *pages, uint32_t count)
{
    *p = (gw_pages){.memory = memory, .pages = pages, .count = count};
    gw_pages_reset(p);
}

void gw_pages_reset(gw_pages *p)
{
    p->fresh = 1;
    p->whole = p->split = 0;
    p->unused = (uint64_t)p->count * GW_PAGE_UNITS;
}

static void push(gw_pages *p, uint32_t *list, uint32_t index)
{
    p->pages[index].prev = 0;
    p->pages[index].next = *list;
    if (*list)
        p->pages[*list].prev = index;
    *list = index;
}

static void unlink_page(gw_pages *p, uint32_t *list, uint32_t index)
{
    gw_pages_page *page = &p->pages[index];
    if (page->prev)
        p->pages[page->prev].next = page->next;
    else
        *list = page->next;
    if (page->next)
        p->pages[page->next].prev = page->prev;
}

/* A free page, out of its list; 0: none. */
static uint32_t take_page(gw_pages *p)
{
    uint32_t index = p->whole;
    if (index)
        unlink_page(p, &p->whole, index);
    else if (p->fresh <= p->count)
        index = p->fresh++;
    else
        return 0;
    p->pages[index].free = 0;
    return index;
}

static uint32_t take_unit(gw_pages *p)
{
    uint32_t index = p->split;
    if (!index) {
        index = take_page(p);
        if (!index)
            return 0;
        p->pages[index].free = ~(uint32_t)0;
        push(p, &p->split, index);
    }
    gw_pages_page *page = &p->pages[index];
    uint32_t unit = (uint32_t)__builtin_ctz(page->free);
    page->free &= page->free - 1;
    if (!page->free)
        unlink_page(p, &p->split, index);
    p->unused--;
    return (index * GW_PAGE_UNITS + unit) << 1;
}

uint32_t gw_pages_take(gw_pages *p, size_t bytes)
{
    uint32_t index = bytes > WHOLE_FROM ? take_page(p) : 0, ref;
    if (index) {
        p->unused -= GW_PAGE_UNITS;
        ref = (index * GW_PAGE_UNITS) << 1 | 1;
    } else {
        ref = take_unit(p);
        if (!ref)
            return 0;
    }
    gw_piece_link(p, ref, 0);
    return ref;
}

static void give_one(gw_pages *p, uint32_t ref)
{
    uint32_t index = (ref >> 1) / GW_PAGE_UNITS;
    gw_pages_page *page = &p->pages[index];
    if (ref & 1) {
        push(p, &p->whole, index);
        p->unused += GW_PAGE_UNITS;
        return;
    }
    if (!page->free)
        push(p, &p->split, index);
    page->free |= (uint32_t)1 << (ref >> 1) % GW_PAGE_UNITS;
    p->unused++;
    if (page->free == ~(uint32_t)0) {
        unlink_page(p, &p->split, index);
        page->free = 0;
        push(p, &p->whole, index);
    }
}

void gw_pages_give(gw_pages *p, uint32_t ref)
{
    while (ref) {
        uint32_t next = gw_piece_next(p, ref);
        give_one(p, ref);
        ref = next;
    }
}
