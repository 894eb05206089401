/*
 * The simulation: the whole control plane in one process and one thread. Real orders, real
 * schedulers, real host daemons; a store, hypervisors and disks in memory; a clock that
 * moves only when told. A seed decides everything that happens: who runs next, which order
 * comes, which write fails, loses its answer or is the last one of a daemon. After every
 * step the invariants are checked; in the end all faults stop and the world must come to
 * rest as its users want it.
 */
#ifndef UCLOUD_SIM_H
#define UCLOUD_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/model/keys.h"
#include "common/model/names.h"
#include "common/store/kv_fake.h"
#include "ucloud-api/orders.h"
#include "ucloud-host/hostd.h"
#include "ucloud-host/virt_fake.h"
#include "ucloud-scheduler/sched.h"

#define SIM_HOSTS  3
#define SIM_SCHEDS 2
#define SIM_APIS   2
#define SIM_NODES  (SIM_HOSTS + SIM_SCHEDS + SIM_APIS)
#define SIM_USERS  2
#define SIM_VMS	   256 /* ordered in one run, at most */

enum node_kind { NODE_HOST, NODE_SCHED, NODE_API };

struct sim;

/* One daemon: a process that can die at any write or call, with what it knew. */
struct node {
	struct sim *sim;
	enum node_kind kind;
	unsigned i;
	char name[24];
	struct kv *kv; /* NULL: it is not running */
	struct virt *virt;
	struct hostd *hostd;
	struct sched *sched;
	struct sched_conf sched_conf;
	struct orders *orders;
	int64_t up_at;	    /* when down: the time of its restart */
	int n_effects_left; /* until it dies; < 0: it does not */
	bool is_dead;	    /* died within the step that is under way */
	int64_t cut_until;  /* cut off from etcd until then */
	bool is_slow;	    /* sees its watches late */
};

/* What we know of a VM that was accepted. */
struct sim_vm {
	char uuid[UUID_STR_SIZE];
	unsigned user;
	bool may_be_gone; /* a delete was accepted, or its answer lost */
	bool is_deleted;
	/* The newest order that was accepted, when nothing doubtful came after it. */
	enum { SIM_ANY, SIM_RUNNING, SIM_STOPPED } expect;
	unsigned n_crashes;
};

struct sim {
	uint64_t seed;
	uint64_t rng;
	int64_t now;  /* virtual Unix milliseconds */
	bool is_calm; /* no faults any more */
	struct keys keys;
	struct fake_etcd *etcd;
	struct kv *god; /* a client without faults, for looking */
	struct fake_hyper *hypers[SIM_HOSTS];
	struct node nodes[SIM_NODES];
	struct sim_vm vms[SIM_VMS];
	unsigned n_vms;
	int64_t checked_rev;
	unsigned n_orders, n_deaths, n_moves; /* for the report */
};

uint32_t sim_random(struct sim *s, uint32_t below);
bool sim_chance(struct sim *s, uint32_t percent);

/* world.c: making and unmaking. */
void sim_open(struct sim *s, uint64_t seed);
void sim_close(struct sim *s);
void node_start(struct node *n);
void node_stop(struct node *n);
/* One step of a daemon; it may die in it. True when something was done. */
bool node_step(struct node *n);
int64_t node_next_msec(struct node *n);
void sim_advance(struct sim *s, int64_t msec);
const char *sim_user(unsigned i);
struct sim_vm *sim_find_vm(struct sim *s, const char *uuid);

/* moves.c: what users and fate do. */
void sim_move(struct sim *s);

/* invariants.c: each prints what is wrong and returns false. */
bool sim_check(struct sim *s);
/* At rest, without faults: everything is as its users want it. */
bool sim_check_rest(struct sim *s);
void sim_dump(struct sim *s);

#endif
