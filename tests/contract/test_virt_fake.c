#include "tests/lib/virt_cases.h"

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

int main(void)
{
	const struct virt_cases c = {
		.uri = "fake:h1",
		.add_foreign = add_foreign,
		.remove_foreign = remove_foreign,
		.has_obedient_guests = true,
	};
	int rc;

	hyper = fake_hyper_new("h1", 8, 16384);
	virt_cases_set(&c);
	rc = _cmocka_run_group_tests("virt_fake", virt_cases, virt_cases_len, NULL, NULL);
	fake_hyper_free(hyper);
	return rc;
}
