#include <errno.h>
#include <string.h>

#include "common/base/hash.h"
#include "ucloud-filescan/scan_impl.h"

/* Names listed of one directory beyond files_max: those that are skipped. */
#define LIST_MORE     1000
#define LOOKS_AT_ONCE 1000

/* A name to be looked at, once, however often it was told. */
struct look {
	UT_hash_handle hh;
	char *key; /* "<wd>/<name>" */
	int wd;
	const char *name; /* within key */
	bool is_closed;
};

void scan_on_skip(void *aux, const char *path, enum skip_why why, int errnum)
{
	struct scan *s = aux;
	enum log_level level = why == SKIP_UNREADABLE ? LOG_WARN : LOG_INFO;

	if (++s->n_skipped > SKIP_LINES_MAX)
		return;
	if (level == LOG_WARN)
		log_warn("not published: %s%s%s path=\"%s\"", skip_text(why),
			errnum ? ": " : "", errnum ? strerror(errnum) : "", path);
	else
		log_info("not published: %s path=\"%s\"", skip_text(why), path);
}

/* ---------------------------------------------------------------- watches */

static void refused(struct scan *s, int errnum)
{
	s->is_limited = true;
	if (errnum == ENOSPC)
		log_repeat(&s->log_limit, LOG_WARN,
			"the kernel watches no more directories: those without a watch "
			"are listed every %jd s instead; raise "
			"fs.inotify.max_user_watches",
			(intmax_t)s->conf->unwatched_sec);
	else
		log_repeat(&s->log_limit, LOG_WARN,
			"a directory cannot be watched: it is listed every %jd s "
			"instead: %s",
			(intmax_t)s->conf->unwatched_sec, strerror(errnum));
}

/* Before it is listed: what changes from then on is told. */
static void watch(struct scan *s, struct fs_dir *dir, int dir_fd)
{
	int wd = -1;

	if (!s->inot)
		return;
	wd = inot_add(s->inot, dir_fd, dir->parent ? 0 : IN_DELETE_SELF | IN_MOVE_SELF);
	if (wd < 0)
		refused(s, errno);
	pthread_mutex_lock(&s->lock);
	tree_set_watch(s->tree, dir, wd);
	pthread_mutex_unlock(&s->lock);
}

/* ---------------------------------------------------------------- listing */

static bool is_gone(int errnum)
{
	return errnum == ENOENT || errnum == ENOTDIR || errnum == ELOOP;
}

/* One that is gone, or has become a link, is looked at where it was. */
static void list_failed(struct scan *s, struct fs_dir *dir, int errnum)
{
	CLEANUP_STR char *name = xstrdup(dir->name);

	pthread_mutex_lock(&s->lock);
	if (dir->parent && is_gone(errnum)) {
		tree_queue(s->tree, dir->parent);
		tree_gone(s->tree, dir->parent, name, scan_now());
	} else {
		tree_set_unread(s->tree, dir, errnum);
	}
	pthread_mutex_unlock(&s->lock);
}

static void enter(struct scan *s, struct fs_dir *dir, const struct seen_list *list)
{
	struct tree_time now = scan_now();

	pthread_mutex_lock(&s->lock);
	tree_list_begin(s->tree, dir);
	for (size_t i = 0; i < list->len; i++)
		tree_see(s->tree, dir, &list->v[i], now);
	tree_set_unread(s->tree, dir, 0);
	if (list->is_cut)
		dir->is_partial = true;
	else
		tree_list_end(s->tree, dir, now);
	pthread_cond_broadcast(&s->is_work);
	pthread_mutex_unlock(&s->lock);
}

static void list_dir(struct scan *s, struct fs_dir *dir, int base)
{
	CLEANUP(seen_list_done) struct seen_list list = { 0 };
	CLEANUP_STR char *path = tree_dir_path(dir);
	CLEANUP(walk_close) int fd = walk_open(base, path);
	int errnum = fd < 0 ? errno : 0;

	if (!errnum) {
		watch(s, dir, fd);
		struct walk_conf conf = {
			.dev = s->base_id.dev,
			.max = (size_t)s->conf->files_max + LIST_MORE,
			.recent_unix_sec = scan_now().unix_sec - s->conf->settle_sec - 1,
		};
		errnum = walk_list(fd, &conf, &list);
	}
	if (errnum)
		list_failed(s, dir, errnum);
	else
		enter(s, dir, &list);
}

bool scan_list_next(struct scan *s)
{
	CLEANUP(walk_close) int base = -1;
	struct fs_dir *dir;

	pthread_mutex_lock(&s->lock);
	dir = tree_take_queued(s->tree);
	pthread_mutex_unlock(&s->lock);
	if (!dir)
		return false;
	if (scan_open_base(s, &base) == 0)
		list_dir(s, dir, base);
	return true;
}

/* ---------------------------------------------------------------- single names */

static void add_look(struct scan *s, int wd, const char *name, uint32_t mask)
{
	CLEANUP_STR char *key = xasprintf("%d/%s", wd, name);
	struct look *l;

	HASH_FIND_STR(s->looks, key, l);
	if (!l) {
		l = xcalloc(1, sizeof(*l));
		l->name = strchr(key, '/') + 1;
		l->wd = wd;
		l->key = MOVE(key);
		HASH_ADD_KEYPTR(hh, s->looks, l->key, strlen(l->key), l);
	}
	if (mask & (IN_CLOSE_WRITE | IN_MOVED_TO))
		l->is_closed = true;
	else if (mask & (IN_MODIFY | IN_CREATE))
		l->is_closed = false; /* opened again */
}

static void forget_look(struct scan *s, struct look *l)
{
	HASH_DEL(s->looks, l);
	free(l->key);
	free(l);
}

void scan_free_looks(struct scan *s)
{
	struct look *l, *next;

	HASH_ITER (hh, s->looks, l, next)
		forget_look(s, l);
}

static void lost_events(struct scan *s)
{
	log_repeat(&s->log_overflow, LOG_WARN,
		"more has changed than the kernel keeps: everything is listed anew; "
		"raise "
		"fs.inotify.max_queued_events");
	s->want_pass = true;
}

static void watch_went(struct scan *s, int wd)
{
	struct fs_dir *dir;

	pthread_mutex_lock(&s->lock);
	dir = tree_find_watch(s->tree, wd);
	if (dir) {
		tree_set_watch(s->tree, dir, -1);
		tree_queue(s->tree, dir);
	}
	pthread_mutex_unlock(&s->lock);
}

static void on_event(void *aux, int wd, uint32_t mask, const char *name)
{
	struct scan *s = aux;

	if (mask & IN_Q_OVERFLOW)
		lost_events(s);
	else if (mask & IN_IGNORED)
		watch_went(s, wd);
	else if (mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT))
		s->base_due = 0;
	else if (name)
		add_look(s, wd, name, mask);
}

/* What one directory's looks share. */
struct place {
	int base, wd, fd;
};

/* NULL: nobody is interested in that directory any more, or it is listed anyway. */
static struct fs_dir *go_to(struct scan *s, struct place *at, int wd)
{
	struct fs_dir *dir = tree_find_watch(s->tree, wd);

	if (!dir || dir->is_queued)
		return NULL;
	if (at->wd == wd && at->fd >= 0)
		return dir;
	walk_close(&at->fd);
	CLEANUP_STR char *path = tree_dir_path(dir);
	at->wd = wd;
	at->fd = walk_open(at->base, path);
	if (at->fd >= 0)
		return dir;
	list_failed(s, dir, errno);
	return NULL;
}

static void look_at(struct scan *s, struct place *at, struct fs_dir *dir,
	const char *name, bool is_closed)
{
	CLEANUP(seen_done) struct seen seen = { 0 };
	int errnum = walk_look(at->fd, s->base_id.dev, name, &seen);

	seen.is_closed = is_closed;
	pthread_mutex_lock(&s->lock);
	if (errnum == 0)
		tree_see(s->tree, dir, &seen, scan_now());
	else if (errnum == ENOENT)
		tree_gone(s->tree, dir, name, scan_now());
	else
		tree_queue(s->tree, dir);
	pthread_cond_broadcast(&s->is_work); /* each takes what it may */
	pthread_mutex_unlock(&s->lock);
}

/* First what has gone, then what has come: in the order in which it was told. A name is
 * looked at as it is now, so nothing depends on that order but that hashes are known. */
static void do_looks(struct scan *s, int base)
{
	struct place at = { .base = base, .wd = -1, .fd = -1 };
	struct look *l, *next;

	HASH_ITER (hh, s->looks, l, next) {
		struct fs_dir *dir = go_to(s, &at, l->wd);

		if (dir)
			look_at(s, &at, dir, l->name, l->is_closed);
		forget_look(s, l);
	}
	walk_close(&at.fd);
}

static void set_looking(struct scan *s, bool is_looking)
{
	pthread_mutex_lock(&s->lock);
	s->is_looking = is_looking;
	pthread_mutex_unlock(&s->lock);
}

void scan_read_events(struct scan *s)
{
	CLEANUP(walk_close) int base = -1;

	if (!s->inot)
		return;
	set_looking(s, true);
	inot_read(s->inot, on_event, s);
	if (s->looks && scan_open_base(s, &base) == 0)
		do_looks(s, base);
	set_looking(s, false);
}

void scan_look_at_due(struct scan *s)
{
	CLEANUP(walk_close) int base = -1;

	for (int i = 0; i < LOOKS_AT_ONCE; i++) {
		CLEANUP_STR char *name = NULL;
		CLEANUP(walk_close) int fd = -1;
		struct fs_dir *dir;

		pthread_mutex_lock(&s->lock);
		bool is_due = tree_take_due(s->tree, scan_now().msec, &dir, &name);
		pthread_mutex_unlock(&s->lock);
		if (!is_due || (base < 0 && scan_open_base(s, &base) != 0))
			return;
		CLEANUP_STR char *path = tree_dir_path(dir);
		fd = walk_open(base, path);
		if (fd < 0) {
			list_failed(s, dir, errno);
			continue;
		}
		struct place at = { .fd = fd };
		look_at(s, &at, dir, name, false);
	}
}
