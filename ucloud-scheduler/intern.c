#include "ucloud-scheduler/intern.h"

#include <assert.h>
#include <string.h>

#include "common/base/hash.h"

struct intern_entry {
	UT_hash_handle hh;
	uint32_t id;
	char s[];
};

uint32_t intern_find(const struct intern *in, const char *s)
{
	struct intern_entry *e = NULL;

	if (!s || !*s)
		return 0;
	HASH_FIND_STR(in->by_name, s, e);
	return e ? e->id : 0;
}

uint32_t intern_id(struct intern *in, const char *s)
{
	uint32_t id = intern_find(in, s);

	if (id || !s || !*s)
		return id;
	size_t size = strlen(s) + 1;
	struct intern_entry *e = xcalloc(1, sizeof(*e) + size);

	memcpy(e->s, s, size);
	if (in->len == in->cap) {
		in->cap = in->cap ? in->cap * 2 : 16;
		in->v = xreallocarray(in->v, in->cap, sizeof(struct intern_entry *));
	}
	in->v[in->len++] = e;
	e->id = in->len;
	HASH_ADD_KEYPTR(hh, in->by_name, e->s, size - 1, e);
	return e->id;
}

const char *intern_str(const struct intern *in, uint32_t id)
{
	assert(id <= in->len);
	return id ? in->v[id - 1]->s : "";
}

void intern_done(struct intern *in)
{
	HASH_CLEAR(hh, in->by_name);
	for (uint32_t i = 0; i < in->len; i++)
		free(in->v[i]);
	free(in->v);
	*in = (struct intern){ 0 };
}
