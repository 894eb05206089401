#include "tests/lib/hostd_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/disk/disk_fake.h"
#include "tests/lib/test_util.h"

#define START_MSEC 1800000000000
#define STEP_MSEC  500
#define MAX_STEPS  5000

/* ------------------------------------------------------------------ the admin's hand */

void hostd_world_put(struct hostd_world *w, char *key, char *value)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };

	kv_txn_put(t, key, value);
	assert_int_equal(kv_txn_commit(w->admin, t, NULL, &e), 0);
	free(key);
	free(value);
}

void hostd_world_del(struct hostd_world *w, char *key)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };

	kv_txn_del(t, key);
	assert_int_equal(kv_txn_commit(w->admin, t, NULL, &e), 0);
	free(key);
}

char *hostd_world_get(struct hostd_world *w, char *key)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	struct err e = { 0 };

	assert_int_equal(kv_get(w->admin, key, &pair, NULL, &e), 0);
	free(key);
	return pair.key == NULL ? NULL : xstrdup(pair.value);
}

bool hostd_world_has(struct hostd_world *w, char *key)
{
	CLEANUP_STR char *value = hostd_world_get(w, key);

	return value != NULL;
}

void hostd_world_put_host(struct hostd_world *w)
{
	hostd_world_put(w, key_host(&w->keys, HOST),
		xstrdup("{\"hostname\":\"" HOST "\",\"status\":\"REGISTERED\"}"));
}

/* What does not change while a daemon runs. */
static void put_cloud(struct hostd_world *w)
{
	hostd_world_put(w, key_image_store("local"),
		xstrdup("{\"name\":\"local\",\"type\":\"fake\"}"));
	hostd_world_put(w, key_image(&w->keys, IMAGE),
		xstrdup("{\"uuid\":\"" IMAGE "\",\"name\":\"debian\",\"owner\":\"joe\","
			"\"owner_realm\":\"users\",\"store\":\"local\",\"path\":"
			"\"debian.img\",\"format\":\"raw\",\"status\":\"CREATED\","
			"\"virtual_bytes\":1073741824}"));
	hostd_world_put(w, key_user("users", "joe"),
		xstrdup("{\"name\":\"joe\",\"realm\":\"users\",\"use\":{\"vms\":1,"
			"\"cpu\":1,\"ram_mib\":512,\"disk_gib\":10}}"));
	hostd_world_put(w, key_vm_name("users", "joe", "web"), xstrdup(VM));
}

/* ------------------------------------------------------------------ its VM */

void hostd_world_put_vm(struct hostd_world *w, const char *status, const char *networks)
{
	hostd_world_put(w, key_vm(&w->keys, VM),
		xasprintf("{\"uuid\":\"" VM "\",\"name\":\"web\",\"owner\":\"joe\","
			  "\"owner_realm\":\"users\",\"specs\":{\"cpu\":1,"
			  "\"ram_mib\":512,\"disks\":[{\"size_gib\":10}]},"
			  "\"image_uuid\":\"" IMAGE "\",\"store\":\"local\","
			  "\"want\":\"running\",\"status\":\"%s\",\"hostname\":\"" HOST
			  "\",\"disk_host\":\"" HOST "\",\"boot\":1,\"networks\":[%s]}",
			status, networks));
	hostd_world_put(w, key_placement(HOST, VM), xstrdup("{}"));
}

void hostd_world_order(
	struct hostd_world *w, enum request_type type, int64_t deadline_sec)
{
	hostd_world_put(w, key_request_host(&w->keys, HOST, VM),
		request_new(type, VM, HOST, clock_unix_sec(), deadline_sec));
}

bool hostd_world_has_order(struct hostd_world *w)
{
	return hostd_world_has(w, key_request_host(&w->keys, HOST, VM));
}

struct vm hostd_world_get_vm(struct hostd_world *w)
{
	CLEANUP_STR char *text = hostd_world_get(w, key_vm(&w->keys, VM));
	struct vm vm = { 0 };
	struct err e = { 0 };

	assert_non_null(text);
	if (vm_parse(text, strlen(text), &vm, &e) < 0)
		fail_msg("%s", e.msg);
	return vm;
}

void hostd_world_edit_vm(struct hostd_world *w, enum vm_status status, enum vm_want want)
{
	CLEANUP(vm_done) struct vm vm = hostd_world_get_vm(w);

	vm_move(&vm, status);
	vm.want = (int)want;
	hostd_world_put(w, key_vm(&w->keys, VM), vm_format(&vm));
}

void hostd_world_assert_status(struct hostd_world *w, enum vm_status want)
{
	CLEANUP(vm_done) struct vm vm = hostd_world_get_vm(w);

	if (vm.status != (int)want)
		fail_msg("%s, not %s", vm_status_names[vm.status], vm_status_names[want]);
}

void hostd_world_assert_log(struct hostd_world *w, const char *part)
{
	CLEANUP_STR char *text = hostd_world_get(w, key_vm(&w->keys, VM));

	assert_non_null(text);
	if (strstr(text, part) == NULL)
		fail_msg("'%s' is not in %s", part, text);
}

void hostd_world_run_vm(struct hostd_world *w)
{
	hostd_world_put_vm(w, "SCHEDULED", "");
	hostd_world_order(w, REQ_START_VM, 0);
	hostd_world_settle(w);
	hostd_world_assert_status(w, VM_RUNNING);
}

void hostd_world_order_stop(struct hostd_world *w)
{
	hostd_world_edit_vm(w, VM_REQUESTED_SHUTDOWN, VM_WANT_STOPPED);
	hostd_world_order(w, REQ_STOP_VM, 0);
}

/* ------------------------------------------------------------------ the world */

static void fail_on_error(void *aux, enum log_level level, const char *line)
{
	(void)aux;
	if (level == LOG_ERROR)
		fail_msg("%s", line);
}

void hostd_world_init(const char *program)
{
	clock_fake_start(START_MSEC);
	log_init(program, LOG_INFO);
	if (getenv("VERBOSE") == NULL)
		log_set_sink(fail_on_error, NULL);
}

struct hostd_world *hostd_world_new(void)
{
	struct hostd_world *w = xcalloc(1, sizeof(*w));

	disk_fake_register();
	disk_fake_reset();
	keys_set_defaults(&w->keys);
	w->step_msec = STEP_MSEC;
	w->etcd = fake_etcd_new();
	w->admin = kv_fake_open(w->etcd);
	w->hyper = fake_hyper_new(HOST, 8, 16384);
	hostd_world_put_host(w);
	put_cloud(w);
	return w;
}

void hostd_world_free(struct hostd_world *w)
{
	kv_close(w->admin);
	fake_hyper_free(w->hyper);
	fake_etcd_free(w->etcd);
	keys_done(&w->keys);
	disk_fake_reset();
	if (w->dir != NULL)
		test_remove(w->dir);
	free(w->dir);
	free(w);
}

void hostd_world_open(struct hostd_world *w)
{
	struct hostd_conf conf = { .host = HOST,
		.keys = &w->keys,
		.state_dir = w->dir,
		.sysfs = w->dir,
		.shutdown_sec = 60,
		.orphan_keep_sec = 3600,
		.resync_sec = w->resync_sec };
	struct err e = { 0 };

	w->kv = kv_fake_open(w->etcd);
	assert_int_equal(virt_open("fake:" HOST, NULL, NULL, &w->virt, &e), 0);
	w->hostd = hostd_new(w->kv, w->virt, &conf);
}

void hostd_world_close(struct hostd_world *w)
{
	assert_true(hostd_free(w->hostd, w->is_release));
	virt_close(w->virt);
	kv_close(w->kv);
}

void hostd_world_settle(struct hostd_world *w)
{
	int n = 0;

	while (hostd_step(w->hostd) || fake_hyper_step(w->hyper))
		if (++n > MAX_STEPS)
			fail_msg("it never comes to rest");
}

void hostd_world_pass(struct hostd_world *w, int64_t msec)
{
	int64_t end = clock_mono_msec() + msec;

	hostd_world_settle(w);
	while (clock_mono_msec() < end) {
		int64_t left = end - clock_mono_msec();

		clock_fake_advance(left < w->step_msec ? left : w->step_msec);
		hostd_world_settle(w);
	}
}

int hostd_world_setup(void **state)
{
	struct hostd_world *w = hostd_world_new();

	hostd_world_open(w);
	hostd_world_settle(w);
	*state = w;
	return 0;
}

int hostd_world_teardown(void **state)
{
	struct hostd_world *w = *state;

	hostd_world_close(w);
	hostd_world_free(w);
	return 0;
}
