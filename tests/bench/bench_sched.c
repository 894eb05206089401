/*
 * Placements per second end to end: 5,000 hosts and 10,000 waiting VMs in a private etcd,
 * placed by a real scheduler, beside the rate of equal transactions (one placement each)
 * sent straight to the same etcd. Afterwards every host is checked for over-commitment.
 * One line per figure. BENCH_VMS and BENCH_HOSTS change the numbers.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/parse.h"
#include "common/model/host.h"
#include "common/model/names.h"
#include "common/model/request.h"
#include "common/model/vm.h"
#include "common/base/hash.h"
#include "tests/lib/test_etcd.h"
#include "tests/lib/test_util.h"
#include "ucloud-scheduler/sched.h"

#define N_CLIENTS  8
#define RAW_MSEC   3000
#define LIMIT_MSEC 120000
#define HOST_CPUS  16
#define HOST_RAM   65536

struct bench {
	const char *name;
	int n_hosts, n_vms;
	int n_groups; /* of VMs that keep apart from each other; 0: none do */
	struct test_etcd *etcd;
	struct kv *kv;
	struct keys keys;
	double raw_rate;
};

static void die(const char *what, const struct err *e)
{
	fprintf(stderr, "%s: %s\n", what, e ? e->msg : "failed");
	exit(1);
}

static void quiet(void *aux, enum log_level level, const char *line)
{
	(void)aux;
	if (level <= LOG_WARN)
		fprintf(stderr, "%s\n", line);
}

static int64_t rss_kib(void)
{
	CLEANUP_STR char *text = test_read_file("/proc/self/status");
	const char *p = text ? strstr(text, "VmRSS:") : NULL;
	long kib = 0;

	return p && sscanf(p, "VmRSS: %ld", &kib) == 1 ? kib : 0;
}

/* ---------------------------------------------------------------- loading */

struct batch {
	struct bench *b;
	struct kv_txn *t;
};

static void batch_send(struct batch *batch)
{
	struct err e = { 0 };

	if (batch->t && kv_txn_commit(batch->b->kv, batch->t, NULL, &e) != 0)
		die("loading", &e);
	kv_txn_free(batch->t);
	batch->t = NULL;
}

/* Takes key and value. */
static void batch_put(struct batch *batch, char *key, char *value)
{
	if (batch->t && kv_txn_n_ops(batch->t) == 100)
		batch_send(batch);
	if (!batch->t)
		batch->t = kv_txn_new();
	kv_txn_put(batch->t, key, value);
	free(key);
	free(value);
}

static char *vm_text(const struct bench *b, int i, char uuid[UUID_STR_SIZE])
{
	CLEANUP_STR char *name = xasprintf("vm-%d", i);
	CLEANUP_STR char *rules = NULL;

	uuid_of_name(name, uuid);
	if (b->n_groups)
		rules = xasprintf("\"labels\":{\"app\":\"a%d\"},"
				  "\"affinity\":{\"apart\":{\"app\":\"a%d\"}},",
			i % b->n_groups, i % b->n_groups);
	return xasprintf(
		"{\"uuid\":\"%s\",\"name\":\"%s\",\"owner\":\"user%d\","
		"\"owner_realm\":\"bench\",\"specs\":{\"cpu\":%d,\"ram_mib\":%d,"
		"\"disks\":[{\"size_gib\":10}]},%s\"image_uuid\":\"%s\",\"store\":\"s\","
		"\"networks\":[],\"ssh_keys\":[\"ssh-ed25519 "
		"AAAAC3NzaC1lZDI1NTE5AAAAIGJlbmNoYmVuY2hiZW5jaGJlbmNoYmVuY2hiZW5jaGJl "
		"bench\"],\"want\":\"running\",\"status\":\"REQUESTED_NEW\",\"hostname\":"
		"\"\",\"disk_host\":\"\",\"created\":\"2026-01-01T00:00:00Z\",\"boot\":1,"
		"\"log\":[{\"time\":\"2026-01-01T00:00:00Z\",\"text\":\"created\"}]}",
		uuid, name, b->n_groups ? i % b->n_groups / 10 : i % 50, 1 + i % 4,
		1024 * (1 + i % 4), rules ? rules : "", uuid);
}

static void load(struct bench *b)
{
	struct batch batch = { b, NULL };

	batch_put(&batch, key_image_store("s"),
		xstrdup("{\"name\":\"s\",\"type\":\"filesystem\",\"path\":\"/x\"}"));
	for (int i = 0; i < b->n_hosts; i++) {
		CLEANUP_STR char *name = xasprintf("host%d", i);
		batch_put(&batch, key_host(&b->keys, name),
			xasprintf("{\"hostname\":\"%s\",\"status\":\"ALIVE\",\"cpus\":%d,"
				  "\"ram_mib\":%d,\"stores\":[{\"name\":\"s\","
				  "\"total_gib\":1000,\"free_gib\":1000}]}",
				name, HOST_CPUS, HOST_RAM));
		batch_put(&batch, key_alive(name), xstrdup("{}"));
	}
	for (int i = 0; i < b->n_vms; i++) {
		char uuid[UUID_STR_SIZE];
		char *text = vm_text(b, i, uuid);
		batch_put(&batch, key_vm(&b->keys, uuid), text);
		batch_put(&batch, key_request_scheduler(&b->keys, uuid),
			request_new(REQ_SCHEDULE_VM, uuid, NULL, clock_unix_sec(), 0));
	}
	batch_send(&batch);
}

/* ---------------------------------------------------------------- etcd alone */

struct raw {
	struct bench *b;
	int n;
	int64_t end_msec;
	atomic_int *n_done;
};

/* As placing one VM alone: 4 comparisons, 3 puts (one of a VM's size), 1 deletion. */
static struct kv_txn *raw_txn(const struct raw *r, int i)
{
	struct kv_txn *t = kv_txn_new();
	char uuid[UUID_STR_SIZE];
	CLEANUP_STR char *text = vm_text(r->b, i, uuid);
	CLEANUP_STR char *a = xasprintf("/bench/%d/vm/%d", r->n, i);
	CLEANUP_STR char *b = xasprintf("/bench/%d/placement/%d", r->n, i);
	CLEANUP_STR char *c = xasprintf("/bench/%d/request/%d", r->n, i);
	CLEANUP_STR char *d = xasprintf("/bench/%d/old/%d", r->n, i);
	CLEANUP_STR char *start =
		request_new(REQ_START_VM, uuid, "host1", clock_unix_sec(), 0);

	kv_txn_if_rev(t, a, 0);
	kv_txn_if_rev(t, b, 0);
	kv_txn_if_rev(t, c, 0);
	kv_txn_if_rev(t, d, 0);
	kv_txn_put(t, a, text);
	kv_txn_put(t, b, "{}");
	kv_txn_put(t, c, start);
	kv_txn_del(t, d);
	return t;
}

static void *raw_main(void *aux)
{
	struct raw *r = aux;

	for (int i = 0; clock_mono_msec() < r->end_msec; i++) {
		CLEANUP(kv_txn_free_ptr) struct kv_txn *t = raw_txn(r, i);
		struct err e = { 0 };
		if (kv_txn_commit(r->b->kv, t, NULL, &e) != 0)
			die("raw transaction", &e);
		atomic_fetch_add(r->n_done, 1);
	}
	return NULL;
}

static double raw_rate(struct bench *b, int n_clients)
{
	struct raw raws[N_CLIENTS];
	pthread_t threads[N_CLIENTS];
	atomic_int n_done = 0;
	int64_t start = clock_mono_msec();

	for (int i = 0; i < n_clients; i++) {
		raws[i] =
			(struct raw){ b, n_clients * 100 + i, start + RAW_MSEC, &n_done };
		if (pthread_create(&threads[i], NULL, raw_main, &raws[i]) != 0)
			die("pthread_create", NULL);
	}
	for (int i = 0; i < n_clients; i++)
		pthread_join(threads[i], NULL);
	return atomic_load(&n_done) * 1000.0 / (double)(clock_mono_msec() - start);
}

/* ---------------------------------------------------------------- checking */

struct host_use {
	UT_hash_handle hh;
	int64_t cpu, ram_mib;
	char name[64];
	char groups[512]; /* " a1 a7 " */
};

static void count_vm(struct host_use **uses, const struct vm *vm)
{
	struct host_use *u = NULL;
	const char *group = json_string_value(json_object_get(vm->labels, "app"));

	HASH_FIND_STR(*uses, vm->hostname, u);
	if (!u) {
		u = xcalloc(1, sizeof(*u));
		snprintf(u->name, sizeof(u->name), "%s", vm->hostname);
		HASH_ADD_STR(*uses, name, u);
	}
	u->cpu += vm->specs.cpu;
	u->ram_mib += vm->specs.ram_mib;
	if (u->cpu > HOST_CPUS || u->ram_mib > HOST_RAM)
		die("a host is over capacity", NULL);
	if (!group)
		return;
	CLEANUP_STR char *word = xasprintf(" %s ", group);
	if (strstr(u->groups, word))
		die("two VMs that must be apart are on one host", NULL);
	size_t len = strlen(u->groups);
	snprintf(u->groups + len, sizeof(u->groups) - len, "%s", word);
}

static void check(struct bench *b)
{
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	struct host_use *uses = NULL, *u, *tmp;
	struct err e = { 0 };

	if (kv_range(b->kv, b->keys.vm, 0, &list, &e) != 0)
		die("reading the VMs", &e);
	for (size_t i = 0; i < list.len; i++) {
		CLEANUP(vm_done) struct vm vm = { 0 };
		if (vm_parse(list.v[i].value, list.v[i].value_size, &vm, &e) < 0)
			die("a VM", &e);
		if (vm.status != VM_SCHEDULED || !vm_has_host(&vm))
			die("a VM is not placed", NULL);
		count_vm(&uses, &vm);
	}
	HASH_ITER (hh, uses, u, tmp) {
		HASH_DEL(uses, u);
		free(u);
	}
}

/* ---------------------------------------------------------------- the run */

static bool is_ready(void *aux)
{
	return sched_is_leader(aux) && sched_is_synced(aux);
}

static bool is_all_placed(void *aux)
{
	struct bench *b = aux;
	CLEANUP_STR char *prefix = key_requests_scheduler(&b->keys);
	int64_t n = 0;
	struct err e = { 0 };

	if (kv_count(b->kv, prefix, &n, &e) < 0)
		die("counting requests", &e);
	return n == 0;
}

static void run_sched(struct bench *b)
{
	struct sched_conf conf = { .keys = b->keys, .grace_sec = 3600 };
	struct kv *kv = test_etcd_open(b->etcd);
	int64_t rss_before = rss_kib();
	struct sched *s = sched_new(kv, &conf);
	int64_t start = test_now_msec();

	sched_start(s);
	if (!wait_until(is_ready, s, LIMIT_MSEC))
		die("the scheduler does not lead", NULL);
	int64_t ready = test_now_msec();
	if (!wait_until(is_all_placed, b, LIMIT_MSEC))
		die("not all VMs were placed in time", NULL);
	int64_t end = test_now_msec();
	int64_t rss = rss_kib();
	sched_stop(s);
	sched_free(s);
	kv_close(kv);
	check(b);
	double rate = b->n_vms * 1000.0 / (double)(end - ready);
	printf("%-44s %8.0f /s\n", b->name, rate);
	printf("%-44s %8.2f\n", "  over equal transactions, 8 clients",
		rate / b->raw_rate);
	printf("%-44s %8.2f s\n", "  reading everything before that",
		(double)(ready - start) / 1000);
	printf("%-44s %8.1f MiB\n", "  memory for it", (double)(rss - rss_before) / 1024);
}

static int number_of(const char *name, int def)
{
	const char *text = getenv(name);
	int64_t n = def;
	struct err e;

	if (text && parse_int64(text, 1, 1000000, &n, &e) < 0)
		die(name, &e);
	return (int)n;
}

static void run(struct bench *b)
{
	b->etcd = test_etcd_start(NULL);
	b->kv = test_etcd_open(b->etcd);
	keys_set_defaults(&b->keys);
	double one = raw_rate(b, 1);
	b->raw_rate = raw_rate(b, N_CLIENTS);
	printf("%-44s %8.0f /s\n", "etcd: equal transactions, 1 client", one);
	printf("%-44s %8.0f /s\n", "etcd: equal transactions, 8 clients", b->raw_rate);
	load(b);
	run_sched(b);
	kv_close(b->kv);
	keys_done(&b->keys);
	test_etcd_free(b->etcd);
	fflush(stdout);
}

int main(void)
{
	struct bench benches[] = {
		{ .name = "placements" },
		{ .name = "placements, with anti-affinity", .n_groups = 100 },
	};

	mem_init();
	log_init("bench", LOG_INFO);
	log_set_sink(quiet, NULL);
	for (size_t i = 0; i < ARRAY_LEN(benches); i++) {
		benches[i].n_hosts = number_of("BENCH_HOSTS", 5000);
		benches[i].n_vms = number_of("BENCH_VMS", 10000);
		run(&benches[i]);
	}
	return 0;
}
