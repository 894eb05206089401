/*
 * Slows down those who guess: after some failures in a row the next attempt of the same key
 * (an account, an address) must wait, twice as long each time. Pure but for its memory, which
 * is bounded; time is an argument. One thread at a time.
 *
 * An attempt counts as failed from its beginning, so that many at the same moment gain
 * nothing; who succeeds takes it back.
 */
#ifndef UCLOUD_THROTTLE_H
#define UCLOUD_THROTTLE_H

#include <stddef.h>
#include <stdint.h>

struct throttle;

struct throttle_conf {
	unsigned n_free;       /* failures without a wait */
	int64_t max_wait_msec; /* the first wait is 1 s */
	int64_t forget_msec;   /* without an attempt: as new */
	size_t max_keys;       /* the one that was quiet longest is forgotten first */
};

struct throttle *throttle_new(const struct throttle_conf *conf);
void throttle_free(struct throttle *t);

/* 0: go ahead, the attempt is counted. Above 0: wait that many milliseconds. */
int64_t throttle_take(struct throttle *t, const char *key, int64_t now_msec);
/* It was no failure after all. */
void throttle_give_back(struct throttle *t, const char *key);
/* All is forgiven. */
void throttle_forget(struct throttle *t, const char *key);
size_t throttle_len(const struct throttle *t);

/* The key for a client's address: an IPv6 client is its /64, since it can use all of it. */
#define THROTTLE_ADDRESS_SIZE 64
void throttle_address(const char *peer, char out[THROTTLE_ADDRESS_SIZE]);

#endif
