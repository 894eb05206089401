#include "common/store/kv_impl.h"

#include <assert.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/crash.h"
#include "common/base/metrics.h"

#define PAGE_LEN 1000
/* How often a list of the newest state begins anew because its revision was compacted. */
#define MAX_COMPACTED 3

static struct metric n_reads = { METRIC_COUNTER, "ucloud_etcd_read_total",
	"Reads of etcd, by outcome.", "outcome" };
static struct metric n_txns = { METRIC_COUNTER, "ucloud_etcd_txn_total",
	"Transactions sent to etcd, by outcome.", "outcome" };
static struct metric n_leases = { METRIC_COUNTER, "ucloud_etcd_lease_total",
	"Lease calls to etcd, by outcome.", "outcome" };
static struct metric n_watches = { METRIC_COUNTER, "ucloud_etcd_watch_end_total",
	"Watches that ended, by reason.", "reason" };
static struct metric call_seconds = { METRIC_HISTOGRAM, "ucloud_etcd_call_seconds",
	"How long calls of etcd took.", "call" };

void kv_metrics_register(void)
{
	metric_register(&n_reads);
	metric_register(&n_txns);
	metric_register(&n_leases);
	metric_register(&n_watches);
	metric_register(&call_seconds);
}

static const char *outcome_name(int result)
{
	switch (result) {
	case 0:
		return "ok";
	case KV_CONFLICT:
		return "conflict";
	case KV_UNKNOWN:
		return "unknown";
	case KV_COMPACTED:
		return "compacted";
	default:
		return "failed";
	}
}

static int counted(struct metric *m, const char *call, int64_t since_usec, int result)
{
	metric_add(m, outcome_name(result), 1);
	metric_observe(
		&call_seconds, call, (double)(clock_mono_usec() - since_usec) / 1e6);
	return result;
}

/* ---------------------------------------------------------------- what calls return */

void kv_pair_done(struct kv_pair *p)
{
	free(p->key);
	free(p->value);
	*p = (struct kv_pair){ 0 };
}

void kv_list_done(struct kv_list *l)
{
	for (size_t i = 0; i < l->len; i++)
		kv_pair_done(&l->v[i]);
	free(l->v);
	*l = (struct kv_list){ 0 };
}

void kv_events_done(struct kv_events *ev)
{
	for (size_t i = 0; i < ev->len; i++) {
		kv_pair_done(&ev->v[i].pair);
		kv_pair_done(&ev->v[i].prev);
	}
	free(ev->v);
	*ev = (struct kv_events){ 0 };
}

static void list_append(struct kv_list *to, struct kv_list *from)
{
	if (from->len > 0) {
		to->v = xreallocarray(to->v, to->len + from->len, sizeof(*to->v));
		memcpy(to->v + to->len, from->v, from->len * sizeof(*to->v));
		to->len += from->len;
	}
	free(from->v);
	*from = (struct kv_list){ 0 };
}

/* ---------------------------------------------------------------- reading */

const char *kv_prefix_begin(const char *prefix)
{
	return prefix[0] ? prefix : "\x01";
}

char *kv_prefix_end(const char *prefix)
{
	size_t len = strlen(prefix);
	char *end;

	while (len > 0 && (unsigned char)prefix[len - 1] == 0xff)
		len--;
	if (len == 0)
		return xasprintf("%s\xff\xff\xff\xff", prefix);
	end = xstrndup(prefix, len);
	end[len - 1] = (char)((unsigned char)end[len - 1] + 1);
	return end;
}

static int read_range(struct kv *kv, const struct kv_range_req *req, struct kv_list *out,
	int64_t *count, struct err *e)
{
	int64_t since = clock_mono_usec();

	return counted(&n_reads, "read", since, kv->ops->range(kv, req, out, count, e));
}

int kv_get(
	struct kv *kv, const char *key, struct kv_pair *out, int64_t *rev, struct err *e)
{
	struct kv_range_req req = { .key = key };
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	int64_t count;
	int r = read_range(kv, &req, &list, &count, e);

	if (r)
		return r;
	*out = (struct kv_pair){ 0 };
	if (list.len > 0) {
		*out = list.v[0];
		list.v[0] = (struct kv_pair){ 0 };
	}
	if (rev)
		*rev = list.rev;
	return 0;
}

int kv_get_many(struct kv *kv, const char *const *keys, size_t n, struct kv_list *out,
	struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct kv_txn_result res = { 0 };
	int64_t since = clock_mono_usec();
	int r;

	for (size_t i = 0; i < n; i++)
		kv_txn_get(t, keys[i]);
	r = counted(&n_reads, "read", since, kv->ops->txn(kv, t, &res, e));
	assert(r <= 0);
	if (r)
		return r;
	assert(res.got.len == n);
	*out = res.got;
	out->rev = res.rev;
	return 0;
}

/* A page whose answer is too large is asked for again with a quarter of the keys. */
static int read_page(
	struct kv *kv, struct kv_range_req *req, struct kv_list *out, struct err *e)
{
	int64_t count;

	for (;;) {
		int r = read_range(kv, req, out, &count, e);

		if (r == 0 && req->rev)
			out->rev = req->rev;
		if (r >= 0 || e->kind != ERR_TOO_LARGE || req->limit <= 1)
			return r;
		req->limit = req->limit / 4 ? req->limit / 4 : 1;
	}
}

int kv_range_page(struct kv *kv, const char *prefix, const char *after, size_t limit,
	int64_t at_rev, struct kv_list *out, struct err *e)
{
	CLEANUP_STR char *end = kv_prefix_end(prefix);
	CLEANUP_STR char *begin = NULL;
	struct kv_range_req req = { .end = end, .limit = (int64_t)limit, .rev = at_rev };

	assert(limit > 0);
	/* Keys are text: nothing lies between a key and the key followed by 0x01. */
	if (after && strcmp(after, prefix) >= 0)
		begin = xasprintf("%s\x01", after);
	else
		begin = xstrdup(kv_prefix_begin(prefix));
	if (strcmp(begin, end) >= 0)
		req.end = begin; /* `after` lies behind them all */
	req.key = begin;
	return read_page(kv, &req, out, e);
}

static int range_once(struct kv *kv, const char *prefix, int64_t at_rev,
	struct kv_list *out, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list all = { .rev = at_rev };
	bool has_more = true;

	while (has_more) {
		const char *after = all.len > 0 ? all.v[all.len - 1].key : NULL;
		struct kv_list page = { 0 };
		int r = kv_range_page(kv, prefix, after, PAGE_LEN, all.rev, &page, e);

		if (r)
			return r;
		has_more = page.has_more;
		if (has_more && page.len == 0)
			return err_set(e, ERR_INVALID,
				"etcd has more than %d keys below \"%s\" that are no "
				"text",
				PAGE_LEN, prefix);
		if (all.rev == 0)
			all.rev = page.rev;
		list_append(&all, &page);
	}
	*out = all;
	all = (struct kv_list){ 0 };
	return 0;
}

int kv_range(struct kv *kv, const char *prefix, int64_t at_rev, struct kv_list *out,
	struct err *e)
{
	for (int i = 0; i < MAX_COMPACTED; i++) {
		int r = range_once(kv, prefix, at_rev, out, e);

		if (r != KV_COMPACTED || at_rev != 0)
			return r;
	}
	return err_set(e, ERR_UNAVAILABLE,
		"etcd compacts faster than \"%s\" can be listed: give its "
		"auto-compaction a longer retention",
		prefix);
}

int kv_count(struct kv *kv, const char *prefix, int64_t *count, struct err *e)
{
	CLEANUP_STR char *end = kv_prefix_end(prefix);
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	struct kv_range_req req = {
		.key = kv_prefix_begin(prefix), .end = end, .count_only = true
	};

	return read_range(kv, &req, &list, count, e);
}

/* ---------------------------------------------------------------- writing */

static int check_size(const struct kv_txn *t, struct err *e)
{
	for (size_t i = 0; i < t->n_ops; i++) {
		const struct kv_op *o = &t->ops[i];

		if (o->value && strlen(o->value) > KV_VALUE_MAX)
			return err_set(e, ERR_TOO_LARGE,
				"the value of %s has %zu bytes, at most %d are allowed",
				o->key, strlen(o->value), KV_VALUE_MAX);
	}
	if (kv_txn_size(t) > KV_TXN_MAX_SIZE)
		return err_set(e, ERR_TOO_LARGE,
			"a transaction has %zu bytes, at most %d are allowed",
			kv_txn_size(t), KV_TXN_MAX_SIZE);
	return 0;
}

int kv_txn_commit(struct kv *kv, const struct kv_txn *t, int64_t *rev, struct err *e)
{
	struct kv_txn_result res = { 0 };
	int64_t since = clock_mono_usec();
	int r;

	if (check_size(t, e) < 0)
		return -1;
	CRASH_POINT("kv.txn.before");
	r = kv->ops->txn(kv, t, &res, e);
	CRASH_POINT("kv.txn.after");
	if (r == 0 && !res.succeeded)
		r = KV_CONFLICT;
	if (rev && (r == 0 || r == KV_CONFLICT))
		*rev = res.rev;
	kv_list_done(&res.got);
	return counted(&n_txns, "txn", since, r);
}

int kv_lease_grant(struct kv *kv, int64_t ttl_sec, int64_t *lease, struct err *e)
{
	int64_t since = clock_mono_usec();
	int r;

	CRASH_POINT("kv.lease_grant.before");
	r = kv->ops->lease_grant(kv, ttl_sec, lease, e);
	CRASH_POINT("kv.lease_grant.after");
	return counted(&n_leases, "lease_grant", since, r);
}

int kv_lease_keepalive(struct kv *kv, int64_t lease, int64_t *ttl_sec, struct err *e)
{
	int64_t since = clock_mono_usec();

	return counted(&n_leases, "lease_keepalive", since,
		kv->ops->lease_keepalive(kv, lease, ttl_sec, e));
}

int kv_lease_revoke(struct kv *kv, int64_t lease, struct err *e)
{
	int64_t since = clock_mono_usec();
	struct err why = { 0 };
	int r;

	CRASH_POINT("kv.lease_revoke.before");
	r = kv->ops->lease_revoke(kv, lease, &why);
	CRASH_POINT("kv.lease_revoke.after");
	if (r < 0 && why.kind == ERR_NOT_FOUND)
		r = 0;
	if (r < 0)
		*e = why;
	return counted(&n_leases, "lease_revoke", since, r);
}

void kv_close(struct kv *kv)
{
	if (kv)
		kv->ops->close(kv);
}

/* ---------------------------------------------------------------- watching */

int kv_watch_open(struct kv *kv, const struct kv_watch_req *req, struct kv_watch **out,
	struct err *e)
{
	return kv->ops->watch_open(kv, req, out, e);
}

int kv_watch_next(
	struct kv_watch *w, int64_t wait_msec, struct kv_events *out, struct err *e)
{
	int r = w->ops->next(w, wait_msec, out, e);

	if (r == KV_COMPACTED || r < 0)
		metric_add(&n_watches, r < 0 ? "broken" : "compacted", 1);
	return r;
}

void kv_watch_wake(struct kv_watch *w)
{
	w->ops->wake(w);
}

void kv_watch_close(struct kv_watch *w)
{
	if (w)
		w->ops->close(w);
}
