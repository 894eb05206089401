/*
 * What the files of the fake hypervisor share. Nobody else includes this.
 */
#ifndef UCLOUD_VIRT_FAKE_IMPL_H
#define UCLOUD_VIRT_FAKE_IMPL_H

#include <pthread.h>

#include "common/base/hash.h"
#include "ucloud-host/virt_fake.h"

#define FAKE_NICS_MAX 16

struct fnic {
	char mac[MAC_STR_SIZE]; /* "": no interface */
	bool in_config, is_live;
	int64_t let_go_msec; /* the guest lets go of it; 0 not asked */
};

struct fdom {
	struct virt_dom d;
	char *name;
	uint64_t n_starts;
	int64_t off_at_msec; /* the guest powers off then; 0 not asked */
	bool is_defined;     /* false: only n_starts is left */
	char *store;	     /* of disk_fake.h, that its disks are in; NULL none */
	uint32_t config;     /* disks of the definition, bit n: disk n */
	struct virt_disks live;
	int64_t let_go_msec[VIRT_DISKS_MAX]; /* the guest lets go of it; 0 not asked */
	bool is_frozen;
	struct fnic nics[FAKE_NICS_MAX];
	UT_hash_handle hh;
};

struct fake_hyper {
	char *name;
	struct virt_node node;
	pthread_mutex_t lock; /* all below; never held while a client is told */
	struct fdom *doms;
	struct fake_hyper_fault fault;
	struct virt **clients;
	size_t n_clients;
	struct strv secrets;
	struct fake_hyper *next;
};

struct virt {
	struct fake_hyper *h;
	pthread_mutex_t fn_lock;
	virt_event_fn *fn;
	void *aux;
};

/* With the lock held; NULL when it is not defined. */
struct fdom *virt_fake_find(struct fake_hyper *h, const char *uuid);
bool virt_fake_is_on(const struct fdom *f);

/* With the lock held: each makes the change, or sets the error; *is_event: something
 * happened that clients are told. */
typedef int virt_fake_change_fn(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e);
/* A call named `call`, with the faults that are ordered. */
int virt_fake_change(struct virt *v, const char *call, const char *uuid,
	virt_fake_change_fn *fn, void *aux, struct err *e);

/* With the lock held; NULL with ERR_CONFLICT when it is off. */
struct fdom *virt_fake_find_on(struct fake_hyper *h, const char *uuid, struct err *e);

/* With the lock held: what becomes of its interfaces. */
void virt_fake_nics_define(struct fdom *f, const char *xml);
void virt_fake_nics_on(struct fdom *f);
void virt_fake_nics_off(struct fdom *f);
/* True when the guest let go of one. */
bool virt_fake_nics_let_go(struct fdom *f, int64_t now_msec);
/* With the lock held: what becomes of its disks. */
void virt_fake_disks_define(struct fdom *f, const char *xml);
void virt_fake_disks_on(struct fdom *f);
void virt_fake_disks_off(struct fdom *f);
/* True when the guest let go of one. */
bool virt_fake_disks_let_go(struct fdom *f, int64_t now_msec);

#endif
