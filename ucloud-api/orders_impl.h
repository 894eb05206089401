/*
 * What the order files (orders.c, *_order.c) share. Nobody else includes this.
 */
#ifndef UCLOUD_ORDERS_IMPL_H
#define UCLOUD_ORDERS_IMPL_H

#include <pthread.h>

#include "common/base/crypt.h"
#include "common/model/names.h"
#include "ucloud-api/group.h"
#include "ucloud-api/order_run.h"
#include "ucloud-api/orders.h"

/*
 * Creates of different users write different keys: while etcd works on one transaction, the
 * next one can be on its way. All of a user's go the same way, so that they do not conflict.
 */
enum { CREATE_LANES = 2 };

struct orders {
	struct kv *kv;
	const struct keys *keys;
	struct orders_conf conf;
	struct group *creates[CREATE_LANES];
	pthread_mutex_t lock;
	int64_t idem_lease,
		idem_hour; /* of Idempotency-Keys: one lease for an hour's keys */
};

int need_admin(const struct who *who, struct err *e) MUST_USE;

/*
 * Finding entries, for an order_fn: 0, DRAFT_MORE, or < 0 (ERR_NOT_FOUND; ERR_INTERNAL for a
 * stored value that cannot be read). *key (may be NULL) is the caller's and set when 0.
 */
int find_vm(const struct orders *o, struct draft *d, const struct who *who,
	const char *ref, struct vm *out, char **key, struct err *e) MUST_USE;
int find_image(const struct orders *o, struct draft *d, const struct who *who,
	const char *ref, struct image *out, char **key, struct err *e) MUST_USE;
/* One that the asker may change: ERR_DENIED for others' public ones. */
int find_own_image(const struct orders *o, struct draft *d, const struct who *who,
	const char *ref, struct image *out, struct err *e) MUST_USE;
/* By uuid or name; others' are not found, but by admins. */
int find_network(const struct orders *o, struct draft *d, const struct who *who,
	const char *ref, struct network *out, struct err *e) MUST_USE;
/* As orders_file_get(). */
int find_file(const struct orders *o, struct draft *d, const struct who *who,
	const struct file_ref *ref, struct file *out, char **key, struct err *e) MUST_USE;
int find_host(const struct orders *o, struct draft *d, const char *name, struct host *out,
	char **key, struct err *e) MUST_USE;
int find_store(struct draft *d, const char *name, struct image_store *out, char **key,
	struct err *e) MUST_USE;
/* One that does not exist is an empty one. */
int find_user(struct draft *d, const char *realm, const char *name, int64_t now,
	struct user *out, char **key, struct err *e) MUST_USE;
/* The open request at key: 0 with out, DRAFT_AS_IT_IS when there is none. */
int find_request(
	struct draft *d, const char *key, struct request *out, struct err *e) MUST_USE;

/*
 * The order that deletes what VMs may use (an image, a network), in two steps: it is closed, with
 * an order that is "unchecked" and waits, and who uses it is looked for; then the order is one
 * that is checked, or goes again. type: REQ_DELETE_...
 */
/* Is one open at key that is checked? 0 no, DRAFT_MORE, DRAFT_AS_IT_IS yes. */
int look_deletion(
	struct draft *d, const char *key, enum request_type type, struct err *e) MUST_USE;
/* In place of whatever is open at key, which must have been looked at. */
void put_deletion(struct draft *d, const char *key, enum request_type type, char *uuid,
	int64_t now, bool is_unchecked);

/* An entry as text, the caller's; NULL (ERR_TOO_LARGE) beyond what the store takes. Before
 * anything is drafted: an order that is refused leaves nothing behind. */
char *vm_text(const struct vm *vm, struct err *e);
char *user_text(const struct user *u, struct err *e);
/* Compares with what was seen, and writes. */
int put_vm(const struct orders *o, struct draft *d, const struct vm *vm,
	struct err *e) MUST_USE;
void put_image(const struct orders *o, struct draft *d, const struct image *im);
int put_user(struct draft *d, const struct user *u, struct err *e) MUST_USE;

/* The open request for an image, as find_request(); the image is one that the asker may
 * change. */
int find_image_request(const struct orders *o, struct draft *d, const struct who *who,
	const char *uuid, struct image *image, struct request *out, char **key,
	struct err *e) MUST_USE;

/* The quota that counts for a user. */
const struct amounts *user_quota(const struct orders *o, const struct user *u);

/* "name@realm:rest" of an admin's ref. *rest is ref itself when there is no owner in it;
 * name and realm are the caller's then NULL. */
int ref_split(const char *ref, char **name, char **realm, const char **rest,
	struct err *e) MUST_USE;

/*
 * The places where requests for a VM can be open. At most one of them is.
 */
struct slot {
	char *key; /* NULL: no such place */
	bool is_open;
	struct request request;
};

struct slots {
	struct slot scheduler, host, disk_host; /* disk_host: when it is not the host */
};

/* 0, DRAFT_MORE, < 0. */
int slots_look(const struct orders *o, struct draft *d, const struct vm *vm,
	struct slots *s, struct err *e) MUST_USE;
/* NULL: none is open. */
struct slot *slots_open(struct slots *s);
/* It stays as it was seen. */
void slot_same(struct draft *d, const struct slot *s);
/* No request stands there any more. */
void slot_close(struct draft *d, const struct slot *s);
void slots_done(struct slots *s);

/* How many VMs does fn count? Reads all VMs, page by page; only those whose stored text
 * contains needle are looked at closely. */
int count_vms(struct orders *o, const char *needle,
	bool (*fn)(void *aux, const struct vm *vm), void *aux, int64_t *n,
	struct err *e) MUST_USE;

/*
 * Idempotency-Keys: `idem` is what the transaction of a create carries when the client sent
 * one. The stored value says which body made which subject.
 */
struct idem {
	char *key; /* in the store; NULL: the client sent none */
	char digest[SHA256_HEX_SIZE];
	int64_t lease;
};
/* what: "vm"... A key may be used for one kind of thing. */
int idem_init(struct orders *o, const struct who *who, const char *what,
	const char *idempotency_key, json_t *body, int64_t now, struct idem *out,
	struct err *e) MUST_USE;
/* 0 it is new; DRAFT_AS_IT_IS with *subject (the caller's) when it was done before;
 * DRAFT_MORE; ERR_CONFLICT when another body was. */
int idem_look(
	const struct idem *idem, struct draft *d, char **subject, struct err *e) MUST_USE;
void idem_write(const struct idem *idem, struct draft *d, const char *subject);
/* After a failure: the lease may be gone, the next order takes a new one. True when it is
 * worth to try again. */
bool idem_failed(struct orders *o, const struct idem *idem, const struct err *e);
void idem_done(struct idem *idem);

#endif
