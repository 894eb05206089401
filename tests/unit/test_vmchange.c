#include "ucloud-host/vmchange.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"

#define GIB (INT64_C(1) << 30)
#define NOW 1000000

/* A VM and what there is: as texts, so that a row of a table says it all. */
struct given {
	struct vm vm;
	struct vmchange_world w;
};

/* "0:10 1:5L": disk 0 of 10 GiB, disk 1 of 5, which leaves; F: to be flattened. */
static void give_disks(struct vm *vm, const char *text)
{
	CLEANUP(strv_done) struct strv words = { 0 };

	strv_split(&words, text, ' ');
	for (size_t i = 0; i < words.len; i++) {
		struct vm_disk *d = jtab_list_add(&vm_disk_jtab, &vm->specs.disks);
		int index = 0, size = 0;

		assert_int_equal(sscanf(words.v[i], "%d:%d", &index, &size), 2);
		d->index = index;
		d->size_gib = size;
		d->is_leaving = strchr(words.v[i], 'L') != NULL;
		d->is_flatten = strchr(words.v[i], 'F') != NULL;
	}
}

/* "a=ready b=creating" */
static void give_snapshots(struct vm *vm, const char *text)
{
	CLEANUP(strv_done) struct strv words = { 0 };

	strv_split(&words, text, ' ');
	for (size_t i = 0; *text != '\0' && i < words.len; i++) {
		struct vm_snapshot *s = jtab_list_add(&vm_snapshot_jtab, &vm->snapshots);
		const char *eq = strchr(words.v[i], '=');

		s->name = xstrndup(words.v[i], (size_t)(eq - words.v[i]));
		s->state = names_find(vm_snapshot_state_names, eq + 1);
		assert_true(s->state >= 0);
	}
}

/* "0:10a/x,y 1:5": disk 0 of 10 GiB, attached, with snapshots x and y. */
static void give_world(struct vmchange_world *w, const char *text)
{
	CLEANUP(strv_done) struct strv words = { 0 };

	strv_split(&words, text, ' ');
	for (size_t i = 0; *text != '\0' && i < words.len; i++) {
		const char *slash = strchr(words.v[i], '/');
		struct vmchange_disk *d;
		int index = 0, size = 0;

		assert_int_equal(sscanf(words.v[i], "%d:%d", &index, &size), 2);
		d = &w->disks[index];
		d->exists = size > 0;
		d->size_bytes = size * GIB;
		d->is_attached = strchr(words.v[i], 'a') != NULL &&
				 (slash == NULL || strchr(words.v[i], 'a') < slash);
		d->seen_bytes = d->is_attached ? d->size_bytes : 0;
		if (slash != NULL)
			strv_split(&d->snapshots, slash + 1, ',');
	}
}

/* "1 2L": interfaces 02:00:00:00:00:01 and ...:02, which leaves. */
static void give_nics(struct vm *vm, const char *text)
{
	CLEANUP(strv_done) struct strv words = { 0 };

	strv_split(&words, text, ' ');
	for (size_t i = 0; *text != '\0' && i < words.len; i++) {
		struct vm_nic *nic = jtab_list_add(&vm_nic_jtab, &vm->networks);

		nic->mac = xasprintf("02:00:00:00:00:0%c", words.v[i][0]);
		nic->is_leaving = strchr(words.v[i], 'L') != NULL;
	}
}

static void give(struct given *g, const char *disks, const char *snapshots, bool is_on,
	bool is_live_ok, const char *world)
{
	memset(g, 0, sizeof(*g));
	g->vm.uuid = xstrdup("0b5f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a10");
	g->vm.store = xstrdup("ssd");
	give_disks(&g->vm, disks);
	give_snapshots(&g->vm, snapshots);
	g->w.is_on = is_on;
	g->w.is_live_ok = is_live_ok;
	give_world(&g->w, world);
}

static void done(struct given *g)
{
	vm_done(&g->vm);
	vmchange_world_done(&g->w);
}

/* "detach1 remove1 snapshot3!x": "!" the hypervisor does it. */
static char *plan_text(const struct vmchange_plan *p)
{
	struct buf b = { 0 };

	for (size_t i = 0; i < p->len; i++) {
		const struct vmchange_step *s = &p->v[i];
		bool is_snapshot = s->op == VMCHANGE_SNAPSHOT;

		if (s->mac != NULL) {
			buf_addf(&b, "%s%s:%s", i > 0 ? " " : "",
				vmchange_op_names[s->op], s->mac + strlen(s->mac) - 1);
			continue;
		}

		buf_addf(&b, "%s%s%u%s%s", i > 0 ? " " : "", vmchange_op_names[s->op],
			is_snapshot ? s->disks : s->index,
			s->is_live || s->live_disks != 0 ? "!" : "",
			s->snapshot != NULL ? s->snapshot : "");
		if (is_snapshot && s->live_disks != 0)
			assert_int_equal(s->live_disks, s->disks);
	}
	return buf_take(&b);
}

struct row {
	const char *disks, *snapshots;
	bool is_on, is_live_ok;
	const char *world, *want; /* want NULL: it fails */
};

/* clang-format off */
static const struct row rows[] = {
	/* As ordered. */
	{ "0:10", "", false, false, "0:10", "" },
	{ "0:10 2:5", "a=ready", true, false, "0:10a/a 2:5a/a", "" },
	/* Stopped: new, too small, leaving. */
	{ "0:10 1:5", "", false, false, "0:10", "make1" },
	{ "0:20 1:5", "", false, false, "0:10 1:5", "grow0" },
	{ "0:10 1:5L", "", false, false, "0:10 1:5", "remove1" },
	{ "0:10 1:5L", "", false, false, "0:10", "remove1" },
	/* Running: QEMU has them open. */
	{ "0:10 1:5", "", true, false, "0:10a", "make1 attach1" },
	{ "0:10 1:5", "", true, false, "0:10a 1:5", "attach1" },
	{ "0:10 1:8", "", true, false, "0:10a 1:5", "grow1 attach1" },
	{ "0:20", "", true, false, "0:10a", "grow0!" },
	{ "0:20", "", true, true, "0:10a", "grow0!" },
	{ "0:10 1:5L", "", true, false, "0:10a 1:5a", "detach1 remove1" },
	{ "0:10 1:5L", "", true, false, "0:10a 1:5", "remove1" },
	/* Snapshots, of all disks that stay, at one moment. */
	{ "0:10 1:5", "x=creating", false, false, "0:10 1:5", "snapshot3x" },
	{ "0:10 1:5", "x=creating", true, false, "0:10a 1:5a", "thaw0 snapshot3!x" },
	{ "0:10 1:5", "x=creating", true, true, "0:10a 1:5a", "thaw0 snapshot3x" },
	{ "0:10 1:5L", "x=creating", false, false, "0:10 1:5", "remove1 snapshot1x" },
	/* Those of an attempt that was cut off are of another moment. */
	{ "0:10 1:5", "x=creating", false, false, "0:10/x 1:5", "unsnapshot0x snapshot3x" },
	{ "0:10 1:5", "x=creating", true, false, "0:10a/x 1:5a",
		"thaw0 unsnapshot0!x snapshot3!x" },
	{ "0:10 1:5", "x=creating", true, false, "0:10a/x 1:5a/x", "thaw0" },
	{ "0:10 1:5", "x=deleting y=ready", false, false, "0:10/x,y 1:5/y,x",
		"unsnapshot0x unsnapshot1x" },
	{ "0:10 1:5", "x=deleting", true, false, "0:10a 1:5a/x", "unsnapshot1!x" },
	{ "0:10 1:5", "x=deleting", true, true, "0:10a/x 1:5a/x", "unsnapshot0x unsnapshot1x" },
	/* A disk that is newer than the snapshot stays as it is; one that was smaller grows. */
	{ "0:10 1:5", "x=restoring", false, false, "0:10/x 1:5", "restore0x grow0 grow1" },
	{ "0:10", "x=restoring", false, false, "0:10/y", NULL },
	{ "0:10", "x=restoring", true, false, "0:10a/x", NULL },
	/* Flatten. */
	{ "0:10F", "", false, false, "0:10", "flatten0" },
	{ "0:10F", "", true, true, "0:10a", "flatten0" },
	{ "0:10F", "", true, false, "0:10a", NULL },
	/* Nothing is made in the place of what is lost. */
	{ "0:10 1:5", "", false, false, "", NULL },
};
/* clang-format on */

static void test_plan(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];
		CLEANUP(vmchange_plan_done) struct vmchange_plan plan = { 0 };
		CLEANUP_STR char *text = NULL;
		struct err e = { 0 };
		struct given g;
		int rc;

		give(&g, r->disks, r->snapshots, r->is_on, r->is_live_ok, r->world);
		rc = vmchange_plan(&g.vm, &g.w, &plan, &e);
		text = plan_text(&plan);
		if ((rc == 0) != (r->want != NULL) ||
			(r->want != NULL && strcmp(text, r->want) != 0))
			fail_msg("row %zu: %d '%s' (%s)", i, rc, text, e.msg);
		done(&g);
	}
}

/* Interfaces: as they are ordered, those that the domain has, and the plan. */
static const struct {
	const char *nics;
	bool is_on;
	const char *has, *want;
} nic_rows[] = {
	{ "1 2", true, "1 2", "" },
	{ "1 2", true, "1", "nic-attach:2" },
	{ "1 2", true, "", "nic-attach:1 nic-attach:2" },
	{ "1L 2", true, "1 2", "nic-detach:1" },
	{ "1L 2", true, "2", "" },
	{ "1 2L 3", true, "1 2", "nic-detach:2 nic-attach:3" },
	/* What is not ordered is nobody's business. */
	{ "1", true, "1 5", "" },
	/* The next start finds them in the entry. */
	{ "1 2L 3", false, "", "" },
};

static void give_macs(struct vmchange_world *w, const char *text)
{
	CLEANUP(strv_done) struct strv words = { 0 };

	strv_split(&words, text, ' ');
	for (size_t i = 0; *text != '\0' && i < words.len; i++)
		strv_add_take(&w->macs, xasprintf("02:00:00:00:00:0%s", words.v[i]));
}

static void test_plan_nics(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(nic_rows); i++) {
		CLEANUP(vmchange_plan_done) struct vmchange_plan plan = { 0 };
		CLEANUP_STR char *text = NULL;
		struct err e = { 0 };
		struct given g;

		give(&g, "0:10", "", nic_rows[i].is_on, false, "0:10a");
		give_nics(&g.vm, nic_rows[i].nics);
		give_macs(&g.w, nic_rows[i].has);
		assert_int_equal(vmchange_plan(&g.vm, &g.w, &plan, &e), 0);
		text = plan_text(&plan);
		if (strcmp(text, nic_rows[i].want) != 0)
			fail_msg("row %zu: '%s'", i, text);
		done(&g);
	}
}

/* After what the disks need, which is not waited for. */
static void test_plan_order(void **state)
{
	CLEANUP(vmchange_plan_done) struct vmchange_plan plan = { 0 };
	CLEANUP_STR char *text = NULL;
	struct err e = { 0 };
	struct given g;

	(void)state;
	give(&g, "0:10 1:5L 2:3", "x=creating", true, false, "0:10a 1:5a");
	give_nics(&g.vm, "1L 2");
	give_macs(&g.w, "1");
	assert_int_equal(vmchange_plan(&g.vm, &g.w, &plan, &e), 0);
	text = plan_text(&plan);
	assert_string_equal(text, "thaw0 detach1 remove1 nic-detach:1 make2 attach2 "
				  "snapshot5!x nic-attach:2");
	done(&g);
}

/* What stands in its log, line after line. */
static char *log_text(const struct vm *vm)
{
	struct buf b = { 0 };

	for (size_t i = 0; i < vm->log.len; i++) {
		const struct vm_log_line *l = jtab_list_at(&vm_log_jtab, &vm->log, i);

		buf_addf(&b, "%s%s", i > 0 ? "; " : "", l->text);
	}
	return buf_take(&b);
}

static char *nics_text(const struct vm *vm)
{
	struct buf b = { 0 };

	for (size_t i = 0; i < vm->networks.len; i++) {
		const struct vm_nic *nic = jtab_list_at(&vm_nic_jtab, &vm->networks, i);

		buf_addf(&b, "%s%s%s", i > 0 ? " " : "", nic->mac + strlen(nic->mac) - 1,
			nic->is_leaving ? "L" : "");
	}
	return buf_take(&b);
}

static char *entry_text(const struct vm *vm)
{
	struct buf b = { 0 };

	for (size_t i = 0; i < vm->specs.disks.len; i++) {
		const struct vm_disk *d =
			jtab_list_at(&vm_disk_jtab, &vm->specs.disks, i);

		buf_addf(&b, "%s%lld:%lld%s%s", i > 0 ? " " : "", (long long)d->index,
			(long long)d->size_gib, d->is_leaving ? "L" : "",
			d->is_flatten ? "F" : "");
	}
	for (size_t i = 0; i < vm->snapshots.len; i++) {
		const struct vm_snapshot *s =
			jtab_list_at(&vm_snapshot_jtab, &vm->snapshots, i);

		buf_addf(&b, " %s=%s%s", s->name, vm_snapshot_state_names[s->state],
			s->is_quiesced ? "!" : "");
	}
	return buf_take(&b);
}

static void test_done(void **state)
{
	CLEANUP_STR char *entry = NULL;
	CLEANUP_STR char *log = NULL;
	struct given g;

	(void)state;
	give(&g, "0:10F 1:5L 2:3", "a=ready b=creating c=deleting d=restoring", true,
		true, "");
	vmchange_done(&g.vm, true, NOW);
	entry = entry_text(&g.vm);
	assert_string_equal(entry, "0:10 2:3 a=ready b=ready! d=ready");
	log = log_text(&g.vm);
	assert_non_null(strstr(log, "disk 1 is detached and removed"));
	assert_non_null(strstr(log, "disk 0 is independent of its image"));
	assert_non_null(strstr(log, "snapshot \"b\" is made, of quiesced file systems"));
	assert_non_null(strstr(log, "snapshot \"c\" is deleted"));
	assert_non_null(strstr(log, "as they were in snapshot \"d\""));
	assert_false(vm_has_changes(&g.vm));
	done(&g);
}

static void test_done_nics(void **state)
{
	CLEANUP_STR char *nics = NULL;
	CLEANUP_STR char *log = NULL;
	struct given g;

	(void)state;
	give(&g, "0:10", "", true, false, "0:10a");
	give_nics(&g.vm, "1L 2 3L");
	vmchange_done(&g.vm, false, NOW);
	nics = nics_text(&g.vm);
	assert_string_equal(nics, "2");
	log = log_text(&g.vm);
	assert_string_equal(log, "interface 02:00:00:00:00:03 is detached; "
				 "interface 02:00:00:00:00:01 is detached");
	assert_false(vm_has_changes(&g.vm));
	done(&g);
}

static const struct {
	const char *nics;
	bool is_on;
	const char *has, *want, *want_log;
} undo_nic_rows[] = {
	{ "1 2", true, "1 2", "1 2", "" },
	{ "1 2", true, "1", "1 2",
		"interface 02:00:00:00:00:02 is there, but not attached before the VM's "
		"next start: why" },
	{ "1 2L", true, "1 2", "1 2", "interface 02:00:00:00:00:02 stays: why" },
	{ "1L 2", true, "2", "2", "interface 02:00:00:00:00:01 is detached" },
	/* At rest a leaving one goes, and one that was ordered is there. */
	{ "1 2L", false, "", "1", "interface 02:00:00:00:00:02 is detached" },
	{ "1 2", false, "", "1 2", "" },
};

static void test_undone_nics(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(undo_nic_rows); i++) {
		CLEANUP_STR char *nics = NULL;
		CLEANUP_STR char *log = NULL;
		struct given g;

		give(&g, "0:10", "", undo_nic_rows[i].is_on, false, "0:10a");
		give_nics(&g.vm, undo_nic_rows[i].nics);
		give_macs(&g.w, undo_nic_rows[i].has);
		vmchange_undone(&g.vm, &g.w, "why", NOW);
		nics = nics_text(&g.vm);
		log = log_text(&g.vm);
		if (strcmp(nics, undo_nic_rows[i].want) != 0 ||
			strcmp(log, undo_nic_rows[i].want_log) != 0)
			fail_msg("row %zu: '%s', log '%s'", i, nics, log);
		assert_false(vm_has_changes(&g.vm));
		done(&g);
	}
}

struct undo_row {
	const char *disks, *snapshots;
	bool is_on;
	const char *world, *want, *want_log; /* in the log; "" nothing is */
};

static const struct undo_row undo_rows[] = {
	/* What is done stays. */
	{ "0:10 1:5", "", true, "0:10a 1:5a", "0:10 1:5", "" },
	/* A disk that could not be made goes; one that exists never does. */
	{ "0:10 1:5", "", false, "0:10", "0:10", "disk 1 of 5 GiB is not made: why" },
	{ "0:10 1:5", "", true, "0:10a 1:5", "0:10 1:5", "not attached before" },
	{ "0:10 1:5L", "", true, "0:10a 1:5a", "0:10 1:5", "disk 1 stays: why" },
	{ "0:10 1:5L", "", true, "0:10a", "0:10", "" },
	{ "0:20", "", true, "0:12a", "0:12", "disk 0 keeps its 12 GiB: why" },
	{ "0:10F", "", true, "0:10a", "0:10", "still needs its image: why" },
	{ "0:10", "x=creating", true, "0:10a", "0:10", "\"x\" is not made: why" },
	{ "0:10", "x=creating", true, "0:10a/x", "0:10 x=ready", "" },
	{ "0:10 1:5", "x=deleting", false, "0:10/x 1:5/x", "0:10 1:5 x=ready",
		"\"x\" is not deleted: why" },
	{ "0:10 1:5", "x=deleting", false, "0:10 1:5/x", "0:10 1:5", "" },
	{ "0:10", "x=restoring y=ready", false, "0:10/x", "0:10 x=ready y=ready",
		"not restored" },
	/* The disk is lost: that is not for us to say. */
	{ "0:10", "", false, "", "0:10", "" },
};

static void test_undone(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(undo_rows); i++) {
		const struct undo_row *r = &undo_rows[i];
		CLEANUP_STR char *entry = NULL;
		CLEANUP_STR char *log = NULL;
		struct given g;

		give(&g, r->disks, r->snapshots, r->is_on, false, r->world);
		vmchange_undone(&g.vm, &g.w, "why", NOW);
		entry = entry_text(&g.vm);
		log = log_text(&g.vm);
		if (strcmp(entry, r->want) != 0 ||
			(*r->want_log == '\0' ? *log != '\0'
					      : strstr(log, r->want_log) == NULL))
			fail_msg("row %zu: '%s', log '%s'", i, entry, log);
		assert_false(vm_has_changes(&g.vm));
		done(&g);
	}
}

static void test_undo_plan(void **state)
{
	CLEANUP(vmchange_plan_done) struct vmchange_plan plan = { 0 };
	CLEANUP_STR char *text = NULL;
	struct given g;

	(void)state;
	give(&g, "0:10 1:5 2:1", "x=creating y=ready z=deleting u=deleting", true, false,
		"0:10a/x,y,u 1:5a/y,z 2:1a/x,u");
	vmchange_undo_plan(&g.vm, &g.w, &plan);
	text = plan_text(&plan);
	assert_string_equal(text, "thaw0 unsnapshot0!x unsnapshot2!x unsnapshot1!z");
	done(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plan),
		cmocka_unit_test(test_plan_nics),
		cmocka_unit_test(test_plan_order),
		cmocka_unit_test(test_done),
		cmocka_unit_test(test_done_nics),
		cmocka_unit_test(test_undone_nics),
		cmocka_unit_test(test_undone),
		cmocka_unit_test(test_undo_plan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
