/*
 * What Ceph writes and we read: keyrings, and two answers of its monitors. Pure.
 */
#ifndef UCLOUD_CEPH_TEXT_H
#define UCLOUD_CEPH_TEXT_H

#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

/* The key of an entity ("client.libvirt") in the text of a keyring; NULL: it has none. The
 * caller's, who wipes it. */
char *ceph_keyring_find(const char *text, const char *entity);

/* The answer to "mon dump": "[addr]:port" of each monitor, that of the newer protocol when
 * it has two. ERR_UNAVAILABLE: not what we can read. */
int ceph_mons_parse(
	const char *json, size_t size, struct strv *mons, struct err *e) MUST_USE;

/* The answer to "df detail": what a pool has and what is left of it for its users; -1:
 * nobody counts it. */
int ceph_df_parse(const char *json, size_t size, const char *pool, int64_t *total_bytes,
	int64_t *free_bytes, struct err *e) MUST_USE;

#endif
