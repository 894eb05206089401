#include "common/base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Room for `more` bytes and the NUL behind them. */
static void buf_reserve(struct buf *b, size_t more)
{
	size_t need, cap = b->cap ? b->cap : 64;

	if (__builtin_add_overflow(b->size, more, &need) || need >= SIZE_MAX / 4)
		need = SIZE_MAX / 4; /* xrealloc() gives up in the one place */
	need++;
	if (need <= b->cap)
		return;
	while (cap < need)
		cap *= 2;
	b->s = xrealloc(b->s, cap);
	b->cap = cap;
}

void buf_add(struct buf *b, const void *p, size_t size)
{
	buf_reserve(b, size);
	if (size > 0)
		memcpy(b->s + b->size, p, size);
	b->size += size;
	b->s[b->size] = '\0';
}

void buf_add_str(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_add_char(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	assert(n >= 0);
	buf_reserve(b, (size_t)n);
	va_start(ap, fmt);
	vsnprintf(b->s + b->size, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->size += (size_t)n;
}

void buf_drop(struct buf *b, size_t size)
{
	assert(size <= b->size);
	if (size == 0)
		return;
	memmove(b->s, b->s + size, b->size - size + 1);
	b->size -= size;
}

void buf_clear(struct buf *b)
{
	b->size = 0;
	if (b->s)
		b->s[0] = '\0';
}

const char *buf_str(const struct buf *b)
{
	return b->s ? b->s : "";
}

char *buf_take(struct buf *b)
{
	char *s = b->s ? b->s : xstrdup("");

	*b = (struct buf){ 0 };
	return s;
}

void buf_done(struct buf *b)
{
	free(b->s);
	*b = (struct buf){ 0 };
}

void strv_add(struct strv *sv, const char *s)
{
	strv_add_take(sv, xstrdup(s));
}

void strv_add_take(struct strv *sv, char *s)
{
	sv->v = xreallocarray(sv->v, sv->len + 1, sizeof(*sv->v));
	sv->v[sv->len++] = s;
}

bool strv_has(const struct strv *sv, const char *s)
{
	for (size_t i = 0; i < sv->len; i++)
		if (str_eq(sv->v[i], s))
			return true;
	return false;
}

void strv_copy(struct strv *to, const struct strv *from)
{
	struct strv copy = { 0 };

	for (size_t i = 0; i < from->len; i++)
		strv_add(&copy, from->v[i]);
	strv_done(to);
	*to = copy;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

void strv_split(struct strv *sv, const char *s, char sep)
{
	for (;;) {
		const char *end = strchr(s, sep);
		size_t len = end ? (size_t)(end - s) : strlen(s);

		while (len > 0 && is_blank(*s))
			s++, len--;
		while (len > 0 && is_blank(s[len - 1]))
			len--;
		if (len > 0)
			strv_add_take(sv, xstrndup(s, len));
		if (!end)
			return;
		s = end + 1;
	}
}

char *strv_join(const struct strv *sv, const char *sep)
{
	struct buf b = { 0 };

	for (size_t i = 0; i < sv->len; i++) {
		if (i > 0)
			buf_add_str(&b, sep);
		buf_add_str(&b, sv->v[i]);
	}
	return buf_take(&b);
}

void strv_done(struct strv *sv)
{
	for (size_t i = 0; i < sv->len; i++)
		free(sv->v[i]);
	free(sv->v);
	*sv = (struct strv){ 0 };
}

bool str_has_prefix(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_has_suffix(const char *s, const char *suffix)
{
	size_t len = strlen(s), end = strlen(suffix);

	return len >= end && memcmp(s + len - end, suffix, end) == 0;
}

bool str_is_empty(const char *s)
{
	return !s || s[0] == '\0';
}

bool str_eq(const char *a, const char *b)
{
	if (!a || !b)
		return a == b;
	return strcmp(a, b) == 0;
}
