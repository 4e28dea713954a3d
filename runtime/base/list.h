/* Intrusive doubly linked list; a node is a member of what it links. A node that is in no list points at itself. */
#ifndef GW_BASE_LIST_H
#define GW_BASE_LIST_H

#include <stdbool.h>

typedef struct gw_list {
    struct gw_list *next, *prev;
} gw_list;

static inline void gw_list_init(gw_list *l)
{
    l->next = l->prev = l;
}

static inline bool gw_list_empty(const gw_list *l)
{
    return l->next == l;
}

static inline void gw_list_remove(gw_list *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->next = n->prev = n;
}

static inline void gw_list_push_front(gw_list *l, gw_list *n)
{
    n->next = l->next;
    n->prev = l;
    l->next->prev = n;
    l->next = n;
}

static inline void gw_list_push_back(gw_list *l, gw_list *n)
{
    n->prev = l->prev;
    n->next = l;
    l->prev->next = n;
    l->prev = n;
}

#endif
