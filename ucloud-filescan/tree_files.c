#include <assert.h>
#include <utlist.h>

#include "ucloud-filescan/tree_impl.h"

const char *fs_state_name(enum fs_state state)
{
	static const char *const names[FS_N_STATES] = { "settling", "ready", "hashing",
		"hashed", "skipped" };

	return names[state];
}

void hash_job_done(struct hash_job *job)
{
	str_set(&job->path, NULL);
	str_set(&job->identity, NULL);
}

static struct fs_file **ready_list(struct tree *t, const struct fs_file *f)
{
	return &t->ready[f->size_bytes > TREE_LARGE_BYTES ? READY_LARGE : READY_SMALL];
}

static bool is_waiting(const struct fs_file *f)
{
	return f->state == FS_READY || f->state == FS_HASHING;
}

static void leave_state(struct tree *t, struct fs_file *f)
{
	if (f->state == FS_SETTLING)
		DL_DELETE(t->settling, f);
	else if (f->state == FS_READY)
		DL_DELETE(*ready_list(t, f), f);
	if (is_waiting(f))
		t->counts.waiting_bytes -= f->size_bytes;
	t->counts.n_files[f->state]--;
}

static void enter_state(struct tree *t, struct fs_file *f)
{
	if (f->state == FS_SETTLING)
		DL_APPEND(t->settling, f);
	else if (f->state == FS_READY)
		DL_APPEND(*ready_list(t, f), f);
	if (is_waiting(f))
		t->counts.waiting_bytes += f->size_bytes;
	t->counts.n_files[f->state]++;
}

void fs_file_move(struct tree *t, struct fs_file *f, enum fs_state state)
{
	leave_state(t, f);
	f->state = state;
	enter_state(t, f);
}

/* settle_msec is the same for all, so the list stays in the order of due_msec. */
void fs_file_settle(struct tree *t, struct fs_file *f, struct tree_time now)
{
	f->due_msec = now.msec + t->conf.settle_msec;
	f->was_due = false;
	fs_file_move(t, f, FS_SETTLING);
}

static void tell(struct tree *t, const struct fs_file *f)
{
	if (f->uuid[0])
		t->conf.on_change(t->conf.aux, f->uuid);
}

static void drop_known(struct fs_file *f, struct tree_time now)
{
	known_put(f->known, now.msec);
	f->known = NULL;
}

void fs_file_leave(struct tree *t, struct fs_file *f, struct tree_time now)
{
	leave_state(t, f);
	drop_known(f, now);
	if (f->uuid[0])
		HASH_DELETE(hh_uuid, t->by_uuid, f);
	tell(t, f);
}

void fs_file_skip(struct tree *t, struct fs_file *f, enum skip_why why, int errnum)
{
	fs_file_move(t, f, FS_SKIPPED);
	if (f->said == why && f->said_errnum == errnum)
		return;
	f->said = why;
	f->said_errnum = errnum;
	CLEANUP_STR char *path = fs_file_path(f);
	t->conf.on_skip(t->conf.aux, path, why, errnum);
}

static void set_hashed(struct tree *t, struct fs_file *f, struct known *k)
{
	f->known = known_get(k);
	f->said = SKIP_NONE;
	f->said_errnum = 0;
	fs_file_move(t, f, FS_HASHED);
	tell(t, f);
}

/* Nobody has written to it for so long. A time in the future says nothing. */
static bool is_old(const struct tree *t, const struct fs_file *f, struct tree_time now)
{
	return f->mtime <= now.unix_sec &&
	       (now.unix_sec - f->mtime) * 1000 > t->conf.settle_msec;
}

static void is_other_file(
	struct tree *t, struct fs_file *f, const struct seen *s, struct tree_time now)
{
	struct known *k = known_find(&t->knowns, f->dir->user->whose, s->identity);

	drop_known(f, now);
	/* Lists and sums go by size: it changes between them. */
	leave_state(t, f);
	str_set(&f->identity, xstrdup(s->identity));
	f->size_bytes = s->size_bytes;
	f->mtime = s->mtime;
	f->due_msec = now.msec + t->conf.settle_msec;
	f->was_due = false;
	f->state = s->is_closed || is_old(t, f, now) ? FS_READY : FS_SETTLING;
	enter_state(t, f);
	if (k)
		set_hashed(t, f, k);
}

void fs_file_seen(
	struct tree *t, struct fs_file *f, const struct seen *s, struct tree_time now)
{
	if (!f->identity || !str_eq(f->identity, s->identity))
		is_other_file(t, f, s, now);
	else if (f->state == FS_SETTLING && (s->is_closed || f->was_due))
		fs_file_move(t, f, FS_READY);
	else if (f->state == FS_SKIPPED)
		fs_file_move(t, f, FS_READY);
}

bool tree_take_due(struct tree *t, int64_t now_msec, struct fs_dir **dir, char **name)
{
	struct fs_file *f = t->settling;

	if (!f || f->due_msec > now_msec)
		return false;
	/* Should it not be looked at after all, it is due again. */
	DL_DELETE(t->settling, f);
	f->due_msec = now_msec + t->conf.settle_msec;
	f->was_due = true;
	DL_APPEND(t->settling, f);
	*dir = f->dir;
	*name = xstrdup(f->name);
	return true;
}

int64_t tree_due_msec(struct tree *t)
{
	return t->settling ? t->settling->due_msec : -1;
}

/* ---------------------------------------------------------------- hashing */

bool tree_take_ready(struct tree *t, bool small_only, struct hash_job *out)
{
	struct fs_file *f = t->ready[READY_SMALL], *large = t->ready[READY_LARGE];

	/* due_msec is when it was found, and a constant. */
	if (large && !small_only && (!f || large->due_msec < f->due_msec))
		f = large;
	if (!f)
		return false;
	fs_file_move(t, f, FS_HASHING);
	memcpy(out->uuid, f->uuid, sizeof(out->uuid));
	out->path = fs_file_path(f);
	out->identity = xstrdup(f->identity);
	out->size_bytes = f->size_bytes;
	return true;
}

static struct fs_file *find_file(struct tree *t, const char *uuid)
{
	struct fs_file *f;

	HASH_FIND(hh_uuid, t->by_uuid, uuid, strlen(uuid), f);
	return f;
}

/* NULL: it is another file by now, or gone. */
static struct fs_file *find_hashing(struct tree *t, const struct hash_job *job)
{
	struct fs_file *f = find_file(t, job->uuid);

	return f && f->state == FS_HASHING && str_eq(f->identity, job->identity) ? f
										 : NULL;
}

void tree_hashed(struct tree *t, const struct hash_job *job, const char *sha512,
	struct tree_time now)
{
	struct fs_file *f = find_hashing(t, job);

	if (f)
		set_hashed(t, f,
			known_add(&t->knowns, f->dir->user->whose, f->identity, sha512,
				now.unix_sec, now.msec));
}

void tree_hash_changed(struct tree *t, const struct hash_job *job, struct tree_time now)
{
	struct fs_file *f = find_hashing(t, job);

	if (f)
		fs_file_settle(t, f, now);
}

void tree_hash_failed(struct tree *t, const struct hash_job *job, int errnum)
{
	struct fs_file *f = find_hashing(t, job);

	if (!f)
		return;
	fs_file_skip(t, f, SKIP_UNREADABLE, errnum);
	tell(t, f);
}

void tree_hash_put_back(struct tree *t, const struct hash_job *job)
{
	struct fs_file *f = find_hashing(t, job);

	if (f)
		fs_file_move(t, f, FS_READY);
}

void tree_add_known(struct tree *t, const struct file *entry, struct tree_time now)
{
	if (str_is_empty(entry->identity) || strlen(entry->sha512) != SHA512_HEX_SIZE - 1)
		return;
	CLEANUP_STR char *whose = xasprintf("%s@%s", entry->owner, entry->owner_realm);
	if (!known_find(&t->knowns, whose, entry->identity))
		known_add(&t->knowns, whose, entry->identity, entry->sha512,
			entry->scanned, now.msec);
}

void tree_purge_known(struct tree *t, int64_t before_msec)
{
	known_purge(&t->knowns, before_msec);
}

/* ---------------------------------------------------------------- asking */

static void fill(const struct fs_file *f, struct file *out)
{
	const struct fs_user *user = f->dir->user;

	str_set(&out->uuid, xstrdup(f->uuid));
	str_set(&out->owner, xstrdup(user->name));
	str_set(&out->owner_realm, xstrdup(user->realm));
	str_set(&out->filename, fs_file_rel_path(f->dir, f->name));
	out->size_bytes = f->size_bytes;
	str_set(&out->sha512, xstrdup(f->known->sha512));
	out->mtime = f->mtime;
	out->scanned = f->known->scanned;
	str_set(&out->identity, xstrdup(f->identity));
}

enum tree_has tree_get(struct tree *t, const char *uuid, struct file *out)
{
	struct fs_file *f = find_file(t, uuid);

	if (!f || f->state == FS_SKIPPED)
		return TREE_ABSENT;
	if (f->state != FS_HASHED)
		return TREE_BUSY;
	fill(f, out);
	return TREE_HASHED;
}

void tree_tell_all(struct tree *t)
{
	struct fs_file *f, *next;

	HASH_ITER (hh_uuid, t->by_uuid, f, next)
		tell(t, f);
}

void tree_count(struct tree *t, struct tree_counts *out)
{
	*out = t->counts;
	out->n_watched = HASH_CNT(hh_wd, t->by_wd);
}
