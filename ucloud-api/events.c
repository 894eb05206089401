#include "ucloud-api/events.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>
#include <utlist.h>

#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "common/model/file.h"
#include "common/model/host.h"
#include "common/model/image.h"
#include "common/model/network.h"
#include "common/store/watch.h"

enum { N_FEEDS = 5 };

struct stream {
	struct httpd_stream *http;
	char *name, *realm;
	bool is_admin;
	int64_t expires;
	char *session; /* its key, NULL none */
	struct stream *prev, *next;
};

/* An entry, as far as streams need it. */
struct entry {
	json_t *json;	     /* as users see it */
	char *owner, *realm; /* NULL: admins only */
	bool is_public;
};

struct kind {
	const char *name; /* "vm" */
	const char *id;	  /* "uuid" */
	bool is_waited;	  /* requests may wait for one */
	int (*parse)(const struct kv_pair *p, struct entry *out);
};

/* One watch. */
struct feed {
	struct events *ev;
	const struct kind *kind;
	char *prefix;
	struct watch *watch;
};

struct events {
	struct waits *waits;
	struct feed feeds[N_FEEDS];
	pthread_mutex_t lock;
	struct stream *streams;
};

static double read_n_streams(void *aux);
static struct metric n_streams = { METRIC_GAUGE, "ucloud_api_streams",
	"Clients that follow /v1/events.", .read = read_n_streams };

/* ---------------------------------------------------------------- kinds */

static int parse_vm(const struct kv_pair *p, struct entry *out)
{
	CLEANUP(vm_done) struct vm vm = { 0 };

	if (vm_parse(p->value, p->value_size, &vm, NULL) < 0)
		return -1;
	out->json = vm_json(&vm);
	out->owner = MOVE(vm.owner);
	out->realm = MOVE(vm.owner_realm);
	return 0;
}

static int parse_image(const struct kv_pair *p, struct entry *out)
{
	CLEANUP(image_done) struct image im = { 0 };

	if (image_parse(p->value, p->value_size, &im, NULL) < 0)
		return -1;
	out->json = jtab_format_public(&image_jtab, &im);
	out->is_public = im.is_public;
	out->owner = MOVE(im.owner);
	out->realm = MOVE(im.owner_realm);
	return 0;
}

static int parse_host(const struct kv_pair *p, struct entry *out)
{
	CLEANUP(host_done) struct host h = { 0 };

	if (host_parse(p->value, p->value_size, &h, NULL) < 0)
		return -1;
	out->json = jtab_format_public(&host_jtab, &h);
	return 0;
}

static int parse_file(const struct kv_pair *p, struct entry *out)
{
	CLEANUP(file_done) struct file f = { 0 };

	if (file_parse(p->value, p->value_size, &f, NULL) < 0)
		return -1;
	out->json = jtab_format_public(&file_jtab, &f);
	out->owner = MOVE(f.owner);
	out->realm = MOVE(f.owner_realm);
	return 0;
}

static int parse_network(const struct kv_pair *p, struct entry *out)
{
	CLEANUP(network_done) struct network n = { 0 };

	if (network_parse(p->value, p->value_size, &n, NULL) < 0)
		return -1;
	out->json = jtab_format_public(&network_jtab, &n);
	out->owner = MOVE(n.owner);
	out->realm = MOVE(n.owner_realm);
	return 0;
}

static const struct kind kinds[N_FEEDS] = {
	{ "vm", "uuid", true, parse_vm },
	{ "image", "uuid", true, parse_image },
	{ "host", "hostname", false, parse_host },
	{ "file", "uuid", true, parse_file },
	{ "network", "uuid", true, parse_network },
};

static void entry_done(struct entry *en)
{
	json_decref(en->json);
	free(en->owner);
	free(en->realm);
}

/* ---------------------------------------------------------------- streams */

static void stream_free(struct events *ev, struct stream *s)
{
	assert(s->prev == s || s->next || s != ev->streams); /* it is in the list */
	DL_DELETE(ev->streams, s);
	httpd_stream_close(s->http);
	free(s->name);
	free(s->realm);
	free(s->session);
	free(s);
}

/* Ends it when it does not take any more. The lock is held, as below. */
static void stream_send(struct events *ev, struct stream *s, const struct buf *text)
{
	if ((s->expires && clock_unix_sec() >= s->expires) ||
		!httpd_stream_send(s->http, text->s, text->size))
		stream_free(ev, s);
}

static bool may_see(const struct stream *s, const struct entry *en)
{
	return s->is_admin || en->is_public ||
	       (str_eq(s->name, en->owner) && str_eq(s->realm, en->realm));
}

static void event_text(struct buf *out, const struct kind *kind, const struct kv_event *e,
	struct entry *en)
{
	json_t *json = json_pack("{s:s, s:O}", "change", e->is_delete ? "delete" : "put",
		kind->id, json_object_get(en->json, kind->id));
	char *text;

	if (!e->is_delete)
		json_object_set(json, kind->name, en->json);
	text = json_dumps(json, JSON_COMPACT);
	buf_addf(out, "event: %s\nid: %lld\ndata: %s\n\n", kind->name,
		(long long)e->pair.mod_rev, text ? text : "{}");
	free(text);
	json_decref(json);
}

static void tell(struct events *ev, const struct kind *kind, const struct kv_event *e)
{
	CLEANUP(entry_done) struct entry en = { 0 };
	CLEANUP(buf_done) struct buf text = { 0 };
	const struct kv_pair *p = e->is_delete ? &e->prev : &e->pair;
	struct stream *s, *next;

	if (!p->key || kind->parse(p, &en) < 0)
		return;
	event_text(&text, kind, e, &en);
	for (s = ev->streams; s; s = next) {
		next = s->next;
		if (may_see(s, &en))
			stream_send(ev, s, &text);
	}
}

static void tell_reset(struct events *ev)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	struct stream *s, *next;

	buf_add_str(&text, "event: reset\ndata: {}\n\n");
	pthread_mutex_lock(&ev->lock);
	for (s = ev->streams; s; s = next) {
		next = s->next;
		stream_send(ev, s, &text);
	}
	pthread_mutex_unlock(&ev->lock);
}

/* ---------------------------------------------------------------- the watches */

static void on_list_begin(void *aux)
{
	(void)aux;
}

static void on_list_page(void *aux, const struct kv_list *page)
{
	(void)aux;
	(void)page;
}

/* The watch stands, perhaps after a gap: nobody knows what was missed. */
static void on_list_end(void *aux, int64_t rev)
{
	struct feed *f = aux;

	(void)rev;
	if (f->kind->is_waited)
		waits_poke(f->ev->waits, NULL);
	tell_reset(f->ev);
}

static void on_change(void *aux, const struct kv_events *events)
{
	struct feed *f = aux;
	struct events *ev = f->ev;

	for (size_t i = 0; i < events->len; i++) {
		const struct kv_event *e = &events->v[i];

		if (f->kind->is_waited)
			waits_poke(ev->waits, e->pair.key + strlen(f->prefix));
		pthread_mutex_lock(&ev->lock);
		if (ev->streams)
			tell(ev, f->kind, e);
		pthread_mutex_unlock(&ev->lock);
	}
}

static const struct watch_sink sink = { on_list_begin, on_list_page, on_list_end,
	on_change };

/* ---------------------------------------------------------------- public */

static double read_n_streams(void *aux)
{
	struct events *ev = aux;
	struct stream *s;
	size_t n = 0;

	if (!ev)
		return 0;
	pthread_mutex_lock(&ev->lock);
	for (s = ev->streams; s; s = s->next)
		n++;
	pthread_mutex_unlock(&ev->lock);
	return (double)n;
}

struct events *events_new(struct kv *kv, const struct keys *keys, struct waits *waits)
{
	struct events *ev = xcalloc(1, sizeof(*ev));
	const char *prefixes[N_FEEDS] = { keys->vm, keys->image, keys->host, keys->file,
		keys->network };

	ev->waits = waits;
	pthread_mutex_init(&ev->lock, NULL);
	for (size_t i = 0; i < N_FEEDS; i++) {
		struct feed *f = &ev->feeds[i];
		struct watch_conf conf = {
			.prefix = prefixes[i], .is_tail = true, .want_prev = true
		};

		*f = (struct feed){ ev, &kinds[i], xstrdup(prefixes[i]), NULL };
		f->watch = watch_new(kv, &conf, &sink, f);
	}
	n_streams.aux = ev;
	metric_register(&n_streams);
	return ev;
}

void events_start(struct events *ev)
{
	for (size_t i = 0; i < N_FEEDS; i++)
		watch_start(ev->feeds[i].watch);
}

void events_stop(struct events *ev)
{
	for (size_t i = 0; i < N_FEEDS; i++)
		watch_stop_soon(ev->feeds[i].watch);
	for (size_t i = 0; i < N_FEEDS; i++)
		watch_stop(ev->feeds[i].watch);
}

void events_free(struct events *ev)
{
	if (!ev)
		return;
	n_streams.aux = NULL;
	for (size_t i = 0; i < N_FEEDS; i++) {
		watch_free(ev->feeds[i].watch);
		free(ev->feeds[i].prefix);
	}
	while (ev->streams)
		stream_free(ev, ev->streams);
	pthread_mutex_destroy(&ev->lock);
	free(ev);
}

void events_end_session(void *aux, const char *session)
{
	struct events *ev = aux;
	struct stream *s, *next;

	pthread_mutex_lock(&ev->lock);
	DL_FOREACH_SAFE(ev->streams, s, next)
	{
		if (s->session && (!session || strcmp(s->session, session) == 0))
			stream_free(ev, s);
	}
	pthread_mutex_unlock(&ev->lock);
}

/* Forgets those whose client has gone. The lock is held. */
static size_t count_of(struct events *ev, const struct who *who)
{
	struct stream *s, *next;
	size_t n = 0;

	DL_FOREACH_SAFE(ev->streams, s, next)
	{
		if (!httpd_stream_is_open(s->http))
			stream_free(ev, s);
		else
			n += str_eq(s->name, who->name) && str_eq(s->realm, who->realm);
	}
	return n;
}

int events_add(struct events *ev, struct httpd_req *req, const struct who *who,
	const char *session, int64_t expires, struct err *e)
{
	static const char reset[] = "event: reset\ndata: {}\n\n";
	struct stream *s;

	pthread_mutex_lock(&ev->lock);
	if (count_of(ev, who) >= STREAMS_PER_USER) {
		pthread_mutex_unlock(&ev->lock);
		return err_set(e, ERR_TOO_MANY,
			"%s@%s follows the events %d times already: end some of these "
			"first",
			who->name, who->realm, STREAMS_PER_USER);
	}
	s = xcalloc(1, sizeof(*s));
	s->name = xstrdup(who->name);
	s->realm = xstrdup(who->realm);
	s->is_admin = who->is_admin;
	s->session = xstrdup(session);
	s->expires = expires;
	s->http = httpd_answer_stream(req, "text/event-stream");
	DL_APPEND(ev->streams, s);
	/* When a watch is down just now, another one follows when it stands again. */
	if (!httpd_stream_send(s->http, reset, sizeof(reset) - 1))
		stream_free(ev, s);
	pthread_mutex_unlock(&ev->lock);
	return 0;
}
