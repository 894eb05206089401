#include "tests/lib/test_etcd.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/test_certs.h"
#include "tests/lib/test_util.h"

#define START_MSEC  20000
#define CTL_MSEC    20000
#define MAX_TRIES   5
#define MAX_MEMBERS 5
#define PASSWORD    "secret word"

struct member {
	char *name, *dir, *log, *url, *peer_url;
	pid_t pid;
};

struct test_etcd {
	struct test_etcd_conf conf;
	struct member members[MAX_MEMBERS];
	unsigned n_members;
	char *cluster; /* --initial-cluster */
	char *dir;
	struct test_cert server_cert, client_cert;
	struct etcd_conf client;
	bool has_auth; /* it is enabled already */
	struct test_etcd *next;
};

static struct test_etcd *running; /* all, for the end of the program */
static unsigned n_started;

static void die(struct test_etcd *t, const char *what)
{
	fprintf(stderr, "test_etcd: %s\n", what);
	for (unsigned i = 0; t && i < t->n_members; i++) {
		CLEANUP_STR char *log = test_read_file(t->members[i].log);
		size_t size = log ? strlen(log) : 0;

		fprintf(stderr, "%s: %s\n", t->members[i].log,
			log ? log + (size > 2000 ? size - 2000 : 0) : "");
	}
	abort();
}

/* ---------------------------------------------------------------- one member */

static void spawn(struct test_etcd *t, struct member *m)
{
	const char *argv[64] = { "etcd", "--name", m->name, "--data-dir", m->dir,
		"--listen-client-urls", m->url, "--advertise-client-urls", m->url,
		"--listen-peer-urls", m->peer_url, "--initial-advertise-peer-urls",
		m->peer_url, "--initial-cluster", t->cluster, "--heartbeat-interval",
		"50", "--election-timeout", "500", "--bcrypt-cost", "4", "--logger",
		"zap", "--log-level", "warn" };
	size_t n = 0;

	while (argv[n])
		n++;
	if (t->conf.is_tls) {
		const char *const tls[] = { "--cert-file", t->server_cert.cert_file,
			"--key-file", t->server_cert.key_file, "--trusted-ca-file",
			test_ca_file(), "--client-cert-auth" };

		memcpy(argv + n, tls, sizeof(tls));
		n += ARRAY_LEN(tls);
	}
	for (size_t i = 0; t->conf.args && t->conf.args[i] && n < ARRAY_LEN(argv) - 1;
		i++)
		argv[n++] = t->conf.args[i];
	m->pid = test_spawn(argv, m->log);
}

static void end_member(struct member *m)
{
	if (m->pid <= 0)
		return;
	kill(m->pid, SIGKILL); /* also wakes up a frozen one */
	waitpid(m->pid, NULL, 0);
	m->pid = 0;
}

static void member_done(struct member *m)
{
	end_member(m);
	free(m->name);
	free(m->dir);
	free(m->log);
	free(m->url);
	free(m->peer_url);
	*m = (struct member){ 0 };
}

static bool has_ended(struct test_etcd *t)
{
	for (unsigned i = 0; i < t->n_members; i++) {
		struct member *m = &t->members[i];

		if (m->pid > 0 && waitpid(m->pid, NULL, WNOHANG) == m->pid) {
			m->pid = 0;
			return true;
		}
	}
	return false;
}

/* ---------------------------------------------------------------- the cluster */

static void choose_addresses(struct test_etcd *t)
{
	const char *address = t->conf.address ? t->conf.address : "::1";
	char *cluster = xstrdup("");

	strv_done(&t->client.url);
	for (unsigned i = 0; i < t->n_members; i++) {
		struct member *m = &t->members[i];
		CLEANUP_STR char *before = cluster;

		str_set(&m->url,
			xasprintf("%s://[%s]:%u", t->conf.is_tls ? "https" : "http",
				address, test_free_port()));
		str_set(&m->peer_url, xasprintf("http://[::1]:%u", test_free_port()));
		cluster = xasprintf(
			"%s%s%s=%s", before, i > 0 ? "," : "", m->name, m->peer_url);
		strv_add(&t->client.url, m->url);
	}
	str_set(&t->cluster, cluster);
}

struct healthy {
	struct test_etcd *t;
	struct err err;
	bool is_ended;
};

static bool is_healthy(void *aux)
{
	struct healthy *h = aux;
	struct etcd_conf conf = h->t->client;

	conf.limit_sec = 1;
	h->is_ended = has_ended(h->t);
	return h->is_ended || kv_etcd_check(&conf, &h->err) == 0;
}

/* False: a member has ended, perhaps because somebody took its port. */
static bool wait_healthy(struct test_etcd *t)
{
	struct healthy h = { .t = t };

	if (!wait_until(is_healthy, &h, START_MSEC))
		die(t, h.err.msg);
	return !h.is_ended;
}

void test_etcd_wait(struct test_etcd *t)
{
	if (!wait_healthy(t))
		die(t, "a member has ended");
}

static bool start_all(struct test_etcd *t)
{
	struct etcd_conf *c = &t->client;
	char *user = MOVE(c->user), *password = MOVE(c->password);
	bool is_good;

	test_remove(t->dir);
	test_mkdir(t->dir);
	choose_addresses(t);
	for (unsigned i = 0; i < t->n_members; i++)
		spawn(t, &t->members[i]);
	is_good = wait_healthy(t); /* authentication is not enabled yet */
	c->user = user;
	c->password = password;
	if (!is_good)
		for (unsigned i = 0; i < t->n_members; i++)
			end_member(&t->members[i]);
	return is_good;
}

static void enable_auth(struct test_etcd *t)
{
	test_etcd_ctl(
		t, (const char *const[]){ "user", "add", "root:" PASSWORD, NULL }, NULL);
	test_etcd_ctl(t,
		(const char *const[]){ "user", "grant-role", "root", "root", NULL },
		NULL);
	test_etcd_ctl(t, (const char *const[]){ "auth", "enable", NULL }, NULL);
	t->has_auth = true;
}

static void end_all(void *aux)
{
	(void)aux;
	while (running)
		test_etcd_free(running);
}

static void fill(struct test_etcd *t)
{
	t->dir = test_path("etcd-%u", ++n_started);
	for (unsigned i = 0; i < t->n_members; i++) {
		struct member *m = &t->members[i];

		m->name = xasprintf("m%u", i);
		m->dir = xasprintf("%s/%s", t->dir, m->name);
		m->log = xasprintf("%s/%s.log", t->dir, m->name);
	}
	t->client.limit_sec = 5;
	if (t->conf.is_tls) {
		test_cert_make("server", "/CN=localhost", &t->server_cert);
		test_cert_make("client", "/O=ucloud", &t->client_cert);
		t->client.ca_file = xstrdup(test_ca_file());
		t->client.cert_file = xstrdup(t->client_cert.cert_file);
		t->client.key_file = xstrdup(t->client_cert.key_file);
	}
	if (t->conf.is_auth) {
		t->client.user = xstrdup("root");
		t->client.password = xstrdup(PASSWORD);
	}
}

struct test_etcd *test_etcd_start(const struct test_etcd_conf *conf)
{
	struct test_etcd *t = xcalloc(1, sizeof(*t));
	int n_tries = 0;

	test_need_command("etcd");
	test_need_command("etcdctl");
	if (conf)
		t->conf = *conf;
	t->n_members = t->conf.n_members ? t->conf.n_members : 1;
	fill(t);
	if (!running && n_started == 1)
		test_on_exit(end_all, NULL);
	while (!start_all(t))
		if (++n_tries == MAX_TRIES)
			die(t, "etcd does not start");
	if (t->conf.is_auth)
		enable_auth(t);
	t->next = running;
	running = t;
	return t;
}

void test_etcd_free(struct test_etcd *t)
{
	struct test_etcd **at = &running;

	if (!t)
		return;
	while (*at && *at != t)
		at = &(*at)->next;
	if (*at)
		*at = t->next;
	for (unsigned i = 0; i < t->n_members; i++)
		member_done(&t->members[i]);
	test_remove(t->dir);
	test_cert_done(&t->server_cert);
	test_cert_done(&t->client_cert);
	strv_done(&t->client.url);
	free(t->client.ca_file);
	free(t->client.cert_file);
	free(t->client.key_file);
	free(t->client.user);
	free(t->client.password);
	free(t->cluster);
	free(t->dir);
	free(t);
}

const struct etcd_conf *test_etcd_client(const struct test_etcd *t)
{
	return &t->client;
}

const char *test_etcd_url(const struct test_etcd *t, unsigned member)
{
	return t->members[member].url;
}

struct kv *test_etcd_open(const struct test_etcd *t)
{
	struct err e;
	struct kv *kv;

	if (kv_etcd_open(&t->client, &kv, &e) < 0) {
		fprintf(stderr, "test_etcd_open: %s\n", e.msg);
		abort();
	}
	return kv;
}

/* ---------------------------------------------------------------- bad days */

void test_etcd_kill(struct test_etcd *t, unsigned member)
{
	end_member(&t->members[member]);
}

void test_etcd_freeze(struct test_etcd *t, unsigned member)
{
	int status;

	kill(t->members[member].pid, SIGSTOP);
	waitpid(t->members[member].pid, &status, WUNTRACED);
}

void test_etcd_thaw(struct test_etcd *t, unsigned member)
{
	kill(t->members[member].pid, SIGCONT);
}

void test_etcd_restart(struct test_etcd *t, unsigned member)
{
	spawn(t, &t->members[member]);
}

void test_etcd_ctl(struct test_etcd *t, const char *const *argv, char **out)
{
	const char *full[32] = { "etcdctl", "--endpoints", t->members[0].url };
	CLEANUP_STR char *text = NULL;
	size_t n = 3;

	if (t->conf.is_tls) {
		const char *const tls[] = { "--cacert", t->client.ca_file, "--cert",
			t->client.cert_file, "--key", t->client.key_file };

		memcpy(full + n, tls, sizeof(tls));
		n += ARRAY_LEN(tls);
	}
	if (t->has_auth) {
		full[n++] = "--user";
		full[n++] = "root:" PASSWORD;
	}
	while (*argv && n < ARRAY_LEN(full) - 1)
		full[n++] = *argv++;
	if (test_run(full, CTL_MSEC, &text) != 0)
		die(t, text);
	if (out)
		*out = MOVE(text);
}

void test_etcd_compact(struct test_etcd *t, int64_t rev)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, rev);
	test_etcd_ctl(t, (const char *const[]){ "compact", text, NULL }, NULL);
}

void test_etcd_save(struct test_etcd *t)
{
	CLEANUP_STR char *path = xasprintf("%s/saved", t->dir);

	test_remove(path);
	test_etcd_ctl(t, (const char *const[]){ "snapshot", "save", path, NULL }, NULL);
}

void test_etcd_restore(struct test_etcd *t)
{
	CLEANUP_STR char *path = xasprintf("%s/saved", t->dir);
	struct member *m = &t->members[0];

	end_member(m);
	test_remove(m->dir);
	test_etcd_ctl(t,
		(const char *const[]){ "snapshot", "restore", path, "--name", m->name,
			"--data-dir", m->dir, "--initial-cluster", t->cluster,
			"--initial-advertise-peer-urls", m->peer_url, NULL },
		NULL);
	spawn(t, m);
	test_etcd_wait(t);
}
