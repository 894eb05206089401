/*
 * A store in memory and the orders of one API process, for the tests of orders: with two
 * users and an admin, and with reads and writes that go wrong when the test says so. The
 * main thread only. What does not work fails the test, unless a struct err is asked for.
 *
 * Keys (char *) that are given to a function are freed by it, as key_...() made them.
 */
#ifndef UCLOUD_ORDERS_WORLD_H
#define UCLOUD_ORDERS_WORLD_H

#include "common/store/kv_fake.h"
#include "ucloud-api/orders.h"

#define ORDERS_WORLD_NOW 1700000000 /* when everything is ordered */

static const struct who admin = { "root", "ungleich-admin", true };
static const struct who alice = { "alice", "users", false };
static const struct who bob = { "bob", "users", false };

struct orders_world {
	struct fake_etcd *etcd;
	struct kv *kv;
	struct keys keys;
	struct orders_conf conf;
	struct orders *orders;
	int n_writes; /* since it was last set to 0 */
	/* What follows is set by functions. */
	int write_fault_at, write_fault_kind;
	int n_reads, read_fault_at;
	int meddle_at;
	void (*meddle)(struct orders_world *w); /* NULL again: it has happened */
	struct kv_fault fault;
	char uuid[UUID_STR_SIZE]; /* the test's, for meddle */
};

/* conf NULL: 5 VMs, 8 CPUs, 8 GiB, disks of 100 GiB, 3 images and 3 networks for each user;
 * 4 CPUs, 4 GiB, disks of 50 GiB for each VM. */
struct orders_world *orders_world_new(const struct orders_conf *conf);
void orders_world_free(struct orders_world *w);
/* For cmocka: one with the image store "local" and the admin's public image "debian", which
 * has 3 GiB. */
int orders_world_setup(void **state);
int orders_world_teardown(void **state);
void orders_world_add_store(struct orders_world *w, const char *name);
void orders_world_add_image(struct orders_world *w);

/* The n-th write from now on goes wrong (kv_fake.h says how); 0: none does. */
void orders_world_fail_write(struct orders_world *w, int n, int kind);
/* The n-th read from now on fails; 0: none does. */
void orders_world_fail_read(struct orders_world *w, int n);
/* This happens just before the n-th write from now on. uuid is for it. */
void orders_world_meddle(struct orders_world *w, int n,
	void (*meddle)(struct orders_world *w), const char *uuid);

json_t *orders_world_json(const char *text);
/* Takes text; NULL: deletes the key. */
void orders_world_put(struct orders_world *w, char *key, char *text);
/* out has no key when there is none. */
void orders_world_get(struct orders_world *w, char *key, struct kv_pair *out);
bool orders_world_has(struct orders_world *w, char *key);
int64_t orders_world_count(struct orders_world *w, const char *prefix);
/* False: there is none. */
bool orders_world_request(struct orders_world *w, char *key, struct request *out);
/* enum request_type; -1: there is none. */
int orders_world_request_type(struct orders_world *w, char *key);
struct amounts orders_world_use(struct orders_world *w, const struct who *who);

/* r and e are an order's: it was refused, so, because of that field (NULL: any), and the
 * message has that in it. */
#define orders_world_refused(...) orders_world_refused_at(__LINE__, __VA_ARGS__)
void orders_world_refused_at(int line, int r, const struct err *e, enum err_kind kind,
	const char *field, const char *says);

/* ---- VMs */

/* orders_vm_create(); text is the order. */
int orders_world_vm_as(struct orders_world *w, const struct who *who, const char *text,
	const char *idem, struct vm *out, struct err *e);
#define orders_world_refuse_vm(...) orders_world_refuse_vm_at(__LINE__, __VA_ARGS__)
void orders_world_refuse_vm_at(int line, struct orders_world *w, const struct who *who,
	const char *text, enum err_kind kind, const char *field, const char *says);
/* One of the image debian; more is "" or what follows in the order, with a comma first. */
void orders_world_vm(struct orders_world *w, const struct who *who, const char *name,
	const char *more, struct vm *out);
/* What the scheduler and the host would write. */
void orders_world_set_vm(
	struct orders_world *w, struct vm *vm, enum vm_status status, const char *host);
/* alice's, and it runs on host h1. */
void orders_world_running_vm(
	struct orders_world *w, const char *name, const char *more, struct vm *out);

/* ---- networks */

/* Of a VM that has one interface in it. */
#define ORDERS_WORLD_IN_LAN ",\"networks\":[{\"network\":\"lan\"}]"

/* orders_network_create(); text is the order. */
int orders_world_network_as(struct orders_world *w, const struct who *who,
	const char *text, const char *idem, struct network *out, struct err *e);
/* alice's network "lan", still to be made. */
void orders_world_network(struct orders_world *w, struct network *out);
/* As ucloud-network would write it: an active one has the prefix 2001:db8:1:2::/64. */
void orders_world_set_network(
	struct orders_world *w, struct network *n, enum network_status status);
void orders_world_active_network(struct orders_world *w, struct network *out);
/* orders_network_delete() */
int orders_world_delete_network(
	struct orders_world *w, const struct who *who, const char *ref, struct err *e);

#endif
