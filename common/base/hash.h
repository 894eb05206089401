/*
 * uthash with our allocator: out of memory aborts in one place (mem.h).
 */
#ifndef UCLOUD_HASH_H
#define UCLOUD_HASH_H

#include "common/base/mem.h"

#define uthash_malloc(size)  xmalloc(size)
#define uthash_free(p, size) free(p)
#include <uthash.h>

#endif
