/*
 * A compact picture of all hosts and VMs, for placing. It follows the entries one by one
 * (snap_put_..., snap_del_...), so that keeping it costs what changed and not what there is.
 * What a host has in use is computed here from the VM entries and from nothing else.
 *
 * A placement that was decided but is not yet seen in the store is *assumed*: the VM counts
 * on its host at once. The assumption ends when a newer VM entry is put, or with
 * snap_forget().
 *
 * Pure; one thread. The structs are visible to be read; only snapshot.c changes them.
 */
#ifndef UCLOUD_SCHEDULER_SNAPSHOT_H
#define UCLOUD_SCHEDULER_SNAPSHOT_H

#include "common/model/host.h"
#include "common/model/image.h"
#include "common/model/names.h"
#include "ucloud-scheduler/brief.h"
#include "common/base/hash.h"
#include "ucloud-scheduler/intern.h"

/* Why a host takes no VM at all. */
enum snap_block {
	SNAP_OPEN,
	SNAP_ABSENT, /* only the name is known, from a VM or a heartbeat */
	SNAP_DEAD,   /* no heartbeat, or not seen alive yet */
	SNAP_DRAINING,
	SNAP_UNSIZED /* it has not reported its inventory */
};

struct snap_hstore {
	uint32_t store; /* number of the store's name */
	bool is_reported;
	int64_t cap_gib;  /* overcommit applied; -1 no limit */
	int64_t used_gib; /* ordered by VMs whose disks are on this host */
};

struct snap_host {
	uint8_t block; /* enum snap_block */
	bool is_alive, is_draining, is_registered;
	int status;	 /* enum host_status */
	uint32_t labels; /* number of the set */
	/* Overcommit applied; *_inv is 1 / cap. */
	int64_t cpu_cap, cpu_used, ram_cap, ram_used;
	double cpu_inv, ram_inv;
	uint64_t name_hash;
	struct snap_hstore *stores;
	uint32_t n_stores, n_vms;
	int64_t mod_rev;
};

struct snap_store {
	bool is_known, is_local;
	int64_t used_gib; /* of all VMs that may have disks in it */
};

/* A set of labels: sorted numbers. */
struct snap_set {
	uint32_t len;
	uint32_t *v;
};

/* Where a VM counts. */
struct snap_at {
	int32_t host, disk_host; /* index, -1 none */
	bool uses_host, has_disk;
	bool keeps_room; /* on disk_host */
};

struct snap_vm {
	UT_hash_handle hh;
	struct snap_vm *prev, *next; /* of the same owner, those on a host */
	int64_t cpu, ram_mib, disk_gib;
	int64_t mod_rev;
	uint64_t seed;
	uint32_t owner, store;
	uint32_t image_store;			   /* 0: none but its own */
	uint32_t labels, host_labels, near, apart; /* numbers of sets */
	struct snap_at is, assumed;
	bool is_assumed;
	char uuid[UUID_STR_SIZE];
};

struct snap_owner {
	struct snap_vm *placed;
	size_t n_placed;
	size_t n_apart; /* placed ones with an `apart` rule */
};

struct snap {
	struct intern host_names, owner_names, store_names, label_names, set_names;
	struct snap_host *hosts;   /* by number of host_names - 1 */
	struct snap_owner *owners; /* by number */
	struct snap_store *stores;
	struct snap_set *sets;
	size_t n_hosts, n_owners, n_stores, n_sets, n_registered;
	struct snap_vm *vms; /* uthash by uuid */
	size_t n_assumed;
	/* Rises whenever "fits nowhere", or the reasons for it, may have become another
	 * answer. VMs that take room are no such news. */
	uint64_t gen;
};

struct snap *snap_new(void);
void snap_free(struct snap *s);

void snap_put_host(struct snap *s, const struct host *h, int64_t mod_rev);
void snap_del_host(struct snap *s, const char *name);
void snap_set_alive(struct snap *s, const char *name, bool is_alive);
void snap_put_store(struct snap *s, const struct image_store *st);
void snap_del_store(struct snap *s, const char *name);

/* An entry older than the one that is there is no news, nor is the same one for a VM with an
 * assumption. */
void snap_put_vm(
	struct snap *s, const char *uuid, const struct vm_brief *b, int64_t mod_rev);
void snap_del_vm(struct snap *s, const char *uuid);
struct snap_vm *snap_find_vm(const struct snap *s, const char *uuid);
/* From now on it counts on this host. is_local: its disks do, too. */
void snap_assume(struct snap *s, struct snap_vm *vm, int host, bool is_local);
void snap_forget(struct snap *s, const char *uuid);

int snap_find_host(const struct snap *s, const char *name); /* index or -1 */
const char *snap_host_name(const struct snap *s, int host); /* borrowed */
const struct snap_hstore *snap_find_hstore(const struct snap_host *h, uint32_t store);
/* Does `have` carry everything in `need`? */
bool snap_set_has_all(const struct snap *s, uint32_t have, uint32_t need);
/* How many strings are kept, beyond use perhaps: when to build it anew. */
size_t snap_n_strings(const struct snap *s);

#endif
