/*
 * Where requests for a VM can be open; and counting VMs.
 */
#include <string.h>

#include "common/base/buf.h"
#include "ucloud-api/orders_impl.h"

enum { COUNT_PAGE_LEN = 500 };

static void slot_done(struct slot *s)
{
	free(s->key);
	request_done(&s->request);
}

void slots_done(struct slots *s)
{
	slot_done(&s->scheduler);
	slot_done(&s->host);
	slot_done(&s->disk_host);
}

/* Takes key. */
static int look(struct draft *d, char *key, struct slot *s, struct err *e)
{
	int r;

	s->key = key;
	r = find_request(d, key, &s->request, e);
	s->is_open = r == 0;
	return r == DRAFT_AS_IT_IS ? 0 : r;
}

int slots_look(const struct orders *o, struct draft *d, const struct vm *vm,
	struct slots *s, struct err *e)
{
	int at_scheduler, at_host = 0, at_disk_host = 0;

	at_scheduler =
		look(d, key_request_scheduler(o->keys, vm->uuid), &s->scheduler, e);
	if (at_scheduler >= 0 && vm_has_host(vm))
		at_host = look(d, key_request_host(o->keys, vm->hostname, vm->uuid),
			&s->host, e);
	if (at_scheduler >= 0 && at_host >= 0 && !str_is_empty(vm->disk_host) &&
		!str_eq(vm->disk_host, vm->hostname))
		at_disk_host = look(d, key_request_host(o->keys, vm->disk_host, vm->uuid),
			&s->disk_host, e);
	if (at_scheduler < 0 || at_host < 0 || at_disk_host < 0)
		return -1;
	return at_scheduler || at_host || at_disk_host ? DRAFT_MORE : 0;
}

struct slot *slots_open(struct slots *s)
{
	struct slot *all[] = { &s->host, &s->disk_host, &s->scheduler };

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (all[i]->is_open)
			return all[i];
	}
	return NULL;
}

void slot_same(struct draft *d, const struct slot *s)
{
	if (s->key)
		draft_same(d, s->key);
}

void slot_close(struct draft *d, const struct slot *s)
{
	slot_same(d, s);
	if (s->is_open)
		draft_del(d, s->key);
}

static int64_t count_page(const struct kv_list *page, const char *needle,
	bool (*fn)(void *aux, const struct vm *vm), void *aux)
{
	int64_t n = 0;

	for (size_t i = 0; i < page->len; i++) {
		const struct kv_pair *p = &page->v[i];
		CLEANUP(vm_done) struct vm vm = { 0 };

		/* What cannot be read may well use it: it counts. */
		if (memmem(p->value, p->value_size, needle, strlen(needle)))
			n += vm_parse(p->value, p->value_size, &vm, NULL) < 0 ||
			     fn(aux, &vm);
	}
	return n;
}

int count_vms(struct orders *o, const char *needle,
	bool (*fn)(void *aux, const struct vm *vm), void *aux, int64_t *n, struct err *e)
{
	CLEANUP_STR char *after = NULL;
	int64_t rev = 0, sum = 0;
	bool has_more = true;

	while (has_more) {
		CLEANUP(kv_list_done) struct kv_list page = { 0 };
		int r = kv_range_page(
			o->kv, o->keys->vm, after, COUNT_PAGE_LEN, rev, &page, e);

		if (r != 0)
			return r < 0 ? -1
				     : err_set(e, ERR_UNAVAILABLE,
					       "the store forgot the revision while VMs "
					       "were counted: try again");
		sum += count_page(&page, needle, fn, aux);
		rev = page.rev;
		has_more = page.has_more && page.len > 0;
		if (has_more)
			str_set(&after, xstrdup(page.v[page.len - 1].key));
	}
	*n = sum;
	return 0;
}
