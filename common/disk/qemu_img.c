#include "common/disk/qemu_img.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/jtab.h"
#include "common/base/proc.h"

#define LIMIT_MSEC 60000
/* Of changing a file whose guest wrote much: each table of it is read. */
#define LIMIT_CHANGE_MSEC 300000
/* ThreadSanitizer needs room of its own between fork and exec, where the limit holds. */
#ifdef __SANITIZE_THREAD__
#define LIMIT_MEM	  0
#define LIMIT_MEM_CONVERT 0
#else
#define LIMIT_MEM	  (UINT64_C(2) << 30)
/* Room for the threads of librbd, each with a stack and a heap of its own. */
#define LIMIT_MEM_CONVERT (UINT64_C(8) << 30)
#endif

/* text with every `from` in it replaced, the caller's. */
static char *replace_all(const char *text, const char *from, const char *to)
{
	struct buf b = { 0 };
	const char *hit;

	while ((hit = strstr(text, from))) {
		buf_add(&b, text, (size_t)(hit - text));
		buf_add_str(&b, to);
		text = hit + strlen(from);
	}
	buf_add_str(&b, text);
	return buf_take(&b);
}

/* Names of files that are not ours to tell: what is quoted and begins with "/". */
static char *hide_paths(const char *text)
{
	struct buf b = { 0 };
	const char *hit;

	while ((hit = strstr(text, "'/"))) {
		size_t len = strcspn(hit + 1, "'");

		buf_add(&b, text, (size_t)(hit - text));
		buf_add_str(&b, "a file");
		text = hit + 1 + len + (hit[1 + len] == '\'');
	}
	buf_add_str(&b, text);
	return buf_take(&b);
}

/* The first line without the program's and our paths' names. */
static char *reason_of(const char *text, const char *path, const char *backing)
{
	CLEANUP_STR char *line = xstrndup(text, strcspn(text, "\n"));
	CLEANUP_STR char *short_path = NULL;
	const char *s;

	if (backing)
		str_set(&line, replace_all(line, backing, "the image"));
	str_set(&line, replace_all(line, path, "the disk"));
	short_path = hide_paths(line);
	s = short_path;
	if (str_has_prefix(s, "qemu-img: "))
		s += strlen("qemu-img: ");
	if (str_has_prefix(s, "the disk: "))
		s += strlen("the disk: ");
	return xstrdup(*s ? s : "no reason given");
}

/* What the text says of the image that is read. */
static enum err_kind kind_of_source(const char *text, const char *source)
{
	CLEANUP_STR char *name = xasprintf("Could not open '%s'", source);

	if (strstr(text, "Connection timed out") || strstr(text, "error connecting"))
		return ERR_UNAVAILABLE;
	if (strstr(text, "Could not open backing image"))
		return ERR_INVALID;
	if (!strstr(text, name))
		return ERR_IO;
	if (strstr(text, "conf file") || strstr(text, "Permission denied"))
		return ERR_IO;
	return strstr(text, "No such file or directory") ? ERR_NOT_FOUND : ERR_INVALID;
}

static enum err_kind kind_of(const char *text, const char *source)
{
	if (strstr(text, "No space left on device") ||
		strstr(text, "Disk quota exceeded"))
		return ERR_NO_SPACE;
	if (strstr(text, "Failed to get ") && strstr(text, " lock"))
		return ERR_UNAVAILABLE; /* somebody has it open */
	if (strstr(text, "File too large"))
		return ERR_TOO_LARGE;
	return source ? kind_of_source(text, source) : ERR_IO;
}

int qemu_img_error(int status, const char *text, const char *path, const char *backing,
	struct err *e)
{
	CLEANUP_STR char *reason = reason_of(text, path, backing);

	if (status > 128)
		return err_set(
			e, ERR_IO, "qemu-img was ended by signal %d", status - 128);
	return err_set(e, kind_of(text, backing), "qemu-img: %s", reason);
}

/* Runs it; what it says on stdout goes to out (may be NULL). */
static int run(const struct proc *p, const char *path, const char *backing,
	struct buf *out, struct err *e)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	int status = 0;

	if (proc_run(p, &status, out, &text, e) != 0)
		return -1;
	return status == 0 ? 0 : qemu_img_error(status, buf_str(&text), path, backing, e);
}

/* ---------------------------------------------------------------- copies */

/* "    (12.50/100%)\r": the digits behind "(". */
bool qemu_img_progress_add(struct qemu_img_progress *p, const char *text, size_t size)
{
	int before = p->percent;

	for (size_t i = 0; i < size; i++) {
		char c = text[i];

		if (c == '(') {
			p->is_in_number = true;
			p->number = -1;
		} else if (p->is_in_number && c >= '0' && c <= '9' && p->number <= 100) {
			p->number = (p->number < 0 ? 0 : p->number * 10) + (c - '0');
		} else if (p->is_in_number) {
			p->is_in_number = false;
			if (p->number >= 0 && p->number <= 100)
				p->percent = p->number;
		}
	}
	return p->percent != before;
}

struct convert_run {
	const struct qemu_img_convert *c;
	struct qemu_img_progress progress;
};

static void convert_out(void *aux, const char *text, size_t size)
{
	struct convert_run *r = aux;

	if (qemu_img_progress_add(&r->progress, text, size) && r->c->on_progress)
		r->c->on_progress(r->c->aux, r->progress.percent);
}

/* In which no name may look like an option, or like a protocol that was not meant. */
static bool is_name(const char *s)
{
	return s[0] == '/' || str_has_prefix(s, "rbd:");
}

int qemu_img_convert(const struct qemu_img_convert *c, struct err *e)
{
	const char *argv[24] = { "qemu-img", "convert", "-p", "-t", "writeback", "-f",
		c->source_format, "-O", c->target_format };
	size_t n = 9;
	struct convert_run r = { .c = c };
	const struct proc p = { .argv = argv,
		.limit_msec = c->limit_msec,
		.limit_mem = LIMIT_MEM_CONVERT,
		.limit_file = c->limit_file,
		.on_out = convert_out,
		.aux = &r };

	assert(is_name(c->source) && is_name(c->target));
	if (str_eq(c->target_format, "raw"))
		argv[n++] = "-W"; /* in any order: raw files do not grow by it */
	if (c->is_target_there)
		argv[n++] = "-n";
	if (c->is_target_there && c->is_target_zero)
		argv[n++] = "--target-is-zero";
	argv[n++] = "--";
	argv[n++] = c->source;
	argv[n] = c->target;
	return run(&p, c->target, c->source, NULL, e);
}

/* ---------------------------------------------------------------- changes */

static int change(
	const char *const *argv, const char *path, int64_t limit_msec, struct err *e)
{
	const struct proc p = {
		.argv = argv, .limit_msec = limit_msec, .limit_mem = LIMIT_MEM
	};

	assert(path[0] == '/');
	return run(&p, path, NULL, NULL, e);
}

int qemu_img_resize(const char *path, int64_t size_bytes, struct err *e)
{
	CLEANUP_STR char *size = xasprintf("%" PRId64, size_bytes);
	const char *argv[] = { "qemu-img", "resize", "-q", "-f", "qcow2", "--", path,
		size, NULL };

	return change(argv, path, LIMIT_CHANGE_MSEC, e);
}

int qemu_img_flatten(const char *path, int64_t limit_msec, struct err *e)
{
	const char *argv[] = { "qemu-img", "rebase", "-q", "-f", "qcow2", "-b", "", "--",
		path, NULL };

	return change(argv, path, limit_msec, e);
}

char *qemu_img_escape(const char *path)
{
	return replace_all(path, ",", ",,");
}

int qemu_img_snapshot(
	const char *path, enum qemu_img_snapshot what, const char *which, struct err *e)
{
	static const char *const options[] = { [QEMU_IMG_SNAPSHOT_MAKE] = "-c",
		[QEMU_IMG_SNAPSHOT_APPLY] = "-a",
		[QEMU_IMG_SNAPSHOT_REMOVE] = "-d" };
	CLEANUP_STR char *escaped = qemu_img_escape(path);
	/* The only way to say the format here. */
	CLEANUP_STR char *image =
		xasprintf("driver=qcow2,file.driver=file,file.filename=%s", escaped);
	const char *argv[] = { "qemu-img", "snapshot", "-q", options[what], which,
		"--image-opts", "--", image, NULL };

	return change(argv, path, LIMIT_CHANGE_MSEC, e);
}

/* ---------------------------------------------------------------- what it is */

void qemu_img_info_done(struct qemu_img_info *info)
{
	for (size_t i = 0; i < info->n_snapshots; i++) {
		free(info->snapshots[i].id);
		free(info->snapshots[i].name);
	}
	free(info->snapshots);
	memset(info, 0, sizeof(*info));
}

static int add_snapshot(struct qemu_img_info *out, const json_t *json, struct err *e)
{
	const char *id = json_string_value(json_object_get(json, "id"));
	const char *name = json_string_value(json_object_get(json, "name"));

	if (!id || !name)
		return err_set(e, ERR_IO, "qemu-img: a snapshot has no id or name");
	out->snapshots = xreallocarray(
		out->snapshots, out->n_snapshots + 1, sizeof(out->snapshots[0]));
	out->snapshots[out->n_snapshots++] =
		(struct qemu_img_snapshot_info){ xstrdup(id), xstrdup(name) };
	return 0;
}

int qemu_img_info_parse(
	const char *json, size_t size, struct qemu_img_info *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *top = NULL;
	CLEANUP(qemu_img_info_done) struct qemu_img_info info = { 0 };
	const json_t *virtual_size, *snapshot;
	size_t i;

	if (json_parse(json, size, &top, e) != 0)
		return err_wrap(e, "what qemu-img says of a disk");
	virtual_size = json_object_get(top, "virtual-size");
	if (!json_is_integer(virtual_size))
		return err_set(e, ERR_IO, "qemu-img says nothing of a disk's size");
	info.virtual_bytes = json_integer_value(virtual_size);
	info.has_backing = json_object_get(top, "backing-filename") != NULL;
	json_array_foreach (json_object_get(top, "snapshots"), i, snapshot)
		if (add_snapshot(&info, snapshot, e) != 0)
			return -1;
	*out = info;
	memset(&info, 0, sizeof(info));
	return 0;
}

int qemu_img_info(const char *path, struct qemu_img_info *out, struct err *e)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	const char *argv[] = { "qemu-img", "info", "--output=json", "-U", "-f", "qcow2",
		"--", path, NULL };
	const struct proc p = {
		.argv = argv, .limit_msec = LIMIT_MSEC, .limit_mem = LIMIT_MEM
	};

	assert(path[0] == '/');
	if (run(&p, path, NULL, &text, e) != 0)
		return -1;
	return qemu_img_info_parse(buf_str(&text), text.size, out, e);
}
