/* The contract with libvirt's test driver: no guests, but libvirt's own logic. */
#include <libvirt/libvirt.h>
#include <stdio.h>

#include "common/base/mem.h"
#include "tests/lib/virt_cases.h"

/* Also keeps the driver's one state while no test has it open. */
static virConnectPtr raw;

static void add_foreign(const char *uuid, const char *name)
{
	CLEANUP_STR char *xml = xasprintf(
		"<domain type='test'><name>%s</name><uuid>%s</uuid><memory>8192</memory>"
		"<os><type>hvm</type></os></domain>",
		name, uuid);
	virDomainPtr dom = virDomainDefineXML(raw, xml);

	assert_non_null(dom);
	assert_int_equal(virDomainCreate(dom), 0);
	virDomainFree(dom);
}

static void remove_foreign(const char *uuid)
{
	virDomainPtr dom = virDomainLookupByUUIDString(raw, uuid);

	assert_non_null(dom);
	assert_int_equal(virDomainDestroy(dom), 0);
	assert_int_equal(virDomainUndefine(dom), 0);
	virDomainFree(dom);
}

int main(void)
{
	const struct virt_cases c = {
		.uri = "test:///default",
		.add_foreign = add_foreign,
		.remove_foreign = remove_foreign,
		.has_obedient_guests = true,
	};
	int rc;

	raw = virConnectOpen(c.uri);
	if (raw == NULL) {
		printf("libvirt has no test driver\n");
		return 77;
	}
	virt_cases_set(&c);
	rc = _cmocka_run_group_tests(
		"virt_libvirt", virt_cases, virt_cases_len, NULL, NULL);
	virConnectClose(raw);
	return rc;
}
