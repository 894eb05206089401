/*
 * What all entries in etcd have in common: text or JSON to a struct, its own check after its
 * table's, and the form that struct cache_class wants. Only for common/model/. Pure.
 */
#ifndef UCLOUD_ENTRY_H
#define UCLOUD_ENTRY_H

#include "common/base/jtab.h"

struct entry_class {
	const struct jtab *jtab;
	size_t id_off;	   /* char *: what its key must be behind the prefix */
	bool is_last_part; /* ... or only behind the last "/" there */
	/* What the table cannot say: rules between members, and defaults. May be NULL. */
	int (*check)(void *entry, struct err *e);
};

/* *out (zeroed or valid before) is untouched unless the result is 0. */
int entry_parse(const struct entry_class *c, const char *json, size_t size, void *out,
	struct err *e) MUST_USE;
/* name is the key behind a prefix. A heap struct, or NULL with the error. */
void *entry_parse_item(
	const struct entry_class *c, const char *name, json_t *json, struct err *e);
/* NULL is fine. */
void entry_free_item(const struct entry_class *c, void *entry);

#endif
