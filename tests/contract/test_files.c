/*
 * Users' files: uploads over HTTP into a real directory, with a real etcd; what
 * ucloud-filescan and ucloud-image would write is written by the test.
 */
#include "ucloud-api/api.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/http.h"
#include "common/base/sha512.h"
#include "tests/lib/test_etcd.h"
#include "tests/lib/test_util.h"
#include "ucloud-api/updir.h"

#define TOKEN	   "123456"
#define SEED	   "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
#define LIMIT_MSEC 30000
#define MIB	   (1024 * 1024)

static struct world {
	struct test_etcd *etcd;
	struct kv *kv;
	struct httpd *otp;
	struct api_conf conf, away_conf;
	struct api *api;  /* beside the files */
	struct api *away; /* sends its clients there */
	char *base;
	char *alice, *bob, *admin; /* "Bearer ..." */
} w;

/* ---------------------------------------------------------------- the world */

static enum httpd_result otp_handler(void *aux, struct httpd_req *req)
{
	(void)aux;
	httpd_answer_json(req, 200, json_pack("{s:s}", "status", "OK"));
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

static void configure(struct api_conf *conf)
{
	conf_set_defaults(&api_conf_table, conf);
	str_set(&conf->auth_name, xstrdup("api"));
	str_set(&conf->auth_realm, xstrdup("ungleich-auth"));
	str_set(&conf->auth_seed, xstrdup(SEED));
	str_set(&conf->otp_url,
		xasprintf("http://[::1]:%u/", (unsigned)httpd_port(w.otp, 0)));
	strv_done(&conf->listen);
	strv_add(&conf->listen, "[::1]:0");
	strv_add(&conf->realm_allowed, "users");
	strv_add(&conf->realm_allowed, "others");
	strv_copy(&conf->etcd.url, &test_etcd_client(w.etcd)->url);
	conf->quota.file_gib = 1;
}

static void open_api(struct api_conf *conf, struct api **out)
{
	struct err e;

	if (api_conf_check(conf, &e) < 0 || api_open(conf, out, &e) < 0)
		fail_msg("%s", e.msg);
}

/* ---------------------------------------------------------------- calling */

struct answer {
	int status;
	json_t *json;
	char *text, *location;
};

static void answer_done(struct answer *a)
{
	json_decref(a->json);
	free(a->text);
	free(a->location);
	*a = (struct answer){ 0 };
}

static const char *member(const struct answer *a, const char *name)
{
	const char *s = json_string_value(json_object_get(a->json, name));

	return s ? s : "";
}

static int64_t number(const struct answer *a, const char *name)
{
	json_t *j = json_object_get(a->json, name);

	return json_is_integer(j) ? json_integer_value(j) : -1;
}

static void call_api(struct api *api, struct answer *out, const char *method,
	const char *path, const char *who, const char *const *headers, const char *body,
	size_t size)
{
	struct http_conf conf = { .limit_msec = LIMIT_MSEC };
	CLEANUP(http_resp_done) struct http_resp resp = { 0 };
	CLEANUP_STR char *url =
		xasprintf("http://[::1]:%u%s", (unsigned)api_port(api, 0), path);
	struct http_req req = { .method = method,
		.url = url,
		.authorization = who,
		.body = body,
		.body_size = size,
		.headers = headers };
	struct http *h = http_new(&conf);
	struct err e;

	answer_done(out);
	if (http_call(h, &req, &resp, &e) < 0)
		fail_msg("%s %s: %s", method, path, e.msg);
	http_free(h);
	out->status = resp.status;
	out->location = MOVE(resp.location);
	out->text = buf_take(&resp.body);
	out->json = json_loads(out->text, 0, NULL);
}

static void call(struct answer *out, const char *method, const char *path,
	const char *who, const char *body)
{
	call_api(w.api, out, method, path, who, NULL, body, body ? strlen(body) : 0);
}

static void put(struct answer *out, const char *who, const char *name, const char *header,
	const char *body, size_t size)
{
	CLEANUP_STR char *path = xasprintf("/v1/files/%s", name);
	const char *headers[] = { header, NULL };

	call_api(w.api, out, "PUT", path, who, headers, body, size);
}

static void expect_at(int line, const struct answer *a, int status)
{
	if (a->status != status)
		fail_msg("line %d: status %d, not %d: %s", line, a->status, status,
			a->text);
}
#define expect(a, status) expect_at(__LINE__, a, status)

static char *log_in(const char *user)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *text = xasprintf("%s:" TOKEN, user);
	CLEANUP_STR char *b64 = base64_format(text, strlen(text));
	CLEANUP_STR char *basic = xasprintf("Basic %s", b64);

	call(&a, "POST", "/v1/session", basic, NULL);
	expect(&a, 201);
	return xasprintf("Bearer %s", member(&a, "token"));
}

static void set_marker(bool is_there)
{
	CLEANUP_STR char *path = xasprintf("%s/" FILE_MARKER, w.base);

	if (is_there)
		test_write_file(path, "");
	else
		assert_int_equal(unlink(path), 0);
}

static int start_world(void **state)
{
	(void)state;
	set_marker(true);
	w.etcd = test_etcd_start(NULL);
	w.kv = test_etcd_open(w.etcd);
	start_otp();
	configure(&w.conf);
	str_set(&w.conf.base_dir, xstrdup(w.base));
	open_api(&w.conf, &w.api);
	configure(&w.away_conf);
	str_set(&w.away_conf.upload_url,
		xasprintf("http://[::1]:%u", (unsigned)api_port(w.api, 0)));
	open_api(&w.away_conf, &w.away);
	w.alice = log_in("alice@users");
	w.bob = log_in("bob@others");
	w.admin = log_in("root@ungleich-admin");
	return 0;
}

static int stop_world(void **state)
{
	(void)state;
	api_close(w.away);
	api_close(w.api);
	httpd_close(w.otp);
	kv_close(w.kv);
	test_etcd_free(w.etcd);
	conf_done(&api_conf_table, &w.conf);
	conf_done(&api_conf_table, &w.away_conf);
	free(w.base);
	free(w.alice);
	free(w.bob);
	free(w.admin);
	return 0;
}

/* ---------------------------------------------------------------- what is on the disk */

static char *content_of(const char *path)
{
	CLEANUP_STR char *full = xasprintf("%s/%s", w.base, path);

	return test_read_file(full);
}

static bool exists(const char *path)
{
	CLEANUP_STR char *full = xasprintf("%s/%s", w.base, path);
	struct stat st;

	return lstat(full, &st) == 0;
}

static char *part_path(const char *owner, const char *realm, const char *name)
{
	char uuid[UUID_STR_SIZE];

	file_uuid(realm, owner, name, uuid);
	return xasprintf("%s%s%s/.ucloud-upload/%s.part", owner,
		strcmp(realm, "users") == 0 ? "" : "@",
		strcmp(realm, "users") == 0 ? "" : realm, uuid);
}

static bool has_part(const char *name)
{
	CLEANUP_STR char *path = part_path("alice", "users", name);

	return exists(path);
}

static int64_t part_size(const char *name)
{
	CLEANUP_STR char *path = part_path("alice", "users", name);
	CLEANUP_STR char *full = xasprintf("%s/%s", w.base, path);
	struct stat st;

	return stat(full, &st) == 0 ? st.st_size : -1;
}

static char *hex_of(const char *p, size_t size)
{
	char hex[SHA512_HEX_SIZE];
	struct sha512 h;

	sha512_start(&h);
	sha512_add(&h, p, size);
	sha512_hex(&h, hex);
	return xstrdup(hex);
}

static char *digest_of(const char *p, size_t size)
{
	CLEANUP_STR char *hex = hex_of(p, size);
	CLEANUP_STR char *b64 = NULL;
	unsigned char bytes[64];

	for (size_t i = 0; i < sizeof(bytes); i++)
		assert_int_equal(sscanf(hex + 2 * i, "%2hhx", &bytes[i]), 1);
	b64 = base64_format(bytes, sizeof(bytes));
	return xasprintf("Repr-Digest: sha-512=:%s:", b64);
}

/* As ucloud-filescan does. */
static void publish(const char *owner, const char *realm, const char *name, int64_t size,
	const char *sha512)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP(file_done)
	struct file f = { .uuid = xmalloc(UUID_STR_SIZE),
		.owner = xstrdup(owner),
		.owner_realm = xstrdup(realm),
		.filename = xstrdup(name),
		.size_bytes = size,
		.sha512 = xstrdup(sha512),
		.identity = xstrdup("1:2:3") };
	CLEANUP_STR char *key = NULL;
	CLEANUP_STR char *index = key_file_name(realm, owner, name);
	CLEANUP_STR char *text = NULL;
	struct err e;

	file_uuid(realm, owner, name, f.uuid);
	key = key_file(&w.conf.keys, f.uuid);
	text = file_format(&f);
	kv_txn_put(t, key, text);
	kv_txn_put(t, index, f.uuid);
	assert_int_equal(kv_txn_commit(w.kv, t, NULL, &e), 0);
}

/* ---------------------------------------------------------------- a client of its own */

static int dial(void)
{
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6,
		.sin6_addr = IN6ADDR_LOOPBACK_INIT,
		.sin6_port = htons(api_port(w.api, 0)) };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		fail_msg("connect: %s", strerror(errno));
	return fd;
}

static void send_all(int fd, const char *p, size_t size)
{
	while (size > 0) {
		ssize_t n = send(fd, p, size, MSG_NOSIGNAL);

		if (n <= 0)
			fail_msg("send: %s", strerror(errno));
		p += n;
		size -= (size_t)n;
	}
}

static void send_head(int fd, const char *name, const char *who, const char *headers)
{
	CLEANUP_STR char *text = xasprintf("PUT /v1/files/%s HTTP/1.1\r\nHost: x\r\n"
					   "Authorization: %s\r\n%s\r\n",
		name, who, headers);

	send_all(fd, text, strlen(text));
}

/* Until the text has `want` in it, or (NULL) the connection ends. */
static char *receive(int fd, const char *want)
{
	struct buf b = { 0 };
	char chunk[4096];

	while (!want || !strstr(buf_str(&b), want)) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n;

		if (poll(&p, 1, LIMIT_MSEC) <= 0)
			fail_msg("waited too long after '%s'", buf_str(&b));
		n = recv(fd, chunk, sizeof(chunk), 0);
		if (n <= 0)
			break;
		buf_add(&b, chunk, (size_t)n);
	}
	if (want && !strstr(buf_str(&b), want))
		fail_msg("'%s' is not in '%s'", want, buf_str(&b));
	return buf_take(&b);
}

/* ---------------------------------------------------------------- uploads */

static void test_upload(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *digest = digest_of("hello", 5);
	CLEANUP_STR char *hex = hex_of("hello", 5);
	CLEANUP_STR char *text = NULL;
	struct stat st;

	(void)state;
	put(&a, w.alice, "a.img", digest, "hello", 5);
	expect(&a, 201);
	assert_string_equal(a.location, "/v1/files/a.img");
	assert_string_equal(member(&a, "filename"), "a.img");
	assert_string_equal(member(&a, "sha512"), hex);
	assert_int_equal(number(&a, "size_bytes"), 5);
	text = content_of("alice/a.img");
	assert_string_equal(text, "hello");
	assert_false(has_part("a.img"));
	/* Others of the group (ucloud-filescan) may read it; nobody else. */
	str_set(&text, xasprintf("%s/alice", w.base));
	assert_int_equal(stat(text, &st), 0);
	assert_int_equal(st.st_mode & 07777, 02770);
	str_set(&text, xasprintf("%s/alice/a.img", w.base));
	assert_int_equal(stat(text, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);

	/* Again: it is replaced. Without a digest, too. */
	put(&a, w.alice, "a.img", NULL, "hello again", 11);
	expect(&a, 201);
	assert_string_equal(member(&a, "sha512"), "");
	str_set(&text, content_of("alice/a.img"));
	assert_string_equal(text, "hello again");

	put(&a, w.alice, "dir/with%20blank/x", NULL, "", 0);
	expect(&a, 201);
	assert_string_equal(a.location, "/v1/files/dir/with%20blank/x");
	assert_true(exists("alice/dir/with blank/x"));
	put(&a, w.bob, "b", NULL, "bob's", 5);
	expect(&a, 201);
	str_set(&text, content_of("bob@others/b"));
	assert_string_equal(text, "bob's");
}

static void test_large_and_chunked(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *bytes = xmalloc(9 * MIB);
	CLEANUP_STR char *digest = NULL;
	CLEANUP_STR char *text = NULL;
	CLEANUP_STR char *head = NULL;
	int fd = dial();

	(void)state;
	for (size_t i = 0; i < 9 * MIB; i++)
		bytes[i] = (char)(i * 31 >> 7);
	digest = digest_of(bytes, 9 * MIB);
	put(&a, w.alice, "large", digest, bytes, 9 * MIB);
	expect(&a, 201);
	assert_int_equal(number(&a, "size_bytes"), 9 * MIB);

	head = xasprintf(
		"Transfer-Encoding: chunked\r\nConnection: close\r\n%s\r\n", digest);
	send_head(fd, "chunked", w.alice, head);
	for (size_t i = 0; i < 9; i++) {
		send_all(fd, "100000\r\n", 8);
		send_all(fd, bytes + i * MIB, MIB);
		send_all(fd, "\r\n", 2);
	}
	send_all(fd, "0\r\n\r\n", 5);
	text = receive(fd, NULL);
	assert_non_null(strstr(text, "HTTP/1.1 201 "));
	close(fd);
}

static void test_refused_before_the_body(void **state)
{
	static const struct {
		const char *name, *headers, *want;
		bool is_anonymous;
	} cases[] = {
		{ "x", "Content-Length: 9999999\r\n", "HTTP/1.1 401 ", true },
		{ "x", "Content-Length: 2000000000\r\n", "quota", false },
		{ "x", "Content-Range: bytes 5-6/7\r\nContent-Length: 2\r\n",
			"\"offset\":0", false },
		{ "x", "Content-Range: bytes 5-\r\nContent-Length: 2\r\n",
			"HTTP/1.1 400 ", false },
		{ "x", "Repr-Digest: sha-512=x\r\nContent-Length: 2\r\n", "HTTP/1.1 400 ",
			false },
		{ "a/../../b", "Content-Length: 2\r\n", "HTTP/1.1 400 ", false },
		{ "%2e%2e/b", "Content-Length: 2\r\n", "HTTP/1.1 400 ", false },
		{ "a%2f..%2fb", "Content-Length: 2\r\n", "HTTP/1.1 400 ", false },
		{ "/b", "Content-Length: 2\r\n", "HTTP/1.1 400 ", false },
		{ "a//b", "Content-Length: 2\r\n", "HTTP/1.1 400 ", false },
		{ ".ucloud-upload/x", "Content-Length: 2\r\n", "ucloud's own", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP_STR char *text = NULL;
		CLEANUP_STR char *headers =
			xasprintf("%sExpect: 100-continue\r\n", cases[i].headers);
		int fd = dial();

		send_head(fd, cases[i].name, cases[i].is_anonymous ? "Bearer x" : w.alice,
			headers);
		text = receive(fd, NULL);
		if (strncmp(text, "HTTP/1.1 4", 10) != 0 || !strstr(text, cases[i].want))
			fail_msg("case %zu: %s", i, text);
		close(fd);
	}
	assert_false(exists("b"));
	assert_false(exists("alice/b"));
}

static void test_length_is_needed(void **state)
{
	CLEANUP_STR char *text = NULL;
	int fd = dial();

	(void)state;
	send_head(fd, "x", w.alice, "Connection: close\r\n");
	text = receive(fd, NULL);
	assert_non_null(strstr(text, "HTTP/1.1 411 "));
	close(fd);
}

static bool has_six(void *aux)
{
	(void)aux;
	return part_size("cut") == 6;
}

static bool is_unlocked(void *aux)
{
	CLEANUP(answer_done) struct answer a = { 0 };

	put(&a, w.alice, aux, "Content-Range: bytes */10", "", 0);
	return a.status != 409;
}

static void test_resume(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *digest = digest_of("0123456789", 10);
	CLEANUP_STR char *head = xasprintf("%s\r\nContent-Length: 10\r\n", digest);
	CLEANUP_STR char *text = NULL;
	char cut[] = "cut";
	int fd = dial();

	(void)state;
	put(&a, w.alice, cut, "Content-Range: bytes */10", "", 0);
	expect(&a, 200);
	assert_int_equal(number(&a, "offset"), 0);
	send_head(fd, cut, w.alice, head);
	send_all(fd, "012345", 6);
	assert_true(wait_until(has_six, NULL, LIMIT_MSEC));
	/* Two at once. */
	put(&a, w.alice, cut, NULL, "x", 1);
	expect(&a, 409);
	assert_non_null(strstr(member(&a, "detail"), "just now"));
	close(fd);
	assert_true(wait_until(is_unlocked, cut, LIMIT_MSEC));
	put(&a, w.alice, cut, "Content-Range: bytes */10", "", 0);
	expect(&a, 200);
	assert_int_equal(number(&a, "offset"), 6);
	put(&a, w.alice, cut, "Content-Range: bytes 5-9/10", "56789", 5);
	expect(&a, 409);
	assert_int_equal(number(&a, "offset"), 6);
	put(&a, w.alice, cut, "Content-Range: bytes 6-7/10", "67", 2);
	expect(&a, 202);
	assert_int_equal(number(&a, "offset"), 8);
	assert_false(exists("alice/cut"));
	str_set(&head, xasprintf("%s\r\nContent-Range: bytes 8-9/10", digest));
	fd = dial();
	str_set(&text,
		xasprintf("%s\r\nContent-Length: 2\r\nConnection: close\r\n", head));
	send_head(fd, cut, w.alice, text);
	send_all(fd, "89", 2);
	str_set(&text, receive(fd, NULL));
	assert_non_null(strstr(text, "HTTP/1.1 201 "));
	close(fd);
	str_set(&text, content_of("alice/cut"));
	assert_string_equal(text, "0123456789");
	assert_false(has_part(cut));
}

/* All of it was there when the server or the client died: asking makes it a file. */
static void test_resume_complete(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *path = part_path("alice", "users", "done");
	CLEANUP_STR char *full = xasprintf("%s/%s", w.base, path);
	CLEANUP_STR char *text = NULL;

	(void)state;
	test_write_file(full, "complete");
	put(&a, w.alice, "done", "Content-Range: bytes */8", "", 0);
	expect(&a, 201);
	text = content_of("alice/done");
	assert_string_equal(text, "complete");
	/* More than the file would be: of another one. */
	test_write_file(full, "complete");
	put(&a, w.alice, "done", "Content-Range: bytes */5", "", 0);
	expect(&a, 200);
	assert_int_equal(number(&a, "offset"), 0);
	put(&a, w.alice, "done", NULL, "short", 5);
	expect(&a, 201);
	str_set(&text, content_of("alice/done"));
	assert_string_equal(text, "short");
}

static void test_wrong_digest(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *digest = digest_of("right", 5);
	CLEANUP_STR char *path = part_path("alice", "users", "w");
	CLEANUP_STR char *full = xasprintf("%s/%s", w.base, path);

	(void)state;
	put(&a, w.alice, "w", digest, "wrong", 5);
	expect(&a, 400);
	assert_string_equal(member(&a, "field"), "Repr-Digest");
	assert_false(exists("alice/w"));
	assert_false(has_part("w"));
	/* The same for what was there before. */
	test_write_file(full, "wrong");
	str_set(&digest, xasprintf("%s\r\nContent-Range: bytes */5", digest));
	{
		CLEANUP_STR char *text = NULL;
		CLEANUP_STR char *head = xasprintf(
			"%s\r\nContent-Length: 0\r\nConnection: close\r\n", digest);
		int fd = dial();

		send_head(fd, "w", w.alice, head);
		text = receive(fd, NULL);
		assert_non_null(strstr(text, "HTTP/1.1 400 "));
		close(fd);
	}
	assert_false(exists("alice/w"));
	assert_false(has_part("w"));
}

static void test_quota(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *dir = xasprintf("%s/carol", w.base);
	CLEANUP_STR char *big = xasprintf("%s/carol/big", w.base);
	CLEANUP_STR char *carol = log_in("carol@users");
	static char bytes[2 * MIB];
	CLEANUP_STR char *text = NULL, *left = NULL;
	int fd;

	(void)state;
	/* By other ways than ours; it counts as soon as it is there. */
	test_mkdir(dir);
	fd = open(big, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1024 * MIB - MIB), 0);
	close(fd);
	put(&a, carol, "more", NULL, bytes, 2 * MIB);
	expect(&a, 403);
	assert_string_equal(member(&a, "kind"), "quota");
	put(&a, carol, "fits", NULL, bytes, MIB);
	expect(&a, 201);
	put(&a, carol, "more", NULL, bytes, 1);
	expect(&a, 403);
	left = part_path("carol", "users", "more");
	assert_false(exists(left)); /* nothing has come */
	/* What is replaced does not count twice. */
	put(&a, carol, "big", NULL, bytes, 2 * MIB);
	expect(&a, 201);
	put(&a, carol, "more", NULL, bytes, 2 * MIB);
	expect(&a, 201);

	/* Of unknown length: as far as it goes. */
	test_remove(big);
	fd = open(big, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, 1024 * MIB - 4 * MIB), 0);
	close(fd);
	fd = dial();
	send_head(fd, "chunked", carol,
		"Transfer-Encoding: chunked\r\nConnection: close\r\n");
	send_all(fd, "200000\r\n", 8);
	send_all(fd, bytes, 2 * MIB);
	send_all(fd, "\r\n0\r\n\r\n", 7);
	text = receive(fd, NULL);
	assert_true(*text == '\0' || strstr(text, "HTTP/1.1 403 "));
	close(fd);
	assert_false(exists("carol/chunked"));
}

/* A file system of 4 MiB for one user; only root can make one. */
static bool has_small_disk;

static void make_small_disk(void)
{
	CLEANUP_STR char *dir = test_path("files/grace");

	test_mkdir(w.base);
	test_mkdir(dir);
	has_small_disk = unshare(CLONE_NEWNS) == 0 &&
			 mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
			 mount("none", dir, "tmpfs", 0, "size=4m,mode=0770") == 0;
}

static void test_disk_full(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *grace = NULL;
	CLEANUP_STR char *text = NULL;
	static char bytes[6 * MIB];
	int fd;

	(void)state;
	if (!has_small_disk)
		skip();
	grace = log_in("grace@users");
	fd = dial();
	send_head(
		fd, "full", grace, "Content-Length: 6291456\r\nExpect: 100-continue\r\n");
	text = receive(fd, "are free");
	assert_non_null(strstr(text, "HTTP/1.1 507 "));
	close(fd);
	put(&a, grace, "fits", NULL, bytes, MIB);
	expect(&a, 201);
	/* Of unknown length: the disk fills up in the middle. What came is kept. */
	fd = dial();
	send_head(fd, "chunked", grace,
		"Transfer-Encoding: chunked\r\nConnection: close\r\n");
	send_all(fd, "380000\r\n", 8);
	send_all(fd, bytes, 0x380000);
	send_all(fd, "\r\n0\r\n\r\n", 7);
	str_set(&text, receive(fd, "kept for a week"));
	assert_non_null(strstr(text, "HTTP/1.1 507 "));
	close(fd);
	assert_false(exists("grace/chunked"));
	call(&a, "DELETE", "/v1/files/chunked", grace, NULL);
	expect(&a, 204);
	put(&a, grace, "fits-too", NULL, bytes, 2 * MIB);
	expect(&a, 201);
}

static void test_in_the_way(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *link = xasprintf("%s/alice/link", w.base);
	CLEANUP_STR char *file_link = xasprintf("%s/alice/filelink", w.base);
	CLEANUP_STR char *user_link = xasprintf("%s/dave", w.base);
	CLEANUP_STR char *outside = test_path("outside");
	CLEANUP_STR char *victim = test_path("outside/victim");
	CLEANUP_STR char *text = NULL;
	CLEANUP_STR char *dave = log_in("dave@users");
	CLEANUP_STR char *too_long = NULL;
	struct buf name = { 0 };

	(void)state;
	test_mkdir(outside);
	test_write_file(victim, "untouched");
	assert_int_equal(symlink(outside, link), 0);
	assert_int_equal(symlink(victim, file_link), 0);
	assert_int_equal(symlink(outside, user_link), 0);
	put(&a, w.alice, "link/x", NULL, "evil", 4);
	expect(&a, 409);
	put(&a, w.alice, "link", NULL, "evil", 4);
	expect(&a, 409);
	put(&a, w.alice, "filelink", NULL, "evil", 4);
	expect(&a, 409);
	put(&a, dave, "victim", NULL, "evil", 4);
	assert_true(a.status >= 400);
	call(&a, "DELETE", "/v1/files/link/victim", w.alice, NULL);
	expect(&a, 404);
	call(&a, "DELETE", "/v1/files/filelink", w.alice, NULL);
	expect(&a, 404);
	call(&a, "DELETE", "/v1/files/../outside/victim", w.alice, NULL);
	assert_true(a.status == 400 || a.status == 404);
	text = test_read_file(victim);
	assert_string_equal(text, "untouched");
	str_set(&text, test_path("outside/x"));
	assert_int_equal(access(text, F_OK), -1);

	/* A file where a directory would be needed, and the other way round. */
	put(&a, w.alice, "plain", NULL, "x", 1);
	expect(&a, 201);
	put(&a, w.alice, "plain/below", NULL, "x", 1);
	expect(&a, 409);
	put(&a, w.alice, "tree/leaf", NULL, "x", 1);
	expect(&a, 201);
	put(&a, w.alice, "tree", NULL, "x", 1);
	expect(&a, 409);
	for (int i = 0; i < 300; i++)
		buf_add_char(&name, 'n');
	too_long = buf_take(&name);
	put(&a, w.alice, too_long, NULL, "x", 1);
	expect(&a, 400);
	/* A part that is a link. */
	str_set(&text, part_path("alice", "users", "linked"));
	str_set(&text, xasprintf("%s/%s", w.base, text));
	assert_int_equal(symlink(victim, text), 0);
	put(&a, w.alice, "linked", NULL, "evil", 4);
	expect(&a, 409);
	str_set(&text, test_read_file(victim));
	assert_string_equal(text, "untouched");
}

static void test_redirect(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *want = xasprintf(
		"http://[::1]:%u/v1/files/dir/a%%20b", (unsigned)api_port(w.api, 0));

	(void)state;
	call_api(w.away, &a, "PUT", "/v1/files/dir/a%20b", w.alice, NULL, "x", 1);
	expect(&a, 307);
	assert_string_equal(a.location, want);
	call_api(w.away, &a, "DELETE", "/v1/files/dir/a%20b", w.alice, NULL, NULL, 0);
	expect(&a, 307);
	assert_string_equal(a.location, want);
	call_api(w.away, &a, "PUT", "/v1/files/x", "Bearer x", NULL, "x", 1);
	expect(&a, 401);
	call_api(w.away, &a, "PUT", "/v1/files/a%2f..%2fx", w.alice, NULL, "x", 1);
	expect(&a, 400);
	call_api(w.away, &a, "GET", "/v1/files", w.alice, NULL, NULL, 0);
	expect(&a, 200);
}

static void test_nowhere(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	struct api_conf conf = { 0 };
	struct api *api;

	(void)state;
	configure(&conf);
	open_api(&conf, &api);
	call_api(api, &a, "PUT", "/v1/files/x", w.alice, NULL, "x", 1);
	expect(&a, 501);
	assert_non_null(strstr(member(&a, "detail"), "upload_url"));
	call_api(api, &a, "DELETE", "/v1/files/x", w.alice, NULL, NULL, 0);
	expect(&a, 501);
	api_close(api);
	conf_done(&api_conf_table, &conf);
}

static void test_delete(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *path = NULL;
	char uuid[UUID_STR_SIZE];

	(void)state;
	put(&a, w.alice, "d/e/f", NULL, "x", 1);
	expect(&a, 201);
	call(&a, "DELETE", "/v1/files/d/e/f", w.bob, NULL);
	expect(&a, 404);
	call(&a, "DELETE", "/v1/files/d", w.alice, NULL);
	expect(&a, 404);
	call(&a, "DELETE", "/v1/files/d/e/f", w.alice, NULL);
	expect(&a, 204);
	assert_false(exists("alice/d"));
	call(&a, "DELETE", "/v1/files/d/e/f", w.alice, NULL);
	expect(&a, 404);
	/* An upload that broke off. */
	path = part_path("alice", "users", "half");
	str_set(&path, xasprintf("%s/%s", w.base, path));
	test_write_file(path, "ha");
	call(&a, "DELETE", "/v1/files/half", w.alice, NULL);
	expect(&a, 204);
	assert_false(has_part("half"));
	/* By uuid, and by admins. */
	put(&a, w.alice, "g", NULL, "x", 1);
	expect(&a, 201);
	publish("alice", "users", "g", 1, "00");
	file_uuid("users", "alice", "g", uuid);
	str_set(&path, xasprintf("/v1/files/%s", uuid));
	call(&a, "DELETE", path, w.bob, NULL);
	expect(&a, 404);
	call(&a, "DELETE", path, w.alice, NULL);
	expect(&a, 204);
	assert_false(exists("alice/g"));
	put(&a, w.alice, "g", NULL, "x", 1);
	call(&a, "DELETE", "/v1/files/g?owner=alice@users", w.bob, NULL);
	expect(&a, 404);
	call(&a, "DELETE", "/v1/files/g?owner=alice@users", w.admin, NULL);
	expect(&a, 204);
}

static void test_not_mounted(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };

	(void)state;
	set_marker(false);
	put(&a, w.alice, "nowhere", NULL, "x", 1);
	expect(&a, 503);
	assert_non_null(strstr(member(&a, "detail"), "mounted"));
	call(&a, "DELETE", "/v1/files/a.img", w.alice, NULL);
	expect(&a, 503);
	set_marker(true);
	assert_false(exists("alice/nowhere"));
	put(&a, w.alice, "nowhere", NULL, "x", 1);
	expect(&a, 201);
}

static void test_too_many_at_once(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *erin = log_in("erin@users");
	int fds[UPLOADS_PER_USER];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		CLEANUP_STR char *name = xasprintf("n%zu", i);

		CLEANUP_STR char *text = NULL;

		fds[i] = dial();
		send_head(fds[i], name, erin,
			"Content-Length: 5\r\nExpect: 100-continue\r\n");
		text = receive(fds[i], "100 Continue");
	}
	put(&a, erin, "more", NULL, "x", 1);
	expect(&a, 429);
	put(&a, w.alice, "others", NULL, "x", 1);
	expect(&a, 201);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
}

/* ---------------------------------------------------------------- list, show, wait */

static void test_list_and_show(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *frank = log_in("frank@users");
	char uuid[UUID_STR_SIZE];
	CLEANUP_STR char *path = NULL;

	(void)state;
	publish("frank", "users", "b.img", 7, "0b");
	publish("frank", "users", "a/b", 5, "0a");
	publish("frank", "users", "c", 9, "0c");
	call(&a, "GET", "/v1/files?limit=2", frank, NULL);
	expect(&a, 200);
	assert_int_equal(json_array_size(json_object_get(a.json, "files")), 2);
	assert_string_equal(member(&a, "next"), "b.img");
	assert_null(json_object_get(
		json_array_get(json_object_get(a.json, "files"), 0), "identity"));
	call(&a, "GET", "/v1/files?after=b.img", frank, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "files")), 1);
	call(&a, "GET", "/v1/files?owner=frank@users", w.alice, NULL);
	expect(&a, 403);
	call(&a, "GET", "/v1/files?owner=frank@users", w.admin, NULL);
	expect(&a, 200);
	assert_int_equal(json_array_size(json_object_get(a.json, "files")), 3);
	call(&a, "GET", "/v1/files/a/b", frank, NULL);
	expect(&a, 200);
	assert_int_equal(number(&a, "size_bytes"), 5);
	call(&a, "GET", "/v1/files/a/b", w.alice, NULL);
	expect(&a, 404);
	call(&a, "GET", "/v1/files/a/b?owner=frank@users", w.alice, NULL);
	expect(&a, 404);
	call(&a, "GET", "/v1/files/a/b?owner=frank@users", w.admin, NULL);
	expect(&a, 200);
	file_uuid("users", "frank", "c", uuid);
	path = xasprintf("/v1/files/%s", uuid);
	call(&a, "GET", path, frank, NULL);
	expect(&a, 200);
	assert_string_equal(member(&a, "filename"), "c");
	call(&a, "GET", path, w.alice, NULL);
	expect(&a, 404);
}

struct waiting {
	pthread_t thread;
	char *path;
	struct answer a;
};

static void *wait_main(void *aux)
{
	struct waiting *wa = aux;

	call(&wa->a, "GET", wa->path, w.alice, NULL);
	return NULL;
}

static void wait_begin(struct waiting *wa)
{
	pthread_create(&wa->thread, NULL, wait_main, wa);
}

static void wait_end(struct waiting *wa, int status)
{
	pthread_join(wa->thread, NULL);
	expect(&wa->a, status);
}

static void test_events(void **state)
{
	CLEANUP_STR char *head = xasprintf("GET /v1/events HTTP/1.1\r\nHost: x\r\n"
					   "Authorization: %s\r\n\r\n",
		w.alice);
	CLEANUP_STR char *text = NULL;
	int fd = dial();

	(void)state;
	send_all(fd, head, strlen(head));
	text = receive(fd, "event: reset");
	publish("bob", "others", "not-for-alice", 1, "00");
	publish("alice", "users", "for-alice", 1, "00");
	str_set(&text, receive(fd, "for-alice"));
	assert_non_null(strstr(text, "event: file\n"));
	assert_null(strstr(text, "not-for-alice"));
	close(fd);
}

static void test_wait_for_the_scan(void **state)
{
	char uuid[UUID_STR_SIZE];
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *old = hex_of("old", 3);
	CLEANUP_STR char *new = hex_of("new", 3);
	struct waiting wa = { .path = xasprintf(
				      "/v1/files/scan?wait=%s&timeout=20", new) };
	CLEANUP_STR char *late = xasprintf("/v1/files/scan?wait=%s&timeout=0", new);

	(void)state;
	call(&a, "GET", "/v1/files/scan?wait=RUNNING", w.alice, NULL);
	expect(&a, 400);
	call(&a, "GET", late, w.alice, NULL);
	expect(&a, 504);
	publish("alice", "users", "scan", 3, old);
	call(&a, "GET", late, w.alice, NULL);
	expect(&a, 504);
	wait_begin(&wa);
	publish("alice", "users", "scan", 3, new);
	wait_end(&wa, 200);
	assert_string_equal(member(&wa.a, "sha512"), new);
	/* By uuid; others wait for nothing that is not theirs. */
	file_uuid("users", "alice", "scan", uuid);
	str_set(&late, xasprintf("/v1/files/%s?wait=%s&timeout=0", uuid, new));
	call(&a, "GET", late, w.alice, NULL);
	expect(&a, 200);
	call(&a, "GET", late, w.bob, NULL);
	expect(&a, 404);
	str_set(&late,
		xasprintf("/v1/files/scan?owner=alice@users&wait=%s&timeout=0", new));
	call(&a, "GET", late, w.admin, NULL);
	expect(&a, 200);
	call(&a, "GET", late, w.bob, NULL);
	expect(&a, 404);
	answer_done(&wa.a);
	free(wa.path);
}

static void set_image(const char *uuid, enum image_status status, int64_t progress)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = key_image(&w.conf.keys, uuid);
	CLEANUP(image_done) struct image im = { 0 };
	CLEANUP_STR char *text = NULL;
	struct err e;

	assert_int_equal(kv_get(w.kv, key, &pair, NULL, &e), 0);
	assert_int_equal(image_parse(pair.value, pair.value_size, &im, &e), 0);
	im.status = (int)status;
	im.progress = progress;
	if (status == IMAGE_ERROR)
		str_set(&im.reason, xstrdup("it names a backing file"));
	text = image_format_text(&im);
	kv_txn_put(t, key, text);
	assert_int_equal(kv_txn_commit(w.kv, t, NULL, &e), 0);
}

static void test_images(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *uuid = NULL;
	struct waiting wa = { .path = xstrdup("/v1/images/deb?wait=CREATED&timeout=20") };

	(void)state;
	call(&a, "POST", "/v1/image_stores", w.admin,
		"{\"name\":\"local\",\"type\":\"filesystem\",\"path\":\"/srv/ucloud\"}");
	expect(&a, 201);
	publish("alice", "users", "deb.qcow2", 3, "0d");
	call(&a, "POST", "/v1/images", w.alice,
		"{\"name\":\"deb\",\"file\":\"deb.qcow2\"}");
	expect(&a, 202);
	uuid = xstrdup(member(&a, "uuid"));
	assert_string_equal(member(&a, "status"), "TO_BE_CREATED");
	call(&a, "GET", "/v1/requests", w.alice, NULL);
	expect(&a, 200);
	assert_int_equal(json_array_size(json_object_get(a.json, "requests")), 1);
	call(&a, "GET", "/v1/requests", w.bob, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "requests")), 0);
	set_image(uuid, IMAGE_TO_BE_CREATED, 12);
	call(&a, "GET", "/v1/images/deb?wait=CREATED&timeout=0", w.alice, NULL);
	expect(&a, 504);
	assert_non_null(strstr(member(&a, "detail"), "12 %"));
	call(&a, "GET", "/v1/images/deb?wait=x", w.alice, NULL);
	expect(&a, 400);
	wait_begin(&wa);
	set_image(uuid, IMAGE_CREATED, 0);
	wait_end(&wa, 200);
	assert_string_equal(member(&wa.a, "status"), "CREATED");
	set_image(uuid, IMAGE_ERROR, 0);
	call(&a, "GET", "/v1/images/deb?wait=CREATED&timeout=20", w.alice, NULL);
	expect(&a, 200);
	assert_string_equal(member(&a, "reason"), "it names a backing file");
	call(&a, "DELETE", "/v1/images/deb", w.alice, NULL);
	expect(&a, 202);
	assert_string_equal(member(&a, "status"), "TO_BE_DELETED");
	answer_done(&wa.a);
	free(wa.path);
}

/* ---------------------------------------------------------------- ucloud-cli */

/* build/plain/tests/contract/test_files -> build/plain/ucloud-cli/ucloud-cli */
static char *cli_program(void)
{
	char self[4096] = "";
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_true(n > 0);
	for (int i = 0; i < 3; i++)
		*strrchr(self, '/') = '\0';
	return xasprintf("%s/ucloud-cli/ucloud-cli", self);
}

/* As alice, of the API that sends uploads elsewhere. */
static int cli(char **out, const char *line)
{
	CLEANUP_STR char *program = cli_program();
	CLEANUP_STR char *conf = test_path("cli.conf");
	CLEANUP_STR char *cache = test_path("cache");
	CLEANUP_STR char *text =
		xasprintf("[ucloud-cli]\napi = http://[::1]:%u\nname = alice\n"
			  "realm = users\nseed = " SEED "\n",
			(unsigned)api_port(w.away, 0));
	CLEANUP_STR char *command =
		xasprintf("XDG_CACHE_HOME=%s exec %s --config %s %s 2>&1", cache, program,
			conf, line);
	const char *argv[] = { "sh", "-c", command, NULL };

	test_write_file(conf, text);
	assert_int_equal(chmod(conf, 0600), 0);
	test_mkdir(cache);
	return test_run(argv, LIMIT_MSEC, out);
}

static void cli_says_at(int line_no, const char *line, int status, const char *want)
{
	CLEANUP_STR char *out = NULL;
	int got = cli(&out, line);

	if (got != status || !strstr(out, want))
		fail_msg("line %d: %s: %d: %s", line_no, line, got, out);
}
#define cli_says(...) cli_says_at(__LINE__, __VA_ARGS__)

static void test_cli(void **state)
{
	CLEANUP_STR char *program = cli_program();
	CLEANUP_STR char *local = test_path("disk.img");
	CLEANUP_STR char *upload = xasprintf("file upload %s --name cli/disk.img", local);
	CLEANUP_STR char *line = xasprintf("%s --no-wait", upload);
	CLEANUP_STR char *bytes = xmalloc(3 * MIB + 1);
	CLEANUP_STR char *hex = NULL;
	CLEANUP_STR char *part = part_path("alice", "users", "cli/disk.img");
	CLEANUP_STR char *text = NULL;

	(void)state;
	if (access(program, X_OK) < 0)
		fail_msg("%s is not built", program);
	memset(bytes, 'b', 3 * MIB);
	bytes[3 * MIB] = '\0';
	test_write_file(local, bytes);
	hex = hex_of(bytes, 3 * MIB);
	cli_says("file upload /nonexistent", 1, "No such file");
	cli_says("file upload /", 1, "/ is no file");
	cli_says(line, 0, "file cli/disk.img is uploaded (3.0 MiB");
	text = content_of("alice/cli/disk.img");
	assert_string_equal(text, bytes);
	/* It was found meanwhile. */
	publish("alice", "users", "cli/disk.img", 3 * MIB, hex);
	cli_says(upload, 0, "is there already");
	cli_says("file list", 0, "cli/disk.img");
	cli_says("file show cli/disk.img", 0, hex);
	cli_says("file list --json", 0, "\"size_bytes\": 3145728");
	/* One that broke off goes on. */
	cli_says("file delete cli/disk.img", 0, "file cli/disk.img is deleted");
	assert_false(exists("alice/cli/disk.img"));
	publish("alice", "users", "cli/disk.img", 1, "00");
	bytes[1000] = '\0';
	str_set(&part, xasprintf("%s/%s", w.base, part));
	test_write_file(part, bytes);
	bytes[1000] = 'b';
	cli_says(line, 0, "goes on where it broke off");
	str_set(&text, content_of("alice/cli/disk.img"));
	assert_string_equal(text, bytes);
	/* What was there before is not of this file: begun again. */
	test_write_file(part, "nonsense");
	cli_says(line, 1, "SHA-512 differs");
	cli_says(line, 0, "is uploaded");
	str_set(&line, xasprintf("%s --timeout 1", upload));
	cli_says(line, 4, "is not listed yet");
	cli_says("file delete nothing", 1, "there is no file");
	cli_says("image create --name x --file none", 1, "you have no file");
	cli_says("image create --name x --file cli/disk.img --store local --wait "
		 "--timeout 1",
		4, "is still TO_BE_CREATED");
	cli_says("image delete x", 0, "TO_BE_DELETED");
	cli_says("user show", 0, "files: at most 1 GiB");
}

/* ---------------------------------------------------------------- old parts */

static void test_sweep(void **state)
{
	CLEANUP_STR char *path = part_path("alice", "users", "ancient");
	CLEANUP_STR char *full = xasprintf("%s/%s", w.base, path);
	const int64_t now = clock_unix_sec(), long_ago = now - UPDIR_PART_AGE_SEC - 60;
	const struct timeval times[2] = { { long_ago, 0 }, { long_ago, 0 } };
	struct updir *d;
	unsigned n;
	struct err e;
	int fd;

	(void)state;
	test_write_file(full, "x");
	assert_int_equal(updir_open(w.base, "users", &d, &e), 0);
	assert_int_equal(updir_sweep(d, now - UPDIR_PART_AGE_SEC, &n, &e), 0);
	assert_int_equal(n, 0);
	assert_int_equal(utimes(full, times), 0);
	/* Not while somebody has it. */
	fd = open(full, O_RDONLY | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(updir_sweep(d, now - UPDIR_PART_AGE_SEC, &n, &e), 0);
	assert_int_equal(n, 0);
	close(fd);
	assert_int_equal(updir_sweep(d, now - UPDIR_PART_AGE_SEC, &n, &e), 0);
	assert_int_equal(n, 1);
	assert_false(has_part("ancient"));
	updir_close(d);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_upload),
		cmocka_unit_test(test_large_and_chunked),
		cmocka_unit_test(test_refused_before_the_body),
		cmocka_unit_test(test_length_is_needed),
		cmocka_unit_test(test_resume),
		cmocka_unit_test(test_resume_complete),
		cmocka_unit_test(test_wrong_digest),
		cmocka_unit_test(test_quota),
		cmocka_unit_test(test_disk_full),
		cmocka_unit_test(test_in_the_way),
		cmocka_unit_test(test_redirect),
		cmocka_unit_test(test_nowhere),
		cmocka_unit_test(test_delete),
		cmocka_unit_test(test_not_mounted),
		cmocka_unit_test(test_too_many_at_once),
		cmocka_unit_test(test_list_and_show),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_wait_for_the_scan),
		cmocka_unit_test(test_images),
		cmocka_unit_test(test_cli),
		cmocka_unit_test(test_sweep),
	};

	mem_init();
	crypt_init();
	w.base = test_path("files");
	make_small_disk(); /* before there are threads */
	return cmocka_run_group_tests(tests, start_world, stop_world);
}
