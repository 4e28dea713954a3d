/* Changes of files, seen through their folders (inotify): editors replace a file by renaming another over it, so a watch on the
 * file itself would stay with the old one. */
#ifndef GW_NET_FILES_H
#define GW_NET_FILES_H

#include "net/loop.h"

typedef struct gw_files gw_files;

/* Something happened to `name` in the folder with that id: written and closed, moved in or out, removed, or (`made`) a first name, so
 * that a file may still be empty. An empty name: the
 * folder itself was moved or removed: look at all paths anew. id -1: events were lost, anything may have changed. */
typedef void gw_files_changed(void *data, int id, gw_slice name, bool made);

/* NULL: the kernel gives no more inotify instances, or memory is out; then *reason says which, in the kernel's words. */
gw_files *gw_files_new(gw_loop *loop, gw_files_changed *changed, void *data, const char **reason);
void gw_files_free(gw_files *f);
/* Watches a folder; its id (>= 0), the same one each time. GW_NOTFOUND: no such folder, or it may not be read. GW_LIMIT: the kernel
 * gives no more watches. */
int gw_files_add(gw_files *f, const char *folder);
void gw_files_remove(gw_files *f, int id);

#endif
