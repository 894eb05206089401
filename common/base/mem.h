/*
 * Memory: allocation that aborts when there is none, and the two words that say who owns
 * what. A local that owns is declared with CLEANUP(); ownership leaves with MOVE().
 *
 * Out of memory ends the process in this one place. All state is in etcd, so a restart is
 * a path that is needed anyway. In return everything that comes from outside has a size
 * limit before it is read. Any thread may call these.
 */
#ifndef UCLOUD_MEM_H
#define UCLOUD_MEM_H

#include <stddef.h>
#include <stdlib.h>

#define ARRAY_LEN(a)	  (sizeof(a) / sizeof((a)[0]))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define MUST_USE	  __attribute__((warn_unused_result))

/* Runs fn(&variable) when the variable goes out of scope. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* The pointer's value; the variable is NULL afterwards and no longer owns it. */
#define MOVE(p)                                                                          \
	({                                                                               \
		__auto_type mem_moved_ = (p);                                            \
		(p) = NULL;                                                              \
		mem_moved_;                                                              \
	})

/* Once, first thing in main(): jansson gets this allocator, glibc few arenas. */
void mem_init(void);
/*
 * Once, when a daemon has started: gives back what only the start needed. That is free heap,
 * and the pages of programs and libraries, which are clean: those that are used come back
 * from the page cache.
 */
void mem_trim(void);

void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t size);
/* Room for n elements; aborts when n * size overflows. */
void *xreallocarray(void *p, size_t n, size_t size);
/* xstrdup(NULL) is NULL. */
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t len);
char *xasprintf(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Frees *p and stores s in it (takes s). */
void str_set(char **p, char *s);

/* For CLEANUP on "char *". */
void mem_free_str(char **p);
#define CLEANUP_STR CLEANUP(mem_free_str)

#endif
