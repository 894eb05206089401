#include "ucloud-api/waits.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "common/model/file.h"
#include "common/store/cond.h"
#include "ucloud-api/network_use.h"

enum { RETRY_MSEC = 1000, FAILURES_MAX = 3, WHO_SIZE = 160, PRUNE_MSEC = 5000 };

struct waiter;

/* What is waited for. */
struct wait_class {
	char *(*key)(const struct keys *keys, const char *uuid);
	/* The entry as it is now (key NULL: there is none); is_late: the time is up. True
	 * when it was answered. */
	bool (*settle)(struct waiter *w, const struct kv_pair *pair, bool is_late);
};

struct waiter {
	const struct wait_class *class;
	const struct waits *waits;
	struct httpd_req *req;
	char uuid[64];
	char who[WHO_SIZE];
	int want;		      /* status of a VM, image or network */
	char sha512[SHA512_HEX_SIZE]; /* of a file */
	int64_t deadline_msec;
	int64_t retry_msec; /* the store did not answer: not before */
	unsigned n_failures;
	bool is_dirty; /* look (again) */
	struct waiter *prev, *next;
};

struct waits {
	struct kv *kv;
	const struct keys *keys;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct waiter *waiters;	  /* but those that the thread looks at now... */
	struct waiter *looked_at; /* ...which are here */
	int64_t prune_msec;	  /* when to look for those whose client has gone */
	bool is_stopping, is_started;
	pthread_t thread;
};

static double read_n_waiting(void *aux);
static struct metric n_waiting = { METRIC_GAUGE, "ucloud_api_waiting",
	"Requests that are held until a VM, image, network or file gets somewhere.",
	.read = read_n_waiting };

int wait_parse(const char *s, int *want, struct err *e)
{
	int status = strcmp(s, "DELETED") == 0 ? (int)WAIT_DELETED
					       : names_find(vm_status_names, s);

	if (status < 0)
		return err_set_field(e, ERR_INVALID, "wait",
			"wait must be the name of a status, like RUNNING or STOPPED, or "
			"DELETED");
	*want = status;
	return 0;
}

int wait_parse_image(const char *s, int *want, struct err *e)
{
	int status = strcmp(s, "DELETED") == 0 ? (int)WAIT_IMAGE_DELETED
					       : names_find(image_status_names, s);

	if (status < 0)
		return err_set_field(e, ERR_INVALID, "wait",
			"wait must be the name of a status, like CREATED, or DELETED");
	*want = status;
	return 0;
}

int wait_parse_network(const char *s, int *want, struct err *e)
{
	int status = strcmp(s, "DELETED") == 0 ? (int)WAIT_NETWORK_DELETED
					       : names_find(network_status_names, s);

	if (status < 0)
		return err_set_field(e, ERR_INVALID, "wait",
			"wait must be the name of a status, like ACTIVE, or DELETED");
	*want = status;
	return 0;
}

enum wait_verdict wait_judge(int want, const struct vm *vm)
{
	if (!vm)
		return WAIT_GONE;
	if (vm->status == want || vm->status == VM_ERROR)
		return WAIT_REACHED;
	return WAIT_ON;
}

json_t *vm_json(const struct vm *vm)
{
	return jtab_format_public(&vm_jtab, vm);
}

/* ---------------------------------------------------------------- answering */

static void answer_gone(struct httpd_req *req, int want)
{
	struct err e;

	if (want == (int)WAIT_DELETED) {
		httpd_answer_json(req, 200, json_pack("{s:s}", "status", "DELETED"));
		return;
	}
	err_set(&e, ERR_NOT_FOUND, "the VM was deleted while you waited");
	httpd_answer_err(req, &e);
}

static void answer_late(struct httpd_req *req, int want, const struct vm *vm)
{
	struct err e;

	err_set(&e, ERR_TIMEOUT, "the time is up: the status is %s, not %s yet",
		vm_status_names[vm->status],
		want == (int)WAIT_DELETED ? "DELETED" : vm_status_names[want]);
	httpd_answer_err(req, &e);
}

static bool settle_vm(struct waiter *w, const struct kv_pair *pair, bool is_late)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	enum wait_verdict verdict;
	struct err e;

	if (pair->key && vm_parse(pair->value, pair->value_size, &vm, &e) < 0) {
		httpd_answer_err(w->req, &e);
		return true;
	}
	verdict = wait_judge(w->want, pair->key ? &vm : NULL);
	if (verdict == WAIT_REACHED)
		httpd_answer_json(w->req, 200, vm_json(&vm));
	else if (verdict == WAIT_GONE)
		answer_gone(w->req, w->want);
	else if (is_late)
		answer_late(w->req, w->want, &vm);
	else
		return false;
	return true;
}

static void answer_late_image(struct waiter *w, const struct image *im)
{
	struct err e;

	err_set(&e, ERR_TIMEOUT,
		"the time is up: the image's status is %s (%lld %%), not %s yet",
		image_status_names[im->status], (long long)im->progress,
		w->want == (int)WAIT_IMAGE_DELETED ? "DELETED"
						   : image_status_names[w->want]);
	httpd_answer_err(w->req, &e);
}

static bool settle_image(struct waiter *w, const struct kv_pair *pair, bool is_late)
{
	CLEANUP(image_done) struct image im = { 0 };
	struct err e;

	if (!pair->key && w->want == (int)WAIT_IMAGE_DELETED) {
		httpd_answer_json(w->req, 200, json_pack("{s:s}", "status", "DELETED"));
	} else if (!pair->key) {
		err_set(&e, ERR_NOT_FOUND, "the image was deleted while you waited");
		httpd_answer_err(w->req, &e);
	} else if (image_parse(pair->value, pair->value_size, &im, &e) < 0) {
		httpd_answer_err(w->req, &e);
	} else if (im.status == w->want || im.status == IMAGE_ERROR) {
		httpd_answer_json(w->req, 200, jtab_format_public(&image_jtab, &im));
	} else if (is_late) {
		answer_late_image(w, &im);
	} else {
		return false;
	}
	return true;
}

static void answer_late_network(struct waiter *w, const struct network *n)
{
	struct err e;

	err_set(&e, ERR_TIMEOUT, "the time is up: the network's status is %s, not %s yet",
		network_status_names[n->status],
		w->want == (int)WAIT_NETWORK_DELETED ? "DELETED"
						     : network_status_names[w->want]);
	httpd_answer_err(w->req, &e);
}

/* What `GET` without waiting answers. */
static void answer_network(struct waiter *w, const struct network *n)
{
	json_t *json;
	struct err e;

	if (network_use_json(w->waits->kv, w->waits->keys, n, &json, &e) < 0)
		httpd_answer_err(w->req, &e);
	else
		httpd_answer_json(w->req, 200, json);
}

static bool settle_network(struct waiter *w, const struct kv_pair *pair, bool is_late)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct err e;

	if (!pair->key && w->want == (int)WAIT_NETWORK_DELETED) {
		httpd_answer_json(w->req, 200, json_pack("{s:s}", "status", "DELETED"));
	} else if (!pair->key) {
		err_set(&e, ERR_NOT_FOUND, "the network was deleted while you waited");
		httpd_answer_err(w->req, &e);
	} else if (network_parse(pair->value, pair->value_size, &n, &e) < 0) {
		httpd_answer_err(w->req, &e);
	} else if (n.status == w->want || n.status == NET_ERROR) {
		answer_network(w, &n);
	} else if (is_late) {
		answer_late_network(w, &n);
	} else {
		return false;
	}
	return true;
}

/* ucloud-filescan may not have seen it yet, or may still have an older one. */
static bool settle_file(struct waiter *w, const struct kv_pair *pair, bool is_late)
{
	CLEANUP(file_done) struct file f = { 0 };
	struct err e;

	if (pair->key && file_parse(pair->value, pair->value_size, &f, &e) < 0) {
		httpd_answer_err(w->req, &e);
	} else if (str_eq(f.sha512, w->sha512)) {
		httpd_answer_json(w->req, 200, jtab_format_public(&file_jtab, &f));
	} else if (is_late) {
		err_set(&e, ERR_TIMEOUT, "the time is up: the file %s",
			pair->key ? "has not been found with this content yet"
				  : "has not been found yet");
		httpd_answer_err(w->req, &e);
	} else {
		return false;
	}
	return true;
}

static const struct wait_class class_vm = { key_vm, settle_vm },
			       class_image = { key_image, settle_image },
			       class_network = { key_network, settle_network },
			       class_file = { key_file, settle_file };

/* The store did not answer. True when that was answered. */
static bool settle_failure(struct waiter *w, const struct err *e, int64_t now)
{
	if (++w->n_failures < FAILURES_MAX && now < w->deadline_msec) {
		w->is_dirty = true;
		w->retry_msec = now + RETRY_MSEC;
		return false;
	}
	httpd_answer_err(w->req, e);
	return true;
}

/* ---------------------------------------------------------------- the thread */

static bool is_due(const struct waiter *w, int64_t now)
{
	return now >= w->retry_msec && (w->is_dirty || now >= w->deadline_msec);
}

/* Moves those that are due to looked_at; how many. The lock is held. */
static size_t take_due(struct waits *ws, int64_t now)
{
	struct waiter *w, *next;
	size_t n = 0;

	for (w = ws->waiters; w; w = next) {
		next = w->next;
		if (n == KV_TXN_MAX_OPS || !is_due(w, now))
			continue;
		DL_DELETE(ws->waiters, w);
		DL_APPEND(ws->looked_at, w);
		w->is_dirty = false;
		n++;
	}
	return n;
}

/* Reads the entries of those in looked_at and answers who can be answered: their req is NULL
 * then. Only the thread changes that list, and nobody else looks at its reqs. */
static void look(struct waits *ws, size_t n)
{
	CLEANUP(kv_list_done) struct kv_list got = { 0 };
	const char *keys[KV_TXN_MAX_OPS] = { 0 };
	char *owned[KV_TXN_MAX_OPS] = { 0 };
	int64_t now;
	struct waiter *w;
	struct err e;
	size_t i = 0;
	int r;

	for (w = ws->looked_at; w; w = w->next) {
		keys[i] = owned[i] = w->class->key(ws->keys, w->uuid);
		i++;
	}
	r = kv_get_many(ws->kv, keys, n, &got, &e);
	now = clock_mono_msec();
	i = 0;
	for (w = ws->looked_at; w; w = w->next) {
		bool is_answered =
			r < 0 ? settle_failure(w, &e, now)
			      : w->class->settle(w, &got.v[i], now >= w->deadline_msec);

		if (r == 0)
			w->n_failures = 0;
		if (is_answered)
			w->req = NULL;
		free(owned[i++]);
	}
}

/* The lock is held. */
static void put_back(struct waits *ws)
{
	struct waiter *w, *next;

	for (w = ws->looked_at; w; w = next) {
		next = w->next;
		DL_DELETE(ws->looked_at, w);
		if (w->req)
			DL_APPEND(ws->waiters, w);
		else
			free(w);
	}
}

/* Forgets those whose client has gone. The lock is held. */
static void prune(struct waits *ws, int64_t now)
{
	struct waiter *w, *next;
	struct err e;

	if (now < ws->prune_msec)
		return;
	ws->prune_msec = now + PRUNE_MSEC;
	err_set(&e, ERR_UNAVAILABLE, "the client has gone");
	DL_FOREACH_SAFE(ws->waiters, w, next)
	{
		if (httpd_is_open(w->req))
			continue;
		DL_DELETE(ws->waiters, w);
		httpd_answer_err(w->req, &e);
		free(w);
	}
}

/* Milliseconds until something is due. */
static int64_t next_msec(const struct waits *ws, int64_t now)
{
	int64_t at = ws->waiters ? ws->prune_msec : now + 60 * 1000;
	const struct waiter *w;

	for (w = ws->waiters; w; w = w->next) {
		int64_t due = w->is_dirty ? w->retry_msec : w->deadline_msec;

		at = due < at ? due : at;
	}
	return at > now ? at - now : 0;
}

static void *run(void *aux)
{
	struct waits *ws = aux;

	pthread_mutex_lock(&ws->lock);
	while (!ws->is_stopping) {
		int64_t now = clock_mono_msec();
		struct timespec until;
		size_t n;

		prune(ws, now);
		n = take_due(ws, now);
		if (n > 0) {
			pthread_mutex_unlock(&ws->lock);
			look(ws, n);
			pthread_mutex_lock(&ws->lock);
			put_back(ws);
			continue;
		}
		until = cond_deadline(next_msec(ws, now));
		cond_wait_until(&ws->cond, &ws->lock, &until);
	}
	pthread_mutex_unlock(&ws->lock);
	return NULL;
}

/* ---------------------------------------------------------------- public */

static double read_n_waiting(void *aux)
{
	struct waits *ws = aux;
	size_t n = 0;
	struct waiter *w;

	if (!ws)
		return 0;
	pthread_mutex_lock(&ws->lock);
	for (w = ws->waiters; w; w = w->next)
		n++;
	pthread_mutex_unlock(&ws->lock);
	return (double)n;
}

struct waits *waits_new(struct kv *kv, const struct keys *keys)
{
	struct waits *ws = xcalloc(1, sizeof(*ws));

	ws->kv = kv;
	ws->keys = keys;
	pthread_mutex_init(&ws->lock, NULL);
	cond_init(&ws->cond);
	n_waiting.aux = ws;
	metric_register(&n_waiting);
	return ws;
}

void waits_start(struct waits *ws)
{
	if (pthread_create(&ws->thread, NULL, run, ws) != 0)
		abort();
	ws->is_started = true;
}

void waits_free(struct waits *ws)
{
	struct waiter *w, *next;
	struct err e;

	if (!ws)
		return;
	n_waiting.aux = NULL;
	pthread_mutex_lock(&ws->lock);
	ws->is_stopping = true;
	pthread_cond_broadcast(&ws->cond);
	pthread_mutex_unlock(&ws->lock);
	if (ws->is_started)
		pthread_join(ws->thread, NULL);
	err_set(&e, ERR_UNAVAILABLE, "this API process is stopping: ask again");
	for (w = ws->waiters; w; w = next) {
		next = w->next;
		httpd_answer_err(w->req, &e);
		free(w);
	}
	pthread_cond_destroy(&ws->cond);
	pthread_mutex_destroy(&ws->lock);
	free(ws);
}

static size_t count_who(const struct waiter *list, const char *who)
{
	const struct waiter *w;
	size_t n = 0;

	DL_FOREACH(list, w)
	n += strcmp(w->who, who) == 0;
	return n;
}

static int too_many(struct waiter *w, struct err *e)
{
	err_set(e, ERR_TOO_MANY, "%s waits %d times already: wait for some of that first",
		w->who, WAITS_PER_USER);
	free(w);
	return -1;
}

static struct waiter *waiter_new(const struct wait_class *class, struct httpd_req *req,
	const struct who *who, const char *uuid, int64_t limit_sec)
{
	struct waiter *w = xcalloc(1, sizeof(*w));

	w->class = class;
	w->req = req;
	snprintf(w->who, sizeof(w->who), "%s@%s", who->name, who->realm);
	memcpy(w->uuid, uuid, strnlen(uuid, sizeof(w->uuid) - 1));
	w->deadline_msec = clock_mono_msec() + limit_sec * 1000;
	w->is_dirty = true;
	return w;
}

/* Takes w. */
static int park(struct waits *ws, struct waiter *w, struct err *e)
{
	bool is_full;

	w->waits = ws;
	pthread_mutex_lock(&ws->lock);
	is_full = count_who(ws->waiters, w->who) + count_who(ws->looked_at, w->who) >=
		  WAITS_PER_USER;
	if (!is_full) {
		DL_APPEND(ws->waiters, w);
		pthread_cond_signal(&ws->cond);
	}
	pthread_mutex_unlock(&ws->lock);
	return is_full ? too_many(w, e) : 0;
}

int waits_park(struct waits *ws, struct httpd_req *req, const struct who *who,
	const char *uuid, int want, int64_t limit_sec, struct err *e)
{
	struct waiter *w = waiter_new(&class_vm, req, who, uuid, limit_sec);

	w->want = want;
	return park(ws, w, e);
}

int waits_park_image(struct waits *ws, struct httpd_req *req, const struct who *who,
	const char *uuid, int want, int64_t limit_sec, struct err *e)
{
	struct waiter *w = waiter_new(&class_image, req, who, uuid, limit_sec);

	w->want = want;
	return park(ws, w, e);
}

int waits_park_network(struct waits *ws, struct httpd_req *req, const struct who *who,
	const char *uuid, int want, int64_t limit_sec, struct err *e)
{
	struct waiter *w = waiter_new(&class_network, req, who, uuid, limit_sec);

	w->want = want;
	return park(ws, w, e);
}

int waits_park_file(struct waits *ws, struct httpd_req *req, const struct who *who,
	const char *uuid, const char *sha512, int64_t limit_sec, struct err *e)
{
	struct waiter *w = waiter_new(&class_file, req, who, uuid, limit_sec);

	snprintf(w->sha512, sizeof(w->sha512), "%s", sha512);
	return park(ws, w, e);
}

static bool poke_list(struct waiter *list, const char *uuid)
{
	bool is_any = false;
	struct waiter *w;

	for (w = list; w; w = w->next) {
		if (!uuid || strcmp(w->uuid, uuid) == 0)
			w->is_dirty = is_any = true;
	}
	return is_any;
}

void waits_poke(struct waits *ws, const char *uuid)
{
	bool is_any;

	pthread_mutex_lock(&ws->lock);
	is_any = poke_list(ws->waiters, uuid);
	is_any |= poke_list(ws->looked_at, uuid);
	if (is_any)
		pthread_cond_signal(&ws->cond);
	pthread_mutex_unlock(&ws->lock);
}
