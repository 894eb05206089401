/*
 * The configuration of an API that a test runs in its own process: on a port of [::1] that
 * the kernel chooses, with the test's etcd.
 */
#ifndef UCLOUD_TEST_API_H
#define UCLOUD_TEST_API_H

#include "tests/lib/test_etcd.h"
#include "ucloud-api/api.h"

#define TEST_API_SEED "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" /* with the OTP service */

/* conf is zeroed or done. "api" of the realm ungleich-auth asks an OTP service on [::1] at
 * otp_port (1: there is none, and nobody can log in); the realm "users" is allowed, the rest
 * is as by default. Not checked yet: api_conf_check(). */
void test_api_conf(
	struct api_conf *conf, const struct test_etcd *etcd, unsigned otp_port);

#endif
