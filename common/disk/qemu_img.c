#include "common/disk/qemu_img.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/proc.h"

#define LIMIT_MSEC 60000
/* ThreadSanitizer needs room of its own between fork and exec, where the limit holds. */
#ifdef __SANITIZE_THREAD__
#define LIMIT_MEM 0
#else
#define LIMIT_MEM (UINT64_C(2) << 30)
#endif
/* Only tables are written; those of the largest disk take 1 MiB. */
#define LIMIT_FILE (UINT64_C(256) << 20)

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

/* The first line without the program's and our paths' names. */
static char *reason_of(const char *text, const char *path, const char *backing)
{
	CLEANUP_STR char *line = xstrndup(text, strcspn(text, "\n"));
	CLEANUP_STR char *short_path = NULL;
	const char *s;

	if (backing)
		str_set(&line, replace_all(line, backing, "the image"));
	short_path = replace_all(line, path, "the disk");
	s = short_path;
	if (str_has_prefix(s, "qemu-img: "))
		s += strlen("qemu-img: ");
	if (str_has_prefix(s, "the disk: "))
		s += strlen("the disk: ");
	return xstrdup(*s ? s : "no reason given");
}

int qemu_img_error(int status, const char *text, const char *path, const char *backing,
	struct err *e)
{
	CLEANUP_STR char *reason = reason_of(text, path, backing);
	enum err_kind kind = ERR_IO;

	if (strstr(text, "No space left on device") ||
		strstr(text, "Disk quota exceeded"))
		kind = ERR_NO_SPACE;
	else if (strstr(text, "Failed to get ") && strstr(text, " lock"))
		kind = ERR_UNAVAILABLE; /* somebody writes to the image */
	else if (backing && strstr(text, "Could not open backing image"))
		kind = ERR_INVALID;
	if (status > 128)
		return err_set(
			e, ERR_IO, "qemu-img was ended by signal %d", status - 128);
	return err_set(e, kind, "qemu-img: %s", reason);
}

int qemu_img_create(const char *path, int64_t size_bytes, const char *backing,
	const char *backing_format, struct err *e)
{
	CLEANUP_STR char *size = xasprintf("%" PRId64, size_bytes);
	CLEANUP(buf_done) struct buf text = { 0 };
	const char *plain[] = { "qemu-img", "create", "-q", "-f", "qcow2", "--", path,
		size, NULL };
	const char *overlay[] = { "qemu-img", "create", "-q", "-f", "qcow2", "-b",
		backing, "-F", backing_format, "--", path, size, NULL };
	struct proc p = {
		.argv = backing ? overlay : plain,
		.limit_msec = LIMIT_MSEC,
		.limit_mem = LIMIT_MEM,
		.limit_file = LIMIT_FILE,
	};
	int status = 0;

	assert(path[0] == '/' && (!backing || (backing[0] == '/' && backing_format)));
	if (proc_run(&p, &status, NULL, &text, e) != 0)
		return -1;
	return status == 0 ? 0 : qemu_img_error(status, buf_str(&text), path, backing, e);
}
