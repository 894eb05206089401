#include "common/base/mem.h"

#include <jansson.h>
#include <link.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
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

/* One object's segments that nobody can have written to: their file has the same content. */
static int drop_pages(struct dl_phdr_info *object, size_t size, void *aux)
{
	uintptr_t whole_pages = ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);

	(void)size, (void)aux;
	if (strstr(object->dlpi_name, "vdso")) /* the kernel's, no file */
		return 0;
	for (size_t i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *s = &object->dlpi_phdr[i];
		uintptr_t begin = (object->dlpi_addr + s->p_vaddr) & whole_pages;
		uintptr_t end =
			(object->dlpi_addr + s->p_vaddr + s->p_filesz) & whole_pages;

		if (s->p_type == PT_LOAD && !(s->p_flags & PF_W) && end > begin)
			(void)madvise((void *)begin, end - begin, MADV_DONTNEED);
	}
	return 0;
}

/* Would dropping lose what the loader has written into a segment that is read-only now? */
static int has_text_relocations(struct dl_phdr_info *object, size_t size, void *aux)
{
	(void)size, (void)aux;
	for (size_t i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *s = &object->dlpi_phdr[i];
		const ElfW(Dyn) *d = (const void *)(object->dlpi_addr + s->p_vaddr);

		if (s->p_type != PT_DYNAMIC)
			continue;
		for (; d->d_tag != DT_NULL; d++) {
			if (d->d_tag == DT_TEXTREL ||
				(d->d_tag == DT_FLAGS && d->d_un.d_val & DF_TEXTREL))
				return 1;
		}
	}
	return 0;
}

void mem_trim(void)
{
#ifdef __GLIBC__
	malloc_trim(0);
#endif
	if (!dl_iterate_phdr(has_text_relocations, NULL))
		dl_iterate_phdr(drop_pages, NULL);
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
