#include "common/base/sha512.h"

void sha512_start(struct sha512 *h)
{
	crypto_hash_sha512_init(&h->state);
}

void sha512_add(struct sha512 *h, const void *p, size_t size)
{
	crypto_hash_sha512_update(&h->state, p, size);
}

void sha512_hex(struct sha512 *h, char out[SHA512_HEX_SIZE])
{
	unsigned char digest[crypto_hash_sha512_BYTES];

	crypto_hash_sha512_final(&h->state, digest);
	sodium_bin2hex(out, SHA512_HEX_SIZE, digest, sizeof(digest));
}
