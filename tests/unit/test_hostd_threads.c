/* ucloud-host with its threads, between fakes: many VMs at once. For the thread sanitizer. */
#include "ucloud-host/hostd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/disk/disk_fake.h"
#include "common/model/request.h"
#include "common/model/vm.h"
#include "common/store/kv_fake.h"
#include "tests/lib/test_util.h"
#include "ucloud-host/virt_fake.h"

#define HOST	  "h1"
#define N_VMS	  30
#define WAIT_MSEC 30000

struct world {
	struct fake_etcd *etcd;
	struct kv *admin, *kv;
	struct fake_hyper *hyper;
	struct virt *virt;
	struct hostd *hostd;
	struct keys keys;
	char uuids[N_VMS][UUID_STR_SIZE];
};

static void put_all(
	struct world *w, const char *status, const char *want, enum request_type type)
{
	for (int i = 0; i < N_VMS; i++) {
		const char *uuid = w->uuids[i];
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
	struct world *w = aux;
	CLEANUP_STR char *prefix = key_requests_host(&w->keys, HOST);
	int64_t n = -1;
	struct err e = { 0 };

	return kv_count(w->admin, prefix, &n, &e) == 0 && n == 0;
}

static void put(struct world *w, char *key, const char *value)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };

	kv_txn_put(t, key, value);
	assert_int_equal(kv_txn_commit(w->admin, t, NULL, &e), 0);
	free(key);
}

static void open_world(struct world *w)
{
	struct hostd_conf conf = { .host = HOST, .keys = &w->keys };
	struct err e = { 0 };

	keys_set_defaults(&w->keys);
	w->etcd = fake_etcd_new();
	w->admin = kv_fake_open(w->etcd);
	w->kv = kv_fake_open(w->etcd);
	w->hyper = fake_hyper_new(HOST, 8, 16384);
	for (int i = 0; i < N_VMS; i++)
		uuid_new(w->uuids[i]);
	put(w, key_host(&w->keys, HOST), "{\"hostname\":\"" HOST "\"}");
	put(w, key_image_store("local"), "{\"name\":\"local\",\"type\":\"fake\"}");
	assert_int_equal(virt_open("fake:" HOST, NULL, NULL, &w->virt, &e), 0);
	w->hostd = hostd_new(w->kv, w->virt, &conf);
	hostd_start(w->hostd);
}

static void close_world(struct world *w)
{
	hostd_stop(w->hostd);
	assert_true(hostd_free(w->hostd, true));
	virt_close(w->virt);
	kv_close(w->kv);
	kv_close(w->admin);
	fake_hyper_free(w->hyper);
	fake_etcd_free(w->etcd);
	keys_done(&w->keys);
}

static bool all_crashed(void *aux)
{
	struct world *w = aux;
	CLEANUP_STR char *prefix = key_requests_scheduler(&w->keys);
	int64_t n = -1;
	struct err e = { 0 };

	return kv_count(w->admin, prefix, &n, &e) == 0 && n == N_VMS;
}

static void test_many(void **state)
{
	struct world w = { 0 };

	(void)state;
	open_world(&w);
	put_all(&w, "SCHEDULED", "running", REQ_START_VM);
	assert_true(wait_until(no_requests, &w, WAIT_MSEC));
	assert_int_equal(fake_hyper_n_running(w.hyper), N_VMS);
	put_all(&w, "REQUESTED_SHUTDOWN", "stopped", REQ_STOP_VM);
	assert_true(wait_until(no_requests, &w, WAIT_MSEC));
	assert_int_equal(fake_hyper_n_domains(w.hyper), 0);
	put_all(&w, "SCHEDULED", "running", REQ_START_VM);
	assert_true(wait_until(no_requests, &w, WAIT_MSEC));
	for (int i = 0; i < N_VMS; i++)
		fake_hyper_crash(w.hyper, w.uuids[i]);
	assert_true(wait_until(all_crashed, &w, WAIT_MSEC));
	close_world(&w);
}

/* Stopped in the middle of its work. */
static void test_stop(void **state)
{
	struct world w = { 0 };

	(void)state;
	open_world(&w);
	put_all(&w, "SCHEDULED", "running", REQ_START_VM);
	close_world(&w);
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

	disk_fake_register();
	log_set_sink(quiet, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
