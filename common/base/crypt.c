#include "common/base/crypt.h"

#include <errno.h>
#include <fcntl.h>
#include <liboath/oath.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"

#define NONCE_SIZE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_SIZE   crypto_aead_xchacha20poly1305_ietf_ABYTES

#define SEED_NEW_SIZE 20 /* RFC 4226, section 4: 160 bits are recommended */
#define SEED_MIN_SIZE 10
#define SEED_MAX_SIZE 64

static void init_libraries(void)
{
	if (sodium_init() < 0) {
		fputs("libsodium cannot start: no source of randomness\n", stderr);
		abort();
	}
	if (oath_init() != OATH_OK) {
		fputs("liboath cannot start\n", stderr);
		abort();
	}
}

void crypt_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, init_libraries);
}

void sha256_hex(const void *p, size_t size, char out[SHA256_HEX_SIZE])
{
	unsigned char digest[crypto_hash_sha256_BYTES];

	crypto_hash_sha256(digest, p, size);
	sodium_bin2hex(out, SHA256_HEX_SIZE, digest, sizeof(digest));
}

/* ------------------------------------------------------------------ base64 */

char *base64_format(const void *p, size_t size)
{
	size_t out_size = sodium_base64_ENCODED_LEN(size, sodium_base64_VARIANT_ORIGINAL);
	char *out = xmalloc(out_size);

	return sodium_bin2base64(out, out_size, p, size, sodium_base64_VARIANT_ORIGINAL);
}

int base64_parse(const char *s, size_t len, char **out, size_t *size, struct err *e)
{
	size_t max = len / 4 * 3 + 3;
	char *p = xmalloc(max + 1);
	const char *end = NULL;
	size_t n = 0;

	if (sodium_base642bin((unsigned char *)p, max, s, len, NULL, &n, &end,
		    sodium_base64_VARIANT_ORIGINAL) != 0 ||
		end != s + len) {
		free(p);
		return err_set(e, ERR_INVALID, "this is not base64 (RFC 4648)");
	}
	p[n] = '\0';
	*out = p;
	*size = n;
	return 0;
}

/* ------------------------------------------------------------------ random */

void token_new(char out[TOKEN_STR_SIZE])
{
	unsigned char raw[32];

	randombytes_buf(raw, sizeof(raw));
	sodium_bin2base64(out, TOKEN_STR_SIZE, raw, sizeof(raw),
		sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	sodium_memzero(raw, sizeof(raw));
}

/* Digests first: then neither the content nor the length shows in the time it takes. */
bool secret_eq(const char *a, const char *b)
{
	unsigned char da[crypto_hash_sha256_BYTES], db[crypto_hash_sha256_BYTES];

	if (!a || !b)
		return false;
	crypto_hash_sha256(da, (const unsigned char *)a, strlen(a));
	crypto_hash_sha256(db, (const unsigned char *)b, strlen(b));
	return sodium_memcmp(da, db, sizeof(da)) == 0;
}

void secret_wipe(char *s)
{
	if (s)
		sodium_memzero(s, strlen(s));
}

uint32_t random_u32(uint32_t below)
{
	return randombytes_uniform(below);
}

/* -------------------------------------------------------------------- seal */

/* Sealed: base64 of the nonce and then the ciphertext with its tag. */
char *seal(const uint8_t key[SEAL_KEY_SIZE], const char *context, const char *plain)
{
	size_t plain_size = strlen(plain);
	size_t size = NONCE_SIZE + plain_size + TAG_SIZE;
	unsigned char *raw = xmalloc(size);
	char *out;

	randombytes_buf(raw, NONCE_SIZE);
	crypto_aead_xchacha20poly1305_ietf_encrypt(raw + NONCE_SIZE, NULL,
		(const unsigned char *)plain, plain_size, (const unsigned char *)context,
		strlen(context), NULL, raw, key);
	out = base64_format(raw, size);
	free(raw);
	return out;
}

int seal_open(const uint8_t key[SEAL_KEY_SIZE], const char *context, const char *sealed,
	char **plain, struct err *e)
{
	CLEANUP_STR char *raw = NULL;
	size_t size = 0;
	unsigned long long n = 0;
	char *out;

	if (base64_parse(sealed, strlen(sealed), &raw, &size, e) < 0)
		return err_wrap(e, "sealed value");
	if (size < NONCE_SIZE + TAG_SIZE)
		return err_set(e, ERR_INVALID, "sealed value: too short");
	out = xmalloc(size);
	if (crypto_aead_xchacha20poly1305_ietf_decrypt((unsigned char *)out, &n, NULL,
		    (unsigned char *)raw + NONCE_SIZE, size - NONCE_SIZE,
		    (const unsigned char *)context, strlen(context), (unsigned char *)raw,
		    key) != 0) {
		free(out);
		return err_set(e, ERR_INVALID,
			"sealed value: does not open with this key, or was sealed for "
			"another name");
	}
	out[n] = '\0';
	*plain = out;
	return 0;
}

/* setup may come before anything else made the configuration's directory. */
static int parent_ensure(const char *path, struct err *e)
{
	CLEANUP_STR char *dir = xstrdup(path);
	char *end = strrchr(dir, '/');

	if (end == NULL || end == dir)
		return 0;
	*end = '\0';
	return mkdir(dir, 0755) < 0 && errno != EEXIST ? err_errno(e, errno, "%s", dir)
						       : 0;
}

static int key_make(const char *path, struct err *e)
{
	uint8_t raw[SEAL_KEY_SIZE];
	char text[2 * SEAL_KEY_SIZE + 2];
	int rc;

	if (parent_ensure(path, e) < 0)
		return -1;
	randombytes_buf(raw, sizeof(raw));
	sodium_bin2hex(text, sizeof(text), raw, sizeof(raw));
	text[2 * SEAL_KEY_SIZE] = '\n';
	rc = file_write(path, text, 2 * SEAL_KEY_SIZE + 1, 0600, FILE_NEW, e);
	sodium_memzero(raw, sizeof(raw));
	sodium_memzero(text, sizeof(text));
	/* Somebody else was quicker: theirs is read. */
	return rc < 0 && e->kind == ERR_EXISTS ? 0 : rc;
}

int seal_key_read(
	const char *path, bool create, uint8_t key[SEAL_KEY_SIZE], struct err *e)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	uint8_t raw[SEAL_KEY_SIZE];
	size_t n = 0;
	struct stat st;

	if (create && access(path, F_OK) < 0 && errno == ENOENT && key_make(path, e) < 0)
		return err_wrap(e, "key file");
	if (stat(path, &st) < 0)
		return err_errno(e, errno, "key file %s", path);
	if (st.st_mode & 077)
		return err_set(e, ERR_DENIED,
			"key file %s: others may read it (mode %04o); use chmod 600",
			path, (unsigned)(st.st_mode & 07777));
	if (file_read(path, 1024, &text, e) < 0)
		return err_wrap(e, "key file");
	if (text.size == 2 * SEAL_KEY_SIZE + 1 && text.s[text.size - 1] == '\n')
		text.s[--text.size] = '\0';
	if (text.size != 2 * SEAL_KEY_SIZE ||
		sodium_hex2bin(raw, sizeof(raw), text.s, text.size, NULL, &n, NULL) !=
			0 ||
		n != SEAL_KEY_SIZE)
		return err_set(
			e, ERR_INVALID, "key file %s: must hold 64 hex digits", path);
	memcpy(key, raw, sizeof(raw));
	sodium_memzero(raw, sizeof(raw));
	sodium_memzero(text.s, text.size);
	return 0;
}

/* -------------------------------------------------------------------- TOTP */

struct seed {
	char *raw; /* liboath's malloc */
	size_t size;
};

static void seed_done(struct seed *s)
{
	if (s->raw)
		sodium_memzero(s->raw, s->size);
	free(s->raw);
	s->raw = NULL;
}

char *totp_seed_new(void)
{
	char raw[SEED_NEW_SIZE], *b32 = NULL, *out;
	size_t len = 0;

	randombytes_buf(raw, sizeof(raw));
	if (oath_base32_encode(raw, sizeof(raw), &b32, &len) != OATH_OK)
		abort(); /* only out of memory */
	out = xstrndup(b32, len);
	sodium_memzero(raw, sizeof(raw));
	sodium_memzero(b32, len);
	free(b32);
	return out;
}

/* Never shows the seed in the error. */
static int seed_parse(const char *text, struct seed *seed, struct err *e)
{
	if (str_is_empty(text))
		return err_set(e, ERR_INVALID, "the seed is empty");
	if (strlen(text) > 2 * SEED_MAX_SIZE ||
		oath_base32_decode(text, strlen(text), &seed->raw, &seed->size) !=
			OATH_OK)
		return err_set(e, ERR_INVALID,
			"the seed must be base32: letters A-Z and digits 2-7");
	if (seed->size < SEED_MIN_SIZE || seed->size > SEED_MAX_SIZE)
		return err_set(e, ERR_INVALID,
			"the seed must have %d to %d bytes (16 to 103 characters of "
			"base32)",
			SEED_MIN_SIZE, SEED_MAX_SIZE);
	return 0;
}

int totp_seed_check(const char *seed, struct err *e)
{
	CLEANUP(seed_done) struct seed s = { 0 };

	return seed_parse(seed, &s, e);
}

static int totp_at(
	const struct seed *s, int64_t step, char out[TOTP_STR_SIZE], struct err *e)
{
	int rc = oath_hotp_generate(s->raw, s->size, (uint64_t)step, TOTP_STR_SIZE - 1,
		false, OATH_HOTP_DYNAMIC_TRUNCATION, out);

	if (rc != OATH_OK)
		return err_set(e, ERR_INTERNAL, "liboath: %s", oath_strerror(rc));
	return 0;
}

int totp_make(const char *seed, int64_t unix_sec, char out[TOTP_STR_SIZE], struct err *e)
{
	CLEANUP(seed_done) struct seed s = { 0 };

	if (seed_parse(seed, &s, e) < 0)
		return -1;
	return totp_at(&s, unix_sec / TOTP_STEP_SEC, out, e);
}

/* All steps are compared, the matching one too: the time tells nothing. */
int totp_verify(const char *seed, const char *token, int64_t unix_sec, int window,
	int64_t *step, struct err *e)
{
	CLEANUP(seed_done) struct seed s = { 0 };
	int64_t now = unix_sec / TOTP_STEP_SEC, found = -1;

	if (seed_parse(seed, &s, e) < 0)
		return -1;
	for (int64_t at = now - window; at <= now + window; at++) {
		char code[TOTP_STR_SIZE];

		if (at < 0)
			continue;
		if (totp_at(&s, at, code, e) < 0)
			return -1;
		if (secret_eq(code, token))
			found = at;
	}
	if (found < 0)
		return 1;
	*step = found;
	return 0;
}
