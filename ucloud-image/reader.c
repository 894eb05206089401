#include "ucloud-image/reader.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/proc.h"
#include "common/base/sandbox.h"

/* Where the descriptors end up that it is given (proc.h). */
#define FILE_FD 4

/* QEMU reads with up to 64 threads; two readers, and whoever else runs as that user. */
#define LIMIT_THREADS 512
#define LIMIT_FDS     256

struct reader {
	struct sandbox *sandbox;
	struct proc_child *child;
	int listener;
	int clients[READER_CLIENTS_MAX];
	unsigned n_clients;
	atomic_bool was_killed;
};

int reader_check(struct err *e)
{
	const struct proc p = { .argv = (const char *const[]){ "qemu-nbd", "--version",
					NULL },
		.limit_msec = 10000 };
	struct err why = { 0 };

	if (proc_run_ok(&p, NULL, &why) == 0)
		return 0;
	return err_set(e, ERR_UNSUPPORTED,
		"qemu-nbd cannot be run, without which only raw files become images: "
		"install it (package qemu-utils): %s",
		why.msg);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void reader_free(struct reader *r)
{
	for (unsigned i = 0; i < READER_CLIENTS_MAX; i++)
		close_fd(&r->clients[i]);
	close_fd(&r->listener);
	sandbox_free(r->sandbox);
	free(r);
}

/* ---------------------------------------------------------------- connections */

/* They wait in the listener's queue until the reader takes them, so that its name is needed
 * for a moment only. */
static int connect_clients(
	struct reader *r, const struct sockaddr_un *at, unsigned n, struct err *e)
{
	const struct sockaddr *to = (const struct sockaddr *)at;

	r->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (r->listener < 0 || bind(r->listener, to, sizeof(*at)) < 0 ||
		listen(r->listener, READER_CLIENTS_MAX) < 0)
		return err_errno(e, errno, "a socket for the reader");
	for (; r->n_clients < n; r->n_clients++) {
		int *fd = &r->clients[r->n_clients];

		*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (*fd < 0 || connect(*fd, to, sizeof(*at)) < 0)
			return err_errno(e, errno, "a connection to the reader");
	}
	return 0;
}

static int make_connections(struct reader *r, unsigned n, struct err *e)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	const char *tmp = getenv("TMPDIR");
	CLEANUP_STR char *dir = xasprintf("%s/ucloud-XXXXXX", tmp ? tmp : "/tmp");
	int rc;

	if (strlen(dir) + 3 > sizeof(at.sun_path))
		return err_set(e, ERR_UNAVAILABLE, "TMPDIR is too long: %s", tmp);
	if (!mkdtemp(dir))
		return err_errno(e, errno, "%s", dir);
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/s", dir);
	rc = connect_clients(r, &at, n, e);
	unlink(at.sun_path);
	rmdir(dir);
	return rc;
}

/* ---------------------------------------------------------------- the process */

static int make_sandbox(
	const struct reader_conf *conf, int fd, struct reader *r, struct err *e)
{
	/* What loading takes; a program that lies elsewhere comes last. */
	const char *paths[] = { "/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache",
		"/dev/null", "/dev/urandom", conf->program, NULL };
	const struct sandbox_conf box = {
		.read_paths = paths,
		.read_fd = fd,
		.may_read_any_mode = true,
		.limit_cpu_sec = 4 * (uint64_t)conf->limit_sec,
		.limit_threads = LIMIT_THREADS,
		.limit_fds = LIMIT_FDS,
	};
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(e, errno, "the file");
	/* Without Landlock it has no more rights than any other user. */
	if (sandbox_landlock_abi() == 0 && conf->uid != 0 && st.st_uid != conf->uid &&
		!(st.st_mode & S_IROTH) &&
		!(st.st_gid == conf->gid && (st.st_mode & S_IRGRP)))
		return err_set(e, ERR_INVALID,
			"the file cannot be read by the service that makes images: give "
			"everybody the right to read it");
	return sandbox_new(&box, &r->sandbox, e);
}

/* What QEMU is to open, without guessing: nothing that is in the file can name another one.
 * "backing": null where the format has such. */
static char *blockdev(const char *format)
{
	bool has_backing = strcmp(format, "qcow2") == 0 || strcmp(format, "vmdk") == 0;

	return xasprintf("json:{\"driver\":\"%s\",\"read-only\":true,%s"
			 "\"file\":{\"driver\":\"file\",\"filename\":\"/dev/fd/%d\","
			 "\"read-only\":true,\"locking\":\"off\"}}",
		format, has_backing ? "\"backing\":null," : "", FILE_FD);
}

static int start_program(const struct reader_conf *conf, int fd, const char *format,
	struct reader *r, struct err *e)
{
	CLEANUP_STR char *what = blockdev(format);
	CLEANUP_STR char *shared = xasprintf("--shared=%u", r->n_clients);
	const char *argv[] = { conf->program ? conf->program : "qemu-nbd", "--read-only",
		"--persistent", shared, "--export-name=", "--", what, NULL };
	/* Each arena of malloc() would take 64 MiB of the address space that it may have. The
	 * others keep the memory of one answer for the next one: else all of it comes from the
	 * kernel anew each time, which takes as long as the copying. */
	static const char *const env[] = { "MALLOC_ARENA_MAX=1",
		"MALLOC_MMAP_THRESHOLD_=33554432", "MALLOC_TRIM_THRESHOLD_=134217728",
		NULL };
	const int pass[] = { r->listener, fd };
	struct proc p = {
		.argv = argv,
		.env = env,
		.limit_mem = conf->limit_mem,
		.uid = conf->uid,
		.gid = conf->gid,
		.sandbox = r->sandbox,
		.pass = pass,
		.n_pass = ARRAY_LEN(pass),
		.has_listener = true,
	};

	if (proc_start(&p, &r->child, e) == 0)
		return 0;
	if (e && e->kind == ERR_UNSUPPORTED)
		e->kind = ERR_UNAVAILABLE; /* somebody has to install it */
	return -1;
}

int reader_start(const struct reader_conf *conf, int fd, const char *format,
	unsigned n_clients, struct reader **out, struct err *e)
{
	struct reader *r = xcalloc(1, sizeof(*r));

	r->listener = -1;
	for (unsigned i = 0; i < READER_CLIENTS_MAX; i++)
		r->clients[i] = -1;
	if (n_clients > READER_CLIENTS_MAX)
		n_clients = READER_CLIENTS_MAX;
	if (make_connections(r, n_clients, e) < 0 || make_sandbox(conf, fd, r, e) < 0 ||
		start_program(conf, fd, format, r, e) < 0) {
		reader_free(r);
		return -1;
	}
	/* Only the reader has it now: when that ends, all connections do. */
	close_fd(&r->listener);
	*out = r;
	return 0;
}

int reader_take_client(struct reader *r)
{
	for (unsigned i = 0; i < READER_CLIENTS_MAX; i++)
		if (r->clients[i] >= 0) {
			int fd = r->clients[i];

			r->clients[i] = -1;
			return fd;
		}
	return -1;
}

bool reader_has_ended(struct reader *r, int64_t wait_msec)
{
	return proc_has_ended(r->child, wait_msec);
}

void reader_kill(struct reader *r)
{
	r->was_killed = true;
	proc_kill(r->child);
}

/* ---------------------------------------------------------------- its last words */

/* Its last line, without its own name and the one that only we know the file by, which
 * blockdev() made. */
static char *last_words(const struct buf *text)
{
	static const char name_end[] = "}}': ", own[] = "qemu-nbd: ";
	CLEANUP(strv_done) struct strv lines = { 0 };
	const char *s, *end;

	strv_split(&lines, buf_str(text), '\n');
	if (lines.len == 0)
		return NULL;
	s = lines.v[lines.len - 1];
	end = strstr(s, name_end);
	if (end)
		s = end + sizeof(name_end) - 1;
	else if (str_has_prefix(s, own))
		s += sizeof(own) - 1;
	return xstrndup(s, 300);
}

static void explain(int status, const struct buf *text, struct err *why)
{
	CLEANUP_STR char *words = last_words(text);
	int sig = status > 128 ? status - 128 : 0;

	if (sig == SIGXCPU)
		err_set(why, ERR_INVALID, "reading it takes too much time");
	else if (words && (strstr(words, "Cannot allocate memory") ||
				  strstr(words, "failed to allocate")))
		err_set(why, ERR_INVALID, "reading it takes too much memory");
	else if (words)
		err_set(why, ERR_INVALID, "it cannot be read: %s", words);
	else if (sig)
		err_set(why, ERR_INVALID, "it cannot be read: QEMU died of it (%s)",
			strsignal(sig));
	else
		err_set(why, ERR_INVALID, "it cannot be read: QEMU ended with status %d",
			status);
}

void reader_stop(struct reader *r, struct err *why)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	bool has_ended;
	int status = 0;

	if (!r)
		return;
	has_ended = proc_has_ended(r->child, 0) && !r->was_killed;
	proc_stop(r->child, &status, NULL, &text);
	if (why && (has_ended || text.size > 0))
		explain(has_ended ? status : 0, &text, why);
	reader_free(r);
}
