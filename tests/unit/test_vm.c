#include "common/model/vm.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/parse.h"

#define U  "123e4567-e89b-42d3-a456-426614174000"
#define U2 "00000000-0000-4000-8000-000000000002"
#define KEY                                                                              \
	"ssh-ed25519 "                                                                   \
	"AAAAC3NzaC1lZDI1NTE5AAAAIGUJm2Ci8y7tiGF0nkYQQNSJqMmF4p5xq1m8f4pT3mRk"

#define NEEDED                                                                           \
	"\"uuid\":\"" U "\",\"name\":\"web\",\"owner\":\"nico\",\"owner_realm\":\"R\","  \
	"\"specs\":{\"cpu\":1,\"ram_mib\":512},\"want\":\"running\","                    \
	"\"status\":\"REQUESTED_NEW\""
#define MINIMAL "{" NEEDED "}"

/* Every member, in the order in which it is written. */
#define FULL                                                                             \
	"{\"uuid\":\"" U "\",\"name\":\"web\",\"owner\":\"nico\",\"owner_realm\":\"R\"," \
	"\"specs\":{\"cpu\":2,\"ram_mib\":2048,\"disks\":[{\"index\":0,"                 \
	"\"size_gib\":20},"                                                              \
	"{\"index\":2,\"size_gib\":100,\"class\":\"hdd\",\"later\":1}],\"later\":{"      \
	"\"a\":2}},"                                                                     \
	"\"labels\":{\"app\":\"db\"},"                                                   \
	"\"affinity\":{\"host_labels\":{\"rack\":\"r1\"},\"near\":{\"app\":\"web\"},"    \
	"\"apart\":{\"app\":\"db\"},\"later\":[3]},"                                     \
	"\"image_uuid\":\"" U2 "\",\"store\":\"local\","                                 \
	"\"networks\":[{\"network\":\"" U2 "\",\"mac\":\"42:00:0a:1b:2c:3d\","           \
	"\"address\":\"2001:db8::1\",\"later\":\"4\"}],"                                 \
	"\"ssh_keys\":[\"" KEY "\"],\"user_data\":\"#cloud-config\\n\\tx: 1\\n\","       \
	"\"want\":\"running\",\"status\":\"RUNNING\",\"hostname\":\"h1\","               \
	"\"disk_host\":\"h1\",\"was_placed\":true,\"in_migration\":true,"                \
	"\"created\":\"2001-09-09T01:46:40Z\",\"boot\":3,\"n_crashes\":1,"               \
	"\"last_crash\":\"2001-09-09T01:46:41Z\","                                       \
	"\"last_start\":\"2001-09-09T01:46:42Z\",\"why\":\"most room\","                 \
	"\"log\":[{\"time\":\"2001-09-09T01:46:40Z\",\"text\":\"created\",\"later\":"    \
	"true}],"                                                                        \
	"\"later\":{\"x\":[1]}}"

static struct vm parsed(const char *text)
{
	struct vm vm = { 0 };
	struct err e = { 0 };

	if (vm_parse(text, strlen(text), &vm, &e) != 0)
		fail_msg("%s: %s", e.msg, text);
	return vm;
}

static void full_round_trip(void **state)
{
	CLEANUP(vm_done) struct vm vm = parsed(FULL);
	CLEANUP_STR char *text = vm_format(&vm);
	(void)state;

	assert_string_equal(text, FULL);
	assert_int_equal(vm_disk_gib(&vm), 120);
	assert_int_equal(vm.status, VM_RUNNING);
	assert_int_equal(vm.boot, 3);
	assert_string_equal(vm.user_data, "#cloud-config\n\tx: 1\n");
}

static void minimal_one(void **state)
{
	CLEANUP(vm_done) struct vm vm = parsed(MINIMAL);
	CLEANUP_STR char *text = vm_format(&vm);
	(void)state;

	assert_false(vm_has_host(&vm));
	assert_int_equal(vm_disk_gib(&vm), 0);
	assert_string_equal(text,
		"{\"uuid\":\"" U "\",\"name\":\"web\",\"owner\":\"nico\","
		"\"owner_realm\":\"R\",\"specs\":{\"cpu\":1,\"ram_mib\":512,\"disks\":[]}"
		","
		"\"image_uuid\":\"\",\"store\":\"\",\"networks\":[],\"ssh_keys\":[],"
		"\"want\":\"running\",\"status\":\"REQUESTED_NEW\",\"hostname\":\"\","
		"\"disk_host\":\"\",\"log\":[]}");
}

static void copy_shares_nothing(void **state)
{
	CLEANUP(vm_done) struct vm vm = parsed(FULL);
	struct vm copy = { 0 };
	(void)state;

	vm_copy(&vm, &copy);
	vm_done(&vm);
	CLEANUP_STR char *text = vm_format(&copy);
	assert_string_equal(text, FULL);
	vm_done(&copy);
	vm_done(&copy);
}

/* Each a member that replaces or joins the needed ones, and the field that is named. */
static const struct {
	const char *text, *field;
} bad[] = {
	{ "{}", "uuid" },
	{ "{" NEEDED ",\"labels\":[]}", "labels" },
	{ "{" NEEDED ",\"labels\":{\"a b\":\"c\"}}", "labels" },
	{ "{" NEEDED ",\"labels\":{\"a\":1}}", "labels" },
	{ "{" NEEDED ",\"affinity\":{\"near\":{\"a\":\"/\"}}}", "affinity.near" },
	{ "{" NEEDED ",\"affinity\":{\"apart\":7}}", "affinity.apart" },
	{ "{" NEEDED ",\"affinity\":{\"host_labels\":{\"\":\"\"}}}",
		"affinity.host_labels" },
	{ "{" NEEDED ",\"hostname\":\"a/b\"}", "hostname" },
	{ "{" NEEDED ",\"disk_host\":\"-\"}", "disk_host" },
	{ "{" NEEDED ",\"image_uuid\":\"x\"}", "image_uuid" },
	{ "{" NEEDED ",\"store\":\"../x\"}", "store" },
	{ "{" NEEDED ",\"ssh_keys\":[\"ssh-rsa x\"]}", "ssh_keys[0]" },
	{ "{" NEEDED ",\"networks\":[{}]}", "networks[0].network" },
	{ "{" NEEDED ",\"networks\":[{\"network\":\"" U "\",\"mac\":\"x\"}]}",
		"networks[0].mac" },
	{ "{" NEEDED ",\"boot\":-1}", "boot" },
	{ "{" NEEDED ",\"log\":[{\"text\":\"a\\nb\"}]}", "log[0].text" },
};

static void bad_ones(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct vm vm = { .boot = 77 };
		struct err e = { 0 };

		if (vm_parse(bad[i].text, strlen(bad[i].text), &vm, &e) == 0)
			fail_msg("accepted: %s", bad[i].text);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_string_equal(e.field, bad[i].field);
		assert_int_equal(vm.boot, 77);
	}
}

/* What is needed may be neither missing nor empty: keys are made of it. */
static void needed_members(void **state)
{
	static const char *const names[] = { "uuid", "name", "owner", "owner_realm",
		"specs", "want", "status", NULL };
	(void)state;

	for (const char *const *name = names; *name; name++) {
		CLEANUP(json_decref_ptr) json_t *json = json_loads(MINIMAL, 0, NULL);
		struct err e = { 0 };

		json_object_set_new(json, *name, json_string(""));
		assert_null(vm_parse_item(U, json, &e));
		assert_string_equal(e.field, *name);
		json_object_del(json, *name);
		assert_null(vm_parse_item(U, json, &e));
		assert_string_equal(e.field, *name);
	}
}

static void spec_limits(void **state)
{
	static const char *const refused[] = { "{\"cpu\":0,\"ram_mib\":512}",
		"{\"cpu\":257,\"ram_mib\":512}", "{\"cpu\":1,\"ram_mib\":15}",
		"{\"cpu\":1,\"ram_mib\":16777217}", "{\"cpu\":1.0,\"ram_mib\":512}",
		"{\"cpu\":1}", "{\"ram_mib\":512}",
		"{\"cpu\":1,\"ram_mib\":512,\"disks\":[{}]}",
		"{\"cpu\":1,\"ram_mib\":512,\"disks\":[{\"size_gib\":0}]}",
		"{\"cpu\":1,\"ram_mib\":512,\"disks\":[{\"size_gib\":65537}]}",
		"{\"cpu\":1,\"ram_mib\":512,\"disks\":[{\"size_gib\":1,\"class\":\"A\"}]"
		"}",
		NULL };
	(void)state;

	for (const char *const *r = refused; *r; r++) {
		CLEANUP_STR char *text = xstrdup(*r);
		struct vm_specs specs = { 0 };
		struct err e = { 0 };

		if (jtab_parse_text(&vm_specs_jtab, text, strlen(text), JTAB_INPUT,
			    &specs, &e) == 0)
			fail_msg("accepted: %s", *r);
	}
}

static void item_must_fit_its_key(void **state)
{
	CLEANUP(json_decref_ptr) json_t *json = json_loads(MINIMAL, 0, NULL);
	struct err e = { 0 };
	struct vm *vm = vm_parse_item(U, json, &e);
	(void)state;

	assert_non_null(vm);
	vm_free_item(vm);
	assert_null(vm_parse_item(U2, json, &e));
	assert_int_equal(e.kind, ERR_INVALID);
	assert_null(vm_parse_item("", json, &e));
	assert_null(vm_parse_item("x/" U, json, &e));
	vm_free_item(NULL);
}

static const char *log_text(const struct vm *vm, size_t i)
{
	const struct vm_log_line *line = jtab_list_at(&vm_log_jtab, &vm->log, i);

	return line->text;
}

static void log_keeps_the_newest(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	(void)state;

	for (int i = 0; i < 25; i++)
		vm_log(&vm, 1000 + i, "line %d", i);
	assert_int_equal(vm.log.len, VM_LOG_MAX);
	assert_string_equal(log_text(&vm, 0), "line 5");
	assert_string_equal(log_text(&vm, 19), "line 24");
	vm_log(&vm, 2000, "line %d", 24);
	assert_int_equal(vm.log.len, VM_LOG_MAX);
	assert_string_equal(log_text(&vm, 18), "line 23");
	vm_log(&vm, 2001, "line 23");
	assert_string_equal(log_text(&vm, 19), "line 23");
}

/* An entry written by a version that keeps more lines is cut when a line is added. */
static void log_of_another_version(void **state)
{
	struct buf b = { 0 };
	(void)state;

	buf_add_str(&b, "{" NEEDED ",\"log\":[");
	for (int i = 0; i < 30; i++)
		buf_addf(&b, "%s{\"text\":\"l%d\"}", i ? "," : "", i);
	buf_add_str(&b, "]}");
	CLEANUP(vm_done) struct vm vm = parsed(b.s);
	buf_done(&b);
	assert_int_equal(vm.log.len, 30);
	vm_log(&vm, 1, "new");
	assert_int_equal(vm.log.len, VM_LOG_MAX);
	assert_string_equal(log_text(&vm, 0), "l11");
	assert_string_equal(log_text(&vm, 19), "new");
}

static void log_is_one_line_of_text(void **state)
{
	CLEANUP(vm_done) struct vm vm = parsed(MINIMAL);
	(void)state;

	vm_log(&vm, 1, "a\nb\r\tc\x01\x7f\xff\xc2\x85%s", "\xc3\xa9");
	CLEANUP_STR char *text = vm_format(&vm);
	CLEANUP(vm_done) struct vm again = parsed(text);
	const char *line = log_text(&again, 0);
	assert_true(str_is_text(line, strlen(line), false));
	assert_true(str_has_prefix(line, "a b  c"));
	assert_true(str_has_suffix(line, "\xc3\xa9"));
}

static void log_is_cut_between_characters(void **state)
{
	struct buf b = { 0 };
	(void)state;

	for (int shift = 0; shift < 4; shift++) {
		CLEANUP(vm_done) struct vm vm = { 0 };

		buf_clear(&b);
		for (int i = 0; i < shift; i++)
			buf_add_char(&b, 'x');
		while (b.size < 3000)
			buf_add_str(&b, "\xf0\x9f\x98\x80");
		vm_log(&vm, 1, "%s", b.s);
		vm_log(&vm, 1, "%s", b.s); /* the same after the cut: not again */
		assert_int_equal(vm.log.len, 1);
		const char *line = log_text(&vm, 0);
		assert_true(str_is_text(line, strlen(line), false));
		assert_in_range(strlen(line), 497, 500);
	}
	buf_done(&b);
}

/* Rows and columns in the order of enum vm_status:
 *			N S R s T A M D K E	(s REQUESTED_SHUTDOWN, T STOPPED, A REQUESTED_START) */
static const char *const legal[VM_N_STATUS] = {
	[VM_REQUESTED_NEW] = ".S..T..D.E",
	[VM_SCHEDULED] = "..RsT..DKE",
	[VM_RUNNING] = "...sT.MDKE",
	[VM_REQUESTED_SHUTDOWN] = "...sT..DKE",
	[VM_STOPPED] = "....TA.D.E",
	[VM_REQUESTED_START] = ".S..T..D.E",
	[VM_REQUESTED_MIGRATE] = "..RsT..DKE",
	[VM_REQUESTED_DELETE] = ".......D.E",
	[VM_KILLED] = ".SRsTA.DKE",
	[VM_ERROR] = ".SRsTA.D.E",
};

static void legal_moves(void **state)
{
	(void)state;
	for (int from = 0; from < VM_N_STATUS; from++)
		for (int to = 0; to < VM_N_STATUS; to++)
			if (vm_may_move(from, to) != (legal[from][to] != '.'))
				fail_msg("%s -> %s", vm_status_names[from],
					vm_status_names[to]);
	assert_false(vm_may_move(VM_N_STATUS, VM_ERROR));
	assert_false(vm_may_move(VM_ERROR, VM_N_STATUS));
	assert_null(vm_status_names[VM_N_STATUS]);
}

/* The status changes in the table of transactions of docs/architecture.md. */
static void every_transaction_is_legal(void **state)
{
	static const struct {
		const char *step;
		enum vm_status from, to;
	} steps[] = {
		{ "place", VM_REQUESTED_NEW, VM_SCHEDULED },
		{ "place", VM_REQUESTED_START, VM_SCHEDULED },
		{ "place again", VM_KILLED, VM_SCHEDULED },
		{ "runs", VM_SCHEDULED, VM_RUNNING },
		{ "runs, host back", VM_KILLED, VM_RUNNING },
		{ "start", VM_STOPPED, VM_REQUESTED_START },
		{ "start", VM_ERROR, VM_REQUESTED_START },
		{ "start with a host", VM_ERROR, VM_SCHEDULED },
		{ "start with a host", VM_KILLED, VM_SCHEDULED },
		{ "stop", VM_SCHEDULED, VM_REQUESTED_SHUTDOWN },
		{ "stop", VM_RUNNING, VM_REQUESTED_SHUTDOWN },
		{ "stop", VM_KILLED, VM_REQUESTED_SHUTDOWN },
		{ "stop", VM_ERROR, VM_REQUESTED_SHUTDOWN },
		{ "stop with force", VM_REQUESTED_SHUTDOWN, VM_REQUESTED_SHUTDOWN },
		{ "stop while waiting", VM_REQUESTED_NEW, VM_STOPPED },
		{ "stop while waiting", VM_REQUESTED_START, VM_STOPPED },
		{ "stop while waiting", VM_KILLED, VM_STOPPED },
		{ "stopped", VM_REQUESTED_SHUTDOWN, VM_STOPPED },
		{ "powered off", VM_RUNNING, VM_STOPPED },
		{ "powered off before RUNNING was written", VM_SCHEDULED, VM_STOPPED },
		{ "QEMU died", VM_RUNNING, VM_KILLED },
		{ "QEMU died", VM_SCHEDULED, VM_KILLED },
		{ "host dead", VM_KILLED, VM_KILLED },
		{ "host dead", VM_REQUESTED_MIGRATE, VM_KILLED },
		{ "host dead", VM_REQUESTED_SHUTDOWN, VM_KILLED },
		{ "delete again", VM_REQUESTED_DELETE, VM_REQUESTED_DELETE },
		{ "delete gave up", VM_REQUESTED_DELETE, VM_ERROR },
	};
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(steps); i++)
		if (!vm_may_move(steps[i].from, steps[i].to))
			fail_msg("%s: %s -> %s", steps[i].step,
				vm_status_names[steps[i].from],
				vm_status_names[steps[i].to]);
	for (int from = 0; from < VM_N_STATUS; from++) {
		assert_true(vm_may_move(from, VM_REQUESTED_DELETE));
		assert_true(vm_may_move(from, VM_ERROR));
	}
}

static void move_sets_or_aborts(void **state)
{
	struct vm vm = { .status = VM_REQUESTED_NEW };
	int status = 0;
	pid_t pid;
	(void)state;

	vm_move(&vm, VM_SCHEDULED);
	assert_int_equal(vm.status, VM_SCHEDULED);
	pid = fork();
	if (pid == 0) {
		signal(SIGABRT, SIG_DFL); /* cmocka catches it */
		close(STDERR_FILENO);
		vm_move(&vm, VM_SCHEDULED);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void uses_its_host(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	(void)state;

	for (int status = 0; status < VM_N_STATUS; status++) {
		vm.status = status;
		str_set(&vm.hostname, xstrdup("h1"));
		assert_int_equal(vm_uses_host(&vm),
			status != VM_REQUESTED_NEW && status != VM_REQUESTED_START &&
				status != VM_STOPPED);
		vm_release_host(&vm);
		assert_false(vm_has_host(&vm));
		assert_false(vm_uses_host(&vm));
	}
}

static void labels_are_checked(void **state)
{
	CLEANUP(json_decref_ptr) json_t *labels = json_object();
	struct err e = { 0 };
	(void)state;

	assert_int_equal(labels_check(NULL, &e), 0);
	for (int i = 0; i < 32; i++) {
		CLEANUP_STR char *name = xasprintf("l%d", i);

		json_object_set_new(labels, name, json_string(i ? "v" : ""));
	}
	assert_int_equal(labels_check(labels, &e), 0);
	json_object_set_new(labels, "one-more", json_string("v"));
	assert_int_equal(labels_check(labels, &e), -1);
	assert_string_equal(e.msg, "at most 32 labels, not 33");
}

static bool match(const char *have, const char *need)
{
	CLEANUP(json_decref_ptr) json_t *h = have ? json_loads(have, 0, NULL) : NULL;
	CLEANUP(json_decref_ptr) json_t *n = need ? json_loads(need, 0, NULL) : NULL;

	return labels_match(h, n);
}

static void labels_match_when_all_are_there(void **state)
{
	(void)state;
	assert_true(match(NULL, NULL));
	assert_true(match("{\"a\":\"1\"}", NULL));
	assert_true(match(NULL, "{}"));
	assert_true(match("{\"a\":\"1\",\"b\":\"2\"}", "{\"b\":\"2\"}"));
	assert_false(match(NULL, "{\"a\":\"1\"}"));
	assert_false(match("{\"a\":\"1\"}", "{\"a\":\"2\"}"));
	assert_false(match("{\"a\":\"1\"}", "{\"a\":\"1\",\"b\":\"2\"}"));
}

#define WITH_DISKS(disks)                                                                \
	"{\"uuid\":\"" U "\",\"name\":\"web\",\"owner\":\"nico\","                       \
	"\"owner_realm\":\"R\",\"specs\":{\"cpu\":1,\"ram_mib\":512,\"disks\":[" disks   \
	"]},\"want\":\"running\",\"status\":\"REQUESTED_NEW\"}"

/* Entries of version 0.1.0: the place in the list was the index, and is what the names of
 * disks were made of. */
static void disks_without_indices(void **state)
{
	CLEANUP(vm_done)
	struct vm vm = parsed(WITH_DISKS("{\"size_gib\":10},{\"size_gib\":20,\"class\":"
					 "\"hdd\"},{\"size_gib\":30}"));
	const struct vm_disk *disk = vm.specs.disks.v;
	(void)state;

	assert_int_equal(vm.specs.disks.len, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(disk[i].index, i);
		assert_int_equal(disk[i].size_gib, 10 * (i + 1));
		assert_ptr_equal(vm_find_disk(&vm, (int64_t)i), &disk[i]);
	}
	/* Written again, they have them. */
	CLEANUP_STR char *text = vm_format(&vm);
	assert_non_null(strstr(text, "{\"index\":2,\"size_gib\":30}"));
	CLEANUP(vm_done) struct vm again = parsed(text);
	CLEANUP_STR char *same = vm_format(&again);
	assert_string_equal(same, text);
}

static void one_disk_is_the_first(void **state)
{
	CLEANUP(vm_done) struct vm vm = parsed(WITH_DISKS("{\"size_gib\":10}"));
	CLEANUP(vm_done) struct vm none = parsed(WITH_DISKS(""));
	(void)state;

	assert_int_equal(((struct vm_disk *)vm.specs.disks.v)[0].index, 0);
	assert_int_equal(none.specs.disks.len, 0);
}

/* As soon as one has an index, all have: those that were detached leave gaps. */
static void disks_with_indices(void **state)
{
	static const char *const wrong[] = {
		WITH_DISKS("{\"index\":1,\"size_gib\":1}"),
		WITH_DISKS("{\"index\":-1,\"size_gib\":1}"),
		WITH_DISKS(
			"{\"size_gib\":1},{\"size_gib\":1},{\"index\":2,\"size_gib\":1}"),
		WITH_DISKS("{\"size_gib\":1},{\"index\":3,\"size_gib\":1},"
			   "{\"index\":3,\"size_gib\":1}"),
		WITH_DISKS("{\"size_gib\":1},{\"index\":3,\"size_gib\":1},"
			   "{\"index\":2,\"size_gib\":1}"),
	};
	CLEANUP(vm_done)
	struct vm vm = parsed(WITH_DISKS("{\"index\":0,\"size_gib\":1},{\"index\":5,"
					 "\"size_gib\":2}"));
	(void)state;

	assert_int_equal(vm_find_disk(&vm, 5)->size_gib, 2);
	assert_null(vm_find_disk(&vm, 1));
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct vm other = { .boot = 77 };
		struct err e = { 0 };

		if (vm_parse(wrong[i], strlen(wrong[i]), &other, &e) == 0)
			fail_msg("accepted: %s", wrong[i]);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_true(str_has_prefix(e.field, "specs.disks"));
		assert_int_equal(other.boot, 77);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_round_trip),
		cmocka_unit_test(minimal_one),
		cmocka_unit_test(copy_shares_nothing),
		cmocka_unit_test(bad_ones),
		cmocka_unit_test(needed_members),
		cmocka_unit_test(spec_limits),
		cmocka_unit_test(item_must_fit_its_key),
		cmocka_unit_test(log_keeps_the_newest),
		cmocka_unit_test(log_of_another_version),
		cmocka_unit_test(log_is_one_line_of_text),
		cmocka_unit_test(log_is_cut_between_characters),
		cmocka_unit_test(legal_moves),
		cmocka_unit_test(every_transaction_is_legal),
		cmocka_unit_test(move_sets_or_aborts),
		cmocka_unit_test(uses_its_host),
		cmocka_unit_test(labels_are_checked),
		cmocka_unit_test(labels_match_when_all_are_there),
		cmocka_unit_test(disks_without_indices),
		cmocka_unit_test(one_disk_is_the_first),
		cmocka_unit_test(disks_with_indices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
