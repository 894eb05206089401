#include "ucloud-filescan/tree.h"

#include <errno.h>
#include <utlist.h>

#include "common/base/parse.h"
#include "ucloud-filescan/tree_impl.h"

const char *skip_text(enum skip_why why)
{
	static const char *const texts[SKIP_N] = {
		[SKIP_NONE] = "",
		[SKIP_NAME] = "its name is not UTF-8, or has control characters in it",
		[SKIP_LONG] = "its path is longer than 1024 bytes",
		[SKIP_LINK] = "it is a symbolic link, and those are not followed",
		[SKIP_SPECIAL] = "it is no regular file",
		[SKIP_OTHER_FS] = "another file system is mounted there",
		[SKIP_UNREADABLE] = "it cannot be read",
		[SKIP_NOBODY] = "it is no user's: those are called NAME or NAME@REALM",
		[SKIP_DEEP] = "directories lie inside each other too deeply there",
		[SKIP_LARGE] = "it is larger than file_gib_max allows",
		[SKIP_MANY] = "its owner has more files than files_max allows",
	};

	return texts[why];
}

/* ---------------------------------------------------------------- paths */

/* The parts between `top` (excluded) and dir, each with a "/" behind it. */
static void add_path(struct buf *b, const struct fs_dir *dir, unsigned top)
{
	if (dir->depth <= top)
		return;
	add_path(b, dir->parent, top);
	buf_add_str(b, dir->name);
	buf_add_char(b, '/');
}

static char *path_in(const struct fs_dir *dir, const char *name, unsigned top)
{
	struct buf b = { 0 };

	add_path(&b, dir, top);
	buf_add_str(&b, name);
	return buf_take(&b);
}

char *tree_dir_path(const struct fs_dir *dir)
{
	return dir->parent ? path_in(dir->parent, dir->name, 0) : xstrdup(".");
}

char *fs_file_path(const struct fs_file *f)
{
	return path_in(f->dir, f->name, 0);
}

char *fs_file_rel_path(const struct fs_dir *dir, const char *name)
{
	return path_in(dir, name, 1);
}

/* ---------------------------------------------------------------- users, nodes */

static struct fs_user *new_user(char *name, char *realm)
{
	struct fs_user *user = xcalloc(1, sizeof(*user));

	user->name = name;
	user->realm = realm;
	user->whose = xasprintf("%s@%s", name, realm);
	return user;
}

static void free_user(struct fs_user *user)
{
	if (!user)
		return;
	free(user->name);
	free(user->realm);
	free(user->whose);
	free(user);
}

static struct fs_dir *new_dir(struct fs_dir *parent, const char *name)
{
	struct fs_dir *dir = xcalloc(1, sizeof(*dir));

	dir->parent = parent;
	dir->name = xstrdup(name);
	dir->depth = parent ? parent->depth + 1 : 0;
	dir->user = parent ? parent->user : NULL;
	dir->wd = -1;
	dir->is_unread = true; /* until it is listed */
	return dir;
}

static struct fs_dir *find_dir(const struct fs_dir *dir, const char *name)
{
	struct fs_dir *d;

	HASH_FIND_STR(dir->dirs, name, d);
	return d;
}

static struct fs_file *find_file_in(const struct fs_dir *dir, const char *name)
{
	struct fs_file *f;

	HASH_FIND_STR(dir->files, name, f);
	return f;
}

static void leave_room(const struct tree *t, struct fs_user *user)
{
	user->n_nodes--;
	/* Said again only when it comes back after there was room for some. */
	if (user->n_nodes < t->conf.nodes_max - t->conf.nodes_max / 10)
		user->is_full = false;
}

static void remove_file(struct tree *t, struct fs_file *f, struct tree_time now)
{
	fs_file_leave(t, f, now);
	HASH_DEL(f->dir->files, f);
	if (f->dir->user)
		leave_room(t, f->dir->user);
	free(f->name);
	free(f->identity);
	free(f);
}

static void free_dir(struct tree *t, struct fs_dir *dir)
{
	if (dir->is_queued)
		DL_DELETE(t->queue, dir);
	if (dir->user && dir->depth > 1)
		leave_room(t, dir->user);
	if (dir->depth == 1)
		free_user(dir->user);
	t->counts.n_dirs--;
	free(dir->name);
	free(dir);
}

/* Not deeper than depth_max. */
static void remove_dir(struct tree *t, struct fs_dir *dir, struct tree_time now)
{
	struct fs_dir *d, *next_dir;
	struct fs_file *f, *next_file;
	int wd = dir->wd;

	HASH_ITER (hh, dir->dirs, d, next_dir)
		remove_dir(t, d, now);
	HASH_ITER (hh, dir->files, f, next_file)
		remove_file(t, f, now);
	tree_set_watch(t, dir, -1);
	if (wd >= 0)
		t->conf.on_unwatch(t->conf.aux, wd);
	if (dir->parent)
		HASH_DEL(dir->parent->dirs, dir);
	free_dir(t, dir);
}

struct tree *tree_new(const struct tree_conf *conf)
{
	struct tree *t = xcalloc(1, sizeof(*t));

	t->conf = *conf;
	t->root = new_dir(NULL, "");
	t->counts.n_dirs = 1;
	return t;
}

static void ignore_change(void *aux, const char *uuid)
{
	(void)aux;
	(void)uuid;
}

static void ignore_unwatch(void *aux, int wd)
{
	(void)aux;
	(void)wd;
}

void tree_free(struct tree *t)
{
	if (!t)
		return;
	t->conf.on_change = ignore_change;
	t->conf.on_unwatch = ignore_unwatch;
	remove_dir(t, t->root, (struct tree_time){ 0 });
	knowns_done(&t->knowns);
	free(t);
}

/* ---------------------------------------------------------------- directories */

struct fs_dir *tree_root(struct tree *t)
{
	return t->root;
}

void tree_queue(struct tree *t, struct fs_dir *dir)
{
	if (dir->is_queued)
		return;
	dir->is_queued = true;
	DL_APPEND(t->queue, dir);
}

static void queue_unwatched(struct tree *t, struct fs_dir *dir)
{
	struct fs_dir *d, *next;

	if (dir->wd < 0)
		tree_queue(t, dir);
	HASH_ITER (hh, dir->dirs, d, next)
		queue_unwatched(t, d);
}

void tree_queue_unwatched(struct tree *t)
{
	queue_unwatched(t, t->root);
}

struct fs_dir *tree_take_queued(struct tree *t)
{
	struct fs_dir *dir = t->queue;

	if (!dir)
		return NULL;
	DL_DELETE(t->queue, dir);
	dir->is_queued = false;
	return dir;
}

bool tree_has_queued(const struct tree *t)
{
	return t->queue != NULL;
}

struct fs_dir *tree_find_watch(struct tree *t, int wd)
{
	struct fs_dir *dir;

	HASH_FIND(hh_wd, t->by_wd, &wd, sizeof(wd), dir);
	return dir;
}

static void lose_watch(struct tree *t, struct fs_dir *dir)
{
	if (dir->wd >= 0)
		HASH_DELETE(hh_wd, t->by_wd, dir);
	dir->wd = -1;
}

void tree_set_watch(struct tree *t, struct fs_dir *dir, int wd)
{
	struct fs_dir *had = wd >= 0 ? tree_find_watch(t, wd) : NULL;

	if (wd == dir->wd)
		return;
	if (had)
		lose_watch(t, had);
	lose_watch(t, dir);
	dir->wd = wd;
	if (wd >= 0)
		HASH_ADD(hh_wd, t->by_wd, wd, sizeof(dir->wd), dir);
}

void tree_forget_watches(struct tree *t)
{
	struct fs_dir *dir, *next;

	HASH_ITER (hh_wd, t->by_wd, dir, next)
		lose_watch(t, dir);
}

void tree_set_unread(struct tree *t, struct fs_dir *dir, int errnum)
{
	CLEANUP_STR char *path = tree_dir_path(dir);

	dir->is_unread = errnum != 0;
	if (errnum && dir->said != errnum)
		t->conf.on_skip(t->conf.aux, path, SKIP_UNREADABLE, errnum);
	dir->said = errnum;
}

void tree_set_full_pass(struct tree *t, bool is_on)
{
	t->is_full_pass = is_on;
}

/* ---------------------------------------------------------------- names */

/* Is there room for one name more? */
static bool has_room(struct tree *t, struct fs_dir *dir, const char *name)
{
	struct fs_user *user = dir->user;

	if (!user)
		return true;
	if (user->n_nodes < t->conf.nodes_max) {
		user->n_nodes++;
		return true;
	}
	dir->is_partial = true;
	if (!user->is_full) {
		CLEANUP_STR char *path = path_in(dir, name, 0);
		user->is_full = true;
		t->conf.on_skip(t->conf.aux, path, SKIP_MANY, 0);
	}
	return false;
}

static struct fs_file *add_file(
	struct tree *t, struct fs_dir *dir, const char *name, bool is_published)
{
	struct fs_file *f;

	if (!has_room(t, dir, name))
		return NULL;
	f = xcalloc(1, sizeof(*f));
	f->dir = dir;
	f->name = xstrdup(name);
	f->state = FS_SKIPPED;
	t->counts.n_files[FS_SKIPPED]++;
	HASH_ADD_KEYPTR(hh, dir->files, f->name, strlen(f->name), f);
	if (is_published) {
		CLEANUP_STR char *path = fs_file_rel_path(dir, name);
		file_uuid(dir->user->realm, dir->user->name, path, f->uuid);
		HASH_ADD(hh_uuid, t->by_uuid, uuid, strlen(f->uuid), f);
	}
	return f;
}

/* Why a name is skipped, whatever is behind it; SKIP_NONE. */
static enum skip_why check_name(
	const struct tree *t, const struct fs_dir *dir, const struct seen *s)
{
	CLEANUP_STR char *path = fs_file_rel_path(dir, s->name);

	if (!str_is_text(s->name, strlen(s->name), false))
		return SKIP_NAME;
	if (s->kind == SEEN_LINK)
		return SKIP_LINK;
	if (s->kind == SEEN_SPECIAL)
		return SKIP_SPECIAL;
	if (s->kind == SEEN_OTHER_FS)
		return SKIP_OTHER_FS;
	if (dir->depth == 0)
		return s->kind == SEEN_DIR ? SKIP_NONE : SKIP_NOBODY;
	if (rel_path_check(path, NULL) != 0)
		return SKIP_LONG;
	if (s->kind == SEEN_DIR && dir->depth >= t->conf.depth_max)
		return SKIP_DEEP;
	if (s->kind == SEEN_FILE && s->size_bytes > t->conf.size_max)
		return SKIP_LARGE;
	return SKIP_NONE;
}

static bool is_own(const char *name)
{
	return str_has_prefix(name, FILE_OWN_PREFIX);
}

static void see_skipped(struct tree *t, struct fs_dir *dir, const char *name,
	enum skip_why why, struct tree_time now)
{
	struct fs_dir *d = find_dir(dir, name);
	struct fs_file *f = find_file_in(dir, name);

	if (d)
		remove_dir(t, d, now);
	if (f && f->uuid[0]) {
		remove_file(t, f, now);
		f = NULL;
	}
	if (!f)
		f = add_file(t, dir, name, false);
	if (!f)
		return;
	f->gen = dir->list_gen;
	fs_file_skip(t, f, why, 0);
}

/* NULL: nobody's. */
static struct fs_dir *add_user_dir(struct tree *t, const char *name, struct tree_time now)
{
	char *user = NULL, *realm = NULL;
	struct fs_dir *d;

	if (file_dir_parse(name, t->conf.realms, &user, &realm, NULL) != 0) {
		see_skipped(t, t->root, name, SKIP_NOBODY, now);
		return NULL;
	}
	d = new_dir(t->root, name);
	d->user = new_user(user, realm);
	return d;
}

static struct fs_dir *add_dir(
	struct tree *t, struct fs_dir *dir, const struct seen *s, struct tree_time now)
{
	struct fs_dir *d;

	if (dir->depth == 0)
		d = add_user_dir(t, s->name, now);
	else
		d = has_room(t, dir, s->name) ? new_dir(dir, s->name) : NULL;
	if (!d)
		return NULL;
	d->ino = s->ino;
	t->counts.n_dirs++;
	HASH_ADD_KEYPTR(hh, dir->dirs, d->name, strlen(d->name), d);
	tree_queue(t, d);
	return d;
}

static void see_dir(
	struct tree *t, struct fs_dir *dir, const struct seen *s, struct tree_time now)
{
	struct fs_dir *d = find_dir(dir, s->name);
	struct fs_file *f = find_file_in(dir, s->name);

	if (f && dir->depth > 0) /* in base_dir it may be one of nobody, said already */
		remove_file(t, f, now);
	if (d && d->ino != s->ino) {
		remove_dir(t, d, now);
		d = NULL;
	}
	if (!d)
		d = add_dir(t, dir, s, now);
	else if (t->is_full_pass || d->is_unread)
		tree_queue(t, d);
	if (!d)
		return;
	d->gen = dir->list_gen;
	f = find_file_in(dir, s->name);
	if (f)
		remove_file(t, f, now);
}

static void see_file(
	struct tree *t, struct fs_dir *dir, const struct seen *s, struct tree_time now)
{
	struct fs_dir *d = find_dir(dir, s->name);
	struct fs_file *f = find_file_in(dir, s->name);

	if (d)
		remove_dir(t, d, now);
	if (f && !f->uuid[0]) {
		remove_file(t, f, now);
		f = NULL;
	}
	if (!f)
		f = add_file(t, dir, s->name, true);
	if (!f)
		return;
	f->gen = dir->list_gen;
	fs_file_seen(t, f, s, now);
}

void tree_see(
	struct tree *t, struct fs_dir *dir, const struct seen *s, struct tree_time now)
{
	enum skip_why why;

	if (is_own(s->name))
		return;
	why = check_name(t, dir, s);
	if (why != SKIP_NONE)
		see_skipped(t, dir, s->name, why, now);
	else if (s->kind == SEEN_DIR)
		see_dir(t, dir, s, now);
	else
		see_file(t, dir, s, now);
}

void tree_gone(struct tree *t, struct fs_dir *dir, const char *name, struct tree_time now)
{
	struct fs_dir *d = find_dir(dir, name);
	struct fs_file *f = find_file_in(dir, name);

	if (d)
		remove_dir(t, d, now);
	if (f)
		remove_file(t, f, now);
}

void tree_list_begin(struct tree *t, struct fs_dir *dir)
{
	(void)t;
	dir->list_gen++;
	dir->is_partial = false;
}

void tree_list_end(struct tree *t, struct fs_dir *dir, struct tree_time now)
{
	struct fs_dir *d, *next_dir;
	struct fs_file *f, *next_file;

	HASH_ITER (hh, dir->dirs, d, next_dir)
		if (d->gen != dir->list_gen)
			remove_dir(t, d, now);
	HASH_ITER (hh, dir->files, f, next_file)
		if (f->gen != dir->list_gen)
			remove_file(t, f, now);
}

/* ---------------------------------------------------------------- asking */

bool tree_is_sure(struct tree *t, const struct file *entry)
{
	const struct strv *realms = t->conf.realms;
	const struct fs_dir *dir = t->root;

	if (!strv_has(realms, entry->owner_realm))
		return false;
	CLEANUP_STR char *top = file_dir(entry->owner, entry->owner_realm, realms->v[0]);
	CLEANUP_STR char *path = xasprintf("%s/%s", top, entry->filename);
	for (char *part = path;;) {
		size_t len = strcspn(part, "/");
		if (dir->is_unread || dir->is_partial)
			return false;
		if (part[len] == '\0')
			return true;
		part[len] = '\0';
		dir = find_dir(dir, part);
		if (!dir)
			return true;
		part += len + 1;
	}
}
