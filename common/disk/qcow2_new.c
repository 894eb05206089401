#include "common/disk/qcow2_new.h"

#include <assert.h>
#include <string.h>

#include "common/base/mem.h"

enum { CLUSTER_BITS = 16, REFCOUNT_ORDER = 4 /* 16 bits each */, VERSION = 3 };
enum { HEADER_SIZE = 112, FORMAT_SIZE_MAX = 16 };

/* What one entry of the cluster table stands for: a cluster full of entries. */
#define L1_SPAN ((int64_t)QCOW2_CLUSTER * QCOW2_CLUSTER / 8)

#define EXTENSION_FORMAT UINT32_C(0xe2792aca)
#define EXTENSION_END	 UINT32_C(0)

/* In which cluster each part is. */
enum { AT_TABLE = 1, AT_COUNTS = 2, AT_L1 = 3 };

/* What is written, one number after the other, big endian. */
struct writer {
	unsigned char *p;
	size_t size;
};

static void put(struct writer *w, uint64_t n, size_t n_bytes)
{
	assert(w->size + n_bytes <= QCOW2_HEADER_SIZE_MAX);
	for (size_t i = 0; i < n_bytes; i++)
		w->p[w->size++] = (unsigned char)(n >> (8 * (n_bytes - 1 - i)));
}

static void put_text(struct writer *w, const char *s)
{
	size_t size = strlen(s);

	assert(w->size + size <= QCOW2_HEADER_SIZE_MAX);
	memcpy(w->p + w->size, s, size);
	w->size += size;
}

static size_t round_up_8(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

/* The extensions: the backing file's format, and their end. */
static void put_extensions(struct writer *w, const char *backing_format)
{
	if (backing_format) {
		size_t size = strlen(backing_format);

		put(w, EXTENSION_FORMAT, 4);
		put(w, size, 4);
		put_text(w, backing_format);
		put(w, 0, round_up_8(size) - size);
	}
	put(w, EXTENSION_END, 4);
	put(w, 0, 4);
}

/* Where the backing file's name begins. */
static size_t backing_at(const char *backing_format)
{
	return HEADER_SIZE + 8 + round_up_8(strlen(backing_format)) + 8;
}

static size_t put_header(unsigned char *p, int64_t size_bytes, uint32_t n_l1,
	const char *backing, const char *backing_format)
{
	struct writer w = { p, 0 };

	put_text(&w, "QFI\xfb");
	put(&w, VERSION, 4);
	put(&w, backing ? backing_at(backing_format) : 0, 8);
	put(&w, backing ? strlen(backing) : 0, 4);
	put(&w, CLUSTER_BITS, 4);
	put(&w, (uint64_t)size_bytes, 8);
	put(&w, 0, 4); /* not encrypted */
	put(&w, n_l1, 4);
	put(&w, AT_L1 * QCOW2_CLUSTER, 8);
	put(&w, AT_TABLE * QCOW2_CLUSTER, 8);
	put(&w, 1, 4); /* clusters of the reference table */
	put(&w, 0, 4); /* no snapshots */
	put(&w, 0, 8);
	put(&w, 0, 8); /* incompatible, */
	put(&w, 0, 8); /* compatible and */
	put(&w, 0, 8); /* other features */
	put(&w, REFCOUNT_ORDER, 4);
	put(&w, HEADER_SIZE, 4);
	put(&w, 0, 8); /* compression: zlib, and padding */
	assert(w.size == HEADER_SIZE);
	put_extensions(&w, backing ? backing_format : NULL);
	if (backing)
		put_text(&w, backing);
	return w.size;
}

int qcow2_new_make(int64_t size_bytes, const char *backing, const char *backing_format,
	struct qcow2_new *out, struct err *e)
{
	int64_t n_l1 = (size_bytes + L1_SPAN - 1) / L1_SPAN;
	int64_t n_clusters = AT_L1 + (n_l1 * 8 + QCOW2_CLUSTER - 1) / QCOW2_CLUSTER;
	struct qcow2_new q = { 0 };
	struct writer table = { q.table, 0 };

	assert(size_bytes > 0 && size_bytes % 512 == 0 && size_bytes <= QCOW2_SIZE_MAX);
	assert(!backing || (backing_format && strlen(backing_format) <= FORMAT_SIZE_MAX));
	/* One cluster holds all the counts. */
	assert(n_clusters * 2 <= QCOW2_CLUSTER);
	if (backing && strlen(backing) > QCOW2_BACKING_MAX)
		return err_set(e, ERR_INVALID,
			"the path of the image under a qcow2 disk has %zu bytes, at most "
			"%d are possible",
			strlen(backing), QCOW2_BACKING_MAX);
	q.header_size =
		put_header(q.header, size_bytes, (uint32_t)n_l1, backing, backing_format);
	put(&table, AT_COUNTS * QCOW2_CLUSTER, 8);
	q.counts_size = (size_t)n_clusters * 2;
	q.counts = xcalloc(1, q.counts_size);
	for (size_t i = 0; i < q.counts_size; i += 2)
		q.counts[i + 1] = 1;
	q.file_size = n_clusters * QCOW2_CLUSTER;
	qcow2_new_done(out);
	*out = q;
	return 0;
}

void qcow2_new_done(struct qcow2_new *q)
{
	free(q->counts);
	*q = (struct qcow2_new){ 0 };
}
