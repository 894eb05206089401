#include "ucloud-host/domxml.h"

#include <libxml/relaxng.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/test_util.h"
#include "ucloud-host/virt.h"

#define UUID   "0b5f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a10"
#define GOLDEN "tests/golden/domxml/"
#define SCHEMA "/usr/share/libvirt/schemas/domain.rng"

static void make_vm(struct vm *vm)
{
	vm->uuid = xstrdup(UUID);
	vm->name = xstrdup("web");
	vm->specs.cpu = 2;
	vm->specs.ram_mib = 2048;
	vm->boot = 3;
}

static struct disk_source overlay(void)
{
	return (struct disk_source){
		.kind = DISK_SOURCE_FILE,
		.format = xstrdup("qcow2"),
		.path = xstrdup("/srv/ucloud/vms/" UUID "/0.qcow2"),
		.backing_path = xstrdup("/srv/ucloud/images/debian & co.img"),
		.backing_format = xstrdup("raw"),
	};
}

static struct disk_source empty(void)
{
	return (struct disk_source){
		.kind = DISK_SOURCE_FILE,
		.format = xstrdup("qcow2"),
		.path = xstrdup("/srv/ucloud/vms/" UUID "/1.qcow2"),
	};
}

static struct disk_source rbd(void)
{
	struct disk_source s = {
		.kind = DISK_SOURCE_RBD,
		.format = xstrdup("raw"),
		.path = xstrdup("uservms/" UUID "-0"),
		.user = xstrdup("ucloud"),
		.secret_uuid = xstrdup("3f0a2c8e-9a55-4c39-8d6e-5f3b1a2c4d5e"),
	};

	strv_add(&s.mons, "[2001:db8::1]:3300");
	strv_add(&s.mons, "[2001:db8::2]:3300");
	return s;
}

/* Compares with the file, or writes it with UPDATE=1. */
static void check_golden(const char *name, const char *text)
{
	CLEANUP_STR char *path = xasprintf(GOLDEN "%s.xml", name);
	CLEANUP_STR char *want = NULL;

	if (getenv("UPDATE") != NULL)
		test_write_file(path, text);
	want = test_read_file(path);
	assert_non_null(want);
	assert_string_equal(text, want);
}

static void ignore(void *aux, const char *fmt, ...)
{
	(void)aux;
	(void)fmt;
}

/* Is it what libvirt's own schema allows? */
static void check_schema(const char *text)
{
	xmlRelaxNGParserCtxtPtr parser;
	xmlRelaxNGPtr schema;
	xmlRelaxNGValidCtxtPtr valid;
	xmlDocPtr doc;

	if (access(SCHEMA, R_OK) != 0)
		return;
	parser = xmlRelaxNGNewParserCtxt(SCHEMA);
	schema = xmlRelaxNGParse(parser);
	assert_non_null(schema);
	valid = xmlRelaxNGNewValidCtxt(schema);
	doc = xmlReadMemory(text, (int)strlen(text), NULL, NULL, XML_PARSE_NONET);
	assert_non_null(doc);
	xmlRelaxNGSetValidErrors(valid, NULL, ignore, NULL);
	assert_int_equal(xmlRelaxNGValidateDoc(valid, doc), 0);
	xmlFreeDoc(doc);
	xmlRelaxNGFreeValidCtxt(valid);
	xmlRelaxNGFree(schema);
	xmlRelaxNGFreeParserCtxt(parser);
}

static void check_case(const char *name, struct domxml *d)
{
	struct vm vm = { 0 };
	CLEANUP_STR char *text = NULL;
	struct domxml_id id;
	struct err e = { 0 };

	make_vm(&vm);
	d->vm = &vm;
	d->host = "h1.example";
	text = domxml_format(d);
	check_golden(name, text);
	check_schema(text);
	assert_int_equal(domxml_read_id(text, &id, &e), 0);
	assert_string_equal(id.uuid, UUID);
	assert_string_equal(id.name, "ucloud-" UUID);
	assert_string_equal(id.host, "h1.example");
	assert_int_equal(id.boot, 3);
	assert_true(id.has_metadata);
	vm_done(&vm);
}

static void test_kvm(void **state)
{
	struct disk_source disks[] = { overlay(), empty() };
	struct domxml d = { .driver = "qemu",
		.accel = "kvm",
		.disks = disks,
		.n_disks = 2,
		.disk_cache = "none",
		.console_log = "/var/lib/ucloud-host/console/x.log" };

	(void)state;
	disks[1].index = 1;
	check_case("kvm", &d);
	disk_source_done(&disks[0]);
	disk_source_done(&disks[1]);
}

static void test_tcg(void **state)
{
	struct disk_source disk = overlay();
	struct domxml d = { .driver = "qemu",
		.accel = "tcg",
		.disks = &disk,
		.n_disks = 1,
		.disk_cache = "writeback" };

	(void)state;
	check_case("tcg", &d);
	disk_source_done(&disk);
}

static void test_rbd(void **state)
{
	struct disk_source disk = rbd();
	struct domxml d = { .driver = "qemu",
		.accel = "kvm",
		.disks = &disk,
		.n_disks = 1,
		.disk_cache = "writeback" };

	(void)state;
	check_case("rbd", &d);
	disk_source_done(&disk);
}

static void test_test_driver(void **state)
{
	struct domxml d = { .driver = "test", .accel = "tcg", .disk_cache = "none" };

	(void)state;
	check_case("test", &d);
}

/* Two interfaces and the boot configuration. */
static void test_nics(void **state)
{
	struct disk_source disk = overlay();
	char mac0[] = "52:54:00:0a:0b:0c", mac1[] = "52:54:00:0a:0b:0d";
	const struct vm_nic nic0 = { .mac = mac0 }, nic1 = { .mac = mac1 };
	const struct vmnet nics[] = {
		{ &nic0, { .vni = 5, .mtu = 1430 } },
		{ &nic1, { .vni = 16777215 } },
	};
	struct domxml d = { .driver = "qemu",
		.accel = "kvm",
		.disks = &disk,
		.n_disks = 1,
		.nics = nics,
		.n_nics = 2,
		.cd = "/var/lib/ucloud-host/nocloud/" UUID ".iso",
		.disk_cache = "none" };
	CLEANUP_STR char *text = NULL;
	struct domxml_disks disks;
	struct err e = { 0 };

	(void)state;
	check_case("nics", &d);
	/* The CD is none of the VM's disks. */
	text = test_read_file(GOLDEN "nics.xml");
	assert_int_equal(domxml_read_disks(text, &disks, &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(disks.has); i++)
		assert_int_equal(disks.has[i], i == 0);
	disk_source_done(&disk);
}

static void test_read_foreign(void **state)
{
	struct domxml_id id;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(
		domxml_read_id("<domain><name>x</name><uuid>" UUID "</uuid>"
			       "<metadata><vm host='h1' boot='1'/></metadata></domain>",
			&id, &e),
		0);
	assert_false(id.has_metadata); /* not in our name space */
	assert_string_equal(id.name, "x");
	assert_int_equal(domxml_read_id("<vm xmlns='" VIRT_XMLNS "' host='h1' boot='x'/>",
				 &id, &e),
		0);
	assert_false(id.has_metadata);
	assert_int_equal(domxml_read_id("<vm xmlns='" VIRT_XMLNS "' host='h1' boot='7'/>",
				 &id, &e),
		0);
	assert_true(id.has_metadata);
	assert_int_equal(id.boot, 7);
	/* libvirt leaves the name space out when it was asked for that one. */
	assert_int_equal(domxml_read_id("<vm host='h1' boot='8'/>", &id, &e), 0);
	assert_true(id.has_metadata);
	assert_int_equal(id.boot, 8);
	assert_int_equal(
		domxml_read_id("<vm xmlns='x' host='h1' boot='8'/>", &id, &e), 0);
	assert_false(id.has_metadata);
}

static void test_read_garbage(void **state)
{
	static const char *const bad[] = { "", "x", "<domain>", "<domain></x>",
		"\xff\xfe" };
	struct domxml_id id;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err e = { 0 };

		assert_int_equal(domxml_read_id(bad[i], &id, &e), -1);
		assert_int_equal(e.kind, ERR_INVALID);
	}
}

/* No entity of an attacker's choice is expanded. */
static void test_read_entities(void **state)
{
	struct domxml_id id;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(
		domxml_read_id(
			"<!DOCTYPE domain [<!ENTITY f SYSTEM 'file:///etc/passwd'>]>"
			"<domain><name>&f;</name></domain>",
			&id, &e),
		0);
	assert_string_equal(id.name, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kvm),
		cmocka_unit_test(test_tcg),
		cmocka_unit_test(test_rbd),
		cmocka_unit_test(test_test_driver),
		cmocka_unit_test(test_nics),
		cmocka_unit_test(test_read_foreign),
		cmocka_unit_test(test_read_garbage),
		cmocka_unit_test(test_read_entities),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
