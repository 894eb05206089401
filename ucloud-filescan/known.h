/*
 * The hashes that are known: of what has been read, by owner and identity (file_identity()).
 * A file that was renamed, or that an entry in etcd says was read before a restart, is thus
 * not read again. What no file has any more is kept for a while: a rename is a name that
 * goes and a name that comes. Pure; one thread at a time.
 */
#ifndef UCLOUD_FILESCAN_KNOWN_H
#define UCLOUD_FILESCAN_KNOWN_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/hash.h"
#include "common/base/sha512.h"

struct known {
	UT_hash_handle hh;
	char *key;
	char sha512[SHA512_HEX_SIZE];
	int64_t scanned; /* unix time it was read */
	unsigned n_files;
	int64_t unused_msec; /* since when no file has it */
};

struct knowns {
	struct known *by_key;
};

/* whose: "name@realm". NULL: not known. */
struct known *known_find(struct knowns *ks, const char *whose, const char *identity);
/* Adds it, or replaces the hash of that identity. Nobody has it yet. */
struct known *known_add(struct knowns *ks, const char *whose, const char *identity,
	const char *sha512, int64_t scanned, int64_t now_msec);
/* A file has it; NULL is fine with put. */
struct known *known_get(struct known *k);
void known_put(struct known *k, int64_t now_msec);
/* Forgets what nobody has had since before_msec. */
void known_purge(struct knowns *ks, int64_t before_msec);
void knowns_done(struct knowns *ks);

#endif
