#include "ucloud-host/vmstep.h"

#include <stdio.h>
#include <string.h>

#define BACKOFF_FIRST_SEC 5
#define BACKOFF_MAX_SEC	  300
/* A guest is asked this often in the time it has. */
#define N_ASKS		  4
#define ASK_MIN_MSEC	  1000
#define DYING_MSEC	  1000
#define RESUME_EVERY_MSEC 10000
/* How often networks are looked at, and for how long nothing is said of them. */
#define NETS_MIN_MSEC	100
#define NETS_MAX_MSEC	2000
#define NETS_QUIET_MSEC 3000

/* clang-format off */
const char *const vmact_names[] = {
	"nothing", "wait", "stat-disks", "stat-nets", "make-disks", "start", "change", "resume", "shutdown",
	"destroy", "undefine", "set-running", "set-rebooted", "set-guest-off", "set-restart",
	"set-killed", "set-stopped", "set-calm", "set-error", "delete", "drop-request", "fail",
	NULL
};
/* clang-format on */
_Static_assert(ARRAY_LEN(vmact_names) == VMACT_N + 1, "a name for each act");

static struct vmstep act(enum vmact a)
{
	return (struct vmstep){ .act = a };
}

static struct vmstep wait_for(int64_t msec)
{
	return (struct vmstep){ .act = VMACT_WAIT, .after_msec = msec < 1 ? 1 : msec };
}

static struct vmstep PRINTF_LIKE(2, 3) act_why(enum vmact a, const char *fmt, ...)
{
	struct vmstep s = { .act = a };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s.why, sizeof(s.why), fmt, ap);
	va_end(ap);
	return s;
}

static bool has_req(const struct vmlook *l, enum request_type type)
{
	return l->req != NULL && l->req->type == (int)type;
}

static bool is_late(const struct vmlook *l)
{
	return l->req != NULL && l->req->deadline != 0 && l->now_sec >= l->req->deadline;
}

static bool is_set(const char *s)
{
	return s != NULL && *s != '\0';
}

/* ------------------------------------------------------------------ goals */

static bool is_ours_to_delete(const struct vmlook *l, bool is_placed)
{
	const struct vm *vm = l->vm;

	if (vm->status != VM_REQUESTED_DELETE)
		return false;
	if (is_set(vm->hostname))
		return is_placed;
	return !is_set(vm->disk_host) || strcmp(vm->disk_host, l->host) == 0;
}

/* A STOPPED one whose disks are here, or were handed to us for this. */
static bool is_ours_to_change(const struct vmlook *l)
{
	const struct vm *vm = l->vm;

	return has_req(l, REQ_CHANGE_VM) && vm->status == VM_STOPPED &&
	       !is_set(vm->hostname) && is_set(vm->disk_host) &&
	       strcmp(vm->disk_host, l->host) == 0;
}

static enum vmgoal goal_of_status(const struct vm *vm, const char **why)
{
	switch ((enum vm_status)vm->status) {
	case VM_SCHEDULED:
	case VM_RUNNING:
	case VM_KILLED:
		if (vm->want == VM_WANT_RUNNING)
			return VMGOAL_RUN;
		break;
	case VM_REQUESTED_SHUTDOWN:
		return VMGOAL_STOP;
	case VM_ERROR:
		return VMGOAL_CLEAN;
	default:
		break;
	}
	*why = "it is placed here in a state that asks for nothing";
	return VMGOAL_KEEP;
}

/* Whoever is to be stopped, or is in ERROR, is that first. */
static enum vmgoal goal_of_change(const struct vm *vm, const char **why)
{
	enum vmgoal goal = goal_of_status(vm, why);

	return goal == VMGOAL_RUN ? VMGOAL_CHANGE : goal;
}

static enum vmgoal goal_of_request(const struct vmlook *l, const char **why)
{
	bool wants_run = l->vm->want == VM_WANT_RUNNING;

	switch ((enum request_type)l->req->type) {
	case REQ_START_VM:
		if (wants_run)
			return VMGOAL_RUN;
		break;
	case REQ_REBOOT_VM:
		if (wants_run)
			return VMGOAL_REBOOT;
		break;
	case REQ_STOP_VM:
		return VMGOAL_STOP;
	case REQ_CHANGE_VM:
		return goal_of_change(l->vm, why);
	default:
		*why = "its request is of a type that this version does not know";
		return VMGOAL_KEEP;
	}
	*why = "its request wants it to run, its entry does not";
	return VMGOAL_KEEP;
}

static enum vmgoal find_goal(const struct vmlook *l, const char **why)
{
	const struct vm *vm = l->vm;
	bool names_us, is_placed;

	*why = "";
	if (l->is_vm_unreadable || l->is_req_unreadable) {
		*why = l->is_vm_unreadable ? "its entry cannot be read"
					   : "its request cannot be read";
		return VMGOAL_KEEP;
	}
	if (vm == NULL) {
		/* They are deleted together: this is not the prefix where entries are. */
		if (l->has_placement) {
			*why = "it is placed here and has no entry; is vm_prefix the "
			       "same for all services?";
			return VMGOAL_KEEP;
		}
		if (l->is_vm_proven_gone)
			return VMGOAL_REMOVE;
		*why = "it has no entry, but this host is not registered either";
		return VMGOAL_KEEP;
	}
	if (vm->in_migration || vm->status == VM_REQUESTED_MIGRATE)
		return VMGOAL_KEEP;
	names_us = is_set(vm->hostname) && strcmp(vm->hostname, l->host) == 0;
	is_placed = names_us && l->has_placement;
	if (names_us && !l->has_placement) {
		*why = "its entry names this host, but there is no placement";
		return VMGOAL_KEEP;
	}
	if (has_req(l, REQ_DELETE_VM)) {
		if (is_ours_to_delete(l, is_placed))
			return VMGOAL_DELETE;
		*why = "its deletion is asked of this host, its entry says otherwise";
		return VMGOAL_KEEP;
	}
	if (!is_placed && is_ours_to_change(l))
		return VMGOAL_CHANGE_OFF;
	if (!is_placed)
		return VMGOAL_REMOVE;
	return l->req != NULL ? goal_of_request(l, why) : goal_of_status(vm, why);
}

enum vmgoal vmstep_goal(const struct vmlook *l, char *why, size_t why_size)
{
	const char *text;
	enum vmgoal goal = find_goal(l, &text);

	snprintf(why, why_size, "%s", text);
	return goal;
}

/* ------------------------------------------------------------------ steps */

static struct vmstep step_nothing(const struct vmlook *l)
{
	(void)l;
	return act(VMACT_NOTHING);
}

static struct vmstep step_destroy(const struct vmlook *l)
{
	(void)l;
	return act(VMACT_DESTROY);
}

static struct vmstep step_undefine(const struct vmlook *l)
{
	(void)l;
	return act(VMACT_UNDEFINE);
}

static struct vmstep step_wait_dying(const struct vmlook *l)
{
	return is_late(l) ? act(VMACT_DESTROY) : wait_for(DYING_MSEC);
}

/* Networks come a moment after the placement; then it is soon. Who waits for longer looks
 * less often, and says so. */
static struct vmstep step_wait_nets(const struct vmlook *l)
{
	int64_t since = l->memo.nets_since_msec;
	int64_t waited = since == 0 ? 0 : l->now_msec - since;
	struct vmstep s = wait_for(waited / 4 < NETS_MIN_MSEC	? NETS_MIN_MSEC
				   : waited / 4 > NETS_MAX_MSEC ? NETS_MAX_MSEC
								: waited / 4);

	if (waited >= NETS_QUIET_MSEC)
		snprintf(s.why, sizeof(s.why), "%s", l->nets_why);
	return s;
}

static struct vmstep step_start_on_nets(const struct vmlook *l)
{
	if (l->vm->networks.len == 0 || l->nets == VMNETS_READY)
		return act(VMACT_START);
	return l->nets == VMNETS_UNKNOWN ? act(VMACT_STAT_NETS) : step_wait_nets(l);
}

static struct vmstep step_start(const struct vmlook *l)
{
	switch (l->disks) {
	case VMDISKS_UNKNOWN:
		return act(VMACT_STAT_DISKS);
	case VMDISKS_UNFINISHED:
		return act(VMACT_MAKE_DISKS);
	case VMDISKS_MISSING:
		/* A new disk in the place of one with data would look like its loss. */
		if (l->vm->last_start != 0)
			return act_why(VMACT_FAIL,
				"its disk is not in the image store '%s' on this host; "
				"is the store mounted?",
				is_set(l->vm->store) ? l->vm->store : "");
		return act(VMACT_MAKE_DISKS);
	default:
		return step_start_on_nets(l);
	}
}

static struct vmstep step_too_late(const struct vmlook *l, const char *what)
{
	if (is_set(l->req->last_error))
		return act_why(VMACT_SET_ERROR, "could not be %s in time: %s", what,
			l->req->last_error);
	return act_why(VMACT_SET_ERROR, "could not be %s in time", what);
}

/* Placed elsewhere, stopped, or gone. */
static struct vmstep step_remove_absent(const struct vmlook *l)
{
	return act(l->req != NULL ? VMACT_DROP_REQUEST : VMACT_NOTHING);
}

/* --- run */

/* Did the boot that is ordered take place? Then what became of it is the next question. */
static bool is_booted(const struct vmlook *l)
{
	return l->dom.boot >= l->vm->boot;
}

static struct vmstep step_killed(const struct vmlook *l)
{
	int64_t n = vmstep_n_crashes(l->vm, l->now_sec);

	if (n > l->max_crashes)
		return act_why(VMACT_SET_ERROR,
			"QEMU died %lld times in a row; look at its console log, then "
			"start it again",
			(long long)n);
	return act(VMACT_SET_KILLED);
}

static struct vmstep run_absent(const struct vmlook *l)
{
	if (l->vm->status == VM_RUNNING)
		return step_killed(l); /* was undefined by the step before, or vanished */
	if (is_late(l))
		return step_too_late(l, "started");
	return step_start(l);
}

/* RUNNING, and the domain is off. */
static struct vmstep run_went_off(const struct vmlook *l)
{
	switch (l->dom.off) {
	case VIRT_OFF_GUEST:
		return act(VMACT_SET_GUEST_OFF);
	case VIRT_OFF_UNKNOWN:
		return act(VMACT_SET_RESTART);
	default:
		return act(VMACT_UNDEFINE); /* then it is absent: step_killed() */
	}
}

static struct vmstep run_off(const struct vmlook *l)
{
	if (l->vm->status == VM_RUNNING)
		return run_went_off(l);
	switch (l->dom.off) {
	case VIRT_OFF_GUEST:
	case VIRT_OFF_CRASHED:
		if (!is_booted(l)) /* it went off before the start was ordered */
			return act(VMACT_UNDEFINE);
		return act(VMACT_SET_RUNNING); /* it did run: run_went_off() is next */
	case VIRT_OFF_DESTROYED:
		return act(VMACT_UNDEFINE);
	default:
		if (is_late(l))
			return act(VMACT_UNDEFINE); /* then ERROR */
		return step_start(l);
	}
}

static struct vmstep run_running(const struct vmlook *l)
{
	const struct vm *vm = l->vm;

	if (vm->status != VM_RUNNING || l->req != NULL)
		return act(VMACT_SET_RUNNING);
	if (vm_has_changes(vm)) /* of an order that another one replaced */
		return act(VMACT_SET_RUNNING);
	if (vm->n_crashes > 0 && l->now_sec - vm->last_start >= VMSTEP_CALM_SEC)
		return act(VMACT_SET_CALM);
	return act(VMACT_NOTHING);
}

static struct vmstep run_paused(const struct vmlook *l)
{
	int64_t next = l->memo.last_resume_msec + RESUME_EVERY_MSEC;

	if (l->memo.last_resume_msec != 0 && l->now_msec < next)
		return wait_for(next - l->now_msec);
	return act(VMACT_RESUME);
}

/* --- stop and reboot */

static struct vmstep step_power_off(const struct vmlook *l)
{
	int64_t limit = l->shutdown_sec * 1000;
	int64_t every = limit / N_ASKS < ASK_MIN_MSEC ? ASK_MIN_MSEC : limit / N_ASKS;
	int64_t end = l->memo.stop_since_msec + limit;
	int64_t next = l->memo.last_ask_msec + every;

	if ((l->req != NULL && l->req->is_force) || is_late(l) || limit <= 0)
		return act(VMACT_DESTROY);
	if (l->memo.stop_since_msec == 0)
		return act(VMACT_SHUTDOWN);
	if (l->now_msec >= end)
		return act_why(VMACT_DESTROY, "did not power off within %lld s",
			(long long)l->shutdown_sec);
	if (l->now_msec >= next)
		return act(VMACT_SHUTDOWN);
	return wait_for((next < end ? next : end) - l->now_msec);
}

static struct vmstep stop_absent(const struct vmlook *l)
{
	(void)l;
	return act(VMACT_SET_STOPPED);
}

static struct vmstep stop_dying(const struct vmlook *l)
{
	struct vmstep s = step_power_off(l);

	return s.act == VMACT_DESTROY ? s : wait_for(DYING_MSEC);
}

static struct vmstep reboot_absent(const struct vmlook *l)
{
	return is_late(l) ? step_too_late(l, "rebooted") : step_start(l);
}

static struct vmstep reboot_off(const struct vmlook *l)
{
	bool has_run = l->dom.off == VIRT_OFF_GUEST || l->dom.off == VIRT_OFF_CRASHED;

	if (is_booted(l) && has_run)
		return act(VMACT_SET_REBOOTED);
	/* Anew, so that how the last boot ended is not taken for this one's end. */
	if (!is_booted(l) || is_late(l))
		return act(VMACT_UNDEFINE);
	return step_start(l);
}

static struct vmstep reboot_running(const struct vmlook *l)
{
	return is_booted(l) ? act(VMACT_SET_REBOOTED) : step_power_off(l);
}

static struct vmstep reboot_dying(const struct vmlook *l)
{
	return is_booted(l) ? act(VMACT_SET_REBOOTED) : stop_dying(l);
}

static struct vmstep reboot_paused(const struct vmlook *l)
{
	return is_booted(l) ? run_paused(l) : act(VMACT_DESTROY);
}

/* --- delete */

static struct vmstep delete_absent(const struct vmlook *l)
{
	(void)l;
	return act(VMACT_DELETE);
}

/* --- change */

static struct vmstep step_change(const struct vmlook *l)
{
	(void)l;
	return act(VMACT_CHANGE);
}

struct vmstep vmstep_change_nets(const struct vmlook *l)
{
	return is_late(l) ? act_why(VMACT_FAIL, "%s", l->nets_why) : step_wait_nets(l);
}

static struct vmstep change_running(const struct vmlook *l)
{
	return act(l->vm->status == VM_RUNNING ? VMACT_CHANGE : VMACT_SET_RUNNING);
}

/* clang-format off */
static struct vmstep (*const steps[VMGOAL_N][VIRT_DYING + 1])(const struct vmlook *l) = {
	[VMGOAL_KEEP] = {
		step_nothing, step_nothing, step_nothing, step_nothing, step_nothing },
	/* domain:	ABSENT		OFF		RUNNING		PAUSED		DYING */
	[VMGOAL_REMOVE] = {
		step_remove_absent, step_undefine, step_destroy, step_destroy, step_destroy },
	[VMGOAL_CLEAN] = {
		step_nothing,	step_undefine,	step_nothing,	step_nothing,	step_nothing },
	[VMGOAL_RUN] = {
		run_absent,	run_off,	run_running,	run_paused,	step_wait_dying },
	[VMGOAL_REBOOT] = {
		reboot_absent,	reboot_off,	reboot_running,	reboot_paused,	reboot_dying },
	[VMGOAL_STOP] = {
		stop_absent,	step_undefine,	step_power_off,	step_destroy,	stop_dying },
	[VMGOAL_DELETE] = {
		delete_absent,	step_undefine,	step_destroy,	step_destroy,	step_destroy },
	[VMGOAL_CHANGE] = {
		step_change,	step_change,	change_running,	run_paused,	step_wait_dying },
	[VMGOAL_CHANGE_OFF] = {
		step_change,	step_undefine,	step_destroy,	step_destroy,	step_destroy },
};
/* clang-format on */

/* A domain that is not ours has the VM's uuid: it is left alone, whatever is wanted. */
static struct vmstep step_foreign(enum vmgoal goal)
{
	const char *text = "a libvirt domain on this host that is not ucloud's has this "
			   "VM's uuid or name; remove it by hand";

	switch (goal) {
	case VMGOAL_RUN:
	case VMGOAL_REBOOT:
		return act_why(VMACT_SET_ERROR, "%s, then start the VM again", text);
	case VMGOAL_STOP:
	case VMGOAL_DELETE:
	case VMGOAL_CHANGE:
	case VMGOAL_CHANGE_OFF:
		return act_why(VMACT_FAIL, "%s", text);
	default:
		return act(VMACT_NOTHING);
	}
}

/* What changes etcd, or nothing, is never put off. */
static bool can_fail(enum vmact a)
{
	return (a >= VMACT_STAT_DISKS && a <= VMACT_UNDEFINE) || a == VMACT_DELETE ||
	       a == VMACT_FAIL;
}

static bool is_change(enum vmgoal goal)
{
	return goal == VMGOAL_CHANGE || goal == VMGOAL_CHANGE_OFF;
}

int64_t vmstep_rest_msec(const struct vmlook *l)
{
	const char *why;
	enum vmgoal goal = find_goal(l, &why);
	int64_t msec;

	if (l->req == NULL || goal < VMGOAL_RUN || l->is_libvirt_new)
		return 0;
	if (is_late(l) && goal != VMGOAL_DELETE && !is_change(goal))
		return 0;
	msec = (l->req->not_before - l->now_sec) * 1000;
	return msec > 0 ? msec : 0;
}

struct vmstep vmstep_decide(const struct vmlook *l)
{
	const char *why;
	enum vmgoal goal = find_goal(l, &why);
	struct vmstep step;

	if (goal == VMGOAL_KEEP)
		return act_why(VMACT_NOTHING, "%s", why);
	step = l->dom.is_foreign ? step_foreign(goal) : steps[goal][l->dom.state](l);
	if (can_fail(step.act) && vmstep_rest_msec(l) > 0)
		return wait_for(vmstep_rest_msec(l));
	return step;
}

/* A full store is full for this order: its owner may give another one. Something that was
 * otherwise than it looked is looked at again. */
static enum vmfail change_failed(const struct vmlook *l, enum err_kind kind)
{
	bool may_pass =
		(err_is_passing(kind) && kind != ERR_NO_SPACE) || kind == ERR_CONFLICT;

	return may_pass && !is_late(l) ? VMFAIL_RECORD : VMFAIL_UNDO;
}

enum vmfail vmstep_failed(const struct vmlook *l, const struct err *e)
{
	const char *why;
	enum vmgoal goal = find_goal(l, &why);
	bool may_give_up = goal == VMGOAL_RUN || goal == VMGOAL_REBOOT;

	if (is_change(goal))
		return change_failed(l, e->kind);
	if (may_give_up && !err_is_passing(e->kind))
		return VMFAIL_GIVE_UP;
	if ((may_give_up || goal == VMGOAL_STOP) && is_late(l))
		return VMFAIL_GIVE_UP;
	if (l->req != NULL && goal >= VMGOAL_RUN)
		return VMFAIL_RECORD;
	/* After the machine's restart nobody has ordered it: there is no request. */
	return goal == VMGOAL_RUN && l->vm->status != VM_RUNNING ? VMFAIL_TELL
								 : VMFAIL_RETRY;
}

/* ------------------------------------------------------------------ crashes */

int64_t vmstep_n_crashes(const struct vm *vm, int64_t now_sec)
{
	bool was_calm =
		vm->last_start != 0 && now_sec - vm->last_start >= VMSTEP_CALM_SEC;

	return (was_calm ? 0 : vm->n_crashes) + 1;
}

int64_t vmstep_backoff_sec(int64_t n_crashes)
{
	int64_t sec = BACKOFF_FIRST_SEC;

	for (int64_t i = 1; i < n_crashes && sec < BACKOFF_MAX_SEC; i++)
		sec *= 2;
	return sec < BACKOFF_MAX_SEC ? sec : BACKOFF_MAX_SEC;
}
