/*
 * What the OTP service is asked, one-time passwords with any seed, and base64. The first
 * byte chooses. What is accepted is complete and well-formed.
 */
#include <assert.h>
#include <string.h>

#include "common/base/crypt.h"
#include "common/model/names.h"
#include "ucloud-otp/proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_login(const struct otp_login *l, bool has_token)
{
	struct err e;

	assert(l->name && user_name_check(l->name, &e) == 0);
	assert(l->realm && realm_check(l->realm, &e) == 0);
	assert(!!l->token == has_token);
}

static void try_body(const char *body, size_t size, int what)
{
	CLEANUP(otp_question_done) struct otp_question q = { 0 };
	struct err e;

	if (what == 0 && otp_verify_parse(body, size, &q, &e) == 0) {
		check_login(&q.asker, true);
		check_login(&q.subject, true);
	} else if (what > 0 && otp_manage_parse(body, size, what == 1, &q, &e) == 0) {
		check_login(&q.asker, true);
		if (what == 1)
			check_login(&q.subject, false);
	}
}

/* "SEED TOKEN" */
static void try_token(char *text)
{
	char *token = strchr(text, ' ');
	char right[TOTP_STR_SIZE];
	int64_t step = -1, now = 1700000000;
	struct err e;

	if (token)
		*token++ = '\0';
	if (totp_seed_check(text, &e) < 0 || totp_make(text, now, right, &e) < 0)
		return;
	assert(totp_verify(text, right, now, 1, &step, &e) == 0);
	assert(step == now / TOTP_STEP_SEC);
	if (token && strcmp(token, right) != 0 &&
		totp_verify(text, token, now, 0, &step, &e) == 0)
		abort();
}

static void try_base64(const char *text, size_t size)
{
	CLEANUP_STR char *plain = NULL, *again = NULL, *twice = NULL;
	size_t plain_size = 0, twice_size = 0;
	struct err e;

	if (base64_parse(text, size, &plain, &plain_size, &e) < 0)
		return;
	again = base64_format(plain, plain_size);
	assert(base64_parse(again, strlen(again), &twice, &twice_size, &e) == 0);
	assert(twice_size == plain_size && memcmp(twice, plain, plain_size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_STR char *text = NULL;

	if (size == 0)
		return 0;
	crypt_init();
	text = xstrndup((const char *)data + 1, size - 1);
	if (data[0] % 5 < 3)
		try_body((const char *)data + 1, size - 1, data[0] % 5);
	else if (data[0] % 5 == 3)
		try_token(text);
	else
		try_base64((const char *)data + 1, size - 1);
	return 0;
}
