/*
 * What kv_etcd.c and kv_etcd_watch.c share.
 */
#ifndef UCLOUD_KV_ETCD_IMPL_H
#define UCLOUD_KV_ETCD_IMPL_H

#include "common/store/kv_conn.h"
#include "common/store/kv_epoch.h"
#include "common/store/kv_impl.h"

struct kv_etcd {
	struct kv kv; /* first */
	struct kv_conn *conn;
	struct kv_epoch *epoch;
};

int kv_etcd_watch_open(struct kv *kv, const struct kv_watch_req *req,
	struct kv_watch **out, struct err *e) MUST_USE;

#endif
