/*
 * What the scheduler keeps of a VM entry, in one allocation: with 20,000 VMs in the store a
 * full struct vm each would be most of this daemon's memory. Only a VM that waits for a host
 * keeps its text as well, because only that is going to be rewritten. Pure.
 */
#ifndef UCLOUD_SCHEDULER_BRIEF_H
#define UCLOUD_SCHEDULER_BRIEF_H

#include "common/model/vm.h"

struct vm_brief {
	int64_t cpu, ram_mib, disk_gib;
	int status; /* enum vm_status */
	int want;   /* enum vm_want */
	bool uses_host;
	bool keeps_room; /* it crashed: what it used on disk_host is kept for it */
	bool was_placed; /* it has, or once had, a host: there may be disks of it */
	/* All borrowed from `text`, never NULL. */
	const char *owner; /* "realm/name" */
	const char *hostname, *disk_host, *store;
	const char *image_store; /* that its image is yet to be copied from */
	/* Labels: "a=b\nc=d\n", sorted; "" none. */
	const char *labels, *host_labels, *near, *apart;
	/* Of a waiting VM, else "": its last reasons, and the whole entry as JSON. */
	const char *why, *value;
	char text[];
};

/* value: the entry as JSON text; kept when the VM waits. */
struct vm_brief *brief_new(const struct vm *vm, const char *value);
void brief_free(struct vm_brief *b);
/* Is it in a state in which the scheduler looks for a host (whatever it wants)? */
bool brief_is_waiting(const struct vm_brief *b);
bool vm_waits_for_host(const struct vm *vm);

/* For struct cache_class. */
void *brief_parse_item(const char *name, json_t *json, struct err *e);
void brief_free_item(void *b);

/* An object of strings as sorted lines; the caller's. NULL gives "". */
char *labels_text(json_t *labels);

#endif
