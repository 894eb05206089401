/* file ... */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/sha512.h"
#include "ucloud-cli/cli.h"
#include "ucloud-cli/progress.h"

#define READ_SIZE	  (1024 * 1024)
#define N_TRIES		  6  /* without any progress */
#define BUSY_SEC	  90 /* for an upload that broke off to be noticed */
#define POLL_SEC	  20
#define SPARE_MSEC	  15000
#define DEFAULT_LIMIT_SEC 300

static const struct cli_field columns[] = {
	{ "NAME", "filename", VIEW_TEXT },
	{ "SIZE", "size_bytes", VIEW_BYTES },
	{ "CHANGED", "mtime", VIEW_TEXT },
	{ "OWNER", "owner", VIEW_OWNER },
	{ "UUID", "uuid", VIEW_TEXT },
	{ 0 },
};

static const struct cli_field lines[] = {
	{ "name", "filename", VIEW_TEXT },
	{ "uuid", "uuid", VIEW_TEXT },
	{ "owner", "owner", VIEW_OWNER },
	{ "size", "size_bytes", VIEW_BYTES },
	{ "sha512", "sha512", VIEW_TEXT },
	{ "changed", "mtime", VIEW_TEXT },
	{ "read", "scanned", VIEW_TEXT },
	{ 0 },
};

int cli_file_list(struct cli *c, const struct cli_args *a, struct err *e)
{
	return cli_list(c, a, "/v1/files", true, columns, e);
}

int cli_file_show(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_arg_path(a, "/v1/files", "");

	return cli_show(c, a, path, lines, e);
}

int cli_file_delete(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_arg_path(a, "/v1/files", "");
	CLEANUP_STR char *name = cli_text_cleaned(a->arg);
	CLEANUP_STR char *done = xasprintf("file %s is deleted", name);

	return cli_change(c, a, "DELETE", path, NULL, done, NULL, e);
}

/* ---------------------------------------------------------------- upload */

struct upload {
	struct cli *c;
	const char *path; /* of the file here */
	char *name;	  /* there */
	char *shown;	  /* the name, cleaned */
	char *url_path;	  /* "/v1/files/<name>" */
	int fd;
	int64_t size;
	char sha512[SHA512_HEX_SIZE];
	char *digest; /* header */
	int64_t start_msec;
	int64_t sent; /* by us */
};

static void upload_done(struct upload *up)
{
	if (up->fd >= 0)
		close(up->fd);
	free(up->name);
	free(up->shown);
	free(up->url_path);
	free(up->digest);
}

static int open_file(struct upload *up, struct err *e)
{
	struct stat st;

	up->fd = open(up->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (up->fd < 0 || fstat(up->fd, &st) < 0)
		return err_errno(e, errno, "%s", up->path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_INVALID, "%s is no file", up->path);
	up->size = st.st_size;
	return 0;
}

/* What a hexadecimal digit (lower case) is worth. */
static unsigned digit(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* "Repr-Digest: sha-512=:...:" (RFC 9530); the caller's. */
static char *digest_header(const char *hex)
{
	CLEANUP_STR char *b64 = NULL;
	uint8_t bytes[SHA512_HEX_SIZE / 2];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
	b64 = base64_format(bytes, sizeof(bytes));
	return xasprintf("Repr-Digest: sha-512=:%s:", b64);
}

static int hash_file(struct upload *up, struct err *e)
{
	CLEANUP_STR char *what = xasprintf("reading %s", up->shown);
	struct cli_progress p = { .c = up->c, .what = what, .total = up->size };
	CLEANUP_STR char *chunk = xmalloc(READ_SIZE);
	struct sha512 h;
	int64_t at = 0;
	ssize_t n;

	sha512_start(&h);
	while ((n = pread(up->fd, chunk, READ_SIZE, at)) > 0) {
		sha512_add(&h, chunk, (size_t)n);
		at += n;
		cli_progress_show(&p, at);
	}
	cli_progress_end(&p);
	if (n < 0)
		return err_errno(e, errno, "%s", up->path);
	sha512_hex(&h, up->sha512);
	up->size = at;
	str_set(&up->digest, digest_header(up->sha512));
	return 0;
}

/* Is it there already, as it is? */
static int look_there(struct upload *up, bool *is_there, struct err *e)
{
	json_t *entry = NULL;

	*is_there = false;
	if (cli_get(up->c->client, up->url_path, &entry, e) < 0)
		return e->kind == ERR_NOT_FOUND ? 0 : -1;
	*is_there = str_eq(cli_json_text(entry, "sha512"), up->sha512);
	json_decref(entry);
	return 0;
}

/* One PUT. range may be NULL. */
static int put(struct upload *up, const char *range, const struct http_upload *body,
	struct cli_answer *out, struct err *e)
{
	const char *headers[] = { up->digest, range, NULL };
	struct cli_call call = {
		.method = "PUT", .path = up->url_path, .upload = body, .headers = headers
	};

	return cli_call(up->c->client, &call, out, e);
}

static int64_t offset_of(const struct cli_answer *an)
{
	return json_integer_value(json_object_get(an->json, "offset"));
}

static void pause_sec(const struct upload *up, int64_t sec)
{
	const struct cli_world *world = cli_client_world(up->c->client);

	world->sleep_msec(world->aux, sec * 1000);
}

/* How much is there? 0; 1: all of it, and the upload is complete. What broke off a moment ago
 * may still be thought to go on. */
static int ask(struct upload *up, int64_t *offset, struct err *e)
{
	CLEANUP(cli_answer_done) struct cli_answer an = { 0 };
	CLEANUP_STR char *range =
		xasprintf("Content-Range: bytes */%lld", (long long)up->size);
	const struct http_upload nothing = { .fd = up->fd };
	int64_t until = clock_mono_msec() + BUSY_SEC * 1000;

	*offset = 0;
	if (up->size == 0)
		return 0;
	for (int i = 0; put(up, range, &nothing, &an, e) < 0; i++) {
		if (e->kind != ERR_CONFLICT || clock_mono_msec() > until)
			return -1;
		if (i == 1)
			cli_note(up->c, "%s", e->msg);
		pause_sec(up, 2);
	}
	*offset = offset_of(&an);
	return an.status == 201;
}

struct sending {
	struct cli_progress progress;
	int64_t from;
};

static int on_sent(void *aux, int64_t n_sent)
{
	struct sending *s = aux;

	cli_progress_show(&s->progress, s->from + n_sent);
	return 0;
}

/* From offset on. */
static int send_rest(struct upload *up, int64_t offset, struct err *e)
{
	CLEANUP(cli_answer_done) struct cli_answer an = { 0 };
	CLEANUP_STR char *what = xasprintf("uploading %s", up->shown);
	CLEANUP_STR char *range = NULL;
	struct sending s = { .progress = { .c = up->c,
				     .what = what,
				     .total = up->size,
				     .begun = offset },
		.from = offset };
	const struct http_upload body = { .fd = up->fd,
		.from = offset,
		.size = up->size - offset,
		.progress = on_sent,
		.aux = &s };
	int r;

	if (offset > 0)
		range = xasprintf("Content-Range: bytes %lld-%lld/%lld",
			(long long)offset, (long long)(up->size - 1),
			(long long)up->size);
	r = put(up, range, &body, &an, e);
	cli_progress_end(&s.progress);
	if (r == 0)
		up->sent += body.size;
	return r;
}

/* Until it is complete: what broke off goes on where it stands. */
static int send_all(struct upload *up, struct err *e)
{
	int64_t offset, last = -1;
	int n_failed = 0, r;

	for (;;) {
		r = ask(up, &offset, e);
		if (r == 1)
			return 0;
		if (r == 0) {
			if (offset > 0 && last < 0)
				cli_note(up->c, "%s goes on where it broke off",
					up->shown);
			n_failed = offset > last ? 0 : n_failed;
			last = offset;
			if (send_rest(up, offset, e) == 0)
				return 0;
		}
		if (e->kind != ERR_UNAVAILABLE || ++n_failed >= N_TRIES)
			return -1;
		cli_note(up->c, "%s; trying again", e->msg);
		pause_sec(up, 1 << n_failed);
	}
}

/* Until it is published. *out (may be NULL) is the entry, the caller's. */
static int wait_listed(struct upload *up, int64_t limit_sec, json_t **out, struct err *e)
{
	int64_t until = clock_mono_msec() + limit_sec * 1000, left;

	if (up->c->is_err_tty && !up->c->is_quiet)
		fprintf(stderr, "%s is being read there...", up->shown);
	for (;;) {
		CLEANUP(cli_answer_done) struct cli_answer an = { 0 };
		CLEANUP_STR char *path = NULL;
		struct cli_call call = { .method = "GET" };
		int r;

		left = (until - clock_mono_msec() + 999) / 1000;
		if (left < 0)
			left = 0;
		path = xasprintf("%s?wait=%s&timeout=%lld", up->url_path, up->sha512,
			(long long)(left < POLL_SEC ? left : POLL_SEC));
		call.path = path;
		call.limit_msec = POLL_SEC * 1000 + SPARE_MSEC;
		r = cli_call(up->c->client, &call, &an, e);
		if (r == 0)
			*out = MOVE(an.json);
		if (r < 0 && e->kind == ERR_TIMEOUT && left > 0)
			continue;
		if (up->c->is_err_tty && !up->c->is_quiet)
			fputs("\r\x1b[K", stderr);
		return r;
	}
}

static void print_done(const struct upload *up, bool was_there, json_t *entry)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	int64_t msec = clock_mono_msec() - up->start_msec;

	if (up->c->is_json) {
		cli_print_json(entry);
	} else if (up->c->is_quiet) {
		puts(up->shown);
	} else if (was_there) {
		printf("file %s is there already, with the same content\n", up->shown);
	} else {
		cli_bytes_format(up->size, &text);
		buf_add_str(&text, " in ");
		cli_seconds_format((msec + 999) / 1000, &text);
		if (msec >= 1000 && up->sent > 0) {
			buf_add_str(&text, ", ");
			cli_bytes_format(up->sent * 1000 / msec, &text);
			buf_add_str(&text, "/s");
		}
		printf("file %s is uploaded (%s)\n", up->shown, buf_str(&text));
	}
}

static json_t *entry_of(const struct upload *up)
{
	return json_pack("{s:s, s:I, s:s}", "filename", up->name, "size_bytes",
		(json_int_t)up->size, "sha512", up->sha512);
}

static int run(struct upload *up, const struct cli_args *a, struct err *e)
{
	json_t *entry = NULL;
	bool was_there;

	if (open_file(up, e) < 0 || cli_need_client(up->c, a, e) < 0 ||
		hash_file(up, e) < 0 || look_there(up, &was_there, e) < 0)
		return -1;
	up->start_msec = clock_mono_msec();
	if (!was_there && send_all(up, e) < 0)
		return -1;
	if (!cli_args_has(a, "no-wait") &&
		wait_listed(
			up, cli_args_sec(a, "timeout", DEFAULT_LIMIT_SEC), &entry, e) < 0)
		return err_wrap(e, "%s is uploaded, but is not listed yet", up->shown);
	if (!entry)
		entry = entry_of(up);
	print_done(up, was_there, entry);
	json_decref(entry);
	return 0;
}

int cli_file_upload(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP(upload_done) struct upload up = { .c = c, .path = a->arg, .fd = -1 };
	const char *name = cli_args_get(a, "name"), *slash = strrchr(a->arg, '/');

	up.name = xstrdup(name ? name : slash ? slash + 1 : a->arg);
	up.shown = cli_text_cleaned(up.name);
	up.url_path = cli_path("/v1/files", up.name, "");
	if (str_is_empty(up.name))
		return err_set(e, ERR_INVALID, "%s is no file", a->arg);
	return run(&up, a, e);
}
