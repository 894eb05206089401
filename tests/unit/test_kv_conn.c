/*
 * The client against a server that answers as the test says: what real servers do rarely,
 * and at bad moments.
 */
#include "common/store/kv_etcd.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/base/parse.h"
#include "tests/lib/test_util.h"

#define MAX_CONNS 40
#define MAX_SEEN  40
#define N_THREADS 8
#define LONG_MSEC 30000

#define HEAD "\"header\":{\"cluster_id\":\"1\",\"revision\":\"10\"}"
#define GOOD "{" HEAD ",\"succeeded\":true,\"responses\":[{\"response_put\":{}}]}"

#define assert_done(call)                                                                \
	do {                                                                             \
		int result_ = (call);                                                    \
		if (result_ != 0)                                                        \
			fail_msg("%s: %d %s", #call, result_, e.msg);                    \
	} while (0)

#define assert_says(text)                                                                \
	do {                                                                             \
		if (!strstr(e.msg, text))                                                \
			fail_msg("\"%s\" is not in: %s", text, e.msg);                   \
	} while (0)

/* ---------------------------------------------------------------- the server */

enum { HANG = -1, CLOSE = -2, CUT = -3, STREAM = -4 };

struct answer {
	/* An HTTP status; or HANG: say nothing; CLOSE: hang up without an answer; CUT: promise
	 * more than is sent, then hang up; STREAM: as a watch, then hang up. */
	int status;
	const char *body;
};

struct server {
	pthread_t thread;
	int listener, stop[2];
	char *url;
	int conns[MAX_CONNS];
	const struct answer
		*answers; /* one for each request; the last one for all after it */
	size_t n_answers;
	/* What came, read by the test when the server has ended, n_seen also before. */
	char *seen[MAX_SEEN];
	size_t n_seen; /* atomic */
};

/* Is this a whole request: headers and as much of a body as they say? */
static bool is_whole(const struct buf *b)
{
	const char *end = strstr(buf_str(b), "\r\n\r\n");
	const char *len = strstr(buf_str(b), "Content-Length: ");
	CLEANUP_STR char *number = NULL;
	struct err e;
	int64_t n;

	if (!end || !len)
		return false;
	len += strlen("Content-Length: ");
	number = xstrndup(len, strcspn(len, "\r"));
	return parse_int64(number, 0, 1 << 20, &n, &e) == 0 &&
	       b->size >= (size_t)(end - b->s) + 4 + (size_t)n;
}

/* False: the end. */
static bool read_request(int fd, struct buf *out)
{
	char piece[4096];

	while (!is_whole(out)) {
		ssize_t n = recv(fd, piece, sizeof(piece), 0);

		if (n <= 0)
			return false;
		buf_add(out, piece, (size_t)n);
	}
	return true;
}

static void send_text(int fd, const struct buf *b)
{
	size_t done = 0;
	ssize_t n = 1;

	while (done < b->size && n > 0) {
		n = send(fd, b->s + done, b->size - done, MSG_NOSIGNAL);
		done += n > 0 ? (size_t)n : 0;
	}
}

/* False: the connection is to be closed. */
static bool answer(int fd, const struct answer *a)
{
	CLEANUP(buf_done) struct buf out = { 0 };
	size_t size = a->body ? strlen(a->body) : 0;

	switch (a->status) {
	case HANG:
		return true;
	case CLOSE:
		return false;
	case STREAM:
		buf_addf(&out, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%s", a->body);
		break;
	case CUT:
		buf_addf(&out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
			size + 9, a->body);
		break;
	default:
		buf_addf(&out, "HTTP/1.1 %d Some\r\nContent-Length: %zu\r\n\r\n",
			a->status, size);
		buf_add(&out, a->body, size);
	}
	send_text(fd, &out);
	return a->status > 0;
}

static bool serve_one(struct server *s, int fd)
{
	CLEANUP(buf_done) struct buf request = { 0 };
	size_t i = s->n_seen;

	if (!read_request(fd, &request) || i >= MAX_SEEN)
		return false;
	s->seen[i] = buf_take(&request);
	__atomic_store_n(&s->n_seen, i + 1, __ATOMIC_RELEASE);
	return answer(fd, &s->answers[i < s->n_answers ? i : s->n_answers - 1]);
}

static void *serve(void *aux)
{
	struct server *s = aux;

	for (;;) {
		struct pollfd fds[MAX_CONNS + 2] = { { s->stop[0], POLLIN, 0 },
			{ s->listener, POLLIN, 0 } };

		for (int i = 0; i < MAX_CONNS; i++)
			fds[i + 2] = (struct pollfd){ s->conns[i] ? s->conns[i] : -1,
				POLLIN, 0 };
		poll(fds, ARRAY_LEN(fds), -1);
		if (fds[0].revents)
			return NULL;
		for (int i = 0; i < MAX_CONNS; i++)
			if (fds[i + 2].revents && !serve_one(s, s->conns[i])) {
				close(s->conns[i]);
				s->conns[i] = 0;
			}
		for (int i = 0; fds[1].revents && i < MAX_CONNS; i++)
			if (!s->conns[i]) {
				s->conns[i] = accept(s->listener, NULL, NULL);
				break;
			}
	}
}

static void server_start(struct server *s, const struct answer *answers, size_t n)
{
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6,
		.sin6_addr = IN6ADDR_LOOPBACK_INIT };
	socklen_t len = sizeof(sa);

	*s = (struct server){ .answers = answers, .n_answers = n };
	s->listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(s->listener, 16), 0);
	assert_int_equal(getsockname(s->listener, (struct sockaddr *)&sa, &len), 0);
	s->url = xasprintf("http://[::1]:%u", ntohs(sa.sin6_port));
	assert_int_equal(pipe(s->stop), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_stop(struct server *s)
{
	close(s->stop[1]);
	pthread_join(s->thread, NULL);
	close(s->stop[0]);
	close(s->listener);
	for (int i = 0; i < MAX_CONNS; i++)
		if (s->conns[i])
			close(s->conns[i]);
	for (size_t i = 0; i < s->n_seen; i++)
		free(s->seen[i]);
	free(s->url);
}

static size_t n_seen(struct server *s)
{
	return __atomic_load_n(&s->n_seen, __ATOMIC_ACQUIRE);
}

#define START(s, ...)                                                                    \
	const struct answer answers_[] = { __VA_ARGS__ };                                \
	server_start(s, answers_, ARRAY_LEN(answers_))

/* ---------------------------------------------------------------- helpers */

static struct kv *open_limit(const struct server *a, const struct server *b,
	const char *user, int64_t limit_sec)
{
	struct etcd_conf conf = { .limit_sec = limit_sec };
	char name[] = "me", password[] = "secret";
	struct err e = { 0 };
	struct kv *kv = NULL;

	strv_add(&conf.url, a->url);
	if (b)
		strv_add(&conf.url, b->url);
	if (user) {
		conf.user = name;
		conf.password = password;
	}
	assert_done(kv_etcd_open(&conf, &kv, &e));
	strv_done(&conf.url);
	return kv;
}

/* Where answers come, however busy the machine is. */
static struct kv *open_at(
	const struct server *a, const struct server *b, const char *user)
{
	return open_limit(a, b, user, 20);
}

static int try_put(struct kv *kv, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();

	kv_txn_if_rev(t, "a", 0);
	kv_txn_put(t, "a", "x");
	return kv_txn_commit(kv, t, NULL, e);
}

static int try_read(struct kv *kv, struct err *e)
{
	int64_t count;

	return kv_count(kv, "/", &count, e);
}

/* ---------------------------------------------------------------- never twice */

/* libcurl would send it again on a new connection: the old one was kept alive, and ended
 * without an answer. */
static void test_write_is_sent_once(void **state)
{
	struct server s;
	START(&s, { 200, GOOD }, { CLOSE, NULL }, { 200, GOOD });
	struct kv *kv = open_at(&s, NULL, NULL);
	struct err e = { 0 };

	(void)state;
	assert_int_equal(try_put(kv, &e), 0);
	assert_int_equal(try_put(kv, &e), KV_UNKNOWN);
	assert_int_equal(n_seen(&s), 2);
	assert_int_equal(try_put(kv, &e), 0);
	kv_close(kv);
	server_stop(&s);
}

static void test_read_is_sent_again(void **state)
{
	struct server s;
	START(&s, { 200, "{" HEAD "}" }, { CLOSE, NULL }, { 200, "{" HEAD "}" });
	struct kv *kv = open_at(&s, NULL, NULL);
	struct err e = { 0 };

	(void)state;
	assert_done(try_read(kv, &e));
	assert_done(try_read(kv, &e));
	assert_int_equal(n_seen(&s), 3);
	kv_close(kv);
	server_stop(&s);
}

/* What one write makes of an answer, and how often it is sent. */
struct write_case {
	struct answer answer;
	int result;
	enum err_kind kind;
};

static void test_outcomes_of_a_write(void **state)
{
	static const struct write_case cases[] = {
		{ { 200, GOOD }, 0, ERR_NONE },
		{ { 200, "{" HEAD "}" }, KV_CONFLICT, ERR_NONE },
		{ { HANG, NULL }, KV_UNKNOWN, ERR_TIMEOUT },
		{ { CLOSE, NULL }, KV_UNKNOWN, ERR_UNAVAILABLE },
		{ { CUT, "{\"header" }, KV_UNKNOWN, ERR_UNAVAILABLE },
		{ { 200, "<html>It works!</html>" }, KV_UNKNOWN, ERR_UNAVAILABLE },
		{ { 200, "{}" }, KV_UNKNOWN, ERR_UNAVAILABLE },
		{ { 502, "<html>Bad Gateway</html>" }, KV_UNKNOWN, ERR_UNAVAILABLE },
		{ { 503, "{\"message\":\"etcdserver: request timed out\",\"code\":14}" },
			KV_UNKNOWN, ERR_TIMEOUT },
		{ { 500, "{\"message\":\"etcdserver: server stopped\",\"code\":2}" },
			KV_UNKNOWN, ERR_UNAVAILABLE },
		{ { 429, "{\"message\":\"etcdserver: mvcc: database space exceeded\","
			 "\"code\":8}" },
			KV_UNKNOWN, ERR_NO_SPACE },
		{ { 400, "{\"message\":\"etcdserver: duplicate key given in txn "
			 "request\","
			 "\"code\":3}" },
			-1, ERR_INVALID },
		{ { 404, "{\"message\":\"etcdserver: requested lease not "
			 "found\",\"code\":5}" },
			-1, ERR_NOT_FOUND },
		{ { 403, "{\"message\":\"etcdserver: permission denied\",\"code\":7}" },
			-1, ERR_DENIED },
		{ { 401, "{\"message\":\"etcdserver: invalid auth token\",\"code\":16}" },
			-1, ERR_UNAUTHENTICATED },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct write_case *c = &cases[i];
		struct server s;
		struct kv *kv;
		struct err e = { 0 };
		int r;

		server_start(&s, &c->answer, 1);
		kv = open_limit(&s, NULL, NULL, c->answer.status == HANG ? 1 : 20);
		r = try_put(kv, &e);
		if (r != c->result || (r != 0 && r != KV_CONFLICT && e.kind != c->kind))
			fail_msg(
				"case %zu: %d %s %s", i, r, err_kind_name(e.kind), e.msg);
		assert_int_equal(n_seen(&s), 1);
		kv_close(kv);
		server_stop(&s);
	}
}

/* Surely not applied: waits for the election and sends it again. */
static void test_write_waits_for_a_leader(void **state)
{
	struct server s;
	START(&s, { 503, "{\"message\":\"etcdserver: no leader\",\"code\":14}" },
		{ 429, "{\"message\":\"etcdserver: too many requests\",\"code\":8}" },
		{ 200, GOOD });
	struct kv *kv = open_at(&s, NULL, NULL);
	struct err e = { 0 };

	(void)state;
	assert_done(try_put(kv, &e));
	assert_int_equal(n_seen(&s), 3);
	kv_close(kv);
	server_stop(&s);
}

/* ---------------------------------------------------------------- several endpoints */

static void test_frozen_endpoint(void **state)
{
	const struct answer bad[] = { { HANG, NULL } },
			    good[] = { { 200, "{" HEAD "}" } };
	struct server a, b;
	struct err e = { 0 };
	struct kv *kv;
	int64_t begin = test_now_msec();

	(void)state;
	server_start(&a, bad, 1);
	server_start(&b, good, 1);
	kv = open_limit(&a, &b, NULL, 8);
	assert_done(try_read(kv, &e));
	assert_true(test_now_msec() - begin < 8000); /* within the limit of one call */
	/* From now on the other one is asked. */
	assert_done(try_read(kv, &e));
	assert_done(try_read(kv, &e));
	assert_int_equal(n_seen(&a), 1);
	assert_int_equal(n_seen(&b), 3);
	kv_close(kv);
	server_stop(&a);
	server_stop(&b);
}

static void test_write_goes_elsewhere(void **state)
{
	const struct answer bad[] = { { 404, "404 page not found" } },
			    good[] = { { 200, GOOD } };
	struct server a, b;
	struct err e = { 0 };
	struct kv *kv;

	(void)state;
	server_start(&a, bad, 1);
	server_start(&b, good, 1);
	kv = open_at(&a, &b, NULL);
	assert_done(try_put(kv, &e));
	assert_int_equal(n_seen(&a), 1);
	kv_close(kv);
	server_stop(&b);
	kv = open_limit(&a, NULL, NULL, 3);
	assert_int_equal(try_read(kv, &e), -1);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_says("is this etcd's client address");
	assert_says(a.url);
	kv_close(kv);
	server_stop(&a);
}

/* ---------------------------------------------------------------- logging in */

static void test_token(void **state)
{
	struct server s;
	START(&s, { 200, "{\"token\":\"first.1\"}" },
		{ 401, "{\"message\":\"etcdserver: invalid auth token\",\"code\":16}" },
		{ 200, "{\"token\":\"second.2\"}" }, { 200, GOOD });
	struct kv *kv = open_at(&s, NULL, "me");
	struct err e = { 0 };

	(void)state;
	assert_done(try_put(kv, &e));
	assert_int_equal(n_seen(&s), 4);
	assert_non_null(strstr(s.seen[0], "/v3/auth/authenticate"));
	assert_non_null(strstr(s.seen[0], "{\"name\":\"me\",\"password\":\"secret\"}"));
	assert_null(strstr(s.seen[0], "Authorization"));
	assert_non_null(strstr(s.seen[1], "Authorization: first.1\r\n"));
	assert_non_null(strstr(s.seen[1], "Grpc-Metadata-Hasleader: true\r\n"));
	assert_non_null(strstr(s.seen[3], "Authorization: second.2\r\n"));
	kv_close(kv);
	server_stop(&s);
}

static void *read_once(void *kv)
{
	struct err e = { 0 };

	return try_read(kv, &e) == 0 ? NULL : xstrdup(e.msg);
}

static void test_one_login_for_all(void **state)
{
	struct server s;
	START(&s, { 200, "{\"token\":\"t\"," HEAD "}" });
	struct kv *kv = open_at(&s, NULL, "me");
	pthread_t threads[N_THREADS];
	size_t n_logins = 0;

	(void)state;
	for (int i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_once, kv), 0);
	for (int i = 0; i < N_THREADS; i++) {
		void *why;

		pthread_join(threads[i], &why);
		if (why)
			fail_msg("%s", (char *)why);
	}
	for (size_t i = 0; i < n_seen(&s); i++)
		n_logins += strstr(s.seen[i], "/v3/auth/authenticate") != NULL;
	assert_int_equal(n_logins, 1);
	kv_close(kv);
	server_stop(&s);
}

/* ---------------------------------------------------------------- answers too large */

static void test_huge_answer(void **state)
{
	CLEANUP_STR char *huge = xmalloc(65 * 1024 * 1024 + 1);
	struct server s;
	struct kv_pair p = { 0 };
	struct err e = { 0 };
	struct kv *kv;

	(void)state;
	memset(huge, 'x', 65 * 1024 * 1024);
	huge[65 * 1024 * 1024] = '\0';
	START(&s, { 200, huge });
	kv = open_limit(&s, NULL, NULL, 20);
	assert_int_equal(kv_get(kv, "a", &p, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_TOO_LARGE);
	assert_int_equal(n_seen(&s), 1);
	kv_close(kv);
	server_stop(&s);
}

/* ---------------------------------------------------------------- watches */

#define CREATED "{\"result\":{" HEAD ",\"created\":true}}\n"
#define EVENT(rev)                                                                       \
	"{\"result\":{\"header\":{\"cluster_id\":\"1\",\"revision\":\"" rev              \
	"\"},\"events\":[{\"kv\":{\"key\":\"YQ==\",\"mod_revision\":\"" rev "\"}}]}}\n"

static int open_watch(struct kv *kv, int64_t from_rev, struct kv_watch **w, struct err *e)
{
	struct kv_watch_req req = { .prefix = "a", .from_rev = from_rev };

	return kv_watch_open(kv, &req, w, e);
}

/* Lines before the end count, the half one after them does not. */
static void test_watch_cut_in_a_line(void **state)
{
	struct server s;
	START(&s, { STREAM, CREATED EVENT("11")
				    EVENT("12") "{\"result\":{\"events\":[{\"kv\":" });
	struct kv *kv = open_at(&s, NULL, NULL);
	struct kv_events ev = { 0 };
	struct kv_watch *w = NULL;
	struct err e = { 0 };

	(void)state;
	assert_done(open_watch(kv, 11, &w, &e));
	for (int rev = 11; rev <= 12; rev++) {
		assert_done(kv_watch_next(w, LONG_MSEC, &ev, &e));
		assert_int_equal(ev.rev, rev);
		kv_events_done(&ev);
	}
	assert_int_equal(kv_watch_next(w, LONG_MSEC, &ev, &e), -1);
	assert_int_equal(kv_watch_next(w, LONG_MSEC, &ev, &e), -1);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	kv_watch_close(w);
	kv_close(kv);
	server_stop(&s);
}

struct watch_case {
	const char *body;
	int result; /* of the first kv_watch_next() that is not 0 */
	const char *says;
};

static void test_watch_ends(void **state)
{
	static const struct watch_case cases[] = {
		{ CREATED
			"{\"result\":{\"canceled\":true,\"compact_revision\":\"50\"}}\n",
			KV_COMPACTED, NULL },
		{ CREATED EVENT("12") EVENT("11"), KV_COMPACTED, NULL },
		{ CREATED EVENT("12") "{\"result\":{\"header\":{\"cluster_id\":\"2\","
				      "\"revision\":\"13\"}}}\n",
			KV_COMPACTED, NULL },
		{ CREATED "{\"result\":{\"canceled\":true,\"cancel_reason\":\"some "
			  "reason\"}}\n",
			-1, "some reason" },
		{ CREATED "{\"error\":{\"grpc_code\":14,\"message\":\"etcdserver: no "
			  "leader\"}}\n",
			-1, "no leader" },
		{ CREATED "not JSON\n", -1, "not understood" },
		{ CREATED "\n\n", -1, "ended the stream" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct answer answer = { STREAM, cases[i].body };
		struct kv_events ev = { 0 };
		struct kv_watch *w = NULL;
		struct err e = { 0 };
		struct server s;
		struct kv *kv;
		int r;

		server_start(&s, &answer, 1);
		kv = open_at(&s, NULL, NULL);
		assert_done(open_watch(kv, 11, &w, &e));
		while ((r = kv_watch_next(w, LONG_MSEC, &ev, &e)) == 0)
			kv_events_done(&ev);
		if (r != cases[i].result)
			fail_msg("case %zu: %d %s", i, r, e.msg);
		if (cases[i].says)
			assert_says(cases[i].says);
		kv_watch_close(w);
		kv_close(kv);
		server_stop(&s);
	}
}

static void test_watch_refused(void **state)
{
	static const struct answer answers[] = {
		{ 503, "{\"message\":\"etcdserver: no leader\",\"code\":14}" },
		{ 404, "404 page not found" }, { HANG, NULL }, { CLOSE, NULL },
		{ STREAM, "{\"result\":" }
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		struct kv_watch *w = NULL;
		struct err e = { 0 };
		struct server s;
		struct kv *kv;

		server_start(&s, &answers[i], 1);
		kv = open_limit(&s, NULL, NULL, 1);
		if (open_watch(kv, 0, &w, &e) != -1)
			fail_msg("case %zu", i);
		assert_true(e.kind == ERR_UNAVAILABLE || e.kind == ERR_TIMEOUT);
		assert_says(s.url);
		kv_close(kv);
		server_stop(&s);
	}
}

/* A member that lags behind is no restored store: the newest state says which it is. */
static void test_watch_of_a_member_behind(void **state)
{
	struct server s;
	START(&s, { STREAM, CREATED EVENT("31") },
		{ 200, "{\"header\":{\"cluster_id\":\"1\",\"revision\":\"30\"}}" },
		{ STREAM, CREATED }, { 200, "{" HEAD "}" });
	struct kv *kv = open_at(&s, NULL, NULL);
	struct kv_events ev = { 0 };
	struct kv_watch *w = NULL;
	struct err e = { 0 };

	(void)state;
	assert_done(open_watch(kv, 31, &w, &e));
	assert_done(kv_watch_next(w, LONG_MSEC, &ev, &e));
	assert_int_equal(ev.rev, 31);
	kv_events_done(&ev);
	kv_watch_close(w);
	assert_done(open_watch(kv, 31, &w, &e));
	assert_int_equal(kv_watch_next(w, LONG_MSEC, &ev, &e), KV_COMPACTED);
	kv_watch_close(w);
	kv_close(kv);
	server_stop(&s);
}

/* ---------------------------------------------------------------- configuration */

static void assert_bad_conf(struct etcd_conf *conf, const char *url, const char *field)
{
	struct err e = { 0 };
	struct kv *kv = NULL;

	if (url)
		strv_add(&conf->url, url);
	if (kv_etcd_open(conf, &kv, &e) != -1)
		fail_msg("%s is accepted", url);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_string_equal(e.field, field);
	strv_done(&conf->url);
}

static void test_configuration(void **state)
{
	char file[] = "/dev/null", none[] = "/nonexistent/file", name[] = "a",
	     empty[] = "";
	struct etcd_conf conf = { 0 };
	struct err e = { 0 };
	struct kv *kv = NULL;

	(void)state;
	assert_bad_conf(&conf, NULL, "etcd_url");
	assert_bad_conf(&conf, "ftp://[::1]", "etcd_url");
	assert_bad_conf(&conf, "http://[::1", "etcd_url");
	assert_bad_conf(&conf, "http://", "etcd_url");
	conf.cert_file = file;
	assert_bad_conf(&conf, "[::1]", "etcd_cert");
	conf.key_file = none;
	assert_bad_conf(&conf, "[::1]", "etcd_key");
	conf = (struct etcd_conf){ .ca_file = none };
	assert_bad_conf(&conf, "[::1]", "etcd_ca");
	conf = (struct etcd_conf){ .user = name };
	assert_bad_conf(&conf, "[::1]", "etcd_user");
	conf = (struct etcd_conf){ .user = empty, .password = empty, .ca_file = empty };
	strv_add(&conf.url, "[2001:db8::1]");
	strv_add(&conf.url, "etcd.example.com");
	strv_add(&conf.url, "https://etcd.example.com:2379/");
	assert_done(kv_etcd_open(&conf, &kv, &e));
	kv_close(kv);
	strv_done(&conf.url);
}

static void no_log(void *aux, enum log_level level, const char *line)
{
	(void)aux;
	(void)level;
	(void)line;
}

/* -------------------------------------------------------------- what is logged */

struct said {
	int n_warn, n_info;
	char last[512];
};

static void hear(void *aux, enum log_level level, const char *line)
{
	struct said *said = aux;

	said->n_warn += level == LOG_WARN;
	said->n_info += level == LOG_INFO;
	if (level <= LOG_INFO)
		snprintf(said->last, sizeof(said->last), "%s", line);
}

/* Who asks how often does not matter: that no etcd answers is said once, and that one does
 * again. */
static void test_outage_is_said_once(void **state)
{
	struct server s;
	START(&s, { CLOSE, NULL }, { CLOSE, NULL }, { CLOSE, NULL },
		{ 200, "{" HEAD "}" }, { 200, "{" HEAD "}" });
	struct kv *kv = open_at(&s, NULL, NULL);
	struct kv_pair pair = { 0 };
	struct kv_watch *w = NULL;
	struct said said = { 0 };
	struct err e = { 0 };

	(void)state;
	log_set_sink(hear, &said);
	assert_int_equal(kv_get(kv, "k", &pair, NULL, &e), -1);
	assert_true(e.is_logged);
	assert_int_equal(said.n_warn, 1);
	assert_non_null(strstr(said.last, "no etcd answers"));
	assert_int_equal(kv_get(kv, "k", &pair, NULL, &e), -1);
	assert_int_equal(open_watch(kv, 0, &w, &e), -1);
	assert_true(e.is_logged);
	assert_int_equal(said.n_warn, 1);
	assert_done(kv_get(kv, "k", &pair, NULL, &e));
	assert_int_equal(said.n_info, 1);
	assert_non_null(strstr(said.last, "etcd answers again"));
	assert_done(kv_get(kv, "k", &pair, NULL, &e));
	assert_int_equal(said.n_info, 1);
	kv_close(kv);
	server_stop(&s);
	log_set_sink(no_log, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write_is_sent_once),
		cmocka_unit_test(test_read_is_sent_again),
		cmocka_unit_test(test_outcomes_of_a_write),
		cmocka_unit_test(test_write_waits_for_a_leader),
		cmocka_unit_test(test_frozen_endpoint),
		cmocka_unit_test(test_write_goes_elsewhere),
		cmocka_unit_test(test_token),
		cmocka_unit_test(test_one_login_for_all),
		cmocka_unit_test(test_huge_answer),
		cmocka_unit_test(test_watch_cut_in_a_line),
		cmocka_unit_test(test_watch_ends),
		cmocka_unit_test(test_watch_refused),
		cmocka_unit_test(test_watch_of_a_member_behind),
		cmocka_unit_test(test_configuration),
		cmocka_unit_test(test_outage_is_said_once),
	};

	log_set_sink(no_log, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
