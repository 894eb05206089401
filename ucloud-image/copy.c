#include "ucloud-image/copy.h"

#include <libnbd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "common/store/cond.h"

/* What a thread takes at once, what it reads at once, and the smallest part that is left out
 * because it is zeros. */
#define CHUNK_SIZE (INT64_C(32) << 20)
#define READ_SIZE  (INT64_C(1) << 20)
#define ZERO_SIZE  ((size_t)64 << 10)

#define TICK_MSEC 250
/* Extents that are taken of one answer. */
#define N_EXTENTS 512

struct copy {
	struct reader *reader;
	struct image_sink *sink;
	int64_t size;
	_Atomic int64_t next;	 /* offset of the next chunk that nobody has taken */
	_Atomic int64_t n_done;	 /* of `size` */
	_Atomic int64_t n_bytes; /* that were written */
	atomic_bool stop;
	pthread_mutex_t lock; /* the following */
	pthread_cond_t ended;
	unsigned n_running;
	bool has_failed;
	struct err e;
};

/* A thread's own. */
struct copier {
	struct copy *c;
	struct nbd_handle *nbd;
	char *block;
	bool has_status;
};

/* The first failure counts: it makes the others. */
static void fail(struct copy *c, const struct err *e)
{
	pthread_mutex_lock(&c->lock);
	if (!c->has_failed)
		c->e = *e;
	c->has_failed = true;
	pthread_mutex_unlock(&c->lock);
	atomic_store(&c->stop, true);
}

/* ---------------------------------------------------------------- zeros */

static bool is_zero(const char *p, size_t size)
{
	return p[0] == 0 && memcmp(p, p + 1, size - 1) == 0;
}

bool copy_next_run(const void *p, size_t size, size_t *at, size_t *len)
{
	const char *block = p;
	size_t from = *at, to;

	for (; from < size; from += ZERO_SIZE) {
		size_t n = size - from < ZERO_SIZE ? size - from : ZERO_SIZE;

		if (!is_zero(block + from, n))
			break;
	}
	if (from >= size)
		return false;
	for (to = from; to < size; to += ZERO_SIZE) {
		size_t n = size - to < ZERO_SIZE ? size - to : ZERO_SIZE;

		if (is_zero(block + to, n))
			break;
	}
	*at = from;
	*len = (to < size ? to : size) - from;
	return true;
}

static int write_block(struct copier *t, int64_t offset, size_t size, struct err *e)
{
	size_t at = 0, len = 0;

	for (; copy_next_run(t->block, size, &at, &len); at += len) {
		if (image_sink_write(
			    t->c->sink, offset + (int64_t)at, t->block + at, len, e) < 0)
			return -1;
		atomic_fetch_add(&t->c->n_bytes, (int64_t)len);
	}
	return 0;
}

/* ---------------------------------------------------------------- reading */

/* Of the reader: its own reason, when it has one, is a better one (copy_run()). */
static int refuse(struct err *e, int64_t offset)
{
	int errnum = nbd_get_errno();

	return err_set(e, ERR_INVALID, "its content cannot be read at byte %lld: %s",
		(long long)offset, errnum ? strerror(errnum) : nbd_get_error());
}

static int copy_data(struct copier *t, int64_t offset, int64_t len, struct err *e)
{
	while (len > 0 && !atomic_load(&t->c->stop)) {
		size_t n = (size_t)(len < READ_SIZE ? len : READ_SIZE);

		if (nbd_pread(t->nbd, t->block, n, (uint64_t)offset, 0) < 0)
			return refuse(e, offset);
		if (write_block(t, offset, n, e) < 0)
			return -1;
		atomic_fetch_add(&t->c->n_done, (int64_t)n);
		offset += (int64_t)n;
		len -= (int64_t)n;
	}
	return 0;
}

struct extents {
	uint32_t v[2 * N_EXTENTS]; /* length, flags */
	size_t len;
};

static int on_extents(void *aux, const char *context, uint64_t offset, uint32_t *entries,
	size_t n, int *error)
{
	struct extents *x = aux;

	(void)offset;
	(void)error;
	if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
		return 0;
	x->len = n < ARRAY_LEN(x->v) ? n / 2 : N_EXTENTS;
	memcpy(x->v, entries, 2 * x->len * sizeof(entries[0]));
	return 0;
}

/* What begins at offset, at most len: all of it data when nobody knows. */
static int ask_extents(
	struct copier *t, int64_t offset, int64_t len, struct extents *x, struct err *e)
{
	nbd_extent_callback callback;

	memset(&callback, 0, sizeof(callback));
	callback.callback = on_extents;
	callback.user_data = x;
	x->len = 0;
	if (t->has_status && nbd_block_status(t->nbd, (uint64_t)len, (uint64_t)offset,
				     callback, 0) < 0)
		return refuse(e, offset);
	if (x->len > 0 && x->v[0] > 0)
		return 0;
	x->v[0] = (uint32_t)len;
	x->v[1] = 0;
	x->len = 1;
	return 0;
}

static int copy_extents(struct copier *t, const struct extents *x, int64_t *offset,
	int64_t end, struct err *e)
{
	for (size_t i = 0; i < x->len && *offset < end; i++) {
		int64_t len = x->v[2 * i];

		if (len > end - *offset)
			len = end - *offset;
		if (x->v[2 * i + 1] & LIBNBD_STATE_ZERO)
			atomic_fetch_add(&t->c->n_done, len);
		else if (copy_data(t, *offset, len, e) < 0)
			return -1;
		*offset += len;
	}
	return 0;
}

static int copy_chunk(struct copier *t, int64_t offset, int64_t end, struct err *e)
{
	struct extents x;

	while (offset < end && !atomic_load(&t->c->stop))
		if (ask_extents(t, offset, end - offset, &x, e) < 0 ||
			copy_extents(t, &x, &offset, end, e) < 0)
			return -1;
	return 0;
}

static int copy_chunks(struct copier *t, struct err *e)
{
	struct copy *c = t->c;

	while (!atomic_load(&c->stop)) {
		int64_t from = atomic_fetch_add(&c->next, CHUNK_SIZE);

		if (from >= c->size)
			return 0;
		if (copy_chunk(t, from,
			    from + CHUNK_SIZE < c->size ? from + CHUNK_SIZE : c->size,
			    e) < 0)
			return -1;
	}
	return 0;
}

/* ---------------------------------------------------------------- a thread */

static int open_reader(struct copier *t, int fd, struct err *e)
{
	int64_t size;

	t->nbd = nbd_create();
	if (!t->nbd)
		return err_set(e, ERR_INTERNAL, "libnbd: %s", nbd_get_error());
	if (nbd_add_meta_context(t->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
		nbd_connect_socket(t->nbd, fd) < 0)
		return err_set(e, ERR_INVALID, "its reader does not answer: %s",
			nbd_get_error());
	size = nbd_get_size(t->nbd);
	if (size != t->c->size)
		return err_set(e, ERR_INVALID,
			"its header says that it is a disk of %lld bytes, but it has "
			"%lld",
			(long long)t->c->size, (long long)size);
	t->has_status = nbd_can_meta_context(t->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0;
	return 0;
}

static void *run_thread(void *aux)
{
	struct copy *c = aux;
	struct copier t = { .c = c, .block = xmalloc(READ_SIZE) };
	struct err e = { 0 };
	int fd;

	pthread_mutex_lock(&c->lock);
	fd = reader_take_client(c->reader);
	pthread_mutex_unlock(&c->lock);
	if (fd >= 0 && (open_reader(&t, fd, &e) < 0 || copy_chunks(&t, &e) < 0))
		fail(c, &e);
	nbd_close(t.nbd); /* closes fd */
	free(t.block);
	pthread_mutex_lock(&c->lock);
	c->n_running--;
	pthread_cond_signal(&c->ended);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* ---------------------------------------------------------------- all of them */

static int percent(const struct copy *c)
{
	return (int)((double)c->n_done * 100 / (double)c->size);
}

/* Until all have ended. */
static void watch_over(struct copy *c, const struct copy_conf *conf)
{
	bool was_stopped = false;

	pthread_mutex_lock(&c->lock);
	while (c->n_running > 0) {
		struct timespec until = cond_deadline(TICK_MSEC);
		struct err e = { 0 };

		if (cond_wait_until(&c->ended, &c->lock, &until))
			continue;
		pthread_mutex_unlock(&c->lock);
		reader_has_ended(c->reader, 0);
		if (!was_stopped && conf->tick &&
			conf->tick(conf->aux, percent(c), &e) < 0)
			fail(c, &e);
		if (!was_stopped && atomic_load(&c->stop)) {
			was_stopped = true;
			reader_kill(c->reader);
		}
		pthread_mutex_lock(&c->lock);
	}
	pthread_mutex_unlock(&c->lock);
}

int copy_run(struct reader *r, struct image_sink *k, int64_t virtual_bytes,
	const struct copy_conf *conf, int64_t *n_bytes, struct err *e)
{
	struct copy c = { .reader = r, .sink = k, .size = virtual_bytes };
	pthread_t threads[READER_CLIENTS_MAX];
	unsigned n = 0;

	pthread_mutex_init(&c.lock, NULL);
	cond_init(&c.ended);
	c.n_running = conf->n_threads;
	while (n < conf->n_threads &&
		pthread_create(&threads[n], NULL, run_thread, &c) == 0)
		n++;
	if (n < conf->n_threads) {
		struct err why = { 0 };

		err_set(&why, ERR_UNAVAILABLE, "no thread can be started");
		fail(&c, &why);
		pthread_mutex_lock(&c.lock);
		c.n_running -= conf->n_threads - n;
		pthread_mutex_unlock(&c.lock);
	}
	watch_over(&c, conf);
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	pthread_mutex_destroy(&c.lock);
	pthread_cond_destroy(&c.ended);
	if (n_bytes)
		*n_bytes = c.n_bytes;
	if (c.has_failed && e)
		*e = c.e;
	return c.has_failed ? -1 : 0;
}
