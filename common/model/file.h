/*
 * Uploaded files: the entry (`/v1/file/<uuid>`, name index
 * `/v1/file-name/<realm>/<owner>/<filename>`, its value the bare uuid), and what the upload
 * machine's directories are called. ucloud-filescan writes entries and index. Pure.
 *
 * Below base_dir each user has a directory: `<name>` in the first realm that is allowed,
 * `<name>@<realm>` in others. In it, names that begin with FILE_OWN_PREFIX are ucloud's:
 * uploads that are not complete. They are not published. base_dir itself has FILE_MARKER in it:
 * without that its file system is not mounted, and nothing is to be read or written there.
 */
#ifndef UCLOUD_FILE_ENTRY_H
#define UCLOUD_FILE_ENTRY_H

#include <sys/stat.h>

#include "common/base/jtab.h"
#include "common/model/names.h"

#define FILE_OWN_PREFIX ".ucloud-"
#define FILE_MARKER	FILE_OWN_PREFIX "filescan"

struct file {
	char *uuid; /* file_uuid() */
	char *owner, *owner_realm;
	char *filename; /* relative to the user's directory (rel_path_check()) */
	int64_t size_bytes;
	char *sha512;	 /* hexadecimal */
	int64_t mtime;	 /* time */
	int64_t scanned; /* time it was hashed */
	char *identity;	 /* file_identity() of what was hashed */
	json_t *rest;
};

extern const struct jtab file_jtab;

int file_parse(const char *json, size_t size, struct file *out, struct err *e) MUST_USE;
char *file_format(const struct file *f);
void file_done(struct file *f);
void *file_parse_item(const char *name, json_t *json, struct err *e);
void file_free_item(void *f);

/* The same for the same owner and name, always. */
void file_uuid(const char *realm, const char *owner, const char *filename,
	char out[UUID_STR_SIZE]);
/* Tells whether a file is still the one that was looked at: inode, size and mtime (in
 * nanoseconds). The caller's. */
char *file_identity(const struct stat *st);

/* The name of a user's directory below base_dir; the caller's. */
char *file_dir(const char *name, const char *realm, const char *default_realm);
/* Whose directory is it? *name and *realm are the caller's. ERR_INVALID: nobody's; of a realm
 * that is not among realms (realms->v[0] is the default one), or no name of a user. */
int file_dir_parse(const char *dir, const struct strv *realms, char **name, char **realm,
	struct err *e) MUST_USE;

#endif
