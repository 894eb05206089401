/*
 * What tree.c (directories and names) and tree_files.c (how far files are) share.
 */
#ifndef UCLOUD_FILESCAN_TREE_IMPL_H
#define UCLOUD_FILESCAN_TREE_IMPL_H

#include "ucloud-filescan/tree.h"

struct fs_user {
	char *name, *realm;
	char *whose; /* name@realm */
	size_t n_nodes;
	bool is_full; /* it was said */
};

struct fs_file {
	UT_hash_handle hh; /* by name, in its directory */
	UT_hash_handle hh_uuid;
	struct fs_dir *dir;
	char *name;
	enum fs_state state;
	enum skip_why said; /* why it was last skipped, and with which errno */
	int said_errnum;
	char uuid[UUID_STR_SIZE]; /* "": it is never published, and not in by_uuid */
	char *identity;
	int64_t size_bytes, mtime;
	struct known *known; /* of HASHED */
	int64_t due_msec;    /* of SETTLING */
	bool was_due;	     /* it is being looked at once more */
	struct fs_file *prev, *next;
	unsigned gen;
};

enum { READY_SMALL, READY_LARGE, N_READY };

struct tree {
	struct tree_conf conf;
	struct fs_dir *root;
	struct fs_dir *by_wd;
	struct fs_dir *queue;
	struct fs_file *by_uuid;
	struct fs_file *settling;
	struct fs_file *ready[N_READY];
	struct knowns knowns;
	struct tree_counts counts;
	bool is_full_pass;
};

/* Leaves the lists and counts of its state and enters those of another. */
void fs_file_move(struct tree *t, struct fs_file *f, enum fs_state state);
void fs_file_settle(struct tree *t, struct fs_file *f, struct tree_time now);
void fs_file_skip(struct tree *t, struct fs_file *f, enum skip_why why, int errnum);
void fs_file_seen(
	struct tree *t, struct fs_file *f, const struct seen *s, struct tree_time now);
/* Of a file that goes: out of all lists, not freed. */
void fs_file_leave(struct tree *t, struct fs_file *f, struct tree_time now);
char *fs_file_path(const struct fs_file *f);
/* Relative to the user's directory. */
char *fs_file_rel_path(const struct fs_dir *dir, const char *name);

#endif
