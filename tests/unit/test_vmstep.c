#include "ucloud-host/vmstep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HOST "h1"
#define NOW  1000000

/* A VM that is placed on us, in that state, with the request (REQ_N_TYPES: none). */
struct given {
	struct vm vm;
	struct request req;
	struct vmlook l;
};

static void give(struct given *g, enum vm_status status, int req)
{
	static char host[] = HOST, uuid[] = "0b5f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a10";
	bool is_stop = status == VM_REQUESTED_SHUTDOWN || status == VM_STOPPED ||
		       status == VM_REQUESTED_DELETE;

	memset(g, 0, sizeof(*g));
	g->vm.uuid = uuid;
	g->vm.hostname = host;
	g->vm.status = (int)status;
	g->vm.want = is_stop ? VM_WANT_STOPPED : VM_WANT_RUNNING;
	g->vm.boot = 2;
	g->vm.last_start = status == VM_RUNNING ? NOW - 100 : 0;
	g->req.type = req;
	g->l = (struct vmlook){
		.host = HOST,
		.vm = &g->vm,
		.req = req == REQ_N_TYPES ? NULL : &g->req,
		.has_placement = true,
		.now_sec = NOW,
		.now_msec = 50000000,
		.shutdown_sec = 60,
		.max_crashes = 5,
	};
	g->l.dom.boot = 2;
}

struct row {
	enum vm_status status;
	int req;
	enum virt_state dom;
	enum virt_off off;
	enum vmdisks disks;
	enum vmact want;
};

#define NONE REQ_N_TYPES

/* clang-format off */
static const struct row rows[] = {
	/* A new VM. */
	{VM_SCHEDULED, REQ_START_VM, VIRT_ABSENT, 0, VMDISKS_UNKNOWN, VMACT_STAT_DISKS},
	{VM_SCHEDULED, REQ_START_VM, VIRT_ABSENT, 0, VMDISKS_MISSING, VMACT_MAKE_DISKS},
	{VM_SCHEDULED, REQ_START_VM, VIRT_ABSENT, 0, VMDISKS_READY, VMACT_START},
	{VM_SCHEDULED, REQ_START_VM, VIRT_OFF, VIRT_OFF_UNKNOWN, VMDISKS_READY, VMACT_START},
	{VM_SCHEDULED, REQ_START_VM, VIRT_OFF, VIRT_OFF_FAILED, VMDISKS_READY, VMACT_START},
	{VM_SCHEDULED, REQ_START_VM, VIRT_OFF, VIRT_OFF_DESTROYED, 0, VMACT_UNDEFINE},
	{VM_SCHEDULED, REQ_START_VM, VIRT_OFF, VIRT_OFF_GUEST, 0, VMACT_SET_RUNNING},
	{VM_SCHEDULED, REQ_START_VM, VIRT_OFF, VIRT_OFF_CRASHED, 0, VMACT_SET_RUNNING},
	{VM_SCHEDULED, REQ_START_VM, VIRT_RUNNING, 0, 0, VMACT_SET_RUNNING},
	{VM_SCHEDULED, REQ_START_VM, VIRT_PAUSED, 0, 0, VMACT_RESUME},
	{VM_SCHEDULED, REQ_START_VM, VIRT_DYING, 0, 0, VMACT_WAIT},
	{VM_SCHEDULED, NONE, VIRT_ABSENT, 0, VMDISKS_READY, VMACT_START},
	/* It runs, or ought to. */
	{VM_RUNNING, NONE, VIRT_RUNNING, 0, 0, VMACT_NOTHING},
	{VM_RUNNING, NONE, VIRT_OFF, VIRT_OFF_GUEST, 0, VMACT_SET_GUEST_OFF},
	{VM_RUNNING, NONE, VIRT_OFF, VIRT_OFF_CRASHED, 0, VMACT_UNDEFINE},
	{VM_RUNNING, NONE, VIRT_OFF, VIRT_OFF_DESTROYED, 0, VMACT_UNDEFINE},
	{VM_RUNNING, NONE, VIRT_OFF, VIRT_OFF_UNKNOWN, 0, VMACT_SET_RESTART},
	{VM_RUNNING, NONE, VIRT_ABSENT, 0, 0, VMACT_SET_KILLED},
	{VM_KILLED, NONE, VIRT_OFF, VIRT_OFF_UNKNOWN, VMDISKS_READY, VMACT_START},
	{VM_KILLED, NONE, VIRT_ABSENT, 0, VMDISKS_READY, VMACT_START},
	{VM_KILLED, NONE, VIRT_RUNNING, 0, 0, VMACT_SET_RUNNING},
	{VM_KILLED, REQ_START_VM, VIRT_RUNNING, 0, 0, VMACT_SET_RUNNING},
	{VM_ERROR, REQ_START_VM, VIRT_ABSENT, 0, VMDISKS_READY, VMACT_START},
	/* ERROR: nothing half done stays, what runs is left alone. */
	{VM_ERROR, NONE, VIRT_OFF, VIRT_OFF_FAILED, 0, VMACT_UNDEFINE},
	{VM_ERROR, NONE, VIRT_RUNNING, 0, 0, VMACT_NOTHING},
	{VM_ERROR, NONE, VIRT_ABSENT, 0, 0, VMACT_NOTHING},
	/* Stop. */
	{VM_REQUESTED_SHUTDOWN, REQ_STOP_VM, VIRT_RUNNING, 0, 0, VMACT_SHUTDOWN},
	{VM_REQUESTED_SHUTDOWN, REQ_STOP_VM, VIRT_PAUSED, 0, 0, VMACT_DESTROY},
	{VM_REQUESTED_SHUTDOWN, REQ_STOP_VM, VIRT_OFF, VIRT_OFF_GUEST, 0, VMACT_UNDEFINE},
	{VM_REQUESTED_SHUTDOWN, REQ_STOP_VM, VIRT_ABSENT, 0, 0, VMACT_SET_STOPPED},
	{VM_REQUESTED_SHUTDOWN, NONE, VIRT_OFF, VIRT_OFF_GUEST, 0, VMACT_UNDEFINE},
	{VM_REQUESTED_SHUTDOWN, NONE, VIRT_ABSENT, 0, 0, VMACT_SET_STOPPED},
	/* Delete. */
	{VM_REQUESTED_DELETE, REQ_DELETE_VM, VIRT_RUNNING, 0, 0, VMACT_DESTROY},
	{VM_REQUESTED_DELETE, REQ_DELETE_VM, VIRT_OFF, 0, 0, VMACT_UNDEFINE},
	{VM_REQUESTED_DELETE, REQ_DELETE_VM, VIRT_ABSENT, 0, 0, VMACT_DELETE},
	{VM_REQUESTED_DELETE, NONE, VIRT_RUNNING, 0, 0, VMACT_NOTHING},
	/* Change: while it runs, and on disks that nobody has open when it does not. */
	{VM_RUNNING, REQ_CHANGE_VM, VIRT_RUNNING, 0, 0, VMACT_CHANGE},
	{VM_RUNNING, REQ_CHANGE_VM, VIRT_PAUSED, 0, 0, VMACT_RESUME},
	{VM_RUNNING, REQ_CHANGE_VM, VIRT_DYING, 0, 0, VMACT_WAIT},
	{VM_RUNNING, REQ_CHANGE_VM, VIRT_OFF, VIRT_OFF_GUEST, 0, VMACT_CHANGE},
	{VM_RUNNING, REQ_CHANGE_VM, VIRT_OFF, VIRT_OFF_CRASHED, 0, VMACT_CHANGE},
	{VM_RUNNING, REQ_CHANGE_VM, VIRT_OFF, VIRT_OFF_UNKNOWN, 0, VMACT_CHANGE},
	{VM_RUNNING, REQ_CHANGE_VM, VIRT_ABSENT, 0, 0, VMACT_CHANGE},
	{VM_KILLED, REQ_CHANGE_VM, VIRT_RUNNING, 0, 0, VMACT_SET_RUNNING},
	{VM_KILLED, REQ_CHANGE_VM, VIRT_OFF, VIRT_OFF_UNKNOWN, 0, VMACT_CHANGE},
	{VM_REQUESTED_SHUTDOWN, REQ_CHANGE_VM, VIRT_ABSENT, 0, 0, VMACT_SET_STOPPED},
	{VM_ERROR, REQ_CHANGE_VM, VIRT_RUNNING, 0, 0, VMACT_NOTHING},
	/* Data disks may be made late. */
	{VM_KILLED, NONE, VIRT_ABSENT, 0, VMDISKS_UNFINISHED, VMACT_MAKE_DISKS},
	/* On the move: not for this version to touch. */
	{VM_REQUESTED_MIGRATE, NONE, VIRT_RUNNING, 0, 0, VMACT_NOTHING},
	{VM_RUNNING, REQ_TRANSFER_VM, VIRT_OFF, VIRT_OFF_GUEST, 0, VMACT_NOTHING},
};
/* clang-format on */

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct given g;
		struct vmstep step;

		give(&g, rows[i].status, rows[i].req);
		g.l.dom.state = rows[i].dom;
		g.l.dom.off = rows[i].off;
		g.l.disks = rows[i].disks;
		step = vmstep_decide(&g.l);
		if (step.act != rows[i].want)
			fail_msg("row %zu: %s, not %s (%s)", i, vmact_names[step.act],
				vmact_names[rows[i].want], step.why);
	}
}

static void check(const struct given *g, enum vmact want)
{
	struct vmstep step = vmstep_decide(&g->l);

	if (step.act != want)
		fail_msg("%s, not %s (%s)", vmact_names[step.act], vmact_names[want],
			step.why);
}

/* A STOPPED VM, whose disks are here. */
static void test_change_stopped(void **state)
{
	static char nobody[] = "", us[] = HOST, other[] = "h2";
	struct given g;

	(void)state;
	give(&g, VM_STOPPED, REQ_CHANGE_VM);
	g.vm.hostname = nobody;
	g.vm.disk_host = us;
	g.l.has_placement = false;
	check(&g, VMACT_CHANGE);
	/* What should not be there is no reason to change disks below it. */
	g.l.dom.state = VIRT_RUNNING;
	check(&g, VMACT_DESTROY);
	g.l.dom.state = VIRT_OFF;
	check(&g, VMACT_UNDEFINE);
	g.l.dom.state = VIRT_ABSENT;
	/* Not ours (any more). */
	g.vm.disk_host = other;
	check(&g, VMACT_DROP_REQUEST);
	g.vm.disk_host = nobody;
	check(&g, VMACT_DROP_REQUEST);
	g.vm.disk_host = us;
	g.vm.status = VM_REQUESTED_START;
	check(&g, VMACT_DROP_REQUEST);
}

static void test_change_failed(void **state)
{
	struct given g;
	struct err e;

	(void)state;
	give(&g, VM_RUNNING, REQ_CHANGE_VM);
	g.l.dom.state = VIRT_RUNNING;
	g.req.deadline = NOW + 100;
	err_set(&e, ERR_UNAVAILABLE, "no answer");
	assert_int_equal(vmstep_failed(&g.l, &e), VMFAIL_RECORD);
	err_set(&e, ERR_CONFLICT, "it has just gone off");
	assert_int_equal(vmstep_failed(&g.l, &e), VMFAIL_RECORD);
	err_set(&e, ERR_NO_SPACE, "full");
	assert_int_equal(vmstep_failed(&g.l, &e), VMFAIL_UNDO);
	err_set(&e, ERR_NOT_FOUND, "no such snapshot");
	assert_int_equal(vmstep_failed(&g.l, &e), VMFAIL_UNDO);
	g.req.deadline = NOW;
	err_set(&e, ERR_UNAVAILABLE, "no answer");
	assert_int_equal(vmstep_failed(&g.l, &e), VMFAIL_UNDO);
	/* Undoing rests between its attempts, too. */
	g.req.not_before = NOW + 7;
	check(&g, VMACT_WAIT);
}

/* Changes that a stop had replaced are ordered again. */
static void test_changes_left(void **state)
{
	struct vm_disk disk = { .index = 0, .size_gib = 1, .is_flatten = true };
	struct given g;

	(void)state;
	give(&g, VM_RUNNING, NONE);
	g.l.dom.state = VIRT_RUNNING;
	check(&g, VMACT_NOTHING);
	g.vm.specs.disks = (struct jtab_list){ &disk, 1 };
	check(&g, VMACT_SET_RUNNING);
}

/* Boot 2 is ordered, boot 1 runs. */
static void test_reboot(void **state)
{
	struct given g;

	(void)state;
	give(&g, VM_RUNNING, REQ_REBOOT_VM);
	g.l.dom.state = VIRT_RUNNING;
	g.l.dom.boot = 1;
	check(&g, VMACT_SHUTDOWN);
	g.req.is_force = true;
	check(&g, VMACT_DESTROY);
	/* Its end is no power-off by the guest. */
	g.l.dom.state = VIRT_OFF;
	g.l.dom.off = VIRT_OFF_GUEST;
	check(&g, VMACT_UNDEFINE);
	g.l.dom.state = VIRT_ABSENT;
	g.l.dom.off = VIRT_OFF_UNKNOWN;
	g.l.disks = VMDISKS_READY;
	check(&g, VMACT_START);
	g.l.dom.state = VIRT_RUNNING;
	g.l.dom.boot = 2;
	check(&g, VMACT_SET_REBOOTED);
	/* Defined for boot 2, not started; started, and its guest powered off. */
	g.l.dom.state = VIRT_OFF;
	check(&g, VMACT_START);
	g.l.dom.off = VIRT_OFF_GUEST;
	check(&g, VMACT_SET_REBOOTED);
	g.l.dom.off = VIRT_OFF_CRASHED;
	check(&g, VMACT_SET_REBOOTED);
	/* The machine was restarted in the middle. */
	g.l.dom.off = VIRT_OFF_UNKNOWN;
	g.l.dom.boot = 1;
	check(&g, VMACT_UNDEFINE);
}

/* Not without its interfaces, and not in a hurry when they do not come. */
static void test_nets(void **state)
{
	struct given g;
	struct vmstep step;
	char why[] = "network lan is not ready";

	(void)state;
	give(&g, VM_SCHEDULED, REQ_START_VM);
	g.vm.networks.len = 1;
	check(&g, VMACT_STAT_DISKS);
	g.l.disks = VMDISKS_MISSING;
	check(&g, VMACT_MAKE_DISKS); /* meanwhile */
	g.l.disks = VMDISKS_READY;
	check(&g, VMACT_STAT_NETS);
	g.l.nets = VMNETS_NOT_READY;
	snprintf(g.l.nets_why, sizeof(g.l.nets_why), "%s", why);
	g.l.memo.nets_since_msec = g.l.now_msec;
	step = vmstep_decide(&g.l);
	assert_int_equal(step.act, VMACT_WAIT);
	assert_int_equal(step.after_msec, 100);
	assert_string_equal(step.why, "");
	g.l.memo.nets_since_msec = g.l.now_msec - 4000;
	step = vmstep_decide(&g.l);
	assert_int_equal(step.act, VMACT_WAIT);
	assert_int_equal(step.after_msec, 1000);
	assert_string_equal(step.why, why);
	g.l.memo.nets_since_msec = g.l.now_msec - 3600000;
	step = vmstep_decide(&g.l);
	assert_int_equal(step.after_msec, 2000);
	g.req.deadline = NOW;
	g.req.last_error = why;
	step = vmstep_decide(&g.l);
	assert_int_equal(step.act, VMACT_SET_ERROR);
	assert_string_equal(
		step.why, "could not be started in time: network lan is not ready");
	g.req.deadline = 0;
	g.l.nets = VMNETS_READY;
	check(&g, VMACT_START);
}

/* The same while it runs, for as long as ChangeVM has. */
static void test_change_networks(void **state)
{
	struct given g;
	struct vmstep step;
	char why[] = "network lan is not ready";

	(void)state;
	give(&g, VM_RUNNING, REQ_CHANGE_VM);
	g.l.dom.state = VIRT_RUNNING;
	snprintf(g.l.nets_why, sizeof(g.l.nets_why), "%s", why);
	g.l.memo.nets_since_msec = g.l.now_msec - 4000;
	step = vmstep_change_nets(&g.l);
	assert_int_equal(step.act, VMACT_WAIT);
	assert_int_equal(step.after_msec, 1000);
	assert_string_equal(step.why, why);
	g.req.deadline = NOW;
	step = vmstep_change_nets(&g.l);
	assert_int_equal(step.act, VMACT_FAIL);
	assert_string_equal(step.why, why);
}

static void test_patience(void **state)
{
	struct given g;
	struct vmstep step;

	(void)state;
	give(&g, VM_REQUESTED_SHUTDOWN, REQ_STOP_VM);
	g.l.dom.state = VIRT_RUNNING;
	check(&g, VMACT_SHUTDOWN);
	g.l.memo.stop_since_msec = g.l.memo.last_ask_msec = g.l.now_msec;
	step = vmstep_decide(&g.l);
	assert_int_equal(step.act, VMACT_WAIT);
	assert_int_equal(step.after_msec, 15000);
	g.l.now_msec += 15000;
	check(&g, VMACT_SHUTDOWN);
	g.l.memo.last_ask_msec = g.l.now_msec;
	g.l.now_msec += 44999;
	g.l.memo.last_ask_msec = g.l.now_msec;
	step = vmstep_decide(&g.l);
	assert_int_equal(step.act, VMACT_WAIT);
	assert_int_equal(step.after_msec, 1);
	g.l.now_msec += 1;
	check(&g, VMACT_DESTROY);
	/* A domain that never finishes dying. */
	g.l.dom.state = VIRT_DYING;
	check(&g, VMACT_DESTROY);
	g.l.memo.stop_since_msec = g.l.now_msec;
	check(&g, VMACT_WAIT);
}

static void test_force(void **state)
{
	struct given g;

	(void)state;
	give(&g, VM_REQUESTED_SHUTDOWN, REQ_STOP_VM);
	g.l.dom.state = VIRT_RUNNING;
	g.req.is_force = true;
	check(&g, VMACT_DESTROY);
}

static void test_crashes(void **state)
{
	struct given g;

	(void)state;
	give(&g, VM_RUNNING, NONE);
	g.vm.n_crashes = 4;
	check(&g, VMACT_SET_KILLED);
	g.vm.n_crashes = 5;
	check(&g, VMACT_SET_ERROR);
	/* It ran for long: a new row. */
	g.vm.last_start = NOW - VMSTEP_CALM_SEC;
	check(&g, VMACT_SET_KILLED);
	assert_int_equal(vmstep_n_crashes(&g.vm, NOW), 1);
	g.l.dom.state = VIRT_RUNNING;
	check(&g, VMACT_SET_CALM);
	assert_int_equal(vmstep_backoff_sec(1), 5);
	assert_int_equal(vmstep_backoff_sec(2), 10);
	assert_int_equal(vmstep_backoff_sec(5), 80);
	assert_int_equal(vmstep_backoff_sec(100), 300);
}

/* What is due only later, and what is not put off. */
static void test_not_before(void **state)
{
	struct given g;
	struct vmstep step;

	(void)state;
	give(&g, VM_SCHEDULED, REQ_START_VM);
	g.req.not_before = NOW + 7;
	g.req.attempts = 3;
	g.l.disks = VMDISKS_READY;
	step = vmstep_decide(&g.l);
	assert_int_equal(step.act, VMACT_WAIT);
	assert_int_equal(step.after_msec, 7000);
	g.l.dom.state = VIRT_RUNNING;
	check(&g, VMACT_SET_RUNNING);
	g.l.dom.state = VIRT_ABSENT;
	g.l.is_libvirt_new = true;
	check(&g, VMACT_START);
}

static void test_deadline(void **state)
{
	struct given g;
	struct vmstep step;
	char why[] = "no space";

	(void)state;
	give(&g, VM_SCHEDULED, REQ_START_VM);
	g.req.deadline = NOW;
	g.req.not_before = NOW + 7;
	g.req.last_error = why;
	g.l.disks = VMDISKS_READY;
	step = vmstep_decide(&g.l);
	assert_int_equal(step.act, VMACT_SET_ERROR);
	assert_string_equal(step.why, "could not be started in time: no space");
	/* Nothing is left behind. */
	g.l.dom.state = VIRT_OFF;
	check(&g, VMACT_UNDEFINE);
	/* Just made it. */
	g.l.dom.state = VIRT_RUNNING;
	check(&g, VMACT_SET_RUNNING);
	/* A deletion never gives up, and rests between attempts all the same. */
	give(&g, VM_REQUESTED_DELETE, REQ_DELETE_VM);
	g.req.deadline = NOW;
	check(&g, VMACT_DELETE);
	g.req.not_before = NOW + 7;
	check(&g, VMACT_WAIT);
}

/* A disk that is missing is only made for a VM that never ran. */
static void test_lost_disk(void **state)
{
	struct given g;
	char store[] = "local";

	(void)state;
	give(&g, VM_KILLED, NONE);
	g.vm.store = store;
	g.vm.last_start = NOW - 1000;
	g.l.disks = VMDISKS_MISSING;
	check(&g, VMACT_FAIL);
}

static void test_foreign(void **state)
{
	struct given g;

	(void)state;
	give(&g, VM_SCHEDULED, REQ_START_VM);
	g.l.dom.state = VIRT_RUNNING;
	g.l.dom.is_foreign = true;
	check(&g, VMACT_SET_ERROR);
	give(&g, VM_REQUESTED_DELETE, REQ_DELETE_VM);
	g.l.dom.state = VIRT_RUNNING;
	g.l.dom.is_foreign = true;
	check(&g, VMACT_FAIL);
	g.l.vm = NULL;
	g.l.req = NULL;
	g.l.is_vm_proven_gone = true;
	check(&g, VMACT_NOTHING);
}

static void test_not_ours(void **state)
{
	static char other[] = "h2", empty[] = "";
	struct given g;

	(void)state;
	/* Placed elsewhere: our domain goes. */
	give(&g, VM_RUNNING, NONE);
	g.vm.hostname = other;
	g.l.has_placement = false;
	g.l.dom.state = VIRT_RUNNING;
	check(&g, VMACT_DESTROY);
	g.l.dom.state = VIRT_OFF;
	check(&g, VMACT_UNDEFINE);
	g.l.dom.state = VIRT_ABSENT;
	check(&g, VMACT_NOTHING);
	/* Deleted while it was stopped: its disks are here. */
	give(&g, VM_REQUESTED_DELETE, REQ_DELETE_VM);
	g.vm.hostname = empty;
	g.vm.disk_host = g.vm.hostname;
	g.l.has_placement = false;
	check(&g, VMACT_DELETE);
	g.vm.disk_host = other;
	check(&g, VMACT_NOTHING);
	/* A request that cannot be meant for us. */
	give(&g, VM_STOPPED, REQ_STOP_VM);
	g.vm.hostname = empty;
	g.l.has_placement = false;
	check(&g, VMACT_DROP_REQUEST);
}

/* Absence, and what cannot be read. */
static void test_unknown(void **state)
{
	struct given g;

	(void)state;
	give(&g, VM_RUNNING, NONE);
	g.l.dom.state = VIRT_RUNNING;
	g.l.vm = NULL;
	check(&g, VMACT_NOTHING);
	g.l.is_vm_proven_gone = true;
	/* Entry and placement go together: somebody looks at the wrong prefix. */
	check(&g, VMACT_NOTHING);
	g.l.has_placement = false;
	check(&g, VMACT_DESTROY);
	g.l.is_vm_unreadable = true;
	check(&g, VMACT_NOTHING);
	give(&g, VM_RUNNING, NONE);
	g.l.dom.state = VIRT_OFF;
	g.l.is_req_unreadable = true;
	check(&g, VMACT_NOTHING);
	give(&g, VM_RUNNING, NONE);
	g.l.has_placement = false;
	check(&g, VMACT_NOTHING);
}

static void test_failed(void **state)
{
	struct given g;
	struct err passing = { .kind = ERR_UNAVAILABLE },
		   lasting = { .kind = ERR_INVALID };

	(void)state;
	give(&g, VM_SCHEDULED, REQ_START_VM);
	assert_int_equal(vmstep_failed(&g.l, &passing), VMFAIL_RECORD);
	assert_int_equal(vmstep_failed(&g.l, &lasting), VMFAIL_GIVE_UP);
	g.req.deadline = NOW - 1;
	assert_int_equal(vmstep_failed(&g.l, &passing), VMFAIL_GIVE_UP);
	give(&g, VM_KILLED, NONE);
	assert_int_equal(vmstep_failed(&g.l, &passing), VMFAIL_TELL);
	assert_int_equal(vmstep_failed(&g.l, &lasting), VMFAIL_GIVE_UP);
	give(&g, VM_RUNNING, NONE);
	assert_int_equal(vmstep_failed(&g.l, &passing), VMFAIL_RETRY);
	give(&g, VM_REQUESTED_DELETE, REQ_DELETE_VM);
	g.req.deadline = NOW - 1;
	assert_int_equal(vmstep_failed(&g.l, &lasting), VMFAIL_RECORD);
	give(&g, VM_REQUESTED_SHUTDOWN, REQ_STOP_VM);
	assert_int_equal(vmstep_failed(&g.l, &lasting), VMFAIL_RECORD);
	g.l.vm = NULL;
	assert_int_equal(vmstep_failed(&g.l, &lasting), VMFAIL_RETRY);
}

/* What must hold whatever is found. */
static void check_rules(const struct given *g, bool is_placed)
{
	struct vmstep step = vmstep_decide(&g->l);
	bool is_foreign = g->l.dom.is_foreign;
	bool is_on = g->l.dom.state != VIRT_ABSENT && g->l.dom.state != VIRT_OFF;

	switch (step.act) {
	case VMACT_START:
	case VMACT_MAKE_DISKS:
		assert_true(is_placed && g->vm.want == VM_WANT_RUNNING && !is_on);
		assert_false(is_foreign);
		assert_true(g->vm.status != VM_RUNNING ||
			    (g->l.req != NULL && g->req.type == REQ_REBOOT_VM));
		break;
	case VMACT_DESTROY:
	case VMACT_SHUTDOWN:
	case VMACT_RESUME:
		assert_true(is_on && !is_foreign);
		break;
	case VMACT_UNDEFINE:
		assert_true(g->l.dom.state == VIRT_OFF && !is_foreign);
		break;
	case VMACT_SET_STOPPED:
	case VMACT_SET_KILLED:
		assert_true(is_placed && g->l.dom.state == VIRT_ABSENT);
		break;
	case VMACT_DELETE:
		assert_true(g->vm.status == VM_REQUESTED_DELETE);
		assert_true(g->l.dom.state == VIRT_ABSENT && !is_foreign);
		break;
	case VMACT_SET_RUNNING:
	case VMACT_SET_REBOOTED:
		assert_true(is_placed && g->l.dom.state != VIRT_ABSENT && !is_foreign);
		break;
	case VMACT_WAIT:
		assert_true(step.after_msec > 0);
		break;
	default:
		break;
	}
}

static void test_rules(void **state)
{
	static char other[] = "h2";

	(void)state;
	for (int status = 0; status < VM_N_STATUS; status++)
		for (int req = 0; req <= REQ_N_TYPES; req++)
			for (unsigned bits = 0; bits < 1U << 11; bits++) {
				struct given g;
				bool is_placed = (bits & 1) != 0;

				give(&g, (enum vm_status)status, req);
				g.l.has_placement = is_placed;
				if (!is_placed)
					g.vm.hostname = (bits & 2) != 0 ? other : NULL;
				g.l.dom.is_foreign = (bits & 4) != 0;
				g.l.dom.state = (enum virt_state)((bits >> 3) % 5);
				g.l.dom.off = (enum virt_off)((bits >> 5) % 5);
				g.l.disks = (enum vmdisks)((bits >> 7) % 3);
				g.l.dom.boot = 1 + ((bits >> 8) & 1);
				g.req.deadline = (bits & 512) != 0 ? NOW : 0;
				g.vm.want = (bits & 1024) != 0 ? VM_WANT_RUNNING
							       : VM_WANT_STOPPED;
				check_rules(&g, is_placed);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_change_stopped),
		cmocka_unit_test(test_change_failed),
		cmocka_unit_test(test_changes_left),
		cmocka_unit_test(test_reboot),
		cmocka_unit_test(test_nets),
		cmocka_unit_test(test_change_networks),
		cmocka_unit_test(test_patience),
		cmocka_unit_test(test_force),
		cmocka_unit_test(test_crashes),
		cmocka_unit_test(test_not_before),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_lost_disk),
		cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_not_ours),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_failed),
		cmocka_unit_test(test_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
