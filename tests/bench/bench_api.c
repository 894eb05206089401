/*
 * Creates accepted per second through the API, beside the rate of equal transactions sent one
 * by one to the same etcd; and the first page of a list with many VMs in the store. Clients,
 * API and etcd share this machine.
 *
 *	bench_api [creates | lists]
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/http.h"
#include "common/base/log.h"
#include "tests/lib/test_api.h"
#include "tests/lib/test_etcd.h"
#include "tests/lib/test_util.h"
#include "ucloud-api/api.h"

enum { USERS = 64, CLIENTS_MAX = 64, LIST_CALLS = 500, SETTLE_SEC = 3 };

static struct bench {
	struct test_etcd *etcd;
	struct kv *kv;
	struct api_conf conf;
	struct api *api;
	char *url;
	char *bearer[USERS];
	atomic_bool is_over;
	atomic_int n_names;
	const char *vm_value; /* of a stored VM */
} b;

static void die(const struct err *e)
{
	fprintf(stderr, "bench_api: %s\n", e->msg);
	exit(1);
}

/* ---------------------------------------------------------------- set-up */

static void start_api(void)
{
	struct err e;

	test_api_conf(&b.conf, b.etcd, 1);
	b.conf.quota = (struct amounts){ .vms = 1000000,
		.cpu = 1000000,
		.ram_mib = 1000000000,
		.disk_gib = 1000000000,
		.snapshots = 1000000,
		.images = 1000,
		.file_gib = 1000000 };
	if (api_conf_check(&b.conf, &e) < 0 || api_open(&b.conf, &b.api, &e) < 0)
		die(&e);
	b.url = xasprintf("http://[::1]:%u", (unsigned)api_port(b.api, 0));
}

static void log_in_all(void)
{
	for (int i = 0; i < USERS; i++) {
		CLEANUP_STR char *name = xasprintf("user%d", i);
		char token[TOKEN_STR_SIZE];
		int64_t expires;
		struct err e;

		if (sessions_create(b.api->sessions, name, "users", clock_unix_sec(),
			    token, &expires, &e) < 0)
			die(&e);
		b.bearer[i] = xasprintf("Bearer %s", token);
	}
}

static void make_image(void)
{
	static const struct who admin = { "root", "ungleich-admin", true };
	CLEANUP(image_store_done) struct image_store store = { 0 };
	CLEANUP(image_done) struct image image = { 0 };
	CLEANUP(json_decref_ptr)
	json_t *s = json_pack("{s:s, s:s, s:s}", "name", "local", "type", "filesystem",
		"path", "/srv/ucloud");
	CLEANUP(json_decref_ptr)
	json_t *i = json_pack("{s:s, s:s, s:s, s:s, s:b}", "name", "debian", "store",
		"local", "path", "debian.img", "format", "qcow2", "public", 1);
	struct err e;

	if (orders_store_create(b.api->orders, &admin, s, NULL, 1, &store, &e) < 0 ||
		orders_image_create(b.api->orders, &admin, i, NULL, 1, &image, &e) < 0)
		die(&e);
}

/* ---------------------------------------------------------------- clients */

struct client {
	pthread_t thread;
	int id;
	bool is_one_user;
	int n_done;
	struct err err;
};

/* One POST /v1/vms after the other. */
static void *create_loop(void *aux)
{
	struct client *c = aux;
	struct http_conf conf = { .limit_msec = 10000 };
	CLEANUP_STR char *url = xasprintf("%s/v1/vms", b.url);
	struct http *h = http_new(&conf);

	while (!atomic_load(&b.is_over)) {
		CLEANUP(http_resp_done) struct http_resp resp = { 0 };
		CLEANUP_STR char *body =
			xasprintf("{\"name\":\"n%d\",\"image\":\"debian\"}",
				atomic_fetch_add(&b.n_names, 1));
		struct http_req req = { .method = "POST",
			.url = url,
			.authorization = b.bearer[c->is_one_user ? 0 : c->id % USERS],
			.body = body,
			.body_size = strlen(body) };

		if (http_call(h, &req, &resp, &c->err) < 0)
			break;
		if (resp.status != 202) {
			err_set(&c->err, ERR_INTERNAL, "%d: %s", resp.status,
				buf_str(&resp.body));
			break;
		}
		c->n_done++;
	}
	http_free(h);
	return NULL;
}

/* The same transaction, sent straight to etcd: each client has a user of its own. */
static void *raw_loop(void *aux)
{
	struct client *c = aux;
	/* No other run's: its revision is not known. */
	CLEANUP_STR char *user_key =
		xasprintf("/bench/user/%d", atomic_fetch_add(&b.n_names, 1));
	CLEANUP_STR char *user = xasprintf("%0200d", c->id);
	CLEANUP_STR char *request = xasprintf("%0130d", c->id);
	int64_t user_rev = 0;

	while (!atomic_load(&b.is_over)) {
		CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
		int n = atomic_fetch_add(&b.n_names, 1);
		CLEANUP_STR char *name = xasprintf("/bench/vm-name/users/user/n%d", n);
		CLEANUP_STR char *vm = xasprintf("/bench/vm/%036d", n);
		CLEANUP_STR char *req = xasprintf("/bench/request/scheduler/%036d", n);

		kv_txn_if_rev(t, name, 0);
		kv_txn_if_rev(t, user_key, user_rev);
		kv_txn_if_rev(t, "/bench/image", 0);
		kv_txn_if_rev(t, "/bench/store", 0);
		kv_txn_if_rev(t, "/bench/image-name", 0);
		kv_txn_put(t, vm, b.vm_value);
		kv_txn_put(t, user_key, user);
		kv_txn_put(t, name, vm);
		kv_txn_put(t, req, request);
		if (kv_txn_commit(b.kv, t, &user_rev, &c->err) != 0)
			break;
		c->n_done++;
	}
	return NULL;
}

/* How many a second n clients get done. */
static double run(void *(*loop)(void *), int n, bool is_one_user, int64_t msec)
{
	static struct client clients[CLIENTS_MAX];
	int64_t begun = clock_mono_usec();
	double sec;
	int n_done = 0;

	atomic_store(&b.is_over, false);
	for (int i = 0; i < n; i++) {
		clients[i] = (struct client){ .id = i, .is_one_user = is_one_user };
		pthread_create(&clients[i].thread, NULL, loop, &clients[i]);
	}
	while (clock_mono_usec() - begun < msec * 1000) {
		struct timespec t = { .tv_nsec = 10 * 1000 * 1000 };

		nanosleep(&t, NULL);
	}
	atomic_store(&b.is_over, true);
	for (int i = 0; i < n; i++) {
		pthread_join(clients[i].thread, NULL);
		if (clients[i].err.kind != ERR_NONE)
			die(&clients[i].err);
		n_done += clients[i].n_done;
	}
	sec = (double)(clock_mono_usec() - begun) / 1e6;
	return n_done / sec;
}

static void bench_creates(int64_t msec)
{
	static const int n_clients[] = { 1, 8, 64 };

	for (size_t i = 0; i < ARRAY_LEN(n_clients); i++) {
		int n = n_clients[i];
		/* The raw rate before and after: it moves while etcd's store grows. */
		double before = run(raw_loop, n, false, msec / 2);
		double many = run(create_loop, n, false, msec);
		double one = run(create_loop, n, true, msec);
		double raw = (before + run(raw_loop, n, false, msec / 2)) / 2;

		printf("creates accepted, %d client%s of as many users: %.0f/s, equal "
		       "transactions one by one %.0f/s, ratio %.2f\n",
			n, n == 1 ? "" : "s", many, raw, many / raw);
		printf("creates accepted, %d client%s of one user: %.0f/s, ratio %.2f\n",
			n, n == 1 ? "" : "s", one, one / raw);
		fflush(stdout);
	}
}

/* ---------------------------------------------------------------- lists */

/* n VMs of "lister", 40 in a transaction. */
static void fill_store(int n)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err e;

	if (vm_parse(b.vm_value, strlen(b.vm_value), &vm, &e) < 0)
		die(&e);
	str_set(&vm.owner, xstrdup("lister"));
	for (int i = 0; i < n;) {
		CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();

		for (int k = 0; k < 40 && i < n; k++, i++) {
			CLEANUP_STR char *name = xasprintf("vm-%06d", i);
			CLEANUP_STR char *uuid =
				xasprintf("%08x-0000-4000-8000-000000000000", i);
			CLEANUP_STR char *name_key = key_vm_name("users", "lister", name);
			CLEANUP_STR char *key = key_vm(&b.conf.keys, uuid);
			CLEANUP_STR char *text = NULL;

			str_set(&vm.name, xstrdup(name));
			str_set(&vm.uuid, xstrdup(uuid));
			text = vm_format(&vm);
			kv_txn_put(t, key, text);
			kv_txn_put(t, name_key, uuid);
		}
		if (kv_txn_commit(b.kv, t, NULL, &e) != 0)
			die(&e);
	}
}

/* Until etcd and the API's own watches have taken in what was written, and etcd's store is
 * as it is when nobody has just written 20,000 VMs. */
static void settle(void)
{
	struct timespec t = { .tv_sec = SETTLE_SEC };

	nanosleep(&t, NULL);
}

static int compare_times(const void *x, const void *y)
{
	const int64_t *a = x, *c = y;

	return *a < *c ? -1 : *a > *c;
}

static void bench_list(const char *what, const char *path, const char *bearer, int n_vms)
{
	static int64_t usec[LIST_CALLS];
	struct http_conf conf = { .limit_msec = 10000 };
	CLEANUP_STR char *url = xasprintf("%s%s", b.url, path);
	struct http *h = http_new(&conf);
	struct err e;

	for (int i = 0; i < LIST_CALLS; i++) {
		CLEANUP(http_resp_done) struct http_resp resp = { 0 };
		struct http_req req = {
			.method = "GET", .url = url, .authorization = bearer
		};
		int64_t begun = clock_mono_usec();

		if (http_call(h, &req, &resp, &e) < 0)
			die(&e);
		usec[i] = clock_mono_usec() - begun;
		if (resp.status != 200) {
			err_set(&e, ERR_INTERNAL, "%d: %s", resp.status,
				buf_str(&resp.body));
			die(&e);
		}
	}
	http_free(h);
	qsort(usec, LIST_CALLS, sizeof(usec[0]), compare_times);
	printf("first page (100) of %s, %d VMs in the store: p50 %.1f ms, p99 %.1f ms\n",
		what, n_vms, (double)usec[LIST_CALLS / 2] / 1e3,
		(double)usec[LIST_CALLS * 99 / 100] / 1e3);
}

static void bench_lists(int n_vms)
{
	char token[TOKEN_STR_SIZE];
	CLEANUP_STR char *lister = NULL;
	CLEANUP_STR char *admin = NULL;
	int64_t expires, now = clock_unix_sec();
	struct err e;

	fill_store(n_vms);
	settle();
	if (sessions_create(
		    b.api->sessions, "lister", "users", now, token, &expires, &e) < 0)
		die(&e);
	lister = xasprintf("Bearer %s", token);
	if (sessions_create(b.api->sessions, "root", "ungleich-admin", now, token,
		    &expires, &e) < 0)
		die(&e);
	admin = xasprintf("Bearer %s", token);
	bench_list("a user's VMs", "/v1/vms", lister, n_vms);
	bench_list("everybody's VMs", "/v1/vms?all=yes", admin, n_vms);
}

/* A stored VM to copy. */
static char *sample_vm(void)
{
	static const struct who user = { "sample", "users", false };
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(json_decref_ptr)
	json_t *body = json_pack("{s:s, s:s}", "name", "sample", "image", "debian");
	struct err e;

	if (orders_vm_create(
		    b.api->orders, &user, body, NULL, clock_unix_sec(), &vm, &e) < 0)
		die(&e);
	return vm_format(&vm);
}

int main(int argc, char **argv)
{
	const char *part = argc > 1 ? argv[1] : "all";
	const char *scale = getenv("BENCH_SCALE");
	bool is_short = scale && strcmp(scale, "short") == 0;
	CLEANUP_STR char *vm = NULL;

	mem_init();
	crypt_init();
	log_init("bench_api", LOG_ERROR);
	b.etcd = test_etcd_start(NULL);
	b.kv = test_etcd_open(b.etcd);
	start_api();
	make_image();
	log_in_all();
	b.vm_value = vm = sample_vm();
	if (!str_eq(part, "lists"))
		bench_creates(is_short ? 300 : 3000);
	if (!str_eq(part, "creates"))
		bench_lists(is_short ? 2000 : 20000);
	api_close(b.api);
	kv_close(b.kv);
	test_etcd_free(b.etcd);
	conf_done(&api_conf_table, &b.conf);
	for (int i = 0; i < USERS; i++)
		free(b.bearer[i]);
	free(b.url);
	return 0;
}
