#include "ucloud-scheduler/pages.h"

#define PAGE_LEN 1000

int pages_read(struct kv *kv, const char *prefix, pages_fn *fn, void *aux, struct err *e)
{
	CLEANUP_STR char *after = NULL;
	bool has_more = true;

	while (has_more) {
		CLEANUP(kv_list_done) struct kv_list list = { 0 };
		if (kv_range_page(kv, prefix, after, PAGE_LEN, 0, &list, e) != 0)
			return -1;
		for (size_t i = 0; i < list.len; i++)
			fn(aux, &list.v[i]);
		has_more = list.has_more && list.len;
		if (has_more)
			str_set(&after, xstrdup(list.v[list.len - 1].key));
	}
	return 0;
}
