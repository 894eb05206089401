/*
 * The VM entry (`/v1/vm/<uuid>`): struct, JSON table, state names, legal moves. Pure.
 */
#ifndef UCLOUD_VM_H
#define UCLOUD_VM_H

#include "common/base/jtab.h"

#define VM_LOG_MAX	 20
#define VM_DISKS_MAX	 8
#define VM_NICS_MAX	 8
#define VM_SNAPSHOTS_MAX 32

/*
 *  create            place             runs
 * --------> REQ_NEW ------> SCHEDULED ------> RUNNING --stop--> REQ_SHUTDOWN --> STOPPED
 *                             ^ ^ ^             | | |                              |
 *                             | | +--KILLED<----+ | +--migrate--> REQ_MIGRATE      |
 *                             | |   crash, host   |                  |  (RUNNING)  |
 *                             | |                 |                               |
 *                             +--- REQ_START <----------------- start -------------+
 * from everywhere: --delete--> REQ_DELETE --> (entry gone);  --no way out--> ERROR
 */
enum vm_status {
	VM_REQUESTED_NEW,      /* accepted, never ran, waits for a host */
	VM_SCHEDULED,	       /* has a host; disk, networks, domain are being prepared */
	VM_RUNNING,	       /* runs on hostname */
	VM_REQUESTED_SHUTDOWN, /* is being stopped */
	VM_STOPPED,	       /* keeps its disk; hostname is "" */
	VM_REQUESTED_START,    /* existing VM waits for a host */
	VM_REQUESTED_MIGRATE,  /* moves to the request's destination */
	VM_REQUESTED_DELETE,   /* is being removed */
	VM_KILLED, /* its host or process died; comes back while want is running */
	VM_ERROR,  /* the last log line says why, and what to do */
	VM_N_STATUS
};
extern const char *const vm_status_names[]; /* NULL-terminated */

enum vm_want { VM_WANT_RUNNING, VM_WANT_STOPPED };
extern const char *const vm_want_names[];

struct vm_disk {
	/* Names it in its store and in the domain, as long as it is there; the boot disk's
	 * is 0. Others' need not follow each other: disks are detached. */
	int64_t index;
	int64_t size_gib;
	char *class;	 /* "ssd", "hdd", "" any */
	bool is_leaving; /* "leaving": to be detached and removed; counts until it is */
	bool is_flatten; /* "flatten": to be made independent of its image */
	json_t *rest;
};

enum vm_snapshot_state {
	SNAPSHOT_CREATING,
	SNAPSHOT_READY,
	SNAPSHOT_RESTORING,
	SNAPSHOT_DELETING
};
extern const char *const vm_snapshot_state_names[]; /* "creating", "ready", ... */

/* Of all disks that the VM had then. A disk that was attached later has none, and is left as
 * it is when the snapshot is restored. */
struct vm_snapshot {
	char *name;
	char *description;
	int state; /* enum vm_snapshot_state: what is ordered, until it is done */
	int64_t created;
	bool is_quiesced; /* "quiesced": the guest agent had frozen its file systems */
	json_t *rest;
};

struct vm_specs {
	int64_t cpu;
	int64_t ram_mib;
	struct jtab_list disks; /* struct vm_disk, by index; [0] is the boot disk */
};

struct vm_nic {
	char *network; /* uuid */
	char *mac;
	char *address;	   /* IPv6, "" when not known */
	int64_t rate_mbit; /* of its frames, either way; 0: as fast as it goes */
	bool is_leaving;   /* "leaving": to be detached; stays until it is */
	json_t *rest;
};

struct vm_log_line {
	int64_t time;
	char *text;
	json_t *rest;
};

/* Placement rules: labels "name=value" that VMs on the host carry, and host labels needed.
 * `host_labels` {"rack":"r1"}; `near` and `apart` {"app":"db"}: only with / never with
 * another VM of the same owner that carries that label. */
struct vm_affinity {
	json_t *host_labels;
	json_t *near;
	json_t *apart;
};

struct vm {
	char *uuid, *name, *owner, *owner_realm;
	struct vm_specs specs;
	json_t *labels; /* object of strings, may be NULL */
	struct vm_affinity affinity;
	char *image_uuid;
	char *store;		    /* image store that holds its disks */
	char *image_store;	    /* the image's, when it is another one; else "" */
	struct jtab_list snapshots; /* struct vm_snapshot, oldest first */
	struct jtab_list networks;  /* struct vm_nic */
	/* Packets that may begin a connection to it from outside: "tcp/22", "udp/53",
	 * "icmpv6"; all when is_closed is not set ("closed"). */
	struct strv ingress;
	bool is_closed;
	struct strv ssh_keys;
	char *user_data;
	int want;	 /* enum vm_want */
	int status;	 /* enum vm_status */
	char *hostname;	 /* "" (or NULL) when it has no host */
	char *disk_host; /* the host that holds its disks when the store is local */
	bool was_placed; /* it was given a host once: there may be disks of it */
	bool in_migration;
	bool is_changing; /* "changing": ChangeVM was ordered, and is not done */
	int64_t created;
	/* How many boots were ordered: a reboot adds one, and a start on the host that the VM
	 * still has. The domain that runs carries the number it was booted for, so that a
	 * reboot is done exactly once, and a start is not undone by how an older boot ended. */
	int64_t boot;
	int64_t n_crashes;    /* in a row; 0 again after 10 minutes of running */
	int64_t last_crash;   /* time */
	int64_t last_start;   /* time it became RUNNING */
	char *why;	      /* the scheduler's last word: why here, or why not yet */
	struct jtab_list log; /* struct vm_log_line, newest last */
	json_t *rest;
};

extern const struct jtab vm_jtab, vm_specs_jtab, vm_disk_jtab, vm_nic_jtab, vm_log_jtab,
	vm_affinity_jtab, vm_snapshot_jtab;
/* What users may say of a disk when they order one: into a struct vm_disk. */
extern const struct jtab vm_disk_input_jtab;

int vm_parse(const char *json, size_t size, struct vm *out, struct err *e) MUST_USE;
char *vm_format(const struct vm *vm);
void vm_copy(const struct vm *from, struct vm *to);
void vm_done(struct vm *vm);

/* For struct cache_class: a heap struct vm; uuid must be the key's. */
void *vm_parse_item(const char *name, json_t *json, struct err *e);
void vm_free_item(void *vm);

/* Adds a line, dropping the oldest beyond VM_LOG_MAX. The same text as the newest line's is
 * not added again. Text is cut at 500 bytes. */
void vm_log(struct vm *vm, int64_t now, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The only way to change status: asserts that the move is legal. */
void vm_move(struct vm *vm, enum vm_status to);
bool vm_may_move(enum vm_status from, enum vm_status to);
bool vm_has_host(const struct vm *vm);
/* hostname becomes "". */
void vm_release_host(struct vm *vm);
/* NULL: it has no such disk. */
struct vm_disk *vm_find_disk(const struct vm *vm, int64_t index);
struct vm_snapshot *vm_find_snapshot(const struct vm *vm, const char *name);
/* Adds a disk with the lowest free index, in its place; NULL when it has VM_DISKS_MAX. */
struct vm_disk *vm_add_disk(struct vm *vm);
void vm_drop_disk(struct vm *vm, int64_t index);
void vm_drop_snapshot(struct vm *vm, const char *name);
/* NULL: none of its interfaces has that MAC. */
struct vm_nic *vm_find_nic(const struct vm *vm, const char *mac);
void vm_drop_nic(struct vm *vm, const char *mac);
/* What is stored of its i-th interface at key_port(): {"vm", "index", "address"}. The
 * caller's. */
char *vm_port_format(const struct vm *vm, size_t i);
/* Is there something that ChangeVM has to do: was it ordered and is not done, is a disk or an
 * interface leaving, a disk to be flattened, a snapshot not ready? */
bool vm_has_changes(const struct vm *vm);
/* It has, or once had, a host: there may be disks of it. */
bool vm_was_placed(const struct vm *vm);
/* Sum over its disks, leaving ones too. */
int64_t vm_disk_gib(const struct vm *vm);
/* Does a VM in this state hold CPU and RAM on its hostname? */
bool vm_uses_host(const struct vm *vm);

/* Labels: an object of strings, at most 32, names and values checked. */
int labels_check(json_t *labels, struct err *e) MUST_USE;
/* The same; the error's field is `field` ("labels"). */
int labels_check_at(json_t *labels, const char *field, struct err *e) MUST_USE;
int vm_affinity_check(const struct vm_affinity *a, struct err *e) MUST_USE;
/* Does `have` carry everything in `need`? Both may be NULL. */
bool labels_match(json_t *have, json_t *need);

#endif
