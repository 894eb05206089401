/*
 * The orders of users and admins: each checks what was asked, and writes entries and requests
 * to the store in one transaction (docs/architecture.md has the table). No HTTP here.
 *
 * Results: 0 it was accepted (work may follow); ORDER_AS_IT_IS it is already so, or it was
 * given before with the same Idempotency-Key; < 0 refused, with a sentence for the asker. In
 * the first two cases *out is filled with the entry as it is now and is the caller's; it must be zeroed or
 * valid before.
 *
 * `ref` names a VM, an image or a network: its uuid, its name (the asker's own), or, for admins,
 * "owner@realm:name". What belongs to somebody else is not found. `now` is Unix time.
 *
 * Any thread; blocks on the store only.
 */
#ifndef UCLOUD_ORDERS_H
#define UCLOUD_ORDERS_H

#include <jansson.h>

#include "common/model/file.h"
#include "common/model/host.h"
#include "common/model/image.h"
#include "common/model/keys.h"
#include "common/model/network.h"
#include "common/model/request.h"
#include "common/model/user.h"
#include "common/model/vm.h"
#include "common/store/kv.h"
#include "ucloud-api/vm_input.h"
#include "ucloud-api/who.h"

struct orders;

enum { ORDER_AS_IT_IS = 2, ORDER_IMAGE_GOES };

struct orders_conf {
	struct amounts quota; /* of users without one of their own */
	struct vm_limits limits;
	bool users_may_publish; /* their images: else only admins */
};

/* kv and keys are borrowed; conf is copied. */
struct orders *orders_new(
	struct kv *kv, const struct keys *keys, const struct orders_conf *conf);
void orders_free(struct orders *o);
const struct orders_conf *orders_conf_of(const struct orders *o);

/* An Idempotency-Key: 1-128 printable ASCII characters. */
int idempotency_key_check(const char *s, struct err *e) MUST_USE;

/* ---- VMs. idempotency_key may be NULL. */
int orders_vm_create(struct orders *o, const struct who *who, json_t *body,
	const char *idempotency_key, int64_t now, struct vm *out, struct err *e) MUST_USE;
int orders_vm_get(struct orders *o, const struct who *who, const char *ref,
	struct vm *out, struct err *e) MUST_USE;
int orders_vm_start(struct orders *o, const struct who *who, const char *ref, int64_t now,
	struct vm *out, struct err *e) MUST_USE;
/* is_force: do not wait for the guest. */
int orders_vm_stop(struct orders *o, const struct who *who, const char *ref,
	bool is_force, int64_t now, struct vm *out, struct err *e) MUST_USE;
int orders_vm_reboot(struct orders *o, const struct who *who, const char *ref,
	bool is_force, int64_t now, struct vm *out, struct err *e) MUST_USE;
int orders_vm_delete(struct orders *o, const struct who *who, const char *ref,
	int64_t now, struct vm *out, struct err *e) MUST_USE;
/* name, labels, affinity; cpu and ram_mib of a stopped one. */
int orders_vm_patch(struct orders *o, const struct who *who, const char *ref,
	json_t *body, int64_t now, struct vm *out, struct err *e) MUST_USE;
extern const struct jtab vm_patch_jtab;

/*
 * ---- Disks and snapshots of a VM that is RUNNING or STOPPED: ChangeVM. *out is the VM.
 * ERR_CONFLICT while another request is open for it.
 */
/* body {"size_gib", "class"}. */
int orders_disk_attach(struct orders *o, const struct who *who, const char *ref,
	json_t *body, const char *idempotency_key, int64_t now, struct vm *out,
	struct err *e) MUST_USE;
/* body {"size_gib": larger} or, for admins, {"flatten": true}. */
int orders_disk_patch(struct orders *o, const struct who *who, const char *ref,
	int64_t index, json_t *body, int64_t now, struct vm *out, struct err *e) MUST_USE;
/* Its content is lost. */
int orders_disk_detach(struct orders *o, const struct who *who, const char *ref,
	int64_t index, int64_t now, struct vm *out, struct err *e) MUST_USE;
/* body (may be NULL) {"name", "description"}; without a name it is the time. */
int orders_snapshot_create(struct orders *o, const struct who *who, const char *ref,
	json_t *body, const char *idempotency_key, int64_t now, struct vm *out,
	struct err *e) MUST_USE;
/* Of a VM that is STOPPED. */
int orders_snapshot_restore(struct orders *o, const struct who *who, const char *ref,
	const char *name, int64_t now, struct vm *out, struct err *e) MUST_USE;
int orders_snapshot_delete(struct orders *o, const struct who *who, const char *ref,
	const char *name, int64_t now, struct vm *out, struct err *e) MUST_USE;
extern const struct jtab disk_patch_jtab, snapshot_input_jtab;

/*
 * ---- Interfaces of a VM that is RUNNING (ChangeVM) or STOPPED (done at once: out->is_changing
 * is false). ERR_CONFLICT for others, and while another request is open for it.
 */
/* body {"network", "rate_mbit"}: one of its owner's. */
int orders_nic_attach(struct orders *o, const struct who *who, const char *ref,
	json_t *body, const char *idempotency_key, int64_t now, struct vm *out,
	struct err *e) MUST_USE;
int orders_nic_detach(struct orders *o, const struct who *who, const char *ref,
	const char *mac, int64_t now, struct vm *out, struct err *e) MUST_USE;

/* ---- Hosts: admins only. */
int orders_host_create(struct orders *o, const struct who *who, json_t *body,
	const char *idempotency_key, int64_t now, struct host *out,
	struct err *e) MUST_USE;
int orders_host_get(struct orders *o, const struct who *who, const char *name,
	struct host *out, struct err *e) MUST_USE;
/* labels, overcommits, reserved RAM. */
int orders_host_patch(struct orders *o, const struct who *who, const char *name,
	json_t *body, struct host *out, struct err *e) MUST_USE;
int orders_host_drain(struct orders *o, const struct who *who, const char *name,
	bool is_draining, struct host *out, struct err *e) MUST_USE;
/* Refused (ERR_CONFLICT) while VMs are placed there or have their disks there. */
int orders_host_delete(struct orders *o, const struct who *who, const char *name,
	struct err *e) MUST_USE;
extern const struct jtab host_input_jtab, host_patch_jtab;

/* ---- Images, and image stores, which admins register. */
int orders_store_create(struct orders *o, const struct who *who, json_t *body,
	const char *idempotency_key, int64_t now, struct image_store *out,
	struct err *e) MUST_USE;
int orders_store_get(struct orders *o, const struct who *who, const char *name,
	struct image_store *out, struct err *e) MUST_USE;
/* Refused while images are in it. */
int orders_store_delete(struct orders *o, const struct who *who, const char *name,
	struct err *e) MUST_USE;
/* Of an uploaded file (TO_BE_CREATED), or (admins) of what is in a store (CREATED):
 * image_input.h. */
int orders_image_create(struct orders *o, const struct who *who, json_t *body,
	const char *idempotency_key, int64_t now, struct image *out,
	struct err *e) MUST_USE;
/* Own ones and public ones; by name, an own one first. */
int orders_image_get(struct orders *o, const struct who *who, const char *ref,
	struct image *out, struct err *e) MUST_USE;
/* description, public */
int orders_image_patch(struct orders *o, const struct who *who, const char *ref,
	json_t *body, struct image *out, struct err *e) MUST_USE;
/* Refused while VMs use it, with their number. New VMs cannot use it from the beginning of
 * this call on. 0: it is gone; ORDER_IMAGE_GOES: ucloud-image removes what is in the store and
 * then the entry, which is in *out. */
int orders_image_delete(struct orders *o, const struct who *who, const char *ref,
	int64_t now, struct image *out, struct err *e) MUST_USE;
extern const struct jtab image_input_jtab, image_patch_jtab, image_store_input_jtab;

/* ---- Networks. */
/* body {"name", "ipam", "dns"}: REQUESTED_NEW, until ucloud-network has made it. */
int orders_network_create(struct orders *o, const struct who *who, json_t *body,
	const char *idempotency_key, int64_t now, struct network *out,
	struct err *e) MUST_USE;
int orders_network_get(struct orders *o, const struct who *who, const char *ref,
	struct network *out, struct err *e) MUST_USE;
/* dns */
int orders_network_patch(struct orders *o, const struct who *who, const char *ref,
	json_t *body, struct network *out, struct err *e) MUST_USE;
/* Refused while VMs use it, with their names. New VMs cannot use it from the beginning of this
 * call on. ucloud-network removes it, and its entry. */
int orders_network_delete(struct orders *o, const struct who *who, const char *ref,
	int64_t now, struct network *out, struct err *e) MUST_USE;
extern const struct jtab network_input_jtab, network_patch_jtab;

/* ---- Files. Others' are for admins; for others they are not found. */
struct file_ref {
	const char *owner, *realm; /* NULL: the asker's own */
	const char *name;	   /* or uuid */
};
int orders_file_get(struct orders *o, const struct who *who, const struct file_ref *ref,
	struct file *out, struct err *e) MUST_USE;

/* ---- Users. An entry that does not exist yet reads as an empty one. */
/* `use` and `quota` as they count: the default quota when the user has none of their own. */
int orders_user_get(struct orders *o, const struct who *who, const char *name,
	const char *realm, struct user *out, struct err *e) MUST_USE;
/* body {"quota": {...}}; members left out stay as they are; null: the default again. */
int orders_user_set_quota(struct orders *o, const struct who *who, const char *name,
	const char *realm, json_t *body, int64_t now, struct user *out,
	struct err *e) MUST_USE;
int orders_ssh_key_add(struct orders *o, const struct who *who, json_t *body, int64_t now,
	struct ssh_key *out, struct err *e) MUST_USE;
int orders_ssh_key_del(struct orders *o, const struct who *who, const char *name,
	struct err *e) MUST_USE;
extern const struct jtab quota_input_jtab;

/* ---- Requests: by the uuid of their subject: a VM, an image or a network. */
int orders_request_get(struct orders *o, const struct who *who, const char *uuid,
	struct request *out, struct err *e) MUST_USE;
/* Admins only: tried again at once. */
int orders_request_retry(struct orders *o, const struct who *who, const char *uuid,
	struct request *out, struct err *e) MUST_USE;
/* Admins only: the VM, the image or the network becomes ERROR, the request goes. The VM or
 * image that it was is filled in; others' uuids stay NULL, both when it was a network's. */
int orders_request_abort(struct orders *o, const struct who *who, const char *uuid,
	int64_t now, struct vm *vm, struct image *image, struct err *e) MUST_USE;

#endif
