/*
 * How long to wait after the n-th failure in a row: doubled each time, with jitter, so that
 * those who failed together do not come back together.
 */
#ifndef UCLOUD_BACKOFF_H
#define UCLOUD_BACKOFF_H

#include <stdint.h>

/* n_failures counts from 1: first_msec, doubled for each further one, at most max_msec; of
 * that, between one half and all, as the salt says. Pure. */
int64_t backoff_msec(
	unsigned n_failures, int64_t first_msec, int64_t max_msec, uint64_t salt);

/* A salt from the key and clock.h's microseconds: as good as random, and the same in every
 * run of a simulation. */
uint64_t backoff_salt(const char *key);
/* The key alone. Pure. */
uint64_t backoff_hash(const char *key);

#endif
