#include "ucloud-network/announce.h"

#include <pthread.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/store/session.h"

/* The key of the controller that is about the machine itself; all others are uuids. */
#define UNDERLAY "underlay"

struct known {
	char *uuid;
	struct strv roles;
	char *problem;
	int64_t since;
	bool is_fresh, is_gone;
	int64_t put_lease; /* what is in etcd is on this lease, and says the above; 0: no */
	UT_hash_handle hh;
};

struct announce {
	struct netenv *env;
	char *key, *first; /* first: what the session puts */
	struct strv roles;
	struct session *session;
	struct ctl *ctl;
	pthread_mutex_t lock; /* guards: */
	struct known *known;
	char *value; /* of the underlay, as it is now */
};

/* ---------------------------------------------------------------- what is known */

static struct known *find(struct announce *a, const char *uuid)
{
	struct known *k;

	HASH_FIND_STR(a->known, uuid, k);
	return k;
}

static struct known *add(struct announce *a, const char *uuid)
{
	struct known *k = xcalloc(1, sizeof(*k));

	k->uuid = xstrdup(uuid);
	HASH_ADD_KEYPTR(hh, a->known, k->uuid, strlen(k->uuid), k);
	return k;
}

static void drop(struct announce *a, struct known *k)
{
	HASH_DEL(a->known, k);
	free(k->uuid);
	free(k->problem);
	strv_done(&k->roles);
	free(k);
}

static bool same_strv(const struct strv *a, const struct strv *b)
{
	if (a->len != b->len)
		return false;
	for (size_t i = 0; i < a->len; i++)
		if (!str_eq(a->v[i], b->v[i]))
			return false;
	return true;
}

void announce_put(struct announce *a, const char *uuid, const struct strv *role_names,
	const char *problem)
{
	struct known *k;
	bool is_new;

	pthread_mutex_lock(&a->lock);
	k = find(a, uuid);
	is_new = !k || k->is_gone || !str_eq(k->problem, problem ? problem : "") ||
		 !same_strv(&k->roles, role_names);
	if (!k)
		k = add(a, uuid);
	if (is_new) {
		str_set(&k->problem, xstrdup(problem ? problem : ""));
		strv_done(&k->roles);
		strv_copy(&k->roles, role_names);
		k->since = clock_unix_sec();
		k->put_lease = 0;
	}
	k->is_fresh = true;
	k->is_gone = false;
	pthread_mutex_unlock(&a->lock);
	if (is_new)
		ctl_add(a->ctl, uuid);
}

void announce_sweep(struct announce *a)
{
	struct known *k, *next;

	pthread_mutex_lock(&a->lock);
	HASH_ITER (hh, a->known, k, next) {
		if (!k->is_fresh && !k->is_gone) {
			k->is_gone = true;
			k->put_lease = 0;
			ctl_add(a->ctl, k->uuid);
		}
		k->is_fresh = false;
	}
	pthread_mutex_unlock(&a->lock);
}

/* ---------------------------------------------------------------- writing it */

/* The caller's text; NULL: it must go. False: there is nothing to do. */
static bool get_order(struct announce *a, const char *uuid, int64_t lease, char **text)
{
	struct network_host h = { 0 };
	struct known *k;
	bool is_needed;

	*text = NULL;
	pthread_mutex_lock(&a->lock);
	k = find(a, uuid);
	is_needed = k && k->put_lease != lease;
	if (is_needed && !k->is_gone) {
		h = (struct network_host){
			.roles = k->roles, .since = k->since, .problem = k->problem
		};
		*text = jtab_format_text(&network_host_jtab, &h);
	}
	pthread_mutex_unlock(&a->lock);
	return is_needed;
}

/* Marks it as written unless it changed meanwhile: then its key runs again. */
static void written(struct announce *a, const char *uuid, int64_t lease, bool was_gone)
{
	struct known *k;

	pthread_mutex_lock(&a->lock);
	k = find(a, uuid);
	if (k && k->is_gone == was_gone) {
		if (was_gone)
			drop(a, k);
		else
			k->put_lease = lease;
	}
	pthread_mutex_unlock(&a->lock);
}

/* The session puts what was true at the start. */
static enum wq_result on_underlay(struct announce *a, struct err *e)
{
	int64_t fence = session_create_rev(a->session), lease = session_lease(a->session);
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *value = NULL;
	int rc;

	pthread_mutex_lock(&a->lock);
	value = xstrdup(a->value);
	pthread_mutex_unlock(&a->lock);
	if (!fence || !lease)
		return WQ_DONE;
	kv_txn_if_lock(t, a->key, fence);
	kv_txn_put_lease(t, a->key, value, lease);
	rc = kv_txn_commit(a->env->kv, t, NULL, e);
	if (rc == KV_CONFLICT)
		err_set(e, ERR_CONFLICT, "the lease was lost meanwhile");
	return rc == 0 ? WQ_DONE : WQ_RETRY;
}

static enum wq_result on_network(struct announce *a, const char *uuid, struct err *e)
{
	int64_t fence = session_create_rev(a->session), lease = session_lease(a->session);
	CLEANUP_STR char *key = key_network_host(uuid, a->env->host);
	CLEANUP_STR char *text = NULL;
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	int rc;

	if (!fence || !lease || !get_order(a, uuid, lease, &text))
		return WQ_DONE; /* all are looked at when the lease is there again */
	kv_txn_if_lock(t, a->key, fence);
	if (text)
		kv_txn_put_lease(t, key, text, lease);
	else
		kv_txn_del(t, key);
	rc = kv_txn_commit(a->env->kv, t, NULL, e);
	if (rc == KV_CONFLICT)
		err_set(e, ERR_CONFLICT, "the lease was lost meanwhile");
	if (rc != 0)
		return WQ_RETRY;
	written(a, uuid, lease, !text);
	return WQ_DONE;
}

static enum wq_result on_key(
	void *aux, const char *key, int64_t *after_msec, struct err *e)
{
	(void)after_msec;
	return str_eq(key, UNDERLAY) ? on_underlay(aux, e) : on_network(aux, key, e);
}

static void add_all(void *aux, struct ctl *c)
{
	struct announce *a = aux;
	struct known *k, *next;

	pthread_mutex_lock(&a->lock);
	if (!str_eq(a->value, a->first))
		ctl_add(c, UNDERLAY);
	HASH_ITER (hh, a->known, k, next)
		ctl_add(c, k->uuid);
	pthread_mutex_unlock(&a->lock);
}

/* ---------------------------------------------------------------- the lease */

static void on_held(void *aux)
{
	struct announce *a = aux;

	add_all(a, a->ctl);
	ctl_poke(a->ctl);
}

static void on_lost(void *aux)
{
	(void)aux;
	log_warn("etcd does not hear of us any more; networks stay as they are");
}

/* Only the same machine may take its own key over. */
static char *read_machine(const char *host)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	struct err ignored = { 0 };

	if (file_read("/etc/machine-id", 256, &text, &ignored) < 0 ||
		strcspn(buf_str(&text), "\n") == 0)
		return xstrdup(host);
	return xasprintf(
		"%.*s/%s", (int)strcspn(buf_str(&text), "\n"), buf_str(&text), host);
}

static char *value_of(const struct netenv *env, const struct strv *role_names)
{
	CLEANUP_STR char *address = underlay_address(&env->underlay);
	CLEANUP_STR char *machine = read_machine(env->host);
	CLEANUP_STR char *name = xstrdup(env->underlay.name);
	CLEANUP_STR char *flood = xstrdup(flood_names[env->flood]);
	CLEANUP(json_decref_ptr) json_t *rest = json_pack("{s:s}", "machine", machine);
	struct underlay u = { .address = address,
		.interface = name,
		.mtu = env->underlay.mtu,
		.roles = *role_names,
		.flood = flood,
		.rest = rest };

	return jtab_format_text(&underlay_jtab, &u);
}

void announce_underlay(struct announce *a)
{
	char *value = value_of(a->env, &a->roles);
	bool is_new;

	pthread_mutex_lock(&a->lock);
	is_new = !str_eq(value, a->value);
	str_set(&a->value, value);
	pthread_mutex_unlock(&a->lock);
	if (!is_new)
		return;
	log_warn("the underlay interface changed; others are told interface=%s",
		a->env->underlay.name);
	ctl_add(a->ctl, UNDERLAY);
}

struct announce *announce_new(struct netenv *env, const struct strv *role_names)
{
	struct announce *a = xcalloc(1, sizeof(*a));
	const struct ctl_conf ctl = { .name = "announce",
		.n_workers = 1,
		.resync_sec = env->resync_sec,
		.reconcile = on_key,
		.add_all = add_all,
		.aux = a };
	struct session_conf session = { .kind = SESSION_ALIVE,
		.ttl_sec = env->lease_ttl_sec,
		.on_held = on_held,
		.on_lost = on_lost,
		.aux = a };

	a->env = env;
	pthread_mutex_init(&a->lock, NULL);
	a->key = key_underlay(env->host);
	strv_copy(&a->roles, role_names);
	a->first = value_of(env, role_names);
	a->value = xstrdup(a->first);
	session.key = a->key;
	session.value = a->first;
	a->session = session_new(env->kv, &session);
	a->ctl = ctl_new(&ctl);
	return a;
}

void announce_start(struct announce *a)
{
	session_start(a->session);
	ctl_start(a->ctl);
}

bool announce_is_held(struct announce *a)
{
	return session_create_rev(a->session) != 0;
}

bool announce_stop(struct announce *a)
{
	if (!ctl_stop(a->ctl))
		return false;
	session_free(MOVE(a->session), true);
	return true;
}

void announce_free(struct announce *a)
{
	struct known *k, *next;

	if (!a)
		return;
	ctl_free(a->ctl);
	HASH_ITER (hh, a->known, k, next)
		drop(a, k);
	pthread_mutex_destroy(&a->lock);
	free(a->key);
	free(a->value);
	free(a->first);
	strv_done(&a->roles);
	free(a);
}
