/*
 * Errors: a kind for machines and a sentence for people.
 *
 * Functions that can fail take a struct err as their last argument and return 0 when done,
 * < 0 when failed (the err says why), > 0 for an outcome that their header documents.
 * Outputs are untouched unless the result is 0. The caller passes an error on unchanged or
 * wrapped with what was being tried; it never swallows one.
 *
 * The sentence is shown to users: say what was wrong, where, and what would be right.
 */
#ifndef UCLOUD_ERR_H
#define UCLOUD_ERR_H

#include <stdarg.h>
#include <stdbool.h>

#include "common/base/mem.h"

enum err_kind {
	ERR_NONE,
	ERR_INVALID,	     /* bad input: the asker must change something */
	ERR_UNAUTHENTICATED, /* who are you? */
	ERR_DENIED,	     /* known, but may not */
	ERR_NOT_FOUND,
	ERR_EXISTS,	 /* the name is taken */
	ERR_CONFLICT,	 /* not in this state; or changed meanwhile */
	ERR_QUOTA,	 /* the user's quota is used up */
	ERR_TOO_LARGE,	 /* beyond a limit of ours */
	ERR_TOO_MANY,	 /* slow down */
	ERR_NO_SPACE,	 /* disk or pool full */
	ERR_UNSUPPORTED, /* this build, host or store cannot */
	ERR_UNAVAILABLE, /* something we need does not answer: try again */
	ERR_TIMEOUT,	 /* it took too long */
	ERR_IO,		 /* a system call failed */
	ERR_INTERNAL,	 /* our mistake */
	ERR_N_KINDS
};

#define ERR_MSG_SIZE 768

struct err {
	enum err_kind kind;
	char field[64];		/* the member or option at fault, "" when none */
	char msg[ERR_MSG_SIZE]; /* one sentence on one line, always valid UTF-8 */
	/* Whoever met it logs it, once for all that fail because of it: a log line about it
	 * would only repeat that. */
	bool is_logged;
};

/*
 * Each returns -1, so that a failing function can end with "return err_set(...)". Arguments
 * may point into *e. What does not print is replaced, so a message may quote input. e is NULL
 * when the caller wants to know nothing but that it failed.
 */
int err_set(struct err *e, enum err_kind kind, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same, naming the member or option at fault. */
int err_set_field(struct err *e, enum err_kind kind, const char *field, const char *fmt,
	...) PRINTF_LIKE(4, 5);
/* From errno: "<what>: No such file or directory". ENOSPC, ENOENT, ETIMEDOUT and the like
 * choose the kind, all others are ERR_IO. */
int err_errno(struct err *e, int errnum, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Puts "<what was being tried>: " in front; keeps kind and field. */
int err_wrap(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* "not_found", ...: for logs, metrics and problem documents. */
const char *err_kind_name(enum err_kind kind);
/* HTTP status for the kind (RFC 9110): the one table. */
int err_http_status(enum err_kind kind);
/* The kind for an HTTP status; ERR_INTERNAL for what is not in the table. */
enum err_kind err_kind_of_http(int status);
/* Would the same call, made again later, perhaps succeed? The one table. */
bool err_is_passing(enum err_kind kind);

#endif
