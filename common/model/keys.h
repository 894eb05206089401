/*
 * Every key in etcd, in one place. All strings returned are the caller's. Keys are built
 * from names that were validated (names.h); parsing gives an error for a foreign key.
 * Pure; any thread.
 */
#ifndef UCLOUD_KEYS_H
#define UCLOUD_KEYS_H

#include "common/base/conf.h"
#include "common/base/err.h"

/* The prefixes, each ending in "/", changeable by configuration. */
struct keys {
	char *vm;      /* /v1/vm/          --vm_prefix */
	char *host;    /* /v1/host/        --host_prefix */
	char *request; /* /v1/request/     --request_prefix */
	char *file;    /* /v1/file/        --file_prefix */
	char *image;   /* /v1/image/       --image_prefix */
	char *network; /* /v1/network/     --network_prefix */
};

/* The part of every program's options; offsets within struct keys. The check adds a missing
 * final "/" and refuses prefixes that lie inside each other. */
extern const struct conf_opt keys_opts[];
void keys_set_defaults(struct keys *k);
int keys_check(struct keys *k, struct err *e) MUST_USE;
void keys_done(struct keys *k);

char *key_vm(const struct keys *k, const char *uuid);
char *key_host(const struct keys *k, const char *host);
char *key_image(const struct keys *k, const char *uuid);
char *key_network(const struct keys *k, const char *uuid);
char *key_file(const struct keys *k, const char *uuid);
char *key_request_scheduler(const struct keys *k, const char *vm_uuid);
char *key_request_host(const struct keys *k, const char *host, const char *vm_uuid);
char *key_request_image(const struct keys *k, const char *image_uuid);
/* Prefixes for ranges and watches. */
char *key_requests_scheduler(const struct keys *k);
char *key_requests_host(const struct keys *k, const char *host);
char *key_requests_image(const struct keys *k);
char *key_request_network(const struct keys *k, const char *network_uuid);
char *key_requests_network(const struct keys *k);

/* Fixed ones. */
#define KEY_VM_NAME	 "/v1/vm-name/"
#define KEY_PLACEMENT	 "/v1/placement/"
#define KEY_ALIVE	 "/v1/alive/"
#define KEY_LOCK	 "/v1/lock/"
#define KEY_FILE_NAME	 "/v1/file-name/"
#define KEY_IMAGE_NAME	 "/v1/image-name/"
#define KEY_IMAGE_PUBLIC "/v1/image-public/"
#define KEY_IMAGE_STORE	 "/v1/image_store/"
#define KEY_USER	 "/v1/user/"
#define KEY_OTP		 "/v1/otp/"
#define KEY_SESSION	 "/v1/session/"
#define KEY_IDEMPOTENCY	 "/v1/idempotency/"
#define KEY_CONSOLE	 "/v1/console/"
#define KEY_PORT	 "/v1/port/"
#define KEY_NETWORK_NAME "/v1/network-name/"
#define KEY_NETWORK_HOST "/v1/network-host/"
#define KEY_UNDERLAY	 "/v1/underlay/"
#define KEY_VNI		 "/v1/vni/"
#define KEY_PREFIX	 "/v1/prefix/"

char *key_vm_name(const char *realm, const char *owner, const char *name);
char *key_vm_names(const char *realm, const char *owner); /* prefix */
char *key_placement(const char *host, const char *vm_uuid);
char *key_placements(const char *host); /* prefix */
char *key_alive(const char *host);
char *key_lock(const char *service);
/* filename is relative to the user's directory: UTF-8, may have "/" in it (file.h). */
char *key_file_name(const char *realm, const char *owner, const char *filename);
char *key_file_names(const char *realm, const char *owner); /* prefix */
char *key_image_name(const char *realm, const char *owner, const char *name);
char *key_image_names(const char *realm, const char *owner); /* prefix */
/* Names of public images are unique among all owners': uuid. */
char *key_image_public(const char *name);
char *key_image_store(const char *name);
char *key_user(const char *realm, const char *name);
char *key_otp(const char *realm, const char *name);
char *key_session(const char *token_sha256);
/* id_sha256: SHA-256 of the client's Idempotency-Key. */
char *key_idempotency(const char *realm, const char *owner, const char *id_sha256);
char *key_console(const char *host, const char *vm_uuid);
char *key_consoles(const char *host); /* prefix */
char *key_port(const char *network_uuid, const char *mac);
char *key_ports(const char *network_uuid); /* prefix */
char *key_network_name(const char *realm, const char *owner, const char *name);
char *key_network_names(const char *realm, const char *owner); /* prefix */
char *key_network_host(const char *network_uuid, const char *host);
char *key_network_hosts(const char *network_uuid); /* prefix */
char *key_underlay(const char *host);
char *key_vni(int64_t vni);
char *key_prefix(const char *prefix); /* "2001:db8:1:2::/64" */

/* What a request key says. kind: "scheduler", "host", "network", "image". host is "" but for
 * "host". */
struct request_key {
	char kind[16];
	char host[256];
	char subject[64];
};
int request_key_parse(const struct keys *k, const char *key, struct request_key *out,
	struct err *e) MUST_USE;

#endif
