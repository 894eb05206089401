#include "tests/lib/test_certs.h"

#include <stdio.h>

#include "tests/lib/test_util.h"

#define LIMIT_MSEC 30000

static char *ca_file, *ca_key_file;

static void openssl(const char *const *argv)
{
	CLEANUP_STR char *out = NULL;

	if (test_run(argv, LIMIT_MSEC, &out) != 0) {
		fprintf(stderr, "openssl %s: %s\n", argv[1], out);
		abort();
	}
}

const char *test_ca_file(void)
{
	if (ca_file)
		return ca_file;
	test_need_command("openssl");
	ca_file = test_path("ca.crt");
	ca_key_file = test_path("ca.key");
	openssl((const char *const[]){ "openssl", "req", "-x509", "-newkey", "ec",
		"-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
		ca_key_file, "-out", ca_file, "-subj", "/CN=test authority", "-days", "2",
		NULL });
	return ca_file;
}

void test_cert_make(const char *name, const char *subject, struct test_cert *out)
{
	CLEANUP_STR char *request = test_path("%s.csr", name);
	CLEANUP_STR char *extensions = test_path("%s.ext", name);

	test_ca_file();
	out->cert_file = test_path("%s.crt", name);
	out->key_file = test_path("%s.key", name);
	test_write_file(extensions, "subjectAltName = IP:::1, DNS:localhost\n"
				    "extendedKeyUsage = serverAuth, clientAuth\n");
	openssl((const char *const[]){ "openssl", "req", "-newkey", "ec", "-pkeyopt",
		"ec_paramgen_curve:prime256v1", "-nodes", "-keyout", out->key_file,
		"-out", request, "-subj", subject, NULL });
	openssl((const char *const[]){ "openssl", "x509", "-req", "-in", request, "-CA",
		ca_file, "-CAkey", ca_key_file, "-CAcreateserial", "-days", "2",
		"-extfile", extensions, "-out", out->cert_file, NULL });
}

void test_cert_done(struct test_cert *c)
{
	free(c->cert_file);
	free(c->key_file);
	*c = (struct test_cert){ 0 };
}
