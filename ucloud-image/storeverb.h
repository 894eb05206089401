/*
 * `ucloud-image store add|list|delete`: image stores, as admins also make them over the API.
 * They write the same entries; here it is tried at once whether the store can be reached.
 */
#ifndef UCLOUD_IMAGE_STOREVERB_H
#define UCLOUD_IMAGE_STOREVERB_H

#include <stdio.h>

#include "common/model/image.h"
#include "common/model/keys.h"
#include "common/store/kv.h"

/* The values of the verb's options; what is left out gets image_store_set_defaults(). */
struct store_opts {
	int type;
	char *path, *pool, *vm_pool, *ceph_conf, *ceph_user;
	int64_t max_image_gib;
};

int store_add(struct kv *kv, const char *name, const struct store_opts *opts, int64_t now,
	struct err *e) MUST_USE;
int store_list(struct kv *kv, FILE *out, struct err *e) MUST_USE;
/* ERR_CONFLICT: there are images in it. */
int store_delete(
	struct kv *kv, const struct keys *keys, const char *name, struct err *e) MUST_USE;

#endif
