#include "ucloud-api/console.h"

#include "common/base/clock.h"
#include "common/base/jtab.h"

enum { LEASE_SEC = 60 };

struct fetch {
	struct kv *kv;
	char *key;
	int64_t lease;
	struct kv_watch *watch;
};

/* With the lease goes the key. */
static void fetch_done(struct fetch *f)
{
	struct err ignored;

	if (f->watch)
		kv_watch_close(f->watch);
	if (f->lease && kv_lease_revoke(f->kv, f->lease, &ignored) < 0)
		(void)0; /* it ends by itself */
	free(f->key);
}

/* Watches first, so that no answer is missed. */
static int ask(struct fetch *f, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct kv_watch_req req = { .prefix = f->key, .is_single_key = true };
	int r;

	if (kv_watch_open(f->kv, &req, &f->watch, e) != 0 ||
		kv_lease_grant(f->kv, LEASE_SEC, &f->lease, e) < 0)
		return -1;
	kv_txn_put_lease(t, f->key, "{}", f->lease);
	r = kv_txn_commit(f->kv, t, NULL, e);
	/* Unknown: if it was lost, no answer comes, and that is told. */
	return r < 0 ? -1 : 0;
}

/* The host's answer among the events, or NULL. */
static json_t *answer_in(const struct kv_events *ev)
{
	for (size_t i = 0; i < ev->len; i++) {
		const struct kv_pair *p = &ev->v[i].pair;
		json_t *json = NULL;

		if (ev->v[i].is_delete ||
			json_parse(p->value, p->value_size, &json, NULL) < 0)
			continue;
		if (json_is_string(json_object_get(json, "text")))
			return json;
		json_decref(json);
	}
	return NULL;
}

int console_fetch(struct kv *kv, const char *host, const char *vm_uuid,
	int64_t limit_msec, json_t **out, struct err *e)
{
	CLEANUP(fetch_done)
	struct fetch f = { .kv = kv, .key = key_console(host, vm_uuid) };
	int64_t end = clock_mono_msec() + limit_msec;

	if (ask(&f, e) < 0)
		return -1;
	for (int64_t left = limit_msec; left > 0; left = end - clock_mono_msec()) {
		CLEANUP(kv_events_done) struct kv_events ev = { 0 };
		json_t *json;
		int r = kv_watch_next(f.watch, left, &ev, e);

		if (r == KV_IDLE)
			continue;
		if (r != 0)
			return r < 0 ? -1
				     : err_set(e, ERR_UNAVAILABLE,
					       "the store was restored meanwhile: try "
					       "again");
		json = answer_in(&ev);
		if (json) {
			*out = json;
			return 0;
		}
	}
	return err_set(e, ERR_TIMEOUT,
		"the host \"%s\" did not answer within %lld s: is ucloud-host running "
		"there?",
		host, (long long)(limit_msec / 1000));
}
