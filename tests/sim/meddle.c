/*
 * Other hands in the store: newer versions of daemons, which write members that ours do not
 * know; garbage; an operator with etcdctl.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "common/disk/disk_fake.h"
#include "tests/sim/sim.h"

static bool put(struct sim *s, const char *key, const char *value, int64_t mod_rev)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e;
	kv_txn_if_rev(t, key, mod_rev);
	if (value)
		kv_txn_put(t, key, value);
	else
		kv_txn_del(t, key);
	history_writer(s, NULL);
	return kv_txn_commit(s->god, t, NULL, &e) == 0;
}

/* Some entry whose kind is one of the mask, and which is not garbage. */
static struct entry *any_entry(struct sim *s, unsigned mask)
{
	struct entry *e, *next, *found = NULL;
	unsigned n = 0;
	history_follow(s);
	HASH_ITER (hh, s->entries, e, next) {
		if (!e->value || e->intact || e->is_foreign ||
			!(mask & (1U << rules_kind(s, e->key))))
			continue;
		if (sim_random(s, ++n) == 0)
			found = e;
	}
	return found;
}

static void mark(json_t *obj)
{
	if (json_is_object(obj))
		json_object_set_new(obj, "x_future", json_pack("{s:[i, n]}", "a", 1));
}

/* But for what is about to go. */
static void mark_all(json_t *array)
{
	for (size_t i = 0; i < json_array_size(array); i++)
		if (!json_object_get(json_array_get(array, i), "leaving"))
			mark(json_array_get(array, i));
}

/* Members that this version does not know must survive, also those of what is inside (but for
 * log lines and a host's stores, which go). */
static char *future_of(const char *text)
{
	static const char *const parts[] = { "specs", "affinity", "quota", "use" };
	CLEANUP(json_decref_ptr) json_t *json = NULL;
	struct err e;

	if (json_parse(text, strlen(text), &json, &e))
		return NULL;
	mark(json);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		mark(json_object_get(json, parts[i]));
	mark_all(json_object_get(json, "networks"));
	/* Others may be detached. */
	mark(json_array_get(json_object_get(json_object_get(json, "specs"), "disks"), 0));
	return json_dumps(json, JSON_COMPACT);
}

void move_future(struct sim *s)
{
	struct entry *e = any_entry(s, 1U << KIND_VM | 1U << KIND_USER | 1U << KIND_HOST |
					       1U << KIND_IMAGE | 1U << KIND_NETWORK |
					       1U << KIND_VNI | 1U << KIND_PREFIX);
	if (!e || strstr(e->value, "x_future"))
		return;
	CLEANUP_STR char *value = future_of(e->value);
	log_debug("sim: a newer version writes key=%s", e->key);
	if (value)
		put(s, e->key, value, e->mod_rev);
}

/* ---------------------------------------------------------------- garbage */

/* %s is the uuid of nobody. */
static const char *const foreign[][2] = {
	{ "/v1/vm/%s", "{" },
	{ "/v1/vm/%s", "{\"uuid\":\"6a5c1f8e-2f0b-4a8e-8f6b-000000000000\"}" },
	{ "/v1/vm/nobody-%.8s", "hello" },
	{ "/v1/vm/%s", "{\"uuid\":\"\xff\xfe\"}" },
	{ "/v1/vm/a/b/%.8s", "{}" },
	{ "/v1/placement/h1/%s", "nonsense" },
	{ "/v1/placement/h0/nobody-%.8s", "{}" },
	{ "/v1/placement/h9/%s", "{}" },
	{ "/v1/request/scheduler/%s", "[1]" },
	{ "/v1/request/scheduler/%s", "{\"type\":\"MakeTea\",\"uuid\":\"%s\"}" },
	{ "/v1/request/scheduler/nobody-%.8s",
		"{\"type\":\"DeleteVM\",\"uuid\":\"nobody\"}" },
	{ "/v1/request/scheduler/z/%s", "{\"type\":\"ScheduleVM\"}" },
	{ "/v1/request/host/h2/%s", "{\"type\":3}" },
	{ "/v1/request/host/h0/nobody-%.8s", "null" },
	{ "/v1/host/z%.8s", "{\"hostname\":7}" },
	{ "/v1/alive/z%.8s", "" },
	{ "/v1/lock/z%.8s", "{}" },
	{ "/v1/image/%s", "\"\"" },
	{ "/v1/image_store/z%.8s", "{\"name\":\"other\",\"type\":\"none\"}" },
	{ "/v1/user/demo/z%.8s", "{}{}" },
	{ "/v1/vm-name/demo/zoe/z%.8s", "what" },
	{ "/v1/port/%.8s/aa", "{\"vm\":0}" },
	{ "/v1/network/%s", "{\"vni\":\"many\"}" },
	{ "/v1/network/z%.8s", "{}" },
	{ "/v1/network-name/demo/zoe/z%.8s", "what" },
	{ "/v1/vni/z%.8s", "{}" },
	{ "/v1/vni/103", "[" },
	{ "/v1/prefix/z%.8s", "{}" },
	{ "/v1/prefix/2001:db8:1:2::/64", "none" },
	{ "/v1/request/network/%s", "{\"type\":\"CreateNetwork\"" },
	{ "/v1/request/network/nobody-%.8s",
		"{\"type\":\"DeleteNetwork\",\"uuid\":\"nobody\"}" },
	{ "/v1/z%.8s", "\xc3\x28" },
	{ "/v1/vm/", "{}" },
};

static char *fill(const char *pattern, const char *uuid)
{
	const char *at = strstr(pattern, "%s");
	bool is_short = !at;
	if (!at)
		at = strstr(pattern, "%.8s");
	if (!at)
		return xstrdup(pattern);
	return xasprintf("%.*s%.*s%s", (int)(at - pattern), pattern, is_short ? 8 : 99,
		uuid, at + (is_short ? 4 : 2));
}

void move_foreign(struct sim *s)
{
	const char *const *pattern = foreign[sim_random(s, ARRAY_LEN(foreign))];
	char uuid[UUID_STR_SIZE];
	uuid_new(uuid);
	CLEANUP_STR char *key = fill(pattern[0], uuid);
	CLEANUP_STR char *value = fill(pattern[1], uuid);
	history_follow(s);
	struct entry *e = history_entry(s, key);
	if (e->value)
		return;
	e->is_foreign = true;
	log_debug("sim: garbage at key=%s", key);
	put(s, key, value, 0);
}

/* An entry is damaged for a while. What it was about can still be seen in it. */
void move_garble(struct sim *s)
{
	struct entry *e = any_entry(s, 1U << KIND_VM | 1U << KIND_USER | 1U << KIND_HOST |
					       1U << KIND_REQUEST | 1U << KIND_NETWORK |
					       1U << KIND_VNI | 1U << KIND_PREFIX);
	if (!e)
		return;
	CLEANUP_STR char *value = sim_chance(s, 50)
					  ? xasprintf("%s}", e->value)
					  : xstrndup(e->value, strlen(e->value) - 1);
	struct sim_vm *v = sim_find_vm(s, strrchr(e->key, '/') + 1);
	struct sim_net *net = sim_find_net(s, strrchr(e->key, '/') + 1);
	if (v)
		v->was_garbled = true;
	if (net)
		net->was_garbled = true;
	log_debug("sim: damaged key=%s", e->key);
	e->intact = xstrdup(e->value);
	put(s, e->key, value, e->mod_rev);
}

static void mend(struct sim *s, struct entry *e)
{
	history_follow(s);
	if (!put(s, e->key, e->intact, e->mod_rev))
		sim_wrong(s, "%s was changed while it was damaged", e->key);
	log_debug("sim: mended key=%s", e->key);
	history_follow(s);
	str_set(&e->intact, NULL);
}

void move_mend(struct sim *s)
{
	struct entry *e, *next;
	HASH_ITER (hh, s->entries, e, next)
		if (e->intact && sim_chance(s, 50))
			mend(s, e);
}

void sim_mend_all(struct sim *s)
{
	struct entry *e, *next;
	HASH_ITER (hh, s->entries, e, next)
		if (e->intact)
			mend(s, e);
}

/* ---------------------------------------------------------------- an operator */

/* Takes a lock or a heartbeat from the one that has it. */
void move_steal(struct sim *s)
{
	struct entry *e = any_entry(s, 1U << KIND_LOCK | 1U << KIND_ALIVE);
	if (!e)
		return;
	int i = sim_host_index(strrchr(e->key, '/') + 1);
	if (i >= 0)
		s->hosts[i].was_meddled = true;
	log_debug("sim: deletes key=%s", e->key);
	put(s, e->key, NULL, e->mod_rev);
}

/* A disk of a VM that nobody knows: it is kept for a while and then removed. */
void move_orphan(struct sim *s)
{
	unsigned i = sim_random(s, SIM_STORES);
	struct image_store conf = { .name = xstrdup(sim_store(i)),
		.type = i == 0 ? STORE_FAKE : STORE_CEPH };
	image_store_set_defaults(&conf);
	char uuid[UUID_STR_SIZE];
	struct disk_store *store;
	struct err e;
	uuid_new(uuid);
	struct disk_spec spec = { .vm_uuid = uuid, .size_gib = 1 };
	if (disk_store_open(&conf, &store, &e) == 0) {
		unsigned before = disk_fake_n_made(conf.name);
		if (disk_ensure(store, &spec, &e) != 0)
			log_debug("sim: no orphan: %s", e.msg);
		s->n_orphans_made += disk_fake_n_made(conf.name) - before;
		disk_store_close(store);
	}
	image_store_done(&conf);
}
