#include "common/base/mem.h"

#include <jansson.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The one place where the process ends for want of memory. Allocates nothing. */
static _Noreturn void mem_die(void)
{
	static const char line[] = "out of memory: giving up\n";

	/* Nothing is left to do when even this fails. */
	if (write(STDERR_FILENO, line, sizeof(line) - 1) < 0)
		abort();
	abort();
}

void mem_init(void)
{
	json_set_alloc_funcs(xmalloc, free);
#ifdef __GLIBC__
	/* One arena per core and thread would multiply what an idle daemon holds. */
	mallopt(M_ARENA_MAX, 2);
#endif
}

void *xmalloc(size_t size)
{
	void *p = malloc(size ? size : 1);

	if (!p)
		mem_die();
	return p;
}

void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size ? size : 1);

	if (!p)
		mem_die();
	return p;
}

void *xrealloc(void *p, size_t size)
{
	void *q = realloc(p, size ? size : 1);

	if (!q)
		mem_die();
	return q;
}

void *xreallocarray(void *p, size_t n, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(n, size, &total))
		mem_die();
	return xrealloc(p, total);
}

char *xstrdup(const char *s)
{
	return s ? xstrndup(s, strlen(s)) : NULL;
}

char *xstrndup(const char *s, size_t len)
{
	size_t n = strnlen(s, len);
	char *copy = xmalloc(n + 1);

	memcpy(copy, s, n);
	copy[n] = '\0';
	return copy;
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *s = NULL;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0)
		mem_die();
	return s;
}

void str_set(char **p, char *s)
{
	if (*p != s)
		free(*p);
	*p = s;
}

void mem_free_str(char **p)
{
	free(*p);
	*p = NULL;
}
