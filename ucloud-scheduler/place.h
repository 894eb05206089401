/*
 * Which host for this VM? Filters first, in the order of enum place_reason's comments, each
 * with its reason; then the score: what stays free, after placing, of the dimension that is
 * scarcest on that host. "spread" takes the host where most stays free, "pack" the one where
 * least does. Equal hosts are told apart by a hash of host name and VM, so that the same
 * question always has the same answer and different VMs do not all pile up on one host.
 *
 * Labels of other VMs: `apart` keeps a VM from each host on which a VM of the same owner
 * carries all the labels given. It is symmetric: a VM that is there already and wants to be
 * apart from such as ours keeps us away, too. `near`: a VM of the same owner on that host
 * carries all the labels given. The first one of a group that wants to be near its own kind
 * may go anywhere.
 *
 * Pure: the answer depends on the arguments alone. The placer holds scratch memory, and
 * remembers what fitted nowhere until snap.gen rises. One thread.
 */
#ifndef UCLOUD_SCHEDULER_PLACE_H
#define UCLOUD_SCHEDULER_PLACE_H

#include "ucloud-scheduler/snapshot.h"

enum place_strategy { PLACE_SPREAD, PLACE_PACK };
extern const char *const place_strategy_names[];

/* In the order in which they are told; the filters' order is that of the numbers behind. */
enum place_reason {
	PLACE_FITS,
	PLACE_NO_CPU,	   /* 8 */
	PLACE_NO_RAM,	   /* 9 */
	PLACE_NO_DISK,	   /* 10 */
	PLACE_APART,	   /* 6 */
	PLACE_NEAR,	   /* 7 */
	PLACE_LABELS,	   /* 5 */
	PLACE_STORE,	   /* 4 */
	PLACE_IMAGE_STORE, /* 4 */
	PLACE_UNSIZED,	   /* 3 */
	PLACE_DRAINING,	   /* 2 */
	PLACE_DEAD,	   /* 1 */
	PLACE_N_REASONS
};

enum place_dim { PLACE_CPU, PLACE_RAM, PLACE_DISK, PLACE_N_DIMS };

/* What a VM asks for. */
struct place_ask {
	int64_t cpu, ram_mib;
	int64_t disk_gib; /* that it does not yet occupy */
	uint32_t owner, store;
	uint32_t image_store; /* that a host must reach, too; 0 none */
	uint32_t labels, host_labels, near, apart; /* numbers of snap's sets */
	int32_t pin;  /* the host that has its disks, or -1 */
	int32_t room; /* the host that keeps room for it, or -1 */
	uint64_t seed;
};

struct place_result {
	int host;	 /* index, -1: none */
	double free;	 /* 0..1 of the scarcest dimension, on that host after placing */
	int scarcest;	 /* enum place_dim */
	uint32_t n_seen; /* registered hosts that were looked at */
	uint32_t n[PLACE_N_REASONS];
	int64_t best[PLACE_N_DIMS]; /* most free among the hosts that lack it */
};

struct placer;

struct placer *placer_new(enum place_strategy strategy);
void placer_free(struct placer *p);

struct place_ask place_ask_of(const struct snap *s, const struct snap_vm *vm);
void placer_find(struct placer *p, const struct snap *s, const struct place_ask *ask,
	struct place_result *out);
/* One host only: its reason, and what would stay free. */
enum place_reason placer_look(struct placer *p, const struct snap *s,
	const struct place_ask *ask, int host, struct place_result *out);

/* "2 hosts: not enough RAM (need 8192 MiB, best has 2048); 1 host: draining". The caller's. */
char *place_reasons(
	const struct snap *s, const struct place_ask *ask, const struct place_result *r);
/* "h3: 61 % of its scarcest resource (RAM) stays free; 4 of 7 hosts fit; ...". */
char *place_why(
	const struct snap *s, const struct place_ask *ask, const struct place_result *r);
/* Do both texts give the same reasons, whatever their numbers? */
bool place_is_same_why(const char *a, const char *b);
const char *place_dim_name(int dim);

#endif
