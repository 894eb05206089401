/*
 * The user entry (`/v1/user/<realm>/<name>`): SSH keys, quota, and how much of it is used.
 * `use` counts every VM and image that exists, whatever its state, and changes in the same
 * transaction: it equals the sum over the user's entries at every revision. Pure.
 */
#ifndef UCLOUD_USER_H
#define UCLOUD_USER_H

#include "common/base/jtab.h"
#include "common/model/vm.h"

/* Files are only limited: what they use is what is uploaded, and is summed up when it is
 * asked for; `use` of the entry has 0. */
struct amounts {
	int64_t vms, cpu, ram_mib, disk_gib, snapshots, images, file_gib, networks;
};

struct ssh_key {
	char *name;
	char *key; /* "ssh-ed25519 AAAA..." */
	json_t *rest;
};

struct user {
	char *name, *realm;
	struct jtab_list ssh_keys; /* struct ssh_key, at most 64 */
	struct amounts quota;
	bool has_own_quota; /* set by an admin: else the api's default applies */
	struct amounts use;
	int64_t created;
	json_t *rest;
};

extern const struct jtab user_jtab, amounts_jtab, ssh_key_jtab;

int user_parse(const char *json, size_t size, struct user *out, struct err *e) MUST_USE;
char *user_format(const struct user *u);
void user_copy(const struct user *from, struct user *to);
void user_done(struct user *u);
void *user_parse_item(const char *name, json_t *json, struct err *e);
void user_free_item(void *u);

struct amounts vm_amounts(const struct vm *vm);
#define NETWORK_AMOUNTS ((struct amounts){ .networks = 1 })
#define IMAGE_AMOUNTS	((struct amounts){ .images = 1 })
/* Adds to `use`; ERR_QUOTA names what is used up, how much is left and was asked for. */
int user_take(struct user *u, const struct amounts *quota, const struct amounts *a,
	struct err *e) MUST_USE;
/* Gives back; never below 0 (that is logged by the caller: it returns false then). */
bool user_give_back(struct user *u, const struct amounts *a);

#endif
