#include "common/base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/parse.h"

/* What a kind means outside: the one table. Where kinds share an HTTP status, is_main marks
 * the one that the status means when it comes from somebody else. */
static const struct {
	const char *name;
	int http_status;
	bool is_main;
	bool is_passing;
} kinds[ERR_N_KINDS] = {
	[ERR_NONE] = { "none", 200, true, false },
	[ERR_INVALID] = { "invalid", 400, true, false },
	[ERR_UNAUTHENTICATED] = { "unauthenticated", 401, true, false },
	[ERR_DENIED] = { "denied", 403, true, false },
	[ERR_NOT_FOUND] = { "not_found", 404, true, false },
	[ERR_EXISTS] = { "exists", 409, false, false },
	[ERR_CONFLICT] = { "conflict", 409, true, false },
	[ERR_QUOTA] = { "quota", 403, false, false },
	[ERR_TOO_LARGE] = { "too_large", 413, true, false },
	[ERR_TOO_MANY] = { "too_many", 429, true, true },
	[ERR_NO_SPACE] = { "no_space", 507, true, true },
	[ERR_UNSUPPORTED] = { "unsupported", 501, true, false },
	[ERR_UNAVAILABLE] = { "unavailable", 503, true, true },
	[ERR_TIMEOUT] = { "timeout", 504, true, true },
	[ERR_IO] = { "io", 500, false, true },
	[ERR_INTERNAL] = { "internal", 500, true, false },
};

/* One line of valid UTF-8: messages quote what came from outside, and end in JSON and logs.
 * A character that was cut by the buffer's end is dropped. */
static void make_line(char *to, size_t to_size, const char *from, size_t from_size)
{
	size_t in = 0, out = 0;

	while (in < from_size && from[in] != '\0') {
		size_t n = utf8_char_len(from + in, from_size - in);

		if (out + (n ? n : 1) >= to_size)
			break;
		if (n > 1 && str_is_text(from + in, n, false)) {
			memcpy(to + out, from + in, n);
			out += n;
		} else if (n == 1 && strchr("\n\r\t", from[in])) {
			to[out++] = ' ';
		} else if (n == 1 && str_is_text(from + in, 1, false)) {
			to[out++] = from[in];
		} else {
			to[out++] = '?';
		}
		in += n ? n : 1;
	}
	while (out > 0 && to[out - 1] == ' ')
		out--;
	to[out] = '\0';
}

/* The arguments may point into *e, so the text is made aside. Four bytes of room let
 * make_line() see a whole character that no longer fits. */
static int PRINTF_LIKE(4, 0) err_vset(
	struct err *e, enum err_kind kind, const char *field, const char *fmt, va_list ap)
{
	char text[ERR_MSG_SIZE + 4];
	char name[sizeof(((struct err *)0)->field)];

	if (!e)
		return -1;
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	make_line(name, sizeof(name), field, strlen(field));
	e->kind = kind;
	e->is_logged = false;
	memcpy(e->field, name, sizeof(name));
	make_line(e->msg, sizeof(e->msg), text, strlen(text));
	return -1;
}

int err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	err_vset(e, kind, "", fmt, ap);
	va_end(ap);
	return -1;
}

int err_set_field(
	struct err *e, enum err_kind kind, const char *field, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	err_vset(e, kind, field ? field : "", fmt, ap);
	va_end(ap);
	return -1;
}

static enum err_kind kind_of_errno(int errnum)
{
	switch (errnum) {
	case ENOENT:
	case ENOTDIR:
		return ERR_NOT_FOUND;
	case EEXIST:
	case ENOTEMPTY:
		return ERR_EXISTS;
	case ENOSPC:
	case EDQUOT:
		return ERR_NO_SPACE;
	case EFBIG:
		return ERR_TOO_LARGE;
	case ETIMEDOUT:
		return ERR_TIMEOUT;
	case ENOSYS:
	case EOPNOTSUPP:
		return ERR_UNSUPPORTED;
	case EAGAIN:
	case EBUSY:
	case ECONNREFUSED:
	case ECONNRESET:
	case ECONNABORTED:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ENETDOWN:
		return ERR_UNAVAILABLE;
	default:
		return ERR_IO;
	}
}

int err_errno(struct err *e, int errnum, const char *fmt, ...)
{
	char what[ERR_MSG_SIZE], reason[128];
	va_list ap;

	if (!e)
		return -1;
	va_start(ap, fmt);
	err_vset(e, kind_of_errno(errnum), "", fmt, ap);
	va_end(ap);
	memcpy(what, e->msg, sizeof(what));
	return err_set(
		e, e->kind, "%s: %s", what, strerror_r(errnum, reason, sizeof(reason)));
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	/* Bounded, so that the cause behind it is not what gets cut. */
	char line[320], what[sizeof(line) + 4];
	char text[ERR_MSG_SIZE + sizeof(line) + 4];
	va_list ap;

	if (!e)
		return -1;
	va_start(ap, fmt);
	if (vsnprintf(what, sizeof(what), fmt, ap) < 0)
		what[0] = '\0';
	va_end(ap);
	make_line(line, sizeof(line), what, strlen(what));
	snprintf(text, sizeof(text), "%s: %s", line, e->msg);
	make_line(e->msg, sizeof(e->msg), text, strlen(text));
	return -1;
}

const char *err_kind_name(enum err_kind kind)
{
	return (unsigned)kind < ERR_N_KINDS ? kinds[kind].name : "unknown";
}

int err_http_status(enum err_kind kind)
{
	return (unsigned)kind < ERR_N_KINDS ? kinds[kind].http_status : 500;
}

enum err_kind err_kind_of_http(int status)
{
	for (int k = ERR_INVALID; k < ERR_N_KINDS; k++)
		if (kinds[k].http_status == status && kinds[k].is_main)
			return (enum err_kind)k;
	return ERR_INTERNAL;
}

bool err_is_passing(enum err_kind kind)
{
	return (unsigned)kind < ERR_N_KINDS && kinds[kind].is_passing;
}
