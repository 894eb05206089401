#include "ucloud-scheduler/sched.h"

#include "common/base/log.h"
#include "common/model/user.h"
#include "tests/unit/sched_world.h"
#include "ucloud-scheduler/explain.h"

#define LOCAL "\"type\":\"filesystem\",\"path\":\"/x\""
#define CEPH  "\"type\":\"ceph\",\"pool\":\"images\",\"vm_pool\":\"uservms\""

static void quiet(void *aux, enum log_level level, const char *line)
{
	(void)aux;
	(void)level;
	(void)line;
}

static void start(struct world *w)
{
	world_start(w);
	world_put_store(w, "s", LOCAL);
}

/* ---------------------------------------------------------------- placing */

static void test_place(void **state)
{
	struct world w;
	char uuid[UUID_STR_SIZE];

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 8, 8192);
	world_put_vm(&w, &(struct world_vm){ "a" });
	world_request_at(&w, "a", "ScheduleVM", 0, 1800000900);
	world_run(&w, 200);
	world_assert_host(&w, "h1", HOST_ALIVE);
	world_assert_vm(&w, "a", VM_SCHEDULED, "h1");
	uuid_of_name("a", uuid);
	CLEANUP_STR char *placement = key_placement("h1", uuid);
	CLEANUP_STR char *old = world_request_key(&w, "a");
	CLEANUP_STR char *new = key_request_host(&w.conf.keys, "h1", uuid);
	assert_true(world_has(&w, placement));
	assert_false(world_has(&w, old));
	CLEANUP_STR char *text = world_get(&w, new);
	CLEANUP(request_done) struct request r = { 0 };
	struct err e;
	assert_non_null(text);
	assert_int_equal(request_parse(text, strlen(text), &r, &e), 0);
	assert_int_equal(r.type, REQ_START_VM);
	assert_string_equal(r.hostname, "h1");
	assert_int_equal(r.deadline, 1800000900);
	CLEANUP(vm_done) struct vm vm = { 0 };
	world_vm_at(&w, "a", &vm);
	assert_string_equal(vm.disk_host, "h1");
	assert_string_equal(vm.why,
		"h1: 88 % of its scarcest resource (CPU) stays free; 1 of 1 host fits");
	const struct vm_log_line *log = vm.log.v;
	assert_string_equal(log[vm.log.len - 1].text, "placed on h1");
	/* What this version does not know is kept. */
	assert_non_null(json_object_get(vm.rest, "from_the_future"));
	world_end(&w);
}

static void test_place_shared_store(void **state)
{
	struct world w;

	(void)state;
	world_start(&w);
	world_put_store(&w, "s", CEPH);
	world_add_host(&w, "h1", 8, 8192);
	world_order_vm(&w, &(struct world_vm){ "a" });
	world_run(&w, 200);
	CLEANUP(vm_done) struct vm vm = { 0 };
	world_vm_at(&w, "a", &vm);
	assert_string_equal(vm.hostname, "h1");
	assert_true(str_is_empty(vm.disk_host));
	world_end(&w);
}

static void test_waits_then_fits(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	world_order_vm(&w, &(struct world_vm){ "a", .ram_mib = 4096 });
	world_run(&w, 1000);
	CLEANUP(vm_done) struct vm vm = { 0 };
	int64_t rev = world_vm_at(&w, "a", &vm);
	assert_int_equal(vm.status, VM_REQUESTED_NEW);
	assert_string_equal(vm.why, "no host is registered");
	assert_int_equal(vm.log.len, 1);
	/* Nothing is said twice. */
	world_run(&w, 120000);
	assert_int_equal(world_vm_at(&w, "a", &vm), rev);
	/* Another reason is told at once. */
	world_add_host(&w, "h1", 8, 1024);
	world_run(&w, 500);
	world_vm_at(&w, "a", &vm);
	assert_string_equal(
		vm.why, "1 host: not enough RAM (need 4096 MiB, best has 1024)");
	world_set_alive(&w, "h1", false);
	world_run(&w, 3000);
	world_vm_at(&w, "a", &vm);
	assert_string_equal(vm.why, "1 host: no heartbeat");
	/* Room appears: at once. */
	world_add_host(&w, "h2", 8, 8192);
	world_run(&w, 200);
	world_assert_vm(&w, "a", VM_SCHEDULED, "h2");
	world_end(&w);
}

/* Reasons that come and go are told less and less often; what holds in the end is told. */
static void test_reasons_that_keep_changing(void **state)
{
	struct world w;
	int64_t rev, n_written = 0;

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 8, 1024);
	world_order_vm(&w, &(struct world_vm){ "a", .ram_mib = 4096 });
	world_run(&w, 1000);
	CLEANUP(vm_done) struct vm vm = { 0 };
	rev = world_vm_at(&w, "a", &vm);
	for (int i = 0; i < 121; i++) {
		world_set_alive(&w, "h1", i % 2);
		world_run(&w, 1000);
		int64_t now = world_vm_at(&w, "a", &vm);
		n_written += now != rev;
		rev = now;
	}
	assert_in_range(n_written, 3, 9);
	world_run(&w, 30000);
	world_vm_at(&w, "a", &vm);
	assert_string_equal(vm.why, "1 host: no heartbeat");
	/* After some calm at once again. */
	world_run(&w, 70000);
	world_set_alive(&w, "h1", true);
	world_run(&w, 1000);
	world_vm_at(&w, "a", &vm);
	assert_non_null(strstr(vm.why, "not enough RAM"));
	world_end(&w);
}

/* A host's change is news for all that wait: they are written one after the other. */
static void test_reasons_of_many(void **state)
{
	enum { N = 600 };
	struct world w;
	int n_soon = 0, n_later = 0;

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 8, 1024);
	for (int i = 0; i < N; i++) {
		char name[16];
		snprintf(name, sizeof(name), "v%d", i);
		world_order_vm(&w, &(struct world_vm){ name, .ram_mib = 4096 });
	}
	world_run(&w, 5000);
	world_set_alive(&w, "h1", false);
	for (int k = 0; k < 2; k++) {
		world_run(&w, k == 0 ? 300 + N * 1000 / 500 / 3 : 3000);
		for (int i = 0; i < N; i++) {
			CLEANUP(vm_done) struct vm vm = { 0 };
			char name[16];
			snprintf(name, sizeof(name), "v%d", i);
			world_vm_at(&w, name, &vm);
			*(k == 0 ? &n_soon : &n_later) +=
				!strcmp(vm.why, "1 host: no heartbeat");
		}
	}
	assert_in_range(n_soon, 1, N / 2);
	assert_int_equal(n_later, N);
	world_end(&w);
}

/* A VM whose QEMU died waits some seconds before it is started again: its place is not given
 * away meanwhile, since its disks are nowhere else. */
static void test_room_after_a_crash(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 1, 8192);
	world_put_vm(&w, &(struct world_vm){ "a", .hostname = "h1", .disk_host = "h1",
				 .status = "RUNNING" });
	world_order_vm(&w, &(struct world_vm){ "b" });
	world_run(&w, 1000);
	world_put_vm(
		&w, &(struct world_vm){ "a", .disk_host = "h1", .status = "KILLED" });
	world_request_at(&w, "a", "ScheduleVM", clock_unix_sec() + 5, 0);
	world_run(&w, 3000);
	world_assert_vm(&w, "b", VM_REQUESTED_NEW, "");
	world_run(&w, 4000);
	world_assert_vm(&w, "a", VM_SCHEDULED, "h1");
	world_assert_vm(&w, "b", VM_REQUESTED_NEW, "");
	/* Nobody wants it any more. */
	world_put_vm(&w, &(struct world_vm){ "a", .disk_host = "h1", .status = "STOPPED",
				 .want = "stopped" });
	world_run(&w, 1000);
	world_assert_vm(&w, "b", VM_SCHEDULED, "h1");
	world_end(&w);
}

/* Only numbers wobble: no write. */
static void test_numbers_wobble(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 8, 1024);
	world_order_vm(&w, &(struct world_vm){ "a", .ram_mib = 4096 });
	world_run(&w, 500);
	CLEANUP(vm_done) struct vm vm = { 0 };
	int64_t rev = world_vm_at(&w, "a", &vm);
	assert_int_equal(vm.log.len, 1);
	for (int i = 0; i < 5; i++) {
		char name[16];
		snprintf(name, sizeof(name), "h%d", 2 + i);
		world_add_host(&w, name, 8, 1024 + i);
		world_run(&w, 40000);
	}
	assert_int_equal(world_vm_at(&w, "a", &vm), rev);
	world_end(&w);
}

/* A VM that leaves makes room. */
static void test_room_by_a_stopped_vm(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 1, 1024);
	world_put_vm(
		&w, &(struct world_vm){ "old", .hostname = "h1", .status = "RUNNING" });
	world_order_vm(&w, &(struct world_vm){ "a" });
	world_run(&w, 500);
	world_assert_vm(&w, "a", VM_REQUESTED_NEW, "");
	world_put_vm(&w, &(struct world_vm){ "old", .status = "STOPPED",
				 .want = "stopped", .disk_host = "h1" });
	world_run(&w, 200);
	world_assert_vm(&w, "a", VM_SCHEDULED, "h1");
	world_end(&w);
}

static void test_pinned_by_its_disks(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 2, 2048);
	world_add_host(&w, "h2", 64, 65536);
	world_order_vm(&w, &(struct world_vm){
				   "a", .status = "REQUESTED_START", .disk_host = "h1" });
	world_run(&w, 300);
	world_assert_vm(&w, "a", VM_SCHEDULED, "h1");
	world_end(&w);
}

static void test_not_before(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 8, 8192);
	world_put_vm(
		&w, &(struct world_vm){ "a", .status = "KILLED", .disk_host = "h1" });
	world_run(&w, 100);
	world_request_at(&w, "a", "ScheduleVM", clock_unix_sec() + 60, 0);
	world_run(&w, 58000);
	world_assert_vm(&w, "a", VM_KILLED, "");
	world_run(&w, 2500);
	world_assert_vm(&w, "a", VM_SCHEDULED, "h1");
	world_end(&w);
}

static void assert_no_request(struct world *w, const char *name)
{
	CLEANUP_STR char *key = world_request_key(w, name);

	if (world_has(w, key))
		fail_msg("%s is still there", key);
}

static void assert_last_log(struct world *w, const char *name, const char *text)
{
	CLEANUP(vm_done) struct vm vm = { 0 };

	world_vm_at(w, name, &vm);
	assert_true(vm.log.len > 0);
	const struct vm_log_line *log = vm.log.v;
	assert_string_equal(log[vm.log.len - 1].text, text);
}

static void test_deadline(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	w.conf.deadline_sec = 3600;
	world_put_host(&w, "h1", 8, 8192, ",\"draining\":true");
	world_set_alive(&w, "h1", true);
	world_order_vm(&w, &(struct world_vm){ "a" });
	world_put_vm(&w, &(struct world_vm){ "b" });
	world_request_at(&w, "b", "ScheduleVM", 0, clock_unix_sec() + 45);
	world_run(&w, 44000);
	world_assert_vm(&w, "b", VM_REQUESTED_NEW, "");
	world_run(&w, 1500);
	world_assert_vm(&w, "b", VM_ERROR, "");
	assert_last_log(&w, "b", "no host within 45 s: 1 host: draining");
	assert_no_request(&w, "b");
	world_assert_vm(&w, "a", VM_REQUESTED_NEW, "");
	for (int i = 0; i < 72; i++) {
		clock_fake_advance(49000);
		world_run(&w, 1000);
	}
	world_assert_vm(&w, "a", VM_ERROR, "");
	assert_last_log(&w, "a", "no host within 1 h: 1 host: draining");
	assert_no_request(&w, "a");
	world_end(&w);
}

/* Two watches tell of a VM and of its request, in any order: that costs no time. */
static void test_request_seen_first(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 8, 8192);
	world_run(&w, 1000);
	world_request(&w, "a", "ScheduleVM");
	world_run(&w, 100);
	CLEANUP_STR char *key = world_request_key(&w, "a");
	assert_true(world_has(&w, key));
	world_put_vm(&w, &(struct world_vm){ "a" });
	world_settle_one(w.sched);
	clock_fake_advance(2);
	world_settle_one(w.sched);
	world_assert_vm(&w, "a", VM_SCHEDULED, "h1");
	world_end(&w);
}

/* Requests that mean nothing. */
static void test_cleaned_up(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 8, 8192);
	world_request(&w, "missing", "ScheduleVM");
	world_order_vm(&w, &(struct world_vm){ "unwanted", .want = "stopped" });
	world_order_vm(&w,
		&(struct world_vm){ "stopped", .status = "STOPPED", .want = "stopped" });
	world_order_vm(
		&w, &(struct world_vm){ "runs", .status = "RUNNING", .hostname = "h1" });
	world_order_vm(&w, &(struct world_vm){ "broken", .status = "ERROR" });
	world_order_vm(&w, &(struct world_vm){ "deleted", .status = "REQUESTED_DELETE" });
	world_run(&w, 500);
	assert_no_request(&w, "missing");
	assert_no_request(&w, "unwanted");
	assert_no_request(&w, "stopped");
	assert_no_request(&w, "runs");
	assert_no_request(&w, "broken");
	assert_no_request(&w, "deleted");
	world_assert_vm(&w, "unwanted", VM_STOPPED, "");
	world_assert_vm(&w, "stopped", VM_STOPPED, "");
	world_assert_vm(&w, "runs", VM_RUNNING, "h1");
	world_assert_vm(&w, "broken", VM_ERROR, "");
	assert_int_equal(world_count(&w, w.conf.keys.vm), 4);
	world_end(&w);
}

static void test_garbage(void **state)
{
	struct world w;
	char uuid[UUID_STR_SIZE];

	(void)state;
	start(&w);
	world_put(&w, "/v1/vm/not-a-uuid", "{}");
	uuid_of_name("bad", uuid);
	CLEANUP_STR char *bad_vm = key_vm(&w.conf.keys, uuid);
	world_put(&w, bad_vm, "{ not json");
	world_request(&w, "bad", "ScheduleVM");
	world_put(&w, "/v1/request/scheduler/x/y", "7");
	world_put(&w, "/v1/host/h0", "[]");
	world_put(&w, "/v1/alive/h0", "");
	world_put(&w, "/v1/image_store/s2", "{\"name\":5}");
	world_add_host(&w, "h1", 8, 8192);
	world_order_vm(&w, &(struct world_vm){ "a" });
	world_run(&w, 60000);
	world_assert_vm(&w, "a", VM_SCHEDULED, "h1");
	CLEANUP_STR char *text = world_get(&w, bad_vm);
	assert_string_equal(text, "{ not json");
	CLEANUP_STR char *request = world_request_key(&w, "bad");
	assert_true(world_has(&w, request));
	world_end(&w);
}

/* ---------------------------------------------------------------- faults */

struct fault {
	struct world *w;
	int n;	    /* writes seen */
	int at;	    /* which one */
	int answer; /* of kv_fault.on_write */
	void (*fn)(struct fault *f);
};

static int on_write(void *aux)
{
	struct fault *f = aux;

	if (++f->n != f->at)
		return 0;
	if (f->fn)
		f->fn(f);
	return f->answer;
}

static void set_fault(struct world *w, struct fault *f)
{
	struct kv_fault fault = { .on_write = on_write, .aux = f };

	f->w = w;
	f->n = 0;
	kv_fake_set_fault(w->sched_kv, &fault);
}

/* 40 VMs for hosts that have room for 36. */
static void order_many(struct world *w)
{
	for (int i = 0; i < 40; i++) {
		char name[16];
		snprintf(name, sizeof(name), "vm%d", i);
		world_order_vm(w, &(struct world_vm){ name, .cpu = 2 });
	}
}

static void assert_placed(struct world *w, int want)
{
	int n_on[3] = { 0 }, n_placed = 0;

	for (int i = 0; i < 40; i++) {
		CLEANUP(vm_done) struct vm vm = { 0 };
		char name[16], uuid[UUID_STR_SIZE];
		snprintf(name, sizeof(name), "vm%d", i);
		world_vm_at(w, name, &vm);
		uuid_of_name(name, uuid);
		CLEANUP_STR char *key = world_request_key(w, name);
		assert_int_equal(world_has(w, key), !vm_has_host(&vm));
		if (!vm_has_host(&vm))
			continue;
		CLEANUP_STR char *placement = key_placement(vm.hostname, uuid);
		CLEANUP_STR char *start =
			key_request_host(&w->conf.keys, vm.hostname, uuid);
		assert_true(world_has(w, placement));
		assert_true(world_has(w, start));
		n_on[vm.hostname[1] - '1']++;
		n_placed++;
	}
	for (int i = 0; i < 3; i++)
		assert_in_range(n_on[i], 0, 12);
	assert_int_equal(n_placed, want);
	assert_int_equal(world_count(w, KEY_PLACEMENT), want);
}

static void run_with_fault(struct fault *f, int want)
{
	struct world w;

	start(&w);
	for (int i = 1; i <= 3; i++) {
		char name[16];
		snprintf(name, sizeof(name), "h%d", i);
		world_add_host(&w, name, 24, 65536);
	}
	world_run(&w, 1000);
	order_many(&w);
	set_fault(&w, f);
	world_run(&w, 20000);
	kv_fake_set_fault(w.sched_kv, NULL);
	assert_true(f->at == 0 || f->n >= f->at);
	assert_placed(&w, want);
	world_end(&w);
}

static void test_many(void **state)
{
	struct fault f = { 0 };

	(void)state;
	run_with_fault(&f, 36);
	/* Two transactions of placements, one for those that wait: batches, not each alone. */
	assert_in_range(f.n, 2, 12);
}

/* Each of the first writes fails, is done with a lost answer, or is lost. */
static void test_write_faults(void **state)
{
	(void)state;
	for (int at = 1; at <= 4; at++)
		for (int answer = 1; answer <= 3; answer++) {
			struct fault f = { .at = at, .answer = answer };
			run_with_fault(&f, 36);
		}
}

static void stop_one(struct fault *f)
{
	world_put_vm(f->w,
		&(struct world_vm){ "vm7", .status = "STOPPED", .want = "stopped" });
}

static void test_one_bad_holds_up_nobody(void **state)
{
	struct fault f = { .at = 1, .fn = stop_one };
	struct world w;

	(void)state;
	start(&w);
	for (int i = 1; i <= 3; i++) {
		char name[16];
		snprintf(name, sizeof(name), "h%d", i);
		world_add_host(&w, name, 64, 65536);
	}
	world_run(&w, 1000);
	order_many(&w);
	set_fault(&w, &f);
	world_run(&w, 3000);
	world_assert_vm(&w, "vm7", VM_STOPPED, "");
	assert_no_request(&w, "vm7");
	assert_int_equal(world_count(&w, KEY_PLACEMENT), 39);
	kv_fake_set_fault(w.sched_kv, NULL);
	world_end(&w);
}

static void drain_h1(struct fault *f)
{
	world_put_host(f->w, "h1", 64, 65536, ",\"draining\":true");
}

/* The host changes while a placement on it is on its way. */
static void test_host_changes(void **state)
{
	struct fault f = { .at = 1, .fn = drain_h1 };
	struct world w;

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 64, 65536);
	world_run(&w, 1000);
	world_order_vm(&w, &(struct world_vm){ "a" });
	set_fault(&w, &f);
	world_run(&w, 2000);
	world_assert_vm(&w, "a", VM_REQUESTED_NEW, "");
	kv_fake_set_fault(w.sched_kv, NULL);
	world_end(&w);
}

/* ---------------------------------------------------------------- leading */

struct pair {
	struct world *w;
	struct kv *kv;
	struct sched *other;
};

static struct pair *pair_new(struct world *w)
{
	struct pair *p = xcalloc(1, sizeof(*p));

	p->w = w;
	p->kv = kv_fake_open(w->etcd);
	p->other = sched_new(p->kv, &w->conf);
	return p;
}

static void pair_free(struct pair *p)
{
	sched_free(p->other);
	kv_close(p->kv);
	free(p);
}

static void run_other(struct pair *p, int64_t msec)
{
	for (int64_t t = 0; t <= msec; t += 100) {
		world_settle_one(p->other);
		clock_fake_advance(100);
	}
}

static void test_second_takes_over(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 8, 8192);
	world_run(&w, 1000);
	struct pair *p = pair_new(&w);
	run_other(p, 20000 / 10);
	assert_true(sched_is_leader(w.sched));
	assert_false(sched_is_leader(p->other));
	/* The first one is gone, without a word. */
	int64_t start_msec = clock_mono_msec();
	while (!sched_is_leader(p->other) && clock_mono_msec() - start_msec < 20000)
		run_other(p, 100);
	assert_in_range(clock_mono_msec() - start_msec, 1, 12000);
	world_order_vm(&w, &(struct world_vm){ "a" });
	run_other(p, 500);
	world_assert_vm(&w, "a", VM_SCHEDULED, "h1");
	/* It comes back, and notices. */
	world_run(&w, 1000);
	assert_false(sched_is_leader(w.sched));
	pair_free(p);
	world_end(&w);
}

/* Somebody else leads, and has not come to change any entry yet. */
static void usurp(struct fault *f)
{
	CLEANUP_STR char *key = key_lock("scheduler");

	clock_fake_advance(13000);
	assert_false(world_has(f->w, key));
	world_put(f->w, key, "{}");
}

/* A leader that is stopped in the middle of a write, and continued when another one leads:
 * its write fails, although every entry in it compares as the same. */
static void test_stale_leader(void **state)
{
	struct fault f = { .at = 1, .fn = usurp };
	struct world w;

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 8, 8192);
	world_run(&w, 1000);
	world_order_vm(&w, &(struct world_vm){ "a" });
	CLEANUP(vm_done) struct vm vm = { 0 };
	int64_t rev = world_vm_at(&w, "a", &vm);
	set_fault(&w, &f);
	world_run(&w, 5000);
	assert_true(f.n >= 1);
	assert_false(sched_is_leader(w.sched));
	assert_int_equal(world_vm_at(&w, "a", &vm), rev);
	kv_fake_set_fault(w.sched_kv, NULL);
	world_end(&w);
}

static void freeze(struct fault *f)
{
	struct pair *p = pair_new(f->w);

	run_other(p, 13000);
	assert_true(sched_is_leader(p->other));
	world_assert_vm(f->w, "a", VM_SCHEDULED, "h1");
	world_assert_vm(f->w, "b", VM_REQUESTED_NEW, "");
	pair_free(p);
}

/* The same with a second scheduler that has given the room away. */
static void test_two_leaders(void **state)
{
	struct fault f = { .at = 1, .fn = freeze };
	struct world w;

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 1, 8192);
	world_run(&w, 1000);
	world_order_vm(&w, &(struct world_vm){ "a" });
	clock_fake_advance(1000);
	world_order_vm(&w, &(struct world_vm){ "b" });
	set_fault(&w, &f);
	world_run(&w, 5000);
	assert_true(f.n >= 1);
	world_assert_vm(&w, "a", VM_SCHEDULED, "h1");
	world_assert_vm(&w, "b", VM_REQUESTED_NEW, "");
	assert_int_equal(world_count(&w, KEY_PLACEMENT), 1);
	kv_fake_set_fault(w.sched_kv, NULL);
	world_end(&w);
}

static size_t show_nothing(void *aux, size_t n_pending)
{
	(void)aux;
	(void)n_pending;
	return 0;
}

/* The new leader's caches do not show yet what the old one has placed: the room is taken all
 * the same. */
static void test_new_leader_is_behind(void **state)
{
	struct kv_fault behind = { .on_watch = show_nothing };
	struct world w;

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 1, 8192);
	world_run(&w, 1000);
	world_put_vm(&w, &(struct world_vm){ "a" });
	world_put_vm(&w, &(struct world_vm){ "b" });
	world_request_at(&w, "b", "ScheduleVM", clock_unix_sec() + 5, 0);
	struct pair *p = pair_new(&w);
	run_other(p, 1000);
	kv_fake_set_fault(p->kv, &behind);
	world_put_vm(&w, &(struct world_vm){ "c" });
	world_request(&w, "c", "ScheduleVM");
	world_run(&w, 500);
	world_assert_vm(&w, "c", VM_SCHEDULED, "h1");
	sched_stop(w.sched);
	run_other(p, 25000);
	assert_true(sched_is_leader(p->other));
	world_assert_vm(&w, "b", VM_REQUESTED_NEW, "");
	assert_int_equal(world_count(&w, KEY_PLACEMENT), 1);
	kv_fake_set_fault(p->kv, NULL);
	run_other(p, 1000);
	world_assert_vm(&w, "b", VM_REQUESTED_NEW, "");
	world_put_vm(
		&w, &(struct world_vm){ "c", .status = "STOPPED", .want = "stopped" });
	run_other(p, 1000);
	world_assert_vm(&w, "b", VM_SCHEDULED, "h1");
	pair_free(p);
	world_end(&w);
}

/* The answer to a placement is lost, and its news are late: its room is taken all the same. */
struct lost {
	bool is_written;
};

static int lose_answer(void *aux)
{
	struct lost *l = aux;
	bool is_first = !l->is_written;

	l->is_written = true;
	return is_first ? 2 : 0;
}

static size_t show_nothing_more(void *aux, size_t n_pending)
{
	const struct lost *l = aux;

	return l->is_written ? 0 : n_pending;
}

static void test_lost_answer_and_late_news(void **state)
{
	struct lost lost = { 0 };
	struct kv_fault fault = {
		.on_write = lose_answer, .on_watch = show_nothing_more, .aux = &lost
	};
	struct world w;

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 1, 8192);
	world_put_vm(&w, &(struct world_vm){ "a" });
	world_put_vm(&w, &(struct world_vm){ "b" });
	world_request_at(&w, "b", "ScheduleVM", clock_unix_sec() + 3, 0);
	world_run(&w, 1000);
	kv_fake_set_fault(w.sched_kv, &fault);
	world_request(&w, "a", "ScheduleVM");
	world_run(&w, 8000);
	assert_true(lost.is_written);
	world_assert_vm(&w, "a", VM_SCHEDULED, "h1");
	world_assert_vm(&w, "b", VM_REQUESTED_NEW, "");
	assert_int_equal(world_count(&w, KEY_PLACEMENT), 1);
	kv_fake_set_fault(w.sched_kv, NULL);
	world_run(&w, 1000);
	world_assert_vm(&w, "b", VM_REQUESTED_NEW, "");
	world_end(&w);
}

/* ---------------------------------------------------------------- hosts */

static void test_host_dies_and_returns(void **state)
{
	CLEANUP(vm_done) struct vm off = { 0 };
	struct world w;

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 8, 8192);
	world_run(&w, 500);
	for (int i = 0; i < 130; i++) {
		char name[16];
		snprintf(name, sizeof(name), "vm%d", i);
		world_put_vm(&w, &(struct world_vm){ name, .hostname = "h1",
					 .status = i == 1 ? "SCHEDULED" : "RUNNING" });
	}
	world_put_vm(&w, &(struct world_vm){ "off", .hostname = "h1",
				 .status = "REQUESTED_SHUTDOWN", .want = "stopped" });
	world_set_alive(&w, "h1", false);
	world_run(&w, 29000);
	world_assert_host(&w, "h1", HOST_ALIVE);
	world_assert_vm(&w, "vm0", VM_RUNNING, "h1");
	world_run(&w, 2000);
	world_assert_host(&w, "h1", HOST_DEAD);
	for (int i = 0; i < 130; i++) {
		char name[16];
		snprintf(name, sizeof(name), "vm%d", i);
		world_assert_vm(&w, name, VM_KILLED, "h1");
	}
	world_assert_vm(&w, "off", VM_REQUESTED_SHUTDOWN, "h1");
	/* It does not wait without a reason, and is told once. */
	int64_t rev = world_vm_at(&w, "off", &off);
	assert_int_equal(off.log.len, 1);
	world_run(&w, 1200 * 1000);
	assert_int_equal(world_vm_at(&w, "off", &off), rev);
	assert_int_equal(world_count(&w, KEY_PLACEMENT), 131);
	world_set_alive(&w, "h1", true);
	world_run(&w, 300);
	world_assert_host(&w, "h1", HOST_ALIVE);
	world_assert_vm(&w, "vm0", VM_KILLED, "h1");
	world_end(&w);
}

static void test_short_absence(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 8, 8192);
	world_run(&w, 500);
	for (int i = 0; i < 3; i++) {
		world_set_alive(&w, "h1", false);
		world_run(&w, 25000);
		world_set_alive(&w, "h1", true);
		world_run(&w, 1000);
		world_assert_host(&w, "h1", HOST_ALIVE);
	}
	world_end(&w);
}

/* The heartbeat changes while what follows from it is on its way to the store. */
struct race {
	struct world *w;
	int64_t from_msec;
	bool is_dead_already; /* the host's entry says so; its VMs are next */
	bool comes, is_over;
};

static int on_race(void *aux)
{
	struct race *r = aux;
	CLEANUP_STR char *key = key_host(&r->w->conf.keys, "h1");
	CLEANUP_STR char *text = world_get(r->w, key);
	bool is_dead = strstr(text, "\"DEAD\"");

	if (r->is_over || clock_mono_msec() < r->from_msec ||
		is_dead != (r->is_dead_already || !r->comes))
		return 0;
	r->is_over = true;
	world_set_alive(r->w, "h1", r->comes);
	return 0;
}

static void run_race(struct race r, enum host_status host, enum vm_status vm)
{
	struct kv_fault fault = { .on_write = on_race, .aux = &r };
	struct world w;

	start(&w);
	r.w = &w;
	world_add_host(&w, "h1", 8, 8192);
	world_run(&w, 500);
	world_put_vm(
		&w, &(struct world_vm){ "a", .hostname = "h1", .status = "RUNNING" });
	CLEANUP_STR char *host_key = key_host(&w.conf.keys, "h1");
	CLEANUP_STR char *before = world_get(&w, host_key);
	world_set_alive(&w, "h1", false);
	r.from_msec = clock_mono_msec() + 30000;
	if (r.comes) {
		kv_fake_set_fault(w.sched_kv, &fault);
		world_run(&w, 29000);
	} else {
		world_run(&w, 32000);
		world_set_alive(&w, "h1", true);
		kv_fake_set_fault(w.sched_kv, &fault);
	}
	world_run(&w, 3000);
	assert_true(r.is_over);
	kv_fake_set_fault(w.sched_kv, NULL);
	world_assert_host(&w, "h1", host);
	CLEANUP_STR char *after = world_get(&w, host_key);
	if (r.comes && !r.is_dead_already)
		assert_string_equal(after, before); /* not even for a moment */
	world_assert_vm(&w, "a", vm, "h1");
	world_end(&w);
}

static void test_heartbeat_races(void **state)
{
	(void)state;
	run_race((struct race){ .comes = true }, HOST_ALIVE, VM_RUNNING);
	run_race((struct race){ .comes = true, .is_dead_already = true }, HOST_ALIVE,
		VM_RUNNING);
	run_race((struct race){ 0 }, HOST_DEAD, VM_KILLED);
}

/* A host that was never there is not dead. */
static void test_never_seen(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	world_put_host(&w, "h1", 0, 0, NULL);
	world_run(&w, 60000);
	world_assert_host(&w, "h1", HOST_REGISTERED);
	world_end(&w);
}

/* ---------------------------------------------------------------- deleting */

static void put_user(struct world *w)
{
	CLEANUP_STR char *key = key_user("r", "alice");

	world_put(w, key,
		"{\"name\":\"alice\",\"realm\":\"r\",\"use\":{\"vms\":2,\"cpu\":5,"
		"\"ram_mib\":2000,\"disk_gib\":25}}");
}

static void test_delete_never_placed(void **state)
{
	struct world w;
	char uuid[UUID_STR_SIZE], network[UUID_STR_SIZE];

	(void)state;
	start(&w);
	put_user(&w);
	uuid_of_name("a", uuid);
	uuid_of_name("net", network);
	CLEANUP_STR char *name_key = key_vm_name("r", "alice", "a");
	CLEANUP_STR char *port = key_port(network, "02:00:00:00:00:01");
	CLEANUP_STR char *user_key = key_user("r", "alice");
	CLEANUP_STR char *nets = xasprintf(
		",\"networks\":[{\"network\":\"%s\",\"mac\":\"02:00:00:00:00:01\"}]",
		network);
	world_put(&w, name_key, uuid);
	world_put(&w, port, "{}");
	world_put_vm(&w, &(struct world_vm){ "a", .cpu = 3, .ram_mib = 1000,
				 .status = "REQUESTED_DELETE", .more = nets });
	world_request(&w, "a", "DeleteVM");
	world_run(&w, 500);
	assert_int_equal(world_count(&w, w.conf.keys.vm), 0);
	assert_int_equal(world_count(&w, w.conf.keys.request), 0);
	assert_false(world_has(&w, name_key));
	assert_false(world_has(&w, port));
	CLEANUP_STR char *text = world_get(&w, user_key);
	CLEANUP(user_done) struct user user = { 0 };
	struct err e;
	assert_int_equal(user_parse(text, strlen(text), &user, &e), 0);
	assert_int_equal(user.use.vms, 1);
	assert_int_equal(user.use.cpu, 2);
	assert_int_equal(user.use.ram_mib, 1000);
	assert_int_equal(user.use.disk_gib, 15);
	world_end(&w);
}

static void assert_asked(
	struct world *w, const char *name, const char *host, enum request_type type)
{
	char uuid[UUID_STR_SIZE];

	uuid_of_name(name, uuid);
	CLEANUP_STR char *key = key_request_host(&w->conf.keys, host, uuid);
	CLEANUP_STR char *text = world_get(w, key);
	CLEANUP(request_done) struct request r = { 0 };
	struct err e;

	assert_non_null(text);
	assert_int_equal(request_parse(text, strlen(text), &r, &e), 0);
	assert_int_equal(r.type, type);
	assert_no_request(w, name);
}

static void assert_handed_to(struct world *w, const char *name, const char *host)
{
	assert_asked(w, name, host, REQ_DELETE_VM);
	world_assert_vm(w, name, VM_REQUESTED_DELETE, "");
}

static void test_delete_with_disks(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	world_put_store(&w, "c", CEPH);
	world_add_host(&w, "h1", 8, 8192);
	world_put_vm(&w, &(struct world_vm){ "local", .status = "REQUESTED_DELETE",
				 .disk_host = "h1" });
	world_request(&w, "local", "DeleteVM");
	world_put_vm(&w,
		&(struct world_vm){ "shared", .status = "REQUESTED_DELETE", .store = "c",
			.more = ",\"last_start\":\"2026-11-23T04:00:00Z\"" });
	world_request(&w, "shared", "DeleteVM");
	world_run(&w, 500);
	assert_handed_to(&w, "local", "h1");
	/* Nobody reaches that store yet. */
	world_assert_vm(&w, "shared", VM_REQUESTED_DELETE, "");
	world_run(&w, 20000);
	CLEANUP_STR char *request = world_request_key(&w, "shared");
	CLEANUP_STR char *text = world_get(&w, request);
	assert_non_null(strstr(text, "no host that is alive reaches store"));
	assert_non_null(strstr(text, "\"attempts\":5"));
	CLEANUP_STR char *key = key_host(&w.conf.keys, "h2");
	world_put(&w, key,
		"{\"hostname\":\"h2\",\"stores\":[{\"name\":\"c\",\"total_gib\":-1,"
		"\"free_gib\":-1}]}");
	world_set_alive(&w, "h2", true);
	world_run(&w, 70000);
	assert_handed_to(&w, "shared", "h2");
	world_end(&w);
}

static void put_ceph_host(struct world *w, const char *name)
{
	CLEANUP_STR char *key = key_host(&w->conf.keys, name);
	CLEANUP_STR char *text =
		xasprintf("{\"hostname\":\"%s\",\"cpus\":8,\"ram_mib\":8192,\"stores\":[{"
			  "\"name\":\"c\",\"total_gib\":-1,\"free_gib\":-1}]}",
			name);

	world_put(w, key, text);
	world_set_alive(w, name, true);
}

/* A VM was placed, and stopped before it ran. Long afterwards, when its log tells other things,
 * somebody must still remove the disks that it may have in a shared store. */
static void test_delete_long_after_a_placement(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world w;

	(void)state;
	start(&w);
	world_put_store(&w, "c", CEPH);
	put_ceph_host(&w, "h1");
	world_order_vm(&w, &(struct world_vm){ "a", .store = "c" });
	world_run(&w, 500);
	world_assert_vm(&w, "a", VM_SCHEDULED, "h1");
	world_vm_at(&w, "a", &vm);
	for (int i = 0; i < 2 * VM_LOG_MAX; i++)
		vm_log(&vm, 1, "line %d", i);
	vm_release_host(&vm);
	vm.status = VM_REQUESTED_DELETE;
	CLEANUP_STR char *key = key_vm(&w.conf.keys, vm.uuid);
	CLEANUP_STR char *placement = key_placement("h1", vm.uuid);
	CLEANUP_STR char *asked = key_request_host(&w.conf.keys, "h1", vm.uuid);
	CLEANUP_STR char *text = vm_format(&vm);
	world_put(&w, key, text);
	world_del(&w, placement);
	world_del(&w, asked);
	world_request(&w, "a", "DeleteVM");
	world_run(&w, 500);
	assert_handed_to(&w, "a", "h1");
	world_end(&w);
}

/* Of a STOPPED VM in a shared store: some host does it, and when that dies another one. */
static void test_change(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world w;

	(void)state;
	start(&w);
	world_put_store(&w, "c", CEPH);
	put_ceph_host(&w, "h1");
	world_put_vm(&w, &(struct world_vm){ "a", .status = "STOPPED", .want = "stopped",
				 .store = "c",
				 .more = ",\"last_start\":\"2026-11-23T04:00:00Z\"" });
	world_put_vm(&w, &(struct world_vm){ "runs", .status = "RUNNING" });
	world_request(&w, "a", "ChangeVM");
	world_request(&w, "runs", "ChangeVM");
	world_run(&w, 500);
	assert_asked(&w, "a", "h1", REQ_CHANGE_VM);
	assert_no_request(&w, "runs");
	/* The entry says whose it is. */
	world_vm_at(&w, "a", &vm);
	assert_string_equal(vm.disk_host, "h1");
	world_set_alive(&w, "h1", false);
	world_run(&w, 31000);
	world_assert_host(&w, "h1", HOST_DEAD);
	CLEANUP_STR char *request = world_request_key(&w, "a");
	assert_true(world_has(&w, request));
	assert_int_equal(world_count(&w, "/v1/request/host/"), 0);
	put_ceph_host(&w, "h2");
	world_run(&w, 70000);
	assert_asked(&w, "a", "h2", REQ_CHANGE_VM);
	world_vm_at(&w, "a", &vm);
	assert_string_equal(vm.disk_host, "h2");
	world_end(&w);
}

/* What was asked of a host that was DEAD already; what waits for the host stays. */
static void test_taken_back_later(void **state)
{
	char uuid[UUID_STR_SIZE];
	struct world w;

	(void)state;
	start(&w);
	world_put_store(&w, "c", CEPH);
	world_put_host(&w, "h1", 8, 8192, NULL);
	world_add_host(&w, "h1", 8, 8192);
	world_run(&w, 500);
	world_set_alive(&w, "h1", false);
	world_run(&w, 31000);
	world_assert_host(&w, "h1", HOST_DEAD);
	world_put_vm(&w, &(struct world_vm){ "shared", .status = "REQUESTED_DELETE",
				 .want = "stopped", .disk_host = "h1", .store = "c" });
	world_put_vm(&w, &(struct world_vm){ "local", .status = "REQUESTED_DELETE",
				 .want = "stopped", .disk_host = "h1" });
	for (int i = 0; i < 2; i++) {
		uuid_of_name(i ? "local" : "shared", uuid);
		CLEANUP_STR char *key = key_request_host(&w.conf.keys, "h1", uuid);
		CLEANUP_STR char *text = request_new(REQ_DELETE_VM, uuid, "h1", 1, 0);
		world_put(&w, key, text);
	}
	world_run(&w, 31000);
	assert_asked(&w, "local", "h1", REQ_DELETE_VM);
	CLEANUP_STR char *request = world_request_key(&w, "shared");
	assert_true(world_has(&w, request));
	world_end(&w);
}

/* Disks in one store, the image in another: the first start needs both. */
static void test_image_store(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world w;

	(void)state;
	start(&w);
	world_put_store(&w, "c", CEPH);
	world_add_host(&w, "h1", 8, 8192);
	world_order_vm(&w, &(struct world_vm){ "a", .more = ",\"image_store\":\"c\"" });
	world_order_vm(&w, &(struct world_vm){ "ran",
				   .more = ",\"image_store\":\"c\","
					   "\"last_start\":\"2026-11-23T04:00:00Z\"" });
	world_run(&w, 1000);
	world_assert_vm(&w, "ran", VM_SCHEDULED, "h1");
	world_assert_vm(&w, "a", VM_REQUESTED_NEW, "");
	world_vm_at(&w, "a", &vm);
	assert_string_equal(vm.why, "1 host: does not reach image store \"c\", which "
				    "its image is in");
	world_end(&w);
}

static void test_delete_needs_an_order(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	world_put_vm(
		&w, &(struct world_vm){ "a", .status = "STOPPED", .want = "stopped" });
	world_request(&w, "a", "DeleteVM");
	world_request(&w, "gone", "DeleteVM");
	world_run(&w, 500);
	assert_no_request(&w, "a");
	assert_no_request(&w, "gone");
	world_assert_vm(&w, "a", VM_STOPPED, "");
	world_end(&w);
}

/* ---------------------------------------------------------------- explain */

static void test_explain(void **state)
{
	CLEANUP(buf_done) struct buf out = { 0 };
	struct world w;
	struct err e;

	(void)state;
	start(&w);
	world_add_host(&w, "h1", 8, 1024);
	world_add_host(&w, "h2", 8, 8192);
	world_put_host(&w, "h3", 8, 8192, ",\"draining\":true");
	world_set_alive(&w, "h3", true);
	world_run(&w, 500);
	world_put_vm(&w, &(struct world_vm){ "a", .ram_mib = 2048 });
	int64_t rev = fake_etcd_rev(w.etcd);
	assert_int_equal(explain_vm(w.kv, &w.conf, "a", &out, &e), 0);
	assert_int_equal(fake_etcd_rev(w.etcd), rev);
	assert_non_null(strstr(buf_str(&out), "h1                   no: not enough RAM "
					      "(need 2048 MiB, best has 1024)\n"));
	assert_non_null(
		strstr(buf_str(&out), "h2                   fits: 75.0 % of RAM stays "
				      "free (free now: CPU 8, RAM 8192 MiB)\n"));
	assert_non_null(strstr(buf_str(&out), "h3                   no: draining\n"));
	assert_non_null(strstr(buf_str(&out), "best is h2: "));
	assert_int_equal(explain_vm(w.kv, &w.conf, "b", &out, &e), -1);
	assert_string_equal(e.msg, "there is no VM \"b\"");
	world_end(&w);
}

static int setup(void **state)
{
	(void)state;
	clock_fake_start(WORLD_START_MSEC);
	log_set_sink(quiet, NULL);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_place),
		cmocka_unit_test(test_place_shared_store),
		cmocka_unit_test(test_waits_then_fits),
		cmocka_unit_test(test_numbers_wobble),
		cmocka_unit_test(test_room_by_a_stopped_vm),
		cmocka_unit_test(test_reasons_that_keep_changing),
		cmocka_unit_test(test_reasons_of_many),
		cmocka_unit_test(test_room_after_a_crash),
		cmocka_unit_test(test_pinned_by_its_disks),
		cmocka_unit_test(test_not_before),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_request_seen_first),
		cmocka_unit_test(test_cleaned_up),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_write_faults),
		cmocka_unit_test(test_one_bad_holds_up_nobody),
		cmocka_unit_test(test_host_changes),
		cmocka_unit_test(test_second_takes_over),
		cmocka_unit_test(test_stale_leader),
		cmocka_unit_test(test_two_leaders),
		cmocka_unit_test(test_new_leader_is_behind),
		cmocka_unit_test(test_lost_answer_and_late_news),
		cmocka_unit_test(test_host_dies_and_returns),
		cmocka_unit_test(test_short_absence),
		cmocka_unit_test(test_heartbeat_races),
		cmocka_unit_test(test_never_seen),
		cmocka_unit_test(test_delete_never_placed),
		cmocka_unit_test(test_delete_with_disks),
		cmocka_unit_test(test_delete_long_after_a_placement),
		cmocka_unit_test(test_change),
		cmocka_unit_test(test_taken_back_later),
		cmocka_unit_test(test_image_store),
		cmocka_unit_test(test_delete_needs_an_order),
		cmocka_unit_test(test_explain),
	};

	mem_init();
	return cmocka_run_group_tests_name("sched", tests, setup, NULL);
}
