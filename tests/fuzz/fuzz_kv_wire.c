/*
 * Answers of etcd, hostile: every parser and the judgement of errors. What is accepted must
 * be whole, what is refused must say why.
 */
#include <assert.h>
#include <string.h>

#include "common/base/parse.h"
#include "common/store/kv_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int result, const struct err *e)
{
	assert(result == 0 || (e->kind != ERR_NONE && e->msg[0]));
}

static void try_range(const char *s, size_t size)
{
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	struct kv_wire_head head;
	struct err e = { 0 };
	int64_t count;
	int r = kv_wire_parse_range(s, size, &head, &list, &count, &e);

	check(r, &e);
	assert(r == 0 || list.len == 0);
	for (size_t i = 0; i < list.len; i++)
		assert(list.v[i].key && list.v[i].value[list.v[i].value_size] == '\0');
}

static void try_txn(const char *s, size_t size)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct kv_txn_result r = { 0 };
	struct kv_wire_head head;
	struct err e = { 0 };

	kv_txn_get(t, "a");
	kv_txn_put(t, "b", "");
	check(kv_wire_parse_txn(s, size, t, &head, &r, &e), &e);
	assert(!r.succeeded || r.got.len == 1);
	kv_list_done(&r.got);
}

static void try_others(const char *s, size_t size)
{
	CLEANUP_STR char *token = NULL;
	CLEANUP(kv_wire_watch_done) struct kv_wire_watch w = { 0 };
	struct err e = { 0 };
	int64_t n;

	check(kv_wire_parse_grant(s, size, &n, &e), &e);
	check(kv_wire_parse_keepalive(s, size, &n, &e), &e);
	check(kv_wire_parse_login(s, size, &token, &e), &e);
	assert(!token || !strpbrk(token, "\r\n"));
	check(kv_wire_parse_watch(s, size, &w, &e), &e);
	for (size_t i = 0; i < w.events.len; i++)
		assert(w.events.v[i].pair.key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *s = (const char *)data;
	struct err e = { 0 };
	int status = size > 0 ? 200 + 3 * data[0] : 200;

	try_range(s, size);
	try_txn(s, size);
	try_others(s, size);
	assert(kv_wire_judge(200, s, size, &e) == KV_VERDICT_OK || e.msg[0]);
	assert(kv_wire_judge(status, s, size, &e) == KV_VERDICT_OK || e.msg[0]);
	return 0;
}
