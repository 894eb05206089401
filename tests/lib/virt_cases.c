#include "tests/lib/virt_cases.h"

#include <pthread.h>
#include <string.h>

#include "tests/lib/test_util.h"
#include "ucloud-host/domxml.h"

#define WAIT_MSEC 90000

static struct virt_cases cases;

void virt_cases_set(const struct virt_cases *c)
{
	cases = *c;
}

/* ------------------------------------------------------------------ helpers */

static void on_event(void *aux, const char *uuid)
{
	struct virt_seen *s = aux;

	__atomic_add_fetch(
		uuid != NULL ? &s->n_events : &s->n_reviews, 1, __ATOMIC_RELAXED);
}

struct virt_seen *virt_seen_open(void)
{
	struct virt_seen *s = xcalloc(1, sizeof(*s));
	struct err e = { 0 };

	assert_int_equal(virt_open(cases.uri, on_event, s, &s->v, &e), 0);
	return s;
}

void virt_seen_close(struct virt_seen *s)
{
	virt_close(s->v);
	free(s);
}

struct counter_above {
	const int *counter;
	int n;
};

static bool is_above(void *aux)
{
	const struct counter_above *c = aux;

	return __atomic_load_n(c->counter, __ATOMIC_RELAXED) > c->n;
}

bool virt_seen_wait(const int *counter, int n)
{
	struct counter_above c = { counter, n };

	return wait_until(is_above, &c, WAIT_MSEC);
}

char *virt_cases_xml(
	struct virt *v, const char *uuid, int64_t boot, const char *disk_path)
{
	CLEANUP_STR char *uuid_copy = xstrdup(uuid);
	CLEANUP_STR char *path = xstrdup(disk_path);
	CLEANUP_STR char *format = xstrdup("raw");
	struct vm vm = { .uuid = uuid_copy, .boot = boot };
	struct disk_source disk = {
		.kind = DISK_SOURCE_FILE, .format = format, .path = path
	};
	struct domxml d = { .vm = &vm,
		.host = "h1",
		.accel = "tcg",
		.disks = &disk,
		.n_disks = disk_path != NULL,
		.disk_cache = "writeback" };
	char driver[32];
	struct err e = { 0 };

	vm.specs.cpu = 1;
	vm.specs.ram_mib = 32;
	if (virt_driver(v, driver, sizeof(driver), &e) < 0)
		fail_msg("%s", e.msg);
	d.driver = driver;
	return domxml_format(&d);
}

struct state_wanted {
	struct virt *v;
	const char *uuid;
	enum virt_state state;
};

static bool has_state(void *aux)
{
	const struct state_wanted *w = aux;
	struct virt_dom dom;
	struct err e = { 0 };

	return virt_get(w->v, w->uuid, &dom, &e) == 0 && dom.state == w->state;
}

bool virt_cases_wait_state(struct virt *v, const char *uuid, enum virt_state state)
{
	struct state_wanted w = { v, uuid, state };

	return wait_until(has_state, &w, WAIT_MSEC);
}

static int ok(int rc, const struct err *e)
{
	if (rc != 0)
		fail_msg("%s", e->msg);
	return rc;
}

static struct virt_dom get(struct virt *v, const char *uuid)
{
	struct virt_dom dom;
	struct err e = { 0 };

	ok(virt_get(v, uuid, &dom, &e), &e);
	assert_string_equal(dom.uuid, uuid);
	return dom;
}

static void define(struct virt *v, const char *uuid, int64_t boot)
{
	CLEANUP_STR char *xml = virt_cases_xml(v, uuid, boot, NULL);
	struct err e = { 0 };

	ok(virt_define(v, xml, &e), &e);
}

static bool is_listed(struct virt *v, const char *uuid)
{
	CLEANUP(virt_list_done) struct virt_list list = { 0 };
	struct err e = { 0 };
	bool found = false;

	ok(virt_list(v, &list, &e), &e);
	for (size_t i = 0; i < list.len; i++)
		if (strcmp(list.v[i].uuid, uuid) == 0)
			found = true;
	return found;
}

static void clean(struct virt *v, const char *uuid)
{
	struct err e = { 0 };

	ok(virt_destroy(v, uuid, &e), &e);
	ok(virt_undefine(v, uuid, &e), &e);
	assert_int_equal(get(v, uuid).state, VIRT_ABSENT);
}

static int setup(void **state)
{
	*state = virt_seen_open();
	return 0;
}

static int teardown(void **state)
{
	virt_seen_close(*state);
	return 0;
}

/* ------------------------------------------------------------------ cases */

static void case_absent(void **state)
{
	struct virt *v = ((struct virt_seen *)*state)->v;
	char uuid[UUID_STR_SIZE];
	struct virt_dom dom;
	struct err e = { 0 };

	uuid_new(uuid);
	dom = get(v, uuid);
	assert_int_equal(dom.state, VIRT_ABSENT);
	assert_false(dom.is_foreign);
	assert_false(is_listed(v, uuid));
	ok(virt_shutdown(v, uuid, &e), &e);
	ok(virt_destroy(v, uuid, &e), &e);
	ok(virt_undefine(v, uuid, &e), &e);
	ok(virt_resume(v, uuid, &e), &e);
	assert_int_equal(virt_start(v, uuid, &e), -1);
}

static void case_define(void **state)
{
	struct virt *v = ((struct virt_seen *)*state)->v;
	char uuid[UUID_STR_SIZE];
	struct virt_dom dom;

	uuid_new(uuid);
	define(v, uuid, 1);
	dom = get(v, uuid);
	assert_int_equal(dom.state, VIRT_OFF);
	assert_int_equal(dom.off, VIRT_OFF_UNKNOWN);
	assert_int_equal(dom.boot, 1);
	assert_string_equal(dom.host, "h1");
	assert_false(dom.is_foreign);
	assert_true(is_listed(v, uuid));
	define(v, uuid, 2);
	assert_int_equal(get(v, uuid).boot, 2);
	clean(v, uuid);
	assert_false(is_listed(v, uuid));
}

static void case_run(void **state)
{
	struct virt_seen *s = *state;
	struct virt *v = s->v;
	char uuid[UUID_STR_SIZE];
	struct err e = { 0 };
	int n;

	uuid_new(uuid);
	define(v, uuid, 1);
	n = __atomic_load_n(&s->n_events, __ATOMIC_RELAXED);
	ok(virt_start(v, uuid, &e), &e);
	assert_int_equal(get(v, uuid).state, VIRT_RUNNING);
	assert_int_equal(get(v, uuid).boot, 1);
	assert_true(virt_seen_wait(&s->n_events, n));
	ok(virt_start(v, uuid, &e), &e);
	ok(virt_resume(v, uuid, &e), &e);
	/* What runs is not undefined. */
	assert_int_equal(virt_undefine(v, uuid, &e), -1);
	assert_true(err_is_passing(e.kind));
	n = __atomic_load_n(&s->n_events, __ATOMIC_RELAXED);
	ok(virt_destroy(v, uuid, &e), &e);
	assert_int_equal(get(v, uuid).state, VIRT_OFF);
	assert_int_equal(get(v, uuid).off, VIRT_OFF_DESTROYED);
	assert_true(virt_seen_wait(&s->n_events, n));
	ok(virt_destroy(v, uuid, &e), &e);
	/* And again. */
	ok(virt_start(v, uuid, &e), &e);
	assert_int_equal(get(v, uuid).state, VIRT_RUNNING);
	clean(v, uuid);
}

static void case_shutdown(void **state)
{
	struct virt *v = ((struct virt_seen *)*state)->v;
	char uuid[UUID_STR_SIZE];
	struct err e = { 0 };

	uuid_new(uuid);
	define(v, uuid, 1);
	ok(virt_start(v, uuid, &e), &e);
	ok(virt_shutdown(v, uuid, &e), &e);
	if (cases.has_obedient_guests) {
		assert_true(virt_cases_wait_state(v, uuid, VIRT_OFF));
		assert_int_equal(get(v, uuid).off, VIRT_OFF_GUEST);
	} else {
		assert_int_equal(get(v, uuid).state, VIRT_RUNNING);
	}
	ok(virt_shutdown(v, uuid, &e), &e);
	clean(v, uuid);
}

/* Nothing touches what is not ours. */
static void case_foreign(void **state)
{
	struct virt *v = ((struct virt_seen *)*state)->v;
	char uuid[UUID_STR_SIZE];
	CLEANUP_STR char *xml = NULL;
	struct err e = { 0 };

	uuid_new(uuid);
	cases.add_foreign(uuid, "somebody-elses");
	assert_int_equal(get(v, uuid).state, VIRT_RUNNING);
	assert_true(get(v, uuid).is_foreign);
	assert_false(is_listed(v, uuid));
	xml = virt_cases_xml(v, uuid, 1, NULL);
	assert_int_equal(virt_define(v, xml, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_int_equal(virt_start(v, uuid, &e), -1);
	assert_int_equal(virt_shutdown(v, uuid, &e), -1);
	assert_int_equal(virt_destroy(v, uuid, &e), -1);
	assert_int_equal(virt_undefine(v, uuid, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_int_equal(get(v, uuid).state, VIRT_RUNNING);
	cases.remove_foreign(uuid);
}

/* Another one has the name that ours would have. */
static void case_namesake(void **state)
{
	struct virt *v = ((struct virt_seen *)*state)->v;
	char uuid[UUID_STR_SIZE], other[UUID_STR_SIZE];
	CLEANUP_STR char *name = NULL;

	uuid_new(uuid);
	uuid_new(other);
	name = xasprintf(DOMXML_NAME_PREFIX "%s", uuid);
	cases.add_foreign(other, name);
	assert_true(get(v, uuid).is_foreign);
	assert_int_equal(get(v, uuid).state, VIRT_RUNNING);
	cases.remove_foreign(other);
	assert_false(get(v, uuid).is_foreign);
}

static void case_reopen(void **state)
{
	struct virt_seen *s = *state, *second = virt_seen_open();
	char uuid[UUID_STR_SIZE];
	struct err e = { 0 };

	uuid_new(uuid);
	define(s->v, uuid, 1);
	ok(virt_start(s->v, uuid, &e), &e);
	assert_int_equal(get(second->v, uuid).state, VIRT_RUNNING);
	virt_seen_close(second);
	second = virt_seen_open();
	assert_int_equal(get(second->v, uuid).state, VIRT_RUNNING);
	clean(second->v, uuid);
	virt_seen_close(second);
	assert_int_equal(get(s->v, uuid).state, VIRT_ABSENT);
}

static void case_bad_xml(void **state)
{
	struct virt *v = ((struct virt_seen *)*state)->v;
	struct err e = { 0 };

	assert_int_equal(virt_define(v, "<domain", &e), -1);
	assert_false(err_is_passing(e.kind));
}

static void case_node(void **state)
{
	struct virt *v = ((struct virt_seen *)*state)->v;
	struct virt_node node;
	struct err e = { 0 };
	char driver[32];

	ok(virt_node(v, &node, &e), &e);
	assert_true(node.cpus > 0);
	assert_true(node.ram_mib > 0);
	ok(virt_driver(v, driver, sizeof(driver), &e), &e);
	assert_true(strlen(driver) > 0);
}

static void *run_thread(void *aux)
{
	struct virt *v = aux;
	char uuid[UUID_STR_SIZE];

	uuid_new(uuid);
	for (int i = 0; i < 10; i++) {
		define(v, uuid, i);
		if (get(v, uuid).boot != i || !is_listed(v, uuid))
			return v;
		clean(v, uuid);
	}
	return NULL;
}

static void case_threads(void **state)
{
	struct virt *v = ((struct virt_seen *)*state)->v;
	pthread_t threads[4];

	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run_thread, v), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
}

static void case_set_event(void **state)
{
	struct virt_seen *s = *state;
	char uuid[UUID_STR_SIZE];
	struct err e = { 0 };
	int n;

	uuid_new(uuid);
	define(s->v, uuid, 1);
	virt_set_event(s->v, NULL, NULL);
	n = __atomic_load_n(&s->n_events, __ATOMIC_RELAXED);
	ok(virt_start(s->v, uuid, &e), &e);
	assert_int_equal(__atomic_load_n(&s->n_events, __ATOMIC_RELAXED), n);
	virt_set_event(s->v, on_event, s);
	clean(s->v, uuid);
	assert_true(virt_seen_wait(&s->n_events, n));
}

/* ------------------------------------------------------------------ disks */

#define GIB (INT64_C(1) << 30)

/* What is asked of a domain that is off, or not there. */
static void case_disks_off(void **state)
{
	struct virt *v = ((struct virt_seen *)*state)->v;
	char uuid[UUID_STR_SIZE];
	struct virt_disks disks;
	struct err e = { 0 };

	uuid_new(uuid);
	for (int i = 0; i < 2; i++) {
		memset(&disks, 1, sizeof(disks));
		ok(virt_disks(v, uuid, &disks, &e), &e);
		assert_false(disks.is_attached[0]);
		assert_int_equal(virt_disk_resize(v, uuid, 0, GIB, &e), -1);
		assert_int_equal(e.kind, ERR_CONFLICT);
		assert_int_equal(virt_disk_detach(v, uuid, 0, &e), -1);
		assert_int_equal(virt_snapshot_make(v, uuid, 1, "s", &e), -1);
		assert_int_equal(virt_freeze(v, uuid, &e), -1);
		assert_int_equal(e.kind, ERR_CONFLICT);
		assert_int_equal(virt_pause(v, uuid, &e), -1);
		ok(virt_thaw(v, uuid, &e), &e);
		define(v, uuid, 1);
	}
	clean(v, uuid);
}

static char *disk_xml(const char *path, unsigned index)
{
	CLEANUP_STR char *copy = xstrdup(path);
	CLEANUP_STR char *format = xstrdup("qcow2");
	struct disk_source disk = {
		.index = index, .kind = DISK_SOURCE_FILE, .format = format, .path = copy
	};

	return domxml_disk_format(&disk, "writeback");
}

static struct virt_disks disks_of(struct virt *v, const char *uuid)
{
	struct virt_disks disks;
	struct err e = { 0 };

	ok(virt_disks(v, uuid, &disks, &e), &e);
	return disks;
}

/* Runs with one disk; its path, the caller's. */
static char *run_with_disk(struct virt *v, const char *uuid)
{
	char *path = cases.make_disk(uuid, 0, 1);
	CLEANUP_STR char *raw = virt_cases_xml(v, uuid, 1, path);
	char *type = strstr(raw, "type=\"raw\"");
	CLEANUP_STR char *xml = NULL;
	struct err e = { 0 };

	assert_non_null(type);
	xml = xasprintf("%.*stype=\"qcow2\"%s", (int)(type - raw), raw, type + 10);
	ok(virt_define(v, xml, &e), &e);
	ok(virt_start(v, uuid, &e), &e);
	return path;
}

static void check_attach(struct virt *v, const char *uuid)
{
	CLEANUP_STR char *path = cases.make_disk(uuid, 1, 2);
	CLEANUP_STR char *xml = disk_xml(path, 1);
	struct err e = { 0 };

	ok(virt_disk_attach(v, uuid, 1, xml, &e), &e);
	ok(virt_disk_attach(v, uuid, 1, xml, &e), &e);
	assert_true(disks_of(v, uuid).is_attached[1]);
	assert_int_equal(disks_of(v, uuid).size_bytes[1], 2 * GIB);
	ok(virt_disk_resize(v, uuid, 1, 3 * GIB, &e), &e);
	assert_int_equal(disks_of(v, uuid).size_bytes[1], 3 * GIB);
	assert_int_equal(virt_disk_resize(v, uuid, 2, 3 * GIB, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
}

static void check_snapshots(struct virt *v, const char *uuid)
{
	struct err e = { 0 };

	ok(virt_snapshot_make(v, uuid, 3, "one", &e), &e);
	ok(virt_snapshot_make(v, uuid, 1, "two", &e), &e);
	assert_int_equal(virt_snapshot_make(v, uuid, 7, "three", &e), -1);
	for (unsigned i = 0; i < 2; i++) {
		ok(virt_snapshot_remove(v, uuid, i, "one", &e), &e);
		ok(virt_snapshot_remove(v, uuid, i, "one", &e), &e);
		ok(virt_snapshot_remove(v, uuid, i, "three", &e), &e);
	}
	assert_int_equal(virt_snapshot_remove(v, uuid, 5, "one", &e), -1);
	/* No agent is there; a guest that stands still is the other way. */
	assert_int_equal(virt_freeze(v, uuid, &e), -1);
	assert_int_equal(e.kind, ERR_UNSUPPORTED);
	ok(virt_thaw(v, uuid, &e), &e);
	ok(virt_pause(v, uuid, &e), &e);
	ok(virt_pause(v, uuid, &e), &e);
	assert_int_equal(get(v, uuid).state, VIRT_PAUSED);
	ok(virt_snapshot_make(v, uuid, 3, "one", &e), &e);
	ok(virt_resume(v, uuid, &e), &e);
	assert_int_equal(get(v, uuid).state, VIRT_RUNNING);
}

static void case_disks(void **state)
{
	struct virt *v = ((struct virt_seen *)*state)->v;
	char uuid[UUID_STR_SIZE];
	CLEANUP_STR char *path = NULL;
	struct err e = { 0 };

	if (cases.make_disk == NULL)
		skip();
	uuid_new(uuid);
	path = run_with_disk(v, uuid);
	assert_true(disks_of(v, uuid).is_attached[0]);
	assert_int_equal(disks_of(v, uuid).size_bytes[0], GIB);
	assert_false(disks_of(v, uuid).is_attached[1]);
	check_attach(v, uuid);
	check_snapshots(v, uuid);
	/* It is in the definition, too. */
	ok(virt_destroy(v, uuid, &e), &e);
	ok(virt_start(v, uuid, &e), &e);
	assert_true(disks_of(v, uuid).is_attached[1]);
	ok(virt_disk_detach(v, uuid, 1, &e), &e);
	assert_int_equal(disks_of(v, uuid).is_attached[1], !cases.has_obedient_guests);
	ok(virt_disk_detach(v, uuid, 3, &e), &e);
	clean(v, uuid);
}

/* ------------------------------------------------------------------ interfaces */

#define MAC "02:1f:5c:00:9a:3e"

static char *nic_xml(void)
{
	CLEANUP_STR char *mac = xstrdup(MAC);
	struct vm_nic nic = { .mac = mac };
	struct vmnet net = { .nic = &nic, .net = { .vni = 1, .mtu = 1430 } };

	return domxml_nic_format(&net);
}

static bool has_nic(struct virt *v, const char *uuid)
{
	CLEANUP(strv_done) struct strv macs = { 0 };
	struct err e = { 0 };

	strv_add(&macs, "what was there before");
	ok(virt_nics(v, uuid, &macs, &e), &e);
	assert_true(macs.len < 2);
	assert_int_equal(macs.len, strv_has(&macs, MAC));
	return macs.len == 1;
}

/* What is asked of a domain that is off, or not there. */
static void case_nics_off(void **state)
{
	struct virt *v = ((struct virt_seen *)*state)->v;
	CLEANUP_STR char *xml = nic_xml();
	char uuid[UUID_STR_SIZE];
	struct err e = { 0 };

	uuid_new(uuid);
	for (int i = 0; i < 2; i++) {
		assert_false(has_nic(v, uuid));
		assert_int_equal(virt_nic_attach(v, uuid, MAC, xml, &e), -1);
		assert_int_equal(e.kind, ERR_CONFLICT);
		assert_int_equal(virt_nic_detach(v, uuid, MAC, &e), -1);
		assert_int_equal(e.kind, ERR_CONFLICT);
		define(v, uuid, 1);
	}
	clean(v, uuid);
}

static void case_nics(void **state)
{
	struct virt *v = ((struct virt_seen *)*state)->v;
	CLEANUP_STR char *xml = NULL;
	char uuid[UUID_STR_SIZE];
	struct err e = { 0 };

	if (!cases.has_bridge)
		skip();
	xml = nic_xml();
	uuid_new(uuid);
	define(v, uuid, 1);
	ok(virt_start(v, uuid, &e), &e);
	assert_false(has_nic(v, uuid));
	ok(virt_nic_attach(v, uuid, MAC, xml, &e), &e);
	ok(virt_nic_attach(v, uuid, MAC, xml, &e), &e);
	assert_true(has_nic(v, uuid));
	/* It is in the definition, too. */
	ok(virt_destroy(v, uuid, &e), &e);
	assert_false(has_nic(v, uuid));
	ok(virt_start(v, uuid, &e), &e);
	assert_true(has_nic(v, uuid));
	ok(virt_nic_detach(v, uuid, MAC, &e), &e);
	assert_int_equal(has_nic(v, uuid), !cases.has_obedient_guests);
	/* A guest that was asked and has not answered yet may be asked in vain. */
	if (virt_nic_detach(v, uuid, MAC, &e) < 0)
		assert_int_equal(e.kind, ERR_IO);
	ok(virt_nic_detach(v, uuid, "02:1f:5c:00:9a:40", &e), &e);
	/* And out of it, whatever the guest does. */
	ok(virt_destroy(v, uuid, &e), &e);
	ok(virt_start(v, uuid, &e), &e);
	assert_false(has_nic(v, uuid));
	clean(v, uuid);
}

static void case_secret(void **state)
{
	struct virt *v = ((struct virt_seen *)*state)->v;
	char uuid[UUID_STR_SIZE];
	struct err e = { 0 };

	if (!cases.has_secrets)
		skip();
	uuid_new(uuid);
	ok(virt_secret_ensure(v, uuid, "QUJDRA==", &e), &e);
	ok(virt_secret_ensure(v, uuid, "QUJDRQ==", &e), &e);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

const struct CMUnitTest virt_cases[] = {
	CASE(case_absent),
	CASE(case_define),
	CASE(case_run),
	CASE(case_shutdown),
	CASE(case_foreign),
	CASE(case_namesake),
	CASE(case_reopen),
	CASE(case_bad_xml),
	CASE(case_node),
	CASE(case_threads),
	CASE(case_set_event),
	CASE(case_disks_off),
	CASE(case_disks),
	CASE(case_nics_off),
	CASE(case_nics),
	CASE(case_secret),
};
const size_t virt_cases_len = ARRAY_LEN(virt_cases);
