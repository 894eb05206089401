/*
 * Growing strings (struct buf) and lists of strings (struct strv). Both are valid when
 * zeroed. Not shared between threads.
 */
#ifndef UCLOUD_BUF_H
#define UCLOUD_BUF_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/mem.h"

struct buf {
	char *s; /* NUL terminated when not NULL; may hold NULs before */
	size_t size;
	size_t cap;
};

void buf_add(struct buf *b, const void *p, size_t size);
void buf_add_str(struct buf *b, const char *s);
void buf_add_char(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Removes size bytes from the front. */
void buf_drop(struct buf *b, size_t size);
void buf_clear(struct buf *b);
/* Never NULL; borrowed. */
const char *buf_str(const struct buf *b);
/* The string (never NULL), the caller's; b is empty afterwards. */
char *buf_take(struct buf *b);
void buf_done(struct buf *b);

struct strv {
	char **v;
	size_t len;
};

void strv_add(struct strv *sv, const char *s);
void strv_add_take(struct strv *sv, char *s);
bool strv_has(const struct strv *sv, const char *s);
void strv_copy(struct strv *to, const struct strv *from);
/* Splits at sep; empty parts are left out; surrounding blanks are cut. */
void strv_split(struct strv *sv, const char *s, char sep);
char *strv_join(const struct strv *sv, const char *sep);
void strv_done(struct strv *sv);

bool str_has_prefix(const char *s, const char *prefix);
bool str_has_suffix(const char *s, const char *suffix);
bool str_is_empty(const char *s); /* NULL or "" */
/* Same bytes; NULL equals NULL only. */
bool str_eq(const char *a, const char *b);

#endif
