/*
 * What was found below base_dir: directories, their files, and how far each file is. Pure: it
 * is told what was seen and what time it is. One thread at a time; directories are added and
 * removed by tree_see(), tree_gone(), tree_list_end() and tree_free() only, so that whoever
 * alone calls these may keep a struct fs_dir while others use the rest.
 *
 *	          seen, may still be written            not changed for settle_msec,
 *	     +------------------------> SETTLING -----------------+  or closed
 *	     |                             ^                      v
 *	(unknown) --- seen, is old --------|---------------> READY ---take---> HASHING
 *	     |                             | changed               ^              |
 *	     |    its hash is known        +-----------------------|--------------+
 *	     +------------------------> HASHED <-------------------|----hashed----+
 *	                                                           |              |
 *	                                  SKIPPED -- seen again ---+  <--failed---+
 *
 * What is seen with another identity than before begins anew. SKIPPED is also what is not
 * published at all: links, special files, names that are no text.
 */
#ifndef UCLOUD_FILESCAN_TREE_H
#define UCLOUD_FILESCAN_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "common/base/buf.h"
#include "common/model/file.h"
#include "ucloud-filescan/known.h"

struct tree;

enum seen_kind { SEEN_FILE, SEEN_DIR, SEEN_LINK, SEEN_SPECIAL, SEEN_OTHER_FS };

/* One name of a directory. */
struct seen {
	char *name;
	enum seen_kind kind;
	uint64_t ino;
	int64_t size_bytes;
	int64_t mtime;
	char *identity; /* of files: file_identity() */
	bool is_closed; /* of files: nobody writes to it any more */
};

enum skip_why {
	SKIP_NONE,
	SKIP_NAME, /* not UTF-8, or with control characters */
	SKIP_LONG, /* the path */
	SKIP_LINK,
	SKIP_SPECIAL,
	SKIP_OTHER_FS,
	SKIP_UNREADABLE, /* errnum says why */
	SKIP_NOBODY,	 /* a directory of nobody, or a file in base_dir itself */
	SKIP_DEEP,
	SKIP_LARGE,
	SKIP_MANY, /* the user has more names than nodes_max */
	SKIP_N
};
/* "is a link, ..." */
const char *skip_text(enum skip_why why);

enum fs_state { FS_SETTLING, FS_READY, FS_HASHING, FS_HASHED, FS_SKIPPED, FS_N_STATES };
const char *fs_state_name(enum fs_state state);

struct tree_conf {
	const struct strv *realms; /* the first is the default one */
	int64_t settle_msec;
	size_t nodes_max; /* names below one user's directory */
	unsigned depth_max;
	int64_t size_max; /* of a file */
	/* These must not call the tree. What is to be published of this uuid may have
	 * changed: */
	void (*on_change)(void *aux, const char *uuid);
	/* Once per name and reason; path is relative to base_dir and may be any bytes. */
	void (*on_skip)(void *aux, const char *path, enum skip_why why, int errnum);
	/* Nothing of this watch is of interest any more. */
	void (*on_unwatch)(void *aux, int wd);
	void *aux;
};

struct tree_time {
	int64_t msec; /* monotonic */
	int64_t unix_sec;
};

/* Strings and lists in conf are borrowed. */
struct tree *tree_new(const struct tree_conf *conf);
void tree_free(struct tree *t);

/* ---------------------------------------------------------------- directories */

struct fs_dir {
	UT_hash_handle hh; /* by name, in its parent */
	UT_hash_handle hh_wd;
	struct fs_dir *parent; /* NULL: base_dir */
	char *name;
	unsigned depth; /* 0 base_dir, 1 a user's, ... */
	struct fs_user *user;
	struct fs_dir *dirs;
	struct fs_file *files;
	uint64_t ino;
	int wd;		 /* of its watch; -1 none */
	bool is_unread;	 /* what is in it is not known */
	bool is_partial; /* nor is all of it: more names than nodes_max */
	bool is_queued;
	struct fs_dir *prev, *next; /* queued */
	unsigned gen, list_gen;
	int said; /* the errno it was last skipped with */
};

struct fs_dir *tree_root(struct tree *t);
/* Relative to base_dir, "." for itself; the caller's. */
char *tree_dir_path(const struct fs_dir *dir);
/* To be listed. Twice is fine. */
void tree_queue(struct tree *t, struct fs_dir *dir);
/* All that have no watch. */
void tree_queue_unwatched(struct tree *t);
/* The next one, NULL none. */
struct fs_dir *tree_take_queued(struct tree *t);
bool tree_has_queued(const struct tree *t);
/* The directory that has this watch; NULL none. */
struct fs_dir *tree_find_watch(struct tree *t, int wd);
/* wd -1: it has none any more (on_unwatch() is not called). A watch that another directory
 * had becomes this one's: it is the same directory, under a new name. */
void tree_set_watch(struct tree *t, struct fs_dir *dir, int wd);
/* None of them has a watch any more, without on_unwatch(). */
void tree_forget_watches(struct tree *t);
/* It could not be read: what was known below it stays. errnum 0: it was. */
void tree_set_unread(struct tree *t, struct fs_dir *dir, int errnum);

/* ---------------------------------------------------------------- names */

/* A new directory is queued. */
void tree_see(
	struct tree *t, struct fs_dir *dir, const struct seen *s, struct tree_time now);
void tree_gone(
	struct tree *t, struct fs_dir *dir, const char *name, struct tree_time now);
/* Between these two everything in a directory is seen; what was not is gone. */
void tree_list_begin(struct tree *t, struct fs_dir *dir);
void tree_list_end(struct tree *t, struct fs_dir *dir, struct tree_time now);
/* While one is on, listing a directory queues those in it, too. */
void tree_set_full_pass(struct tree *t, bool is_on);

/* The next file that may have come to rest: look at it (tree_see()) again. False: none.
 * *name is the caller's. */
bool tree_take_due(struct tree *t, int64_t now_msec, struct fs_dir **dir, char **name);
/* When tree_take_due() will have one; -1 never. */
int64_t tree_due_msec(struct tree *t);

/* ---------------------------------------------------------------- hashing */

struct hash_job {
	char uuid[UUID_STR_SIZE];
	char *path; /* relative to base_dir */
	char *identity;
	int64_t size_bytes;
};
void hash_job_done(struct hash_job *job);

/* Above this a file is large: those who take small ones only are not held up by it. */
#define TREE_LARGE_BYTES (256LL * 1024 * 1024)

/* The oldest one that is READY becomes HASHING; false: none. */
bool tree_take_ready(struct tree *t, bool small_only, struct hash_job *out);
/* How a job ended: its hash; */
void tree_hashed(struct tree *t, const struct hash_job *job, const char *sha512,
	struct tree_time now);
/* another file is there now, or none, or it was written to meanwhile; */
void tree_hash_changed(struct tree *t, const struct hash_job *job, struct tree_time now);
/* it cannot be read; */
void tree_hash_failed(struct tree *t, const struct hash_job *job, int errnum);
/* it was given up. */
void tree_hash_put_back(struct tree *t, const struct hash_job *job);
/* Of an entry in etcd: what need not be read again. */
void tree_add_known(struct tree *t, const struct file *entry, struct tree_time now);
void tree_purge_known(struct tree *t, int64_t before_msec);

/* ---------------------------------------------------------------- asking */

enum tree_has {
	TREE_ABSENT, /* it is not published; tree_is_sure() whether it really is not there */
	TREE_BUSY, /* it is there, but what it is now is not known yet */
	TREE_HASHED,
};
/* TREE_HASHED: *out is what to publish (the caller's, file_done()). */
enum tree_has tree_get(struct tree *t, const char *uuid, struct file *out);
/* Was everything listed where this file would be? False, too, for users of realms that are
 * not ours. */
bool tree_is_sure(struct tree *t, const struct file *entry);
/* on_change() for every file. */
void tree_tell_all(struct tree *t);

struct tree_counts {
	size_t n_files[FS_N_STATES];
	int64_t waiting_bytes; /* READY and HASHING */
	size_t n_dirs, n_watched;
};
void tree_count(struct tree *t, struct tree_counts *out);

#endif
