#include "ucloud-image/copy.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "common/store/cond.h"
#include "ucloud-image/content.h"

/* What a thread takes at once, what it reads at once (more does not fit into a processor's
 * cache, and takes twice as long), and the smallest part that is left out because it is
 * zeros. */
#define CHUNK_SIZE (INT64_C(32) << 20)
#define READ_SIZE  (INT64_C(512) << 10)
#define ZERO_SIZE  ((size_t)64 << 10)

#define TICK_MSEC 250

struct copy {
	struct reader *reader; /* NULL: file */
	int file;
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
	struct content *content;
	char *block;
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

static int copy_data(struct copier *t, int64_t offset, int64_t len, struct err *e)
{
	while (len > 0 && !atomic_load(&t->c->stop)) {
		size_t n = (size_t)(len < READ_SIZE ? len : READ_SIZE);

		if (content_read(t->content, offset, t->block, n, e) < 0 ||
			write_block(t, offset, n, e) < 0)
			return -1;
		atomic_fetch_add(&t->c->n_done, (int64_t)n);
		offset += (int64_t)n;
		len -= (int64_t)n;
	}
	return 0;
}

static int copy_chunk(struct copier *t, int64_t offset, int64_t end, struct err *e)
{
	while (offset < end && !atomic_load(&t->c->stop)) {
		bool is_zero = false;
		int64_t len = 0;

		if (content_extent(t->content, offset, end - offset, &len, &is_zero, e) <
			0)
			return -1;
		if (is_zero)
			atomic_fetch_add(&t->c->n_done, len);
		else if (copy_data(t, offset, len, e) < 0)
			return -1;
		offset += len;
	}
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

/* 1: there is no connection left for this thread. */
static int open_content(struct copier *t, struct err *e)
{
	struct copy *c = t->c;
	int fd;

	if (!c->reader) {
		t->content = content_open_file(c->file);
		return 0;
	}
	pthread_mutex_lock(&c->lock);
	fd = reader_take_client(c->reader);
	pthread_mutex_unlock(&c->lock);
	return fd < 0 ? 1 : content_open_reader(fd, c->size, &t->content, e);
}

static void *run_thread(void *aux)
{
	struct copy *c = aux;
	struct copier t = { .c = c, .block = xmalloc(READ_SIZE) };
	struct err e = { 0 };
	int rc = open_content(&t, &e);

	if (rc < 0 || (rc == 0 && copy_chunks(&t, &e) < 0))
		fail(c, &e);
	content_close(t.content);
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
		if (c->reader)
			reader_has_ended(c->reader, 0);
		if (!was_stopped && conf->tick &&
			conf->tick(conf->aux, percent(c), &e) < 0)
			fail(c, &e);
		if (!was_stopped && atomic_load(&c->stop)) {
			was_stopped = true;
			if (c->reader)
				reader_kill(c->reader);
		}
		pthread_mutex_lock(&c->lock);
	}
	pthread_mutex_unlock(&c->lock);
}

int copy_run(const struct copy_from *from, struct image_sink *k,
	const struct copy_conf *conf, int64_t *n_bytes, struct err *e)
{
	struct copy c = { .reader = from->reader,
		.file = from->file,
		.sink = k,
		.size = from->virtual_bytes };
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
