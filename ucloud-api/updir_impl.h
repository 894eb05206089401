/*
 * Between updir.c (parts and their end) and updir_walk.c (what is there already, and removing
 * it). Nobody else includes this.
 */
#ifndef UCLOUD_UPDIR_IMPL_H
#define UCLOUD_UPDIR_IMPL_H

#include "common/model/file.h"
#include "ucloud-api/updir.h"

#define UPDIR_OWN    FILE_OWN_PREFIX "upload"
#define UPDIR_SUFFIX ".part"

struct updir {
	char *base_dir;
	char *default_realm;
};

/* base_dir, a descriptor that is the caller's; -1: ERR_UNAVAILABLE, it is not mounted now. */
int updir_open_base(const struct updir *d, struct err *e);

/* The directory that holds a file; *last is the file's name in it, borrowed from filename.
 * -1 with errno. */
int updir_open_parent(int user_fd, const char *filename, bool make, const char **last);

#endif
