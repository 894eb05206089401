#include "ucloud-host/virt_conn.h"

#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/hash.h"
#include "ucloud-host/domxml.h"

#define KEEPALIVE_SEC	3
#define KEEPALIVE_COUNT 3
#define GET_MSEC	3000
#define CLOSE_MSEC	1000
#define REST_FIRST_MSEC 250
#define REST_MAX_MSEC	10000

/*
 *	          connected              broken
 *	TRYING --------------> UP --------------------> TRYING
 *	  |  ^
 *	  v  | time is up                               any -- close --> (thread ends)
 *	RESTING
 */
enum conn_state { CONN_TRYING, CONN_RESTING, CONN_UP };

/* A domain whose QEMU got a signal. */
struct signalled {
	char uuid[UUID_STR_SIZE];
	UT_hash_handle hh;
};

struct virt_conn {
	int refs; /* atomic: ours, the thread's, and each registered callback's */
	char *uri;

	pthread_mutex_t lock; /* all below but fn and aux */
	pthread_cond_t cond;  /* state, is_closing, is_broken, is_ended changed */
	enum conn_state state;
	virConnectPtr conn; /* while UP */
	int event_id;
	bool is_broken, is_closing, is_ended;
	char last_error[256];
	char driver[32];
	struct log_repeat repeat;
	struct signalled *signalled;

	pthread_mutex_t fn_lock; /* held during fn, which only enqueues */
	virt_event_fn *fn;
	void *aux;
};

/* ------------------------------------------------------------------ event loop */

static void hear_no_error(void *aux, virErrorPtr error)
{
	(void)aux;
	(void)error;
}

static void *run_loop(void *aux)
{
	(void)aux;
	while (virEventRunDefaultImpl() == 0)
		;
	log_error("libvirt's event loop ended");
	return NULL;
}

static void start_loop(void)
{
	pthread_t thread;

	virSetErrorFunc(NULL, hear_no_error);
	if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0 ||
		pthread_create(&thread, NULL, run_loop, NULL) != 0) {
		log_error("libvirt's event loop cannot be started");
		abort();
	}
	pthread_detach(thread);
}

/* ------------------------------------------------------------------ shared state */

static void conn_unref(struct virt_conn *c)
{
	struct signalled *s, *next;

	if (__atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (s = c->signalled; s != NULL; s = next) {
		next = s->hh.next;
		HASH_DEL(c->signalled, s);
		free(s);
	}
	pthread_mutex_destroy(&c->lock);
	pthread_mutex_destroy(&c->fn_lock);
	pthread_cond_destroy(&c->cond);
	free(c->uri);
	free(c);
}

static void conn_ref(struct virt_conn *c)
{
	__atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
}

static void unref_cb(void *c)
{
	conn_unref(c);
}

static void tell(struct virt_conn *c, const char *uuid)
{
	pthread_mutex_lock(&c->fn_lock);
	if (c->fn != NULL)
		c->fn(c->aux, uuid);
	pthread_mutex_unlock(&c->fn_lock);
}

static void timed_wait(struct virt_conn *c, int64_t until_msec)
{
	struct timespec ts = {
		.tv_sec = until_msec / 1000,
		.tv_nsec = (until_msec % 1000) * 1000000,
	};

	pthread_cond_timedwait(&c->cond, &c->lock, &ts);
}

/* On the condition's clock, which a simulated time does not replace. */
static int64_t cond_now_msec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void note_broken(struct virt_conn *c, virConnectPtr conn)
{
	pthread_mutex_lock(&c->lock);
	if (c->state == CONN_UP && c->conn == conn) {
		c->is_broken = true;
		pthread_cond_broadcast(&c->cond);
	}
	pthread_mutex_unlock(&c->lock);
}

/* ------------------------------------------------------------------ callbacks */

static void on_close(virConnectPtr conn, int reason, void *aux)
{
	(void)reason;
	note_broken(aux, conn);
}

static void set_signalled(struct virt_conn *c, const char *uuid, bool is_set)
{
	struct signalled *s;

	pthread_mutex_lock(&c->lock);
	HASH_FIND_STR(c->signalled, uuid, s);
	if (is_set && s == NULL) {
		s = xcalloc(1, sizeof(*s));
		snprintf(s->uuid, sizeof(s->uuid), "%s", uuid);
		HASH_ADD_STR(c->signalled, uuid, s);
	} else if (!is_set && s != NULL) {
		HASH_DEL(c->signalled, s);
		free(s);
	}
	pthread_mutex_unlock(&c->lock);
}

static int on_lifecycle(
	virConnectPtr conn, virDomainPtr dom, int event, int detail, void *aux)
{
	const char *name = virDomainGetName(dom);
	char uuid[VIR_UUID_STRING_BUFLEN];

	(void)conn;
	if (name == NULL || !str_has_prefix(name, DOMXML_NAME_PREFIX) ||
		virDomainGetUUIDString(dom, uuid) < 0)
		return 0;
	if (event == VIR_DOMAIN_EVENT_SHUTDOWN)
		set_signalled(aux, uuid, detail == VIR_DOMAIN_EVENT_SHUTDOWN_HOST);
	else if (event == VIR_DOMAIN_EVENT_STARTED || event == VIR_DOMAIN_EVENT_UNDEFINED)
		set_signalled(aux, uuid, false);
	tell(aux, uuid);
	return 0;
}

/* ------------------------------------------------------------------ the thread */

/* libvirt's last error in one line. */
static void last_error(char *out, size_t size)
{
	virErrorPtr error = virGetLastError();

	snprintf(out, size, "%s",
		error != NULL && error->message != NULL ? error->message
							: "no reason given");
}

/* "QEMU" as "qemu". Asked once: libvirt's client leaks when threads ask at the same time. */
static int read_driver(virConnectPtr conn, char *out, size_t size)
{
	const char *type = virConnectGetType(conn);

	if (type == NULL)
		return -1;
	snprintf(out, size, "%s", type);
	for (char *p = out; *p != '\0'; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p - 'A' + 'a');
	return 0;
}

/* Blocks; NULL when it could not be made. */
static virConnectPtr connect_now(struct virt_conn *c, int *event_id)
{
	virConnectPtr conn = virConnectOpen(c->uri);
	char driver[sizeof(c->driver)];

	if (conn == NULL)
		return NULL;
	if (read_driver(conn, driver, sizeof(driver)) < 0) {
		virConnectClose(conn);
		return NULL;
	}
	pthread_mutex_lock(&c->lock);
	memcpy(c->driver, driver, sizeof(c->driver));
	pthread_mutex_unlock(&c->lock);
	conn_ref(c);
	*event_id = virConnectDomainEventRegisterAny(conn, NULL,
		VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), c,
		unref_cb);
	if (*event_id < 0) {
		conn_unref(c);
		virConnectClose(conn);
		return NULL;
	}
	/* Neither exists with the test driver, whose connection cannot break. There the
	 * release function would never be called; disconnect() comes before the end of c. */
	if (virConnectRegisterCloseCallback(conn, on_close, c, NULL) < 0 ||
		virConnectSetKeepAlive(conn, KEEPALIVE_SEC, KEEPALIVE_COUNT) < 0)
		virResetLastError();
	return conn;
}

static void disconnect(virConnectPtr conn, int event_id)
{
	virConnectDomainEventDeregisterAny(conn, event_id);
	virConnectUnregisterCloseCallback(conn, on_close);
	virConnectClose(conn);
	virResetLastError();
}

/* With the lock held. */
static void note_failed(struct virt_conn *c, const char *why, int64_t *rest_msec)
{
	int64_t until = cond_now_msec() + *rest_msec;

	snprintf(c->last_error, sizeof(c->last_error), "%s", why);
	log_repeat(
		&c->repeat, LOG_WARN, "libvirt does not answer: %s uri=%s", why, c->uri);
	c->state = CONN_RESTING;
	pthread_cond_broadcast(&c->cond);
	while (!c->is_closing && cond_now_msec() < until)
		timed_wait(c, until);
	*rest_msec = *rest_msec * 2 < REST_MAX_MSEC ? *rest_msec * 2 : REST_MAX_MSEC;
	c->state = CONN_TRYING;
}

/* TRYING to UP, or to the end; with the lock held. */
static void become_up(struct virt_conn *c)
{
	int64_t rest_msec = REST_FIRST_MSEC;

	while (!c->is_closing) {
		virConnectPtr conn;
		int event_id = -1;
		char why[256] = "";

		pthread_mutex_unlock(&c->lock);
		conn = connect_now(c, &event_id);
		if (conn == NULL)
			last_error(why, sizeof(why));
		pthread_mutex_lock(&c->lock);
		if (conn == NULL) {
			note_failed(c, why, &rest_msec);
			continue;
		}
		c->conn = conn;
		c->event_id = event_id;
		c->is_broken = false;
		c->state = CONN_UP;
		c->last_error[0] = '\0';
		log_repeat_end(&c->repeat, "libvirt answers again uri=%s", c->uri);
		pthread_cond_broadcast(&c->cond);
		return;
	}
}

static void *run_conn(void *aux)
{
	struct virt_conn *c = aux;

	pthread_mutex_lock(&c->lock);
	while (!c->is_closing) {
		virConnectPtr conn;

		become_up(c);
		if (c->conn == NULL)
			break;
		pthread_mutex_unlock(&c->lock);
		tell(c, NULL);
		pthread_mutex_lock(&c->lock);
		while (!c->is_closing && !c->is_broken)
			pthread_cond_wait(&c->cond, &c->lock);
		conn = MOVE(c->conn);
		c->state = CONN_TRYING;
		if (!c->is_closing)
			log_warn("the connection to libvirt broke uri=%s", c->uri);
		pthread_mutex_unlock(&c->lock);
		disconnect(conn, c->event_id);
		pthread_mutex_lock(&c->lock);
	}
	c->is_ended = true;
	pthread_cond_broadcast(&c->cond);
	pthread_mutex_unlock(&c->lock);
	conn_unref(c);
	return NULL;
}

/* ------------------------------------------------------------------ public */

struct virt_conn *virt_conn_open(const char *uri, virt_event_fn *fn, void *aux)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct virt_conn *c = xcalloc(1, sizeof(*c));
	pthread_condattr_t attr;
	pthread_t thread;

	pthread_once(&once, start_loop);
	c->refs = 2;
	c->uri = xstrdup(uri);
	c->fn = fn;
	c->aux = aux;
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->fn_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->cond, &attr);
	pthread_condattr_destroy(&attr);
	if (pthread_create(&thread, NULL, run_conn, c) != 0)
		abort();
	pthread_detach(thread);
	return c;
}

void virt_conn_set_event(struct virt_conn *c, virt_event_fn *fn, void *aux)
{
	pthread_mutex_lock(&c->fn_lock);
	c->fn = fn;
	c->aux = aux;
	pthread_mutex_unlock(&c->fn_lock);
}

/* The thread is waited for, unless it hangs in connecting to a libvirtd that accepts and says
 * nothing; then it lets go by itself when that ends. */
void virt_conn_close(struct virt_conn *c)
{
	int64_t until = cond_now_msec() + CLOSE_MSEC;

	if (c == NULL)
		return;
	virt_conn_set_event(c, NULL, NULL);
	pthread_mutex_lock(&c->lock);
	c->is_closing = true;
	pthread_cond_broadcast(&c->cond);
	while (!c->is_ended && cond_now_msec() < until)
		timed_wait(c, until);
	pthread_mutex_unlock(&c->lock);
	conn_unref(c);
}

virConnectPtr virt_conn_get(struct virt_conn *c, struct err *e)
{
	int64_t until = cond_now_msec() + GET_MSEC;
	virConnectPtr conn = NULL;

	pthread_mutex_lock(&c->lock);
	while (c->state == CONN_TRYING && !c->is_closing && cond_now_msec() < until)
		timed_wait(c, until);
	if (c->state == CONN_UP && !c->is_broken && virConnectRef(c->conn) == 0)
		conn = c->conn;
	else
		err_set(e, ERR_UNAVAILABLE, "libvirt does not answer: %s",
			c->last_error[0] != '\0' ? c->last_error : c->uri);
	pthread_mutex_unlock(&c->lock);
	return conn;
}

void virt_conn_put(virConnectPtr *conn)
{
	if (*conn != NULL)
		virConnectClose(*conn);
}

void virt_conn_driver(struct virt_conn *c, char *out, size_t size)
{
	pthread_mutex_lock(&c->lock);
	snprintf(out, size, "%s", c->driver);
	pthread_mutex_unlock(&c->lock);
}

bool virt_conn_was_signal(struct virt_conn *c, const char *uuid)
{
	struct signalled *s;

	pthread_mutex_lock(&c->lock);
	HASH_FIND_STR(c->signalled, uuid, s);
	pthread_mutex_unlock(&c->lock);
	return s != NULL;
}

/* ------------------------------------------------------------------ errors */

static enum err_kind kind_of(int code)
{
	switch (code) {
	case VIR_ERR_XML_ERROR:
	case VIR_ERR_XML_DETAIL:
	case VIR_ERR_XML_INVALID_SCHEMA:
	case VIR_ERR_CONFIG_UNSUPPORTED:
	case VIR_ERR_ARGUMENT_UNSUPPORTED:
	case VIR_ERR_NO_SUPPORT:
		return ERR_UNSUPPORTED;
	case VIR_ERR_OPERATION_TIMEOUT:
		return ERR_TIMEOUT;
	case VIR_ERR_NO_CONNECT:
	case VIR_ERR_INVALID_CONN:
	case VIR_ERR_AUTH_FAILED:
	case VIR_ERR_ACCESS_DENIED:
	case VIR_ERR_NO_MEMORY:
		return ERR_UNAVAILABLE;
	default:
		return ERR_IO;
	}
}

int virt_conn_failed(
	struct virt_conn *c, virConnectPtr conn, struct err *e, const char *what)
{
	virErrorPtr error = virGetLastError();
	enum err_kind kind = kind_of(error == NULL ? VIR_ERR_OK : error->code);
	char text[512];

	last_error(text, sizeof(text));
	if (virConnectIsAlive(conn) == 0) {
		kind = ERR_UNAVAILABLE;
		note_broken(c, conn);
	}
	return err_set(e, kind, "libvirt cannot %s: %s", what, text);
}
