/*
 * A private etcd for tests: real servers in the test program's private directory, on ports
 * of [::1] that the kernel chose, gone when the program ends. When etcd is not installed
 * the test is skipped. The main thread only.
 */
#ifndef UCLOUD_TEST_ETCD_H
#define UCLOUD_TEST_ETCD_H

#include "common/store/kv_etcd.h"

struct test_etcd;

struct test_etcd_conf {
	unsigned n_members;  /* 0: 1 */
	bool is_tls;	     /* clients need a certificate of test_ca_file() */
	bool is_auth;	     /* user root, password "secret word" */
	const char *address; /* that it listens on; NULL: "::1" */
	const char *const
		*args; /* more arguments for etcd, NULL-terminated; may be NULL */
};

/* Returns when it is healthy; conf may be NULL. */
struct test_etcd *test_etcd_start(const struct test_etcd_conf *conf);
/* Stops it and forgets its data; NULL is fine. Needed only for an etcd to go early. */
void test_etcd_free(struct test_etcd *t);

/* What a client needs: all endpoints, certificates, user, password. Borrowed. */
const struct etcd_conf *test_etcd_client(const struct test_etcd *t);
const char *test_etcd_url(const struct test_etcd *t, unsigned member);
/* A client; fails the program when there is none. The caller closes it. */
struct kv *test_etcd_open(const struct test_etcd *t);

/* What may happen to a member. */
void test_etcd_kill(struct test_etcd *t, unsigned member); /* SIGKILL */
void test_etcd_freeze(struct test_etcd *t, unsigned member);
void test_etcd_thaw(struct test_etcd *t, unsigned member);
/* Starts it again after a kill, on the same port with the same data; does not wait. */
void test_etcd_restart(struct test_etcd *t, unsigned member);
/* Waits until a client gets answers. */
void test_etcd_wait(struct test_etcd *t);

/* Runs etcdctl with the right options; argv without the program's name. *out (may be NULL)
 * is its output, the caller's. Fails the program when etcdctl does. */
void test_etcd_ctl(struct test_etcd *t, const char *const *argv, char **out);
/* Forgets all history before rev. */
void test_etcd_compact(struct test_etcd *t, int64_t rev);
/* Backup and restore (of an etcd with one member), which takes it back in time. */
void test_etcd_save(struct test_etcd *t);
void test_etcd_restore(struct test_etcd *t);

#endif
