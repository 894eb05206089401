#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/store/kv_fake.h"
#include "ucloud-otp/account.h"

#define NOW INT64_C(1700000010)

struct world {
	struct fake_etcd *etcd;
	struct accounts as;
	char *seed;
};

static int setup(void **state)
{
	struct err e;
	struct world *w = xcalloc(1, sizeof(*w));
	crypt_init();
	w->etcd = fake_etcd_new();
	w->as.kv = kv_fake_open(w->etcd);
	memset(w->as.key, 7, sizeof(w->as.key));
	*state = w;
	return account_add(&w->as, "customers", "bob", NULL, NOW, &w->seed, &e);
}

static int teardown(void **state)
{
	struct world *w = *state;
	kv_close(w->as.kv);
	fake_etcd_free(w->etcd);
	free(w->seed);
	free(w);
	return 0;
}

static enum account_answer ask(
	struct world *w, const char *name, int64_t token_time, bool once)
{
	char token[TOTP_STR_SIZE];
	struct err e;
	enum account_answer answer = ACCOUNT_OK;
	assert_int_equal(totp_make(w->seed, token_time, token, &e), 0);
	assert_int_equal(
		account_verify(&w->as, "customers", name, token, NOW, once, &answer, &e),
		0);
	return answer;
}

static void accepted_once(void **state)
{
	struct world *w = *state;
	assert_int_equal(ask(w, "bob", NOW, true), ACCOUNT_OK);
	assert_int_equal(ask(w, "bob", NOW, true), ACCOUNT_USED);
	/* An older token does not come back to life either, a newer one is fine. */
	assert_int_equal(ask(w, "bob", NOW - TOTP_STEP_SEC, true), ACCOUNT_USED);
	assert_int_equal(ask(w, "bob", NOW + TOTP_STEP_SEC, true), ACCOUNT_OK);
}

static void asker_may_repeat(void **state)
{
	struct world *w = *state;
	assert_int_equal(ask(w, "bob", NOW, false), ACCOUNT_OK);
	assert_int_equal(ask(w, "bob", NOW, false), ACCOUNT_OK);
}

static void drift(void **state)
{
	struct world *w = *state;
	assert_int_equal(ask(w, "bob", NOW - 2 * TOTP_STEP_SEC, true), ACCOUNT_WRONG);
	assert_int_equal(ask(w, "bob", NOW + 2 * TOTP_STEP_SEC, true), ACCOUNT_WRONG);
	assert_int_equal(ask(w, "bob", NOW - TOTP_STEP_SEC, true), ACCOUNT_OK);
	assert_int_equal(ask(w, "alice", NOW, true), ACCOUNT_UNKNOWN);
}

static void seed_is_sealed(void **state)
{
	struct world *w = *state;
	CLEANUP(kv_pair_done) struct kv_pair p = { 0 };
	struct err e;
	assert_int_equal(kv_get(w->as.kv, "/v1/otp/customers/bob", &p, NULL, &e), 0);
	assert_non_null(p.value);
	assert_null(strstr(p.value, w->seed));

	/* The same value under another name does not open: nobody becomes somebody else. */
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	kv_txn_put(t, "/v1/otp/customers/eve", p.value);
	assert_int_equal(kv_txn_commit(w->as.kv, t, NULL, &e), 0);
	w->as.key[0] ^= 1;
	enum account_answer answer;
	assert_true(account_verify(&w->as, "customers", "bob", "123456", NOW, true,
			    &answer, &e) < 0);
}

static void added_once_deleted_once(void **state)
{
	struct world *w = *state;
	struct err e;
	char *seed = NULL;
	assert_true(account_add(&w->as, "customers", "bob", NULL, NOW, &seed, &e) < 0);
	assert_int_equal(e.kind, ERR_EXISTS);
	assert_true(
		account_add(&w->as, "customers", "x", "not base32!", NOW, &seed, &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(account_delete(&w->as, "customers", "bob", &e), 0);
	assert_true(account_delete(&w->as, "customers", "bob", &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(ask(w, "bob", NOW, true), ACCOUNT_UNKNOWN);
}

/* The write's answer is lost, with and without effect. */
static int lose_answer(void *aux)
{
	int *how = aux;
	int r = *how;
	*how = 0;
	return r;
}

static void lost_answers(void **state)
{
	struct world *w = *state;
	int how = 2;
	struct kv_fault fault = { .on_write = lose_answer, .aux = &how };
	kv_fake_set_fault(w->as.kv, &fault);
	assert_int_equal(ask(w, "bob", NOW, true), ACCOUNT_OK);
	assert_int_equal(ask(w, "bob", NOW, true), ACCOUNT_USED);
	how = 3;
	assert_int_equal(ask(w, "bob", NOW + TOTP_STEP_SEC, true), ACCOUNT_OK);
	assert_int_equal(ask(w, "bob", NOW + TOTP_STEP_SEC, true), ACCOUNT_USED);
}

static void count(void *aux, const struct account *a, bool is_valid)
{
	int *n = aux;
	n[is_valid]++;
	assert_non_null(a->name);
}

static void list(void **state)
{
	struct world *w = *state;
	struct err e;
	int n[2] = { 0 };
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	kv_txn_put(t, "/v1/otp/customers/broken", "{");
	kv_txn_put(t, "/v1/otp/other/broken", "7");
	assert_int_equal(kv_txn_commit(w->as.kv, t, NULL, &e), 0);
	assert_int_equal(account_each(&w->as, "customers", count, n, &e), 0);
	assert_int_equal(n[true], 1);
	assert_int_equal(n[false], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(accepted_once, setup, teardown),
		cmocka_unit_test_setup_teardown(asker_may_repeat, setup, teardown),
		cmocka_unit_test_setup_teardown(drift, setup, teardown),
		cmocka_unit_test_setup_teardown(seed_is_sealed, setup, teardown),
		cmocka_unit_test_setup_teardown(added_once_deleted_once, setup, teardown),
		cmocka_unit_test_setup_teardown(lost_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(list, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
