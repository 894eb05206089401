/*
 * What the headers of an upload say (PUT /v1/files/{name...}). Pure.
 */
#ifndef UCLOUD_UPLOAD_INPUT_H
#define UCLOUD_UPLOAD_INPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/sha512.h"

/* Beyond what any file system holds: sums of a few stay inside int64_t. */
#define UPLOAD_SIZE_MAX (INT64_C(1) << 60)

enum upload_kind {
	UPLOAD_WHOLE, /* the body is the file */
	UPLOAD_PART,  /* the bytes from `from` on */
	UPLOAD_ASK    /* how many bytes are there? */
};

struct upload_input {
	enum upload_kind kind;
	int64_t from;
	int64_t size;		      /* of the body, -1 unknown: chunked */
	int64_t total;		      /* of the file, -1 unknown */
	char sha512[SHA512_HEX_SIZE]; /* of the file, "" unknown */
};

/* As the headers are; each may be NULL. is_chunked: Transfer-Encoding says so. ERR_INVALID
 * names the header. *needs_length: the length is missing (411). */
int upload_input_parse(const char *content_range, const char *content_length,
	bool is_chunked, const char *repr_digest, struct upload_input *out,
	bool *needs_length, struct err *e) MUST_USE;

/* "bytes 0-99/1000" (RFC 9110 section 14.4) to first, last and total; an asterisk in place of
 * first and last: both -1. */
int content_range_parse(const char *s, int64_t *first, int64_t *last, int64_t *total,
	struct err *e) MUST_USE;
/* The sha-512 of a Repr-Digest (RFC 9530) as hexadecimal digits; "" when there is none. */
int repr_digest_parse(const char *s, char out[SHA512_HEX_SIZE], struct err *e) MUST_USE;

/* May a user upload files of this name? rel_path_check(), and no part is ucloud's. */
int upload_name_check(const char *name, struct err *e) MUST_USE;

#endif
