#include "ucloud-api/upload.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>
#include <utlist.h>

#include "common/base/clock.h"
#include "common/base/http.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/model/file.h"
#include "common/store/cond.h"
#include "ucloud-api/updir.h"

enum { SWEEP_MSEC = 3600 * 1000 };
/* Calls that may wait for the disk on a worker of all calls: it must not get them all. */
enum { AT_DISK_MAX = 8 };

struct upload {
	struct uploads *all;
	char *owner, *realm;
	struct upload_input in;
	int64_t limit; /* the file may become so large in this request */
	struct updir_part part;
	bool is_hashed; /* as it comes; else it is read again in the end */
	struct sha512 hash;
	struct upload *prev, *next;
};

struct uploads {
	struct updir *dir;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct upload *list;
	unsigned n_at_disk;
	bool is_stopping, is_started;
	pthread_t sweeper;
};

static struct metric n_bytes = { METRIC_COUNTER, "ucloud_api_upload_bytes_total",
	"Bytes of users' files taken." };
static struct metric n_uploads = { METRIC_GAUGE, "ucloud_api_uploads",
	"Uploads under way." };

struct upload_answer {
	char *filename, *uuid, *sha512;
	int64_t size_bytes, offset;
};
#define AT(member) offsetof(struct upload_answer, member)
static const struct jtab_field upload_fields[] = {
	{ "filename", JT_STR, AT(filename), JT_ALWAYS },
	{ "uuid", JT_STR, AT(uuid), 0, .help = "of the file, when it is complete" },
	{ "size_bytes", JT_INT, AT(size_bytes), 0, .max = INT64_MAX,
		.help = "of the file, when it is complete" },
	{ "sha512", JT_STR, AT(sha512), 0,
		.help = "of the file, when it is complete and was sent along" },
	{ "offset", JT_INT, AT(offset), 0, .max = INT64_MAX,
		.help = "so many bytes are there, when it is not complete" },
	{ 0 },
};
const struct jtab upload_jtab = { "upload", sizeof(struct upload_answer), upload_fields };

json_t *upload_offset_json(const char *filename, int64_t offset)
{
	return json_pack(
		"{s:s, s:I}", "filename", filename, "offset", (json_int_t)offset);
}

/* ---------------------------------------------------------------- one upload */

static void upload_free(struct upload *up)
{
	struct uploads *all = up->all;

	pthread_mutex_lock(&all->lock);
	assert(up->prev == up || up->next || up != all->list); /* it is in the list */
	DL_DELETE(all->list, up);
	pthread_mutex_unlock(&all->lock);
	metric_add(&n_uploads, NULL, -1);
	updir_part_close(&up->part);
	free(up->owner);
	free(up->realm);
	free(up);
}

static bool is_of(const struct upload *up, const struct who *who)
{
	return str_eq(up->owner, who->name) && str_eq(up->realm, who->realm);
}

static struct upload *upload_new(
	struct uploads *all, const struct upload_order *order, struct err *e)
{
	struct upload *up = xcalloc(1, sizeof(*up)), *other;
	size_t n = 0;

	up->all = all;
	up->owner = xstrdup(order->who->name);
	up->realm = xstrdup(order->who->realm);
	up->in = *order->input;
	pthread_mutex_lock(&all->lock);
	DL_FOREACH(all->list, other)
	n += is_of(other, order->who);
	DL_APPEND(all->list, up);
	pthread_mutex_unlock(&all->lock);
	metric_add(&n_uploads, NULL, 1);
	if (n < UPLOADS_PER_USER)
		return up;
	upload_free(up);
	err_set(e, ERR_TOO_MANY,
		"%s@%s uploads %d files already: wait until one is complete",
		order->who->name, order->who->realm, UPLOADS_PER_USER);
	return NULL;
}

static int on_piece(void *aux, const char *p, size_t size, struct err *e)
{
	struct upload *up = aux;

	if ((int64_t)size > up->limit - up->part.size)
		return err_set(e, up->in.size < 0 ? ERR_QUOTA : ERR_INVALID, "%s",
			up->in.size < 0 ? "the file is larger than the quota of files "
					  "leaves room for"
					: "the body is longer than Content-Range says");
	metric_add(&n_bytes, NULL, (double)size);
	if (up->is_hashed)
		sha512_add(&up->hash, p, size);
	return updir_part_write(&up->part, p, size, e);
}

static void on_broken(void *aux)
{
	struct upload *up = aux;

	log_debug("an upload was broken off owner=%s@%s file=%s size=%lld", up->owner,
		up->realm, up->part.filename, (long long)up->part.size);
	upload_free(up);
}

static bool is_wanted(void *aux)
{
	return httpd_is_open(aux);
}

static int check_digest(struct upload *up, struct httpd_req *req, struct err *e)
{
	char have[SHA512_HEX_SIZE];

	if (!up->in.sha512[0])
		return 0;
	if (up->is_hashed)
		sha512_hex(&up->hash, have);
	else if (updir_part_hash(&up->part, is_wanted, req, have, e) < 0)
		return -1;
	if (strcmp(have, up->in.sha512) == 0)
		return 0;
	if (updir_part_drop(&up->part, e) < 0)
		return -1;
	return err_set_field(e, ERR_INVALID, "Repr-Digest",
		"what has arrived is not the file that was meant: its SHA-512 differs. "
		"It is thrown away: send the whole file again");
}

/* 0 the file is there; 1 more is to come. */
static int finish(struct upload *up, struct httpd_req *req, struct err *e)
{
	if (up->in.total >= 0 && up->part.size < up->in.total)
		return 1;
	if (check_digest(up, req, e) < 0 || updir_part_finish(&up->part, e) < 0)
		return -1;
	log_info("a file was uploaded owner=%s@%s file=%s size=%lld", up->owner,
		up->realm, up->part.filename, (long long)up->part.size);
	return 0;
}

/* The path of a file in URLs, the caller's. */
static char *location_of(const char *filename)
{
	CLEANUP_STR char *escaped = url_escape_path(filename);

	return xasprintf("/v1/files/%s", escaped);
}

static json_t *file_json(const struct upload *up)
{
	char uuid[UUID_STR_SIZE];
	json_t *json;

	file_uuid(up->realm, up->owner, up->part.filename, uuid);
	json = json_pack("{s:s, s:s, s:I}", "filename", up->part.filename, "uuid", uuid,
		"size_bytes", (json_int_t)up->part.size);
	if (up->in.sha512[0])
		json_object_set_new(json, "sha512", json_string(up->in.sha512));
	return json;
}

/* The part is unlocked before anybody hears of it: they may go on at once. */
static void on_end(void *aux, struct httpd_req *req)
{
	struct upload *up = aux;
	CLEANUP_STR char *location = location_of(up->part.filename);
	json_t *json = NULL;
	struct err e;
	int r = finish(up, req, &e);

	if (r >= 0)
		json = r == 0 ? file_json(up)
			      : upload_offset_json(up->part.filename, up->part.size);
	upload_free(up);
	if (r == 0)
		httpd_add_header(req, "Location", location);
	if (r < 0)
		httpd_answer_err(req, &e);
	else
		httpd_answer_json(req, r == 0 ? 201 : 202, json);
}

static const struct httpd_sink sink = { on_piece, on_end, on_broken };

/* ---------------------------------------------------------------- before the body */

/* "How much is there?" What is complete is made a file. */
static int ask(struct upload *up, const struct upload_order *order, int64_t *offset,
	struct err *e)
{
	if (updir_part_find(up->all->dir, up->owner, up->realm, order->filename,
		    &up->part, e) < 0)
		return -1;
	*offset = up->part.fd >= 0 && updir_part_is_of(&up->part, up->in.sha512)
			  ? up->part.size
			  : 0;
	if (*offset > up->in.total)
		*offset = 0;
	return up->part.fd >= 0 && *offset == up->in.total ? 0 : UPLOAD_HAS;
}

/* Of what is refused before anything has come, nothing is kept. */
static int reserve(struct upload *up, int64_t quota_bytes, int64_t *left, struct err *e)
{
	if (updir_part_reserve(&up->part, up->in.total, quota_bytes, left, e) == 0)
		return 0;
	if (up->part.size == 0)
		(void)!updir_part_drop(&up->part, NULL);
	return -1;
}

static int open_part(struct upload *up, const struct upload_order *order, int64_t *offset,
	struct err *e)
{
	int64_t left;

	if (updir_part_open(up->all->dir, up->owner, up->realm, order->filename,
		    &up->part, e) < 0)
		return -1;
	*offset = updir_part_is_of(&up->part, up->in.sha512) ? up->part.size : 0;
	if (up->in.from != 0 && up->in.from != *offset)
		return UPLOAD_MISFIT;
	if (up->in.from == 0 && updir_part_restart(&up->part, up->in.sha512, e) < 0)
		return -1;
	if (reserve(up, order->quota_bytes, &left, e) < 0)
		return -1;
	up->limit = up->in.size < 0 ? left : up->in.from + up->in.size;
	up->is_hashed = up->in.sha512[0] && up->in.from == 0;
	if (up->is_hashed)
		sha512_start(&up->hash);
	return 0;
}

static int disk_begin(struct uploads *u, struct err *e)
{
	bool is_free;

	pthread_mutex_lock(&u->lock);
	is_free = u->n_at_disk < AT_DISK_MAX;
	u->n_at_disk += is_free;
	pthread_mutex_unlock(&u->lock);
	if (is_free)
		return 0;
	return err_set(e, ERR_UNAVAILABLE,
		"the disk of the upload machine is slow to answer just now: try again in "
		"a few seconds");
}

static void disk_end(struct uploads *u)
{
	pthread_mutex_lock(&u->lock);
	u->n_at_disk--;
	pthread_mutex_unlock(&u->lock);
}

static int look(struct upload *up, const struct upload_order *order, int64_t *offset,
	struct err *e)
{
	int r;

	if (disk_begin(up->all, e) < 0)
		return -1;
	r = up->in.kind == UPLOAD_ASK ? ask(up, order, offset, e)
				      : open_part(up, order, offset, e);
	disk_end(up->all);
	return r;
}

int uploads_take(struct uploads *u, struct httpd_req *req,
	const struct upload_order *order, int64_t *offset, struct err *e)
{
	struct upload *up = upload_new(u, order, e);
	int r;

	if (!up)
		return -1;
	r = look(up, order, offset, e);
	if (r == 0)
		r = httpd_take_body(req, &sink, up, e);
	if (r != 0)
		upload_free(up);
	return r;
}

int uploads_remove(
	struct uploads *u, const struct who *owner, const char *filename, struct err *e)
{
	int r;

	if (disk_begin(u, e) < 0)
		return -1;
	r = updir_remove(u->dir, owner->name, owner->realm, filename, e);
	disk_end(u);
	if (r < 0)
		return -1;
	log_info("a file was removed owner=%s@%s file=%s", owner->name, owner->realm,
		filename);
	return 0;
}

/* ---------------------------------------------------------------- old ones */

static void sweep(struct uploads *u)
{
	unsigned n = 0;
	struct err e;

	if (updir_sweep(u->dir, clock_unix_sec() - UPDIR_PART_AGE_SEC, &n, &e) < 0)
		log_warn("unfinished uploads cannot be looked through: %s", e.msg);
	else if (n > 0)
		log_info("removed uploads that nobody went on with n=%u", n);
}

static void *sweeper_main(void *aux)
{
	struct uploads *u = aux;

	pthread_setname_np(pthread_self(), "upload-sweep");
	pthread_mutex_lock(&u->lock);
	while (!u->is_stopping) {
		struct timespec until = cond_deadline(SWEEP_MSEC);

		pthread_mutex_unlock(&u->lock);
		sweep(u);
		pthread_mutex_lock(&u->lock);
		while (!u->is_stopping && cond_wait_until(&u->cond, &u->lock, &until))
			;
	}
	pthread_mutex_unlock(&u->lock);
	return NULL;
}

int uploads_open(const char *base_dir, const char *default_realm, struct uploads **out,
	struct err *e)
{
	struct uploads *u = xcalloc(1, sizeof(*u));
	int rc;

	pthread_mutex_init(&u->lock, NULL);
	cond_init(&u->cond);
	metric_register(&n_bytes);
	metric_register(&n_uploads);
	if (updir_open(base_dir, default_realm, &u->dir, e) < 0) {
		uploads_close(u);
		return -1;
	}
	rc = pthread_create(&u->sweeper, NULL, sweeper_main, u);
	if (rc != 0) {
		uploads_close(u);
		return err_errno(e, rc, "cannot start a thread");
	}
	u->is_started = true;
	*out = u;
	return 0;
}

void uploads_close(struct uploads *u)
{
	if (!u)
		return;
	pthread_mutex_lock(&u->lock);
	u->is_stopping = true;
	pthread_cond_broadcast(&u->cond);
	pthread_mutex_unlock(&u->lock);
	if (u->is_started)
		pthread_join(u->sweeper, NULL);
	updir_close(u->dir);
	pthread_cond_destroy(&u->cond);
	pthread_mutex_destroy(&u->lock);
	free(u);
}
