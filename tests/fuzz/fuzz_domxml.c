/*
 * What libvirt says of a domain, which may be anybody's; and a VM whose every text is wild
 * is still a domain that says who it is.
 */
#include <assert.h>
#include <string.h>

#include "common/base/parse.h"
#include "ucloud-host/domxml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_id(const struct domxml_id *id)
{
	assert(memchr(id->uuid, '\0', sizeof(id->uuid)));
	assert(memchr(id->name, '\0', sizeof(id->name)));
	assert(memchr(id->host, '\0', sizeof(id->host)));
}

static void read_it(const char *text)
{
	CLEANUP(strv_done) struct strv macs = { 0 };
	struct domxml_disks disks;
	struct domxml_id id;
	struct err e = { 0 };

	if (domxml_read_id(text, &id, &e) == 0)
		check_id(&id);
	else
		assert(e.kind == ERR_INVALID && str_is_text(e.msg, strlen(e.msg), false));
	if (domxml_read_disks(text, &disks, &e) < 0)
		assert(e.kind == ERR_INVALID);
	if (domxml_read_nics(text, &macs, &e) < 0)
		assert(e.kind == ERR_INVALID && macs.len == 0);
}

static void write_it(char *text)
{
	char uuid[] = "01234567-89ab-4cde-8123-456789abcdef";
	char format[] = "qcow2";
	struct vm vm = { .uuid = uuid, .boot = 7, .name = text };
	struct disk_source disk = {
		.kind = DISK_SOURCE_FILE, .path = text, .format = format
	};
	struct domxml d = { .vm = &vm,
		.host = "h1",
		.driver = "qemu",
		.accel = "tcg",
		.disks = &disk,
		.n_disks = 1,
		.disk_cache = "none" };
	CLEANUP_STR char *xml = NULL;
	CLEANUP_STR char *disk_xml = NULL;
	struct domxml_disks disks;
	struct domxml_id id;
	struct err e;

	vm.specs.cpu = 1;
	vm.specs.ram_mib = 16;
	xml = domxml_format(&d);
	assert(domxml_read_id(xml, &id, &e) == 0);
	assert(strcmp(id.uuid, uuid) == 0 && id.boot == 7 && id.has_metadata);
	assert(domxml_read_disks(xml, &disks, &e) == 0 && disks.has[0] && !disks.has[1]);
	disk_xml = domxml_disk_format(&disk, "none");
	assert(domxml_read_disks(disk_xml, &disks, &e) == 0 && !disks.has[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_STR char *text = xstrndup((const char *)data, size);

	read_it(text);
	/* Paths are text. */
	if (str_is_text(text, strlen(text), false))
		write_it(text);
	return 0;
}
