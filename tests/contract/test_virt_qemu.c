/* The contract with QEMU below a private libvirtd, and what only real guests show. */
#include <errno.h>
#include <libvirt/libvirt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common/base/file.h"
#include "tests/lib/test_libvirtd.h"
#include "tests/lib/test_util.h"
#include "tests/lib/virt_cases.h"
#include "ucloud-host/domxml.h"

static const char *uri;

static void add_foreign(const char *uuid, const char *name)
{
	virConnectPtr raw = virConnectOpen(uri);
	CLEANUP_STR char *xml = xasprintf(
		"<domain type='qemu'><name>%s</name><uuid>%s</uuid>"
		"<memory unit='MiB'>32</memory><os><type arch='x86_64'>hvm</type></os>"
		"</domain>",
		name, uuid);
	virDomainPtr dom = virDomainDefineXML(raw, xml);

	assert_non_null(dom);
	assert_int_equal(virDomainCreate(dom), 0);
	virDomainFree(dom);
	virConnectClose(raw);
}

static void remove_foreign(const char *uuid)
{
	virConnectPtr raw = virConnectOpen(uri);
	virDomainPtr dom = virDomainLookupByUUIDString(raw, uuid);

	assert_non_null(dom);
	assert_int_equal(virDomainDestroy(dom), 0);
	assert_int_equal(virDomainUndefine(dom), 0);
	virDomainFree(dom);
	virConnectClose(raw);
}

static char *make_disk(const char *uuid, unsigned index, int64_t size_gib)
{
	CLEANUP_STR char *name = xasprintf("%s-%u.qcow2", uuid, index);
	CLEANUP_STR char *size = xasprintf("%lldG", (long long)size_gib);
	char *path = test_path("%s", name), *out = NULL;
	const char *argv[] = { "qemu-img", "create", "-q", "-f", "qcow2", path, size,
		NULL };

	if (test_run(argv, 30000, &out) != 0)
		fail_msg("qemu-img: %s", out);
	free(out);
	return path;
}

static void ip(const char *arg, ...)
{
	const char *argv[16] = { "ip", arg };
	char *out = NULL;
	size_t n = 2;
	va_list ap;

	va_start(ap, arg);
	while (n < ARRAY_LEN(argv) - 1 && (argv[n] = va_arg(ap, const char *)) != NULL)
		n++;
	va_end(ap);
	if (test_run(argv, 10000, &out) != 0)
		test_skip("this kernel has no bridges: %s", out);
	free(out);
}

/* libvirtd and its guests are in a network namespace of their own, which goes with them. Its
 * interfaces are seen in a sysfs that was mounted inside only. */
static void enter_namespace(void)
{
	if (geteuid() != 0)
		test_skip("a private libvirtd needs root");
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("sysfs", "/sys", "sysfs", 0, NULL) < 0)
		test_skip("no network namespace can be made: %s", strerror(errno));
	ip("link", "set", "lo", "up", NULL);
	ip("link", "add", "ucb1", "type", "bridge", NULL);
	ip("link", "set", "ucb1", "up", NULL);
}

static void ok(int rc, const struct err *e)
{
	if (rc != 0)
		fail_msg("%s", e->msg);
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

/* Defines and starts one; its uuid. */
static void run_guest(struct virt *v, char uuid[UUID_STR_SIZE], const char *disk)
{
	CLEANUP_STR char *xml = NULL;
	struct err e = { 0 };

	uuid_new(uuid);
	xml = virt_cases_xml(v, uuid, 1, disk);
	ok(virt_define(v, xml, &e), &e);
	ok(virt_start(v, uuid, &e), &e);
}

static void clean(struct virt *v, const char *uuid)
{
	struct err e = { 0 };

	ok(virt_destroy(v, uuid, &e), &e);
	ok(virt_undefine(v, uuid, &e), &e);
}

static int guest_pid(const char *uuid)
{
	CLEANUP_STR char *name = xasprintf(DOMXML_NAME_PREFIX "%s", uuid);

	return test_libvirtd_guest_pid(name);
}

static enum virt_off off_of(struct virt *v, const char *uuid)
{
	struct virt_dom dom;
	struct err e = { 0 };

	assert_true(virt_cases_wait_state(v, uuid, VIRT_OFF));
	ok(virt_get(v, uuid, &dom, &e), &e);
	return dom.off;
}

/* QEMU dies; somebody tells it to go: neither is the guest's will. */
static void test_signals(void **state)
{
	static const int signals[] = { SIGKILL, SIGTERM };
	struct virt_seen *s = *state;
	char uuid[UUID_STR_SIZE];

	for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
		int pid, n = __atomic_load_n(&s->n_events, __ATOMIC_RELAXED);

		run_guest(s->v, uuid, NULL);
		pid = guest_pid(uuid);
		assert_true(pid > 1);
		kill(pid, signals[i]);
		assert_true(virt_seen_wait(&s->n_events, n));
		assert_int_equal(off_of(s->v, uuid), VIRT_OFF_CRASHED);
		clean(s->v, uuid);
	}
}

/* A boot sector that powers the machine off: SLP_EN and type 0 to the ICH9's PM1a control. */
static char *write_off_image(void)
{
	static const unsigned char code[] = { 0xba, 0x04, 0x06, /* mov dx, 0x604 */
		0xb8, 0x00, 0x20,				/* mov ax, 0x2000 */
		0xef,						/* out dx, ax */
		0xf4, 0xeb, 0xfd };				/* hlt; jmp */
	char *path = test_path("off.img");
	unsigned char image[1024 * 1024] = { 0 };
	struct err e = { 0 };

	memcpy(image, code, sizeof(code));
	image[510] = 0x55;
	image[511] = 0xaa;
	ok(file_write(path, image, sizeof(image), 0644, FILE_REPLACE, &e), &e);
	return path;
}

static void test_guest_off(void **state)
{
	struct virt_seen *s = *state;
	CLEANUP_STR char *image = write_off_image();
	char uuid[UUID_STR_SIZE];

	run_guest(s->v, uuid, image);
	assert_int_equal(off_of(s->v, uuid), VIRT_OFF_GUEST);
	clean(s->v, uuid);
}

/* libvirtd dies under a running guest, and comes back: calls fail meanwhile, at once; then
 * we are told to look at everything, and the guest is there. */
static void test_restart(void **state)
{
	struct virt_seen *s = *state;
	char uuid[UUID_STR_SIZE];
	struct virt_dom dom;
	struct err e = { 0 };
	int64_t begin;
	int n, pid;

	run_guest(s->v, uuid, NULL);
	pid = guest_pid(uuid);
	assert_true(virt_seen_wait(&s->n_reviews, 0)); /* that of the first connection */
	n = __atomic_load_n(&s->n_reviews, __ATOMIC_RELAXED);
	test_libvirtd_kill();
	begin = test_now_msec();
	assert_int_equal(virt_get(s->v, uuid, &dom, &e), -1);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_true(test_now_msec() - begin < 20000);
	assert_int_equal(kill(pid, 0), 0);
	test_libvirtd_start();
	assert_true(virt_seen_wait(&s->n_reviews, n));
	ok(virt_get(s->v, uuid, &dom, &e), &e);
	assert_int_equal(dom.state, VIRT_RUNNING);
	assert_int_equal(dom.boot, 1);
	clean(s->v, uuid);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest own[] = {
		TEST(test_signals),
		TEST(test_guest_off),
		TEST(test_restart),
	};
	struct virt_cases c = {
		.add_foreign = add_foreign,
		.remove_foreign = remove_foreign,
		.make_disk = make_disk,
		.has_secrets = true,
		.has_bridge = true,
	};
	int rc;

	/* As every daemon does: libvirt's client writes to a libvirtd that has just gone. */
	signal(SIGPIPE, SIG_IGN);
	enter_namespace();
	c.uri = uri = test_libvirtd_start();
	virt_cases_set(&c);
	rc = _cmocka_run_group_tests("virt_qemu", virt_cases, virt_cases_len, NULL, NULL);
	return rc + cmocka_run_group_tests(own, NULL, NULL);
}
