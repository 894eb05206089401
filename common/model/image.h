/*
 * Images (`/v1/image/<uuid>`, name index `/v1/image-name/<realm>/<owner>/<name>`) and image
 * stores (`/v1/image_store/<name>`). Pure.
 */
#ifndef UCLOUD_IMAGE_H
#define UCLOUD_IMAGE_H

#include "common/base/jtab.h"

enum image_status {
	IMAGE_TO_BE_CREATED,
	IMAGE_CREATED,
	IMAGE_ERROR,
	IMAGE_TO_BE_DELETED
};
extern const char *const image_status_names[];
enum image_format { IMAGE_RAW, IMAGE_QCOW2 };
extern const char *const image_format_names[];

struct image {
	char *uuid, *name, *owner, *owner_realm, *description;
	char *store;	/* name of its image store */
	char *path;	/* filesystem: below <store path>/images/; ceph: RBD image name;
			   "" until it is made */
	int format;	/* enum image_format; stated, or what ucloud-image made */
	bool is_made;	/* "made": by ucloud-image, which removes its data with it */
	bool is_public; /* "public" in JSON */
	int status;
	int64_t progress;   /* percent, while it is being made */
	int64_t size_bytes; /* of the file; made: what it takes in the store; 0 unknown */
	int64_t virtual_bytes; /* what a VM sees; 0 unknown */
	char *sha512;
	char *file_uuid; /* the upload it is made from, "" none */
	char *filename;	 /* its name then */
	int64_t created;
	char *reason; /* of ERROR */
	json_t *rest;
};

enum store_type { STORE_FILESYSTEM, STORE_CEPH, STORE_FAKE };
extern const char *const store_type_names[]; /* "filesystem", "ceph", "fake" (tests) */

struct image_store {
	char *name;
	int type;
	char *path; /* filesystem: a directory, the same on all hosts that have the store */
	char *pool;    /* ceph: of images ("images") */
	char *vm_pool; /* ceph: of disks ("uservms") */
	char *ceph_conf, *ceph_user;
	int64_t max_image_gib; /* virtual size; 0: 2048 */
	int64_t created;
	json_t *rest;
};

extern const struct jtab image_jtab, image_store_jtab;

int image_parse(const char *json, size_t size, struct image *out, struct err *e) MUST_USE;
char *image_format_text(const struct image *im);
void image_done(struct image *im);
void *image_parse_item(const char *name, json_t *json, struct err *e);
void image_free_item(void *im);

int image_store_parse(
	const char *json, size_t size, struct image_store *out, struct err *e) MUST_USE;
char *image_store_format(const struct image_store *s);
/* What may be left out, and is filled in by image_store_parse(). */
void image_store_set_defaults(struct image_store *s);
/* Does each type have what it needs? image_store_parse() asks this too. */
int image_store_check(const struct image_store *s, struct err *e) MUST_USE;
void image_store_done(struct image_store *s);
void *image_store_parse_item(const char *name, json_t *json, struct err *e);
void image_store_free_item(void *s);
/* Are the disks of VMs in this store tied to one host? */
bool image_store_is_local(const struct image_store *s);

#endif
