/* A configuration file's text: every error names its line, and what was read
 * comes back when it is written. */
#include "common/base/conf.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct sample {
	char *name;
	struct strv list;
	int64_t n, sec;
	bool flag;
	int mode;
};

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size);

static const char *const modes[] = { "slow", "fast", NULL };

static const struct conf_opt opts[] = {
	{ "name", CONF_STR, offsetof(struct sample, name), CONF_SECRET },
	{ "list", CONF_STRV, offsetof(struct sample, list), .def = "x" },
	{ "n", CONF_INT, offsetof(struct sample, n), .min = -10, .max = 1000 },
	{ "sec", CONF_DURATION, offsetof(struct sample, sec), .def = "10s" },
	{ "flag", CONF_BOOL, offsetof(struct sample, flag) },
	{ "mode", CONF_ENUM, offsetof(struct sample, mode), .names = modes },
	{ 0 },
};
static const struct conf_part parts[] = { { opts, 0 }, { 0 } };
static const struct conf_table table = { "f", parts, sizeof(struct sample) };

static int read_text(const void *text, size_t size, struct sample *out)
{
	struct err e = { 0 };

	conf_set_defaults(&table, out);
	if (conf_read_text(&table, "f.conf", text, size, out, &e) == 0)
		return 0;
	if (strncmp(e.msg, "f.conf:", 7) != 0)
		__builtin_trap();
	return -1;
}

static void check_round_trip(const struct sample *s)
{
	struct buf text = { 0 }, again = { 0 };
	struct sample back = { 0 };
	struct err e = { 0 };

	/* A value of the greatest length with few blanks may not fit when it is written. */
	if (conf_format(&table, s, &text, &e) == 0) {
		if (read_text(text.s, text.size, &back) < 0 ||
			conf_format(&table, &back, &again, &e) < 0 ||
			strcmp(text.s, again.s) != 0)
			__builtin_trap();
	}
	conf_done(&table, &back);
	buf_done(&text);
	buf_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size)
{
	struct sample s = { 0 };

	if (read_text(p, size, &s) == 0)
		check_round_trip(&s);
	conf_done(&table, &s);
	return 0;
}
