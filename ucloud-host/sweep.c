#include "ucloud-host/sweep.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/hash.h"
#include "ucloud-host/cidata.h"

/* The host's own key is one more in each read. */
#define BATCH_LEN (KV_TXN_MAX_OPS - 1)

/* A disk without VM: "<store>/<vm uuid>". */
struct orphan {
	char *name;
	int64_t since_msec;
	bool is_seen; /* by the look that is under way */
	UT_hash_handle hh;
};

struct sweep {
	const struct host_env *env;
	void (*look_at)(void *aux, const char *uuid);
	void *aux;
	struct orphan *orphans; /* of the one worker */
};

static struct metric n_orphans = { METRIC_GAUGE, "ucloud_host_orphan_disks",
	"VMs that have disks here and no entry in etcd." };

struct sweep *sweep_new(const struct host_env *env,
	void (*look_at)(void *aux, const char *uuid), void *aux)
{
	struct sweep *s = xcalloc(1, sizeof(*s));

	metric_register(&n_orphans);
	s->env = env;
	s->look_at = look_at;
	s->aux = aux;
	return s;
}

static void orphan_free(struct sweep *s, struct orphan *o)
{
	HASH_DEL(s->orphans, o);
	free(o->name);
	free(o);
}

void sweep_free(struct sweep *s)
{
	struct orphan *o, *next;

	if (s == NULL)
		return;
	for (o = s->orphans; o != NULL; o = next) {
		next = o->hh.next;
		orphan_free(s, o);
	}
	free(s);
}

void sweep_add_all(struct ctl *c)
{
	ctl_add(c, "domains");
	ctl_add(c, "disks");
	ctl_add(c, "consoles");
	ctl_add(c, "nocloud");
}

/* ------------------------------------------------------------------ domains */

static int sweep_domains(struct sweep *s, struct err *e)
{
	CLEANUP(virt_list_done) struct virt_list list = { 0 };

	if (virt_list(s->env->virt, &list, e) < 0)
		return -1;
	for (size_t i = 0; i < list.len; i++)
		if (strcmp(list.v[i].host, s->env->host) == 0)
			s->look_at(s->aux, list.v[i].uuid);
	return 0;
}

/* ------------------------------------------------------------------ who is gone */

/* One read: of uuids[0..n) those that have no entry, proven as sweep.h says. */
static int add_gone(
	struct sweep *s, char **uuids, size_t n, struct strv *gone, struct err *e)
{
	CLEANUP(strv_done) struct strv keys = { 0 };
	CLEANUP(kv_list_done) struct kv_list got = { 0 };

	strv_add_take(&keys, key_host(&s->env->keys, s->env->host));
	for (size_t i = 0; i < n; i++)
		strv_add_take(&keys, key_vm(&s->env->keys, uuids[i]));
	if (kv_get_many(s->env->kv, (const char *const *)keys.v, keys.len, &got, e) < 0)
		return -1;
	if (got.v[0].key == NULL)
		return 0;
	for (size_t i = 0; i < n; i++)
		if (got.v[i + 1].key == NULL)
			strv_add(gone, uuids[i]);
	return 0;
}

static int find_gone(
	struct sweep *s, const struct strv *uuids, struct strv *gone, struct err *e)
{
	for (size_t i = 0; i < uuids->len; i += BATCH_LEN) {
		size_t n = uuids->len - i < BATCH_LEN ? uuids->len - i : BATCH_LEN;

		if (add_gone(s, uuids->v + i, n, gone, e) < 0)
			return -1;
	}
	return 0;
}

/* ------------------------------------------------------------------ disks */

static struct orphan *note_orphan(struct sweep *s, const char *store, const char *uuid)
{
	CLEANUP_STR char *name = xasprintf("%s/%s", store, uuid);
	struct orphan *o;

	HASH_FIND_STR(s->orphans, name, o);
	if (o == NULL) {
		o = xcalloc(1, sizeof(*o));
		o->name = MOVE(name);
		o->since_msec = clock_mono_msec();
		HASH_ADD_KEYPTR(hh, s->orphans, o->name, strlen(o->name), o);
		if (s->env->orphan_keep_sec < 0)
			log_warn("a disk's VM does not exist; it is kept store=%s vm=%s",
				store, uuid);
		else
			log_warn("a disk's VM does not exist; it will be removed in %lld "
				 "s store=%s vm=%s",
				(long long)s->env->orphan_keep_sec, store, uuid);
	}
	o->is_seen = true;
	return o;
}

/* Until it may be removed; 0: now, -1: never. */
static int64_t due_msec(const struct sweep *s, const struct orphan *o)
{
	int64_t keep = s->env->orphan_keep_sec;
	int64_t left = o->since_msec + keep * 1000 - clock_mono_msec();

	if (keep < 0)
		return -1;
	return left > 0 ? left : 0;
}

static bool is_due(const struct sweep *s, const struct orphan *o)
{
	return due_msec(s, o) == 0;
}

/* Removes it, unless some domain may still use it. */
static int remove_orphan(
	struct sweep *s, const struct store_ref *store, const char *uuid, struct err *e)
{
	struct virt_dom dom;

	if (virt_get(s->env->virt, uuid, &dom, e) < 0)
		return -1;
	if (dom.state != VIRT_ABSENT)
		return 0;
	log_warn("removing the disks of a VM that does not exist store=%s vm=%s",
		store->name, uuid);
	return disk_remove_all(store->disks, uuid, e);
}

static int sweep_store(struct sweep *s, const struct store_ref *store, struct err *e)
{
	CLEANUP(strv_done) struct strv all = { 0 };
	CLEANUP(strv_done) struct strv gone = { 0 };

	if (disk_list(store->disks, &all, e) < 0 || find_gone(s, &all, &gone, e) < 0)
		return -1;
	for (size_t i = 0; i < gone.len; i++) {
		struct orphan *o = note_orphan(s, store->name, gone.v[i]);

		if (is_due(s, o) && remove_orphan(s, store, gone.v[i], e) < 0)
			return -1;
	}
	return 0;
}

/* Forgets those that this look did not see: a VM that is back, or a store that was not
 * looked at, starts anew. Returns when the next one is due, -1 none. */
static int64_t forget_unseen(struct sweep *s)
{
	int64_t first = -1;
	struct orphan *o, *next;

	for (o = s->orphans; o != NULL; o = next) {
		int64_t due = due_msec(s, o);

		next = o->hh.next;
		if (!o->is_seen) {
			orphan_free(s, o);
			continue;
		}
		o->is_seen = false;
		if (due >= 0 && (first < 0 || due < first))
			first = due;
	}
	metric_set(&n_orphans, NULL, (double)HASH_COUNT(s->orphans));
	return first;
}

/* *next_msec: when to look again, -1 whenever. */
static int sweep_disks(struct sweep *s, int64_t *next_msec, struct err *e)
{
	const struct host_env *env = s->env;
	CLEANUP(kv_list_done) struct kv_list stores = { 0 };
	int rc = 0;

	if (kv_range(env->kv, KEY_IMAGE_STORE, 0, &stores, e) < 0)
		return -1;
	for (size_t i = 0; i < stores.len; i++) {
		CLEANUP(store_put) struct store_ref *store = NULL;
		const char *name = stores.v[i].key + strlen(KEY_IMAGE_STORE);
		struct err ignored = { 0 };

		if (env->stores_wanted.len > 0 && !strv_has(&env->stores_wanted, name))
			continue;
		if (stores_open(env->stores, &stores.v[i], &store, &ignored) < 0)
			continue; /* not reached from here */
		if (sweep_store(s, store, e) < 0)
			rc = -1;
	}
	*next_msec = forget_unseen(s);
	return rc;
}

/* ------------------------------------------------------------------ console logs */

static int list_consoles(struct sweep *s, struct strv *uuids, struct err *e)
{
	CLEANUP_STR char *dir = xasprintf("%s/console", s->env->state_dir);
	struct err ignored = { 0 };
	struct dirent *entry;
	DIR *d = opendir(dir);

	if (d == NULL)
		return errno == ENOENT ? 0 : err_errno(e, errno, "%s", dir);
	/* cppcheck-suppress readdirCalled */
	while ((entry = readdir(d)) != NULL) {
		/* "<uuid>.log", "<uuid>.log.0" */
		CLEANUP_STR char *uuid = xstrndup(entry->d_name, UUID_STR_SIZE - 1);

		if (uuid_check(uuid, &ignored) == 0 && !strv_has(uuids, uuid))
			strv_add(uuids, uuid);
	}
	closedir(d);
	return 0;
}

static int sweep_consoles(struct sweep *s, struct err *e)
{
	CLEANUP(strv_done) struct strv all = { 0 };
	CLEANUP(strv_done) struct strv gone = { 0 };

	if (s->env->state_dir == NULL)
		return 0;
	if (list_consoles(s, &all, e) < 0 || find_gone(s, &all, &gone, e) < 0)
		return -1;
	for (size_t i = 0; i < gone.len; i++)
		host_env_remove_console(s->env, gone.v[i]);
	return 0;
}

/* ------------------------------------------------------------------ boot configuration */

/* Who looks at the VM removes it when the VM is not here: nobody else is at it then. */
static int sweep_nocloud(struct sweep *s, struct err *e)
{
	CLEANUP(strv_done) struct strv uuids = { 0 };

	if (cidata_list(s->env, &uuids, e) < 0)
		return -1;
	for (size_t i = 0; i < uuids.len; i++)
		s->look_at(s->aux, uuids.v[i]);
	return 0;
}

enum wq_result sweep_reconcile(
	void *aux, const char *key, int64_t *after_msec, struct err *e)
{
	struct sweep *s = aux;
	int64_t next_msec = -1;
	int rc;

	*after_msec = 0;
	if (strcmp(key, "domains") == 0)
		rc = sweep_domains(s, e);
	else if (strcmp(key, "disks") == 0)
		rc = sweep_disks(s, &next_msec, e);
	else if (strcmp(key, "nocloud") == 0)
		rc = sweep_nocloud(s, e);
	else
		rc = sweep_consoles(s, e);
	if (rc < 0)
		return WQ_RETRY;
	/* Removed ones are due until the next look does not find them. */
	*after_msec = next_msec < 1000 ? 1000 : next_msec;
	return next_msec < 0 ? WQ_DONE : WQ_AGAIN;
}
