/* What machines ask each other over the underlay, and what follows from the answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>

#include "ucloud-network/probe_judge.h"

enum {
	M = PROBE_BIT(PROBE_MULTICAST),
	L = PROBE_BIT(PROBE_LARGE),
	P = PROBE_BIT(PROBE_PLAIN)
};
enum { NO_M = 1 << LACK_MULTICAST, NO_L = 1 << LACK_LARGE, NO_ALL = 1 << LACK_ALL };

static struct in6_addr address(const char *text)
{
	struct in6_addr a;

	assert_int_equal(inet_pton(AF_INET6, text, &a), 1);
	return a;
}

/* ---------------------------------------------------------------- on the wire */

static void what_is_written_is_read(void **state)
{
	struct probe p = { .how = PROBE_LARGE }, got;
	uint8_t d[PROBE_SIZE * 2] = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(p.nonce); i++)
		p.nonce[i] = (uint8_t)(i * 17 + 1);
	probe_format(&p, d);
	assert_true(probe_parse(d, PROBE_SIZE, &got));
	assert_false(got.is_answer);
	assert_int_equal(got.how, PROBE_LARGE);
	assert_memory_equal(got.nonce, p.nonce, sizeof(p.nonce));
	assert_true(probe_parse(d, sizeof(d), &got)); /* a question may be larger */
	p.is_answer = true;
	probe_format(&p, d);
	assert_true(probe_parse(d, PROBE_SIZE, &got));
	assert_true(got.is_answer);
	assert_false(probe_parse(d, sizeof(d), &got)); /* an answer may not */
}

static void what_is_not_ours_is_passed_over(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} breaks[] = { { 0, 'U' }, { 7, 'A' }, { 8, 0 }, { 8, 2 }, { 9, 0 }, { 9, 3 },
		{ 10, 3 }, { 10, 255 } };
	const struct probe p = { .how = PROBE_PLAIN };
	struct probe got;
	uint8_t d[PROBE_SIZE];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(breaks); i++) {
		probe_format(&p, d);
		d[breaks[i].at] = breaks[i].value;
		if (probe_parse(d, sizeof(d), &got))
			fail_msg("byte %zu may not be %d", breaks[i].at, breaks[i].value);
	}
	probe_format(&p, d);
	for (size_t size = 0; size < sizeof(d); size++)
		assert_false(probe_parse(d, size, &got));
}

static void answers_have_a_rate(void **state)
{
	struct probe_budget b = { 0 };
	size_t n = 0;

	(void)state;
	for (int64_t msec = 5000; msec < 6000; msec++)
		for (int i = 0; i < 100; i++)
			n += probe_budget_take(&b, msec);
	assert_in_range(n, PROBE_RATE, 2 * PROBE_RATE);
	assert_false(probe_budget_take(&b, 5999));
	assert_true(probe_budget_take(&b, 6001));
	for (n = 0; probe_budget_take(&b, 100000); n++)
		;
	assert_int_equal(n, PROBE_RATE);
}

/* ---------------------------------------------------------------- what lacks */

static void lacks(void **state)
{
	static const struct {
		unsigned asked, answered, lacks;
	} cases[] = {
		{ M | L | P, M | L | P, 0 },
		{ M | L | P, M | L,
			0 }, /* larger ones arrive: what was lost was chance */
		{ M | L | P, L | P, NO_M }, { M | L | P, M | P, NO_L },
		{ M | L | P, P, NO_M | NO_L }, { M | L | P, M, NO_L },
		{ M | L | P, 0, NO_ALL }, { L | P, L | P, 0 }, { L | P, P, NO_L },
		{ L | P, 0, NO_ALL }, { L | P, M, NO_ALL }, /* nobody asked for that */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (probe_lacks(cases[i].asked, cases[i].answered) != cases[i].lacks)
			fail_msg("case %zu: %u", i,
				probe_lacks(cases[i].asked, cases[i].answered));
}

static void the_large_one_fits_both(void **state)
{
	static const struct {
		int64_t theirs, ours, packet;
	} cases[] = { { 1500, 1500, 1500 }, { 9000, 1500, 1500 }, { 1500, 9000, 1500 },
		{ 0, 1500, 1500 }, { -1, 1500, 1500 }, { 1, 1500, 1500 },
		{ 1 << 20, 1 << 20, 65535 } };
	const struct in6_addr own = address("fd00::1");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(probe_targets_done) struct probe_targets t = { 0 };

		assert_true(probe_targets_add(
			&t, "h2", "fd00::2", cases[i].theirs, &own, cases[i].ours));
		assert_int_equal(t.v[0].packet, cases[i].packet);
		assert_false(probe_targets_add(&t, "h3", "fd00:0::1", 1500, &own, 1500));
		assert_false(probe_targets_add(&t, "h4", "nowhere", 1500, &own, 1500));
		assert_false(probe_targets_add(&t, "h5", NULL, 1500, &own, 1500));
		assert_int_equal(t.len, 1);
	}
}

/* ---------------------------------------------------------------- rounds */

struct rounds {
	struct probe_memory memory;
	struct probe_targets targets; /* h2 */
};

static void begin(struct rounds *r)
{
	const struct in6_addr own = address("fd00::1");

	*r = (struct rounds){ 0 };
	assert_true(probe_targets_add(&r->targets, "h2", "fd00::2", 1500, &own, 1500));
}

static void end(struct rounds *r)
{
	probe_memory_done(&r->memory);
	probe_targets_done(&r->targets);
}

static unsigned round_of(struct rounds *r, unsigned answered)
{
	r->targets.v[0].answered = answered;
	probe_memory_note(&r->memory, M | L | P, &r->targets);
	return r->targets.v[0].lacks;
}

static void once_is_chance(void **state)
{
	struct rounds r;

	(void)state;
	begin(&r);
	assert_true(probe_memory_is_due(&r.memory, &r.targets.v[0]));
	assert_int_equal(round_of(&r, M | L | P), 0);
	assert_false(probe_memory_is_due(&r.memory, &r.targets.v[0]));
	assert_false(probe_memory_has_lacks(&r.memory));
	assert_int_equal(round_of(&r, 0), 0);
	assert_true(probe_memory_is_due(&r.memory, &r.targets.v[0]));
	assert_true(probe_memory_has_lacks(&r.memory));
	assert_int_equal(round_of(&r, L | P), NO_M); /* another thing than before */
	assert_int_equal(probe_memory_count(&r.memory, LACK_MULTICAST), 1);
	assert_int_equal(probe_memory_count(&r.memory, LACK_LARGE), 0);
	assert_int_equal(round_of(&r, P), NO_M | NO_L);
	assert_int_equal(r.targets.v[0].was, NO_M);
	assert_int_equal(round_of(&r, M | L | P), 0);
	assert_int_equal(r.targets.v[0].was, NO_M | NO_L);
	assert_int_equal(probe_memory_count(&r.memory, LACK_MULTICAST), 0);
	end(&r);
}

static void who_changes_is_new(void **state)
{
	struct rounds r;
	struct probe_targets none = { 0 };

	(void)state;
	begin(&r);
	round_of(&r, M | L | P);
	r.targets.v[0].packet = 1400;
	assert_true(probe_memory_is_due(&r.memory, &r.targets.v[0]));
	assert_int_equal(round_of(&r, P), 0);
	assert_int_equal(round_of(&r, P), NO_M | NO_L);
	r.targets.v[0].address = address("fd00::3");
	assert_int_equal(round_of(&r, P), 0);
	assert_int_equal(round_of(&r, P), NO_M | NO_L);
	probe_memory_keep(&r.memory, &r.targets);
	assert_int_equal(probe_memory_count(&r.memory, LACK_LARGE), 1);
	probe_memory_keep(&r.memory, &none);
	assert_int_equal(probe_memory_count(&r.memory, LACK_LARGE), 0);
	assert_false(probe_memory_has_lacks(&r.memory));
	assert_int_equal(round_of(&r, P), 0);
	probe_targets_keep(&r.targets, &none);
	assert_int_equal(r.targets.len, 0);
	end(&r);
}

/* ---------------------------------------------------------------- in words */

static void check_told(const struct probe_targets *t, enum probe_lack lack, bool only_new,
	const char *text)
{
	CLEANUP(buf_done) struct buf out = { 0 };
	bool is_told = probe_tell(t, lack, only_new, 30145, &out);

	assert_int_equal(is_told, text[0] != '\0');
	if (!str_has_prefix(buf_str(&out), text))
		fail_msg("%s", buf_str(&out));
}

static void sentences(void **state)
{
	CLEANUP(probe_targets_done) struct probe_targets t = { 0 };
	CLEANUP(buf_done) struct buf healed = { 0 };
	const struct in6_addr own = address("fd00::1");

	(void)state;
	check_told(&t, LACK_ALL, false, "");
	for (int i = 2; i <= 12; i++) {
		CLEANUP_STR char *host = xasprintf("h%d", i);
		CLEANUP_STR char *text = xasprintf("fd00::%d", i);

		assert_true(probe_targets_add(&t, host, text, 1500, &own, 9000));
	}
	t.v[0].lacks = NO_M | NO_L;
	check_told(&t, LACK_MULTICAST, false,
		"h2 (fd00::2) is not reached by multicast: let the switches forward MLD "
		"groups (snooping needs a querier), or give every ucloud-network --flood "
		"unicast");
	check_told(&t, LACK_LARGE, false,
		"h2 (fd00::2, 1500 bytes) does not get packets as large as");
	check_told(&t, LACK_ALL, false, "");
	t.v[0].was = NO_M;
	check_told(&t, LACK_MULTICAST, true, "");
	check_told(&t, LACK_LARGE, true, "h2 ");
	t.v[1].lacks = NO_ALL;
	t.v[1].errnum = ENETUNREACH;
	check_told(&t, LACK_ALL, true,
		"h3 (fd00::3: Network is unreachable) does not answer: is there a way");
	for (size_t i = 0; i < t.len; i++)
		t.v[i].lacks = NO_M;
	check_told(&t, LACK_MULTICAST, true,
		"h3 (fd00::3), h4 (fd00::4), h5 (fd00::5), h6 (fd00::6), h7 (fd00::7), "
		"h8 (fd00::8), h9 (fd00::9), h10 (fd00::10) and 2 more are not reached");
	assert_false(probe_tell_healed(&t, &healed));
	t.v[0].lacks = 0;
	assert_true(probe_tell_healed(&t, &healed));
	assert_string_equal(buf_str(&healed), "h2 (fd00::2) is reached again");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(what_is_not_ours_is_passed_over),
		cmocka_unit_test(answers_have_a_rate),
		cmocka_unit_test(lacks),
		cmocka_unit_test(the_large_one_fits_both),
		cmocka_unit_test(once_is_chance),
		cmocka_unit_test(who_changes_is_new),
		cmocka_unit_test(sentences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
