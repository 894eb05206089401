#include "common/base/jtab.h"

#include <assert.h>
#include <string.h>

#include "common/base/jtab_impl.h"

static size_t member_size(enum jtab_kind kind)
{
	switch (kind) {
	case JT_STR:
		return sizeof(char *);
	case JT_INT:
	case JT_TIME:
		return sizeof(int64_t);
	case JT_BOOL:
		return sizeof(bool);
	case JT_ENUM:
		return sizeof(int);
	case JT_STRV:
		return sizeof(struct strv);
	case JT_LIST:
		return sizeof(struct jtab_list);
	case JT_JSON:
		return sizeof(json_t *);
	case JT_OBJ: /* goes through its own table */
	case JT_END:
		break;
	}
	assert(!"a kind with a size");
	return 0;
}

static void list_done(const struct jtab *sub, struct jtab_list *l)
{
	for (size_t i = 0; i < l->len; i++)
		jtab_done(sub, jtab_list_at(sub, l, i));
	free(l->v);
}

void jtab_member_done(const struct jtab_field *f, void *base)
{
	void *p = jtab_member(f, base);

	switch (f->kind) {
	case JT_OBJ:
		jtab_done(f->sub, p);
		return;
	case JT_STR:
		free(*(char **)p);
		break;
	case JT_STRV:
		strv_done(p);
		break;
	case JT_LIST:
		list_done(f->sub, p);
		break;
	case JT_JSON:
		json_decref(*(json_t **)p);
		break;
	default:
		break;
	}
	memset(p, 0, member_size(f->kind));
}

void jtab_done(const struct jtab *t, void *p)
{
	for (const struct jtab_field *f = t->fields; f->name; f++)
		jtab_member_done(f, p);
	if (t->has_rest)
		json_decref_ptr(jtab_rest(t, p));
}

void jtab_move(const struct jtab *t, void *from, void *to)
{
	for (const struct jtab_field *f = t->fields; f->name; f++) {
		void *source = jtab_member(f, from), *target = jtab_member(f, to);

		if (f->kind == JT_OBJ) {
			jtab_move(f->sub, source, target);
			continue;
		}
		memcpy(target, source, member_size(f->kind));
		memset(source, 0, member_size(f->kind));
	}
	if (t->has_rest)
		*jtab_rest(t, to) = MOVE(*jtab_rest(t, from));
}

static void list_copy(
	const struct jtab *sub, const struct jtab_list *from, struct jtab_list *to)
{
	for (size_t i = 0; i < from->len; i++)
		jtab_copy(sub, jtab_list_at(sub, from, i), jtab_list_add(sub, to));
}

void jtab_member_copy(const struct jtab_field *f, const void *from, void *to)
{
	const void *source = jtab_member_const(f, from);
	void *target = jtab_member(f, to);

	switch (f->kind) {
	case JT_OBJ:
		jtab_copy(f->sub, source, target);
		break;
	case JT_STR:
		*(char **)target = xstrdup(*(char *const *)source);
		break;
	case JT_STRV:
		strv_copy(target, source);
		break;
	case JT_LIST:
		list_copy(f->sub, source, target);
		break;
	case JT_JSON:
		*(json_t **)target = json_deep_copy(*(json_t *const *)source);
		break;
	default:
		memcpy(target, source, member_size(f->kind));
		break;
	}
}

void jtab_copy(const struct jtab *t, const void *from, void *to)
{
	if (from == to)
		return;
	jtab_done(t, to);
	for (const struct jtab_field *f = t->fields; f->name; f++)
		jtab_member_copy(f, from, to);
	if (t->has_rest)
		*jtab_rest(t, to) = json_deep_copy(jtab_rest_const(t, from));
}

void *jtab_list_add(const struct jtab *sub, struct jtab_list *l)
{
	void *element;

	l->v = xreallocarray(l->v, l->len + 1, sub->size);
	element = (char *)l->v + l->len * sub->size;
	memset(element, 0, sub->size);
	l->len++;
	return element;
}

void *jtab_list_at(const struct jtab *sub, const struct jtab_list *l, size_t i)
{
	assert(i < l->len);
	return (char *)l->v + i * sub->size;
}

int names_find(const char *const *names, const char *name)
{
	for (int i = 0; names[i]; i++)
		if (str_eq(names[i], name))
			return i;
	return -1;
}

void json_decref_ptr(json_t **j)
{
	json_decref(*j);
	*j = NULL;
}
