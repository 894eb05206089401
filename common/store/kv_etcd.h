/*
 * etcd through its JSON gateway (grpc-gateway, `/v3/...`), over libcurl. Several endpoints:
 * one is used while it is healthy, the next one when it is not. Connections are kept alive
 * and shared by threads through a pool.
 */
#ifndef UCLOUD_KV_ETCD_H
#define UCLOUD_KV_ETCD_H

#include "common/base/conf.h"
#include "common/store/kv.h"

struct etcd_conf {
	struct strv url; /* --etcd_url, repeatable */
	char *ca_file;	 /* --etcd_ca */
	char *cert_file; /* --etcd_cert: without a common name (CN), see docs/admin-guide */
	char *key_file;	   /* --etcd_key */
	char *user;	   /* --etcd_user */
	char *password;	   /* --etcd_password (secret) */
	int64_t limit_sec; /* --etcd_timeout: of one call, default 5 s */
	/* A command, no daemon: that no etcd answers is for its caller to say, not for the
	 * log. No option. */
	bool is_quiet;
};

/* The part of every program's options; offsets within struct etcd_conf. */
extern const struct conf_opt etcd_opts[];

/* Only checks the configuration; connects with the first call. Copies conf. */
int kv_etcd_open(const struct etcd_conf *conf, struct kv **out, struct err *e) MUST_USE;

/* For setup: one range, with an error that says what to look at. */
int kv_etcd_check(const struct etcd_conf *conf, struct err *e) MUST_USE;

#endif
