/*
 * From the order to QEMU on Ceph: the time from sending the create to libvirt's event that
 * the guest was started, on a clone of its image; and over that the same by hand, in turns
 * in the same run: the bare clone, grown to the same size, and the same domain defined and
 * started. Cluster and libvirt are connected before the clock runs, as ucloud-host has it.
 * The time of some rounds of each; medians are compared.
 *
 *	bench_rbd API_URL SESSION_TOKEN LIBVIRT_URI CEPH_CONF IMAGE ROUNDS
 *
 * IMAGE is in a store with the usual pools, and may be in no other.
 */
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/http.h"
#include "common/base/jtab.h"
#include "common/base/parse.h"
#include "common/disk/disk_rbd.h"

#define WAIT_MSEC  60000
#define PAUSE_MSEC 300
#define SIZE_GIB   2 /* more than the image: disks are grown */

static struct bench {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	char started[VIR_UUID_STRING_BUFLEN]; /* the newest guest that was started */
	int64_t started_usec;

	struct http *http;
	virConnectPtr virt;
	struct ceph_conn *ceph;
	char *vms, *auth, *image, *rbd_image;
} b = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER };

static void need(bool ok, const char *what, const char *why)
{
	if (ok)
		return;
	fprintf(stderr, "bench_rbd: %s: %s\n", what, why);
	exit(1);
}

static void need_virt(bool ok, const char *what)
{
	need(ok, what, ok ? "" : virGetLastErrorMessage());
}

/* ---------------------------------------------------------------- libvirt's events */

static int on_event(
	virConnectPtr conn, virDomainPtr dom, int event, int detail, void *aux)
{
	(void)conn;
	(void)detail;
	(void)aux;
	if (event != VIR_DOMAIN_EVENT_STARTED)
		return 0;
	pthread_mutex_lock(&b.lock);
	b.started_usec = clock_mono_usec();
	virDomainGetUUIDString(dom, b.started);
	pthread_cond_broadcast(&b.cond);
	pthread_mutex_unlock(&b.lock);
	return 0;
}

static void *event_loop(void *aux)
{
	(void)aux;
	for (;;)
		if (virEventRunDefaultImpl() < 0)
			return NULL;
}

static int64_t wait_started(const char *uuid)
{
	struct timespec end;
	int64_t at;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += WAIT_MSEC / 1000;
	pthread_mutex_lock(&b.lock);
	while (strcmp(b.started, uuid) != 0)
		if (pthread_cond_timedwait(&b.cond, &b.lock, &end))
			break;
	at = strcmp(b.started, uuid) == 0 ? b.started_usec : 0;
	pthread_mutex_unlock(&b.lock);
	need(at != 0, uuid, "no guest was started");
	return at;
}

static void connect_virt(const char *uri)
{
	pthread_t thread;

	virEventRegisterDefaultImpl();
	b.virt = virConnectOpen(uri);
	need_virt(b.virt != NULL, uri);
	virConnectDomainEventRegisterAny(b.virt, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
		VIR_DOMAIN_EVENT_CALLBACK(on_event), NULL, NULL);
	pthread_create(&thread, NULL, event_loop, NULL);
}

/* ---------------------------------------------------------------- ours */

static json_t *call(const char *method, const char *url, const char *body, int want)
{
	struct http_req req = { .method = method,
		.url = url,
		.authorization = b.auth,
		.body = body,
		.body_size = body ? strlen(body) : 0,
		.limit_msec = WAIT_MSEC };
	struct http_resp resp = { 0 };
	json_t *json = NULL;
	struct err e;

	need(!http_call(b.http, &req, &resp, &e), url, e.msg);
	need(resp.status == want, url, buf_str(&resp.body));
	if (resp.body.size)
		need(!json_parse(resp.body.s, resp.body.size, &json, &e), url, e.msg);
	http_resp_done(&resp);
	return json;
}

static char *text_of(const json_t *json, const char *member)
{
	const char *text = json_string_value(json_object_get(json, member));

	need(text != NULL, member, "is missing in the answer");
	return xstrdup(text);
}

/* Of the domain, as it could be defined again; the caller frees it. */
static char *xml_of(const char *uuid)
{
	virDomainPtr dom = virDomainLookupByUUIDString(b.virt, uuid);
	char *xml = dom ? virDomainGetXMLDesc(dom, VIR_DOMAIN_XML_INACTIVE) : NULL;

	need_virt(xml != NULL, uuid);
	virDomainFree(dom);
	return xml;
}

/* *xml and *uuid are replaced by those of this round's domain. */
static double ours_msec(int64_t i, char **xml, char **uuid)
{
	CLEANUP_STR char *vm = xasprintf("%s/rbd-%lld", b.vms, (long long)i);
	CLEANUP_STR char *runs = xasprintf("%s?wait=RUNNING&timeout=50", vm);
	CLEANUP_STR char *gone = xasprintf("%s?wait=DELETED&timeout=50", vm);
	CLEANUP_STR char *body =
		xasprintf("{\"name\":\"rbd-%lld\",\"image\":\"%s\",\"ram_mib\":128,"
			  "\"disks\":[{\"size_gib\":%d}]}",
			(long long)i, b.image, SIZE_GIB);
	int64_t began = clock_mono_usec(), at;
	json_t *entry = call("POST", b.vms, body, 202);

	str_set(uuid, text_of(entry, "uuid"));
	json_decref(entry);
	at = wait_started(*uuid);
	json_decref(call("GET", runs, NULL, 200));
	str_set(xml, xml_of(*uuid));
	json_decref(call("DELETE", vm, NULL, 202));
	json_decref(call("GET", gone, NULL, 200));
	return (double)(at - began) / 1000;
}

/* ---------------------------------------------------------------- by hand */

static void clone_and_grow(struct ceph_io *io, const char *name)
{
	CLEANUP(disk_rbd_image_done) struct disk_rbd_image im = { 0 };
	struct err e = { 0 };
	int rc = 0;

	need(disk_rbd_clone(io, b.rbd_image, name, &rc) == 0, "rbd_clone3",
		strerror(-rc));
	need(disk_rbd_open_rw(io, io->vms, name, &im, &e) == 0, name, e.msg);
	rc = io->lib->rbd_resize(im.image, (uint64_t)SIZE_GIB << 30);
	need(rc == 0, "rbd_resize", strerror(-rc));
}

static char *replace_all(const char *text, const char *from, const char *to)
{
	struct buf out = { 0 };
	const char *hit;

	for (; (hit = strstr(text, from)) != NULL; text = hit + strlen(from)) {
		buf_add(&out, text, (size_t)(hit - text));
		buf_add_str(&out, to);
	}
	buf_add_str(&out, text);
	return buf_take(&out);
}

/* Blanks what begins with `begin` and ends with `end`. */
static void blank(char *xml, const char *begin, const char *end)
{
	char *from = strstr(xml, begin), *to = from ? strstr(from, end) : NULL;

	need(from && to, "the domain has no", begin);
	memset(from, ' ', (size_t)(to - from) + strlen(end));
}

/* The same domain for another VM, and not one of ucloud's: ucloud-host removes those that
 * nobody ordered. Its boot configuration went with the VM. */
static char *xml_like(const char *like, const char *old_uuid, const char *uuid)
{
	CLEANUP_STR char *xml = replace_all(like, old_uuid, uuid);

	blank(xml, "<metadata>", "</metadata>");
	blank(xml, "<disk type='file' device='cdrom'>", "</disk>");
	return replace_all(xml, "<name>ucloud-", "<name>bench-");
}

/* With a domain like that of the VM before, which is gone. */
static double bare_msec(struct ceph_io *io, const char *like, const char *old_uuid)
{
	char uuid[UUID_STR_SIZE];
	CLEANUP_STR char *xml = NULL;
	virDomainPtr dom;
	int64_t began, at;

	uuid_new(uuid);
	xml = xml_like(like, old_uuid, uuid);
	began = clock_mono_usec();
	clone_and_grow(io, uuid);
	dom = virDomainDefineXML(b.virt, xml);
	need_virt(dom != NULL, "define");
	need_virt(virDomainCreate(dom) == 0, "start");
	at = wait_started(uuid);
	need_virt(virDomainDestroy(dom) == 0, "destroy");
	need_virt(virDomainUndefine(dom) == 0, "undefine");
	virDomainFree(dom);
	need(io->lib->rbd_remove(io->vms, uuid) == 0, "rbd_remove", "failed");
	return (double)(at - began) / 1000;
}

/* ---------------------------------------------------------------- both, in turns */

static int compare(const void *x, const void *y)
{
	double d = *(const double *)x - *(const double *)y;

	return (d > 0) - (d < 0);
}

static void pause_a_while(void)
{
	struct timespec t = { .tv_nsec = PAUSE_MSEC * 1000 * 1000 };

	nanosleep(&t, NULL);
}

static void run(struct ceph_io *io, int64_t n)
{
	CLEANUP_STR char *xml = NULL, *uuid = NULL;
	double *ours = xcalloc((size_t)n, sizeof(*ours));
	double *bare = xcalloc((size_t)n, sizeof(*bare));

	for (int64_t i = 0; i < n; i++) {
		pause_a_while();
		ours[i] = ours_msec(i, &xml, &uuid);
		pause_a_while();
		bare[i] = bare_msec(io, xml, uuid);
	}
	qsort(ours, (size_t)n, sizeof(*ours), compare);
	qsort(bare, (size_t)n, sizeof(*bare), compare);
	printf("create to QEMU's start on an RBD clone: p50 %.0f ms, worst %.0f ms of "
	       "%lld; "
	       "%.2f x bare clone and start (p50 %.0f ms, worst %.0f ms)\n",
		ours[n / 2], ours[n - 1], (long long)n, ours[n / 2] / bare[n / 2],
		bare[n / 2], bare[n - 1]);
	free(ours);
	free(bare);
}

int main(int argc, char **argv)
{
	CLEANUP(image_store_done) struct image_store store = { 0 };
	CLEANUP(ceph_io_give) struct ceph_io io = { 0 };
	CLEANUP_STR char *url = NULL;
	struct err e = { 0 };
	json_t *image;
	int64_t n;

	mem_init();
	need(argc == 7 && !parse_int64(argv[6], 1, 10000, &n, &e), "usage",
		"bench_rbd API_URL SESSION_TOKEN LIBVIRT_URI CEPH_CONF IMAGE ROUNDS");
	b.http = http_new(&(struct http_conf){ 0 });
	b.vms = xasprintf("%s/v1/vms", argv[1]);
	b.auth = xasprintf("Bearer %s", argv[2]);
	b.image = argv[5];
	url = xasprintf("%s/v1/images/%s", argv[1], b.image);
	image = call("GET", url, NULL, 200);
	b.rbd_image = text_of(image, "path");
	json_decref(image);
	connect_virt(argv[3]);

	store.name = xstrdup("bench");
	store.type = STORE_CEPH;
	store.ceph_conf = xstrdup(argv[4]);
	store.ceph_user = xstrdup("admin");
	image_store_set_defaults(&store);
	b.ceph = ceph_conn_new(&store);
	need(ceph_io_take(b.ceph, &io, &e) == 0, argv[4], e.msg);
	run(&io, n);

	ceph_io_give(&io);
	ceph_conn_free(b.ceph);
	http_free(b.http);
	free(b.vms);
	free(b.auth);
	free(b.rbd_image);
	return 0;
}
