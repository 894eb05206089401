/*
 * Looking at directories below base_dir, of which users own all but the top: nothing is
 * followed that leads out of them (openat2(2)). Thin; any thread.
 */
#ifndef UCLOUD_FILESCAN_WALK_H
#define UCLOUD_FILESCAN_WALK_H

#include <sys/types.h>

#include "common/model/file.h"
#include "ucloud-filescan/tree.h"

/* In base_dir, made by setup: says that it is the right directory, and that its file system
 * is mounted. */
#define BASE_MARKER FILE_MARKER

/* Which directory is it? */
struct base_id {
	dev_t dev;
	ino_t ino;
};

void walk_close(const int *fd); /* for CLEANUP; -1 is fine */

/* Opens base_dir. ERR_NOT_FOUND: it has no marker. */
int base_open(const char *base_dir, int *fd, struct base_id *id, struct err *e) MUST_USE;
/* The marker is made in base_dir, and base_dir when there is none: 2771, of the group
 * `group` when there is one and we may. */
int base_setup(const char *base_dir, const char *group, struct err *e) MUST_USE;

/* A directory of this file system; -1 with errno. */
int walk_open(int base_fd, const char *path) MUST_USE;

struct seen_list {
	struct seen *v;
	size_t len;
	bool is_cut; /* there are more than max */
};
void seen_list_done(struct seen_list *l);
struct walk_conf {
	dev_t dev;  /* the file system to stay in */
	size_t max; /* names */
	/* Files written to since then are asked about whether somebody still has them open for
	 * writing (fcntl(2), F_SETLEASE: it needs CAP_LEASE; without it is_closed stays
	 * false). SIGIO must be ignored. */
	int64_t recent_unix_sec;
};
/* All names in an open directory; 0 or errno. */
int walk_list(int dir_fd, const struct walk_conf *conf, struct seen_list *out) MUST_USE;
/* One name: 0 or errno (ENOENT). */
int walk_look(int dir_fd, dev_t dev, const char *name, struct seen *out) MUST_USE;
void seen_done(struct seen *s);

#endif
