/*
 * A certificate authority for tests, in the test program's private directory, made with
 * openssl (which must be installed: else the test is skipped).
 */
#ifndef UCLOUD_TEST_CERTS_H
#define UCLOUD_TEST_CERTS_H

struct test_cert {
	char *cert_file, *key_file;
};

/* The authority's certificate; made by the first call. Borrowed. */
const char *test_ca_file(void);
/* A certificate for ::1, localhost and both TLS roles. subject is like "/O=ucloud/CN=name";
 * name is that of the files. */
void test_cert_make(const char *name, const char *subject, struct test_cert *out);
void test_cert_done(struct test_cert *c);

#endif
