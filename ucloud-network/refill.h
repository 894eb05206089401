/*
 * Loading filters into tables that are there: pure.
 *
 * What filter.h writes deletes the tables and makes them anew. While the kernel does that, a
 * frame that is just being looked at by the old rules finds their sets empty, and is dropped:
 * one of some hundred loads cost a frame. When the tables already have all that they shall have,
 * only their rules and elements are put in place of those there, in one transaction as well:
 * then rules, old and new, look into the same sets, and nothing is lost.
 */
#ifndef UCLOUD_NETWORK_REFILL_H
#define UCLOUD_NETWORK_REFILL_H

#include <stdbool.h>

#include "common/base/buf.h"

/* Has what nft_list() gave exactly the tables, sets, maps, chains, counters and limits of the
 * text? Names are compared, so what cannot be changed in place, such as a limit's rate, must be
 * in them. listing may be NULL: nothing is there. */
bool refill_fits(const char *listing, const char *text);
/* The text (filter_text()) such that it leaves tables, sets and chains in place. Counters keep
 * their values, whatever the text says. */
void refill_text(const char *text, struct buf *out);

#endif
