/*
 * ucloud-filescan's tree: whatever is seen, in whatever order, its lists, sums and indices
 * agree. Each step is an operation and what it needs, out of few names.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "ucloud-filescan/tree_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS_MAX 2000

static const char *const names[] = { "a", "b", "bob", "eve@S", "bob@S", "no body", "\xff",
	".ucloud-x", "d", "a\nb", "c", "x" };
static const char sha[] =
	"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
	"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

struct world {
	struct tree *t;
	const uint8_t *data;
	size_t size;
	struct tree_time now;
	struct hash_job jobs[2]; /* under way */
	int last_wd;
};

static unsigned take(struct world *w, unsigned below)
{
	if (w->size == 0)
		return 0;
	w->size--;
	return *w->data++ % below;
}

static void on_change(void *aux, const char *uuid)
{
	(void)aux;
	assert(strlen(uuid) == UUID_STR_SIZE - 1);
}

static void on_skip(void *aux, const char *path, enum skip_why why, int errnum)
{
	(void)aux;
	(void)errnum;
	assert(*path && why > SKIP_NONE && why < SKIP_N);
	assert(*skip_text(why));
}

static void on_unwatch(void *aux, int wd)
{
	(void)aux;
	assert(wd >= 0);
}

/* Some directory that there is. */
static struct fs_dir *some_dir(struct world *w)
{
	struct fs_dir *dir = tree_root(w->t);

	for (unsigned n = take(w, 5); n > 0; n--) {
		const char *name = names[take(w, ARRAY_LEN(names))];
		struct fs_dir *d;

		HASH_FIND_STR(dir->dirs, name, d);
		if (!d)
			break;
		dir = d;
	}
	return dir;
}

static void see(struct world *w, struct fs_dir *dir)
{
	char name[16], identity[8];
	struct seen s = { .name = name };

	snprintf(name, sizeof(name), "%s", names[take(w, ARRAY_LEN(names))]);
	s.kind = take(w, 8);
	if (s.kind > SEEN_OTHER_FS)
		s.kind = s.kind % 2 ? SEEN_FILE : SEEN_DIR;
	s.ino = take(w, 4);
	s.size_bytes = take(w, 2) ? 5 : TREE_LARGE_BYTES + take(w, 3);
	s.mtime = w->now.unix_sec - 2 + take(w, 4);
	s.is_closed = take(w, 2);
	snprintf(identity, sizeof(identity), "%u", take(w, 6));
	s.identity = s.kind == SEEN_FILE ? identity : NULL;
	tree_see(w->t, dir, &s, w->now);
}

static void list(struct world *w)
{
	struct fs_dir *dir = tree_take_queued(w->t);

	if (!dir)
		dir = some_dir(w);
	tree_set_watch(w->t, dir, take(w, 2) ? ++w->last_wd : (int)take(w, 8));
	tree_list_begin(w->t, dir);
	for (unsigned n = take(w, 8); n > 0; n--)
		see(w, dir);
	tree_set_unread(w->t, dir, (int)take(w, 3));
	if (take(w, 4))
		tree_list_end(w->t, dir, w->now);
}

static void hash(struct world *w)
{
	struct hash_job *job = &w->jobs[take(w, 2)];
	unsigned how = take(w, 6);

	if (!job->path) {
		tree_take_ready(w->t, how % 2, job);
		return;
	}
	if (how < 3)
		tree_hashed(w->t, job, sha, w->now);
	else if (how == 3)
		tree_hash_changed(w->t, job, w->now);
	else if (how == 4)
		tree_hash_failed(w->t, job, 13);
	else
		tree_hash_put_back(w->t, job);
	hash_job_done(job);
}

static void look_at_due(struct world *w)
{
	CLEANUP_STR char *name = NULL;
	struct fs_dir *dir = NULL;

	if (tree_take_due(w->t, w->now.msec, &dir, &name))
		see(w, dir);
}

static void know(struct world *w)
{
	char identity[8];
	struct file f = { .owner = (char *)(uintptr_t) "bob",
		.owner_realm = (char *)(uintptr_t) "R",
		.filename = (char *)(uintptr_t) "d/a",
		.sha512 = (char *)(uintptr_t)sha,
		.identity = identity };

	snprintf(identity, sizeof(identity), "%u", take(w, 6));
	tree_add_known(w->t, &f, w->now);
	tree_purge_known(w->t, w->now.msec - take(w, 3));
	(void)tree_is_sure(w->t, &f);
}

static void step(struct world *w)
{
	switch (take(w, 10)) {
	case 0:
	case 1:
		see(w, some_dir(w));
		break;
	case 2:
		tree_gone(w->t, some_dir(w), names[take(w, ARRAY_LEN(names))], w->now);
		break;
	case 3:
		list(w);
		break;
	case 4:
	case 5:
		hash(w);
		break;
	case 6:
		w->now.msec += take(w, 255) * 20;
		w->now.unix_sec += take(w, 3);
		break;
	case 7:
		look_at_due(w);
		break;
	case 8:
		know(w);
		break;
	default:
		tree_set_full_pass(w->t, take(w, 2));
		tree_queue_unwatched(w->t);
		if (take(w, 8) == 0)
			tree_forget_watches(w->t);
	}
}

/* What walking the tree finds. */
static void sum(struct tree *t, struct fs_dir *dir, struct tree_counts *c)
{
	struct fs_dir *d, *next;

	c->n_dirs++;
	if (dir->wd >= 0) {
		assert(tree_find_watch(t, dir->wd) == dir);
		c->n_watched++;
	}
	HASH_ITER (hh, dir->dirs, d, next) {
		assert(d->parent == dir && d->depth == dir->depth + 1 && d->user);
		sum(t, d, c);
	}
	c->n_files[0] += HASH_COUNT(dir->files);
}

static void check(struct world *w)
{
	struct tree_counts c, found = { 0 };
	size_t n = 0;

	tree_count(w->t, &c);
	sum(w->t, tree_root(w->t), &found);
	for (int i = 0; i < FS_N_STATES; i++)
		n += c.n_files[i];
	assert(n == found.n_files[0]);
	assert(c.n_dirs == found.n_dirs && c.n_watched == found.n_watched);
	assert(c.waiting_bytes >= 0);
	assert((c.n_files[FS_READY] + c.n_files[FS_HASHING] == 0) ==
		(c.waiting_bytes == 0));
	assert((c.n_files[FS_SETTLING] > 0) == (tree_due_msec(w->t) >= 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = { .data = data, .size = size, .now = { 1000000, 1000000 } };
	struct strv realms = { 0 };
	struct tree_conf conf = { &realms, 2000, 6, 4, TREE_LARGE_BYTES + 1, on_change,
		on_skip, on_unwatch, &w };

	strv_add(&realms, "R");
	strv_add(&realms, "S");
	w.t = tree_new(&conf);
	for (int i = 0; i < STEPS_MAX && w.size > 0; i++) {
		step(&w);
		check(&w);
	}
	tree_tell_all(w.t);
	hash_job_done(&w.jobs[0]);
	hash_job_done(&w.jobs[1]);
	tree_free(w.t);
	strv_done(&realms);
	return 0;
}
