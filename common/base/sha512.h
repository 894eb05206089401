/*
 * SHA-512 of what comes piece by piece (libsodium). The struct is plain data: it may be copied
 * to keep a state, and one that is given up needs nothing. One thread at a time.
 */
#ifndef UCLOUD_SHA512_H
#define UCLOUD_SHA512_H

#include <sodium.h>
#include <stddef.h>

#define SHA512_HEX_SIZE 129

struct sha512 {
	crypto_hash_sha512_state state;
};

void sha512_start(struct sha512 *h);
void sha512_add(struct sha512 *h, const void *p, size_t size);
/* 128 lower case hexadecimal digits. The state is used up. */
void sha512_hex(struct sha512 *h, char out[SHA512_HEX_SIZE]);

#endif
