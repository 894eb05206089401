/*
 * Hosts and VMs in one line each, for the tests of the scheduler's pure parts.
 */
#ifndef UCLOUD_TEST_SCHED_FIXTURE_H
#define UCLOUD_TEST_SCHED_FIXTURE_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ucloud-scheduler/place.h"

struct fix_host {
	const char *name, *labels; /* labels: JSON or NULL */
	int64_t cpus, ram_mib;
	int64_t cpu_overcommit, reserved_ram_mib;
	const char *store; /* NULL: "s" */
	int64_t store_gib; /* 0: unknown */
	bool is_draining, is_dead, is_registered_only;
};

struct fix_vm {
	const char *name; /* its uuid is made from it */
	int64_t cpu, ram_mib, disk_gib;
	const char *owner, *labels, *host_labels, *near, *apart;
	const char *store; /* NULL: "s" */
	const char *host, *disk_host;
	int status;
	int64_t last_start;
};

static inline json_t *fix_json(const char *text)
{
	return text ? json_loads(text, 0, NULL) : NULL;
}

static inline void fix_put_store(struct snap *s, const char *name, bool is_local)
{
	struct image_store st = { 0 };

	st.name = xstrdup(name);
	st.type = is_local ? STORE_FILESYSTEM : STORE_CEPH;
	snap_put_store(s, &st);
	free(st.name);
}

static inline void fix_put_host(struct snap *s, const struct fix_host *f)
{
	struct host h = { 0 };
	struct host_store *st = jtab_list_add(&host_store_jtab, &h.stores);

	h.hostname = xstrdup(f->name);
	h.labels = fix_json(f->labels);
	h.cpu_overcommit = f->cpu_overcommit ? f->cpu_overcommit : 100;
	h.ram_overcommit = h.disk_overcommit = 100;
	h.reserved_ram_mib = f->reserved_ram_mib;
	h.cpus = f->cpus;
	h.ram_mib = f->ram_mib;
	h.is_draining = f->is_draining;
	h.status = f->is_registered_only ? HOST_REGISTERED
		   : f->is_dead		 ? HOST_DEAD
					 : HOST_ALIVE;
	st->name = xstrdup(f->store ? f->store : "s");
	st->total_gib = st->free_gib = f->store_gib ? f->store_gib : -1;
	snap_put_host(s, &h, 5);
	snap_set_alive(s, f->name, !f->is_dead);
	host_done(&h);
}

static inline const char *fix_uuid(const char *name, char out[UUID_STR_SIZE])
{
	uuid_of_name(name, out);
	return out;
}

static inline struct vm_brief *fix_brief(const struct fix_vm *f)
{
	struct vm vm = { 0 };
	struct vm_disk *disk = jtab_list_add(&vm_disk_jtab, &vm.specs.disks);

	vm.specs.cpu = f->cpu ? f->cpu : 1;
	vm.specs.ram_mib = f->ram_mib ? f->ram_mib : 1024;
	disk->size_gib = f->disk_gib ? f->disk_gib : 10;
	vm.owner = xstrdup(f->owner ? f->owner : "alice");
	vm.owner_realm = xstrdup("r");
	vm.store = xstrdup(f->store ? f->store : "s");
	vm.hostname = xstrdup(f->host);
	vm.disk_host = xstrdup(f->disk_host);
	vm.labels = fix_json(f->labels);
	vm.affinity.host_labels = fix_json(f->host_labels);
	vm.affinity.near = fix_json(f->near);
	vm.affinity.apart = fix_json(f->apart);
	vm.status = f->status ? f->status : f->host ? VM_RUNNING : VM_REQUESTED_NEW;
	vm.last_start = f->last_start;
	struct vm_brief *b = brief_new(&vm, "{}");
	vm_done(&vm);
	return b;
}

static inline struct snap_vm *fix_put_vm(
	struct snap *s, const struct fix_vm *f, int64_t mod_rev)
{
	char uuid[UUID_STR_SIZE];
	struct vm_brief *b = fix_brief(f);

	fix_uuid(f->name, uuid);
	snap_put_vm(s, uuid, b, mod_rev);
	brief_free(b);
	return snap_find_vm(s, uuid);
}

#endif
