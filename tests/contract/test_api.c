/*
 * The API as its users see it: HTTP on [::1], a real etcd, an OTP service of the test's own.
 */
#include "ucloud-api/api.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/http.h"
#include "tests/lib/test_api.h"
#include "tests/lib/test_etcd.h"
#include "tests/lib/test_util.h"
#include "ucloud-api/route.h"

#define RIGHT_TOKEN "123456"
#define LONG_MSEC   20000

static struct world {
	struct test_etcd *etcd;
	struct kv *kv;
	struct httpd *otp;
	atomic_int n_asked; /* of the OTP service */
	struct api_conf conf;
	struct api *api;
	char *url;
	char *alice, *bob, *admin; /* "Bearer ..." */
} w;

/* ---------------------------------------------------------------- the OTP service */

static const char *member(json_t *j, const char *name)
{
	const char *s = json_string_value(json_object_get(j, name));

	return s ? s : "";
}

/* Right is one token; the asker must prove itself. */
static enum httpd_result otp_handler(void *aux, struct httpd_req *req)
{
	size_t size;
	const char *text = httpd_body(req, &size);
	json_t *q = json_loadb(text, size, 0, NULL);
	int64_t step;
	struct err e;
	bool is_right = totp_verify(TEST_API_SEED, member(q, "auth_token"),
				clock_unix_sec(), 1, &step, &e) == 0 &&
			strcmp(member(q, "auth_name"), "api") == 0 &&
			strcmp(member(q, "token"), RIGHT_TOKEN) == 0;

	(void)aux;
	atomic_fetch_add(&w.n_asked, 1);
	json_decref(q);
	if (is_right)
		httpd_answer_json(req, 200, json_pack("{s:s}", "status", "OK"));
	else
		httpd_answer(req, 403, NULL, "", 0);
	return HTTPD_ANSWERED;
}

static void start_otp(void)
{
	struct strv listen = { 0 };
	struct httpd_conf conf = { .listen = &listen };
	struct err e;

	strv_add(&listen, "[::1]:0");
	if (httpd_open(&conf, otp_handler, NULL, &w.otp, &e) < 0)
		fail_msg("%s", e.msg);
	strv_done(&listen);
}

/* ---------------------------------------------------------------- calling */

struct answer {
	int status;
	json_t *json;
	char *text, *location, *retry_after;
};

static void answer_done(struct answer *a)
{
	json_decref(a->json);
	free(a->text);
	free(a->location);
	free(a->retry_after);
}

static void call_with(struct answer *out, const char *method, const char *path,
	const char *authorization, const char *idem, const char *body)
{
	struct http_conf conf = { .limit_msec = LONG_MSEC };
	CLEANUP(http_resp_done) struct http_resp resp = { 0 };
	CLEANUP_STR char *url = xasprintf("%s%s", w.url, path);
	CLEANUP_STR char *idem_line =
		idem ? xasprintf("Idempotency-Key: %s", idem) : NULL;
	const char *headers[] = { idem_line, NULL };
	struct http_req req = { .method = method,
		.url = url,
		.authorization = authorization,
		.body = body,
		.body_size = body ? strlen(body) : 0,
		.headers = headers };
	struct http *h = http_new(&conf);
	struct err e;

	answer_done(out);
	if (http_call(h, &req, &resp, &e) < 0)
		fail_msg("%s %s: %s", method, path, e.msg);
	http_free(h);
	out->status = resp.status;
	out->location = MOVE(resp.location);
	out->retry_after = MOVE(resp.retry_after);
	out->text = buf_take(&resp.body);
	out->json = json_loads(out->text, 0, NULL);
}

static void call(struct answer *out, const char *method, const char *path,
	const char *authorization, const char *body)
{
	call_with(out, method, path, authorization, NULL, body);
}

static void expect_at(int line, struct answer *a, int status)
{
	if (a->status != status)
		fail_msg("line %d: status %d, not %d: %s", line, a->status, status,
			a->text);
}
#define expect(a, status) expect_at(__LINE__, a, status)

static char *basic(const char *user, const char *token)
{
	CLEANUP_STR char *text = xasprintf("%s:%s", user, token);
	CLEANUP_STR char *b64 = base64_format(text, strlen(text));

	return xasprintf("Basic %s", b64);
}

static char *log_in(const char *user)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *authorization = basic(user, RIGHT_TOKEN);

	call(&a, "POST", "/v1/session", authorization, NULL);
	expect(&a, 201);
	return xasprintf("Bearer %s", member(a.json, "token"));
}

/* ---------------------------------------------------------------- the world */

static void configure(void)
{
	struct err e;

	test_api_conf(&w.conf, w.etcd, (unsigned)httpd_port(w.otp, 0));
	w.conf.quota = (struct amounts){ 1000, 1000, 1000000, 10000, .images = 1000,
		.networks = 5 };
	if (api_conf_check(&w.conf, &e) < 0)
		fail_msg("%s", e.msg);
}

static void make_store_and_image(void)
{
	CLEANUP(answer_done) struct answer a = { 0 };

	call(&a, "POST", "/v1/image_stores", w.admin,
		"{\"name\":\"local\",\"type\":\"filesystem\",\"path\":\"/srv/ucloud\"}");
	expect(&a, 201);
	call(&a, "POST", "/v1/images", w.admin,
		"{\"name\":\"debian\",\"store\":\"local\",\"path\":\"debian.img\","
		"\"format\":\"qcow2\",\"public\":true}");
	expect(&a, 201);
	call(&a, "POST", "/v1/hosts", w.admin, "{\"hostname\":\"h1\"}");
	expect(&a, 201);
}

static int start_world(void **state)
{
	struct err e;

	(void)state;
	w.etcd = test_etcd_start(NULL);
	w.kv = test_etcd_open(w.etcd);
	start_otp();
	configure();
	if (api_open(&w.conf, &w.api, &e) < 0)
		fail_msg("%s", e.msg);
	w.url = xasprintf("http://[::1]:%u", (unsigned)api_port(w.api, 0));
	w.alice = log_in("alice@users");
	w.bob = log_in("bob@users");
	w.admin = log_in("root@ungleich-admin");
	make_store_and_image();
	return 0;
}

static int stop_world(void **state)
{
	(void)state;
	api_close(w.api);
	httpd_close(w.otp);
	kv_close(w.kv);
	test_etcd_free(w.etcd);
	conf_done(&api_conf_table, &w.conf);
	free(w.url);
	free(w.alice);
	free(w.bob);
	free(w.admin);
	return 0;
}

/* Orders a VM of alice's; its uuid is the caller's. */
static char *create(const char *name)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *body =
		xasprintf("{\"name\":\"%s\",\"image\":\"debian\"}", name);

	call(&a, "POST", "/v1/vms", w.alice, body);
	expect(&a, 202);
	return xstrdup(member(a.json, "uuid"));
}

/* What the scheduler and a host would do. */
static void set_vm(const char *uuid, enum vm_status status, const char *host)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = key_vm(&w.conf.keys, uuid);
	CLEANUP_STR char *request = key_request_scheduler(&w.conf.keys, uuid);
	CLEANUP_STR char *text = NULL;
	struct vm vm = { 0 };
	struct err e;

	assert_int_equal(kv_get(w.kv, key, &pair, NULL, &e), 0);
	assert_int_equal(vm_parse(pair.value, pair.value_size, &vm, &e), 0);
	vm.status = (int)status;
	str_set(&vm.hostname, xstrdup(host));
	text = vm_format(&vm);
	kv_txn_put(t, key, text);
	kv_txn_del(t, request);
	assert_int_equal(kv_txn_commit(w.kv, t, NULL, &e), 0);
	vm_done(&vm);
}

static void del_vm(const char *uuid)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = key_vm(&w.conf.keys, uuid);
	struct err e;

	kv_txn_del(t, key);
	assert_int_equal(kv_txn_commit(w.kv, t, NULL, &e), 0);
}

/* ---------------------------------------------------------------- who asks */

static void test_open_paths(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };

	(void)state;
	call(&a, "GET", "/healthz", NULL, NULL);
	expect(&a, 200);
	call(&a, "GET", "/metrics", NULL, NULL);
	expect(&a, 200);
	assert_non_null(strstr(a.text, "ucloud_api_request_total"));
	call(&a, "GET", "/v1/openapi.json", NULL, NULL);
	expect(&a, 200);
	assert_string_equal(member(a.json, "openapi"), "3.0.3");
	call(&a, "GET", "/v1/nothing", NULL, NULL);
	expect(&a, 404);
	call(&a, "PUT", "/v1/vms", NULL, NULL);
	expect(&a, 405);
	call(&a, "GET", "/v1/vms", NULL, NULL);
	expect(&a, 401);
	assert_string_equal(member(a.json, "kind"), "unauthenticated");
}

static void test_sessions(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *session = log_in("carol@users");
	CLEANUP_STR char *foreign = basic("eve@elsewhere", RIGHT_TOKEN);
	CLEANUP_STR char *bad = basic("eve", RIGHT_TOKEN);

	(void)state;
	call(&a, "GET", "/v1/user", session, NULL);
	expect(&a, 200);
	assert_string_equal(member(a.json, "name"), "carol");
	call(&a, "POST", "/v1/session", session, NULL);
	expect(&a, 403);
	call(&a, "DELETE", "/v1/session", session, NULL);
	expect(&a, 204);
	call(&a, "GET", "/v1/user", session, NULL);
	expect(&a, 401);
	call(&a, "GET", "/v1/user", foreign, NULL);
	expect(&a, 403);
	call(&a, "GET", "/v1/user", bad, NULL);
	expect(&a, 401);
	call(&a, "GET", "/v1/user", "Bearer x", NULL);
	expect(&a, 401);
	call(&a, "GET", "/v1/user", "Digest x", NULL);
	expect(&a, 401);
}

/* A session that ends elsewhere ends here, though it was remembered. */
static bool is_refused(void *aux)
{
	CLEANUP(answer_done) struct answer a = { 0 };

	call(&a, "GET", "/v1/user", aux, NULL);
	return a.status == 401;
}

static void test_session_ends_elsewhere(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *session = log_in("carol@users");
	struct sessions *other = sessions_new(w.kv, 60);
	struct err e;

	(void)state;
	call(&a, "GET", "/v1/user", session, NULL);
	expect(&a, 200);
	assert_int_equal(sessions_delete(other, strchr(session, ' ') + 1, &e), 0);
	assert_true(wait_until(is_refused, session, LONG_MSEC));
	sessions_free(other);
}

/* After a seed was lost, or a user has left. */
static void test_all_sessions_end(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *first = log_in("carol@users");
	CLEANUP_STR char *second = log_in("carol@users");
	CLEANUP_STR char *third = NULL;

	(void)state;
	call(&a, "DELETE", "/v1/users/carol@users/sessions", w.alice, NULL);
	expect(&a, 403);
	call(&a, "DELETE", "/v1/users/carol/sessions", w.admin, NULL);
	expect(&a, 400);
	call(&a, "GET", "/v1/user", first, NULL);
	expect(&a, 200);
	call(&a, "DELETE", "/v1/users/carol@users/sessions", w.admin, NULL);
	expect(&a, 204);
	call(&a, "GET", "/v1/user", first, NULL);
	expect(&a, 401);
	call(&a, "GET", "/v1/user", second, NULL);
	expect(&a, 401);
	call(&a, "GET", "/v1/user", w.alice, NULL);
	expect(&a, 200);
	third = log_in("carol@users");
	call(&a, "DELETE", "/v1/users/carol@users/sessions", third, NULL);
	expect(&a, 204);
	call(&a, "GET", "/v1/user", third, NULL);
	expect(&a, 401);
}

static void test_wrong_tokens_are_slowed(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *wrong = basic("mallory@users", "000000");
	int n_asked;

	(void)state;
	for (int i = 0; i < 5; i++) {
		call(&a, "GET", "/v1/user", wrong, NULL);
		expect(&a, 401);
	}
	n_asked = atomic_load(&w.n_asked);
	call(&a, "GET", "/v1/user", wrong, NULL);
	expect(&a, 429);
	assert_non_null(a.retry_after);
	assert_int_equal(atomic_load(&w.n_asked), n_asked);
	/* Others are not. */
	call(&a, "GET", "/v1/user", w.alice, NULL);
	expect(&a, 200);
}

/* ---------------------------------------------------------------- VMs */

static void test_vm(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *path = NULL;

	(void)state;
	call(&a, "POST", "/v1/vms", w.alice,
		"{\"name\":\"web\",\"image\":\"debian\",\"cpu\":2,\"labels\":{\"a\":"
		"\"b\"}}");
	expect(&a, 202);
	assert_string_equal(member(a.json, "status"), "REQUESTED_NEW");
	path = xstrdup(a.location);
	call(&a, "GET", path, w.alice, NULL);
	expect(&a, 200);
	assert_string_equal(member(a.json, "name"), "web");
	call(&a, "GET", "/v1/vms/web", w.alice, NULL);
	expect(&a, 200);
	call(&a, "GET", path, w.bob, NULL);
	expect(&a, 404);
	call(&a, "GET", "/v1/vms/web", w.admin, NULL);
	expect(&a, 404);
	call(&a, "GET", "/v1/vms/web?owner=alice@users", w.admin, NULL);
	expect(&a, 200);
	call(&a, "PATCH", "/v1/vms/web", w.alice, "{\"labels\":{\"c\":\"d\"}}");
	expect(&a, 200);
	call(&a, "GET", "/v1/vms/web/explain", w.alice, NULL);
	expect(&a, 200);
	call(&a, "GET", "/v1/vms/web/console-log", w.alice, NULL);
	expect(&a, 409);
	call(&a, "POST", "/v1/vms/web/stop", w.alice, "{\"force\":true}");
	expect(&a, 202);
	assert_string_equal(member(a.json, "status"), "STOPPED");
	call(&a, "POST", "/v1/vms/web/stop", w.alice, NULL);
	expect(&a, 200);
	call(&a, "POST", "/v1/vms/web/reboot", w.alice, NULL);
	expect(&a, 409);
	call(&a, "POST", "/v1/vms/web/start", w.alice, NULL);
	expect(&a, 202);
	call(&a, "DELETE", "/v1/vms/web", w.alice, NULL);
	expect(&a, 202);
	assert_string_equal(member(a.json, "status"), "REQUESTED_DELETE");
}

static void refused(int line, const char *method, const char *path, const char *body,
	int status, const char *field)
{
	CLEANUP(answer_done) struct answer a = { 0 };

	call(&a, method, path, w.alice, body);
	expect_at(line, &a, status);
	if (strcmp(member(a.json, "field"), field) != 0 || !*member(a.json, "detail"))
		fail_msg("line %d: %s", line, a.text);
}

static void test_refusals(void **state)
{
	CLEANUP_STR char *big = xmalloc(2 << 20);
	(void)state;

#define REFUSED(...) refused(__LINE__, __VA_ARGS__)
	REFUSED("POST", "/v1/vms", NULL, 400, "");
	REFUSED("POST", "/v1/vms", "[]", 400, "");
	REFUSED("POST", "/v1/vms", "{\"name\":", 400, "");
	REFUSED("POST", "/v1/vms", "{\"name\":\"a\",\"name\":\"a\"}", 400, "");
	REFUSED("POST", "/v1/vms", "{\"name\":\"a\",\"image\":\"debian\",\"colour\":1}",
		400, "colour");
	REFUSED("POST", "/v1/vms", "{\"name\":\"a\",\"image\":\"debian\",\"cpu\":\"2\"}",
		400, "cpu");
	REFUSED("POST", "/v1/vms", "{\"name\":\"a\",\"image\":\"none\"}", 404, "image");
	REFUSED("GET", "/v1/vms?colour=1", NULL, 400, "colour");
	REFUSED("GET", "/v1/vms?limit=0", NULL, 400, "limit");
	REFUSED("GET", "/v1/vms?status=ASLEEP", NULL, 400, "status");
	REFUSED("GET", "/v1/vms?all=yes", NULL, 403, "all");
	REFUSED("GET", "/v1/vms?owner=bob@users", NULL, 403, "owner");
	REFUSED("GET", "/v1/vms/none", NULL, 404, "");
	REFUSED("GET", "/v1/vms/none", "{}", 400, "");
	REFUSED("GET", "/v1/hosts", NULL, 403, "");
	REFUSED("GET", "/v1/users/bob@users", NULL, 403, "");
	REFUSED("POST", "/v1/requests/x/retry", NULL, 403, "");
	memset(big, ' ', (2 << 20) - 1);
	big[(2 << 20) - 1] = '\0';
	REFUSED("POST", "/v1/vms", big, 413, "");
}

/* Of a VM that never ran: what is ordered is so at once. */
static void test_disks(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };

	(void)state;
	call(&a, "POST", "/v1/vms", w.alice,
		"{\"name\":\"disks\",\"image\":\"debian\",\"want\":\"stopped\"}");
	expect(&a, 202);
	call(&a, "POST", "/v1/vms/disks/disks", w.alice,
		"{\"size_gib\":5,\"class\":\"hdd\"}");
	expect(&a, 202);
	assert_string_equal(member(a.json, "name"), "disks");
	call(&a, "PATCH", "/v1/vms/disks/disks/1", w.alice, "{\"size_gib\":6}");
	expect(&a, 202);
	call(&a, "PATCH", "/v1/vms/disks/disks/1", w.alice, "{\"size_gib\":6}");
	expect(&a, 200);
	call(&a, "PATCH", "/v1/vms/disks/disks/1", w.alice, "{\"flatten\":true}");
	expect(&a, 403);
	call(&a, "PATCH", "/v1/vms/disks/disks/one", w.alice, "{\"size_gib\":6}");
	expect(&a, 404);
	call(&a, "GET", "/v1/vms/disks/disks", w.alice, NULL);
	expect(&a, 200);
	assert_int_equal(json_array_size(json_object_get(a.json, "disks")), 2);
	call(&a, "GET", "/v1/vms/disks/disks", w.bob, NULL);
	expect(&a, 404);
	call(&a, "DELETE", "/v1/vms/disks/disks/0", w.alice, NULL);
	expect(&a, 409);
	call(&a, "DELETE", "/v1/vms/disks/disks/1", w.alice, NULL);
	expect(&a, 202);
	call(&a, "POST", "/v1/vms/disks/snapshots", w.alice, NULL);
	expect(&a, 409);
	call(&a, "POST", "/v1/vms/disks/snapshots", w.alice, "{\"name\":\"A\"}");
	expect(&a, 400);
	call(&a, "POST", "/v1/vms/disks/snapshots/none/restore", w.alice, NULL);
	expect(&a, 404);
	call(&a, "DELETE", "/v1/vms/disks/snapshots/none", w.alice, NULL);
	expect(&a, 404);
	call(&a, "GET", "/v1/vms/disks/snapshots", w.alice, NULL);
	expect(&a, 200);
	assert_int_equal(json_array_size(json_object_get(a.json, "snapshots")), 0);
	call(&a, "DELETE", "/v1/vms/disks", w.alice, NULL);
	expect(&a, 202);
}

static void test_idempotency(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *location = NULL;

	(void)state;
	call_with(&a, "POST", "/v1/vms", w.alice, "k-1",
		"{\"name\":\"once\",\"image\":\"debian\"}");
	expect(&a, 202);
	location = xstrdup(a.location);
	call_with(&a, "POST", "/v1/vms", w.alice, "k-1",
		"{\"name\":\"once\",\"image\":\"debian\"}");
	expect(&a, 200);
	assert_string_equal(a.location, location);
	call_with(&a, "POST", "/v1/vms", w.alice, "k-1",
		"{\"name\":\"twice\",\"image\":\"debian\"}");
	expect(&a, 409);
	assert_string_equal(member(a.json, "field"), "Idempotency-Key");
}

static void test_lists(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *dave = log_in("dave@users");
	CLEANUP_STR char *path = NULL;
	size_t n = 0;
	char body[80];

	(void)state;
	for (int i = 0; i < 7; i++) {
		snprintf(
			body, sizeof(body), "{\"name\":\"l%d\",\"image\":\"debian\"}", i);
		call(&a, "POST", "/v1/vms", dave, body);
		expect(&a, 202);
	}
	path = xstrdup("/v1/vms?limit=3");
	while (path) {
		json_t *vms;

		call(&a, "GET", path, dave, NULL);
		expect(&a, 200);
		vms = json_object_get(a.json, "vms");
		assert_true(json_array_size(vms) <= 3);
		for (size_t i = 0; i < json_array_size(vms); i++) {
			snprintf(body, sizeof(body), "l%zu", n++);
			assert_string_equal(member(json_array_get(vms, i), "name"), body);
			assert_null(json_object_get(json_array_get(vms, i), "log"));
		}
		str_set(&path, *member(a.json, "next")
				       ? xasprintf("/v1/vms?limit=3&after=%s",
						 member(a.json, "next"))
				       : NULL);
	}
	assert_int_equal(n, 7);
	call(&a, "GET", "/v1/vms?status=STOPPED", dave, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "vms")), 0);
	call(&a, "GET", "/v1/vms?status=REQUESTED_NEW", dave, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "vms")), 7);
	call(&a, "GET", "/v1/vms?name=l3", dave, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "vms")), 1);
	call(&a, "GET", "/v1/requests", dave, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "requests")), 7);
	call(&a, "GET", "/v1/vms?owner=dave@users", w.admin, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "vms")), 7);
	call(&a, "GET", "/v1/vms?all=yes&limit=2", w.admin, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "vms")), 2);
	call(&a, "GET", "/v1/requests?limit=2", w.admin, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "requests")), 2);
	call(&a, "GET", "/v1/users?limit=1", w.admin, NULL);
	expect(&a, 200);
	assert_int_equal(json_array_size(json_object_get(a.json, "users")), 1);
	assert_non_null(strchr(member(a.json, "next"), '@'));
	call(&a, "GET", "/v1/images", dave, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "images")), 1);
	call(&a, "GET", "/v1/hosts", w.admin, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "hosts")), 1);
	call(&a, "GET", "/v1/image_stores", w.admin, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "image_stores")), 1);
}

static void test_admin_calls(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };

	(void)state;
	call(&a, "POST", "/v1/hosts/h1/drain", w.admin, NULL);
	expect(&a, 200);
	assert_true(json_is_true(json_object_get(a.json, "draining")));
	call(&a, "POST", "/v1/hosts/h1/undrain", w.admin, NULL);
	expect(&a, 200);
	call(&a, "PATCH", "/v1/hosts/h1", w.admin, "{\"labels\":{\"rack\":\"r1\"}}");
	expect(&a, 200);
	call(&a, "PATCH", "/v1/users/alice@users", w.admin, "{\"quota\":{\"vms\":999}}");
	expect(&a, 200);
	call(&a, "GET", "/v1/user", w.alice, NULL);
	assert_int_equal(json_integer_value(json_object_get(
				 json_object_get(a.json, "quota"), "vms")),
		999);
	call(&a, "POST", "/v1/hosts", w.admin, "{\"hostname\":\"h2\"}");
	expect(&a, 201);
	call(&a, "DELETE", "/v1/hosts/h2", w.admin, NULL);
	expect(&a, 204);
	call(&a, "GET", "/v1/hosts/h2", w.admin, NULL);
	expect(&a, 404);
}

/* ---------------------------------------------------------------- waiting */

struct waiting {
	pthread_t thread;
	char *path;
	struct answer answer;
};

static void *wait_thread(void *aux)
{
	struct waiting *t = aux;

	call(&t->answer, "GET", t->path, w.alice, NULL);
	return NULL;
}

/* Takes path. */
static void begin_wait(struct waiting *t, char *path)
{
	*t = (struct waiting){ .path = path };
	assert_int_equal(pthread_create(&t->thread, NULL, wait_thread, t), 0);
}

static void end_wait(struct waiting *t, int status, const char *vm_status)
{
	pthread_join(t->thread, NULL);
	expect(&t->answer, status);
	if (vm_status)
		assert_string_equal(member(t->answer.json, "status"), vm_status);
	answer_done(&t->answer);
	free(t->path);
}

/* The same document comes without waiting. */
static void end_wait_as_shown(struct waiting *t, const char *shown)
{
	CLEANUP(answer_done) struct answer a = { 0 };

	pthread_join(t->thread, NULL);
	expect(&t->answer, 200);
	call(&a, "GET", shown, w.alice, NULL);
	expect(&a, 200);
	assert_true(json_equal(t->answer.json, a.json));
	answer_done(&t->answer);
	free(t->path);
}

static void test_waits(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *uuid = create("waits");
	struct waiting t;

	(void)state;
	begin_wait(&t, xstrdup("/v1/vms/waits?wait=RUNNING&timeout=60"));
	set_vm(uuid, VM_RUNNING, "h1");
	end_wait(&t, 200, "RUNNING");
	/* Already so. */
	begin_wait(&t, xstrdup("/v1/vms/waits?wait=RUNNING"));
	end_wait(&t, 200, "RUNNING");
	/* Too late. */
	begin_wait(&t, xstrdup("/v1/vms/waits?wait=STOPPED&timeout=0"));
	end_wait(&t, 504, NULL);
	/* ERROR ends it. */
	begin_wait(&t, xstrdup("/v1/vms/waits?wait=STOPPED&timeout=60"));
	set_vm(uuid, VM_ERROR, "h1");
	end_wait(&t, 200, "ERROR");
	set_vm(uuid, VM_STOPPED, "");
	begin_wait(&t, xasprintf("/v1/vms/%s?wait=DELETED&timeout=60", uuid));
	del_vm(uuid);
	end_wait(&t, 200, "DELETED");
	call(&a, "GET", "/v1/vms/nothing?wait=DELETED", w.alice, NULL);
	expect(&a, 200);
	call(&a, "GET", "/v1/vms/nothing?wait=RUNNING", w.alice, NULL);
	expect(&a, 404);
	call(&a, "GET", "/v1/vms/nothing?wait=ASLEEP", w.alice, NULL);
	expect(&a, 400);
}

/* What ucloud-network would do: made, or (status < 0) gone. */
static void set_network(const char *uuid, int status)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP_STR char *key = key_network(&w.conf.keys, uuid);
	CLEANUP_STR char *request = key_request_network(&w.conf.keys, uuid);
	CLEANUP_STR char *text = NULL;
	struct err e;

	assert_int_equal(kv_get(w.kv, key, &pair, NULL, &e), 0);
	assert_int_equal(network_parse(pair.value, pair.value_size, &n, &e), 0);
	n.status = status < 0 ? NET_REQUESTED_DELETE : status;
	n.vni = 7;
	n.mtu = 1430;
	str_set(&n.prefix, xstrdup("2001:db8:1:2::/64"));
	text = network_format(&n);
	if (status < 0)
		kv_txn_del(t, key);
	else
		kv_txn_put(t, key, text);
	kv_txn_del(t, request);
	assert_int_equal(kv_txn_commit(w.kv, t, NULL, &e), 0);
}

static void put_text(char *key, const char *text)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e;

	kv_txn_put(t, key, text);
	assert_int_equal(kv_txn_commit(w.kv, t, NULL, &e), 0);
	free(key);
}

static void refuse_networks(void)
{
	CLEANUP(answer_done) struct answer a = { 0 };

	call(&a, "POST", "/v1/networks", w.alice, "{\"name\":\"lan\"}");
	expect(&a, 409);
	assert_string_equal(member(a.json, "field"), "name");
	call(&a, "POST", "/v1/networks", w.alice, "{\"name\":\"a\",\"ipam\":\"dhcp\"}");
	expect(&a, 400);
	call(&a, "GET", "/v1/networks?all=yes", w.alice, NULL);
	expect(&a, 403);
	call(&a, "GET", "/v1/networks?owner=alice@users", w.bob, NULL);
	expect(&a, 403);
	call(&a, "GET", "/v1/networks/lan", w.bob, NULL);
	expect(&a, 404);
	call(&a, "GET", "/v1/networks/lan", w.admin, NULL);
	expect(&a, 404);
	call(&a, "GET", "/v1/networks/lan?wait=UP", w.alice, NULL);
	expect(&a, 400);
	call(&a, "POST", "/v1/vms", w.alice,
		"{\"name\":\"early\",\"image\":\"debian\",\"networks\":[{\"network\":"
		"\"lan\"}]}");
	expect(&a, 409);
	assert_non_null(strstr(member(a.json, "detail"), "still being made"));
}

static void look_at_networks(const char *uuid)
{
	CLEANUP(answer_done) struct answer a = { 0 };

	put_text(key_network_host(uuid, "h1"), "{\"roles\":[\"host\"]}");
	call(&a, "GET", "/v1/networks/lan", w.alice, NULL);
	expect(&a, 200);
	assert_string_equal(member(a.json, "group"), "ff15::75c1:7");
	assert_string_equal(member(a.json, "router"), "2001:db8:1:2::1");
	assert_string_equal(
		member(json_array_get(json_object_get(a.json, "vms"), 0), "name"),
		"inside");
	assert_string_equal(
		member(json_array_get(json_object_get(a.json, "hosts"), 0), "hostname"),
		"h1");
	call(&a, "GET", "/v1/networks/lan?owner=alice@users", w.admin, NULL);
	expect(&a, 200);
	call(&a, "GET", "/v1/networks?owner=alice@users", w.admin, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "networks")), 1);
	call(&a, "GET", "/v1/networks?all=yes", w.admin, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "networks")), 1);
	call(&a, "GET", "/v1/networks", w.bob, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "networks")), 0);
	call(&a, "PATCH", "/v1/networks/lan", w.alice, "{\"dns\":[\"2001:db8::53\"]}");
	expect(&a, 200);
	call(&a, "DELETE", "/v1/networks/lan", w.alice, NULL);
	expect(&a, 409);
	assert_non_null(strstr(member(a.json, "detail"), "inside"));
}

/* A VM in it, which then goes, and its port. */
static char *create_inside(void)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	json_t *nic;

	call(&a, "POST", "/v1/vms", w.alice,
		"{\"name\":\"inside\",\"image\":\"debian\",\"networks\":[{\"network\":"
		"\"lan\",\"rate_mbit\":50}],\"ingress\":[\"tcp/22\"]}");
	expect(&a, 202);
	assert_true(json_is_true(json_object_get(a.json, "closed")));
	nic = json_array_get(json_object_get(a.json, "networks"), 0);
	assert_true(str_has_prefix(member(nic, "address"), "2001:db8:1:2:"));
	return xstrdup(member(nic, "mac"));
}

/* Refused of one that waits for a host; of one that is stopped, done when it is answered. */
static void change_interfaces(void)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *mac = NULL;
	CLEANUP_STR char *path = NULL;
	json_t *nic;

	call(&a, "POST", "/v1/vms/inside/networks", w.alice, "{\"network\":\"lan\"}");
	expect(&a, 409);
	call(&a, "POST", "/v1/vms/inside/stop", w.alice, NULL);
	expect(&a, 202);
	call(&a, "POST", "/v1/vms/inside/networks", w.alice, "{\"network\":\"lan\"}");
	expect(&a, 200);
	nic = json_array_get(json_object_get(a.json, "networks"), 1);
	mac = xstrdup(member(nic, "mac"));
	path = xasprintf("/v1/vms/inside/networks/%s", mac);
	call(&a, "DELETE", path, w.alice, NULL);
	expect(&a, 200);
	assert_int_equal(json_array_size(json_object_get(a.json, "networks")), 1);
	call(&a, "DELETE", path, w.alice, NULL);
	expect(&a, 404);
}

static void test_networks(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *uuid = NULL;
	CLEANUP_STR char *mac = NULL;
	CLEANUP_STR char *port = NULL;
	CLEANUP_STR char *request = NULL;
	struct waiting wait;
	struct err e;

	(void)state;
	call(&a, "POST", "/v1/networks", w.alice, "{\"name\":\"lan\"}");
	expect(&a, 202);
	assert_string_equal(member(a.json, "ipam"), "auto");
	uuid = xstrdup(member(a.json, "uuid"));
	request = xasprintf("/v1/requests/%s", uuid);
	call(&a, "GET", request, w.alice, NULL);
	expect(&a, 200);
	assert_string_equal(member(a.json, "type"), "CreateNetwork");
	refuse_networks();
	begin_wait(&wait, xstrdup("/v1/networks/lan?wait=ACTIVE&timeout=60"));
	set_network(uuid, NET_ACTIVE);
	end_wait(&wait, 200, "ACTIVE");
	mac = create_inside();
	begin_wait(&wait, xstrdup("/v1/networks/lan?wait=ACTIVE"));
	end_wait_as_shown(&wait, "/v1/networks/lan");
	look_at_networks(uuid);
	change_interfaces();
	port = key_port(uuid, mac);
	kv_txn_del(t, port);
	assert_int_equal(kv_txn_commit(w.kv, t, NULL, &e), 0);
	call(&a, "DELETE", "/v1/networks/lan", w.alice, NULL);
	expect(&a, 202);
	assert_string_equal(member(a.json, "status"), "REQUESTED_DELETE");
	call(&a, "DELETE", "/v1/networks/lan", w.alice, NULL);
	expect(&a, 200);
	begin_wait(&wait, xasprintf("/v1/networks/%s?wait=DELETED&timeout=60", uuid));
	set_network(uuid, -1);
	end_wait(&wait, 200, "DELETED");
}

struct follower {
	pthread_t thread;
	pthread_mutex_t lock;
	struct buf got;
	atomic_bool is_over;
	const char *authorization;
};

static int on_piece(void *aux, const char *p, size_t size)
{
	struct follower *f = aux;

	pthread_mutex_lock(&f->lock);
	buf_add(&f->got, p, size);
	pthread_mutex_unlock(&f->lock);
	return atomic_load(&f->is_over);
}

static void *follow_thread(void *aux)
{
	struct follower *f = aux;
	struct http_conf conf = { .limit_msec = LONG_MSEC };
	CLEANUP_STR char *url = xasprintf("%s/v1/events", w.url);
	struct http_req req = {
		.method = "GET", .url = url, .authorization = f->authorization
	};
	struct http *h = http_new(&conf);
	struct err e;
	int status = 0;

	(void)!http_stream(h, &req, on_piece, f, &status, &e);
	http_free(h);
	return NULL;
}

struct expected {
	struct follower *f;
	const char *text;
};

static bool has_come(void *aux)
{
	struct expected *x = aux;
	bool is_there;

	pthread_mutex_lock(&x->f->lock);
	is_there = strstr(buf_str(&x->f->got), x->text) != NULL;
	pthread_mutex_unlock(&x->f->lock);
	return is_there;
}

static void expect_event(struct follower *f, const char *text)
{
	struct expected x = { f, text };

	if (!wait_until(has_come, &x, LONG_MSEC))
		fail_msg("no \"%s\" in: %s", text, buf_str(&f->got));
}

static void follow(struct follower *f, const char *authorization)
{
	*f = (struct follower){ .authorization = authorization };
	pthread_mutex_init(&f->lock, NULL);
	assert_int_equal(pthread_create(&f->thread, NULL, follow_thread, f), 0);
	expect_event(f, "event: reset\ndata: {}\n\n");
}

static void unfollow(struct follower *f)
{
	pthread_join(f->thread, NULL);
	buf_done(&f->got);
	pthread_mutex_destroy(&f->lock);
}

static void test_events(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *uuid = NULL;
	CLEANUP_STR char *deleted = NULL;
	struct follower mine, others, all;

	(void)state;
	follow(&mine, w.alice);
	follow(&others, w.bob);
	follow(&all, w.admin);
	uuid = create("seen");
	expect_event(&mine, "\"status\":\"REQUESTED_NEW\"");
	expect_event(&all, uuid);
	del_vm(uuid);
	deleted = xasprintf("{\"change\":\"delete\",\"uuid\":\"%s\"}", uuid);
	expect_event(&mine, deleted);
	call(&a, "POST", "/v1/hosts/h1/drain", w.admin, NULL);
	expect_event(&all, "event: host");
	call(&a, "POST", "/v1/vms", w.bob, "{\"name\":\"bobs\",\"image\":\"debian\"}");
	expect_event(&others, "bobs");
	expect_event(&all, "bobs");
	call(&a, "POST", "/v1/networks", w.bob, "{\"name\":\"bobs-lan\"}");
	expect(&a, 202);
	expect_event(&others, "event: network");
	expect_event(&others, "bobs-lan");
	expect_event(&all, "bobs-lan");
	assert_null(strstr(buf_str(&others.got), uuid));
	assert_null(strstr(buf_str(&mine.got), "bobs"));
	assert_null(strstr(buf_str(&mine.got), "event: host"));
	/* One more each, so that their threads see that it is over. */
	atomic_store(&mine.is_over, true);
	atomic_store(&others.is_over, true);
	atomic_store(&all.is_over, true);
	call(&a, "PATCH", "/v1/images/debian", w.admin, "{\"description\":\"x\"}");
	expect(&a, 200);
	unfollow(&mine);
	unfollow(&others);
	unfollow(&all);
}

/* Who logs out gets no more events, though the connection was there before. */
static void test_events_end_with_session(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *session = log_in("carol@users");
	struct follower f, other;

	(void)state;
	follow(&f, session);
	follow(&other, w.alice);
	call(&a, "DELETE", "/v1/session", session, NULL);
	expect(&a, 204);
	/* Its thread ends by itself. */
	unfollow(&f);
	atomic_store(&other.is_over, true);
	call(&a, "PATCH", "/v1/images/debian", w.admin, "{\"description\":\"y\"}");
	expect(&a, 200);
	unfollow(&other);
}

static bool has_all_waits(void *aux)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *line = xasprintf("\nucloud_api_waiting %d\n", WAITS_PER_USER);

	(void)aux;
	call(&a, "GET", "/metrics", NULL, NULL);
	return strstr(a.text, line) != NULL;
}

static bool is_wait_refused(void *aux)
{
	CLEANUP(answer_done) struct answer a = { 0 };

	call(&a, "GET", "/v1/vms/awaited?wait=RUNNING&timeout=0", aux, NULL);
	return a.status == 429;
}

static bool is_wait_taken(void *aux)
{
	return !is_wait_refused(aux);
}

/* One user does not take all connections, and who hangs up does not wait any more. */
static void test_waits_are_bounded(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *uuid = create("awaited");
	CLEANUP_STR char *text = xasprintf(
		"GET /v1/vms/awaited?wait=RUNNING&timeout=60 HTTP/1.1\r\nHost: x\r\n"
		"Authorization: %s\r\n\r\n",
		w.alice);
	struct sockaddr_in6 to = { .sin6_family = AF_INET6,
		.sin6_addr = IN6ADDR_LOOPBACK_INIT,
		.sin6_port = htons(api_port(w.api, 0)) };
	int fds[WAITS_PER_USER + 1];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fds[i], (struct sockaddr *)&to, sizeof(to)), 0);
		assert_int_equal(
			send(fds[i], text, strlen(text), 0), (ssize_t)strlen(text));
	}
	assert_true(wait_until(has_all_waits, NULL, LONG_MSEC));
	assert_true(is_wait_refused(w.alice));
	call(&a, "GET", "/v1/vms/nothing?wait=DELETED", w.bob, NULL);
	expect(&a, 200);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	assert_true(wait_until(is_wait_taken, w.alice, LONG_MSEC));
	del_vm(uuid);
}

static bool is_stream_given(void *aux)
{
	const char *text = aux;
	struct sockaddr_in6 to = { .sin6_family = AF_INET6,
		.sin6_addr = IN6ADDR_LOOPBACK_INIT,
		.sin6_port = htons(api_port(w.api, 0)) };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char answer[16] = "";

	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
	assert_true(recv(fd, answer, sizeof(answer) - 1, MSG_WAITALL) > 0);
	close(fd);
	return strncmp(answer, "HTTP/1.1 200", 12) == 0;
}

/* Those who hung up do not count, although nothing was sent to them since. */
static void test_streams_are_bounded(void **state)
{
	CLEANUP_STR char *text = xasprintf("GET /v1/events HTTP/1.1\r\nHost: x\r\n"
					   "Authorization: %s\r\n\r\n",
		w.bob);

	(void)state;
	for (int i = 0; i < STREAMS_PER_USER; i++)
		assert_true(wait_until(is_stream_given, text, 20 * LONG_MSEC));
	assert_true(wait_until(is_stream_given, text, 20 * LONG_MSEC));
}

static void *host_thread(void *aux)
{
	const char *uuid = aux;
	CLEANUP_STR char *prefix = key_consoles("h1");
	struct kv_watch_req req = { .prefix = prefix };
	CLEANUP(kv_events_done) struct kv_events ev = { 0 };
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = key_console("h1", uuid);
	struct kv_pair pair = { 0 };
	struct kv_watch *watch;
	struct err e;

	if (kv_watch_open(w.kv, &req, &watch, &e) != 0)
		return NULL;
	/* The question may have been there before the watch. */
	for (int i = 0; i < 100; i++) {
		kv_pair_done(&pair);
		if (kv_get(w.kv, key, &pair, NULL, &e) == 0 && pair.key)
			break;
		kv_events_done(&ev);
		(void)!kv_watch_next(watch, 200, &ev, &e);
	}
	kv_watch_close(watch);
	kv_txn_put_lease(t, key,
		"{\"text\":\"login:\",\"time\":\"2026-11-23T04:00:00Z\",\"is_cut\":"
		"false}",
		pair.lease);
	(void)!kv_txn_commit(w.kv, t, NULL, &e);
	kv_pair_done(&pair);
	return NULL;
}

static void test_console(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *uuid = create("talks");
	pthread_t host;

	(void)state;
	set_vm(uuid, VM_RUNNING, "h1");
	pthread_create(&host, NULL, host_thread, uuid);
	call(&a, "GET", "/v1/vms/talks/console-log", w.alice, NULL);
	pthread_join(host, NULL);
	expect(&a, 200);
	assert_string_equal(member(a.json, "text"), "login:");
}

/* ---------------------------------------------------------------- many at once */

enum { N_THREADS = 16, N_EACH = 12 };

static void *create_thread(void *aux)
{
	const char *authorization = aux;
	static atomic_int next;
	intptr_t n_done = 0;

	for (int i = 0; i < N_EACH; i++) {
		CLEANUP(answer_done) struct answer a = { 0 };
		char body[96];

		snprintf(body, sizeof(body), "{\"name\":\"many%d\",\"image\":\"debian\"}",
			atomic_fetch_add(&next, 1));
		call(&a, "POST", "/v1/vms", authorization, body);
		n_done += a.status == 202;
	}
	return (void *)n_done;
}

/* Many clients of one user, whose use must fit in the end. */
static void test_many_creates(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *erin = log_in("erin@users");
	pthread_t threads[N_THREADS];
	intptr_t n_done = 0;
	json_t *use;

	(void)state;
	for (int i = 0; i < N_THREADS; i++)
		pthread_create(&threads[i], NULL, create_thread, erin);
	for (int i = 0; i < N_THREADS; i++) {
		void *n;

		pthread_join(threads[i], &n);
		n_done += (intptr_t)n;
	}
	assert_int_equal(n_done, N_THREADS * N_EACH);
	call(&a, "GET", "/v1/user", erin, NULL);
	use = json_object_get(a.json, "use");
	assert_int_equal(json_integer_value(json_object_get(use, "vms")), n_done);
	call(&a, "GET", "/v1/vms?limit=1000", erin, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "vms")), n_done);
}

/* ---------------------------------------------------------------- routes and document */

/* The path with something in place of {...}. */
static char *sample_path(const char *path)
{
	CLEANUP(buf_done) struct buf b = { 0 };

	while (*path) {
		if (*path != '{') {
			buf_add_char(&b, *path++);
			continue;
		}
		path += strcspn(path, "}") + 1;
		buf_add_str(&b, "zzz");
	}
	return buf_take(&b);
}

/* Each documented call is answered by a handler: 401 without a token, never the router's
 * 404 and 405. */
static void test_document_and_routes(void **state)
{
	CLEANUP(answer_done) struct answer doc = { 0 };
	const char *path, *method;
	json_t *item, *operation;
	size_t n = 0, n_routes = 0;

	(void)state;
	call(&doc, "GET", "/v1/openapi.json", NULL, NULL);
	json_object_foreach (json_object_get(doc.json, "paths"), path, item) {
		json_object_foreach (item, method, operation) {
			CLEANUP(answer_done) struct answer a = { 0 };
			CLEANUP_STR char *sample = sample_path(path);
			char upper[8] = "";

			for (size_t i = 0; method[i] && i < sizeof(upper) - 1; i++)
				upper[i] = (char)(method[i] & ~0x20);
			call(&a, upper, sample, NULL, NULL);
			expect(&a, json_object_get(operation, "security") ? 200 : 401);
			n++;
		}
	}
	for (const struct route *r = api_routes; r->path; r++)
		n_routes++;
	assert_int_equal(n, n_routes);
}

/* ---------------------------------------------------------------- etcd gone */

static void test_etcd_gone(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	int64_t begun;

	(void)state;
	test_etcd_freeze(w.etcd, 0);
	begun = test_now_msec();
	call(&a, "GET", "/v1/vms", w.alice, NULL);
	expect(&a, 503);
	assert_true(*member(a.json, "detail"));
	assert_true(test_now_msec() - begun < LONG_MSEC);
	begun = test_now_msec();
	call(&a, "POST", "/v1/vms", w.alice,
		"{\"name\":\"frozen\",\"image\":\"debian\"}");
	expect(&a, 503);
	assert_true(test_now_msec() - begun < LONG_MSEC);
	begun = test_now_msec();
	call(&a, "GET", "/healthz", NULL, NULL);
	expect(&a, 503);
	assert_true(test_now_msec() - begun < LONG_MSEC);
	test_etcd_thaw(w.etcd, 0);
	test_etcd_wait(w.etcd);
	call(&a, "GET", "/v1/user", w.alice, NULL);
	expect(&a, 200);
	test_etcd_kill(w.etcd, 0);
	call(&a, "GET", "/v1/vms", w.alice, NULL);
	expect(&a, 503);
	test_etcd_restart(w.etcd, 0);
	test_etcd_wait(w.etcd);
	call(&a, "GET", "/v1/vms", w.alice, NULL);
	expect(&a, 200);
}

/* The OTP service is gone: 503, and that is no wrong guess. */
static void test_otp_gone(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *frank = basic("frank@users", RIGHT_TOKEN);

	(void)state;
	httpd_close(w.otp);
	for (int i = 0; i < 8; i++) {
		call(&a, "GET", "/v1/user", frank, NULL);
		expect(&a, 503);
	}
	start_otp();
	call(&a, "GET", "/v1/user", w.alice, NULL);
	expect(&a, 200);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_paths),
		cmocka_unit_test(test_sessions),
		cmocka_unit_test(test_session_ends_elsewhere),
		cmocka_unit_test(test_all_sessions_end),
		cmocka_unit_test(test_wrong_tokens_are_slowed),
		cmocka_unit_test(test_vm),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_disks),
		cmocka_unit_test(test_idempotency),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_admin_calls),
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_waits_are_bounded),
		cmocka_unit_test(test_networks),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_events_end_with_session),
		cmocka_unit_test(test_streams_are_bounded),
		cmocka_unit_test(test_console),
		cmocka_unit_test(test_many_creates),
		cmocka_unit_test(test_document_and_routes),
		cmocka_unit_test(test_etcd_gone),
		cmocka_unit_test(test_otp_gone),
	};

	mem_init();
	crypt_init();
	return cmocka_run_group_tests(tests, start_world, stop_world);
}
