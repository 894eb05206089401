#include "ucloud-filescan/hashfile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/disk/image_file.h"
#include "ucloud-filescan/walk.h"

#define PIECE_SIZE (1024 * 1024)
/* How often it is looked whether the file is still the same, and memory given back. */
#define CHECK_SIZE (16 * PIECE_SIZE)
/* The kernel's clock for files moves in steps of at most 10 ms (HZ=100). */
#define TICK_MSEC 20
#define NICE	  10

static struct metric m_bytes = { METRIC_COUNTER, "ucloud_filescan_hashed_bytes_total",
	"Bytes of files that were read to hash them." };
static struct metric m_files = { METRIC_COUNTER, "ucloud_filescan_hashed_files_total",
	"Files that were read, and how that ended.", .label = "outcome" };
static struct metric m_current = { METRIC_GAUGE, "ucloud_filescan_hashing_done_bytes",
	"How much of the files that are being hashed now has been read." };

static const char *const end_names[] = { "done", "changed", "failed", "gave_up" };

struct hasher {
	struct hashers *all;
	pthread_t thread;
	bool is_started, small_only;
};

struct hashers {
	struct hashers_conf conf;
	struct hasher v[HASHERS_MAX];
	atomic_bool is_stopping;
};

static bool is_same(int fd, const struct hash_job *job, struct stat *st)
{
	if (fstat(fd, st) != 0 || !S_ISREG(st->st_mode))
		return false;
	CLEANUP_STR char *identity = file_identity(st);
	return str_eq(identity, job->identity);
}

/* What is written in the same step of the kernel's clock as the last write leaves the same
 * time. Once the step is over, whoever writes leaves another one. */
static void wait_tick(const struct stat *st)
{
	struct timespec now, wait = { .tv_nsec = TICK_MSEC * 1000000L };
	int64_t msec;

	clock_gettime(CLOCK_REALTIME, &now);
	msec = (now.tv_sec - st->st_mtim.tv_sec) * 1000 +
	       (now.tv_nsec - st->st_mtim.tv_nsec) / 1000000;
	if (msec >= 0 && msec < TICK_MSEC)
		nanosleep(&wait, NULL);
}

static void add_read(struct hash_result *out, ssize_t n)
{
	out->n_read += n;
	metric_add(&m_bytes, NULL, (double)n);
	metric_add(&m_current, NULL, (double)n);
}

static enum hash_end read_through(int fd, char *piece, const struct hash_job *job,
	const atomic_bool *is_stopping, struct hash_result *out)
{
	struct sha512 h;
	struct stat st;
	off_t at = 0;

	sha512_start(&h);
	for (;;) {
		ssize_t n = pread(fd, piece, PIECE_SIZE, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			out->errnum = errno;
			return HASH_FAILED;
		}
		if (n == 0)
			break;
		sha512_add(&h, piece, (size_t)n);
		at += n;
		add_read(out, n);
		if (atomic_load(is_stopping))
			return HASH_GAVE_UP;
		if (at % CHECK_SIZE != 0)
			continue;
		posix_fadvise(fd, at - CHECK_SIZE, CHECK_SIZE, POSIX_FADV_DONTNEED);
		if (!is_same(fd, job, &st))
			return HASH_CHANGED;
	}
	posix_fadvise(fd, at - at % CHECK_SIZE, 0, POSIX_FADV_DONTNEED);
	if (at != job->size_bytes || !is_same(fd, job, &st))
		return HASH_CHANGED;
	sha512_hex(&h, out->sha512);
	return HASH_DONE;
}

void hash_file(int base_fd, const struct hash_job *job, const atomic_bool *is_stopping,
	struct hash_result *out)
{
	CLEANUP(walk_close)
	int fd = open_beneath_with(base_fd, job->path, 0, RESOLVE_NO_XDEV);
	struct stat st;

	out->errnum = errno;
	out->end = HASH_FAILED;
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		out->end = HASH_CHANGED;
	if (fd < 0)
		return;
	out->errnum = 0;
	out->end = HASH_CHANGED;
	if (!is_same(fd, job, &st))
		return;
	wait_tick(&st);
	if (!is_same(fd, job, &st))
		return;
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	CLEANUP_STR char *piece = xmalloc(PIECE_SIZE);
	out->end = read_through(fd, piece, job, is_stopping, out);
	metric_add(&m_current, NULL, -(double)out->n_read);
}

/* ---------------------------------------------------------------- threads */

/* Both are of this thread alone. Without them it works as well. */
static void be_idle(void)
{
	int idle = IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0);

	if (syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, idle) != 0)
		log_debug("no idle priority for the disk: %s", strerror(errno));
	if (setpriority(PRIO_PROCESS, (id_t)gettid(), NICE) != 0)
		log_debug("no low priority for the processor: %s", strerror(errno));
}

static void run_job(struct hasher *h, struct hash_job *job)
{
	struct hash_result result = { .end = HASH_GAVE_UP };
	CLEANUP(walk_close) int base = -1;
	struct base_id id;
	struct err e;

	if (base_open(h->all->conf.base_dir, &base, &id, &e) == 0)
		hash_file(base, job, &h->all->is_stopping, &result);
	metric_add(&m_files, end_names[result.end], 1);
	h->all->conf.end(h->all->conf.aux, job, &result);
}

static void *hasher_main(void *aux)
{
	struct hasher *h = aux;
	struct hash_job job = { 0 };

	pthread_setname_np(pthread_self(), "hash");
	be_idle();
	while (h->all->conf.take(h->all->conf.aux, h->small_only, &job)) {
		run_job(h, &job);
		hash_job_done(&job);
	}
	return NULL;
}

struct hashers *hashers_new(const struct hashers_conf *conf)
{
	struct hashers *h = xcalloc(1, sizeof(*h));

	h->conf = *conf;
	for (unsigned i = 0; i < conf->n_threads; i++)
		h->v[i].all = h;
	h->v[0].small_only = conf->n_threads > 1;
	metric_register(&m_bytes);
	metric_register(&m_files);
	metric_register(&m_current);
	return h;
}

void hashers_start(struct hashers *h)
{
	for (unsigned i = 0; i < h->conf.n_threads; i++) {
		int rc = pthread_create(&h->v[i].thread, NULL, hasher_main, &h->v[i]);
		if (rc != 0)
			log_error("cannot start a thread: %s", strerror(rc));
		h->v[i].is_started = rc == 0;
	}
}

void hashers_stop(struct hashers *h)
{
	atomic_store(&h->is_stopping, true);
	for (unsigned i = 0; i < h->conf.n_threads; i++) {
		if (h->v[i].is_started)
			pthread_join(h->v[i].thread, NULL);
		h->v[i].is_started = false;
	}
}

void hashers_free(struct hashers *h)
{
	if (!h)
		return;
	hashers_stop(h);
	free(h);
}
