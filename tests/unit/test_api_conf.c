#include "ucloud-api/api.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "common/base/mem.h"

static struct strv said;

static void see_line(void *aux, enum log_level level, const char *line)
{
	(void)aux;
	assert_int_equal(level, LOG_WARN);
	strv_add(&said, line);
}

static const struct strv *warned(
	const char *listen, const char *cert, const char *otp_url)
{
	struct api_conf conf = {
		.tls_cert = xstrdup(cert),
		.otp_url = xstrdup(otp_url),
	};

	strv_done(&said);
	strv_add(&conf.listen, "[::1]:8080");
	strv_add(&conf.listen, listen);
	log_set_sink(see_line, NULL);
	api_conf_warn(&conf);
	log_set_sink(NULL, NULL);
	strv_done(&conf.listen);
	free(conf.tls_cert);
	free(conf.otp_url);
	return &said;
}

/* One line for each, and what to do. */
static void plain_http_is_told(void **state)
{
	(void)state;
	assert_int_equal(warned("[::1]:81", "", "http://[::1]:8441/verify")->len, 0);
	assert_int_equal(warned("[::]:8080", "cert.pem", "https://otp.example/")->len, 0);

	assert_int_equal(warned("[::]:8080", "", "https://otp.example/verify")->len, 1);
	assert_non_null(strstr(said.v[0], "[::]:8080 without TLS"));
	assert_non_null(strstr(said.v[0], "tls_cert"));

	assert_int_equal(warned("[::1]", "", "http://otp.example:8441/verify")->len, 1);
	assert_non_null(strstr(said.v[0], "http://otp.example:8441/verify"));
	assert_non_null(strstr(said.v[0], "https://"));

	assert_int_equal(warned("[2001:db8::1]", "", "http://[2001:db8::2]")->len, 2);
	strv_done(&said);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_http_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
