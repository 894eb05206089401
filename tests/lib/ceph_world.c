#include "tests/lib/ceph_world.h"

#include <stdio.h>
#include <string.h>

#include "tests/lib/test_util.h"

struct test_ceph *cw_ceph;

void cw_must(int rc, const struct err *e)
{
	if (rc != 0)
		fail_msg("%s", e->msg);
}

void cw_must_fail(int rc, const struct err *e, enum err_kind want, const char *words)
{
	assert_int_equal(rc, -1);
	if (e->kind != want || !strstr(e->msg, words))
		fail_msg("kind %s, \"%s\", which does not say: %s",
			err_kind_name(e->kind), e->msg, words);
}

/* ---------------------------------------------------------------- the kind */

void cw_conf(struct image_store *out, const char *path)
{
	out->name = xstrdup("local");
	out->type = STORE_CEPH;
	out->pool = xstrdup(CW_POOL);
	out->vm_pool = xstrdup(CW_VM_POOL);
	out->ceph_conf = xstrdup(path);
	out->ceph_user = xstrdup(CW_USER);
}

static void make(struct disk_lab *lab)
{
	CLEANUP_STR char *images = xasprintf("%s/images", lab->dir);

	test_mkdir(images);
	cw_conf(&lab->conf, test_ceph_path(cw_ceph));
	lab->other_conf.name = xstrdup("other");
	lab->other_conf.type = STORE_FILESYSTEM;
	lab->other_conf.path = xstrdup(lab->dir);
}

static void remove_everything(struct disk_lab *lab)
{
	CLEANUP(strv_done) struct strv vms = { 0 }, images = { 0 };
	struct disk_store *s = NULL;
	struct err e = { 0 };

	cw_must(disk_store_open(&lab->conf, &s, &e), &e);
	cw_must(disk_list(s, &vms, &e), &e);
	for (size_t i = 0; i < vms.len; i++)
		cw_must(disk_remove_all(s, vms.v[i], &e), &e);
	cw_must(image_list(s, &images, &e), &e);
	for (size_t i = 0; i < images.len; i++)
		cw_must(image_remove(s, images.v[i], &e), &e);
	disk_store_close(s);
}

static char *url(struct disk_lab *lab, const struct disk_source *src)
{
	assert_int_equal(src->kind, DISK_SOURCE_RBD);
	return xasprintf("rbd:%s:id=%s:conf=%s", src->path, CW_USER, lab->conf.ceph_conf);
}

/* As QEMU does: it writes, and so has the image's lock. */
void *cw_hold(struct disk_lab *lab, const char *vm_uuid, unsigned index)
{
	struct cw_held *h = xcalloc(1, sizeof(*h));
	char name[CEPH_NAME_SIZE];
	struct err e = { 0 };

	ceph_name_disk(name, vm_uuid, index);
	h->conn = ceph_conn_new(&lab->conf);
	cw_must(ceph_io_take(h->conn, &h->io, &e), &e);
	cw_must(disk_rbd_open_rw(&h->io, h->io.vms, name, &h->im, &e), &e);
	assert_int_equal(h->io.lib->rbd_write(h->im.image, 0, 1, "x"), 1);
	return h;
}

void cw_release(struct disk_lab *lab, void *held)
{
	struct cw_held *h = held;

	(void)lab;
	disk_rbd_image_done(&h->im);
	ceph_io_give(&h->io);
	ceph_conn_free(h->conn);
	free(h);
}

const struct disk_kind cw_kind = {
	.make = make,
	.remove = remove_everything,
	.url = url,
	.hold = cw_hold,
	.release = cw_release,
	/* librbd looks at each of its objects when it is removed: of 64 TiB for half a minute. */
	.largest_gib = 4096,
	.has_users = true,
};

/* ---------------------------------------------------------------- what is in it */

/* Opens the store anew with this ceph.conf and user. */
void cw_open_as(struct disk_lab *lab, const char *path, const char *name)
{
	str_set(&lab->conf.ceph_conf, xstrdup(path));
	str_set(&lab->conf.ceph_user, xstrdup(name));
	disk_lab_open(lab);
}

/* The names in a pool, as rbd(8) lists them. */
void cw_pool_is(const char *name, const char *want)
{
	CLEANUP_STR char *out = test_ceph_run(cw_ceph, "rbd ls %s", name);

	for (char *c = out; *c; c++)
		*c = *c == '\n' ? ' ' : *c;
	assert_string_equal(out, want);
}

/* What RBD itself keeps in a pool. */
static const char *const kept[] = { "rbd_info", "rbd_directory", "rbd_children",
	"rbd_trash" };

/* The first object in a pool that is of an image, the caller's; NULL: there is none. */
static char *find_object(const char *name)
{
	CLEANUP_STR char *out = test_ceph_run(cw_ceph, "rados -p %s ls", name);
	CLEANUP(strv_done) struct strv lines = { 0 };

	strv_split(&lines, out, '\n');
	for (size_t i = 0; i < lines.len; i++) {
		bool is_kept = false;

		for (size_t k = 0; k < ARRAY_LEN(kept); k++)
			is_kept = is_kept || str_eq(lines.v[i], kept[k]);
		if (!is_kept)
			return xstrdup(lines.v[i]);
	}
	return NULL;
}

static bool has_no_objects(void *aux)
{
	CLEANUP_STR char *left = find_object(*(const char *const *)aux);

	return !left;
}

/* The cluster takes its time to remove objects that were in snapshots. */
void cw_pool_is_empty(const char *name)
{
	if (!wait_until(has_no_objects, &name, RUN_MSEC)) {
		CLEANUP_STR char *left = find_object(name);

		fail_msg("%s: %s is left", name, left ? left : "something");
	}
}
