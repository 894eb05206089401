/*
 * The names of entries that have changed, each once, from any thread; taken by one. Nothing
 * is collected before dirty_begin() and after dirty_end(): a scheduler that does not lead
 * needs no list that grows.
 */
#ifndef UCLOUD_SCHEDULER_DIRTY_H
#define UCLOUD_SCHEDULER_DIRTY_H

#include <stdbool.h>

#include "common/base/hash.h"

enum dirty_kind { DIRTY_VM, DIRTY_HOST, DIRTY_ALIVE, DIRTY_STORE, DIRTY_REQUEST };

struct dirty_name {
	UT_hash_handle hh;
	struct dirty_name *next;
	enum dirty_kind kind;
	const char *name; /* behind the prefix */
	char key[];	  /* a letter for the kind, then the name */
};

struct dirty;

struct dirty *dirty_new(void);
void dirty_free(struct dirty *d);
/* Forgets what it has and collects from now on. */
void dirty_begin(struct dirty *d);
void dirty_end(struct dirty *d);
/* False when nothing is collected now. */
bool dirty_add(struct dirty *d, enum dirty_kind kind, const char *name);
/* All, oldest first: the caller's, for dirty_names_free(). */
struct dirty_name *dirty_take(struct dirty *d);
void dirty_names_free(struct dirty_name *list);

#endif
