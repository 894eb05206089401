/*
 * Lists, page by page, straight from the store: nothing is kept in this process. A page costs
 * what is on it (and what a filter passes over), not what is in the store. Any thread.
 */
#ifndef UCLOUD_LIST_H
#define UCLOUD_LIST_H

#include <jansson.h>

#include "common/model/keys.h"
#include "common/model/user.h"
#include "common/store/kv.h"
#include "ucloud-api/who.h"

#define LIST_LIMIT_DEFAULT 100
#define LIST_LIMIT_MAX	   1000

struct list_page {
	json_t *items; /* array */
	char *next; /* what `after` must be for the next page; NULL: this is the last */
};
void list_page_done(struct list_page *p);
/* {"<name>": items, "next": ...}; takes what is in p. */
json_t *list_page_json(const char *name, struct list_page *p);

/* limit, and where to go on. */
struct list_range {
	size_t limit;
	const char *after; /* NULL: from the beginning */
};

struct vm_filter {
	/* Whose: one owner's, or (name NULL) everybody's. */
	const char *owner, *realm;
	const char *host;	 /* NULL any; */
	const char *name_prefix; /* NULL any; only with an owner */
	int status;		 /* enum vm_status, -1 any */
};

/* VMs without log, user_data and ssh_keys. `after` is a name when an owner is given, else a
 * uuid. */
int list_vms(struct kv *kv, const struct keys *keys, const struct vm_filter *f,
	const struct list_range *r, struct list_page *out, struct err *e) MUST_USE;
/* The members that entries in lists of VMs do not have. */
#define LIST_VM_LEAVES "log user_data ssh_keys"

/* One owner's; `after` is a name. */
int list_files(struct kv *kv, const struct keys *keys, const char *owner,
	const char *realm, const struct list_range *r, struct list_page *out,
	struct err *e) MUST_USE;
/* The members that entries in lists of files do not have. */
#define LIST_FILE_LEAVES "identity"

/* Those that who may see; `after` is a uuid. */
int list_images(struct kv *kv, const struct keys *keys, const struct who *who,
	const struct list_range *r, struct list_page *out, struct err *e) MUST_USE;
/* One owner's, `after` is a name; or (owner NULL) everybody's, `after` is a uuid. */
int list_networks(struct kv *kv, const struct keys *keys, const char *owner,
	const char *realm, const struct list_range *r, struct list_page *out,
	struct err *e) MUST_USE;
int list_stores(struct kv *kv, const struct list_range *r, struct list_page *out,
	struct err *e) MUST_USE;
int list_hosts(struct kv *kv, const struct keys *keys, const struct list_range *r,
	struct list_page *out, struct err *e) MUST_USE;
/* `after` is "name@realm". quota is what applies to users without one of their own. */
int list_users(struct kv *kv, const struct amounts *quota, const struct list_range *r,
	struct list_page *out, struct err *e) MUST_USE;
/* All open requests; `after` is the key behind the prefix. */
int list_requests(struct kv *kv, const struct keys *keys, const struct list_range *r,
	struct list_page *out, struct err *e) MUST_USE;
/* Those for one owner's VMs, then for their images, then for their networks; `after` is a VM's
 * name, or an image's or network's (or nothing) behind one of these. */
#define LIST_IMAGE_AFTER   "image:"
#define LIST_NETWORK_AFTER "network:"
int list_requests_of(struct kv *kv, const struct keys *keys, const char *owner,
	const char *realm, const struct list_range *r, struct list_page *out,
	struct err *e) MUST_USE;

/* Takes the members named in leaves (blank between) out of a JSON object. */
void json_leave_out(json_t *object, const char *leaves);

#endif
