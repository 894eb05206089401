#include "ucloud-api/list.h"

#include <string.h>

#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/model/file.h"
#include "common/model/host.h"
#include "common/model/image.h"
#include "common/model/names.h"
#include "common/model/network.h"
#include "common/model/request.h"
#include "common/model/vm.h"

/* A call looks at no more keys than this; `next` tells where to go on. */
enum { SCAN_MAX = 5000, SCAN_PAGE_LEN = 500 };

void list_page_done(struct list_page *p)
{
	json_decref(p->items);
	free(p->next);
	*p = (struct list_page){ 0 };
}

json_t *list_page_json(const char *name, struct list_page *p)
{
	json_t *json = json_object();

	json_object_set_new(json, name, MOVE(p->items));
	if (p->next)
		json_object_set_new(json, "next", json_string(p->next));
	list_page_done(p);
	return json;
}

void json_leave_out(json_t *object, const char *leaves)
{
	CLEANUP(strv_done) struct strv names = { 0 };

	strv_split(&names, leaves, ' ');
	for (size_t i = 0; i < names.len; i++)
		json_object_del(object, names.v[i]);
}

/* What cannot be read is left out, and told to whoever looks after the store. */
static void skip_unreadable(const char *key, const struct err *e)
{
	log_debug("left out of a list: %s key=%s", e->msg, key);
}

/* ---------------------------------------------------------------- one range, filtered */

/* The JSON of an entry, or NULL when it is not to be in the list. */
typedef json_t *item_fn(void *aux, const struct kv_pair *pair);

/* Puts the entries of one page into out until it is full. True when it is. */
static bool add_page(const struct kv_list *page, size_t limit, item_fn *fn, void *aux,
	struct list_page *out, size_t *n_used)
{
	for (*n_used = 0; *n_used < page->len; (*n_used)++) {
		json_t *item;

		if (json_array_size(out->items) >= limit)
			return true;
		item = fn(aux, &page->v[*n_used]);
		if (item)
			json_array_append_new(out->items, item);
	}
	return json_array_size(out->items) >= limit;
}

static size_t page_len(const struct list_page *out, size_t limit, bool is_filtered)
{
	size_t left = limit - json_array_size(out->items);

	return is_filtered && left < SCAN_PAGE_LEN ? SCAN_PAGE_LEN : left;
}

/* Entries below prefix, from after_key (taken; NULL: the first) on. next is what stands behind
 * the prefix of the last key that was looked at. */
static int list_entries(struct kv *kv, const char *prefix, char *after_key, size_t limit,
	bool is_filtered, item_fn *fn, void *aux, struct list_page *out, struct err *e)
{
	CLEANUP_STR char *after = after_key;
	CLEANUP(list_page_done) struct list_page result = { .items = json_array() };
	bool has_more = true, is_full = false;
	size_t n_scanned = 0;

	while (has_more && !is_full && n_scanned < SCAN_MAX) {
		CLEANUP(kv_list_done) struct kv_list page = { 0 };
		size_t n_used;

		if (kv_range_page(kv, prefix, after,
			    page_len(&result, limit, is_filtered), 0, &page, e) != 0)
			return -1;
		is_full = add_page(&page, limit, fn, aux, &result, &n_used);
		has_more = page.has_more || n_used < page.len;
		n_scanned += n_used;
		if (n_used > 0)
			str_set(&after, xstrdup(page.v[n_used - 1].key));
	}
	if (has_more && after)
		result.next = xstrdup(after + strlen(prefix));
	*out = result;
	result = (struct list_page){ 0 };
	return 0;
}

static char *after_key(const char *prefix, const struct list_range *r)
{
	return r->after ? xasprintf("%s%s", prefix, r->after) : NULL;
}

/* ---------------------------------------------------------------- VMs */

static bool vm_fits(const struct vm_filter *f, const struct vm *vm)
{
	return (f->status < 0 || f->status == vm->status) &&
	       (!f->host || str_eq(f->host, vm->hostname)) &&
	       (!f->owner || (str_eq(f->owner, vm->owner) &&
				     str_eq(f->realm, vm->owner_realm)));
}

static json_t *vm_item(void *aux, const struct kv_pair *pair)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	json_t *json;
	struct err e;

	if (vm_parse(pair->value, pair->value_size, &vm, &e) < 0) {
		skip_unreadable(pair->key, &e);
		return NULL;
	}
	if (!vm_fits(aux, &vm))
		return NULL;
	json = jtab_format_public(&vm_jtab, &vm);
	json_leave_out(json, LIST_VM_LEAVES);
	return json;
}

/* Reads the entries of up to KV_TXN_MAX_OPS uuids. */
static int get_vms(struct kv *kv, const struct keys *keys, const char *const *uuids,
	size_t n, struct kv_list *out, struct err *e)
{
	char *vm_keys[KV_TXN_MAX_OPS] = { 0 };
	const char *borrowed[KV_TXN_MAX_OPS] = { 0 };
	int r;

	for (size_t i = 0; i < n; i++)
		borrowed[i] = vm_keys[i] = key_vm(keys, uuids[i]);
	r = kv_get_many(kv, borrowed, n, out, e);
	for (size_t i = 0; i < n; i++)
		free(vm_keys[i]);
	return r;
}

/* A list through an index: each key of a page stands for one VM. */
struct index_list {
	struct kv *kv;
	const struct keys *keys;
	const char
		*prefix; /* where `after` begins: a page's keys may have a longer one */
	bool is_in_key;	 /* the uuid is the rest of the key, else the value */
	/* The items of up to KV_TXN_MAX_OPS VMs go to out, each as far as it fits. */
	int (*add)(struct index_list *l, const char *const *uuids, size_t n,
		json_t *items, struct err *e);
	const struct vm_filter *filter;
};

/* Uuids of the pairs from i on, at most KV_TXN_MAX_OPS; *i is the first one not taken. */
static size_t take_uuids(struct index_list *l, const struct kv_list *page, size_t *i,
	size_t max, const char *uuids[KV_TXN_MAX_OPS])
{
	size_t n = 0;

	for (; *i < page->len && n < max && n < KV_TXN_MAX_OPS; (*i)++) {
		const struct kv_pair *p = &page->v[*i];
		const char *uuid = l->is_in_key ? p->key + strlen(l->prefix) : p->value;

		if (uuid_check(uuid, NULL) == 0)
			uuids[n++] = uuid;
	}
	return n;
}

/* Adds until limit items are there or the page ends; the number of pairs looked at. */
static int add_index_page(struct index_list *l, const struct kv_list *page, size_t limit,
	struct list_page *out, size_t *n_used, struct err *e)
{
	size_t i = 0;

	while (i < page->len && json_array_size(out->items) < limit) {
		const char *uuids[KV_TXN_MAX_OPS];
		size_t n = take_uuids(
			l, page, &i, limit - json_array_size(out->items), uuids);

		if (n > 0 && l->add(l, uuids, n, out->items, e) < 0)
			return -1;
	}
	*n_used = i;
	return 0;
}

static int list_index(struct index_list *l, const char *range_prefix,
	const struct list_range *r, bool is_filtered, struct list_page *out,
	struct err *e)
{
	CLEANUP_STR char *after = after_key(l->prefix, r);
	CLEANUP(list_page_done) struct list_page result = { .items = json_array() };
	bool has_more = true;
	size_t n_scanned = 0;

	while (has_more && json_array_size(result.items) < r->limit &&
		n_scanned < SCAN_MAX) {
		CLEANUP(kv_list_done) struct kv_list page = { 0 };
		size_t n_used = 0;

		if (kv_range_page(l->kv, range_prefix, after,
			    page_len(&result, r->limit, is_filtered), 0, &page, e) != 0 ||
			add_index_page(l, &page, r->limit, &result, &n_used, e) < 0)
			return -1;
		has_more = page.has_more || n_used < page.len;
		n_scanned += n_used;
		if (n_used > 0)
			str_set(&after, xstrdup(page.v[n_used - 1].key));
	}
	if (has_more && after)
		result.next = xstrdup(after + strlen(l->prefix));
	*out = result;
	result = (struct list_page){ 0 };
	return 0;
}

static int add_vms(struct index_list *l, const char *const *uuids, size_t n,
	json_t *items, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list got = { 0 };

	if (get_vms(l->kv, l->keys, uuids, n, &got, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		json_t *item = got.v[i].key
				       ? vm_item((void *)(uintptr_t)l->filter, &got.v[i])
				       : NULL;

		if (item)
			json_array_append_new(items, item);
	}
	return 0;
}

int list_vms(struct kv *kv, const struct keys *keys, const struct vm_filter *f,
	const struct list_range *r, struct list_page *out, struct err *e)
{
	struct index_list l = { .kv = kv, .keys = keys, .add = add_vms, .filter = f };
	CLEANUP_STR char *prefix = NULL;
	CLEANUP_STR char *range_prefix = NULL;

	if (f->owner) {
		prefix = key_vm_names(f->realm, f->owner);
		range_prefix =
			xasprintf("%s%s", prefix, f->name_prefix ? f->name_prefix : "");
	} else if (f->host) {
		prefix = key_placements(f->host);
		l.is_in_key = true;
	} else {
		return list_entries(kv, keys->vm, after_key(keys->vm, r), r->limit,
			f->status >= 0, vm_item, (void *)(uintptr_t)f, out, e);
	}
	l.prefix = prefix;
	return list_index(&l, range_prefix ? range_prefix : prefix, r,
		f->status >= 0 || (f->owner && f->host), out, e);
}

/* ---------------------------------------------------------------- requests */

static json_t *request_item(void *aux, const struct kv_pair *pair)
{
	CLEANUP(request_done) struct request r = { 0 };
	struct err e;

	(void)aux;
	if (request_parse(pair->value, pair->value_size, &r, &e) < 0) {
		skip_unreadable(pair->key, &e);
		return NULL;
	}
	return jtab_format_public(&request_jtab, &r);
}

int list_requests(struct kv *kv, const struct keys *keys, const struct list_range *r,
	struct list_page *out, struct err *e)
{
	return list_entries(kv, keys->request, after_key(keys->request, r), r->limit,
		false, request_item, NULL, out, e);
}

/* The keys where requests for a VM can be open. */
static void add_request_keys(
	const struct keys *keys, const struct kv_pair *p, struct strv *to)
{
	CLEANUP(vm_done) struct vm vm = { 0 };

	if (!p->key || vm_parse(p->value, p->value_size, &vm, NULL) < 0)
		return;
	strv_add_take(to, key_request_scheduler(keys, vm.uuid));
	if (vm_has_host(&vm))
		strv_add_take(to, key_request_host(keys, vm.hostname, vm.uuid));
	if (!str_is_empty(vm.disk_host) && !str_eq(vm.disk_host, vm.hostname))
		strv_add_take(to, key_request_host(keys, vm.disk_host, vm.uuid));
}

static int add_requests(struct index_list *l, const char *const *uuids, size_t n,
	json_t *items, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list vms = { 0 };
	CLEANUP(strv_done) struct strv keys = { 0 };

	if (get_vms(l->kv, l->keys, uuids, n, &vms, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		add_request_keys(l->keys, &vms.v[i], &keys);
	for (size_t i = 0; i < keys.len; i += KV_TXN_MAX_OPS) {
		CLEANUP(kv_list_done) struct kv_list got = { 0 };
		size_t len =
			keys.len - i < KV_TXN_MAX_OPS ? keys.len - i : KV_TXN_MAX_OPS;

		if (kv_get_many(l->kv, (const char *const *)&keys.v[i], len, &got, e) < 0)
			return -1;
		for (size_t k = 0; k < len; k++) {
			json_t *item =
				got.v[k].key ? request_item(NULL, &got.v[k]) : NULL;

			if (item)
				json_array_append_new(items, item);
		}
	}
	return 0;
}

static int add_requests_at(
	struct index_list *l, const struct strv *keys, json_t *items, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list got = { 0 };

	if (kv_get_many(l->kv, (const char *const *)keys->v, keys->len, &got, e) < 0)
		return -1;
	for (size_t i = 0; i < keys->len; i++) {
		json_t *item = got.v[i].key ? request_item(NULL, &got.v[i]) : NULL;

		if (item)
			json_array_append_new(items, item);
	}
	return 0;
}

static int add_image_requests(struct index_list *l, const char *const *uuids, size_t n,
	json_t *items, struct err *e)
{
	CLEANUP(strv_done) struct strv keys = { 0 };

	for (size_t i = 0; i < n; i++)
		strv_add_take(&keys, key_request_image(l->keys, uuids[i]));
	return add_requests_at(l, &keys, items, e);
}

static int add_network_requests(struct index_list *l, const char *const *uuids, size_t n,
	json_t *items, struct err *e)
{
	CLEANUP(strv_done) struct strv keys = { 0 };

	for (size_t i = 0; i < n; i++)
		strv_add_take(&keys, key_request_network(l->keys, uuids[i]));
	return add_requests_at(l, &keys, items, e);
}

/* What requests are for, in the order of lists. */
static const struct request_kind {
	const char *mark; /* before the name in `after` */
	char *(*names)(const char *realm, const char *owner);
	int (*add)(struct index_list *l, const char *const *uuids, size_t n,
		json_t *items, struct err *e);
} request_kinds[] = {
	{ "", key_vm_names, add_requests },
	{ LIST_IMAGE_AFTER, key_image_names, add_image_requests },
	{ LIST_NETWORK_AFTER, key_network_names, add_network_requests },
};

/* Of which kind the list goes on. */
static size_t request_kind_of(const char *after)
{
	size_t i = ARRAY_LEN(request_kinds) - 1;

	while (i > 0 && !(after && str_has_prefix(after, request_kinds[i].mark)))
		i--;
	return i;
}

/* Appends to what is in *out. */
static int list_request_kind(struct index_list *l, const struct request_kind *kind,
	const char *owner, const char *realm, const struct list_range *r,
	struct list_page *out, struct err *e)
{
	CLEANUP_STR char *prefix = kind->names(realm, owner);
	CLEANUP(list_page_done) struct list_page page = { 0 };

	l->prefix = prefix;
	l->add = kind->add;
	if (list_index(l, prefix, r, true, &page, e) < 0)
		return -1;
	json_array_extend(out->items, page.items);
	if (page.next)
		str_set(&out->next, xasprintf("%s%s", kind->mark, page.next));
	return 0;
}

int list_requests_of(struct kv *kv, const struct keys *keys, const char *owner,
	const char *realm, const struct list_range *r, struct list_page *out,
	struct err *e)
{
	CLEANUP(list_page_done) struct list_page page = { .items = json_array() };
	struct index_list l = { .kv = kv, .keys = keys };
	size_t i = request_kind_of(r->after);
	const char *after = r->after ? r->after + strlen(request_kinds[i].mark) : NULL;

	for (; i < ARRAY_LEN(request_kinds) && !page.next; i++) {
		const struct list_range range = { r->limit - json_array_size(page.items),
			str_is_empty(after) ? NULL : after };

		if (range.limit == 0)
			page.next = xstrdup(request_kinds[i].mark);
		else if (list_request_kind(&l, &request_kinds[i], owner, realm, &range,
				 &page, e) < 0)
			return -1;
		after = NULL;
	}
	*out = page;
	page = (struct list_page){ 0 };
	return 0;
}

/* ---------------------------------------------------------------- files */

static json_t *file_item(const struct kv_pair *pair)
{
	CLEANUP(file_done) struct file f = { 0 };
	json_t *json;
	struct err e;

	if (file_parse(pair->value, pair->value_size, &f, &e) < 0) {
		skip_unreadable(pair->key, &e);
		return NULL;
	}
	json = jtab_format_public(&file_jtab, &f);
	json_leave_out(json, LIST_FILE_LEAVES);
	return json;
}

static int add_files(struct index_list *l, const char *const *uuids, size_t n,
	json_t *items, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list got = { 0 };
	CLEANUP(strv_done) struct strv keys = { 0 };

	for (size_t i = 0; i < n; i++)
		strv_add_take(&keys, key_file(l->keys, uuids[i]));
	if (kv_get_many(l->kv, (const char *const *)keys.v, n, &got, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		json_t *item = got.v[i].key ? file_item(&got.v[i]) : NULL;

		if (item)
			json_array_append_new(items, item);
	}
	return 0;
}

int list_files(struct kv *kv, const struct keys *keys, const char *owner,
	const char *realm, const struct list_range *r, struct list_page *out,
	struct err *e)
{
	CLEANUP_STR char *prefix = key_file_names(realm, owner);
	struct index_list l = {
		.kv = kv, .keys = keys, .prefix = prefix, .add = add_files
	};

	return list_index(&l, prefix, r, false, out, e);
}

/* ---------------------------------------------------------------- the others */

static json_t *image_item(void *aux, const struct kv_pair *pair)
{
	CLEANUP(image_done) struct image im = { 0 };
	const struct who *who = aux;
	struct err e;

	if (image_parse(pair->value, pair->value_size, &im, &e) < 0) {
		skip_unreadable(pair->key, &e);
		return NULL;
	}
	if (!who->is_admin && !im.is_public &&
		(!str_eq(im.owner, who->name) || !str_eq(im.owner_realm, who->realm)))
		return NULL;
	return jtab_format_public(&image_jtab, &im);
}

int list_images(struct kv *kv, const struct keys *keys, const struct who *who,
	const struct list_range *r, struct list_page *out, struct err *e)
{
	return list_entries(kv, keys->image, after_key(keys->image, r), r->limit,
		!who->is_admin, image_item, (void *)(uintptr_t)who, out, e);
}

static json_t *network_item(void *aux, const struct kv_pair *pair)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct err e;

	(void)aux;
	if (network_parse(pair->value, pair->value_size, &n, &e) == 0)
		return jtab_format_public(&network_jtab, &n);
	skip_unreadable(pair->key, &e);
	return NULL;
}

static int add_networks(struct index_list *l, const char *const *uuids, size_t n,
	json_t *items, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list got = { 0 };
	CLEANUP(strv_done) struct strv keys = { 0 };

	for (size_t i = 0; i < n; i++)
		strv_add_take(&keys, key_network(l->keys, uuids[i]));
	if (kv_get_many(l->kv, (const char *const *)keys.v, n, &got, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		json_t *item = got.v[i].key ? network_item(NULL, &got.v[i]) : NULL;

		if (item)
			json_array_append_new(items, item);
	}
	return 0;
}

int list_networks(struct kv *kv, const struct keys *keys, const char *owner,
	const char *realm, const struct list_range *r, struct list_page *out,
	struct err *e)
{
	CLEANUP_STR char *prefix = owner ? key_network_names(realm, owner) : NULL;
	struct index_list l = {
		.kv = kv, .keys = keys, .prefix = prefix, .add = add_networks
	};

	if (owner)
		return list_index(&l, prefix, r, false, out, e);
	return list_entries(kv, keys->network, after_key(keys->network, r), r->limit,
		false, network_item, NULL, out, e);
}

static json_t *store_item(void *aux, const struct kv_pair *pair)
{
	CLEANUP(image_store_done) struct image_store s = { 0 };
	struct err e;

	(void)aux;
	if (image_store_parse(pair->value, pair->value_size, &s, &e) < 0) {
		skip_unreadable(pair->key, &e);
		return NULL;
	}
	return jtab_format_public(&image_store_jtab, &s);
}

int list_stores(
	struct kv *kv, const struct list_range *r, struct list_page *out, struct err *e)
{
	return list_entries(kv, KEY_IMAGE_STORE, after_key(KEY_IMAGE_STORE, r), r->limit,
		false, store_item, NULL, out, e);
}

static json_t *host_item(void *aux, const struct kv_pair *pair)
{
	CLEANUP(host_done) struct host h = { 0 };
	struct err e;

	(void)aux;
	if (host_parse(pair->value, pair->value_size, &h, &e) < 0) {
		skip_unreadable(pair->key, &e);
		return NULL;
	}
	return jtab_format_public(&host_jtab, &h);
}

int list_hosts(struct kv *kv, const struct keys *keys, const struct list_range *r,
	struct list_page *out, struct err *e)
{
	return list_entries(kv, keys->host, after_key(keys->host, r), r->limit, false,
		host_item, NULL, out, e);
}

static json_t *user_item(void *aux, const struct kv_pair *pair)
{
	CLEANUP(user_done) struct user u = { 0 };
	const struct amounts *quota = aux;
	struct err e;

	if (user_parse(pair->value, pair->value_size, &u, &e) < 0) {
		skip_unreadable(pair->key, &e);
		return NULL;
	}
	if (!u.has_own_quota)
		u.quota = *quota;
	return jtab_format_public(&user_jtab, &u);
}

/* "a@b" and "b/a", the other way round for the key. */
static char *swap(const char *s, char from, char to)
{
	const char *at = strchr(s, from);

	return at ? xasprintf("%s%c%.*s", at + 1, to, (int)(at - s), s) : xstrdup(s);
}

int list_users(struct kv *kv, const struct amounts *quota, const struct list_range *r,
	struct list_page *out, struct err *e)
{
	CLEANUP_STR char *after = r->after ? swap(r->after, '@', '/') : NULL;
	struct list_range range = { .limit = r->limit, .after = after };

	if (list_entries(kv, KEY_USER, after_key(KEY_USER, &range), r->limit, false,
		    user_item, (void *)(uintptr_t)quota, out, e) < 0)
		return -1;
	if (out->next)
		str_set(&out->next, swap(out->next, '/', '@'));
	return 0;
}
