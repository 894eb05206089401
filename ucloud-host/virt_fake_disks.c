/* Disks of the fake hypervisor's domains, the guest's agent, secrets. */
#include "ucloud-host/virt_fake_impl.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/disk/disk.h"
#include "ucloud-host/domxml.h"

#define PATH_PREFIX "\"/fake/"

static _Thread_local bool is_inside;

bool fake_hyper_is_inside(void)
{
	return is_inside;
}

/* The store that its disks are in; NULL: none of disk_fake.h. */
static struct disk_store *open_store(const struct fdom *f)
{
	char path[] = "/";
	struct image_store conf = { .name = f->store, .type = STORE_FAKE, .path = path };
	struct disk_store *s = NULL;
	struct err e;

	if (f->store == NULL || disk_store_open(&conf, &s, &e) < 0)
		return NULL;
	is_inside = true;
	return s;
}

static void close_store(struct disk_store **s)
{
	disk_store_close(*s);
	is_inside = false;
}

static int64_t size_of(const struct fdom *f, unsigned index)
{
	CLEANUP(close_store) struct disk_store *s = open_store(f);
	int64_t size_bytes = 0;
	struct err e;

	if (s == NULL || disk_stat(s, f->d.uuid, index, &size_bytes, &e) != 0)
		return 0;
	return size_bytes;
}

static uint32_t disks_in(const char *xml)
{
	CLEANUP_STR char *whole =
		xasprintf("<domain><devices>%s</devices></domain>", xml);
	struct domxml_disks one = { 0 }, all = { 0 };
	uint32_t disks = 0;
	struct err e;

	if (domxml_read_disks(xml, &all, &e) < 0 ||
		domxml_read_disks(whole, &one, &e) < 0)
		one = (struct domxml_disks){ 0 };
	for (unsigned i = 0; i < VIRT_DISKS_MAX; i++)
		disks |= all.has[i] || one.has[i] ? 1U << i : 0;
	return disks;
}

static void note_store(struct fdom *f, const char *xml)
{
	const char *path = strstr(xml, PATH_PREFIX);

	if (path == NULL)
		return;
	path += strlen(PATH_PREFIX);
	str_set(&f->store, xstrndup(path, strcspn(path, "/\"")));
}

void virt_fake_disks_define(struct fdom *f, const char *xml)
{
	note_store(f, xml);
	f->config = disks_in(xml);
}

static void put_in(struct fdom *f, unsigned index)
{
	f->live.is_attached[index] = true;
	f->live.size_bytes[index] = size_of(f, index);
	f->let_go_msec[index] = 0;
}

void virt_fake_disks_on(struct fdom *f)
{
	for (unsigned i = 0; i < VIRT_DISKS_MAX; i++)
		if (f->config & (1U << i))
			put_in(f, i);
}

void virt_fake_disks_off(struct fdom *f)
{
	f->live = (struct virt_disks){ 0 };
	memset(f->let_go_msec, 0, sizeof(f->let_go_msec));
	f->is_frozen = false;
}

bool virt_fake_disks_let_go(struct fdom *f, int64_t now_msec)
{
	bool did = false;

	for (unsigned i = 0; i < VIRT_DISKS_MAX; i++) {
		if (f->let_go_msec[i] == 0 || f->let_go_msec[i] > now_msec)
			continue;
		f->let_go_msec[i] = 0;
		f->live.is_attached[i] = false;
		f->live.size_bytes[i] = 0;
		did = true;
	}
	return did;
}

uint32_t fake_hyper_disks(struct fake_hyper *h, const char *uuid)
{
	struct fdom *f;
	uint32_t disks = 0;

	pthread_mutex_lock(&h->lock);
	f = virt_fake_find(h, uuid);
	for (unsigned i = 0; f != NULL && i < VIRT_DISKS_MAX; i++)
		disks |= f->live.is_attached[i] ? 1U << i : 0;
	pthread_mutex_unlock(&h->lock);
	return disks;
}

bool fake_hyper_is_frozen(struct fake_hyper *h, const char *uuid)
{
	struct fdom *f;
	bool is_frozen;

	pthread_mutex_lock(&h->lock);
	f = virt_fake_find(h, uuid);
	is_frozen = f != NULL && f->is_frozen;
	pthread_mutex_unlock(&h->lock);
	return is_frozen;
}

/* ------------------------------------------------------------------ virt.h */

/* What a call is about. */
struct call {
	unsigned index;
	uint32_t disks;
	const char *xml, *name;
	int64_t size_bytes;
	struct virt_disks *out;
};

struct fdom *virt_fake_find_on(struct fake_hyper *h, const char *uuid, struct err *e)
{
	struct fdom *f = virt_fake_find(h, uuid);

	if (f != NULL && virt_fake_is_on(f))
		return f;
	err_set(e, ERR_CONFLICT, "the libvirt domain %s is off", uuid);
	return NULL;
}

static int do_disks(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e)
{
	struct fdom *f = virt_fake_find(h, uuid);
	struct call *c = aux;

	(void)is_event;
	(void)e;
	*c->out = f != NULL && virt_fake_is_on(f) ? f->live : (struct virt_disks){ 0 };
	return 0;
}

int virt_disks(struct virt *v, const char *uuid, struct virt_disks *out, struct err *e)
{
	struct virt_disks got = { 0 };
	struct call c = { .out = &got };

	if (virt_fake_change(v, "disks", uuid, do_disks, &c, e) < 0)
		return -1;
	*out = got;
	return 0;
}

static int do_attach(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e)
{
	struct fdom *f = virt_fake_find_on(h, uuid, e);
	struct call *c = aux;

	(void)is_event;
	if (f == NULL)
		return -1;
	if (disks_in(c->xml) != 1U << c->index)
		return err_set(e, ERR_INVALID, "the XML is not of disk %u", c->index);
	note_store(f, c->xml);
	f->config |= 1U << c->index;
	if (!f->live.is_attached[c->index])
		put_in(f, c->index);
	return 0;
}

int virt_disk_attach(
	struct virt *v, const char *uuid, unsigned index, const char *xml, struct err *e)
{
	struct call c = { .index = index, .xml = xml };

	return virt_fake_change(v, "attach", uuid, do_attach, &c, e);
}

static int do_detach(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e)
{
	struct fdom *f = virt_fake_find_on(h, uuid, e);
	struct call *c = aux;

	if (f == NULL)
		return -1;
	f->config &= ~(1U << c->index);
	if (!f->live.is_attached[c->index] || h->fault.keeps_disks)
		return 0;
	if (f->let_go_msec[c->index] == 0)
		f->let_go_msec[c->index] = clock_mono_msec() + h->fault.detach_msec;
	if (h->fault.detach_msec == 0)
		*is_event = virt_fake_disks_let_go(f, f->let_go_msec[c->index]);
	return 0;
}

int virt_disk_detach(struct virt *v, const char *uuid, unsigned index, struct err *e)
{
	struct call c = { .index = index };

	return virt_fake_change(v, "detach", uuid, do_detach, &c, e);
}

static int do_resize(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e)
{
	struct fdom *f = virt_fake_find_on(h, uuid, e);
	CLEANUP(close_store) struct disk_store *s = NULL;
	struct call *c = aux;

	(void)is_event;
	if (f == NULL)
		return -1;
	if (!f->live.is_attached[c->index])
		return err_set(e, ERR_NOT_FOUND, "there is no disk %u", c->index);
	s = open_store(f);
	if (s != NULL && disk_grow(s, uuid, c->index, c->size_bytes >> 30, e) < 0)
		return -1;
	f->live.size_bytes[c->index] = c->size_bytes;
	return 0;
}

int virt_disk_resize(struct virt *v, const char *uuid, unsigned index, int64_t size_bytes,
	struct err *e)
{
	struct call c = { .index = index, .size_bytes = size_bytes };

	return virt_fake_change(v, "resize", uuid, do_resize, &c, e);
}

static int do_freeze(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e)
{
	struct fdom *f = virt_fake_find_on(h, uuid, e);

	(void)aux;
	(void)is_event;
	if (f == NULL)
		return -1;
	if (!h->fault.has_agent)
		return err_set(e, ERR_UNSUPPORTED, "no agent answers in the guest");
	f->is_frozen = true;
	return 0;
}

int virt_freeze(struct virt *v, const char *uuid, struct err *e)
{
	return virt_fake_change(v, "freeze", uuid, do_freeze, NULL, e);
}

static int do_thaw(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e)
{
	struct fdom *f = virt_fake_find(h, uuid);

	(void)aux;
	(void)is_event;
	(void)e;
	if (f != NULL)
		f->is_frozen = false;
	return 0;
}

int virt_thaw(struct virt *v, const char *uuid, struct err *e)
{
	return virt_fake_change(v, "thaw", uuid, do_thaw, NULL, e);
}

/* One after the other under the lock, which nobody sees; what was made before one failed is
 * taken back. */
static int do_snapshot(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e)
{
	struct fdom *f = virt_fake_find_on(h, uuid, e);
	CLEANUP(close_store) struct disk_store *s = NULL;
	struct call *c = aux;
	unsigned i;
	int rc = 0;

	(void)is_event;
	if (f == NULL)
		return -1;
	s = open_store(f);
	for (i = 0; rc == 0 && i < VIRT_DISKS_MAX; i++) {
		if (!(c->disks & (1U << i)))
			continue;
		if (!f->live.is_attached[i])
			rc = err_set(e, ERR_NOT_FOUND, "QEMU has no disk %u open", i);
		else if (s != NULL)
			rc = disk_snapshot_make(s, uuid, i, c->name, e);
	}
	for (unsigned k = 0; rc < 0 && s != NULL && k + 1 < i; k++)
		if ((c->disks & (1U << k)) &&
			disk_snapshot_remove(s, uuid, k, c->name, NULL) < 0)
			k--;
	return rc;
}

int virt_snapshot_make(
	struct virt *v, const char *uuid, uint32_t disks, const char *name, struct err *e)
{
	struct call c = { .disks = disks, .name = name };

	return virt_fake_change(v, "snapshot", uuid, do_snapshot, &c, e);
}

static int do_unsnapshot(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e)
{
	struct fdom *f = virt_fake_find_on(h, uuid, e);
	CLEANUP(close_store) struct disk_store *s = NULL;
	struct call *c = aux;

	(void)is_event;
	if (f == NULL)
		return -1;
	if (!f->live.is_attached[c->index])
		return err_set(e, ERR_NOT_FOUND, "QEMU has no disk %u open", c->index);
	s = open_store(f);
	return s != NULL ? disk_snapshot_remove(s, uuid, c->index, c->name, e) : 0;
}

int virt_snapshot_remove(
	struct virt *v, const char *uuid, unsigned index, const char *name, struct err *e)
{
	struct call c = { .index = index, .name = name };

	return virt_fake_change(v, "unsnapshot", uuid, do_unsnapshot, &c, e);
}

static int do_secret(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e)
{
	(void)aux;
	(void)is_event;
	(void)e;
	if (!strv_has(&h->secrets, uuid))
		strv_add(&h->secrets, uuid);
	return 0;
}

int virt_secret_ensure(
	struct virt *v, const char *secret_uuid, const char *value, struct err *e)
{
	(void)value;
	return virt_fake_change(v, "secret", secret_uuid, do_secret, NULL, e);
}
