#include "ucloud-image/import.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "common/disk/image_header.h"
#include "ucloud-image/copy.h"
#include "ucloud-image/source.h"

#define GIB (INT64_C(1) << 30)

static struct metric n_bytes = { METRIC_COUNTER, "ucloud_image_written_bytes_total",
	"Bytes of images written into stores." };

struct work {
	const struct import *im;
	struct source source;
	struct reader *reader;
	struct image_sink *sink;
	int64_t began_msec;
};

static void work_done(struct work *w)
{
	reader_stop(w->reader, NULL);
	image_sink_close(w->sink);
	source_done(&w->source);
}

static int check_size(const struct import *im, int64_t virtual_bytes, struct err *e)
{
	int64_t max = im->max_image_gib;

	if (max <= 0 || virtual_bytes <= max * GIB)
		return 0;
	return err_set(e, ERR_TOO_LARGE,
		"it is a disk of %lld GiB; the image store \"%s\" takes at most %lld GiB",
		(long long)((virtual_bytes + GIB - 1) / GIB), im->store_name,
		(long long)max);
}

/* The time limit, and whether it is still wanted. */
static int tick(void *aux, int percent, struct err *e)
{
	const struct work *w = aux;
	int64_t limit = w->im->conf->reader.limit_sec;

	if (limit > 0 && clock_mono_msec() - w->began_msec > limit * 1000)
		return err_set(e, ERR_TOO_LARGE,
			"reading it took longer than %lld s, which is the limit",
			(long long)limit);
	return w->im->tick ? w->im->tick(w->im->aux, percent, e) : 0;
}

/* A reader that has said what is wrong knows better than who got no answer from it. */
static int copy(struct work *w, struct err *e)
{
	const struct copy_conf conf = {
		.n_threads = w->im->conf->n_threads, .tick = tick, .aux = w
	};
	struct err why = { 0 };
	int64_t n = 0;
	const struct copy_from from = { .reader = w->reader,
		.file = w->source.fd,
		.virtual_bytes = w->source.virtual_bytes };
	int rc = copy_run(&from, w->sink, &conf, &n, e);

	metric_add(&n_bytes, NULL, (double)n);
	reader_stop(MOVE(w->reader), &why);
	if (rc < 0 && e && e->kind == ERR_INVALID && why.kind != ERR_NONE)
		*e = why;
	return rc;
}

/* Raw content is bytes that nobody has to understand, and needs no reader. */
static int start_reader(struct work *w, struct err *e)
{
	const struct import_conf *c = w->im->conf;

	if (strcmp(w->source.format, image_kind_names[IMAGE_KIND_RAW]) == 0)
		return 0;
	return reader_start(
		&c->reader, w->source.fd, w->source.format, c->n_threads, &w->reader, e);
}

static int run(struct work *w, struct image_made *out, struct err *e)
{
	const struct import *im = w->im;
	const struct import_conf *c = im->conf;

	if (source_open(c->base_dir, c->default_realm, im->file, &w->source, e) < 0 ||
		source_look(&w->source, e) < 0 ||
		check_size(im, w->source.virtual_bytes, e) < 0 ||
		image_sink_open(im->store, im->image_uuid, w->source.virtual_bytes,
			&w->sink, e) < 0 ||
		start_reader(w, e) < 0 || copy(w, e) < 0 ||
		source_check_same(&w->source, e) < 0 ||
		(im->may_commit && im->may_commit(im->aux, e) < 0))
		return -1;
	return image_sink_commit(w->sink, out, e);
}

int import_run(const struct import *im, struct image_made *out, struct err *e)
{
	CLEANUP(work_done) struct work w = { .im = im, .source = { .fd = -1 } };

	metric_register(&n_bytes);
	w.began_msec = clock_mono_msec();
	return run(&w, out, e);
}
