#include "tests/sim/sim.h"

#include <stdio.h>
#include <string.h>

#include "common/disk/disk_fake.h"

/* Everything in the store, read at one moment. */
struct view {
	struct kv_list vms, names, placements, requests, users;
	struct vm *vm; /* as many as vms.len */
};

static bool wrong(struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
static bool wrong(struct sim *s, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fprintf(stderr, "seed %llu, move %u: ", (unsigned long long)s->seed, s->n_moves);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	return false;
}

static void view_range(struct sim *s, const char *prefix, struct kv_list *out)
{
	struct err e;
	if (kv_range(s->god, prefix, 0, out, &e)) {
		fprintf(stderr, "%s: %s\n", prefix, e.msg);
		abort();
	}
}

static bool view_read(struct sim *s, struct view *v)
{
	view_range(s, s->keys.vm, &v->vms);
	view_range(s, KEY_VM_NAME, &v->names);
	view_range(s, KEY_PLACEMENT, &v->placements);
	view_range(s, s->keys.request, &v->requests);
	view_range(s, KEY_USER, &v->users);
	v->vm = xcalloc(v->vms.len + 1, sizeof(*v->vm));
	for (size_t i = 0; i < v->vms.len; i++) {
		struct err e;
		if (vm_parse(v->vms.v[i].value, v->vms.v[i].value_size, &v->vm[i], &e))
			return wrong(s, "%s: %s", v->vms.v[i].key, e.msg);
	}
	return true;
}

static void view_done(struct view *v)
{
	for (size_t i = 0; v->vm && i < v->vms.len; i++)
		vm_done(&v->vm[i]);
	free(v->vm);
	kv_list_done(&v->vms);
	kv_list_done(&v->names);
	kv_list_done(&v->placements);
	kv_list_done(&v->requests);
	kv_list_done(&v->users);
}

static const struct vm *view_find(const struct view *v, const char *uuid)
{
	for (size_t i = 0; i < v->vms.len; i++)
		if (str_eq(v->vm[i].uuid, uuid))
			return &v->vm[i];
	return NULL;
}

static bool has_key(const struct kv_list *l, const char *key)
{
	for (size_t i = 0; i < l->len; i++)
		if (!strcmp(l->v[i].key, key))
			return true;
	return false;
}

/* A VM runs at most once, and only where it is placed. */
static bool check_running(struct sim *s, const struct view *v)
{
	CLEANUP(strv_done)
	struct strv all = {0};
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		CLEANUP(strv_done)
		struct strv running = {0};
		CLEANUP_STR char *host = xasprintf("h%u", i);
		fake_hyper_list_running(s->hypers[i], &running);
		for (size_t k = 0; k < running.len; k++) {
			const char *uuid = running.v[k];
			const struct vm *vm = view_find(v, uuid);
			if (strv_has(&all, uuid))
				return wrong(s, "%s runs twice", uuid);
			strv_add(&all, uuid);
			if (!vm)
				return wrong(
					s, "%s runs on %s, but has no entry", uuid, host);
			if (!str_eq(vm->hostname, host))
				return wrong(s, "%s runs on %s, its hostname is '%s'",
					uuid, host, vm->hostname ? vm->hostname : "");
		}
	}
	return true;
}

/* Placements, names and requests belong to VMs, and VMs to theirs. */
static bool check_keys(struct sim *s, const struct view *v)
{
	size_t n_placed = 0;
	for (size_t i = 0; i < v->vms.len; i++) {
		const struct vm *vm = &v->vm[i];
		CLEANUP_STR char *name =
			key_vm_name(vm->owner_realm, vm->owner, vm->name);
		if (!has_key(&v->names, name))
			return wrong(s, "%s has no name key", vm->uuid);
		if (!vm_has_host(vm))
			continue;
		CLEANUP_STR char *placement = key_placement(vm->hostname, vm->uuid);
		if (!has_key(&v->placements, placement))
			return wrong(s, "%s is on %s without placement", vm->uuid,
				vm->hostname);
		n_placed++;
	}
	if (v->names.len != v->vms.len)
		return wrong(s, "%zu names for %zu VMs", v->names.len, v->vms.len);
	if (v->placements.len != n_placed)
		return wrong(s, "%zu placements for %zu placed VMs", v->placements.len,
			n_placed);
	return true;
}

static bool check_requests(struct sim *s, const struct view *v)
{
	CLEANUP(strv_done)
	struct strv subjects = {0};
	for (size_t i = 0; i < v->requests.len; i++) {
		struct request_key k;
		struct err e;
		if (request_key_parse(&s->keys, v->requests.v[i].key, &k, &e))
			return wrong(s, "%s: %s", v->requests.v[i].key, e.msg);
		const struct vm *vm = view_find(v, k.subject);
		if (!vm)
			return wrong(
				s, "%s is for a VM that is gone", v->requests.v[i].key);
		if (k.host[0] && !str_eq(vm->hostname, k.host) &&
			!str_eq(vm->disk_host, k.host))
			return wrong(s, "%s is for a host that has nothing of it",
				v->requests.v[i].key);
		if (strv_has(&subjects, k.subject))
			return wrong(s, "%s has two requests", k.subject);
		strv_add(&subjects, k.subject);
	}
	return true;
}

static bool check_quota(struct sim *s, const struct view *v)
{
	for (size_t i = 0; i < v->users.len; i++) {
		CLEANUP(user_done)
		struct user u = {0};
		struct amounts sum = {0};
		struct err e;
		if (user_parse(v->users.v[i].value, v->users.v[i].value_size, &u, &e))
			return wrong(s, "%s: %s", v->users.v[i].key, e.msg);
		for (size_t k = 0; k < v->vms.len; k++) {
			if (!str_eq(v->vm[k].owner, u.name))
				continue;
			struct amounts a = vm_amounts(&v->vm[k]);
			sum.vms += a.vms;
			sum.cpu += a.cpu;
			sum.ram_mib += a.ram_mib;
			sum.disk_gib += a.disk_gib;
		}
		if (memcmp(&sum, &u.use, sizeof(sum)) != 0)
			return wrong(s,
				"%s: use says %lld VMs, %lld GiB; it is %lld, %lld",
				u.name, (long long)u.use.vms, (long long)u.use.disk_gib,
				(long long)sum.vms, (long long)sum.disk_gib);
	}
	return true;
}

/* Hosts have 8 CPUs and 16384 MiB, and nothing is overcommitted by default but CPUs. */
static bool check_capacity(struct sim *s, const struct view *v)
{
	for (unsigned h = 0; h < SIM_HOSTS; h++) {
		CLEANUP_STR char *host = xasprintf("h%u", h);
		int64_t ram_mib = 0;
		for (size_t i = 0; i < v->vms.len; i++)
			if (str_eq(v->vm[i].hostname, host))
				ram_mib += v->vm[i].specs.ram_mib;
		if (ram_mib > 16384)
			return wrong(
				s, "%s has VMs of %lld MiB", host, (long long)ram_mib);
	}
	return true;
}

/* What was acknowledged is there until somebody deletes it. */
static bool check_acknowledged(struct sim *s, const struct view *v)
{
	for (unsigned i = 0; i < s->n_vms; i++)
		if (!s->vms[i].may_be_gone && !view_find(v, s->vms[i].uuid))
			return wrong(s, "%s was accepted and is gone", s->vms[i].uuid);
	return true;
}

bool sim_check(struct sim *s)
{
	CLEANUP(view_done)
	struct view v = {0};
	if (!view_read(s, &v) || !check_running(s, &v))
		return false;
	if (fake_etcd_rev(s->etcd) == s->checked_rev)
		return true;
	s->checked_rev = fake_etcd_rev(s->etcd);
	return check_keys(s, &v) && check_requests(s, &v) && check_quota(s, &v) &&
	       check_capacity(s, &v) && check_acknowledged(s, &v);
}

/* ---------------------------------------------------------------- at rest */

static bool is_running(struct sim *s, const struct vm *vm)
{
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		CLEANUP_STR char *host = xasprintf("h%u", i);
		struct virt_dom dom;
		if (str_eq(vm->hostname, host) &&
			fake_hyper_get(s->hypers[i], vm->uuid, &dom) &&
			dom.state == VIRT_RUNNING)
			return true;
	}
	return false;
}

static bool check_vm_rest(struct sim *s, const struct vm *vm)
{
	const struct sim_vm *known = sim_find_vm(s, vm->uuid);
	const char *status = vm_status_names[vm->status];
	bool may_fail = !known || known->n_crashes >= 5;
	switch (vm->status) {
	case VM_RUNNING:
		if (!is_running(s, vm))
			return wrong(s, "%s says RUNNING and does not", vm->uuid);
		break;
	case VM_STOPPED:
		if (vm_has_host(vm))
			return wrong(s, "%s is STOPPED on %s", vm->uuid, vm->hostname);
		break;
	case VM_REQUESTED_NEW:
	case VM_REQUESTED_START:
	case VM_KILLED:
		if (str_is_empty(vm->why))
			return wrong(
				s, "%s waits (%s) and nobody says why", vm->uuid, status);
		break;
	case VM_ERROR:
		if (!may_fail)
			return wrong(s, "%s ended in ERROR", vm->uuid);
		break;
	default:
		return wrong(s, "%s is stuck in %s", vm->uuid, status);
	}
	if (known && known->is_deleted)
		return wrong(s, "%s was deleted and is there (%s)", vm->uuid, status);
	if (known && known->expect == SIM_STOPPED && vm->status != VM_STOPPED &&
		!may_fail)
		return wrong(s, "%s was stopped and is %s", vm->uuid, status);
	if (known && known->expect == SIM_RUNNING && vm->want != VM_WANT_RUNNING &&
		!may_fail)
		return wrong(s, "%s was started and is not wanted", vm->uuid);
	return true;
}

static bool check_disks_rest(struct sim *s, const struct view *v)
{
	CLEANUP(strv_done)
	struct strv disks = {0};
	CLEANUP(strv_done)
	struct strv paths = {0};
	disk_fake_disks("disks", &paths);
	for (size_t i = 0; i < paths.len; i++) {
		char *uuid = xstrndup(paths.v[i], UUID_STR_SIZE - 1);
		strv_add_take(&disks, uuid);
		if (!view_find(v, uuid))
			return wrong(s, "a disk of %s is left", uuid);
	}
	for (size_t i = 0; i < v->vms.len; i++)
		if (v->vm[i].status == VM_RUNNING && !strv_has(&disks, v->vm[i].uuid))
			return wrong(s, "%s runs without its disk", v->vm[i].uuid);
	return true;
}

static bool check_domains_rest(struct sim *s, const struct view *v)
{
	size_t n_domains = 0, n_running = 0;
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		n_domains += fake_hyper_n_domains(s->hypers[i]);
	for (size_t i = 0; i < v->vms.len; i++)
		n_running += v->vm[i].status == VM_RUNNING;
	if (n_domains != n_running)
		return wrong(s, "%zu domains for %zu VMs that run", n_domains, n_running);
	return true;
}

bool sim_check_rest(struct sim *s)
{
	CLEANUP(view_done)
	struct view v = {0};
	if (!view_read(s, &v))
		return false;
	for (size_t i = 0; i < v.vms.len; i++)
		if (!check_vm_rest(s, &v.vm[i]))
			return false;
	for (size_t i = 0; i < v.requests.len; i++) {
		struct request_key k;
		struct err e;
		if (request_key_parse(&s->keys, v.requests.v[i].key, &k, &e) || k.host[0])
			return wrong(s, "%s is left open", v.requests.v[i].key);
	}
	return check_disks_rest(s, &v) && check_domains_rest(s, &v);
}

void sim_dump(struct sim *s)
{
	CLEANUP(kv_list_done)
	struct kv_list all = {0};
	view_range(s, "/v1/", &all);
	for (size_t i = 0; i < all.len; i++)
		fprintf(stderr, "%s = %s\n", all.v[i].key, all.v[i].value);
}
