/*
 * From the accepted create to libvirt: the time between the API's answer and libvirt's event
 * that the domain was defined, which comes after ucloud-host's call of libvirt. An idle
 * system: one VM at a time, and a pause after each, in which the one before goes for good.
 *
 *	bench_latency API_URL SESSION_TOKEN LIBVIRT_URI IMAGE ROUNDS
 */
#include <libvirt/libvirt.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/http.h"
#include "common/base/jtab.h"
#include "common/base/parse.h"

#define WAIT_MSEC  60000
#define PAUSE_MSEC 300

struct seen {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	int64_t defined_usec; /* of the newest definition */
};

static int on_event(
	virConnectPtr conn, virDomainPtr dom, int event, int detail, void *aux)
{
	struct seen *s = aux;
	(void)conn;
	(void)dom;
	(void)detail;
	if (event != VIR_DOMAIN_EVENT_DEFINED)
		return 0;
	pthread_mutex_lock(&s->lock);
	if (!s->defined_usec)
		s->defined_usec = clock_mono_usec();
	pthread_cond_broadcast(&s->cond);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static void *event_loop(void *aux)
{
	(void)aux;
	for (;;)
		if (virEventRunDefaultImpl() < 0)
			return NULL;
}

static int64_t wait_defined(struct seen *s)
{
	struct timespec end;
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += WAIT_MSEC / 1000;
	pthread_mutex_lock(&s->lock);
	while (!s->defined_usec)
		if (pthread_cond_timedwait(&s->cond, &s->lock, &end))
			break;
	int64_t at = s->defined_usec;
	pthread_mutex_unlock(&s->lock);
	return at;
}

static void need(bool ok, const char *what, const char *why)
{
	if (ok)
		return;
	fprintf(stderr, "bench_latency: %s: %s\n", what, why);
	exit(1);
}

static json_t *call(struct http *h, const char *auth, const char *method, const char *url,
	const char *body, int want)
{
	struct http_req req = { .method = method,
		.url = url,
		.authorization = auth,
		.body = body,
		.body_size = body ? strlen(body) : 0,
		.limit_msec = WAIT_MSEC };
	struct http_resp resp = { 0 };
	struct err e;
	json_t *json = NULL;
	need(!http_call(h, &req, &resp, &e), url, e.msg);
	need(resp.status == want, url, buf_str(&resp.body));
	if (resp.body.size)
		need(!json_parse(resp.body.s, resp.body.size, &json, &e), url, e.msg);
	http_resp_done(&resp);
	return json;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double round_msec(struct http *h, const char *api, const char *auth,
	const char *image, int64_t i, struct seen *seen)
{
	CLEANUP_STR char *vms = xasprintf("%s/v1/vms", api);
	CLEANUP_STR char *vm = xasprintf("%s/latency-%lld", vms, (long long)i);
	CLEANUP_STR char *runs = xasprintf("%s?wait=RUNNING&timeout=50", vm);
	CLEANUP_STR char *gone = xasprintf("%s?wait=DELETED&timeout=50", vm);
	CLEANUP_STR char *body =
		xasprintf("{\"name\":\"latency-%lld\",\"image\":\"%s\",\"ram_mib\":128}",
			(long long)i, image);
	seen->defined_usec = 0;
	json_decref(call(h, auth, "POST", vms, body, 202));
	int64_t accepted = clock_mono_usec();
	int64_t defined = wait_defined(seen);
	need(defined != 0, "libvirt", "no domain was defined");
	json_decref(call(h, auth, "GET", runs, NULL, 200));
	json_decref(call(h, auth, "DELETE", vm, NULL, 202));
	json_decref(call(h, auth, "GET", gone, NULL, 200));
	return (double)(defined - accepted) / 1000;
}

static void pause_a_while(void)
{
	struct timespec t = { .tv_nsec = PAUSE_MSEC * 1000 * 1000 };

	nanosleep(&t, NULL);
}

int main(int argc, char **argv)
{
	int64_t n;
	struct err e;
	mem_init();
	need(argc == 6 && !parse_int64(argv[5], 1, 10000, &n, &e), "usage",
		"bench_latency API_URL SESSION_TOKEN LIBVIRT_URI IMAGE ROUNDS");
	static struct seen seen = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER,
		0 };
	pthread_t thread;
	virEventRegisterDefaultImpl();
	virConnectPtr conn = virConnectOpen(argv[3]);
	need(conn != NULL, argv[3], "libvirt does not answer");
	virConnectDomainEventRegisterAny(conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
		VIR_DOMAIN_EVENT_CALLBACK(on_event), &seen, NULL);
	pthread_create(&thread, NULL, event_loop, NULL);

	struct http *h = http_new(&(struct http_conf){ 0 });
	CLEANUP_STR char *auth = xasprintf("Bearer %s", argv[2]);
	double *msec = xcalloc((size_t)n, sizeof(*msec));
	for (int64_t i = 0; i < n; i++) {
		pause_a_while();
		msec[i] = round_msec(h, argv[1], auth, argv[4], i, &seen);
	}
	qsort(msec, (size_t)n, sizeof(*msec), compare);
	printf("create accepted to libvirt: p50 %.1f ms, p99 %.1f ms, worst %.1f ms of "
	       "%lld (aim: p99 below 50 ms)\n",
		msec[n / 2], msec[(n * 99 - 1) / 100], msec[n - 1], (long long)n);
	free(msec);
	http_free(h);
	return 0;
}
