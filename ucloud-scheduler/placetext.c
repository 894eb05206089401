#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "ucloud-scheduler/place.h"

#define WHY_MAX 2000

const char *place_dim_name(int dim)
{
	static const char *const names[] = { "CPU", "RAM", "disk" };

	return dim >= 0 && dim < PLACE_N_DIMS ? names[dim] : "?";
}

/* "a=b\nc=d\n" as "a=b, c=d". */
static void add_set(struct buf *b, const struct snap *s, uint32_t set)
{
	const char *text = intern_str(&s->set_names, set);

	for (; *text; text++) {
		if (*text != '\n')
			buf_add_char(b, *text);
		else if (text[1])
			buf_add_str(b, ", ");
	}
}

static void add_need(
	struct buf *b, const char *what, int64_t need, const char *unit, int64_t best)
{
	buf_addf(b, "not enough %s (need %" PRId64 "%s, best has %" PRId64 ")", what,
		need, unit, best);
}

static void add_reason(struct buf *b, const struct snap *s, const struct place_ask *ask,
	const struct place_result *r, enum place_reason reason)
{
	const char *store = intern_str(&s->store_names, ask->store);

	switch (reason) {
	case PLACE_NO_CPU:
		add_need(b, "CPU", ask->cpu, "", r->best[PLACE_CPU]);
		break;
	case PLACE_NO_RAM:
		add_need(b, "RAM", ask->ram_mib, " MiB", r->best[PLACE_RAM]);
		break;
	case PLACE_NO_DISK:
		add_need(b, "disk space", ask->disk_gib, " GiB", r->best[PLACE_DISK]);
		buf_addf(b, " in store \"%s\"", store);
		break;
	case PLACE_APART:
		buf_add_str(b, "a VM that it must be apart from is there");
		break;
	case PLACE_NEAR:
		buf_add_str(b, "no VM with ");
		add_set(b, s, ask->near);
		buf_add_str(b, " is there to be near to");
		break;
	case PLACE_LABELS:
		buf_add_str(b, "lacks the host label ");
		add_set(b, s, ask->host_labels);
		break;
	case PLACE_STORE:
		buf_addf(b, "does not reach image store \"%s\"", store);
		break;
	case PLACE_IMAGE_STORE:
		buf_addf(b, "does not reach image store \"%s\", which its image is in",
			intern_str(&s->store_names, ask->image_store));
		break;
	case PLACE_UNSIZED:
		buf_add_str(b, "has not reported its CPUs and RAM yet");
		break;
	case PLACE_DRAINING:
		buf_add_str(b, "draining");
		break;
	case PLACE_DEAD:
		buf_add_str(b, "no heartbeat");
		break;
	case PLACE_FITS:
	case PLACE_N_REASONS:
		break;
	}
}

static void add_reasons(struct buf *b, const struct snap *s, const struct place_ask *ask,
	const struct place_result *r)
{
	const char *sep = "";

	for (int i = PLACE_FITS + 1; i < PLACE_N_REASONS; i++) {
		if (!r->n[i])
			continue;
		buf_addf(b, "%s%" PRIu32 " host%s: ", sep, r->n[i],
			r->n[i] == 1 ? "" : "s");
		add_reason(b, s, ask, r, i);
		sep = "; ";
	}
}

/* A VM whose disks tie it to one host: only that host's reason is of interest. */
static void add_pinned_reason(struct buf *b, const struct snap *s,
	const struct place_ask *ask, const struct place_result *r)
{
	buf_addf(b, "its disks are on %s: ", snap_host_name(s, ask->pin));
	if (!r->n_seen)
		buf_add_str(b, "that host is not registered");
	for (int i = PLACE_FITS + 1; i < PLACE_N_REASONS; i++)
		if (r->n[i])
			add_reason(b, s, ask, r, i);
}

/* Far below the limit of a VM entry's `why`, which therefore never cuts what we compare. */
static char *cut(struct buf *b)
{
	if (b->size > WHY_MAX) {
		b->s[WHY_MAX] = '\0';
		b->size = WHY_MAX;
		buf_add_str(b, "...");
	}
	return buf_take(b);
}

char *place_reasons(
	const struct snap *s, const struct place_ask *ask, const struct place_result *r)
{
	struct buf b = { 0 };

	if (!s->stores[ask->store].is_known)
		buf_addf(&b, "image store \"%s\" is not registered",
			intern_str(&s->store_names, ask->store));
	else if (ask->pin >= 0)
		add_pinned_reason(&b, s, ask, r);
	else if (!r->n_seen)
		buf_add_str(&b, "no host is registered");
	else
		add_reasons(&b, s, ask, r);
	return cut(&b);
}

char *place_why(
	const struct snap *s, const struct place_ask *ask, const struct place_result *r)
{
	struct buf b = { 0 };

	if (r->host < 0)
		return place_reasons(s, ask, r);
	buf_addf(&b, "%s: ", snap_host_name(s, r->host));
	if (ask->pin >= 0)
		buf_add_str(&b, "its disks are there; ");
	buf_addf(&b, "%.0f %% of its scarcest resource (%s) stays free", r->free * 100,
		place_dim_name(r->scarcest));
	if (ask->pin < 0) {
		buf_addf(&b, "; %" PRIu32 " of %" PRIu32 " host%s fit%s",
			r->n[PLACE_FITS], r->n_seen, r->n_seen == 1 ? "" : "s",
			r->n[PLACE_FITS] == 1 ? "s" : "");
		if (r->n[PLACE_FITS] < r->n_seen)
			buf_add_str(&b, "; ");
		add_reasons(&b, s, ask, r);
	}
	return cut(&b);
}

/* Steps over a number, and over the plural of "host". */
static const char *skip(const char *start, const char *p)
{
	while (isdigit((unsigned char)*p))
		p++;
	if (*p == 's' && p - start >= 4 && !memcmp(p - 4, "host", 4))
		p++;
	return p;
}

bool place_is_same_why(const char *a, const char *b)
{
	const char *p = a ? a : "", *q = b ? b : "";

	a = p;
	b = q;
	for (;; p++, q++) {
		p = skip(a, p);
		q = skip(b, q);
		if (*p != *q)
			return false;
		if (!*p)
			return true;
	}
}
