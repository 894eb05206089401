/*
 * What scan.c (the thread, passes, base_dir) and scan_look.c (listing, inotify) share.
 *
 * The scanning thread alone adds and removes directories, so it reads them without the lock;
 * all else in the tree is behind the lock. Nothing is asked of the file system with the lock
 * held.
 */
#ifndef UCLOUD_FILESCAN_SCAN_IMPL_H
#define UCLOUD_FILESCAN_SCAN_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/base/log.h"
#include "ucloud-filescan/hashfile.h"
#include "ucloud-filescan/inot.h"
#include "ucloud-filescan/scan.h"
#include "ucloud-filescan/walk.h"

/* How many skipped names are named in the log for each pass; more are counted. */
#define SKIP_LINES_MAX 200

struct look;

struct scan {
	const struct scan_conf *conf;
	struct scan_calls calls;
	pthread_t thread;
	bool is_started;
	int wake; /* eventfd */
	atomic_bool is_stopping;
	struct hashers *hashers;

	pthread_mutex_t lock;	/* of the tree and of what is below */
	pthread_cond_t is_work; /* for hashers */
	struct tree *tree;
	bool is_complete; /* a full pass has ended since base_dir is there */
	atomic_bool is_base_there;
	bool is_looking;
	unsigned n_skipped; /* since the pass began */
	struct err base_err;
	struct base_id base_id;

	/* The scanning thread's own. */
	struct inot *inot;
	struct look *looks;
	bool want_pass; /* events were lost */
	bool is_in_pass;
	int64_t pass_began, pass_due, unwatched_due, base_due, read_due, count_due;
	bool is_limited; /* a watch was refused since the last pass began */
	struct log_repeat log_base, log_limit, log_overflow;
};

struct tree_time scan_now(void);
/* Opens base_dir; what it is was it before, or < 0: it has been noted that it is lost. */
int scan_open_base(struct scan *s, int *fd);
/* Lists the next queued directory, if any; true when there was one. */
bool scan_list_next(struct scan *s);
/* Looks at whatever inotify has told, and at files that may have come to rest. */
void scan_read_events(struct scan *s);
void scan_look_at_due(struct scan *s);
void scan_free_looks(struct scan *s);
/* As skipping is told by the tree. */
void scan_on_skip(void *aux, const char *path, enum skip_why why, int errnum);

#endif
