#include "tests/lib/files_world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/http.h"
#include "common/base/sha512.h"
#include "tests/lib/http_raw.h"
#include "tests/lib/test_util.h"

#define TOKEN	   "123456"
#define LIMIT_MSEC 30000

struct files_world fw;

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
	if (httpd_open(&conf, otp_handler, NULL, &fw.otp, &e) < 0)
		fail_msg("%s", e.msg);
	strv_done(&listen);
}

void fw_configure(struct api_conf *conf)
{
	test_api_conf(conf, fw.etcd, (unsigned)httpd_port(fw.otp, 0));
	strv_add(&conf->realm_allowed, "others");
	conf->quota.file_gib = 1;
}

void fw_open_api(struct api_conf *conf, struct api **out)
{
	struct err e;

	if (api_conf_check(conf, &e) < 0 || api_open(conf, out, &e) < 0)
		fail_msg("%s", e.msg);
}

/* ---------------------------------------------------------------- calling */

void answer_done(struct answer *a)
{
	json_decref(a->json);
	free(a->text);
	free(a->location);
	*a = (struct answer){ 0 };
}

const char *answer_member(const struct answer *a, const char *name)
{
	const char *s = json_string_value(json_object_get(a->json, name));

	return s ? s : "";
}

int64_t answer_number(const struct answer *a, const char *name)
{
	json_t *j = json_object_get(a->json, name);

	return json_is_integer(j) ? json_integer_value(j) : -1;
}

void fw_call_api(struct api *api, struct answer *out, const char *method,
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

void fw_call(struct answer *out, const char *method, const char *path, const char *who,
	const char *body)
{
	fw_call_api(fw.api, out, method, path, who, NULL, body, body ? strlen(body) : 0);
}

void fw_put(struct answer *out, const char *who, const char *name, const char *header,
	const char *body, size_t size)
{
	CLEANUP_STR char *path = xasprintf("/v1/files/%s", name);
	const char *headers[] = { header, NULL };

	fw_call_api(fw.api, out, "PUT", path, who, headers, body, size);
}

void answer_is_at(int line, const struct answer *a, int status)
{
	if (a->status != status)
		fail_msg("line %d: status %d, not %d: %s", line, a->status, status,
			a->text);
}

char *fw_log_in(const char *user)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *text = xasprintf("%s:" TOKEN, user);
	CLEANUP_STR char *b64 = base64_format(text, strlen(text));
	CLEANUP_STR char *basic = xasprintf("Basic %s", b64);

	fw_call(&a, "POST", "/v1/session", basic, NULL);
	expect(&a, 201);
	return xasprintf("Bearer %s", answer_member(&a, "token"));
}

/* ---------------------------------------------------------------- beginning and end */

void fw_prepare(void)
{
	mem_init();
	crypt_init();
	fw.base = test_path("files");
	test_mkdir(fw.base);
}

void fw_set_marker(bool is_there)
{
	CLEANUP_STR char *path = xasprintf("%s/" FILE_MARKER, fw.base);

	if (is_there)
		test_write_file(path, "");
	else
		assert_int_equal(unlink(path), 0);
}

int fw_start(void **state)
{
	(void)state;
	fw_set_marker(true);
	fw.etcd = test_etcd_start(NULL);
	fw.kv = test_etcd_open(fw.etcd);
	start_otp();
	fw_configure(&fw.conf);
	str_set(&fw.conf.base_dir, xstrdup(fw.base));
	fw_open_api(&fw.conf, &fw.api);
	fw_configure(&fw.away_conf);
	str_set(&fw.away_conf.upload_url,
		xasprintf("http://[::1]:%u", (unsigned)api_port(fw.api, 0)));
	fw_open_api(&fw.away_conf, &fw.away);
	fw.alice = fw_log_in("alice@users");
	fw.bob = fw_log_in("bob@others");
	fw.admin = fw_log_in("root@ungleich-admin");
	return 0;
}

int fw_stop(void **state)
{
	(void)state;
	api_close(fw.away);
	api_close(fw.api);
	httpd_close(fw.otp);
	kv_close(fw.kv);
	test_etcd_free(fw.etcd);
	conf_done(&api_conf_table, &fw.conf);
	conf_done(&api_conf_table, &fw.away_conf);
	free(fw.base);
	free(fw.alice);
	free(fw.bob);
	free(fw.admin);
	return 0;
}

/* ---------------------------------------------------------------- what is on the disk */

char *fw_content(const char *path)
{
	CLEANUP_STR char *full = xasprintf("%s/%s", fw.base, path);

	return test_read_file(full);
}

bool fw_exists(const char *path)
{
	CLEANUP_STR char *full = xasprintf("%s/%s", fw.base, path);
	struct stat st;

	return lstat(full, &st) == 0;
}

char *fw_part_path(const char *owner, const char *realm, const char *name)
{
	char uuid[UUID_STR_SIZE];

	file_uuid(realm, owner, name, uuid);
	return xasprintf("%s%s%s/.ucloud-upload/%s.part", owner,
		strcmp(realm, "users") == 0 ? "" : "@",
		strcmp(realm, "users") == 0 ? "" : realm, uuid);
}

bool fw_has_part(const char *name)
{
	CLEANUP_STR char *path = fw_part_path("alice", "users", name);

	return fw_exists(path);
}

char *fw_hex(const char *p, size_t size)
{
	char hex[SHA512_HEX_SIZE];
	struct sha512 h;

	sha512_start(&h);
	sha512_add(&h, p, size);
	sha512_hex(&h, hex);
	return xstrdup(hex);
}

char *fw_digest(const char *p, size_t size)
{
	CLEANUP_STR char *hex = fw_hex(p, size);
	CLEANUP_STR char *b64 = NULL;
	unsigned char bytes[64];

	for (size_t i = 0; i < sizeof(bytes); i++)
		assert_int_equal(sscanf(hex + 2 * i, "%2hhx", &bytes[i]), 1);
	b64 = base64_format(bytes, sizeof(bytes));
	return xasprintf("Repr-Digest: sha-512=:%s:", b64);
}

/* As ucloud-filescan does. */
void fw_publish(const char *owner, const char *realm, const char *name, int64_t size,
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
	key = key_file(&fw.conf.keys, f.uuid);
	text = file_format(&f);
	kv_txn_put(t, key, text);
	kv_txn_put(t, index, f.uuid);
	assert_int_equal(kv_txn_commit(fw.kv, t, NULL, &e), 0);
}

/* ---------------------------------------------------------------- a client of its own */

int fw_dial(void)
{
	return raw_dial(api_port(fw.api, 0));
}

void fw_send(int fd, const char *p, size_t size)
{
	if (!raw_put_bytes(fd, p, size))
		fail_msg("send: %s", strerror(errno));
}

void fw_send_head(int fd, const char *name, const char *who, const char *headers)
{
	CLEANUP_STR char *text = xasprintf("PUT /v1/files/%s HTTP/1.1\r\nHost: x\r\n"
					   "Authorization: %s\r\n%s\r\n",
		name, who, headers);

	fw_send(fd, text, strlen(text));
}

char *fw_receive(int fd, const char *want)
{
	struct buf b = { 0 };

	if (!raw_get_until(fd, &b, want))
		fail_msg("'%s' is not in '%s'", want, buf_str(&b));
	return buf_take(&b);
}
