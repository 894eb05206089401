#include "common/store/kv_etcd.h"

#include "common/store/kv_etcd_impl.h"
#include "common/store/kv_wire.h"

const struct conf_opt etcd_opts[] = {
	{ "etcd_url", CONF_STRV, offsetof(struct etcd_conf, url), CONF_NEED, NULL, "URL",
		"address of etcd, for example [::1] or https://etcd1.example.com:2379; "
		"give it once for each member of the cluster" },
	{ "etcd_ca", CONF_STR, offsetof(struct etcd_conf, ca_file), 0, NULL, "FILE",
		"certificate of the authority that signed etcd's certificate" },
	{ "etcd_cert", CONF_STR, offsetof(struct etcd_conf, cert_file), 0, NULL, "FILE",
		"client certificate for etcd, without a common name (CN)" },
	{ "etcd_key", CONF_STR, offsetof(struct etcd_conf, key_file), 0, NULL, "FILE",
		"private key of the client certificate" },
	{ "etcd_user", CONF_STR, offsetof(struct etcd_conf, user), 0, NULL, "NAME",
		"user name for etcd's authentication" },
	{ "etcd_password", CONF_STR, offsetof(struct etcd_conf, password), CONF_SECRET,
		NULL, "PASSWORD", "password for etcd's authentication" },
	{ "etcd_timeout", CONF_DURATION, offsetof(struct etcd_conf, limit_sec), 0, "5s",
		"TIME", "time limit of one call of etcd", 1, 60 },
	{ 0 },
};

static struct kv_etcd *etcd_of(struct kv *kv)
{
	return (struct kv_etcd *)kv; /* kv is its first member */
}

static int etcd_range(struct kv *kv, const struct kv_range_req *req, struct kv_list *out,
	int64_t *count, struct err *e)
{
	struct kv_etcd *d = etcd_of(kv);
	CLEANUP(buf_done) struct buf body = { 0 };
	CLEANUP(buf_done) struct buf answer = { 0 };
	struct kv_call call = { .path = KV_WIRE_RANGE, .body = &body };
	struct kv_epoch_mark before = kv_epoch_mark(d->epoch);
	struct kv_wire_head head;
	int r;

	kv_wire_format_range(req, &body);
	r = kv_conn_call(d->conn, &call, &answer, e);
	if (r == 0)
		r = kv_wire_parse_range(
			buf_str(&answer), answer.size, &head, out, count, e);
	if (r == 0)
		kv_epoch_see(d->epoch, &before, &head);
	return r;
}

static int etcd_txn(
	struct kv *kv, const struct kv_txn *t, struct kv_txn_result *out, struct err *e)
{
	struct kv_etcd *d = etcd_of(kv);
	CLEANUP(buf_done) struct buf body = { 0 };
	CLEANUP(buf_done) struct buf answer = { 0 };
	struct kv_call call = {
		.path = KV_WIRE_TXN, .body = &body, .is_write = !kv_txn_is_read(t)
	};
	struct kv_epoch_mark before = kv_epoch_mark(d->epoch);
	struct kv_wire_head head;
	int r;

	kv_wire_format_txn(t, &body);
	r = kv_conn_call(d->conn, &call, &answer, e);
	if (r)
		return r == KV_COMPACTED ? -1 : r; /* a transaction names no revision */
	if (kv_wire_parse_txn(buf_str(&answer), answer.size, t, &head, out, e) < 0)
		return call.is_write ? KV_UNKNOWN : -1;
	kv_epoch_see(d->epoch, &before, &head);
	return 0;
}

static int lease_call(struct kv *kv, const char *path, struct buf *body,
	struct buf *answer, struct err *e)
{
	/* Granting or revoking twice does no harm: what nobody keeps alive ends. */
	struct kv_call call = { .path = path, .body = body };
	int r = kv_conn_call(etcd_of(kv)->conn, &call, answer, e);

	return r > 0 ? -1 : r;
}

static int etcd_lease_grant(struct kv *kv, int64_t ttl_sec, int64_t *lease, struct err *e)
{
	CLEANUP(buf_done) struct buf body = { 0 };
	CLEANUP(buf_done) struct buf answer = { 0 };

	kv_wire_format_grant(ttl_sec, &body);
	if (lease_call(kv, KV_WIRE_GRANT, &body, &answer, e) < 0)
		return -1;
	return kv_wire_parse_grant(buf_str(&answer), answer.size, lease, e);
}

static int etcd_lease_keepalive(
	struct kv *kv, int64_t lease, int64_t *ttl_sec, struct err *e)
{
	CLEANUP(buf_done) struct buf body = { 0 };
	CLEANUP(buf_done) struct buf answer = { 0 };

	kv_wire_format_lease(lease, &body);
	if (lease_call(kv, KV_WIRE_KEEPALIVE, &body, &answer, e) < 0)
		return -1;
	return kv_wire_parse_keepalive(buf_str(&answer), answer.size, ttl_sec, e);
}

static int etcd_lease_revoke(struct kv *kv, int64_t lease, struct err *e)
{
	CLEANUP(buf_done) struct buf body = { 0 };
	CLEANUP(buf_done) struct buf answer = { 0 };

	kv_wire_format_lease(lease, &body);
	return lease_call(kv, KV_WIRE_REVOKE, &body, &answer, e);
}

static void etcd_close(struct kv *kv)
{
	struct kv_etcd *d = etcd_of(kv);

	kv_conn_close(d->conn);
	kv_epoch_free(d->epoch);
	free(d);
}

static const struct kv_ops etcd_ops = {
	.range = etcd_range,
	.txn = etcd_txn,
	.lease_grant = etcd_lease_grant,
	.lease_keepalive = etcd_lease_keepalive,
	.lease_revoke = etcd_lease_revoke,
	.watch_open = kv_etcd_watch_open,
	.close = etcd_close,
};

int kv_etcd_open(const struct etcd_conf *conf, struct kv **out, struct err *e)
{
	struct kv_conn *conn;
	struct kv_etcd *d;

	if (kv_conn_open(conf, &conn, e) < 0)
		return -1;
	kv_metrics_register();
	d = xcalloc(1, sizeof(*d));
	d->kv.ops = &etcd_ops;
	d->conn = conn;
	d->epoch = kv_epoch_new();
	*out = &d->kv;
	return 0;
}

int kv_etcd_check(const struct etcd_conf *conf, struct err *e)
{
	struct etcd_conf quiet = *conf;
	struct kv *kv;
	int64_t count;
	int r;

	quiet.is_quiet = true;
	if (kv_etcd_open(&quiet, &kv, e) < 0)
		return -1;
	r = kv_count(kv, "/v1/", &count, e);
	kv_close(kv);
	return r;
}
