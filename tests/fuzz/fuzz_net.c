/*
 * What ucloud-network reads and writes as text in its role router: keys of what is allocated,
 * BIRD's answers, and radvd's configuration made of users' networks. The first byte chooses.
 */
#include <assert.h>
#include <string.h>

#include "common/model/network.h"
#include "ucloud-network/alloc.h"
#include "ucloud-network/bird.h"
#include "ucloud-network/radvd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* "vni max", pools, what is there: a line each, with blanks. What is given was not there, and
 * nothing below it is free. */
static void fuzz_alloc(const char *text)
{
	CLEANUP(strv_done) struct strv lines = { 0 }, pool_texts = { 0 }, names = { 0 };
	CLEANUP(alloc_pools_done) struct alloc_pools pools = { 0 };
	CLEANUP(alloc_state_done) struct alloc_state s = { 0 };
	struct alloc_conf conf = { 1, 20, &pools };
	struct alloc got = { 0 };
	struct err e;

	strv_split(&lines, text, '\n');
	if (lines.len < 2)
		return;
	strv_split(&pool_texts, lines.v[0], ' ');
	strv_split(&names, lines.v[1], ' ');
	if (alloc_pools_parse(&pool_texts, &pools, &e) < 0)
		return;
	for (size_t i = 0; i < names.len; i++) {
		alloc_add_vni(&s, names.v[i], i % 3);
		alloc_add_prefix(&s, names.v[i], i % 2);
	}
	if (alloc_pick(&conf, &s, pools.len > 0, &got, &e) < 0)
		return;
	assert(got.vni >= 1 && got.vni <= 20);
	assert(pools.len == 0 || alloc_pools_has(&pools, got.prefix));
	for (size_t i = 0; i < s.vnis.len; i++)
		assert(s.vnis.v[i] != (uint64_t)got.vni);
	for (size_t i = 0; pools.len > 0 && i < s.prefixes.len; i++)
		assert(s.prefixes.v[i] != got.prefix);
}

static void fuzz_bird(const char *text)
{
	bool is_greeted;
	struct err e;

	(void)!bird_reply(text, &is_greeted, &e);
}

static size_t count(const char *text, char c)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == c;
	return n;
}

/* An entry that was read adds one interface, and nothing that ends it early. */
static void fuzz_radvd(const char *text)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(buf_done) struct buf out = { 0 };
	const struct radvd_conf conf = { 0 };
	struct radvd_net net;
	struct err e;

	if (network_parse(text, strlen(text), &n, &e) < 0 || n.vni <= 0 ||
		str_is_empty(n.prefix))
		return;
	net = (struct radvd_net){ n.vni, n.prefix, n.mtu, &n.dns };
	radvd_text(&net, 1, &conf, &out);
	assert(count(buf_str(&out), '{') == 2 + (n.dns.len + 2) / 3);
	assert(count(buf_str(&out), '}') == 2 + (n.dns.len + 2) / 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const fns[])(const char *) = { fuzz_alloc, fuzz_bird, fuzz_radvd };
	CLEANUP_STR char *text = NULL;

	if (size == 0)
		return 0;
	text = xstrndup((const char *)data + 1, size - 1);
	fns[data[0] % ARRAY_LEN(fns)](text);
	return 0;
}
