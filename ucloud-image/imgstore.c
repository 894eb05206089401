#include "ucloud-image/imgenv.h"

#include "common/model/names.h"

void imgstore_done(struct imgstore *s)
{
	disk_store_close(s->disks);
	s->disks = NULL;
	image_store_done(&s->conf);
}

static int open_entry(const struct kv_pair *pair, struct imgstore *out, struct err *e)
{
	if (image_store_parse(pair->value, pair->value_size, &out->conf, e) == 0 &&
		disk_store_open(&out->conf, &out->disks, e) == 0)
		return 0;
	imgstore_done(out);
	/* The asker can do nothing about it. */
	if (e && !err_is_passing(e->kind))
		e->kind = ERR_UNAVAILABLE;
	return -1;
}

int imgstore_open(struct kv *kv, const char *name, struct imgstore *out, struct err *e)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP_STR char *key = NULL;

	if (name_check(name ? name : "", e) < 0)
		return err_wrap(e, "image store");
	key = key_image_store(name);
	if (kv_get(kv, key, &pair, NULL, e) < 0)
		return -1;
	if (!pair.key)
		return err_set(e, ERR_NOT_FOUND, "there is no image store \"%s\"", name);
	*out = (struct imgstore){ 0 };
	return open_entry(&pair, out, e);
}
