/*
 * inotify(7): what changes in directories, told by the kernel. Thin; one thread.
 */
#ifndef UCLOUD_FILESCAN_INOT_H
#define UCLOUD_FILESCAN_INOT_H

#include <stdint.h>
#include <sys/inotify.h>

struct inot;

/* NULL with errno; EMFILE: fs.inotify.max_user_instances. */
struct inot *inot_open(void);
void inot_close(struct inot *in); /* NULL is fine */
int inot_fd(const struct inot *in);
/* Watches an open directory: the watch, or -1 with errno; ENOSPC:
 * fs.inotify.max_user_watches. The same directory has the same watch. */
int inot_add(struct inot *in, int dir_fd, uint32_t more_mask);
void inot_remove(struct inot *in, int wd);
/* Everything that there is now, without waiting. name is NULL when it is about the directory
 * itself; wd -1 with IN_Q_OVERFLOW: events were lost. */
typedef void inot_fn(void *aux, int wd, uint32_t mask, const char *name);
void inot_read(struct inot *in, inot_fn *fn, void *aux);

#endif
