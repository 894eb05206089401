#include "ucloud-scheduler/pend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "ucloud-scheduler/brief.h"
#include "ucloud-scheduler/dirty.h"
#include "ucloud-scheduler/intern.h"

static struct request at(int64_t created)
{
	return (struct request){ .type = REQ_SCHEDULE_VM, .created = created };
}

static void test_order(void **state)
{
	struct pends ps = { 0 };
	struct request r3 = at(3), r1 = at(1), r2 = at(2);
	static const char *const want[] = { "c", "a", "b", "d" };

	(void)state;
	pends_put(&ps, "d", &r3, 10, 0);
	pends_put(&ps, "c", &r1, 11, 0);
	pends_put(&ps, "b", &r2, 12, 0);
	pends_put(&ps, "a", &r2, 13, 0);
	pends_sort(&ps);
	assert_int_equal(pends_len(&ps), 4);
	for (size_t i = 0; i < 4; i++)
		assert_string_equal(ps.v[i]->uuid, want[i]);
	pends_done(&ps);
	pends_done(&ps);
}

static void test_put_again(void **state)
{
	struct pends ps = { 0 };
	struct request r = at(100);

	(void)state;
	pends_put(&ps, "a", &r, 10, 50);
	struct pend *p = pends_find(&ps, "a");
	assert_int_equal(p->deadline, 150);
	p->is_news = false;
	p->is_done = true;
	/* The same revision is no news; a new one is a new request. */
	pends_put(&ps, "a", &r, 10, 50);
	assert_false(p->is_news);
	r.deadline = 120;
	r.not_before = 110;
	pends_put(&ps, "a", &r, 11, 50);
	assert_ptr_equal(pends_find(&ps, "a"), p);
	assert_true(p->is_news);
	assert_false(p->is_done);
	assert_int_equal(p->deadline, 120);
	assert_int_equal(p->not_before, 110);
	assert_int_equal(pends_len(&ps), 1);
	pends_done(&ps);
}

static void test_no_deadline(void **state)
{
	struct pends ps = { 0 };
	struct request r = at(100), timeless = at(0);

	(void)state;
	pends_put(&ps, "a", &r, 10, 0);
	pends_put(&ps, "b", &timeless, 10, 50);
	assert_int_equal(pends_find(&ps, "a")->deadline, 0);
	assert_int_equal(pends_find(&ps, "b")->deadline, 0);
	pends_done(&ps);
}

static void test_del(void **state)
{
	struct pends ps = { 0 };
	struct request r = at(1);

	(void)state;
	for (int i = 0; i < 1000; i++) {
		char name[16];
		snprintf(name, sizeof(name), "vm%03d", i);
		pends_put(&ps, name, &r, 1, 0);
	}
	for (int i = 0; i < 900; i++) {
		char name[16];
		snprintf(name, sizeof(name), "vm%03d", i);
		pends_del(&ps, name);
		pends_del(&ps, name);
	}
	assert_int_equal(pends_len(&ps), 100);
	pends_sort(&ps);
	assert_int_equal(ps.len, 100);
	assert_int_equal(pends_len(&ps), 100);
	assert_string_equal(ps.v[0]->uuid, "vm900");
	/* One that comes back is another one. */
	pends_put(&ps, "vm000", &r, 2, 0);
	pends_sort(&ps);
	assert_string_equal(ps.v[0]->uuid, "vm000");
	pends_done(&ps);
}

static void test_backoff(void **state)
{
	static const int64_t want[] = { 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000 };
	struct pend p = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		pend_failed(&p, 1000);
		assert_int_equal(p.retry_msec, 1000 + want[i]);
	}
}

static void test_dirty(void **state)
{
	struct dirty *d = dirty_new();

	(void)state;
	assert_false(dirty_add(d, DIRTY_VM, "a"));
	dirty_begin(d);
	assert_null(dirty_take(d));
	assert_true(dirty_add(d, DIRTY_VM, "a"));
	assert_true(dirty_add(d, DIRTY_HOST, "a"));
	assert_true(dirty_add(d, DIRTY_VM, "a"));
	struct dirty_name *list = dirty_take(d);
	assert_int_equal(list->kind, DIRTY_VM);
	assert_string_equal(list->name, "a");
	assert_int_equal(list->next->kind, DIRTY_HOST);
	assert_null(list->next->next);
	dirty_names_free(list);
	assert_null(dirty_take(d));
	assert_true(dirty_add(d, DIRTY_VM, "b"));
	dirty_end(d);
	assert_null(dirty_take(d));
	assert_false(dirty_add(d, DIRTY_VM, "b"));
	dirty_begin(d);
	assert_true(dirty_add(d, DIRTY_VM, "c"));
	dirty_free(d);
}

static void test_intern(void **state)
{
	struct intern in = { 0 };

	(void)state;
	assert_int_equal(intern_id(&in, ""), 0);
	assert_int_equal(intern_id(&in, NULL), 0);
	assert_int_equal(intern_find(&in, "a"), 0);
	assert_int_equal(intern_id(&in, "a"), 1);
	assert_int_equal(intern_id(&in, "b"), 2);
	assert_int_equal(intern_id(&in, "a"), 1);
	assert_int_equal(intern_find(&in, "b"), 2);
	assert_string_equal(intern_str(&in, 2), "b");
	assert_string_equal(intern_str(&in, 0), "");
	for (int i = 0; i < 1000; i++) {
		char name[16];
		snprintf(name, sizeof(name), "x%d", i);
		assert_int_equal(intern_id(&in, name), 3 + i);
	}
	intern_done(&in);
	intern_done(&in);
}

static void test_brief(void **state)
{
	struct vm vm = { .owner = xstrdup("alice"),
		.owner_realm = xstrdup("r"),
		.store = xstrdup("s"),
		.why = xstrdup("because"),
		.status = VM_KILLED };

	(void)state;
	vm.specs.cpu = 3;
	vm.specs.ram_mib = 5;
	vm.labels = json_pack("{s:s, s:s}", "b", "2", "a", "1");
	struct vm_brief *b = brief_new(&vm, "{\"x\":1}");
	assert_int_equal(b->cpu, 3);
	assert_int_equal(b->ram_mib, 5);
	assert_string_equal(b->owner, "r/alice");
	assert_string_equal(b->labels, "a=1\nb=2\n");
	assert_string_equal(b->apart, "");
	assert_string_equal(b->hostname, "");
	/* It waits: what is to be rewritten is kept. */
	assert_true(brief_is_waiting(b));
	assert_string_equal(b->value, "{\"x\":1}");
	assert_string_equal(b->why, "because");
	assert_false(b->was_placed);
	brief_free(b);
	vm.hostname = xstrdup("h1");
	b = brief_new(&vm, "{\"x\":1}");
	assert_false(brief_is_waiting(b));
	assert_string_equal(b->value, "");
	assert_string_equal(b->hostname, "h1");
	assert_true(b->was_placed && b->uses_host);
	brief_free(b);
	vm_done(&vm);
}

/* What says that a VM may have disks somewhere. */
static void test_was_placed(void **state)
{
	struct vm vm = { 0 };

	(void)state;
	assert_false(vm_was_placed(&vm));
	vm_log(&vm, 1, "created");
	assert_false(vm_was_placed(&vm));
	vm.was_placed = true;
	assert_true(vm_was_placed(&vm));
	vm_done(&vm);
	vm.last_start = 1;
	assert_true(vm_was_placed(&vm));
	vm_done(&vm);
	vm.n_crashes = 1;
	assert_true(vm_was_placed(&vm));
	vm_done(&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_put_again),
		cmocka_unit_test(test_no_deadline),
		cmocka_unit_test(test_del),
		cmocka_unit_test(test_backoff),
		cmocka_unit_test(test_dirty),
		cmocka_unit_test(test_intern),
		cmocka_unit_test(test_brief),
		cmocka_unit_test(test_was_placed),
	};

	return cmocka_run_group_tests_name("pend", tests, NULL, NULL);
}
