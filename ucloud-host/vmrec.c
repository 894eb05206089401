#include "ucloud-host/vmrec_impl.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/store/backoff.h"
#include "ucloud-host/cidata.h"
#include "ucloud-host/vmdisks.h"
#include "ucloud-host/vmstart.h"

#define CONFLICT_MSEC 20

static struct metric n_acts = { METRIC_COUNTER, "ucloud_host_vm_acts_total",
	"Steps taken for VMs.", .label = "act" };
static struct metric start_sec = { METRIC_HISTOGRAM, "ucloud_host_vm_start_seconds",
	"Time that libvirt took to define and start a domain." };

struct vmrec *vmrec_new(const struct host_env *env)
{
	struct vmrec *r = xcalloc(1, sizeof(*r));

	metric_register(&n_acts);
	metric_register(&start_sec);
	r->env = env;
	pthread_mutex_init(&r->lock, NULL);
	return r;
}

void vmrec_free(struct vmrec *r)
{
	struct memo *m, *next;

	if (r == NULL)
		return;
	for (m = r->memos; m != NULL; m = next) {
		next = m->hh.next;
		HASH_DEL(r->memos, m);
		free(m);
	}
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void vmrec_libvirt_is_back(struct vmrec *r)
{
	pthread_mutex_lock(&r->lock);
	r->back_msec = clock_mono_msec();
	pthread_mutex_unlock(&r->lock);
}

/* ------------------------------------------------------------------ looking */

static void look_done(struct look *k)
{
	vmnets_done(&k->nets);
	vm_done(&k->vm);
	request_done(&k->req);
}

static void memo_get(struct look *k)
{
	struct memo *m;

	pthread_mutex_lock(&k->r->lock);
	HASH_FIND_STR(k->r->memos, k->uuid, m);
	if (m != NULL)
		k->memo = *m;
	k->l.is_libvirt_new =
		k->memo.m.failed_msec != 0 && k->r->back_msec > k->memo.m.failed_msec;
	pthread_mutex_unlock(&k->r->lock);
	snprintf(k->memo.uuid, sizeof(k->memo.uuid), "%s", k->uuid);
}

static bool memo_is_empty(const struct memo *m)
{
	return m->m.stop_since_msec == 0 && m->m.last_resume_msec == 0 &&
	       m->m.failed_msec == 0 && m->m.detach_since_msec == 0 &&
	       m->m.nets_since_msec == 0 && m->said[0] == '\0';
}

static void memo_put(struct look *k)
{
	struct memo *m;

	pthread_mutex_lock(&k->r->lock);
	HASH_FIND_STR(k->r->memos, k->uuid, m);
	if (m == NULL && !memo_is_empty(&k->memo)) {
		m = xcalloc(1, sizeof(*m));
		memcpy(m->uuid, k->memo.uuid, sizeof(m->uuid));
		HASH_ADD_STR(k->r->memos, uuid, m);
	} else if (m != NULL && memo_is_empty(&k->memo)) {
		HASH_DEL(k->r->memos, m);
		free(MOVE(m));
	}
	if (m != NULL) {
		m->m = k->memo.m;
		memcpy(m->said, k->memo.said, sizeof(m->said));
	}
	pthread_mutex_unlock(&k->r->lock);
}

/* Says an oddity once. */
static void say(struct look *k, const char *why)
{
	if (strcmp(k->memo.said, why) == 0)
		return;
	snprintf(k->memo.said, sizeof(k->memo.said), "%s", why);
	if (*why != '\0')
		log_warn("VM is left alone: %s vm=%s", why, k->uuid);
}

static void parse_vm(struct look *k, const struct kv_pair *pair)
{
	struct err e = { 0 };

	k->read.vm_rev = pair->mod_rev;
	if (pair->key == NULL)
		return;
	if (vm_parse(pair->value, pair->value_size, &k->vm, &e) == 0 &&
		strcmp(k->vm.uuid, k->uuid) == 0)
		k->read.vm = &k->vm;
	else
		k->l.is_vm_unreadable = true;
}

static void parse_req(struct look *k, const struct kv_pair *pair)
{
	struct err e = { 0 };

	k->read.req_rev = pair->mod_rev;
	if (pair->key == NULL)
		return;
	if (request_parse(pair->value, pair->value_size, &k->req, &e) == 0)
		k->read.req = &k->req;
	else
		k->l.is_req_unreadable = true;
}

/* No entry: proof that this is the store that this host belongs to, and not an empty one. */
static int prove_gone(struct look *k, struct err *e)
{
	const struct host_env *env = k->r->env;
	CLEANUP_STR char *key = key_host(&env->keys, env->host);
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };

	if (kv_get(env->kv, key, &pair, NULL, e) < 0)
		return -1;
	k->l.is_vm_proven_gone = pair.key != NULL;
	return 0;
}

static int read_store(struct look *k, struct err *e)
{
	const struct host_env *env = k->r->env;
	CLEANUP_STR char *vm_key = key_vm(&env->keys, k->uuid);
	CLEANUP_STR char *placement_key = key_placement(env->host, k->uuid);
	CLEANUP_STR char *req_key = key_request_host(&env->keys, env->host, k->uuid);
	const char *keys[] = { vm_key, placement_key, req_key };
	CLEANUP(kv_list_done) struct kv_list got = { 0 };

	if (kv_get_many(env->kv, keys, ARRAY_LEN(keys), &got, e) < 0)
		return -1;
	k->read.keys = &env->keys;
	k->read.host = env->host;
	k->read.uuid = k->uuid;
	k->read.placement_rev = got.v[1].mod_rev;
	parse_vm(k, &got.v[0]);
	parse_req(k, &got.v[2]);
	k->l.host = env->host;
	k->l.vm = k->read.vm;
	k->l.req = k->read.req;
	k->l.has_placement = got.v[1].key != NULL;
	k->l.shutdown_sec = env->shutdown_sec;
	k->l.max_crashes = env->max_crashes;
	k->l.now_sec = clock_unix_sec();
	k->l.now_msec = clock_mono_msec();
	return got.v[0].key == NULL ? prove_gone(k, e) : 0;
}

static int read_libvirt(struct look *k, struct err *e)
{
	const struct host_env *env = k->r->env;

	if (virt_get(env->virt, k->uuid, &k->l.dom, e) < 0)
		return -1;
	if (k->l.dom.state != VIRT_ABSENT && strcmp(k->l.dom.host, env->host) != 0)
		k->l.dom.is_foreign = true;
	k->is_dom_known = true;
	return 0;
}

/* Patience counts from when a guest was first asked to stop, and only while it is. */
static void refresh_memo(struct look *k)
{
	char why[128];
	enum vmgoal goal = vmstep_goal(&k->l, why, sizeof(why));
	bool is_off = k->l.dom.state == VIRT_ABSENT || k->l.dom.state == VIRT_OFF;

	if (is_off || (goal != VMGOAL_STOP && goal != VMGOAL_REBOOT))
		k->memo.m.stop_since_msec = k->memo.m.last_ask_msec = 0;
	if (k->l.dom.state != VIRT_PAUSED)
		k->memo.m.last_resume_msec = 0;
	if (k->l.req == NULL || k->l.req->attempts == 0)
		k->memo.m.failed_msec = 0;
	if (is_off ? goal != VMGOAL_RUN && goal != VMGOAL_REBOOT : goal != VMGOAL_CHANGE)
		k->memo.m.nets_since_msec = 0;
	if (goal != VMGOAL_CHANGE || is_off)
		k->memo.m.detach_since_msec = 0;
	k->l.memo = k->memo.m;
}

/* ------------------------------------------------------------------ acting */

enum wq_result vmrec_commit(
	struct look *k, struct kv_txn *t, int64_t *after_msec, struct err *e)
{
	int rc;

	if (t == NULL)
		return WQ_RETRY;
	rc = kv_txn_commit(k->r->env->kv, t, NULL, e);
	kv_txn_free(t);
	if (rc < 0)
		return WQ_RETRY;
	/* Unknown or not: look again. Who lost against another writer comes a bit later. */
	*after_msec = rc == 0 ? 0 : 1 + (int64_t)(backoff_salt(k->uuid) % CONFLICT_MSEC);
	return WQ_AGAIN;
}

static enum wq_result give_up(
	struct look *k, const char *why, int64_t *after_msec, struct err *e)
{
	const struct host_env *env = k->r->env;
	struct err ignored = { 0 };

	/* What cannot be undefined now will be once it is seen in ERROR. */
	if (k->l.dom.state == VIRT_OFF && !k->l.dom.is_foreign &&
		virt_undefine(env->virt, k->uuid, &ignored) < 0)
		log_debug("%s vm=%s", ignored.msg, k->uuid);
	log_warn("VM becomes ERROR: %s vm=%s", why, k->uuid);
	return vmrec_commit(
		k, vmtxn_error(&k->read, k->l.now_sec, why, e), after_msec, e);
}

enum wq_result vmrec_record(
	struct look *k, const struct err *why, int64_t *after_msec, struct err *e)
{
	int64_t not_before;
	struct kv_txn *t = vmtxn_failed(&k->read, k->l.now_sec, why, &not_before);
	enum wq_result result = vmrec_commit(k, t, after_msec, e);

	k->memo.m.failed_msec = k->l.now_msec;
	if (result == WQ_AGAIN && *after_msec == 0) {
		log_warn("%s vm=%s attempts=%lld", why->msg, k->uuid,
			(long long)k->l.req->attempts + 1);
		*after_msec = (not_before - k->l.now_sec) * 1000;
	}
	return result;
}

/* In the VM's log once, then again and again with back-off. */
static enum wq_result tell(
	struct look *k, const struct err *why, int64_t *after_msec, struct err *e)
{
	struct kv_txn *t = vmtxn_told(&k->read, k->l.now_sec, why);

	*e = *why;
	return t != NULL ? vmrec_commit(k, t, after_msec, e) : WQ_RETRY;
}

/* ------------------------------------------------------------------ failures */

enum wq_result vmrec_failed(struct look *k, int64_t *after_msec, struct err *e)
{
	struct err why = *e;
	int64_t rest_msec = vmstep_rest_msec(&k->l);

	/* It was counted already, and somebody made us look again. */
	if (rest_msec > 0) {
		*after_msec = rest_msec;
		return WQ_AGAIN;
	}

	switch (vmstep_failed(&k->l, &why)) {
	case VMFAIL_GIVE_UP:
		return give_up(k, why.msg, after_msec, e);
	case VMFAIL_RECORD:
		return vmrec_record(k, &why, after_msec, e);
	case VMFAIL_UNDO:
		/* What is there decides what is undone. */
		return k->is_dom_known ? vmrec_undo_change(k, &why, after_msec, e)
				       : vmrec_record(k, &why, after_msec, e);
	case VMFAIL_TELL:
		return tell(k, &why, after_msec, e);
	default:
		return WQ_RETRY;
	}
}

static int start(struct look *k, struct err *e)
{
	int64_t begin_usec = clock_mono_usec();

	if (vmstart(k->r->env, &k->vm, &k->nets, e) < 0)
		return -1;
	metric_observe(&start_sec, NULL, (double)(clock_mono_usec() - begin_usec) / 1e6);
	return 0;
}

static int ask_to_power_off(struct look *k, struct err *e)
{
	struct err ignored = { 0 };

	/* A snapshot that was cut off may have left it frozen. */
	if (vm_has_changes(&k->vm) && virt_thaw(k->r->env->virt, k->uuid, &ignored) < 0)
		log_debug("%s vm=%s", ignored.msg, k->uuid);
	if (virt_shutdown(k->r->env->virt, k->uuid, e) < 0)
		return -1;
	if (k->memo.m.stop_since_msec == 0)
		k->memo.m.stop_since_msec = k->l.now_msec;
	k->memo.m.last_ask_msec = k->l.now_msec;
	return 0;
}

static int resume(struct look *k, struct err *e)
{
	k->memo.m.last_resume_msec = k->l.now_msec;
	return virt_resume(k->r->env->virt, k->uuid, e);
}

/* Changes of the world. */
static int change(struct look *k, const struct vmstep *step, struct err *e)
{
	const struct host_env *env = k->r->env;

	switch (step->act) {
	case VMACT_MAKE_DISKS:
		return vmdisks_make(env, &k->vm, e);
	case VMACT_START:
		return start(k, e);
	case VMACT_RESUME:
		return resume(k, e);
	case VMACT_SHUTDOWN:
		return ask_to_power_off(k, e);
	case VMACT_DESTROY:
		return virt_destroy(env->virt, k->uuid, e);
	case VMACT_UNDEFINE:
		return virt_undefine(env->virt, k->uuid, e);
	default:
		return err_set(e, ERR_UNAVAILABLE, "%s", step->why);
	}
}

/* The disks first: once the entry is gone, nobody would know of them. */
static enum wq_result delete_all(struct look *k, int64_t *after_msec, struct err *e)
{
	const struct host_env *env = k->r->env;
	CLEANUP(strv_done) struct strv keys = { 0 };
	CLEANUP(kv_list_done) struct kv_list rest = { 0 };
	bool is_use_odd = false;
	struct kv_txn *t;

	if (vmdisks_remove(env, &k->vm, e) < 0 || cidata_remove(env, k->uuid, e) < 0)
		return vmrec_failed(k, after_msec, e);
	host_env_remove_console(env, k->uuid);
	vmtxn_deleted_keys(&k->vm, &keys);
	if (kv_get_many(env->kv, (const char *const *)keys.v, keys.len, &rest, e) < 0)
		return WQ_RETRY;
	t = vmtxn_deleted(&k->read, &rest, &is_use_odd, e);
	if (t == NULL)
		return vmrec_failed(k, after_msec, e);
	if (is_use_odd)
		log_warn("the owner's use was less than this VM's share vm=%s user=%s",
			k->uuid, k->vm.owner);
	return vmrec_commit(k, t, after_msec, e);
}

static enum wq_result write_step(
	struct look *k, const struct vmstep *step, int64_t *after_msec, struct err *e)
{
	int64_t now = k->l.now_sec;
	struct kv_txn *t;

	switch (step->act) {
	case VMACT_SET_RUNNING:
		t = vmtxn_running(&k->read, now, e);
		break;
	case VMACT_SET_REBOOTED:
		t = vmtxn_rebooted(&k->read, now, e);
		break;
	case VMACT_SET_GUEST_OFF:
		t = vmtxn_guest_off(&k->read, now, e);
		break;
	case VMACT_SET_RESTART:
		t = vmtxn_restart(&k->read, now, e);
		break;
	case VMACT_SET_KILLED:
		t = vmtxn_killed(&k->read, now, e);
		break;
	case VMACT_SET_STOPPED:
		t = vmtxn_stopped(&k->read, now, e);
		break;
	case VMACT_SET_CALM:
		t = vmtxn_calm(&k->read, now, e);
		break;
	default:
		t = vmtxn_drop_request(&k->read);
		break;
	}
	return vmrec_commit(k, t, after_msec, e);
}

/* Of a VM that is not here (any more). Its keys and secrets do not stay behind. */
static void forget_cd(struct look *k)
{
	struct err ignored = { 0 };
	char why[128];

	if (k->l.dom.state != VIRT_ABSENT ||
		vmstep_goal(&k->l, why, sizeof(why)) != VMGOAL_REMOVE)
		return;
	if (cidata_remove(k->r->env, k->uuid, &ignored) < 0)
		log_warn("%s vm=%s", ignored.msg, k->uuid);
}

enum wq_result vmrec_wait_for(
	struct look *k, const struct vmstep *step, int64_t *after_msec, struct err *e)
{
	struct err why = { 0 };
	struct kv_txn *t = NULL;

	*after_msec = step->after_msec;
	if (*step->why == '\0')
		return WQ_AGAIN;
	(void)err_set(&why, ERR_UNAVAILABLE, "%s", step->why);
	t = vmtxn_told(&k->read, k->l.now_sec, &why);
	if (t == NULL)
		return WQ_AGAIN;
	log_warn("%s vm=%s", why.msg, k->uuid);
	return vmrec_commit(k, t, after_msec, e);
}

static enum wq_result take_step(
	struct look *k, const struct vmstep *step, int64_t *after_msec, struct err *e)
{
	switch (step->act) {
	case VMACT_NOTHING:
		say(k, step->why);
		forget_cd(k);
		return WQ_DONE;
	case VMACT_WAIT:
		return vmrec_wait_for(k, step, after_msec, e);
	case VMACT_SET_ERROR:
		return give_up(k, step->why, after_msec, e);
	case VMACT_DELETE:
		return delete_all(k, after_msec, e);
	case VMACT_CHANGE:
		return vmrec_change_vm(k, after_msec, e);
	default:
		break;
	}
	if (step->act >= VMACT_SET_RUNNING && step->act != VMACT_FAIL)
		return write_step(k, step, after_msec, e);
	if (change(k, step, e) < 0)
		return vmrec_failed(k, after_msec, e);
	*after_msec = 0;
	return WQ_AGAIN;
}

static int look_at_nets(struct look *k, struct err *e)
{
	int rc = vmnets_read(
		k->r->env, &k->vm, &k->nets, k->l.nets_why, sizeof(k->l.nets_why), e);

	if (rc < 0)
		return -1;
	k->l.nets = rc == 0 ? VMNETS_READY : VMNETS_NOT_READY;
	if (rc == 0)
		k->memo.m.nets_since_msec = 0;
	else if (k->memo.m.nets_since_msec == 0)
		k->memo.m.nets_since_msec = k->l.now_msec;
	k->l.memo = k->memo.m;
	return 0;
}

/* Asks for the step, and looks at the disks and networks when that is the question. */
static int decide(struct look *k, struct vmstep *step, struct err *e)
{
	*step = vmstep_decide(&k->l);
	if (step->act == VMACT_STAT_DISKS) {
		if (vmdisks_stat(k->r->env, &k->vm, &k->l.disks, e) < 0)
			return -1;
		*step = vmstep_decide(&k->l);
	}
	if (step->act == VMACT_STAT_NETS) {
		if (look_at_nets(k, e) < 0)
			return -1;
		*step = vmstep_decide(&k->l);
	}
	return 0;
}

static void note(struct look *k, const struct vmstep *step)
{
	bool is_waiting =
		k->memo.m.nets_since_msec != 0 || k->memo.m.detach_since_msec != 0;

	metric_add(&n_acts, vmact_names[step->act], 1);
	if (step->act == VMACT_NOTHING || step->act == VMACT_WAIT ||
		(step->act == VMACT_CHANGE && is_waiting))
		return;
	log_info("%s vm=%s status=%s%s%s", vmact_names[step->act], k->uuid,
		k->read.vm != NULL ? vm_status_names[k->vm.status] : "none",
		*step->why != '\0' ? " why=" : "", step->why);
}

static enum wq_result look_and_act(struct look *k, int64_t *after_msec, struct err *e)
{
	enum wq_result result;
	struct vmstep step;

	if (read_store(k, e) < 0)
		return WQ_RETRY;
	memo_get(k);
	if (read_libvirt(k, e) < 0) {
		result = vmrec_failed(k, after_msec, e);
	} else {
		refresh_memo(k);
		if (decide(k, &step, e) < 0) {
			result = vmrec_failed(k, after_msec, e);
		} else {
			note(k, &step);
			result = take_step(k, &step, after_msec, e);
		}
	}
	memo_put(k);
	return result;
}

enum wq_result vmrec_reconcile(
	void *aux, const char *uuid, int64_t *after_msec, struct err *e)
{
	CLEANUP(look_done) struct look k = { .r = aux, .uuid = uuid };

	*after_msec = 0;
	if (uuid_check(uuid, e) < 0) {
		log_warn("a key that is no VM's uuid is left alone: %s", e->msg);
		return WQ_DONE;
	}
	return look_and_act(&k, after_msec, e);
}
