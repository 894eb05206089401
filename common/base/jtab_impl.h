/*
 * What the halves of jtab share: jtab.c (structs in memory), jtab_parse.c (JSON to struct) and
 * jtab_format.c (struct to JSON and to schema). Nobody else includes this.
 */
#ifndef UCLOUD_JTAB_IMPL_H
#define UCLOUD_JTAB_IMPL_H

#include "common/base/jtab.h"

/* The member of the struct at `base` that a field describes. */
static inline void *jtab_member(const struct jtab_field *f, void *base)
{
	return (char *)base + f->off;
}

static inline const void *jtab_member_const(const struct jtab_field *f, const void *base)
{
	return (const char *)base + f->off;
}

static inline json_t **jtab_rest(const struct jtab *t, void *base)
{
	return (json_t **)(void *)((char *)base + t->rest_off);
}

static inline json_t *jtab_rest_const(const struct jtab *t, const void *base)
{
	return *(json_t *const *)(const void *)((const char *)base + t->rest_off);
}

static inline bool jtab_has_min(const struct jtab_field *f)
{
	return f->min != 0 || f->max != 0;
}

static inline bool jtab_has_max(const struct jtab_field *f)
{
	return jtab_has_min(f) && f->max >= f->min;
}

/* Moves the members of t from one struct to another, which must be zeroed or done. */
void jtab_move(const struct jtab *t, void *from, void *to);
/* jtab_done() of one member. */
void jtab_member_done(const struct jtab_field *f, void *base);
/* Copies one member; the target's must be zeroed or done. */
void jtab_member_copy(const struct jtab_field *f, const void *from, void *to);

#endif
