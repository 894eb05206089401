#include "ucloud-host/console.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/jtab.h"
#include "common/base/parse.h"

static int read_fd_end(int fd, size_t max, struct buf *out, bool *is_cut, struct err *e)
{
	struct stat st;
	char chunk[4096];
	off_t at;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return err_errno(e, errno, "the console log");
	at = st.st_size > (off_t)max ? st.st_size - (off_t)max : 0;
	*is_cut = *is_cut || at > 0;
	while (max > 0) {
		n = pread(fd, chunk, max < sizeof(chunk) ? max : sizeof(chunk), at);
		if (n < 0)
			return err_errno(e, errno, "the console log");
		if (n == 0)
			break;
		buf_add(out, chunk, (size_t)n);
		at += n;
		max -= (size_t)n;
	}
	return 0;
}

/* Appends the last `max` bytes of a file; 0 bytes when there is none. */
static int read_end(
	const char *path, size_t max, struct buf *out, bool *is_cut, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int rc;

	if (fd < 0)
		return errno == ENOENT ? 0 : err_errno(e, errno, "the console log");
	rc = read_fd_end(fd, max, out, is_cut, e);
	close(fd);
	return rc;
}

static size_t char_len(const char *s, size_t left)
{
	for (size_t n = 1; n <= 4 && n <= left; n++)
		if (str_is_text(s, n, true))
			return n;
	return 0;
}

/* What a guest says may be anything: only text remains. */
static void add_text(struct buf *out, const char *s, size_t size)
{
	for (size_t i = 0; i < size;) {
		size_t n = char_len(s + i, size - i);

		if (n > 0)
			buf_add(out, s + i, n);
		else if (s[i] != '\r' && s[i] != '\0')
			buf_add_char(out, '?');
		i += n > 0 ? n : 1;
	}
}

int console_read_tail(
	const char *path, size_t max, struct buf *out, bool *is_cut, struct err *e)
{
	CLEANUP(buf_done) struct buf newer = { 0 };
	CLEANUP(buf_done) struct buf older = { 0 };
	CLEANUP_STR char *older_path = xasprintf("%s.0", path);
	bool got_cut = false;

	if (read_end(path, max, &newer, &got_cut, e) < 0 ||
		read_end(older_path, max - newer.size, &older, &got_cut, e) < 0)
		return -1;
	add_text(out, buf_str(&older), older.size);
	add_text(out, buf_str(&newer), newer.size);
	*is_cut = got_cut;
	return 0;
}

static bool is_question(const struct kv_pair *pair)
{
	CLEANUP(json_decref_ptr) json_t *json = NULL;
	struct err ignored = { 0 };

	return pair->key != NULL && pair->lease != 0 &&
	       json_parse(pair->value, pair->value_size, &json, &ignored) == 0 &&
	       json_object_get(json, "text") == NULL;
}

static int make_answer(
	const struct host_env *env, const char *uuid, char **out, struct err *e)
{
	CLEANUP_STR char *path = host_env_console_path(env, uuid);
	CLEANUP(buf_done) struct buf text = { 0 };
	CLEANUP(json_decref_ptr) json_t *json = NULL;
	char time[TIME_STR_SIZE];
	bool is_cut = false;

	if (path != NULL &&
		console_read_tail(path, CONSOLE_TEXT_MAX, &text, &is_cut, e) < 0)
		return -1;
	time_format(clock_unix_sec(), time);
	json = json_pack("{s:s%, s:s, s:b}", "text", buf_str(&text), text.size, "time",
		time, "is_cut", (int)is_cut);
	*out = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
	return *out == NULL ? err_set(e, ERR_INTERNAL, "the console log is no text") : 0;
}

enum wq_result console_reconcile(
	void *aux, const char *uuid, int64_t *after_msec, struct err *e)
{
	const struct host_env *env = aux;
	CLEANUP_STR char *key = NULL, *answer = NULL;
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = NULL;
	int rc;

	*after_msec = 0;
	if (uuid_check(uuid, e) < 0)
		return WQ_DONE;
	key = key_console(env->host, uuid);
	if (kv_get(env->kv, key, &pair, NULL, e) < 0)
		return WQ_RETRY;
	if (!is_question(&pair))
		return WQ_DONE;
	if (make_answer(env, uuid, &answer, e) < 0)
		return WQ_RETRY;
	t = kv_txn_new();
	kv_txn_if_rev(t, key, pair.mod_rev);
	kv_txn_put_lease(t, key, answer, pair.lease);
	rc = kv_txn_commit(env->kv, t, NULL, e);
	if (rc < 0)
		return e->kind == ERR_NOT_FOUND ? WQ_DONE : WQ_RETRY; /* lease is over */
	return rc == 0 ? WQ_DONE : WQ_AGAIN;
}
