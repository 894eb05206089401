/*
 * The order for a new VM as users write it (the body of POST /v1/vms), and how it becomes a
 * VM entry. Pure.
 */
#ifndef UCLOUD_VM_INPUT_H
#define UCLOUD_VM_INPUT_H

#include "common/base/jtab.h"
#include "common/model/image.h"
#include "common/model/names.h"
#include "common/model/network.h"
#include "common/model/user.h"
#include "common/model/vm.h"
#include "ucloud-api/who.h"

#define VM_USER_DATA_MAX 65536

/* The largest VM that anybody may order, whatever the quota. */
struct vm_limits {
	int64_t max_cpu, max_ram_mib, max_disk_gib;
};

struct nic_input {
	char *network;	   /* uuid or name, of the owner's */
	int64_t rate_mbit; /* 0: any */
};

struct vm_input {
	char *name;
	int64_t cpu, ram_mib;	/* 0: the default */
	int64_t disk_gib;	/* of the boot disk; 0: what the image needs */
	struct jtab_list disks; /* struct vm_disk, instead of disk_gib */
	char *image;		/* uuid or name */
	char *store;		/* of its disks; NULL or "": the image's */
	json_t *labels;
	struct vm_affinity affinity;
	struct jtab_list networks; /* struct nic_input */
	struct strv ingress;
	bool has_ingress;     /* the member was there: else all is let in */
	struct strv ssh_keys; /* names of stored keys, or keys */
	bool has_ssh_keys;    /* the member was there: else all stored keys */
	char *user_data;
	int want; /* enum vm_want */
};

extern const struct jtab vm_input_jtab;

/* Reads and checks a body to the byte, defaults not filled in; the error's field is the
 * member at fault. */
int vm_input_parse(json_t *body, const struct vm_limits *limits, struct vm_input *out,
	struct err *e) MUST_USE;
void vm_input_done(struct vm_input *in);

extern const struct jtab nic_input_jtab;

/* What an order refers to, as it is in the store. */
struct vm_parts {
	const struct who *who;
	const char *uuid; /* of the VM */
	const struct image *image;
	const struct user *user;	/* whose keys are named */
	const struct network *networks; /* as many, in the same order, as in->networks */
};

/* The new entry: REQUESTED_NEW (STOPPED when that is wanted), with every default filled in.
 * Refuses a disk smaller than the image, an unknown key name. */
int vm_input_build(const struct vm_input *in, const struct vm_parts *parts,
	const struct vm_limits *limits, int64_t now, struct vm *out,
	struct err *e) MUST_USE;

/* Gives it an interface: with an address when the network is auto. */
void vm_nic_add(
	struct vm *vm, const struct network *net, const char *mac, int64_t rate_mbit);
/* The MAC address of a VM's i-th interface: the same for the same uuid; locally
 * administered, unicast. */
void vm_mac(const char *vm_uuid, size_t i, char out[MAC_STR_SIZE]);
/* prefix ("2001:db8:1::/64") and the EUI-64 of mac (RFC 4291, appendix A); NULL when prefix
 * is no /64. The caller's. */
char *eui64_address(const char *prefix, const char *mac);

/* A name that is free for a VM or an image: no uuid, since either may stand in a path. */
int new_name_check(const char *name, struct err *e) MUST_USE;

#endif
