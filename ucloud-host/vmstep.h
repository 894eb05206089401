/*
 * What to do next for one VM on this host: what is ordered (its entry, the request, the
 * placement) and what is there (the domain, the disks) go in, one act comes out. Pure: time
 * is an argument. vmrec.c looks, asks here, acts, and looks again.
 *
 * The two rules that everything rests on:
 *  - what libvirt remembers of how a domain ended is used before the domain is undefined, and
 *    what follows from it is written to etcd first. So a crash of ours in between loses
 *    nothing: a guest that powered itself off becomes REQUESTED_SHUTDOWN before its domain
 *    goes, and a guest that died right after its start becomes RUNNING before it is KILLED.
 *  - a domain is started only as SCHEDULED, KILLED, ERROR (ordered again) or RUNNING with a
 *    RebootVM; a VM that is RUNNING and whose domain is off is first something else.
 *
 * ChangeVM goes before both: when the guest powers off or dies, or the machine restarts, while
 * it is open, it is carried out on disks that nobody has open. The domain stays defined
 * meanwhile, and with it how it ended.
 */
#ifndef UCLOUD_VMSTEP_H
#define UCLOUD_VMSTEP_H

#include "common/model/request.h"
#include "common/model/vm.h"
#include "ucloud-host/virt.h"

/* A VM that ran this long is not in a row of crashes any more. */
#define VMSTEP_CALM_SEC 600

enum vmact {
	VMACT_NOTHING, /* as it should be, or not for us to touch: `why` when odd */
	VMACT_WAIT,    /* look again after after_msec; `why` belongs into the VM's log */
	VMACT_STAT_DISKS, /* find out whether all disks exist, and ask again */
	VMACT_STAT_NETS, /* find out whether its networks are ready here, and ask again */
	/* Changes of the world. */
	VMACT_MAKE_DISKS,
	VMACT_START,  /* define and start, for boot number vm->boot */
	VMACT_CHANGE, /* disks, snapshots, interfaces as ordered: ChangeVM is done */
	VMACT_RESUME,
	VMACT_SHUTDOWN, /* ask the guest */
	VMACT_DESTROY,
	VMACT_UNDEFINE,
	/* Transactions. */
	VMACT_SET_RUNNING,   /* RUNNING; StartVM is done */
	VMACT_SET_REBOOTED,  /* RebootVM is done */
	VMACT_SET_GUEST_OFF, /* the guest powered itself off: REQUESTED_SHUTDOWN */
	VMACT_SET_RESTART,   /* KILLED, keeps its host: the machine restarted */
	VMACT_SET_KILLED,    /* KILLED, back to the scheduler with a back-off */
	VMACT_SET_STOPPED,
	VMACT_SET_CALM,	    /* n_crashes 0 */
	VMACT_SET_ERROR,    /* ERROR; `why` says the reason */
	VMACT_DELETE,	    /* remove the disks, then everything in etcd */
	VMACT_DROP_REQUEST, /* it cannot be meant for us (any more) */
	VMACT_FAIL, /* cannot go on: `why`; as when an act failed for a passing reason */
	VMACT_N
};
extern const char *const vmact_names[];

enum vmgoal {
	VMGOAL_KEEP,   /* not for us to touch */
	VMGOAL_REMOVE, /* not placed here: no domain */
	VMGOAL_CLEAN,  /* ERROR: nothing half done is left; what runs is left alone */
	VMGOAL_RUN,
	VMGOAL_REBOOT,
	VMGOAL_STOP,
	VMGOAL_DELETE,
	VMGOAL_CHANGE,	   /* of a VM that is placed here */
	VMGOAL_CHANGE_OFF, /* of one that is STOPPED */
	VMGOAL_N
};

enum vmdisks {
	VMDISKS_UNKNOWN,
	VMDISKS_MISSING,    /* the boot disk */
	VMDISKS_UNFINISHED, /* others: missing, too small, or still to be removed */
	VMDISKS_READY
};

/* All of them. */
enum vmnets_state { VMNETS_UNKNOWN, VMNETS_NOT_READY, VMNETS_READY };

/* What this process remembers of a VM; losing it only costs patience. */
struct vmmemo {
	int64_t stop_since_msec; /* first asked to power off, 0 not */
	int64_t last_ask_msec;
	int64_t last_resume_msec;
	int64_t failed_msec;	   /* the last failed attempt, 0 none */
	int64_t nets_since_msec;   /* waits for its networks since; 0 not */
	int64_t detach_since_msec; /* its guest was asked to let go of a device; 0 not */
};

struct vmlook {
	const char *host;	   /* we */
	const struct vm *vm;	   /* NULL: no such entry */
	bool is_vm_unreadable;	   /* there is one, but it does not parse */
	bool is_vm_proven_gone;	   /* vm NULL, and the store is surely the right one */
	const struct request *req; /* for this host, NULL none */
	bool is_req_unreadable;
	bool has_placement;
	struct virt_dom dom; /* is_foreign: not ours, or another host's */
	enum vmdisks disks;
	enum vmnets_state nets;
	char nets_why[192]; /* NOT_READY: which one, and why */
	struct vmmemo memo;
	bool is_libvirt_new; /* it came back after the last failed attempt */
	int64_t now_sec;     /* unix */
	int64_t now_msec;    /* monotonic, for memo */
	int64_t shutdown_sec;
	int64_t max_crashes;
};

struct vmstep {
	enum vmact act;
	int64_t after_msec; /* of VMACT_WAIT */
	char why[256];	    /* for people; "" when there is nothing to say */
};

struct vmstep vmstep_decide(const struct vmlook *l);
enum vmgoal vmstep_goal(const struct vmlook *l, char *why, size_t why_size);

/* While ChangeVM goes on, a network is found not to be ready (nets_why): VMACT_WAIT, or
 * VMACT_FAIL when the time is over. */
struct vmstep vmstep_change_nets(const struct vmlook *l);

/* How long what failed before is to rest; 0: not (any more). */
int64_t vmstep_rest_msec(const struct vmlook *l);

/* After an act (or looking) failed with e: */
enum vmfail {
	VMFAIL_RETRY,  /* try again, with back-off; nothing is written */
	VMFAIL_TELL,   /* likewise, but the VM's log says why it does not run */
	VMFAIL_RECORD, /* count the attempt in the request */
	VMFAIL_UNDO,   /* ChangeVM ends: what could not be done is undone */
	VMFAIL_GIVE_UP /* ERROR, with the reason */
};
enum vmfail vmstep_failed(const struct vmlook *l, const struct err *e);

/* How many crashes in a row it is with one more now, and how long to wait after so many. */
int64_t vmstep_n_crashes(const struct vm *vm, int64_t now_sec);
int64_t vmstep_backoff_sec(int64_t n_crashes);

#endif
