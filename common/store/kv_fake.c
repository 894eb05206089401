#include "common/store/kv_fake.h"

#include <assert.h>

#include "common/base/clock.h"
#include "common/store/cond.h"
#include "common/store/kv_fake_impl.h"

#define FIRST_LEASE 0x1000

static struct fake_client *client_of(struct kv *kv)
{
	return (struct fake_client *)kv;
}

/* -------------------------------------------------------------------------- the server */

struct fake_etcd *fake_etcd_new(void)
{
	struct fake_etcd *f = xcalloc(1, sizeof(*f));

	pthread_mutex_init(&f->lock, NULL);
	cond_init(&f->news);
	f->m = mvcc_new();
	f->next_expiry_msec = INT64_MAX;
	return f;
}

void fake_etcd_free(struct fake_etcd *f)
{
	struct fake_lease *l;

	if (!f)
		return;
	assert(f->n_clients == 0);
	while ((l = f->leases)) {
		HASH_DEL(f->leases, l);
		free(l);
	}
	mvcc_free(f->m);
	pthread_cond_destroy(&f->news);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static void lease_end(struct fake_etcd *f, struct fake_lease *l)
{
	mvcc_del_lease(f->m, l->id);
	mvcc_commit(f->m);
	HASH_DEL(f->leases, l);
	free(l);
}

/* Each lease's keys go in one revision, as in etcd. */
void fake_expire(struct fake_etcd *f)
{
	int64_t now_msec = clock_mono_msec();
	struct fake_lease *l, *next;
	bool any = false;

	if (now_msec < f->next_expiry_msec)
		return;
	f->next_expiry_msec = INT64_MAX;
	for (l = f->leases; l; l = next) {
		next = l->hh.next;
		if (l->expires_msec <= now_msec) {
			lease_end(f, l);
			any = true;
		} else if (l->expires_msec < f->next_expiry_msec) {
			f->next_expiry_msec = l->expires_msec;
		}
	}
	if (any)
		pthread_cond_broadcast(&f->news);
}

void fake_lock(struct fake_etcd *f)
{
	pthread_mutex_lock(&f->lock);
	fake_expire(f);
}

void fake_unlock(struct fake_etcd *f)
{
	pthread_mutex_unlock(&f->lock);
}

void fake_etcd_tick(struct fake_etcd *f)
{
	fake_lock(f);
	fake_unlock(f);
}

int64_t fake_etcd_rev(struct fake_etcd *f)
{
	int64_t rev;

	fake_lock(f);
	rev = mvcc_rev(f->m);
	fake_unlock(f);
	return rev;
}

void fake_etcd_restore(struct fake_etcd *f, int64_t rev)
{
	fake_lock(f);
	mvcc_roll_back(f->m, rev);
	for (struct fake_watch *w = f->watches; w; w = w->next)
		w->is_compacted = true;
	pthread_cond_broadcast(&f->news);
	fake_unlock(f);
}

void fake_etcd_compact(struct fake_etcd *f)
{
	fake_lock(f);
	fake_watches_compact(f);
	mvcc_compact(f->m);
	pthread_cond_broadcast(&f->news);
	fake_unlock(f);
}

static struct fake_lease *find_lease(struct fake_etcd *f, int64_t id)
{
	struct fake_lease *l;

	HASH_FIND(hh, f->leases, &id, sizeof(id), l);
	return l;
}

static void lease_renew(struct fake_etcd *f, struct fake_lease *l)
{
	l->expires_msec = clock_mono_msec() + l->ttl_sec * 1000;
	if (l->expires_msec < f->next_expiry_msec)
		f->next_expiry_msec = l->expires_msec;
}

/* -------------------------------------------------------------------------- faults */

/* on_write's answers. */
enum write_fault { PASS, FAIL, LOSE_ANSWER, LOSE_REQUEST };

void kv_fake_set_fault(struct kv *kv, const struct kv_fault *fault)
{
	struct fake_client *c = client_of(kv);

	fake_lock(c->f);
	c->fault = fault ? *fault : (struct kv_fault){ 0 };
	for (struct fake_watch *w = c->f->watches; w; w = w->next)
		if (w->client == c && c->fault.is_cut)
			w->is_broken = true;
	pthread_cond_broadcast(&c->f->news);
	fake_unlock(c->f);
}

static struct kv_fault fault_of(struct fake_client *c)
{
	struct kv_fault fault;

	pthread_mutex_lock(&c->f->lock);
	fault = c->fault;
	pthread_mutex_unlock(&c->f->lock);
	return fault;
}

static int fail_cut(struct err *e)
{
	return err_set(e, ERR_UNAVAILABLE, "etcd does not answer (cut off)");
}

/* The callbacks are called without the lock: they may use the store themselves. */
int fake_before_read(struct fake_client *c, struct err *e)
{
	struct kv_fault fault = fault_of(c);

	if (fault.is_cut)
		return fail_cut(e);
	if (fault.on_read && fault.on_read(fault.aux))
		return err_set(e, ERR_UNAVAILABLE, "etcd does not answer (read fault)");
	return 0;
}

/* 0 with *what PASS, LOSE_ANSWER or LOSE_REQUEST. */
static int before_write(struct fake_client *c, enum write_fault *what, struct err *e)
{
	struct kv_fault fault = fault_of(c);

	*what = PASS;
	if (fault.is_cut)
		return fail_cut(e);
	if (fault.on_write)
		*what = (enum write_fault)fault.on_write(fault.aux);
	if (*what == FAIL)
		return err_set(e, ERR_UNAVAILABLE, "etcd does not answer (write fault)");
	return 0;
}

/* Leases have no outcome "unknown" in kv.h: a lost answer is a call that took too long. */
static int fail_lost(struct err *e)
{
	return err_set(e, ERR_TIMEOUT, "etcd did not answer in time (write fault)");
}

/* -------------------------------------------------------------------------- reading */

static int fake_range(struct kv *kv, const struct kv_range_req *req, struct kv_list *out,
	int64_t *count, struct err *e)
{
	struct fake_client *c = client_of(kv);
	struct mvcc *m = c->f->m;
	struct kv_list list = { 0 };
	int64_t n = 0, limit = req->limit, page_len = fault_of(c).page_len;
	int rc = fake_before_read(c, e);

	if (rc)
		return rc;
	if (page_len > 0 && limit > page_len)
		limit = page_len;
	fake_lock(c->f);
	list.rev = req->rev > 0 ? req->rev : mvcc_rev(m);
	if (list.rev < mvcc_compact_rev(m))
		rc = KV_COMPACTED;
	else if (list.rev > mvcc_rev(m))
		rc = err_set(e, ERR_INVALID,
			"revision %lld is in the future: the store is at %lld",
			(long long)list.rev, (long long)mvcc_rev(m));
	else
		n = mvcc_range(m, req->key, req->end, list.rev, limit,
			req->count_only ? NULL : &list);
	fake_unlock(c->f);
	if (rc)
		return rc;
	list.has_more = !req->count_only && n > (int64_t)list.len;
	if (count)
		*count = n;
	if (out)
		*out = list;
	else
		kv_list_done(&list);
	return 0;
}

/* -------------------------------------------------------------------------- writing */

static bool cmp_holds(struct mvcc *m, const struct kv_cmp *cmp)
{
	const struct mvcc_version *v = mvcc_find(m, cmp->key, mvcc_rev(m));

	switch (cmp->kind) {
	case KV_CMP_MOD_REV:
		return (v ? v->mod_rev : 0) == cmp->rev;
	case KV_CMP_CREATE_REV:
		return (v ? v->create_rev : 0) == cmp->rev;
	case KV_CMP_PRESENT:
		return v;
	}
	return false;
}

static int check_leases(struct fake_etcd *f, const struct kv_txn *t, struct err *e)
{
	for (size_t i = 0; i < t->n_ops; i++) {
		const struct kv_op *op = &t->ops[i];

		if (op->kind == KV_OP_PUT && op->lease && !find_lease(f, op->lease))
			return err_set(e, ERR_NOT_FOUND, "etcd: lease %llx not found",
				(unsigned long long)op->lease);
	}
	return 0;
}

static void get_one(struct mvcc *m, const char *key, struct kv_list *got)
{
	/* Behind the newest revision: with this transaction's own changes. */
	const struct mvcc_version *v = mvcc_find(m, key, INT64_MAX);
	struct kv_pair *p = mvcc_list_add(got);

	if (v)
		mvcc_pair_copy(key, v, p);
}

static int apply(struct fake_etcd *f, const struct kv_txn *t, struct kv_txn_result *out,
	struct err *e)
{
	struct kv_txn_result r = { .succeeded = true };

	for (size_t i = 0; i < t->n_cmps; i++)
		r.succeeded = r.succeeded && cmp_holds(f->m, &t->cmps[i]);
	if (r.succeeded && check_leases(f, t, e) < 0)
		return -1;
	for (size_t i = 0; r.succeeded && i < t->n_ops; i++) {
		const struct kv_op *op = &t->ops[i];

		switch (op->kind) {
		case KV_OP_PUT:
			mvcc_put(f->m, op->key, op->value, op->lease);
			break;
		case KV_OP_DEL:
			mvcc_del(f->m, op->key);
			break;
		case KV_OP_GET:
			get_one(f->m, op->key, &r.got);
			break;
		}
	}
	r.rev = mvcc_commit(f->m);
	r.got.rev = r.rev;
	pthread_cond_broadcast(&f->news);
	*out = r;
	return 0;
}

static bool writes(const struct kv_txn *t)
{
	for (size_t i = 0; i < t->n_ops; i++)
		if (t->ops[i].kind != KV_OP_GET)
			return true;
	return false;
}

static bool is_compared(const struct kv_txn *t, const char *key)
{
	for (size_t i = 0; i < t->n_cmps; i++)
		if (t->cmps[i].kind != KV_CMP_PRESENT && strcmp(t->cmps[i].key, key) == 0)
			return true;
	return false;
}

static void tell_changes(struct fake_client *c, const struct kv_txn *t)
{
	struct kv_fault fault = fault_of(c);

	for (size_t i = 0; fault.on_change && i < t->n_ops; i++)
		if (t->ops[i].kind != KV_OP_GET)
			fault.on_change(
				fault.aux, t->ops[i].key, is_compared(t, t->ops[i].key));
}

static int unknown(struct err *e)
{
	(void)fail_lost(e);
	return KV_UNKNOWN;
}

static int fake_txn(
	struct kv *kv, const struct kv_txn *t, struct kv_txn_result *out, struct err *e)
{
	struct fake_client *c = client_of(kv);
	struct kv_txn_result r = { 0 };
	enum write_fault what = PASS;
	int rc = writes(t) ? before_write(c, &what, e) : fake_before_read(c, e);

	if (rc)
		return rc;
	if (what == LOSE_REQUEST)
		return unknown(e);
	fake_lock(c->f);
	rc = apply(c->f, t, &r, e);
	fake_unlock(c->f);
	if (rc == 0 && r.succeeded)
		tell_changes(c, t);
	if (what == LOSE_ANSWER) {
		if (rc == 0)
			kv_list_done(&r.got);
		return unknown(e);
	}
	if (rc == 0)
		*out = r;
	return rc;
}

/* -------------------------------------------------------------------------- leases */

static int fake_lease_grant(struct kv *kv, int64_t ttl_sec, int64_t *lease, struct err *e)
{
	struct fake_client *c = client_of(kv);
	struct fake_etcd *f = c->f;
	enum write_fault what;
	struct fake_lease *l;
	int64_t id;

	if (before_write(c, &what, e) < 0)
		return -1;
	if (what == LOSE_REQUEST)
		return fail_lost(e);
	l = xcalloc(1, sizeof(*l));
	fake_lock(f);
	l->id = id = FIRST_LEASE + f->n_leases_ever++;
	l->ttl_sec = ttl_sec;
	HASH_ADD(hh, f->leases, id, sizeof(l->id), l);
	lease_renew(f, l);
	pthread_cond_broadcast(&f->news); /* who waits may have to wake up earlier */
	fake_unlock(f);
	if (what == LOSE_ANSWER)
		return fail_lost(e);
	*lease = id;
	return 0;
}

static int fake_lease_keepalive(
	struct kv *kv, int64_t lease, int64_t *ttl_sec, struct err *e)
{
	struct fake_client *c = client_of(kv);
	enum write_fault what;
	struct fake_lease *l;
	int64_t ttl = 0;

	if (before_write(c, &what, e) < 0)
		return -1;
	if (what == LOSE_REQUEST)
		return fail_lost(e);
	fake_lock(c->f);
	l = find_lease(c->f, lease);
	if (l) {
		lease_renew(c->f, l);
		ttl = l->ttl_sec;
	}
	fake_unlock(c->f);
	if (what == LOSE_ANSWER)
		return fail_lost(e);
	*ttl_sec = ttl;
	return 0;
}

static int fake_lease_revoke(struct kv *kv, int64_t lease, struct err *e)
{
	struct fake_client *c = client_of(kv);
	enum write_fault what;
	struct fake_lease *l;
	int rc = 0;

	if (before_write(c, &what, e) < 0)
		return -1;
	if (what == LOSE_REQUEST)
		return fail_lost(e);
	fake_lock(c->f);
	l = find_lease(c->f, lease);
	if (l)
		lease_end(c->f, l);
	else
		rc = err_set(e, ERR_NOT_FOUND, "etcd: lease %llx not found",
			(unsigned long long)lease);
	pthread_cond_broadcast(&c->f->news);
	fake_unlock(c->f);
	return what == LOSE_ANSWER ? fail_lost(e) : rc;
}

/* -------------------------------------------------------------------------- clients */

static void fake_close(struct kv *kv)
{
	struct fake_client *c = client_of(kv);

	fake_lock(c->f);
	for (struct fake_watch *w = c->f->watches; w; w = w->next)
		assert(w->client != c);
	c->f->n_clients--;
	fake_unlock(c->f);
	free(c);
}

static const struct kv_ops ops = {
	.range = fake_range,
	.txn = fake_txn,
	.lease_grant = fake_lease_grant,
	.lease_keepalive = fake_lease_keepalive,
	.lease_revoke = fake_lease_revoke,
	.watch_open = fake_watch_open,
	.close = fake_close,
};

struct kv *kv_fake_open(struct fake_etcd *f)
{
	struct fake_client *c = xcalloc(1, sizeof(*c));

	c->kv.ops = &ops;
	c->f = f;
	fake_lock(f);
	f->n_clients++;
	fake_unlock(f);
	return &c->kv;
}
