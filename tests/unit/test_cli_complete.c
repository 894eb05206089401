/* Completion for shells. */
#include "ucloud-cli/complete.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void fake_names(void *aux, const char *collection, struct strv *out)
{
	buf_addf(aux, "%s ", collection);
	if (str_eq(collection, "vms")) {
		strv_add(out, "web");
		strv_add(out, "worker");
		strv_add(out, "db");
	} else if (str_eq(collection, "images")) {
		strv_add(out, "debian-12");
	} else if (str_eq(collection, "networks")) {
		strv_add(out, "lan");
	}
}

/* The words are split at blanks; the last one may be empty. The candidates, joined. */
static char *complete(const char *line, char **asked)
{
	struct strv words = { 0 }, out = { 0 };
	struct buf collections = { 0 };
	const char *rest = line;
	char *joined;

	for (;;) {
		size_t len = strcspn(rest, " ");

		strv_add_take(&words, xstrndup(rest, len));
		if (!rest[len])
			break;
		rest += len + 1;
	}
	cli_complete(
		(const char *const *)words.v, words.len, fake_names, &collections, &out);
	joined = strv_join(&out, " ");
	*asked = buf_take(&collections);
	strv_done(&words);
	strv_done(&out);
	return joined;
}

static void candidates(void **state)
{
	static const struct {
		const char *line, *want, *asked;
	} cases[] = {
		{ "i", "image image-store", "" },
		{ "vm st", "start stop", "" },
		{ "host ", "create list show change drain undrain delete", "" },
		{ "vm show ", "web worker db", "vms " },
		{ "vm show w", "web worker", "vms " },
		{ "--json vm stop w", "web worker", "vms " },
		{ "--config /x vm stop d", "db", "vms " },
		{ "vm stop web --f", "--force", "" },
		{ "vm stop web --force --f", "", "" },
		{ "vm stop web ",
			"--force --wait --timeout --owner --config --api --ca --json "
			"--quiet --help --version",
			"" },
		{ "vm create --image ", "debian-12", "images " },
		{ "vm create --want ", "running stopped", "" },
		{ "vm create --label a=b --la", "--label", "" },
		{ "vm create --name x --na", "", "" },
		{ "vm create --user-data ", "@files", "" },
		{ "vm create --ssh-key @", "@files", "ssh-keys " },
		{ "vm create --name w", "", "" },
		{ "--config ", "@files", "" },
		{ "--qu", "--quiet", "" },
		{ "image create --format q", "qcow2", "" },
		{ "network create --ipam m", "manual", "" },
		{ "network ", "create list show change delete attach detach", "" },
		{ "network show l", "lan", "networks " },
		{ "vm create --network ", "lan", "networks " },
		{ "file upload ", "@files", "" },
		{ "file upload x.img --no-w", "--no-wait", "" },
		{ "image change x --public ", "yes no", "" },
		{ "help im", "image image-store", "" },
		{ "help vm sh", "show", "" },
		{ "vm sn", "snapshot", "" },
		{ "vm snapshot ", "create list restore delete", "" },
		{ "vm snapshot re", "restore", "" },
		{ "vm snapshot restore w", "web worker", "vms " },
		{ "vm snapshot restore web x --w", "--wait", "" },
		{ "vm snapshot nonsense ", "", "" },
		{ "disk ", "attach detach grow list flatten", "" },
		{ "nonsense ", "", "" },
		{ "vm nonsense ", "", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *asked, *got = complete(cases[i].line, &asked);

		if (!str_eq(got, cases[i].want) || !str_eq(asked, cases[i].asked))
			fail_msg("\"%s\": \"%s\", asked \"%s\"", cases[i].line, got,
				asked);
		free(got);
		free(asked);
	}
}

static void without_words(void **state)
{
	struct strv out = { 0 };

	(void)state;
	cli_complete(NULL, 0, NULL, NULL, &out);
	assert_true(strv_has(&out, "vm"));
	strv_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(candidates),
		cmocka_unit_test(without_words),
	};

	mem_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
