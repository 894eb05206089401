/*
 * The simulation: the whole control plane in one process and one thread. Real orders, real
 * schedulers, real host daemons, real leaders of routers; a store, hypervisors and disks in
 * memory, bridges in files; a clock that moves only when told. A seed decides everything that happens: who runs next, which order
 * comes, which write fails, loses its answer or is the last one of a daemon, who stands still
 * in the middle of a step while the others go on. It also decides which of all this happens
 * often, seldom or never in its run.
 *
 * history.c follows the store, revision by revision; rules.c says what may be in it and who
 * may write what, nets_rules.c the same of networks; world_rules.c compares it with domains,
 * disks and bridges. In the end all faults
 * stop and the world must come to rest as its users want it (rest.c).
 */
#ifndef UCLOUD_SIM_H
#define UCLOUD_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/model/host.h"
#include "common/model/keys.h"
#include "common/model/names.h"
#include "common/model/vm.h"
#include "common/base/hash.h"
#include "common/store/kv_fake.h"
#include "ucloud-api/orders.h"
#include "ucloud-host/hostd.h"
#include "ucloud-host/virt_fake.h"
#include "ucloud-network/netlead.h"
#include "ucloud-scheduler/sched.h"

#define SIM_HOSTS   3
#define SIM_SCHEDS  2
#define SIM_APIS    2
#define SIM_ROUTERS 2
#define SIM_NODES   (SIM_HOSTS + SIM_SCHEDS + SIM_APIS + SIM_ROUTERS)
#define SIM_USERS   2
#define SIM_VMS	    2000 /* in one run, at most */
#define SIM_NETS    1000
#define SIM_STORES  2
#define SIM_ORDERS  8 /* with Idempotency-Keys that are remembered */
#define SIM_REALM   "demo"

#define SIM_GRACE_SEC 30
#define SIM_LEASE_SEC 10
#define SIM_MTU	      1430

enum node_kind { NODE_HOST, NODE_SCHED, NODE_API, NODE_ROUTER };

struct sim;

/* One daemon: a process that can die at any write or call, with what it knew. */
struct node {
	struct sim *sim;
	enum node_kind kind;
	unsigned i;
	char name[24];
	unsigned life; /* one more with each start */
	struct kv *kv; /* NULL: it is not running */
	struct virt *virt;
	struct hostd *hostd;
	struct sched *sched;
	struct sched_conf sched_conf;
	struct orders *orders;
	struct netlead *netlead;
	unsigned pool; /* of a router's: which of sim_pools() it is started with */
	struct netrec_conf net_conf;
	int64_t up_at;	    /* when down: the time of its restart */
	int n_effects_left; /* until it dies; < 0: it does not */
	int n_calls_left; /* until it stands still in the middle of one; < 0: it does not */
	bool is_paused;	  /* stands still: others run within its step */
	bool was_paused;   /* in the step that is under way */
	bool is_dead;	   /* died within the step that is under way */
	int64_t cut_until; /* cut off from etcd until then */
	bool is_slow;	   /* sees its watches late */
	int64_t page_len;  /* sees lists in pages of so many keys; 0: 1000 */
	/* Of a host's hypervisor. */
	int64_t hyper_down_until;
	bool ignores_shutdown, loses_events, keeps_disks, has_agent;
};

/* A key of the store, as of the revision that was followed last. */
struct entry {
	char *key, *value;
	int64_t mod_rev, lease;
	char *intact;	 /* not NULL: what stood here before we made garbage of it */
	bool is_foreign; /* never was anything but garbage */
	UT_hash_handle hh;
};

/* A VM that exists or existed. */
struct sim_vm {
	char uuid[UUID_STR_SIZE];
	unsigned user;
	UT_hash_handle hh;
	/* What the store says. */
	bool exists, was_garbled;
	struct vm vm;
	unsigned n_requests, n_placements, n_ports;
	char *request_key; /* the newest that was put */
	int request_type;
	/* By the revision that is being looked at: */
	bool is_placed_now, had_disk_host;
	/* What its owner may expect. */
	bool may_be_gone; /* a delete was accepted, or its answer lost */
	bool is_deleted;  /* a delete was accepted */
	bool may_fail;	  /* an ERROR would be right */
	/* The newest order that was accepted, when nothing doubtful came after it. */
	enum { SIM_ANY, SIM_RUNNING, SIM_STOPPED } expect;
	unsigned n_crashes;
	/* The world. */
	uint32_t disks; /* those that exist, bit n: disk n */
	unsigned n_disks_made, n_disks_ordered;
	int64_t min_boot;     /* of the newest reboot */
	uint64_t n_may_start; /* so often something happened that asks for a start */
	bool is_touched;      /* by the revision that is being looked at */
	uint64_t n_starts[SIM_HOSTS];
	bool was_gone; /* when its domains were looked for last */
};

/* A network that exists or existed. */
struct sim_net {
	char uuid[UUID_STR_SIZE];
	unsigned user;
	UT_hash_handle hh;
	/* What the store says. */
	bool exists, was_garbled;
	struct network net;
	bool has_request, is_unchecked;
	int request_type;
	unsigned n_vnis, n_prefixes, n_ports; /* keys that say that they are its */
	bool is_touched;
	/* What its owner may expect. */
	bool may_be_gone, is_deleted;
	bool may_fail; /* its request was aborted */
};

/* A VXLAN id or a prefix that was given away, ever. */
struct sim_alloc {
	char *key;
	UT_hash_handle hh;
	bool exists;
	char network[UUID_STR_SIZE]; /* "" none */
	int64_t free_at;
	int64_t rests_until; /* by when it was given back; Unix time */
};

/* What a host's ucloud-network has made, or is going to make. */
struct sim_bridge {
	int64_t vni;
	char uuid[UUID_STR_SIZE];
	int64_t ready_at; /* 0: it is */
	int64_t gone_at;  /* 0: it is needed */
};
#define SIM_BRIDGES 32

struct sim_bridges {
	char *sysfs;
	bool is_down; /* nobody makes any */
	struct sim_bridge v[SIM_BRIDGES];
	size_t len;
};

/* A create with an Idempotency-Key, which may be sent again. */
struct sim_order {
	char key[32];
	unsigned user;
	json_t *body;
	char uuid[UUID_STR_SIZE]; /* "" not known */
	unsigned n_made;
};

struct sim_host {
	bool is_registered, is_alive; /* alive: the heartbeat's key is there */
	bool was_meddled;	      /* we took the heartbeat's key away */
	int64_t came_at, gone_at;     /* of the heartbeat */
	struct host host;	      /* the entry, when it is registered */
};

enum sim_chance_of {
	CHANCE_WRITE,	/* of a write that fails or loses its answer, in 1/1000 */
	CHANCE_READ,	/* of a read that fails */
	CHANCE_CALL,	/* of a call of libvirt that fails or loses its answer */
	CHANCE_COMPACT, /* of a compaction before a read */
	CHANCE_SLOW,	/* of a daemon that sees its watches late */
	CHANCE_PAGES,	/* of a daemon that sees lists in small pages */
	CHANCE_RACE,	/* of a write before which others run */
	CHANCE_N
};

#define SIM_MOVES_MAX 40

/* Those who are elected. */
enum sim_lock { LOCK_SCHED, LOCK_NETWORK, LOCK_N };

struct sim_leader {
	int node; /* that made the lock, -1 none */
	unsigned life;
};

struct sim {
	uint64_t seed;
	uint64_t rng;
	uint32_t chances[CHANCE_N];
	uint16_t weights[SIM_MOVES_MAX]; /* of moves.c's table */
	unsigned weight_sum;
	int64_t now;  /* virtual Unix milliseconds */
	bool is_calm; /* no faults any more */
	bool is_wrong;
	int64_t compacted_at;
	bool was_full, has_label_changes, has_grown;
	int64_t orphan_keep_sec;
	struct keys keys;
	struct fake_etcd *etcd;
	struct kv *god; /* a client without faults, for looking and meddling */
	struct fake_hyper *hypers[SIM_HOSTS];
	struct node nodes[SIM_NODES];
	struct node *paused; /* the one that stands still */
	struct sim_host hosts[SIM_HOSTS];
	struct sim_order orders[SIM_ORDERS];
	struct sim_bridges bridges[SIM_HOSTS];
	int64_t quarantine_sec;
	char net_in_use[UUID_STR_SIZE]; /* by an order that is under way; "" none */
	/* history.c */
	struct kv_watch *watch;
	struct entry *entries;
	struct sim_vm *vms[SIM_VMS]; /* oldest first */
	unsigned n_vms;
	struct sim_vm *by_uuid;
	struct sim_net *nets[SIM_NETS]; /* oldest first */
	unsigned n_nets;
	struct sim_net *net_by_uuid;
	struct sim_alloc *allocs;
	uint8_t *writers; /* by revision: 1 + node, 0 nobody (a lease) or we */
	size_t n_writers;
	struct sim_leader leaders[LOCK_N];
	int64_t rev;	 /* followed up to here */
	uint64_t digest; /* of all that was written */
	size_t n_disks;
	unsigned n_disks_made, n_orphans_made;
	/* For the report. */
	unsigned n_orders, n_deaths, n_moves, n_pauses, n_errors;
};

/* ---- chance.c */
uint32_t sim_random(struct sim *s, uint32_t below);
bool sim_chance(struct sim *s, uint32_t percent);
bool sim_chance_of(struct sim *s, enum sim_chance_of what);
/* From now on the libraries' randomness comes from there; NULL: from nowhere. */
void sim_set_current(struct sim *s);
void sim_draw_chances(struct sim *s);

/* ---- world.c: making and unmaking. */
void sim_open(struct sim *s, uint64_t seed);
void sim_close(struct sim *s);
/* One step of a daemon; it may die in it. True when something was done. */
bool node_step(struct node *n);
void node_stop(struct node *n);
int64_t node_next_msec(struct node *n);
void sim_advance(struct sim *s, int64_t msec);
const char *sim_user(unsigned i);
const char *sim_store(unsigned i);
int sim_host_index(const char *host); /* -1: none of ours */
struct node *sim_api(struct sim *s);  /* one that runs, or NULL */

/* ---- fate.c: faults, and what befalls machines and guests. */
void node_set_fault(struct node *n);
void move_guest(struct sim *s);
void move_disk(struct sim *s);
void move_full(struct sim *s);
void move_hyper(struct sim *s);
void move_death(struct sim *s);
void move_cut(struct sim *s);
void move_long_cut(struct sim *s);
void move_slow(struct sim *s);
void move_reset(struct sim *s);
void move_pause(struct sim *s);
void move_compact(struct sim *s);

/* ---- meddle.c: other hands in the store. */
void move_future(struct sim *s);
void move_foreign(struct sim *s);
void move_garble(struct sim *s);
void move_mend(struct sim *s);
void move_steal(struct sim *s);
void move_orphan(struct sim *s);
void sim_mend_all(struct sim *s);

/* ---- users.c, admins.c */
void move_create(struct sim *s);
void move_repeat(struct sim *s);
void move_order(struct sim *s);
void move_patch(struct sim *s);
void move_change(struct sim *s);
void move_quota(struct sim *s);
void move_drain(struct sim *s);
void move_host(struct sim *s);
void move_image(struct sim *s);
void move_request(struct sim *s);
/* ---- nets.c: networks, and VMs' interfaces in them. */
void move_network(struct sim *s);
/* The network is deleted that an order is about which is under way. */
void sim_delete_in_use(struct sim *s);
void move_nic(struct sim *s);
void move_net_request(struct sim *s);
void move_pools(struct sim *s);
void move_lost(struct sim *s);
/* "networks" of an order for a VM. */
json_t *sim_nics(struct sim *s, unsigned user);
/* What a router is started with: n->net_conf. */
void sim_pools(struct node *n);
void sim_pools_done(struct node *n);

/* ---- bridges.c: the hosts' ucloud-network. */
void bridges_open(struct sim *s);
void bridges_close(struct sim *s);
/* Does what is due now. */
void bridges_step(struct sim *s);
void bridges_reboot(struct sim *s, unsigned host);
bool bridges_has(struct sim *s, unsigned host, const char *network);
void move_bridges(struct sim *s);

/* Every host is registered, none drains. */
bool sim_restore_hosts(struct sim *s);
/* An order's node may have died with it: then nobody got an answer. */
bool sim_answered(struct node *n, int r);
/* A refusal changes nothing; an answer that was lost leaves everything open. */
bool sim_is_refusal(int r, const struct err *e);
extern const struct who sim_admin;

/* ---- moves.c */
void sim_move(struct sim *s);
void sim_draw_weights(struct sim *s);
bool sim_settle(struct sim *s, unsigned n_rounds);

/* ---- history.c */
void history_open(struct sim *s);
void history_close(struct sim *s);
/* Takes in what was written meanwhile; what breaks a rule is printed, and is_wrong. */
void history_follow(struct sim *s);
/* n is about to write (NULL: we are). */
void history_writer(struct sim *s, const struct node *n);
/* How many revisions n has made since that one. */
unsigned history_n_written(struct sim *s, const struct node *n, int64_t since_rev);
struct sim_vm *sim_find_vm(struct sim *s, const char *uuid);
struct sim_vm *sim_any_vm(struct sim *s);
struct sim_net *sim_find_net(struct sim *s, const char *uuid);
struct sim_net *sim_any_net(struct sim *s);
struct entry *history_find(struct sim *s, const char *key);
/* Also one that is absent: value NULL. */
struct entry *history_entry(struct sim *s, const char *key);
void history_dump(struct sim *s);

/* ---- rules.c: what a transaction may do. */
enum sim_kind {
	KIND_VM,
	KIND_NAME,
	KIND_PLACEMENT,
	KIND_REQUEST,
	KIND_USER,
	KIND_HOST,
	KIND_ALIVE,
	KIND_LOCK,
	KIND_IMAGE,
	KIND_NETWORK,
	KIND_NETWORK_NAME,
	KIND_VNI,
	KIND_PREFIX,
	KIND_PORT,
	KIND_OTHER
};
struct txn {
	int64_t rev;
	const struct node *writer; /* NULL: we, or a lease that is over */
};
enum sim_kind rules_kind(const struct sim *s, const char *key);
bool rules_leads(const struct sim *s, enum sim_lock lock, const struct node *n);
bool rule_writer(struct sim *s, const struct txn *t, enum sim_kind kind, const char *key,
	bool is_delete);
/* n has changed that key; what is known of it is from before. */
bool rule_compared(struct node *n, const char *key, bool is_compared);
/* before: all zero when it is new. after: NULL when it is gone. */
bool rule_vm(struct sim *s, const struct txn *t, struct sim_vm *v,
	const struct vm *before, const struct vm *after);
bool rule_host(struct sim *s, const struct txn *t, int host, const struct host *before,
	bool was_registered);
bool rule_image_gone(struct sim *s, const char *uuid);
bool rule_request_done(struct sim *s, const struct txn *t, struct sim_vm *v);
/* After a transaction: of every VM that it touched, and of every user. */
bool rule_keys(struct sim *s, struct sim_vm *v);
bool rules_uses(const struct vm *vm, const char *host);
bool rule_room(struct sim *s, struct sim_vm *v);
bool rule_use(struct sim *s);

/* ---- nets_rules.c: networks, what is allocated to them, ports. */
bool change_network(
	struct sim *s, const struct txn *t, const char *key, const char *value);
bool change_network_name(
	struct sim *s, const char *key, const char *before, const char *after);
bool change_network_request(struct sim *s, const struct kv_event *ev, const char *uuid);
bool change_alloc(struct sim *s, const struct txn *t, enum sim_kind kind, const char *key,
	const char *value);
bool change_port(struct sim *s, const struct txn *t, const char *key, const char *before,
	const char *after);
/* After a transaction. */
bool rule_nets(struct sim *s);
bool rule_ports(struct sim *s, const struct sim_vm *v);
/* Of a VM's entry: who may change its interfaces, and when. */
bool rule_nics(struct sim *s, const struct txn *t, const struct vm *before,
	const struct vm *after);
void nets_close(struct sim *s);

/* ---- nets_rest.c: in the end; is_soon: nobody has looked at everything again yet. */
bool rest_check_nets(struct sim *s, bool is_soon);

/* ---- world_rules.c */
void world_check(struct sim *s);
/* n is about to change something through libvirt. */
void world_call(struct node *n, const char *call);

/* ---- changes_rules.c: disks and snapshots that are changed. */
uint32_t rules_disks(const struct vm *vm, bool with_leaving);
bool rule_changed(struct sim *s, const struct txn *t, struct sim_vm *v,
	const struct vm *before, const struct vm *after);
bool rest_check_changes(struct sim *s, const struct sim_vm *v);

/* ---- rest.c */
bool sim_come_to_rest(struct sim *s);

/* Prints what is wrong; false. */
bool sim_wrong(struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
