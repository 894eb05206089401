/*
 * Keeps the tree (tree.h) true: a thread that lists directories, follows inotify and looks at
 * files that come to rest, and the threads that hash. It knows nothing of etcd. Any thread
 * may ask.
 *
 * A full pass lists everything: at the start, every rescan_sec, when inotify lost events, and
 * when base_dir has come back. Directories that inotify would not take are listed every
 * unwatched_sec.
 */
#ifndef UCLOUD_FILESCAN_SCAN_H
#define UCLOUD_FILESCAN_SCAN_H

#include "ucloud-filescan/tree.h"

struct scan;

struct scan_conf {
	char *base_dir;
	struct strv realms;
	int64_t settle_sec;
	int64_t rescan_sec;
	int64_t unwatched_sec;
	int64_t n_hashers;
	int64_t files_max;    /* of a user */
	int64_t file_gib_max; /* size of a file */
};

struct scan_calls {
	/* What there is to publish of this uuid may have changed. Must not block, nor ask. */
	void (*on_change)(void *aux, const char *uuid);
	/* A full pass has ended: absence means something from now on. */
	void (*on_complete)(void *aux);
	void *aux;
};

/* conf is borrowed. */
struct scan *scan_new(const struct scan_conf *conf, const struct scan_calls *calls);
/* Before the start: an entry, whose hash need not be computed again. */
void scan_add_known(struct scan *s, const struct file *entry);
void scan_start(struct scan *s);
void scan_stop(struct scan *s); /* twice is fine */
void scan_free(struct scan *s); /* stops it first */

/* As tree_get(). */
enum tree_has scan_get(struct scan *s, const char *uuid, struct file *out);
/* Is a file certainly not there that scan_get() calls absent? Only after a full pass, while
 * base_dir is there. */
bool scan_is_sure(struct scan *s, const struct file *entry);
/* Is there something it knows of and has not looked at yet (what is to be hashed does not
 * count)? A name that has gone may then come again as another. */
bool scan_is_looking(struct scan *s);
/* Is base_dir there this very moment, and the one that was looked at? Not an unmounted one. */
bool scan_is_base_there(struct scan *s);
/* on_change() for all. */
void scan_tell_all(struct scan *s);
/* 0, and a sentence in e->msg; < 0 when it cannot work. */
int scan_health(struct scan *s, struct err *e);

#endif
