#include "ucloud-scheduler/pend.h"

#include <string.h>

#define RETRY_MIN_MSEC 50
#define RETRY_MAX_MSEC 5000

static void free_all(struct pends *ps)
{
	for (size_t i = 0; i < ps->len; i++)
		free(ps->v[i]);
	free(ps->v);
}

void pends_done(struct pends *ps)
{
	HASH_CLEAR(hh, ps->by_uuid);
	free_all(ps);
	*ps = (struct pends){ 0 };
}

struct pend *pends_find(const struct pends *ps, const char *uuid)
{
	struct pend *p = NULL;

	HASH_FIND_STR(ps->by_uuid, uuid, p);
	return p;
}

static struct pend *add(struct pends *ps, const char *uuid)
{
	struct pend *p = xcalloc(1, sizeof(*p));

	memcpy(p->uuid, uuid, strnlen(uuid, sizeof(p->uuid) - 1));
	HASH_ADD_STR(ps->by_uuid, uuid, p);
	if (ps->len == ps->cap) {
		ps->cap = ps->cap ? ps->cap * 2 : 64;
		ps->v = xreallocarray(ps->v, ps->cap, sizeof(struct pend *));
	}
	ps->v[ps->len++] = p;
	ps->is_sorted = false;
	return p;
}

static int64_t deadline_of(const struct request *r, int64_t wait_sec)
{
	if (r->deadline)
		return r->deadline;
	return wait_sec && r->created ? r->created + wait_sec : 0;
}

void pends_put(struct pends *ps, const char *uuid, const struct request *r, int64_t rev,
	int64_t wait_sec)
{
	struct pend *p = pends_find(ps, uuid);

	if (!p)
		p = add(ps, uuid);
	else if (p->request_rev == rev)
		return;
	if (p->created != r->created)
		ps->is_sorted = false;
	p->request_rev = rev;
	p->created = r->created;
	p->not_before = r->not_before;
	p->deadline = deadline_of(r, wait_sec);
	p->is_done = false;
	p->is_news = true;
	p->retry_msec = p->behind_msec = 0;
	p->n_failures = 0;
}

void pends_del(struct pends *ps, const char *uuid)
{
	struct pend *p = pends_find(ps, uuid);

	if (!p)
		return;
	HASH_DEL(ps->by_uuid, p);
	p->is_gone = true;
	ps->n_gone++;
}

size_t pends_len(const struct pends *ps)
{
	return ps->len - ps->n_gone;
}

static int compare(const void *a, const void *b)
{
	const struct pend *x = *(struct pend *const *)a, *y = *(struct pend *const *)b;

	if (x->created != y->created)
		return x->created < y->created ? -1 : 1;
	return strcmp(x->uuid, y->uuid);
}

void pends_sort(struct pends *ps)
{
	size_t len = 0;

	/* Sweeping costs as much as the list is long: only when it pays. */
	if (ps->n_gone > 64 && ps->n_gone > ps->len / 4) {
		for (size_t i = 0; i < ps->len; i++) {
			if (ps->v[i]->is_gone)
				free(ps->v[i]);
			else
				ps->v[len++] = ps->v[i];
		}
		ps->len = len;
		ps->n_gone = 0;
	}
	if (!ps->is_sorted && ps->len)
		qsort(ps->v, ps->len, sizeof(struct pend *), compare);
	ps->is_sorted = true;
}

void pend_failed(struct pend *p, int64_t mono_msec)
{
	int64_t wait = RETRY_MIN_MSEC;

	for (unsigned i = 0; i < p->n_failures && wait < RETRY_MAX_MSEC; i++)
		wait *= 2;
	p->n_failures++;
	p->is_news = true;
	p->retry_msec = mono_msec + (wait < RETRY_MAX_MSEC ? wait : RETRY_MAX_MSEC);
}
