#include "ucloud-image/storeverb.h"

#include <string.h>

#include "common/base/buf.h"
#include "common/disk/disk.h"
#include "common/disk/images.h"
#include "common/model/names.h"

/* Conflicts with others that change the same entry. */
#define TRIES 5

/* Opening alone does not ask a cluster for anything. */
static int check_reached(const struct image_store *s, struct err *e)
{
	CLEANUP(strv_done) struct strv images = { 0 };
	struct disk_store *disks = NULL;
	int rc = disk_store_open(s, &disks, e);

	if (rc == 0)
		rc = image_list(disks, &images, e);
	disk_store_close(disks);
	return rc < 0 ? err_wrap(e, "the store cannot be used from this machine") : 0;
}

/* Whether the lost answer was a yes. */
static int look_after_unknown(
	struct kv *kv, const char *key, const char *text, struct err *e)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };

	if (kv_get(kv, key, &pair, NULL, e) < 0)
		return -1;
	if (str_eq(pair.key ? pair.value : NULL, text))
		return 0;
	return err_set(e, ERR_UNAVAILABLE, "etcd did not answer: try again");
}

static int write_new(struct kv *kv, const struct image_store *s, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = key_image_store(s->name);
	CLEANUP_STR char *text = image_store_format(s);
	int rc;

	kv_txn_if_rev(t, key, 0);
	kv_txn_put(t, key, text);
	rc = kv_txn_commit(kv, t, NULL, e);
	if (rc == KV_CONFLICT)
		return err_set(
			e, ERR_EXISTS, "there is an image store \"%s\" already", s->name);
	return rc == KV_UNKNOWN ? look_after_unknown(kv, key, text, e) : rc;
}

int store_add(struct kv *kv, const char *name, const struct store_opts *opts, int64_t now,
	struct err *e)
{
	CLEANUP(image_store_done) struct image_store s = { 0 };

	if (name_check(name, e) < 0)
		return err_wrap(e, "the store's name");
	s.name = xstrdup(name);
	s.type = opts->type;
	s.path = xstrdup(opts->path);
	s.pool = xstrdup(opts->pool);
	s.vm_pool = xstrdup(opts->vm_pool);
	s.ceph_conf = xstrdup(opts->ceph_conf);
	s.ceph_user = xstrdup(opts->ceph_user);
	s.max_image_gib = opts->max_image_gib;
	s.created = now;
	image_store_set_defaults(&s);
	if (image_store_check(&s, e) < 0 || check_reached(&s, e) < 0)
		return -1;
	return write_new(kv, &s, e);
}

int store_list(struct kv *kv, FILE *out, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list list = { 0 };

	if (kv_range(kv, KEY_IMAGE_STORE, 0, &list, e) != 0)
		return -1;
	for (size_t i = 0; i < list.len; i++) {
		const char *name = list.v[i].key + strlen(KEY_IMAGE_STORE);
		CLEANUP(image_store_done) struct image_store s = { 0 };

		if (image_store_parse(list.v[i].value, list.v[i].value_size, &s, e) < 0)
			fprintf(out, "%-32s is damaged: %s\n", name, e->msg);
		else if (s.type == STORE_CEPH)
			fprintf(out, "%-32s %-10s %s, %s\n", name,
				store_type_names[s.type], s.pool, s.vm_pool);
		else
			fprintf(out, "%-32s %-10s %s\n", name, store_type_names[s.type],
				s.path ? s.path : "");
	}
	return 0;
}

/* ---------------------------------------------------------------- delete */

/* One that cannot be read may be in it. */
static int count_images(struct kv *kv, const struct keys *keys, const char *store,
	int64_t *n, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list list = { 0 };

	if (kv_range(kv, keys->image, 0, &list, e) != 0)
		return -1;
	*n = 0;
	for (size_t i = 0; i < list.len; i++) {
		CLEANUP(image_done) struct image im = { 0 };
		bool is_bad =
			image_parse(list.v[i].value, list.v[i].value_size, &im, NULL) < 0;

		*n += is_bad || str_eq(im.store, store);
	}
	return 0;
}

/* The API rewrites a store's entry with each image that is made in it: the comparison finds
 * those that came since they were counted. */
static int try_delete(
	struct kv *kv, const struct keys *keys, const char *name, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP_STR char *key = key_image_store(name);
	int64_t n = 0;
	int rc;

	if (kv_get(kv, key, &pair, NULL, e) < 0)
		return -1;
	if (!pair.key)
		return err_set(e, ERR_NOT_FOUND, "there is no image store \"%s\"", name);
	if (count_images(kv, keys, name, &n, e) < 0)
		return -1;
	if (n > 0)
		return err_set(e, ERR_CONFLICT,
			"the image store \"%s\" is in use by %lld image%s: delete %s "
			"first",
			name, (long long)n, n == 1 ? "" : "s", n == 1 ? "it" : "them");
	kv_txn_if_rev(t, key, pair.mod_rev);
	kv_txn_del(t, key);
	rc = kv_txn_commit(kv, t, NULL, e);
	return rc == KV_UNKNOWN ? look_after_unknown(kv, key, NULL, e) : rc;
}

int store_delete(struct kv *kv, const struct keys *keys, const char *name, struct err *e)
{
	if (name_check(name, e) < 0)
		return err_wrap(e, "the store's name");
	for (int i = 0; i < TRIES; i++) {
		int rc = try_delete(kv, keys, name, e);

		if (rc <= 0)
			return rc;
	}
	return err_set(e, ERR_CONFLICT,
		"the image store \"%s\" is being changed by somebody else: try again",
		name);
}
