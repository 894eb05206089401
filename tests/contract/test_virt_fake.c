#include "tests/lib/virt_cases.h"

#include "common/disk/disk_fake.h"
#include "ucloud-host/virt_fake.h"

static struct fake_hyper *hyper;

static void add_foreign(const char *uuid, const char *name)
{
	fake_hyper_add_foreign(hyper, uuid, name);
}

static void remove_foreign(const char *uuid)
{
	assert_true(fake_hyper_vanish(hyper, uuid));
}

static char *make_disk(const char *uuid, unsigned index, int64_t size_gib)
{
	char name[] = "s", path[] = "/";
	struct image_store conf = { .name = name, .type = STORE_FAKE, .path = path };
	struct disk_spec spec = { .vm_uuid = uuid, .index = index, .size_gib = size_gib };
	struct disk_store *s;
	struct err e = { 0 };

	if (disk_store_open(&conf, &s, &e) < 0 || disk_ensure(s, &spec, &e) < 0)
		fail_msg("%s", e.msg);
	disk_store_close(s);
	return xasprintf("/fake/s/vms/%s/%u.qcow2", uuid, index);
}

int main(void)
{
	const struct virt_cases c = {
		.uri = "fake:h1",
		.add_foreign = add_foreign,
		.remove_foreign = remove_foreign,
		.has_obedient_guests = true,
		.make_disk = make_disk,
		.has_secrets = true,
		.has_bridge = true,
	};
	int rc;

	disk_fake_register();
	hyper = fake_hyper_new("h1", 8, 16384);
	virt_cases_set(&c);
	rc = _cmocka_run_group_tests("virt_fake", virt_cases, virt_cases_len, NULL, NULL);
	fake_hyper_free(hyper);
	disk_fake_reset();
	return rc;
}
