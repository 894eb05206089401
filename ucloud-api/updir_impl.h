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
	int fd;
	char *default_realm;
};

/* The user's directory: a descriptor, or -1 with errno. */
int updir_open_user(struct updir *d, const char *owner, const char *realm, bool make);
/* The directory that holds a file; *last is the file's name in it, borrowed from filename.
 * -1 with errno. */
int updir_open_parent(int user_fd, const char *filename, bool make, const char **last);

#endif
