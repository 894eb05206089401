#include "ucloud-scheduler/snapshot.h"

#include <assert.h>
#include <string.h>

/* Amounts beyond this are cut: sums of them never overflow. */
#define AMOUNT_MAX (1LL << 40)

static int64_t amount(int64_t n)
{
	return n < 0 ? 0 : n > AMOUNT_MAX ? AMOUNT_MAX : n;
}

static int64_t overcommitted(int64_t n, int64_t percent)
{
	return amount(n) * (percent > 0 && percent <= 10000 ? percent : 100) / 100;
}

/* FNV-1a, then mixed (the finalizer of MurmurHash3): reproducible everywhere. */
static uint64_t hash_str(const char *s)
{
	uint64_t h = 0xcbf29ce484222325ULL;

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3ULL;
	h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdULL;
	return h ^ (h >> 33);
}

struct snap *snap_new(void)
{
	return xcalloc(1, sizeof(struct snap));
}

void snap_free(struct snap *s)
{
	struct snap_vm *vm, *tmp;

	if (!s)
		return;
	HASH_ITER (hh, s->vms, vm, tmp) {
		HASH_DEL(s->vms, vm);
		free(vm);
	}
	for (size_t i = 0; i < s->n_hosts; i++)
		free(s->hosts[i].stores);
	for (size_t i = 0; i < s->n_sets; i++)
		free(s->sets[i].v);
	intern_done(&s->host_names);
	intern_done(&s->owner_names);
	intern_done(&s->store_names);
	intern_done(&s->label_names);
	intern_done(&s->set_names);
	free(s->hosts);
	free(s->owners);
	free(s->stores);
	free(s->sets);
	free(s);
}

/* Makes room for index `at`; new elements are zeroed. */
static void *grow(void *v, size_t *len, size_t at, size_t size)
{
	size_t old = *len;

	if (at < old)
		return v;
	/* Capacity is the next power of two: grows only when len passes one. */
	size_t cap = 1, want = 1;
	while (cap < old)
		cap *= 2;
	while (want < at + 1)
		want *= 2;
	if (!v || want > cap)
		v = xreallocarray(v, want, size);
	memset((char *)v + old * size, 0, (at + 1 - old) * size);
	*len = at + 1;
	return v;
}

/* ---------------------------------------------------------------- names and sets */

static int host_index(struct snap *s, const char *name)
{
	uint32_t id = intern_id(&s->host_names, name);

	if (!id)
		return -1;
	if (id > s->n_hosts) {
		s->hosts = grow(s->hosts, &s->n_hosts, id - 1, sizeof(*s->hosts));
		s->hosts[id - 1].block = SNAP_ABSENT;
		s->hosts[id - 1].name_hash = hash_str(name);
	}
	return (int)id - 1;
}

static uint32_t store_id(struct snap *s, const char *name)
{
	uint32_t id = intern_id(&s->store_names, name);

	s->stores = grow(s->stores, &s->n_stores, id, sizeof(*s->stores));
	return id;
}

static uint32_t owner_id(struct snap *s, const char *name)
{
	uint32_t id = intern_id(&s->owner_names, name);

	s->owners = grow(s->owners, &s->n_owners, id, sizeof(*s->owners));
	return id;
}

static int compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static uint32_t set_id(struct snap *s, const char *lines)
{
	uint32_t id = intern_id(&s->set_names, lines);

	if (id < s->n_sets)
		return id;
	s->sets = grow(s->sets, &s->n_sets, id, sizeof(*s->sets));
	CLEANUP(strv_done) struct strv labels = { 0 };
	strv_split(&labels, lines ? lines : "", '\n');
	struct snap_set set = { .v = xcalloc(labels.len + 1, sizeof(*set.v)) };
	for (size_t i = 0; i < labels.len; i++)
		set.v[set.len++] = intern_id(&s->label_names, labels.v[i]);
	qsort(set.v, set.len, sizeof(*set.v), compare_ids);
	s->sets[id] = set;
	return id;
}

bool snap_set_has_all(const struct snap *s, uint32_t have, uint32_t need)
{
	if (!need)
		return true;
	if (!have)
		return false;
	const struct snap_set *h = &s->sets[have], *n = &s->sets[need];
	uint32_t i = 0;
	for (uint32_t j = 0; j < n->len; j++) {
		while (i < h->len && h->v[i] < n->v[j])
			i++;
		if (i == h->len || h->v[i] != n->v[j])
			return false;
	}
	return true;
}

/* ---------------------------------------------------------------- hosts and stores */

static struct snap_hstore *host_store(struct snap_host *h, uint32_t store)
{
	for (uint32_t i = 0; i < h->n_stores; i++)
		if (h->stores[i].store == store)
			return &h->stores[i];
	h->stores = xreallocarray(h->stores, h->n_stores + 1, sizeof(*h->stores));
	h->stores[h->n_stores] = (struct snap_hstore){ .store = store };
	return &h->stores[h->n_stores++];
}

const struct snap_hstore *snap_find_hstore(const struct snap_host *h, uint32_t store)
{
	for (uint32_t i = 0; i < h->n_stores; i++)
		if (h->stores[i].store == store)
			return &h->stores[i];
	return NULL;
}

static void set_block(struct snap_host *h)
{
	if (!h->is_registered)
		h->block = SNAP_ABSENT;
	else if (!h->is_alive || h->status != HOST_ALIVE)
		h->block = SNAP_DEAD;
	else if (h->is_draining)
		h->block = SNAP_DRAINING;
	else if (!h->cpu_cap || !h->ram_cap)
		h->block = SNAP_UNSIZED;
	else
		h->block = SNAP_OPEN;
}

static void put_host_stores(struct snap *s, struct snap_host *to, const struct host *h)
{
	const struct host_store *hs = h->stores.v;

	for (uint32_t i = 0; i < to->n_stores; i++)
		to->stores[i].is_reported = false;
	for (size_t i = 0; i < h->stores.len; i++) {
		struct snap_hstore *st = host_store(to, store_id(s, hs[i].name));
		st->is_reported = true;
		st->cap_gib = hs[i].total_gib < 0 ? -1
						  : overcommitted(hs[i].total_gib,
							    h->disk_overcommit);
	}
}

void snap_put_host(struct snap *s, const struct host *h, int64_t mod_rev)
{
	int i = host_index(s, h->hostname);

	if (i < 0)
		return;
	struct snap_host *to = &s->hosts[i];
	CLEANUP_STR char *labels = labels_text(h->labels);
	s->n_registered += !to->is_registered;
	to->is_registered = true;
	to->status = h->status;
	to->is_draining = h->is_draining;
	to->labels = set_id(s, labels);
	to->cpu_cap = overcommitted(h->cpus, h->cpu_overcommit);
	to->ram_cap = overcommitted(
		amount(h->ram_mib) - amount(h->reserved_ram_mib), h->ram_overcommit);
	to->cpu_inv = to->cpu_cap ? 1.0 / (double)to->cpu_cap : 0;
	to->ram_inv = to->ram_cap ? 1.0 / (double)to->ram_cap : 0;
	to->mod_rev = mod_rev;
	put_host_stores(s, to, h);
	set_block(to);
	s->gen++;
}

void snap_del_host(struct snap *s, const char *name)
{
	int i = snap_find_host(s, name);

	if (i < 0 || !s->hosts[i].is_registered)
		return;
	s->hosts[i].is_registered = false;
	s->hosts[i].mod_rev = 0;
	s->n_registered--;
	set_block(&s->hosts[i]);
	s->gen++;
}

void snap_set_alive(struct snap *s, const char *name, bool is_alive)
{
	int i = is_alive ? host_index(s, name) : snap_find_host(s, name);

	if (i < 0 || s->hosts[i].is_alive == is_alive)
		return;
	s->hosts[i].is_alive = is_alive;
	set_block(&s->hosts[i]);
	s->gen++;
}

void snap_put_store(struct snap *s, const struct image_store *st)
{
	uint32_t id = store_id(s, st->name); /* may move s->stores */
	struct snap_store *to = &s->stores[id];

	to->is_known = true;
	to->is_local = image_store_is_local(st);
	s->gen++;
}

void snap_del_store(struct snap *s, const char *name)
{
	uint32_t id = intern_find(&s->store_names, name);

	if (id && id < s->n_stores)
		s->stores[id].is_known = false;
	s->gen++;
}

int snap_find_host(const struct snap *s, const char *name)
{
	return (int)intern_find(&s->host_names, name) - 1;
}

const char *snap_host_name(const struct snap *s, int host)
{
	return host < 0 ? "" : intern_str(&s->host_names, (uint32_t)host + 1);
}

size_t snap_n_strings(const struct snap *s)
{
	return s->host_names.len + s->owner_names.len + s->store_names.len +
	       s->label_names.len + s->set_names.len;
}

/* ---------------------------------------------------------------- VMs */

static const struct snap_at *vm_at(const struct snap_vm *vm)
{
	return vm->is_assumed ? &vm->assumed : &vm->is;
}

static void owner_link(struct snap *s, struct snap_vm *vm)
{
	struct snap_owner *o = &s->owners[vm->owner];

	vm->prev = NULL;
	vm->next = o->placed;
	if (o->placed)
		o->placed->prev = vm;
	o->placed = vm;
	o->n_placed++;
	o->n_apart += vm->apart != 0;
}

static void owner_unlink(struct snap *s, struct snap_vm *vm)
{
	struct snap_owner *o = &s->owners[vm->owner];

	if (vm->prev)
		vm->prev->next = vm->next;
	else
		o->placed = vm->next;
	if (vm->next)
		vm->next->prev = vm->prev;
	vm->prev = vm->next = NULL;
	o->n_placed--;
	o->n_apart -= vm->apart != 0;
}

/* Adds (sign 1) or takes away (-1) what the VM uses where it counts. */
static void count(struct snap *s, struct snap_vm *vm, int sign)
{
	const struct snap_at *at = vm_at(vm);

	if (at->host >= 0) {
		struct snap_host *h = &s->hosts[at->host];
		h->n_vms += (uint32_t)sign;
		h->cpu_used += at->uses_host ? sign * vm->cpu : 0;
		h->ram_used += at->uses_host ? sign * vm->ram_mib : 0;
		if (sign > 0)
			owner_link(s, vm);
		else
			owner_unlink(s, vm);
	}
	if (at->keeps_room && at->disk_host >= 0) {
		struct snap_host *h = &s->hosts[at->disk_host];
		h->cpu_used += sign * vm->cpu;
		h->ram_used += sign * vm->ram_mib;
	}
	if (at->disk_host >= 0)
		host_store(&s->hosts[at->disk_host], vm->store)->used_gib +=
			sign * vm->disk_gib;
	if (at->has_disk)
		s->stores[vm->store].used_gib += sign * vm->disk_gib;
}

/* What is compared to see whether anything that counts has changed. */
static bool counts_the_same(const struct snap_vm *a, const struct snap_vm *b)
{
	const struct snap_at *x = vm_at(a), *y = vm_at(b);

	return a->cpu == b->cpu && a->ram_mib == b->ram_mib &&
	       a->disk_gib == b->disk_gib && a->owner == b->owner &&
	       a->store == b->store && a->labels == b->labels && a->apart == b->apart &&
	       x->host == y->host && x->disk_host == y->disk_host &&
	       x->uses_host == y->uses_host && x->has_disk == y->has_disk &&
	       x->keeps_room == y->keeps_room;
}

/* The entry as it would be, unlinked and without assumption. */
static struct snap_vm vm_of_brief(
	struct snap *s, const struct vm_brief *b, int64_t mod_rev)
{
	return (struct snap_vm){
		.cpu = amount(b->cpu),
		.ram_mib = amount(b->ram_mib),
		.disk_gib = amount(b->disk_gib),
		.mod_rev = mod_rev,
		.owner = owner_id(s, b->owner),
		.store = store_id(s, b->store),
		.image_store = *b->image_store ? store_id(s, b->image_store) : 0,
		.labels = set_id(s, b->labels),
		.host_labels = set_id(s, b->host_labels),
		.near = set_id(s, b->near),
		.apart = set_id(s, b->apart),
		.is = { host_index(s, b->hostname), host_index(s, b->disk_host),
			b->uses_host, b->was_placed, b->keeps_room },
	};
}

static struct snap_vm *add_vm(struct snap *s, const char *uuid)
{
	struct snap_vm *vm = xcalloc(1, sizeof(*vm));
	size_t len = strnlen(uuid, sizeof(vm->uuid) - 1);

	memcpy(vm->uuid, uuid, len);
	vm->seed = hash_str(vm->uuid);
	vm->is = (struct snap_at){ -1, -1, false, false, false };
	HASH_ADD_STR(s->vms, uuid, vm);
	return vm;
}

void snap_put_vm(
	struct snap *s, const char *uuid, const struct vm_brief *b, int64_t mod_rev)
{
	struct snap_vm *vm = snap_find_vm(s, uuid);

	if (vm && (mod_rev < vm->mod_rev || (vm->is_assumed && mod_rev == vm->mod_rev)))
		return;
	struct snap_vm new = vm_of_brief(s, b, mod_rev);
	if (!vm)
		vm = add_vm(s, uuid);
	bool is_same = counts_the_same(vm, &new);
	bool had =
		vm_at(vm)->host >= 0 || vm_at(vm)->disk_host >= 0 || vm_at(vm)->has_disk;
	if (!is_same)
		count(s, vm, -1);
	s->n_assumed -= vm->is_assumed;
	new.hh = vm->hh;
	new.prev = vm->prev;
	new.next = vm->next;
	new.seed = vm->seed;
	memcpy(new.uuid, vm->uuid, sizeof(new.uuid));
	*vm = new;
	if (!is_same)
		count(s, vm, 1);
	s->gen += had && !is_same;
}

void snap_del_vm(struct snap *s, const char *uuid)
{
	struct snap_vm *vm = snap_find_vm(s, uuid);

	if (!vm)
		return;
	count(s, vm, -1);
	s->n_assumed -= vm->is_assumed;
	HASH_DEL(s->vms, vm);
	free(vm);
	s->gen++;
}

struct snap_vm *snap_find_vm(const struct snap *s, const char *uuid)
{
	struct snap_vm *vm = NULL;

	HASH_FIND_STR(s->vms, uuid, vm);
	return vm;
}

void snap_assume(struct snap *s, struct snap_vm *vm, int host, bool is_local)
{
	assert(host >= 0 && (size_t)host < s->n_hosts);
	count(s, vm, -1);
	s->n_assumed += !vm->is_assumed;
	vm->is_assumed = true;
	vm->assumed = (struct snap_at){
		.host = host,
		.disk_host = is_local ? host : vm->is.disk_host,
		.uses_host = true,
		.has_disk = true,
	};
	count(s, vm, 1);
}

void snap_forget(struct snap *s, const char *uuid)
{
	struct snap_vm *vm = snap_find_vm(s, uuid);

	if (!vm || !vm->is_assumed)
		return;
	count(s, vm, -1);
	vm->is_assumed = false;
	s->n_assumed--;
	count(s, vm, 1);
	s->gen++;
}
