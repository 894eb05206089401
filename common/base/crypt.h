/*
 * Digests, random tokens, sealed secrets (libsodium), base64 (RFC 4648) and one-time
 * passwords (liboath). Pure but for randomness; any thread, after crypt_init().
 */
#ifndef UCLOUD_CRYPT_H
#define UCLOUD_CRYPT_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

void crypt_init(void); /* aborts when the system has no randomness */

#define SHA256_HEX_SIZE 65
void sha256_hex(const void *p, size_t size, char out[SHA256_HEX_SIZE]);

char *base64_format(const void *p, size_t size);
/* *out is the caller's and NUL terminated behind *size bytes. */
int base64_parse(
	const char *s, size_t len, char **out, size_t *size, struct err *e) MUST_USE;

/* 32 random bytes as 43 characters of base64url without padding. */
#define TOKEN_STR_SIZE 44
void token_new(char out[TOKEN_STR_SIZE]);
/* Constant time. */
bool secret_eq(const char *a, const char *b);
void secret_wipe(char *s); /* NULL is fine */
uint32_t random_u32(uint32_t below);

/* Sealed with XChaCha20-Poly1305; `context` (for example "realm/name") is authenticated:
 * a sealed value moved to another key does not open. The result is base64. */
#define SEAL_KEY_SIZE 32
char *seal(const uint8_t key[SEAL_KEY_SIZE], const char *context, const char *plain);
int seal_open(const uint8_t key[SEAL_KEY_SIZE], const char *context, const char *sealed,
	char **plain, struct err *e) MUST_USE;
/* Reads a key file (64 hex digits, mode 0600 or stricter); makes it when create and absent. */
int seal_key_read(const char *path, bool create, uint8_t key[SEAL_KEY_SIZE],
	struct err *e) MUST_USE;

/* TOTP (RFC 6238): SHA-1, 6 digits, 30 s steps from 0; seeds are base32 (RFC 4648). */
#define TOTP_STEP_SEC 30
#define TOTP_STR_SIZE 7
/* A new seed of 160 bits, base32, the caller's. */
char *totp_seed_new(void);
int totp_seed_check(const char *seed, struct err *e) MUST_USE;
int totp_make(const char *seed, int64_t unix_sec, char out[TOTP_STR_SIZE],
	struct err *e) MUST_USE;
/* 0 and the step (unix_sec / 30) that matched, within window steps either way; 1 when no
 * step matches; < 0 when the seed is unusable. */
int totp_verify(const char *seed, const char *token, int64_t unix_sec, int window,
	int64_t *step, struct err *e) MUST_USE;

#endif
