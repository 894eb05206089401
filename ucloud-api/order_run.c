#include "ucloud-api/order_run.h"

#include <time.h>

#include "common/base/clock.h"
#include "common/base/crypt.h"

enum { TRIES = 20, LOOKS = 16, LIMIT_MSEC = 4000, CALM_TRIES = 3, PAUSE_MAX_MSEC = 16 };

int order_look(struct kv *kv, struct draft *d, order_fn *fn, void *aux, struct err *e)
{
	for (int i = 0; i < LOOKS; i++) {
		int r;

		draft_clear(d);
		r = fn(aux, d, e);
		if (r != DRAFT_MORE)
			return r;
		if (draft_read(d, kv, e) < 0)
			return -1;
	}
	return err_set(e, ERR_INTERNAL, "an order looked at the store %d times", LOOKS);
}

/* Somebody changes the same keys all the time: get out of step with them. */
static void pause_random(int try)
{
	struct timespec t = { 0 };

	if (try < CALM_TRIES)
		return;
	t.tv_nsec = (long)random_u32(PAUSE_MAX_MSEC * 1000 * 1000);
	nanosleep(&t, NULL);
}

int order_in_doubt(struct err *e)
{
	return err_set(e, ERR_UNAVAILABLE,
		"the store did not say whether the order was carried out: look before "
		"you repeat it, or repeat it with the same Idempotency-Key");
}

static int give_up(bool is_doubtful, struct err *e)
{
	if (is_doubtful)
		return order_in_doubt(e);
	return err_set(
		e, ERR_CONFLICT, "others change the same entry all the time: try again");
}

/* An error after an unknown outcome must not sound like "it did not happen". */
static int fail(bool is_doubtful, struct err *e)
{
	if (is_doubtful && err_is_passing(e->kind))
		return err_wrap(e, "it is not known whether the order was carried out");
	return -1;
}

int order_run(struct kv *kv, order_fn *fn, void *aux, bool is_doubtful, struct err *e)
{
	CLEANUP(draft_free_ptr) struct draft *d = draft_new();
	int64_t end = clock_mono_msec() + LIMIT_MSEC;

	draft_set_careful(d, true);
	for (int try = 0; try < TRIES && clock_mono_msec() < end; try++) {
		int r;

		if (is_doubtful)
			draft_set_doubtful(d);
		r = order_look(kv, d, fn, aux, e);
		if (r == 0)
			r = draft_commit(d, kv, NULL, e);
		else if (r > 0)
			return r;
		if (r < 0)
			return fail(is_doubtful, e);
		if (r == 0)
			return 0;
		is_doubtful |= r == KV_UNKNOWN;
		draft_forget(d);
		pause_random(try);
	}
	return give_up(is_doubtful, e);
}
