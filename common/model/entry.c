#include "common/model/entry.h"

#include <string.h>

/* *made is the heap struct when the result is 0. */
static int check_made(const struct entry_class *c, int parsed, void **made, struct err *e)
{
	if (parsed == 0 && (!c->check || c->check(*made, e) == 0))
		return 0;
	entry_free_item(c, MOVE(*made));
	return -1;
}

int entry_parse(const struct entry_class *c, const char *json, size_t size, void *out,
	struct err *e)
{
	void *made = xcalloc(1, c->jtab->size);
	int parsed = jtab_parse_text(c->jtab, json, size, JTAB_STORED, made, e);

	if (check_made(c, parsed, &made, e) != 0)
		return -1;
	jtab_done(c->jtab, out);
	memcpy(out, made, c->jtab->size);
	free(made);
	return 0;
}

static int check_id(
	const struct entry_class *c, const char *name, const void *entry, struct err *e)
{
	const char *slash = c->is_last_part ? strrchr(name, '/') : NULL;
	const char *want = slash ? slash + 1 : name;
	const char *id = *(char *const *)((const char *)entry + c->id_off);

	if (str_eq(id, want))
		return 0;
	return err_set(e, ERR_INVALID,
		"the value is of %s \"%.64s\", its key of \"%.64s\"", c->jtab->name,
		id ? id : "", want);
}

void *entry_parse_item(
	const struct entry_class *c, const char *name, json_t *json, struct err *e)
{
	void *made = xcalloc(1, c->jtab->size);
	int parsed = jtab_parse(c->jtab, json, JTAB_STORED, made, e);

	if (parsed == 0)
		parsed = check_id(c, name, made, e);
	return check_made(c, parsed, &made, e) == 0 ? made : NULL;
}

void entry_free_item(const struct entry_class *c, void *entry)
{
	if (entry)
		jtab_done(c->jtab, entry);
	free(entry);
}
