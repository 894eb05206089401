/*
 * The program ucloud-cli against a small imitation of the API in this process: what it sends,
 * what it prints, how it ends.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/crypt.h"
#include "common/base/httpd.h"
#include "common/base/log.h"
#include "tests/lib/test_util.h"

#define SEED	   "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
#define UUID	   "0b5f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a10"
#define LIMIT_MSEC 60000
#define MANY	   1203 /* VMs in the list: three pages */

struct site {
	struct httpd *d;
	pthread_mutex_t lock;
	char token[32];	   /* of the session there is */
	int n_sessions;	   /* that were made */
	int n_looks;	   /* at the VM since it was ordered */
	char *idempotency; /* of the last create */
	json_t *body;	   /* of the last call that had one */
	char *conf, *program, *api;
};

/* -------------------------------------------------------------- the API */

static void refuse(
	struct httpd_req *req, enum err_kind kind, const char *field, const char *msg)
{
	struct err e;

	err_set_field(&e, kind, field, "%s", msg);
	httpd_answer_err(req, &e);
}

/* Any right password, also one that was used: the tests are faster than 30 s. */
static bool is_right(const char *authorization)
{
	char *plain = NULL;
	const char *password;
	struct err e;
	int64_t step;
	size_t size;
	bool is_good;

	if (!authorization || !str_has_prefix(authorization, "Basic ") ||
		base64_parse(authorization + 6, strlen(authorization + 6), &plain, &size,
			&e) < 0)
		return false;
	password = str_has_prefix(plain, "me@home:") ? plain + 8 : "";
	is_good = totp_verify(SEED, password, time(NULL), 1, &step, &e) == 0;
	free(plain);
	return is_good;
}

static void answer_session(struct site *s, struct httpd_req *req)
{
	if (!is_right(httpd_header(req, "Authorization"))) {
		refuse(req, ERR_UNAUTHENTICATED, "", "name, realm or token are wrong");
		return;
	}
	s->n_sessions++;
	snprintf(s->token, sizeof(s->token), "session-%d", s->n_sessions);
	httpd_answer_json(req, 201,
		json_pack("{s:s, s:s}", "token", s->token, "expires",
			"2999-01-01T00:00:00Z"));
}

static json_t *vm_json(const char *name, const char *status, const char *log)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:{s:i, s:i}, s:[{s:s, s:s}]}", "name",
		name, "uuid", UUID, "status", status, "hostname",
		str_eq(status, "RUNNING") ? "h1" : "", "specs", "cpu", 1, "ram_mib", 1024,
		"log", "time", "2026-11-23T04:00:00Z", "text", log);
}

/* With so many interfaces. */
static json_t *nics_json(const char *name, int n, const char *log)
{
	json_t *vm = vm_json(name, "RUNNING", log), *nics = json_array();

	for (int i = 0; i < n; i++)
		json_array_append_new(
			nics, json_pack("{s:s}", "mac",
				      i ? "02:00:00:00:00:02" : "02:00:00:00:00:01"));
	json_object_set_new(vm, "networks", nics);
	return vm;
}

static void answer_list(struct httpd_req *req)
{
	const char *after = httpd_query(req, "after");
	json_t *vms = json_array(), *page;
	int i = after ? (int)strtod(after + 2, NULL) + 1 : 0, end = i + 500;
	char name[16] = "";

	for (; i < end && i < MANY; i++) {
		snprintf(name, sizeof(name), "vm%04d", i);
		json_array_append_new(vms, vm_json(name, "RUNNING", "up"));
	}
	page = json_pack("{s:o, s:s?}", "vms", vms, "next", i < MANY ? name : NULL);
	httpd_answer_json(req, 200, page);
}

/* The VM's name says what happens to it. */
static void answer_vm(struct site *s, struct httpd_req *req, const char *name)
{
	static const char *const way[] = { "REQUESTED_NEW", "SCHEDULED", "RUNNING" };
	bool is_wait = httpd_query(req, "wait") != NULL;

	if (str_eq(name, UUID)) /* the one that was ordered last */
		name = json_string_value(json_object_get(s->body, "name"));
	if (str_eq(name, "missing"))
		refuse(req, ERR_NOT_FOUND, "", "there is no VM \"missing\" of yours");
	else if (str_eq(name, "inside"))
		httpd_answer_json(req, 200,
			json_pack("{s:s, s:[{s:s, s:s, s:s}]}", "name", name, "networks",
				"mac", "02:00:00:00:00:01", "network", "lan", "address",
				"2001:db8::1"));
	else if (str_eq(name, "plug"))
		httpd_answer_json(req, 200, nics_json(name, 1, "it is as ordered"));
	else if (str_eq(name, "later"))
		httpd_answer_json(req, 200,
			nics_json(name, 1,
				"it is there, but not attached before its start"));
	else if (str_eq(name, "keeps"))
		httpd_answer_json(req, 200, nics_json(name, 2, "interface stays"));
	else if (str_eq(name, "etcd-gone"))
		refuse(req, ERR_UNAVAILABLE, "", "etcd does not answer");
	else if (str_eq(name, "evil"))
		httpd_answer_json(
			req, 200, vm_json("evil\x1b[2J", "RUNNING", "x\ny\x1b]0;t\a"));
	else if (str_eq(name, "stuck") && is_wait)
		refuse(req, ERR_TIMEOUT, "", "it is not there yet");
	else if (str_eq(name, "stuck"))
		httpd_answer_json(req, 200, vm_json(name, "SCHEDULED", "is prepared"));
	else if (str_eq(name, "broken"))
		httpd_answer_json(req, 200,
			vm_json(name, s->n_looks++ ? "ERROR" : "SCHEDULED", "disk full"));
	else if (str_eq(name, "gone") && s->n_looks++ > 1)
		httpd_answer_json(req, 200, json_pack("{s:s}", "status", "DELETED"));
	else if (str_eq(name, "gone"))
		httpd_answer_json(req, 200, vm_json(name, "REQUESTED_DELETE", "going"));
	else
		httpd_answer_json(req, 200,
			vm_json(name ? name : "?", way[s->n_looks < 2 ? s->n_looks : 2],
				"on its way"));
	if (is_wait)
		s->n_looks++;
}

static void take_body(struct site *s, struct httpd_req *req)
{
	size_t size;
	const char *text = httpd_body(req, &size);

	json_decref(s->body);
	s->body = json_loadb(text, size, 0, NULL);
	str_set(&s->idempotency, xstrdup(httpd_header(req, "Idempotency-Key")));
	s->n_looks = 0;
}

static void answer_order(struct site *s, struct httpd_req *req)
{
	const char *name;

	take_body(s, req);
	name = json_string_value(json_object_get(s->body, "name"));
	if (str_eq(name, "small"))
		refuse(req, ERR_INVALID, "ram_mib", "must be at least 16");
	else
		httpd_answer_json(req, 202, vm_json(name, "REQUESTED_NEW", "ordered"));
}

static void answer_delete(struct site *s, struct httpd_req *req)
{
	take_body(s, req);
	json_decref(s->body);
	s->body = json_pack("{s:s}", "name", "gone");
	httpd_answer_json(req, 202, vm_json("gone", "REQUESTED_DELETE", "going"));
}

/* An order for interfaces: the VM has two then, and the second one leaves. */
static void answer_nics(struct site *s, struct httpd_req *req)
{
	const char *path = httpd_path(req) + strlen("/v1/vms/");
	char *name = xstrndup(path, strcspn(path, "/"));
	json_t *vm = nics_json(name, 2, "ordered");

	take_body(s, req);
	json_decref(s->body);
	s->body = json_pack("{s:s}", "name", name);
	json_object_set_new(json_array_get(json_object_get(vm, "networks"), 1), "leaving",
		json_true());
	httpd_answer_json(req, 202, vm);
	free(name);
}

static json_t *network_json(const char *name, const char *status)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:s}", "name", name, "uuid",
		UUID, "status", status, "ipam", "auto", "prefix", "2001:db8:1:2::/64",
		"vni", 7, "reason", str_eq(status, "ERROR") ? "no prefix is left" : "");
}

/* Its name says what happens to it. */
static void answer_network(struct site *s, struct httpd_req *req)
{
	const char *method = httpd_method(req), *path = httpd_path(req);
	const char *name = str_eq(path, "/v1/networks") ? "" : path + 13;
	bool is_wait = httpd_query(req, "wait") != NULL;

	if (str_eq(method, "POST") || str_eq(method, "PATCH"))
		take_body(s, req);
	if (str_eq(name, UUID) || !*name)
		name = json_string_value(json_object_get(s->body, "name"));
	if (str_eq(method, "POST"))
		httpd_answer_json(req, 202, network_json(name, "REQUESTED_NEW"));
	else if (str_eq(path, "/v1/networks"))
		httpd_answer_json(req, 200,
			json_pack("{s:[o]}", "networks", network_json("lan", "ACTIVE")));
	else if (str_eq(method, "DELETE") && str_eq(name, "used"))
		refuse(req, ERR_CONFLICT, "", "in use by VMs: delete them first: web");
	else if (str_eq(method, "DELETE"))
		httpd_answer_json(req, 202, network_json(name, "REQUESTED_DELETE"));
	else if (str_eq(httpd_query(req, "wait"), "DELETED"))
		httpd_answer_json(req, 200, json_pack("{s:s}", "status", "DELETED"));
	else if (is_wait && str_eq(name, "full"))
		httpd_answer_json(req, 200, network_json(name, "ERROR"));
	else
		httpd_answer_json(req, 200,
			network_json(name && !str_eq(method, "PATCH") ? name : "lan",
				"ACTIVE"));
}

static void end_session(struct site *s, struct httpd_req *req)
{
	s->token[0] = '\0';
	httpd_answer(req, 204, NULL, "", 0);
}

static void answer(struct site *s, struct httpd_req *req)
{
	const char *path = httpd_path(req), *method = httpd_method(req);
	const char *authorization = httpd_header(req, "Authorization");
	char *bearer = xasprintf("Bearer %s", s->token);
	bool is_known = s->token[0] && str_eq(authorization, bearer);

	free(bearer);
	if (str_eq(path, "/v1/session") && str_eq(method, "POST"))
		answer_session(s, req);
	else if (!is_known)
		refuse(req, ERR_UNAUTHENTICATED, "", "the session has ended");
	else if (str_eq(path, "/v1/session"))
		end_session(s, req);
	else if (str_eq(path, "/v1/vms"))
		str_eq(method, "GET") ? answer_list(req) : answer_order(s, req);
	else if (str_eq(path, "/v1/vms/web/console-log"))
		httpd_answer_json(req, 200,
			json_pack("{s:s, s:b}", "text", "\x1b[1mboot\x1b[0m\r\n",
				"is_cut", 0));
	else if (str_has_prefix(path, "/v1/vms/") && strstr(path, "/networks"))
		answer_nics(s, req);
	else if (str_has_prefix(path, "/v1/networks"))
		answer_network(s, req);
	else if (str_has_prefix(path, "/v1/vms/") && str_eq(method, "DELETE"))
		answer_delete(s, req);
	else if (str_has_prefix(path, "/v1/vms/"))
		answer_vm(s, req, path + strlen("/v1/vms/"));
	else
		refuse(req, ERR_NOT_FOUND, "", "no such path");
}

static enum httpd_result handle(void *aux, struct httpd_req *req)
{
	struct site *s = aux;

	pthread_mutex_lock(&s->lock);
	answer(s, req);
	pthread_mutex_unlock(&s->lock);
	return HTTPD_ANSWERED;
}

/* ------------------------------------------------------------ the program */

/* Runs "ucloud-cli --config CONF <line>" with sh, which takes its quotes and redirections.
 * out and err are the caller's. */
static int cli(struct site *s, const char *line, char **out, char **err)
{
	char *out_path = test_path("out"), *err_path = test_path("err");
	char *command = xasprintf("'%s' --config '%s' %s >'%s' 2>'%s'", s->program,
		s->conf, line, out_path, err_path);
	const char *const argv[] = { "sh", "-c", command, NULL };
	int status = test_run(argv, LIMIT_MSEC, NULL);

	*out = test_read_file(out_path);
	*err = test_read_file(err_path);
	free(command);
	free(out_path);
	free(err_path);
	return status;
}

/* Exit status, and a part of standard output and of standard error ("": nothing at all). */
static void check(struct site *s, const char *line, int status, const char *out_part,
	const char *err_part)
{
	char *out, *err;
	int got = cli(s, line, &out, &err);
	bool is_out = *out_part ? strstr(out, out_part) != NULL : !*out;
	bool is_err = *err_part ? strstr(err, err_part) != NULL : !*err;

	if (got != status || !is_out || !is_err)
		fail_msg("%s\nstatus %d, output:\n%s\nerrors:\n%s", line, got, out, err);
	free(out);
	free(err);
}

static int configure(struct site *s)
{
	char *line =
		xasprintf("configure --force --api %s --name me --realm home --seed -"
			  " <<X\n" SEED "\nX\n",
			s->api);
	char *command =
		xasprintf("'%s' --config '%s' --quiet %s", s->program, s->conf, line);
	const char *const argv[] = { "sh", "-c", command, NULL };
	int status = test_run(argv, LIMIT_MSEC, NULL);

	free(command);
	free(line);
	return status;
}

static void forget_token(struct site *s)
{
	pthread_mutex_lock(&s->lock);
	s->token[0] = '\0';
	pthread_mutex_unlock(&s->lock);
}

static int n_sessions(struct site *s)
{
	int n;

	pthread_mutex_lock(&s->lock);
	n = s->n_sessions;
	pthread_mutex_unlock(&s->lock);
	return n;
}

static int set_up(void **state)
{
	struct site *s = *state;

	forget_token(s);
	assert_int_equal(configure(s), 0);
	pthread_mutex_lock(&s->lock);
	s->n_sessions = 0;
	s->n_looks = 0;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* ---------------------------------------------------------------- tests */

static void configuring(void **state)
{
	struct site *s = *state;
	char *other = test_path("other.conf"), *line, *text, *seed;
	struct stat st;

	assert_int_equal(stat(s->conf, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	text = test_read_file(s->conf);
	assert_non_null(strstr(text, "realm = home"));
	free(text);
	check(s, "configure --api x --name me --realm home --seed " SEED, 1, "",
		"exists; --force replaces it");
	seed = test_path("seed");
	test_write_file(seed, "KRSXG5CTMVRXEZLUKRSXG5CTMVRXEZLU\n");
	line = xasprintf("configure --config '%s' --api %s --name me --realm home --seed "
			 "'@%s/seed'",
		other, s->api, test_dir());
	/* --config stands twice. */
	check(s, line, 2, "", "--config stands twice");
	free(line);
	line = xasprintf("--version >/dev/null; '%s' configure --config '%s' --api %s "
			 "--name me --realm home --seed '@%s/seed'",
		s->program, other, s->api, test_dir());
	check(s, line, 1, "", "the log-in of me@home was refused: name, realm or token");
	assert_int_not_equal(stat(other, &st), 0);
	free(line);
	check(s, "configure --force --api ftp://x --name a --realm b --seed c", 1, "",
		"begins with https:// or http://");
	check(s, "configure --force --name a </dev/null", 1, "", "give --api too");
	free(other);
	free(seed);
}

static void statuses_of_exit(void **state)
{
	struct site *s = *state;

	check(s, "vm show web", 0, "status: REQUESTED_NEW\n", "");
	check(s, "vm show missing", 1, "",
		"ucloud-cli: there is no VM \"missing\" of yours\n");
	check(s, "vm crate", 2, "", "did you mean \"vm create\"?");
	check(s, "vm list --api 'http://[::1]:9'", 3, "", "no answer from the API");
	check(s, "vm show etcd-gone", 3, "", "ucloud-cli: etcd does not answer\n");
	check(s, "vm create --name small --image i --ram 1MiB", 1, "",
		"ucloud-cli: must be at least 16 (--ram)\n");
	check(s, "vm create --name stuck --image i --wait --timeout 1", 4, "",
		"VM stuck is still SCHEDULED after ");
	check(s, "vm create --name broken --image i --wait", 1, "",
		"ucloud-cli: VM broken is in ERROR: disk full\n");
	check(s, "--version", 0, "ucloud-cli 0.", "");
}

static void waiting(void **state)
{
	struct site *s = *state;

	check(s, "vm create --name web --image i --wait", 0,
		"VM web is RUNNING on h1, uuid " UUID "\n",
		"VM web: SCHEDULED: on its way\n");
	check(s, "vm create --name web --image i --wait --quiet", 0, UUID "\n", "");
	check(s, "vm create --name web --image i", 0,
		"VM web is REQUESTED_NEW, uuid " UUID "\n", "");
	check(s, "vm delete gone --wait", 0, "VM gone is deleted\n",
		"VM gone: REQUESTED_DELETE: going\n");
	check(s, "vm create --name web --image i --wait --json", 0,
		"\"status\": \"RUNNING\"", "VM web: ");
}

static json_t *take_member(struct site *s, const char *name)
{
	json_t *got;

	pthread_mutex_lock(&s->lock);
	got = json_incref(json_object_get(s->body, name));
	pthread_mutex_unlock(&s->lock);
	return got;
}

static void networks(void **state)
{
	struct site *s = *state;
	json_t *dns;

	check(s, "network create --name lan --dns 2001:db8::53 --wait", 0,
		"network lan is ACTIVE, prefix 2001:db8:1:2::/64\n",
		"network lan: REQUESTED_NEW\n");
	dns = take_member(s, "dns");
	assert_string_equal(json_string_value(json_array_get(dns, 0)), "2001:db8::53");
	json_decref(dns);
	check(s, "network create --name lan", 0, "network lan is REQUESTED_NEW", "");
	check(s, "network create --name lan --quiet", 0, "lan\n", "");
	check(s, "network create --name full --wait", 1, "",
		"ucloud-cli: network full is in ERROR: no prefix is left\n");
	check(s, "network list", 0, "lan   ACTIVE  auto  2001:db8:1:2::/64  7", "");
	check(s, "network list --json", 0, "\"vni\": 7", "");
	check(s, "network show lan", 0, "prefix: 2001:db8:1:2::/64\n", "");
	check(s, "network show lan --json", 0, "\"prefix\": \"2001:db8:1:2::/64\"", "");
	check(s, "network change lan --no-dns", 0, "network lan is changed\n", "");
	check(s, "network change lan", 1, "", "nothing is to be changed");
	check(s, "network delete used", 1, "", "delete them first: web");
	check(s, "network delete lan --wait", 0, "network lan is deleted\n",
		"network lan: REQUESTED_DELETE\n");
	check(s, "vm show inside", 0, "  0:  02:00:00:00:00:01  lan  2001:db8::1\n", "");
	check(s, "network attach plug lan,x", 2, "", "only a rate may follow");
	check(s, "vm create --name a --image i --network lan,rate=1", 2, "",
		"--network: \"1\" is no rate");
}

/* What the VM has in the end is what counts. */
static void interfaces(void **state)
{
	struct site *s = *state;

	check(s, "network attach plug lan,rate=2Gbit", 0, "VM plug: ordered\n", "");
	check(s, "network detach plug 02:00:00:00:00:01 --quiet", 0, "", "");
	check(s, "network attach plug lan --wait", 0, "VM plug: it is as ordered\n", "");
	check(s, "network detach plug 02:00:00:00:00:01 --wait", 0,
		"VM plug: it is as ordered\n", "");
	check(s, "network attach later lan --wait", 1, "",
		"ucloud-cli: VM later: it is there, but not attached before its start\n");
	check(s, "network detach keeps 02:00:00:00:00:01 --wait", 1, "",
		"ucloud-cli: VM keeps: interface stays\n");
}

/* The key of the last create, the caller's. */
static char *take_idempotency(struct site *s)
{
	char *key;

	pthread_mutex_lock(&s->lock);
	key = MOVE(s->idempotency);
	pthread_mutex_unlock(&s->lock);
	return key;
}

static void creates_are_idempotent(void **state)
{
	struct site *s = *state;
	char *first, *second, *third;

	check(s, "vm create --name web --image i --quiet", 0, UUID, "");
	first = take_idempotency(s);
	assert_true(first && strlen(first) == TOKEN_STR_SIZE - 1);
	check(s, "vm create --name web --image i --quiet", 0, UUID, "");
	second = take_idempotency(s);
	assert_string_not_equal(first, second);
	check(s, "vm create --name web --image i --idempotency-key order-7", 0, UUID, "");
	third = take_idempotency(s);
	assert_string_equal(third, "order-7");
	free(first);
	free(second);
	free(third);
}

static void lists_follow_pages(void **state)
{
	struct site *s = *state;
	char *out, *err;
	size_t n = 0;

	assert_int_equal(cli(s, "vm list", &out, &err), 0);
	for (const char *p = out; (p = strchr(p, '\n')) != NULL; p++)
		n++;
	assert_int_equal(n, MANY + 1);
	assert_non_null(strstr(out, "NAME    STATUS   CPU  RAM    HOST  UUID\n"
				    "vm0000  RUNNING  1    1 GiB  h1    "));
	assert_non_null(strstr(out, "vm1202"));
	free(out);
	free(err);
	assert_int_equal(cli(s, "vm list --json", &out, &err), 0);
	{
		json_t *json = json_loads(out, 0, NULL);

		assert_int_equal(json_array_size(json_object_get(json, "vms")), MANY);
		assert_null(json_object_get(json, "next"));
		json_decref(json);
	}
	free(out);
	free(err);
	check(s, "vm list --quiet | head -n 2 | tail -n 1", 0, "vm0001\n", "");
}

static void sessions_are_shared(void **state)
{
	struct site *s = *state;

	check(s, "vm show web --quiet", 0, "name: web", "");
	check(s, "vm show web --quiet", 0, "name: web", "");
	assert_int_equal(n_sessions(s), 0); /* configure made one */
	check(s, "logout", 0, "logged out\n", "");
	check(s, "logout", 0, "there was no session\n", "");
	check(s, "login", 0, "me@home is logged in at http://", "");
	assert_int_equal(n_sessions(s), 1);
	forget_token(s); /* the API does */
	check(s, "vm show web", 0, "name: web", "");
	assert_int_equal(n_sessions(s), 2);
}

static void what_the_server_says_is_cleaned(void **state)
{
	struct site *s = *state;
	char *out, *err;

	check(s, "vm show evil", 0, "name: evil\\x1b[2J\n", "");
	check(s, "vm log evil", 0, "x\\x0ay\\x1b]0;t\\x07\n", "");
	assert_int_equal(cli(s, "vm show evil --json", &out, &err), 0);
	assert_null(strchr(out, '\x1b'));
	free(out);
	free(err);
	/* Raw into a file. */
	check(s, "vm console-log web", 0, "\x1b[1mboot\x1b[0m\r\n", "");
}

static void a_config_that_others_can_read(void **state)
{
	struct site *s = *state;

	assert_int_equal(chmod(s->conf, 0644), 0);
	check(s, "vm show web", 0, "name: web", "chmod 600 would prevent that");
	assert_int_equal(chmod(s->conf, 0600), 0);
	check(s, "vm show web", 0, "name: web", "");
}

static void a_full_disk_is_noticed(void **state)
{
	struct site *s = *state;
	char *command =
		xasprintf("'%s' --config '%s' vm list >/dev/full", s->program, s->conf);
	const char *const argv[] = { "sh", "-c", command, NULL };
	char *out;

	assert_int_equal(test_run(argv, LIMIT_MSEC, &out), 1);
	assert_non_null(strstr(out, "No space left"));
	free(out);
	free(command);
}

static void completion_asks_the_api(void **state)
{
	struct site *s = *state;

	check(s, "vm show web", 0, "name: web", "");
	setenv("UCLOUD_CONFIG", s->conf, 1);
	{
		char *line =
			xasprintf("--version >/dev/null; '%s' complete -- vm show vm012",
				s->program);

		check(s, line, 0, "vm0120\nvm0121\n", "");
		free(line);
	}
	unsetenv("UCLOUD_CONFIG");
}

/* build/plain/tests/contract/test_cli -> build/plain/ucloud-cli/ucloud-cli */
static char *program_path(void)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_true(n > 0);
	self[n] = '\0';
	for (int i = 0; i < 3; i++)
		*strrchr(self, '/') = '\0';
	return xasprintf("%s/ucloud-cli/ucloud-cli", self);
}

static int open_site(void **state)
{
	static struct site s;
	struct strv listen = { 0 };
	struct httpd_conf conf = { .listen = &listen, .n_workers = 2 };
	struct err e;

	setenv("HOME", test_dir(), 1);
	unsetenv("XDG_CACHE_HOME");
	unsetenv("UCLOUD_API");
	unsetenv("UCLOUD_CONFIG");
	strv_add(&listen, "[::1]:0");
	pthread_mutex_init(&s.lock, NULL);
	if (httpd_open(&conf, handle, &s, &s.d, &e) < 0)
		fail_msg("%s", e.msg);
	strv_done(&listen);
	s.api = xasprintf("http://[::1]:%u", httpd_port(s.d, 0));
	s.conf = test_path("ucloud.conf");
	s.program = program_path();
	if (access(s.program, X_OK) != 0)
		test_skip("%s was not built", s.program);
	*state = &s;
	return 0;
}

static int close_site(void **state)
{
	struct site *s = *state;

	httpd_close(s->d);
	json_decref(s->body);
	free(s->idempotency);
	free(s->api);
	free(s->conf);
	free(s->program);
	return 0;
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(configuring),
		TEST(statuses_of_exit),
		TEST(waiting),
		TEST(networks),
		TEST(interfaces),
		TEST(creates_are_idempotent),
		TEST(lists_follow_pages),
		TEST(sessions_are_shared),
		TEST(what_the_server_says_is_cleaned),
		TEST(a_config_that_others_can_read),
		TEST(a_full_disk_is_noticed),
		TEST(completion_asks_the_api),
	};

	mem_init();
	crypt_init();
	log_init("test_cli", LOG_ERROR);
	return cmocka_run_group_tests(tests, open_site, close_site);
}
