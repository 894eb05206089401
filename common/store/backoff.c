#include "common/store/backoff.h"

#include "common/base/clock.h"

/* The finalizer of MurmurHash3 (public domain): every input bit moves every output bit. */
static uint64_t mix(uint64_t h)
{
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdULL;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53ULL;
	h ^= h >> 33;
	return h;
}

/* FNV-1a, 64 bits (RFC 9923). */
uint64_t backoff_hash(const char *key)
{
	uint64_t h = 0xcbf29ce484222325ULL;

	for (; *key; key++) {
		h ^= (unsigned char)*key;
		h *= 0x100000001b3ULL;
	}
	return mix(h);
}

uint64_t backoff_salt(const char *key)
{
	return mix(backoff_hash(key) ^ (uint64_t)clock_mono_usec());
}

int64_t backoff_msec(
	unsigned n_failures, int64_t first_msec, int64_t max_msec, uint64_t salt)
{
	int64_t msec = first_msec;

	for (unsigned i = 1; i < n_failures && msec < max_msec; i++)
		msec *= 2;
	if (msec > max_msec)
		msec = max_msec;
	return msec - (int64_t)(salt % (uint64_t)(msec / 2 + 1));
}
