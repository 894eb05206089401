/*
 * Strings as small numbers: equal strings have equal numbers. "" (and NULL) is 0, the others
 * count from 1 in the order of their first appearance. Valid when zeroed; nothing is ever
 * forgotten before intern_done(). Not shared between threads.
 */
#ifndef UCLOUD_SCHEDULER_INTERN_H
#define UCLOUD_SCHEDULER_INTERN_H

#include <stdint.h>

struct intern_entry;

struct intern {
	struct intern_entry *by_name; /* uthash */
	struct intern_entry **v;      /* v[id - 1] */
	uint32_t len, cap;
};

/* Its number; a new one when it was not known. */
uint32_t intern_id(struct intern *in, const char *s);
/* 0 when it is not known (or ""). */
uint32_t intern_find(const struct intern *in, const char *s);
/* Borrowed, until intern_done(). */
const char *intern_str(const struct intern *in, uint32_t id);
void intern_done(struct intern *in);

#endif
