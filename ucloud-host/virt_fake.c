#include "ucloud-host/virt_fake.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "ucloud-host/domxml.h"
#include "ucloud-host/virt_fake_impl.h"

#define URI_PREFIX "fake:"

/* All there are, by name: the one thing that virt_open() has to go by. */
static struct {
	pthread_mutex_t lock;
	struct fake_hyper *first;
} registry = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct fake_hyper *fake_hyper_new(const char *name, int64_t cpus, int64_t ram_mib)
{
	struct fake_hyper *h = xcalloc(1, sizeof(*h));

	h->name = xstrdup(name);
	h->node = (struct virt_node){ .cpus = cpus, .ram_mib = ram_mib };
	pthread_mutex_init(&h->lock, NULL);
	pthread_mutex_lock(&registry.lock);
	h->next = registry.first;
	registry.first = h;
	pthread_mutex_unlock(&registry.lock);
	return h;
}

static void unregister(struct fake_hyper *h)
{
	pthread_mutex_lock(&registry.lock);
	for (struct fake_hyper **p = &registry.first; *p != NULL; p = &(*p)->next)
		if (*p == h) {
			*p = h->next;
			break;
		}
	pthread_mutex_unlock(&registry.lock);
}

static void fdom_free(struct fake_hyper *h, struct fdom *f)
{
	HASH_DEL(h->doms, f);
	free(f->name);
	free(f->store);
	free(f);
}

void fake_hyper_free(struct fake_hyper *h)
{
	struct fdom *f, *next;

	if (h == NULL)
		return;
	assert(h->n_clients == 0);
	unregister(h);
	for (f = h->doms; f != NULL; f = next) {
		next = f->hh.next;
		fdom_free(h, f);
	}
	pthread_mutex_destroy(&h->lock);
	free(h->clients);
	strv_done(&h->secrets);
	free(h->name);
	free(h);
}

/* ------------------------------------------------------------------ inside */

/* Tells the clients; without the lock. */
static void tell(struct fake_hyper *h, const char *uuid)
{
	struct virt *clients[8];
	size_t n;

	pthread_mutex_lock(&h->lock);
	n = h->fault.loses_events ? 0 : h->n_clients;
	assert(n <= ARRAY_LEN(clients));
	for (size_t i = 0; i < n; i++)
		clients[i] = h->clients[i];
	pthread_mutex_unlock(&h->lock);
	for (size_t i = 0; i < n; i++) {
		pthread_mutex_lock(&clients[i]->fn_lock);
		if (clients[i]->fn != NULL)
			clients[i]->fn(clients[i]->aux, uuid);
		pthread_mutex_unlock(&clients[i]->fn_lock);
	}
}

struct fdom *virt_fake_find(struct fake_hyper *h, const char *uuid)
{
	struct fdom *f;

	HASH_FIND_STR(h->doms, uuid, f);
	return f != NULL && f->is_defined ? f : NULL;
}

static struct fdom *find_or_add(struct fake_hyper *h, const char *uuid)
{
	struct fdom *f;

	HASH_FIND_STR(h->doms, uuid, f);
	if (f == NULL) {
		f = xcalloc(1, sizeof(*f));
		snprintf(f->d.uuid, sizeof(f->d.uuid), "%s", uuid);
		HASH_ADD_KEYPTR(hh, h->doms, f->d.uuid, strlen(f->d.uuid), f);
	}
	return f;
}

bool virt_fake_is_on(const struct fdom *f)
{
	return f->d.state != VIRT_ABSENT && f->d.state != VIRT_OFF;
}

static void turn_off(struct fdom *f, enum virt_off off)
{
	f->d.state = VIRT_OFF;
	f->d.off = off;
	f->off_at_msec = 0;
	virt_fake_disks_off(f);
	virt_fake_nics_off(f);
}

static bool end_by(struct fake_hyper *h, const char *uuid, enum virt_off off)
{
	struct fdom *f;
	bool was_on;

	pthread_mutex_lock(&h->lock);
	f = virt_fake_find(h, uuid);
	was_on = f != NULL && virt_fake_is_on(f);
	if (was_on)
		turn_off(f, off);
	pthread_mutex_unlock(&h->lock);
	if (was_on)
		tell(h, uuid);
	return was_on;
}

/* ------------------------------------------------------------------ driving */

bool fake_hyper_step(struct fake_hyper *h)
{
	int64_t now = clock_mono_msec();
	CLEANUP(strv_done) struct strv off = { 0 };
	CLEANUP(strv_done) struct strv let_go = { 0 };
	struct fdom *f;

	pthread_mutex_lock(&h->lock);
	for (f = h->doms; f != NULL; f = f->hh.next) {
		if (f->off_at_msec != 0 && f->off_at_msec <= now)
			strv_add(&off, f->d.uuid);
		bool has_let_go = virt_fake_disks_let_go(f, now);

		has_let_go |= virt_fake_nics_let_go(f, now);
		if (has_let_go)
			strv_add(&let_go, f->d.uuid);
	}
	pthread_mutex_unlock(&h->lock);
	for (size_t i = 0; i < off.len; i++)
		end_by(h, off.v[i], VIRT_OFF_GUEST);
	for (size_t i = 0; i < let_go.len; i++)
		tell(h, let_go.v[i]);
	return off.len > 0 || let_go.len > 0;
}

/* The earlier of `first` (< 0 none) and how long it is until `at` (0 never). */
static int64_t sooner(int64_t first, int64_t at, int64_t now)
{
	int64_t in = at > now ? at - now : 0;

	return at != 0 && (first < 0 || in < first) ? in : first;
}

int64_t fake_hyper_next_msec(struct fake_hyper *h)
{
	int64_t now = clock_mono_msec(), first = -1;
	struct fdom *f;

	pthread_mutex_lock(&h->lock);
	for (f = h->doms; f != NULL; f = f->hh.next) {
		first = sooner(first, f->off_at_msec, now);
		for (unsigned i = 0; i < VIRT_DISKS_MAX; i++)
			first = sooner(first, f->let_go_msec[i], now);
		for (size_t i = 0; i < FAKE_NICS_MAX; i++)
			first = sooner(first, f->nics[i].let_go_msec, now);
	}
	pthread_mutex_unlock(&h->lock);
	return first;
}

bool fake_hyper_guest_off(struct fake_hyper *h, const char *uuid)
{
	return end_by(h, uuid, VIRT_OFF_GUEST);
}

bool fake_hyper_crash(struct fake_hyper *h, const char *uuid)
{
	return end_by(h, uuid, VIRT_OFF_CRASHED);
}

bool fake_hyper_pause(struct fake_hyper *h, const char *uuid)
{
	struct fdom *f;
	bool was_on;

	pthread_mutex_lock(&h->lock);
	f = virt_fake_find(h, uuid);
	was_on = f != NULL && virt_fake_is_on(f);
	if (was_on)
		f->d.state = VIRT_PAUSED;
	pthread_mutex_unlock(&h->lock);
	if (was_on)
		tell(h, uuid);
	return was_on;
}

static void undefine(struct fdom *f)
{
	turn_off(f, VIRT_OFF_UNKNOWN);
	f->d.state = VIRT_ABSENT;
	f->is_defined = false;
}

bool fake_hyper_vanish(struct fake_hyper *h, const char *uuid)
{
	struct fdom *f;

	pthread_mutex_lock(&h->lock);
	f = virt_fake_find(h, uuid);
	if (f != NULL)
		undefine(f);
	pthread_mutex_unlock(&h->lock);
	return f != NULL;
}

void fake_hyper_reboot(struct fake_hyper *h)
{
	struct fdom *f;

	pthread_mutex_lock(&h->lock);
	for (f = h->doms; f != NULL; f = f->hh.next)
		if (f->is_defined)
			turn_off(f, VIRT_OFF_UNKNOWN);
	pthread_mutex_unlock(&h->lock);
	tell(h, NULL);
}

void fake_hyper_reconnect(struct fake_hyper *h)
{
	tell(h, NULL);
}

void fake_hyper_add_foreign(struct fake_hyper *h, const char *uuid, const char *name)
{
	struct fdom *f;

	pthread_mutex_lock(&h->lock);
	f = find_or_add(h, uuid);
	f->is_defined = true;
	f->d.is_foreign = true;
	f->d.state = VIRT_RUNNING;
	str_set(&f->name, xstrdup(name));
	pthread_mutex_unlock(&h->lock);
}

void fake_hyper_set_fault(struct fake_hyper *h, const struct fake_hyper_fault *fault)
{
	pthread_mutex_lock(&h->lock);
	h->fault = *fault;
	pthread_mutex_unlock(&h->lock);
}

bool fake_hyper_get(struct fake_hyper *h, const char *uuid, struct virt_dom *out)
{
	struct fdom *f;

	pthread_mutex_lock(&h->lock);
	f = virt_fake_find(h, uuid);
	if (f != NULL)
		*out = f->d;
	pthread_mutex_unlock(&h->lock);
	return f != NULL;
}

static size_t count(struct fake_hyper *h, bool only_on)
{
	struct fdom *f;
	size_t n = 0;

	pthread_mutex_lock(&h->lock);
	for (f = h->doms; f != NULL; f = f->hh.next)
		n += f->is_defined && (!only_on || virt_fake_is_on(f));
	pthread_mutex_unlock(&h->lock);
	return n;
}

size_t fake_hyper_n_domains(struct fake_hyper *h)
{
	return count(h, false);
}

size_t fake_hyper_n_running(struct fake_hyper *h)
{
	return count(h, true);
}

uint64_t fake_hyper_n_starts(struct fake_hyper *h, const char *uuid)
{
	struct fdom *f;
	uint64_t n;

	pthread_mutex_lock(&h->lock);
	HASH_FIND_STR(h->doms, uuid, f);
	n = f == NULL ? 0 : f->n_starts;
	pthread_mutex_unlock(&h->lock);
	return n;
}

void fake_hyper_list_running(struct fake_hyper *h, struct strv *uuids)
{
	struct fdom *f;

	pthread_mutex_lock(&h->lock);
	for (f = h->doms; f != NULL; f = f->hh.next)
		if (f->is_defined && !f->d.is_foreign && virt_fake_is_on(f))
			strv_add(uuids, f->d.uuid);
	pthread_mutex_unlock(&h->lock);
}

/* ------------------------------------------------------------------ virt.h */

int virt_open(
	const char *uri, virt_event_fn *fn, void *aux, struct virt **out, struct err *e)
{
	struct fake_hyper *h = NULL;
	struct virt *v;

	if (str_has_prefix(uri, URI_PREFIX)) {
		pthread_mutex_lock(&registry.lock);
		h = registry.first;
		while (h != NULL && strcmp(h->name, uri + strlen(URI_PREFIX)) != 0)
			h = h->next;
		pthread_mutex_unlock(&registry.lock);
	}
	if (h == NULL)
		return err_set_field(e, ERR_INVALID, "libvirt_uri",
			"there is no fake hypervisor '%s'", uri);
	v = xcalloc(1, sizeof(*v));
	v->h = h;
	v->fn = fn;
	v->aux = aux;
	pthread_mutex_init(&v->fn_lock, NULL);
	pthread_mutex_lock(&h->lock);
	h->clients = xreallocarray(h->clients, h->n_clients + 1, sizeof(struct virt *));
	h->clients[h->n_clients++] = v;
	pthread_mutex_unlock(&h->lock);
	*out = v;
	return 0;
}

void virt_set_event(struct virt *v, virt_event_fn *fn, void *aux)
{
	pthread_mutex_lock(&v->fn_lock);
	v->fn = fn;
	v->aux = aux;
	pthread_mutex_unlock(&v->fn_lock);
}

void virt_close(struct virt *v)
{
	struct fake_hyper *h;

	if (v == NULL)
		return;
	h = v->h;
	pthread_mutex_lock(&h->lock);
	for (size_t i = 0; i < h->n_clients; i++)
		if (h->clients[i] == v) {
			h->clients[i] = h->clients[--h->n_clients];
			break;
		}
	pthread_mutex_unlock(&h->lock);
	pthread_mutex_destroy(&v->fn_lock);
	free(v);
}

static int unavailable(struct err *e, const char *call)
{
	return err_set(e, ERR_UNAVAILABLE, "libvirt does not answer: %s", call);
}

/* Before a call: *is_lost says that its answer does not arrive. */
static int begin(struct virt *v, const char *call, bool *is_lost, struct err *e)
{
	struct fake_hyper_fault fault;
	int rc;

	pthread_mutex_lock(&v->h->lock);
	fault = v->h->fault;
	pthread_mutex_unlock(&v->h->lock);
	if (fault.call_msec > 0) {
		struct timespec ts = { .tv_sec = fault.call_msec / 1000,
			.tv_nsec = fault.call_msec % 1000 * 1000000 };

		nanosleep(&ts, NULL);
	}
	rc = fault.is_down	     ? 1
	     : fault.on_call != NULL ? fault.on_call(fault.aux, call)
				     : 0;
	*is_lost = rc == 2;
	return rc == 1 ? unavailable(e, call) : 0;
}

static struct fdom *find_namesake(struct fake_hyper *h, const char *uuid)
{
	CLEANUP_STR char *name = xasprintf(DOMXML_NAME_PREFIX "%s", uuid);
	struct fdom *f;

	for (f = h->doms; f != NULL; f = f->hh.next)
		if (f->is_defined && f->name != NULL && strcmp(f->name, name) == 0)
			return f;
	return NULL;
}

int virt_get(struct virt *v, const char *uuid, struct virt_dom *out, struct err *e)
{
	struct virt_dom got = { 0 };
	struct fdom *f;
	bool is_lost;

	if (begin(v, "get", &is_lost, e) < 0)
		return -1;
	pthread_mutex_lock(&v->h->lock);
	f = virt_fake_find(v->h, uuid);
	if (f == NULL && (f = find_namesake(v->h, uuid)) != NULL)
		f->d.is_foreign = true;
	if (f != NULL)
		got = f->d;
	pthread_mutex_unlock(&v->h->lock);
	if (is_lost)
		return unavailable(e, "get");
	snprintf(got.uuid, sizeof(got.uuid), "%s", uuid);
	*out = got;
	return 0;
}

int virt_list(struct virt *v, struct virt_list *out, struct err *e)
{
	struct virt_list list = { 0 };
	struct fdom *f;
	bool is_lost;

	if (begin(v, "list", &is_lost, e) < 0)
		return -1;
	if (is_lost)
		return unavailable(e, "list");
	pthread_mutex_lock(&v->h->lock);
	for (f = v->h->doms; f != NULL; f = f->hh.next)
		if (f->is_defined && !f->d.is_foreign) {
			list.v = xreallocarray(list.v, list.len + 1, sizeof(*list.v));
			list.v[list.len++] = f->d;
		}
	pthread_mutex_unlock(&v->h->lock);
	*out = list;
	return 0;
}

void virt_list_done(struct virt_list *l)
{
	free(l->v);
	*l = (struct virt_list){ 0 };
}

static int refuse_foreign(struct err *e, const char *uuid)
{
	return err_set(
		e, ERR_CONFLICT, "the libvirt domain with uuid %s is not ucloud's", uuid);
}

int virt_fake_change(struct virt *v, const char *call, const char *uuid,
	virt_fake_change_fn *fn, void *aux, struct err *e)
{
	bool is_lost, is_event = false;
	struct fdom *f;
	int rc;

	if (begin(v, call, &is_lost, e) < 0)
		return -1;
	pthread_mutex_lock(&v->h->lock);
	f = virt_fake_find(v->h, uuid);
	if (f != NULL && f->d.is_foreign)
		rc = refuse_foreign(e, uuid);
	else
		rc = fn(v->h, uuid, aux, &is_event, e);
	pthread_mutex_unlock(&v->h->lock);
	if (is_event)
		tell(v->h, uuid);
	if (rc == 0 && is_lost)
		return unavailable(e, call);
	return rc;
}

int virt_define(struct virt *v, const char *xml, struct err *e)
{
	struct domxml_id id;
	struct fdom *f;
	bool is_lost;
	int rc = 0;

	if (domxml_read_id(xml, &id, e) < 0 || begin(v, "define", &is_lost, e) < 0)
		return -1;
	pthread_mutex_lock(&v->h->lock);
	f = virt_fake_find(v->h, id.uuid);
	if (f != NULL && f->d.is_foreign) {
		rc = refuse_foreign(e, id.uuid);
	} else {
		f = find_or_add(v->h, id.uuid);
		if (!f->is_defined) {
			f->is_defined = true;
			f->d.is_foreign = !id.has_metadata;
			turn_off(f, VIRT_OFF_UNKNOWN);
		}
		/* What runs keeps what it was started with. */
		if (!virt_fake_is_on(f)) {
			f->d.boot = id.boot;
			memcpy(f->d.host, id.host, sizeof(f->d.host));
		}
		str_set(&f->name, xstrdup(id.name));
		virt_fake_disks_define(f, xml);
		virt_fake_nics_define(f, xml);
	}
	pthread_mutex_unlock(&v->h->lock);
	return rc == 0 && is_lost ? unavailable(e, "define") : rc;
}

static int do_start(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e)
{
	struct fdom *f = virt_fake_find(h, uuid);

	(void)aux;
	if (f == NULL)
		return err_set(e, ERR_UNAVAILABLE,
			"there is no libvirt domain %s to start", uuid);
	if (virt_fake_is_on(f))
		return 0;
	f->d.state = VIRT_RUNNING;
	f->d.off = VIRT_OFF_UNKNOWN;
	f->off_at_msec = 0;
	f->n_starts++;
	virt_fake_disks_on(f);
	virt_fake_nics_on(f);
	*is_event = true;
	return 0;
}

static int do_shutdown(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e)
{
	struct fdom *f = virt_fake_find(h, uuid);

	(void)aux;
	(void)e;
	if (f == NULL || f->d.state != VIRT_RUNNING || h->fault.ignores_shutdown)
		return 0;
	if (h->fault.shutdown_msec > 0) {
		if (f->off_at_msec == 0)
			f->off_at_msec = clock_mono_msec() + h->fault.shutdown_msec;
		return 0;
	}
	turn_off(f, VIRT_OFF_GUEST);
	*is_event = true;
	return 0;
}

static int do_resume(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e)
{
	struct fdom *f = virt_fake_find(h, uuid);

	(void)aux;
	(void)e;
	if (f != NULL && f->d.state == VIRT_PAUSED) {
		f->d.state = VIRT_RUNNING;
		*is_event = true;
	}
	return 0;
}

static int do_pause(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e)
{
	struct fdom *f = virt_fake_find(h, uuid);

	(void)aux;
	if (f == NULL || !virt_fake_is_on(f))
		return err_set(e, ERR_CONFLICT, "the libvirt domain %s is off", uuid);
	*is_event = f->d.state == VIRT_RUNNING;
	f->d.state = VIRT_PAUSED;
	return 0;
}

static int do_destroy(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e)
{
	struct fdom *f = virt_fake_find(h, uuid);

	(void)aux;
	(void)e;
	if (f != NULL && virt_fake_is_on(f)) {
		turn_off(f, VIRT_OFF_DESTROYED);
		*is_event = true;
	}
	return 0;
}

static int do_undefine(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e)
{
	struct fdom *f = virt_fake_find(h, uuid);

	(void)aux;
	if (f == NULL)
		return 0;
	if (virt_fake_is_on(f))
		return err_set(
			e, ERR_UNAVAILABLE, "the libvirt domain %s is not off", uuid);
	undefine(f);
	*is_event = true;
	return 0;
}

int virt_start(struct virt *v, const char *uuid, struct err *e)
{
	return virt_fake_change(v, "start", uuid, do_start, NULL, e);
}

int virt_shutdown(struct virt *v, const char *uuid, struct err *e)
{
	return virt_fake_change(v, "shutdown", uuid, do_shutdown, NULL, e);
}

int virt_resume(struct virt *v, const char *uuid, struct err *e)
{
	return virt_fake_change(v, "resume", uuid, do_resume, NULL, e);
}

int virt_pause(struct virt *v, const char *uuid, struct err *e)
{
	return virt_fake_change(v, "pause", uuid, do_pause, NULL, e);
}

int virt_destroy(struct virt *v, const char *uuid, struct err *e)
{
	return virt_fake_change(v, "destroy", uuid, do_destroy, NULL, e);
}

int virt_undefine(struct virt *v, const char *uuid, struct err *e)
{
	return virt_fake_change(v, "undefine", uuid, do_undefine, NULL, e);
}

int virt_node(struct virt *v, struct virt_node *out, struct err *e)
{
	bool is_lost;

	if (begin(v, "node", &is_lost, e) < 0)
		return -1;
	*out = v->h->node;
	return 0;
}

int virt_driver(struct virt *v, char *out, size_t size, struct err *e)
{
	bool is_lost;

	if (begin(v, "driver", &is_lost, e) < 0)
		return -1;
	snprintf(out, size, "fake");
	return 0;
}
