#include "ucloud-filescan/scan.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "ucloud-filescan/scan_impl.h"

#define DEPTH_MAX	16
#define BASE_RETRY_MSEC 2000
/* Events are read at once, but not more often than that: a file that is being written tells
 * of itself without end. */
#define READ_EVERY_MSEC	 100
#define COUNT_EVERY_MSEC 1000
/* How long a hash is remembered that no file has any more. */
#define KNOWN_MSEC 600000
#define GIB	   (1024LL * 1024 * 1024)

static struct metric m_files = { METRIC_GAUGE, "ucloud_filescan_files",
	"Files below base_dir, by how far they are.", .label = "state" };
static struct metric m_waiting = { METRIC_GAUGE, "ucloud_filescan_waiting_bytes",
	"Bytes of files that are to be hashed or being hashed." };
static struct metric m_dirs = { METRIC_GAUGE, "ucloud_filescan_directories",
	"Directories, watched by inotify or only listed now and then.", .label = "how" };
static struct metric m_passes = { METRIC_HISTOGRAM, "ucloud_filescan_pass_seconds",
	"How long listing everything took." };
static struct metric m_why = { METRIC_COUNTER, "ucloud_filescan_passes_total",
	"Full passes, and why.", .label = "why" };

struct tree_time scan_now(void)
{
	return (struct tree_time){ clock_mono_msec(), clock_unix_sec() };
}

/* ---------------------------------------------------------------- base_dir */

static void base_lost(struct scan *s, const struct err *e)
{
	pthread_mutex_lock(&s->lock);
	s->is_base_there = false;
	s->is_complete = false;
	s->base_err = *e;
	pthread_mutex_unlock(&s->lock);
	s->is_in_pass = false;
	s->base_due = clock_mono_msec() + BASE_RETRY_MSEC;
	log_repeat(&s->log_base, LOG_ERROR, "%s", e->msg);
}

static bool is_same_base(const struct base_id *a, const struct base_id *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

int scan_open_base(struct scan *s, int *fd)
{
	struct base_id id;
	struct err e = { 0 };

	if (!s->is_base_there)
		return -1;
	if (base_open(s->conf->base_dir, fd, &id, &e) == 0) {
		if (is_same_base(&id, &s->base_id))
			return 0;
		walk_close(fd);
		*fd = -1;
		err_set(&e, ERR_UNAVAILABLE,
			"base_dir %s is another directory than before",
			s->conf->base_dir);
	}
	base_lost(s, &e);
	return -1;
}

bool scan_is_base_there(struct scan *s)
{
	CLEANUP(walk_close) int fd = -1;
	struct base_id id;
	bool is_there;

	if (base_open(s->conf->base_dir, &fd, &id, NULL) != 0)
		return false;
	pthread_mutex_lock(&s->lock);
	is_there = s->is_base_there && is_same_base(&id, &s->base_id);
	pthread_mutex_unlock(&s->lock);
	return is_there;
}

/* ---------------------------------------------------------------- passes */

static void begin_pass(struct scan *s, const char *why)
{
	int64_t now = clock_mono_msec();

	log_debug("listing everything why=%s", why);
	metric_add(&m_why, why, 1);
	s->is_in_pass = true;
	s->want_pass = false;
	s->is_limited = s->inot == NULL;
	s->pass_began = now;
	s->pass_due = now + s->conf->rescan_sec * 1000;
	s->unwatched_due = now + s->conf->unwatched_sec * 1000;
	pthread_mutex_lock(&s->lock);
	s->n_skipped = 0;
	tree_set_full_pass(s->tree, true);
	tree_queue(s->tree, tree_root(s->tree));
	pthread_mutex_unlock(&s->lock);
}

static void end_pass(struct scan *s)
{
	int64_t now = clock_mono_msec();
	unsigned n_skipped;
	bool is_complete;

	s->is_in_pass = false;
	pthread_mutex_lock(&s->lock);
	tree_set_full_pass(s->tree, false);
	is_complete = s->is_base_there && !tree_root(s->tree)->is_unread;
	s->is_complete = is_complete;
	n_skipped = s->n_skipped;
	if (is_complete)
		tree_purge_known(s->tree, now - KNOWN_MSEC);
	pthread_mutex_unlock(&s->lock);
	metric_observe(&m_passes, NULL, (double)(now - s->pass_began) / 1000);
	if (n_skipped > SKIP_LINES_MAX)
		log_warn("more names are not published than are told here names=%u",
			n_skipped);
	if (!s->is_limited)
		log_repeat_end(&s->log_limit, "all directories are watched");
	if (is_complete)
		s->calls.on_complete(s->calls.aux);
}

/* It is (again) there: nothing is known of what happened meanwhile. */
static void base_found(struct scan *s, const struct base_id *id)
{
	log_repeat_end(&s->log_base, "base_dir is there again");
	inot_close(s->inot);
	s->inot = inot_open();
	if (!s->inot)
		log_repeat(&s->log_limit, LOG_WARN,
			"nothing is watched, since inotify refuses (%s): directories are "
			"listed every %jd s instead; raise fs.inotify.max_user_instances",
			strerror(errno), (intmax_t)s->conf->unwatched_sec);
	pthread_mutex_lock(&s->lock);
	tree_forget_watches(s->tree);
	s->base_id = *id;
	s->is_complete = false;
	s->is_base_there = true;
	pthread_mutex_unlock(&s->lock);
	begin_pass(s, "start");
}

static void look_for_base(struct scan *s)
{
	CLEANUP(walk_close) int fd = -1;
	struct base_id id;
	struct err e = { 0 };

	s->base_due = clock_mono_msec() + BASE_RETRY_MSEC;
	if (s->is_base_there)
		(void)scan_open_base(s, &fd);
	if (s->is_base_there)
		return;
	if (base_open(s->conf->base_dir, &fd, &id, &e) == 0)
		base_found(s, &id);
	else
		base_lost(s, &e);
}

static void begin_passes(struct scan *s)
{
	int64_t now = clock_mono_msec();

	if (s->is_in_pass)
		return;
	if (s->want_pass)
		begin_pass(s, "overflow");
	else if (now >= s->pass_due)
		begin_pass(s, "rescan");
	if (now < s->unwatched_due)
		return;
	s->unwatched_due = now + s->conf->unwatched_sec * 1000;
	pthread_mutex_lock(&s->lock);
	tree_queue_unwatched(s->tree);
	pthread_mutex_unlock(&s->lock);
}

/* ---------------------------------------------------------------- the thread */

static void show_counts(struct scan *s)
{
	struct tree_counts c;

	if (clock_mono_msec() < s->count_due)
		return;
	s->count_due = clock_mono_msec() + COUNT_EVERY_MSEC;
	pthread_mutex_lock(&s->lock);
	tree_count(s->tree, &c);
	pthread_mutex_unlock(&s->lock);
	for (int i = 0; i < FS_N_STATES; i++)
		metric_set(&m_files, fs_state_name(i), (double)c.n_files[i]);
	metric_set(&m_waiting, NULL, (double)c.waiting_bytes);
	metric_set(&m_dirs, "watched", (double)c.n_watched);
	metric_set(&m_dirs, "listed", (double)(c.n_dirs - c.n_watched));
}

static void work(struct scan *s)
{
	int64_t now = clock_mono_msec();

	if (now >= s->base_due)
		look_for_base(s);
	if (s->is_base_there) {
		if (now >= s->read_due) {
			s->read_due = now + READ_EVERY_MSEC;
			scan_read_events(s);
		}
		scan_look_at_due(s);
		begin_passes(s);
		if (!scan_list_next(s) && s->is_in_pass)
			end_pass(s);
	}
	show_counts(s);
}

static void earlier(int64_t *at, int64_t other)
{
	if (other >= 0 && other < *at)
		*at = other;
}

/* When there is something to do without being told. */
static int64_t next_msec(struct scan *s)
{
	int64_t at = s->base_due;

	earlier(&at, s->count_due);
	if (!s->is_base_there)
		return at;
	earlier(&at, s->pass_due);
	earlier(&at, s->unwatched_due);
	pthread_mutex_lock(&s->lock);
	earlier(&at, tree_due_msec(s->tree));
	if (s->is_in_pass || s->want_pass || tree_has_queued(s->tree))
		at = 0;
	pthread_mutex_unlock(&s->lock);
	return at;
}

static void wait_for_work(struct scan *s)
{
	struct pollfd fds[2] = { { .fd = s->wake, .events = POLLIN }, { .fd = -1 } };
	int64_t now = clock_mono_msec(), at = next_msec(s);
	bool may_read = s->inot && s->is_base_there;

	if (may_read && now >= s->read_due)
		fds[1] = (struct pollfd){ .fd = inot_fd(s->inot), .events = POLLIN };
	else if (may_read)
		earlier(&at, s->read_due);
	poll(fds, 2, at <= now ? 0 : (int)(at - now));
}

static void *scan_main(void *aux)
{
	struct scan *s = aux;

	pthread_setname_np(pthread_self(), "scan");
	while (!atomic_load(&s->is_stopping)) {
		work(s);
		wait_for_work(s);
	}
	return NULL;
}

/* ---------------------------------------------------------------- for hashers */

static bool take(void *aux, bool small_only, struct hash_job *out)
{
	struct scan *s = aux;
	bool has_job = false;

	pthread_mutex_lock(&s->lock);
	while (!atomic_load(&s->is_stopping)) {
		has_job = s->is_base_there && tree_take_ready(s->tree, small_only, out);
		if (has_job)
			break;
		pthread_cond_wait(&s->is_work, &s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return has_job;
}

static void end(void *aux, struct hash_job *job, const struct hash_result *result)
{
	struct scan *s = aux;

	pthread_mutex_lock(&s->lock);
	if (result->end == HASH_DONE)
		tree_hashed(s->tree, job, result->sha512, scan_now());
	else if (result->end == HASH_CHANGED)
		tree_hash_changed(s->tree, job, scan_now());
	else if (result->end == HASH_FAILED)
		tree_hash_failed(s->tree, job, result->errnum);
	else
		tree_hash_put_back(s->tree, job);
	if (result->end == HASH_GAVE_UP)
		s->is_base_there = false; /* the scanning thread looks why */
	pthread_mutex_unlock(&s->lock);
}

/* ---------------------------------------------------------------- from outside */

static void on_change(void *aux, const char *uuid)
{
	struct scan *s = aux;

	s->calls.on_change(s->calls.aux, uuid);
}

static void on_unwatch(void *aux, int wd)
{
	struct scan *s = aux;

	if (s->inot)
		inot_remove(s->inot, wd);
}

static struct tree *new_tree(struct scan *s)
{
	struct tree_conf conf = {
		.realms = &s->conf->realms,
		.settle_msec = s->conf->settle_sec * 1000,
		.nodes_max = (size_t)s->conf->files_max,
		.depth_max = DEPTH_MAX,
		.size_max = s->conf->file_gib_max * GIB,
		.on_change = on_change,
		.on_skip = scan_on_skip,
		.on_unwatch = on_unwatch,
		.aux = s,
	};

	return tree_new(&conf);
}

struct scan *scan_new(const struct scan_conf *conf, const struct scan_calls *calls)
{
	struct scan *s = xcalloc(1, sizeof(*s));
	struct hashers_conf hashers = {
		.base_dir = conf->base_dir,
		.n_threads = (unsigned)conf->n_hashers,
		.take = take,
		.end = end,
		.aux = s,
	};

	signal(SIGIO, SIG_IGN); /* walk.h */
	s->conf = conf;
	s->calls = *calls;
	s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->is_work, NULL);
	s->tree = new_tree(s);
	s->hashers = hashers_new(&hashers);
	err_set(&s->base_err, ERR_UNAVAILABLE, "base_dir was not looked at yet");
	metric_register(&m_files);
	metric_register(&m_waiting);
	metric_register(&m_dirs);
	metric_register(&m_passes);
	metric_register(&m_why);
	return s;
}

void scan_add_known(struct scan *s, const struct file *entry)
{
	pthread_mutex_lock(&s->lock);
	tree_add_known(s->tree, entry, scan_now());
	pthread_mutex_unlock(&s->lock);
}

void scan_start(struct scan *s)
{
	int rc = pthread_create(&s->thread, NULL, scan_main, s);

	s->is_started = rc == 0;
	if (rc != 0)
		log_error("cannot start a thread: %s", strerror(rc));
	hashers_start(s->hashers);
}

void scan_stop(struct scan *s)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&s->lock);
	atomic_store(&s->is_stopping, true);
	pthread_cond_broadcast(&s->is_work);
	pthread_mutex_unlock(&s->lock);
	if (write(s->wake, &one, sizeof(one)) < 0)
		log_error("eventfd: %s", strerror(errno));
	if (s->is_started)
		pthread_join(s->thread, NULL);
	s->is_started = false;
	hashers_stop(s->hashers);
}

void scan_free(struct scan *s)
{
	if (!s)
		return;
	scan_stop(s);
	hashers_free(s->hashers);
	inot_close(MOVE(s->inot));
	scan_free_looks(s);
	tree_free(s->tree);
	close(s->wake);
	pthread_cond_destroy(&s->is_work);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

enum tree_has scan_get(struct scan *s, const char *uuid, struct file *out)
{
	pthread_mutex_lock(&s->lock);
	enum tree_has has = tree_get(s->tree, uuid, out);
	pthread_mutex_unlock(&s->lock);
	return has;
}

bool scan_is_sure(struct scan *s, const struct file *entry)
{
	pthread_mutex_lock(&s->lock);
	bool is_sure = s->is_complete && s->is_base_there && tree_is_sure(s->tree, entry);
	pthread_mutex_unlock(&s->lock);
	return is_sure;
}

bool scan_is_looking(struct scan *s)
{
	pthread_mutex_lock(&s->lock);
	bool is_looking = s->is_looking || tree_has_queued(s->tree);
	pthread_mutex_unlock(&s->lock);
	return is_looking;
}

void scan_tell_all(struct scan *s)
{
	pthread_mutex_lock(&s->lock);
	tree_tell_all(s->tree);
	pthread_mutex_unlock(&s->lock);
}

int scan_health(struct scan *s, struct err *e)
{
	struct tree_counts c;
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	tree_count(s->tree, &c);
	if (!s->is_base_there) {
		*e = s->base_err;
		rc = -1;
	}
	pthread_mutex_unlock(&s->lock);
	if (rc == 0)
		err_set(e, ERR_NONE, "files=%zu to_hash=%zu bytes=%jd",
			c.n_files[FS_HASHED], c.n_files[FS_READY] + c.n_files[FS_HASHING],
			(intmax_t)c.waiting_bytes);
	return rc;
}
