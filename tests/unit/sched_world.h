/*
 * A scheduler on an etcd in memory, stepped under a clock that the test moves, for the tests
 * of its effects.
 */
#ifndef UCLOUD_TEST_SCHED_WORLD_H
#define UCLOUD_TEST_SCHED_WORLD_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/parse.h"
#include "common/model/host.h"
#include "common/model/names.h"
#include "common/model/request.h"
#include "common/model/vm.h"
#include "common/store/kv_fake.h"
#include "ucloud-scheduler/sched.h"

#define WORLD_START_MSEC 1800000000000LL

struct world {
	struct fake_etcd *etcd;
	struct kv *kv;	     /* the test's own */
	struct kv *sched_kv; /* the scheduler's */
	struct sched_conf conf;
	struct sched *sched;
};

static inline void world_start(struct world *w)
{
	*w = (struct world){ .conf = { .grace_sec = 30, .lease_ttl_sec = 10 } };
	keys_set_defaults(&w->conf.keys);
	w->etcd = fake_etcd_new();
	w->kv = kv_fake_open(w->etcd);
	w->sched_kv = kv_fake_open(w->etcd);
	w->sched = sched_new(w->sched_kv, &w->conf);
}

static inline void world_end(struct world *w)
{
	sched_free(w->sched);
	kv_close(w->sched_kv);
	kv_close(w->kv);
	fake_etcd_free(w->etcd);
	keys_done(&w->conf.keys);
}

/* Steps while there is something to do now. */
static inline void world_settle_one(struct sched *s)
{
	for (int i = 0; i < 20000; i++)
		if (!sched_step(s))
			return;
	fail_msg("the scheduler does not come to rest");
}

/* Lets time pass, a little at a time. */
static inline void world_run(struct world *w, int64_t msec)
{
	world_settle_one(w->sched);
	for (int64_t t = 0; t < msec; t += 100) {
		clock_fake_advance(100);
		world_settle_one(w->sched);
	}
}

/* ---------------------------------------------------------------- entries */

static inline void world_put(struct world *w, const char *key, const char *value)
{
	struct kv_txn *t = kv_txn_new();
	struct err e;

	kv_txn_put(t, key, value);
	if (kv_txn_commit(w->kv, t, NULL, &e) != 0)
		fail_msg("%s: %s", key, e.msg);
	kv_txn_free(t);
}

static inline void world_del(struct world *w, const char *key)
{
	struct kv_txn *t = kv_txn_new();
	struct err e;

	kv_txn_del(t, key);
	if (kv_txn_commit(w->kv, t, NULL, &e) != 0)
		fail_msg("%s: %s", key, e.msg);
	kv_txn_free(t);
}

/* The value, the caller's; NULL when the key is absent. */
static inline char *world_get(struct world *w, const char *key)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	struct err e;

	if (kv_get(w->kv, key, &pair, NULL, &e) != 0)
		fail_msg("%s: %s", key, e.msg);
	return MOVE(pair.value);
}

static inline bool world_has(struct world *w, const char *key)
{
	CLEANUP_STR char *value = world_get(w, key);

	return value != NULL;
}

static inline int64_t world_count(struct world *w, const char *prefix)
{
	int64_t n = 0;
	struct err e;

	assert_int_equal(kv_count(w->kv, prefix, &n, &e), 0);
	return n;
}

static inline void world_put_store(struct world *w, const char *name, const char *rest)
{
	CLEANUP_STR char *key = key_image_store(name);
	CLEANUP_STR char *text = xasprintf("{\"name\":\"%s\",%s}", name, rest);

	world_put(w, key, text);
}

static inline void world_set_alive(struct world *w, const char *name, bool is_alive)
{
	CLEANUP_STR char *key = key_alive(name);

	if (is_alive)
		world_put(w, key, "{\"machine\":\"m\"}");
	else
		world_del(w, key);
}

static inline void world_put_host(
	struct world *w, const char *name, int cpus, int ram_mib, const char *more)
{
	CLEANUP_STR char *key = key_host(&w->conf.keys, name);
	CLEANUP_STR char *text =
		xasprintf("{\"hostname\":\"%s\",\"status\":\"REGISTERED\",\"cpus\":%d,"
			  "\"ram_mib\":%d,\"stores\":[{\"name\":\"s\",\"total_gib\":1000,"
			  "\"free_gib\":1000}]%s}",
			name, cpus, ram_mib, more ? more : "");

	world_put(w, key, text);
}

/* Registered, and with a heartbeat. */
static inline void world_add_host(
	struct world *w, const char *name, int cpus, int ram_mib)
{
	world_put_host(w, name, cpus, ram_mib, NULL);
	world_set_alive(w, name, true);
}

struct world_vm {
	const char *name;
	int cpu, ram_mib;   /* 0: 1 and 512 */
	const char *status; /* NULL: REQUESTED_NEW */
	const char *want;   /* NULL: running */
	const char *hostname, *disk_host, *store;
	const char *more; /* members, with a comma in front */
};

static inline void world_put_vm(struct world *w, const struct world_vm *v)
{
	char uuid[UUID_STR_SIZE];

	uuid_of_name(v->name, uuid);
	CLEANUP_STR char *key = key_vm(&w->conf.keys, uuid);
	CLEANUP_STR char *text = xasprintf(
		"{\"uuid\":\"%s\",\"name\":\"%s\",\"owner\":\"alice\","
		"\"owner_realm\":\"r\",\"specs\":{\"cpu\":%d,\"ram_mib\":%d,"
		"\"disks\":[{\"size_gib\":10}]},\"store\":\"%s\",\"want\":\"%s\","
		"\"status\":\"%s\",\"hostname\":\"%s\",\"disk_host\":\"%s\","
		"\"from_the_future\":{\"a\":[1]}%s}",
		uuid, v->name, v->cpu ? v->cpu : 1, v->ram_mib ? v->ram_mib : 512,
		v->store ? v->store : "s", v->want ? v->want : "running",
		v->status ? v->status : "REQUESTED_NEW", v->hostname ? v->hostname : "",
		v->disk_host ? v->disk_host : "", v->more ? v->more : "");

	world_put(w, key, text);
	if (v->hostname) {
		CLEANUP_STR char *placement = key_placement(v->hostname, uuid);
		world_put(w, placement, "{}");
	}
}

static inline char *world_request_key(struct world *w, const char *name)
{
	char uuid[UUID_STR_SIZE];

	uuid_of_name(name, uuid);
	return key_request_scheduler(&w->conf.keys, uuid);
}

static inline void world_request_at(struct world *w, const char *name, const char *type,
	int64_t not_before, int64_t deadline)
{
	CLEANUP_STR char *key = world_request_key(w, name);
	struct request r = { .type = names_find(request_type_names, type),
		.created = clock_unix_sec(),
		.not_before = not_before,
		.deadline = deadline };
	char uuid[UUID_STR_SIZE];

	uuid_of_name(name, uuid);
	r.uuid = xstrdup(uuid);
	CLEANUP_STR char *text = request_format(&r);
	world_put(w, key, text);
	request_done(&r);
}

static inline void world_request(struct world *w, const char *name, const char *type)
{
	world_request_at(w, name, type, 0, 0);
}

/* A VM that was just ordered. */
static inline void world_order_vm(struct world *w, const struct world_vm *v)
{
	world_put_vm(w, v);
	world_request(w, v->name, "ScheduleVM");
}

/* The VM, to be done; its mod_rev. */
static inline int64_t world_vm_at(struct world *w, const char *name, struct vm *vm)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	char uuid[UUID_STR_SIZE];
	struct err e;

	uuid_of_name(name, uuid);
	CLEANUP_STR char *key = key_vm(&w->conf.keys, uuid);
	if (kv_get(w->kv, key, &pair, NULL, &e) != 0)
		fail_msg("%s: %s", key, e.msg);
	if (!pair.key || vm_parse(pair.value, pair.value_size, vm, &e) != 0)
		fail_msg("%s: %s", key, pair.key ? e.msg : "absent");
	return pair.mod_rev;
}

static inline void world_assert_vm(
	struct world *w, const char *name, enum vm_status status, const char *hostname)
{
	CLEANUP(vm_done) struct vm vm = { 0 };

	world_vm_at(w, name, &vm);
	if (vm.status != (int)status || !str_eq(vm.hostname, hostname))
		fail_msg("VM %s is %s on \"%s\" (%s), not %s on \"%s\"", name,
			vm_status_names[vm.status], vm.hostname, vm.why ? vm.why : "",
			vm_status_names[status], hostname);
}

static inline void world_assert_host(
	struct world *w, const char *name, enum host_status status)
{
	CLEANUP_STR char *key = key_host(&w->conf.keys, name);
	CLEANUP_STR char *text = world_get(w, key);
	CLEANUP(host_done) struct host h = { 0 };
	struct err e;

	assert_non_null(text);
	assert_int_equal(host_parse(text, strlen(text), &h, &e), 0);
	assert_string_equal(host_status_names[h.status], host_status_names[status]);
}

#endif
