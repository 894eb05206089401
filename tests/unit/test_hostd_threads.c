/* ucloud-host with its threads, between fakes: many VMs at once. For the thread sanitizer. */
#include "ucloud-host/hostd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "tests/lib/hostd_world.h"
#include "tests/lib/test_util.h"

#define N_VMS	  30
#define WAIT_MSEC 30000

struct crowd {
	struct hostd_world *w;
	char uuids[N_VMS][UUID_STR_SIZE];
};

static void put_all(
	struct crowd *c, const char *status, const char *want, enum request_type type)
{
	struct hostd_world *w = c->w;

	for (int i = 0; i < N_VMS; i++) {
		const char *uuid = c->uuids[i];
		CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
		CLEANUP_STR char *vm_key = key_vm(&w->keys, uuid);
		CLEANUP_STR char *placement_key = key_placement(HOST, uuid);
		CLEANUP_STR char *req_key = key_request_host(&w->keys, HOST, uuid);
		CLEANUP_STR char *req =
			request_new(type, uuid, HOST, clock_unix_sec(), 0);
		CLEANUP_STR char *vm = xasprintf(
			"{\"uuid\":\"%s\",\"name\":\"vm-%d\",\"owner\":\"joe\","
			"\"owner_realm\":\"users\",\"specs\":{\"cpu\":1,\"ram_mib\":512,"
			"\"disks\":[{\"size_gib\":10}]},\"store\":\"local\","
			"\"want\":\"%s\",\"status\":\"%s\",\"hostname\":\"" HOST "\"}",
			uuid, i, want, status);
		struct err e = { 0 };

		kv_txn_put(t, vm_key, vm);
		kv_txn_put(t, placement_key, "{}");
		kv_txn_put(t, req_key, req);
		assert_int_equal(kv_txn_commit(w->admin, t, NULL, &e), 0);
	}
}

static bool no_requests(void *aux)
{
	struct hostd_world *w = aux;
	CLEANUP_STR char *prefix = key_requests_host(&w->keys, HOST);
	int64_t n = -1;
	struct err e = { 0 };

	return kv_count(w->admin, prefix, &n, &e) == 0 && n == 0;
}

static void start(struct crowd *c)
{
	c->w = hostd_world_new();
	c->w->is_release = true;
	for (int i = 0; i < N_VMS; i++)
		uuid_new(c->uuids[i]);
	hostd_world_open(c->w);
	hostd_start(c->w->hostd);
}

static void stop(struct crowd *c)
{
	hostd_stop(c->w->hostd);
	hostd_world_close(c->w);
	hostd_world_free(c->w);
}

static bool all_crashed(void *aux)
{
	struct hostd_world *w = aux;
	CLEANUP_STR char *prefix = key_requests_scheduler(&w->keys);
	int64_t n = -1;
	struct err e = { 0 };

	return kv_count(w->admin, prefix, &n, &e) == 0 && n == N_VMS;
}

static void test_many(void **state)
{
	struct crowd c = { 0 };

	(void)state;
	start(&c);
	put_all(&c, "SCHEDULED", "running", REQ_START_VM);
	assert_true(wait_until(no_requests, c.w, WAIT_MSEC));
	assert_int_equal(fake_hyper_n_running(c.w->hyper), N_VMS);
	put_all(&c, "REQUESTED_SHUTDOWN", "stopped", REQ_STOP_VM);
	assert_true(wait_until(no_requests, c.w, WAIT_MSEC));
	assert_int_equal(fake_hyper_n_domains(c.w->hyper), 0);
	put_all(&c, "SCHEDULED", "running", REQ_START_VM);
	assert_true(wait_until(no_requests, c.w, WAIT_MSEC));
	for (int i = 0; i < N_VMS; i++)
		fake_hyper_crash(c.w->hyper, c.uuids[i]);
	assert_true(wait_until(all_crashed, c.w, WAIT_MSEC));
	stop(&c);
}

/* Stopped in the middle of its work. */
static void test_stop(void **state)
{
	struct crowd c = { 0 };

	(void)state;
	start(&c);
	put_all(&c, "SCHEDULED", "running", REQ_START_VM);
	stop(&c);
}

static void quiet(void *aux, enum log_level level, const char *line)
{
	(void)aux;
	(void)level;
	(void)line;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_stop),
	};

	log_set_sink(quiet, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
