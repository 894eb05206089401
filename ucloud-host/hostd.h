/*
 * ucloud-host without its command line: the heartbeat, the controllers ("vm", "inventory",
 * "console", "sweep") and what they share. main.c runs it with threads; the simulation makes
 * many of them and calls hostd_step().
 *
 *	vm         one key per VM: makes libvirt match what is placed here (vmrec.c)
 *	inventory  publishes what this machine has into its host entry
 *	console    answers /v1/console/<host>/<vm uuid>
 *	sweep      finds what is here and perhaps should not be
 */
#ifndef UCLOUD_HOSTD_H
#define UCLOUD_HOSTD_H

#include "common/base/buf.h"
#include "common/model/keys.h"
#include "common/store/kv.h"
#include "ucloud-host/virt.h"

struct hostd;

/* Everything is copied. What is 0 or NULL has the default in the comment. */
struct hostd_conf {
	const char *host;	   /* needed */
	const struct keys *keys;   /* needed */
	const char *machine;	   /* of the heartbeat; NULL: the host's name */
	const char *accel;	   /* "kvm" or "tcg"; NULL: "tcg" */
	const struct strv *stores; /* names; NULL or empty: all that are reached */
	const char *state_dir;	   /* NULL: no console logs, no boot configuration */
	const char *sysfs;	   /* NULL: "/sys" */
	const char *disk_cache;	   /* QEMU's cache mode; NULL: by O_DIRECT */
	int64_t lease_ttl_sec;	   /* 10 */
	int64_t shutdown_sec;	   /* 60: a guest's time to power off */
	int64_t max_crashes;	   /* 5 in a row, then ERROR */
	int64_t orphan_keep_sec; /* 86400: a disk without VM is kept so long; < 0: ever */
	int64_t resync_sec;	 /* 600 */
	unsigned n_workers;	 /* 4 */
};

/* kv and virt stay the caller's, to be closed after hostd_free(). */
struct hostd *hostd_new(struct kv *kv, struct virt *virt, const struct hostd_conf *conf);
void hostd_start(struct hostd *h);
/* Ends what is under way (at most 3 s). Domains keep running. */
void hostd_stop(struct hostd *h);
/* is_release: the heartbeat's key goes at once, instead of with its lease. False: something
 * hangs (in libvirt, on a disk) and was left behind; then kv and virt must not be closed. */
bool hostd_free(struct hostd *h, bool is_release);

/* Instead of hostd_start(), for the simulation: one step of each part without waiting. True
 * when something was done. */
bool hostd_step(struct hostd *h);
/* Milliseconds until a controller has something to do: 0 now, -1 never. */
int64_t hostd_next_msec(struct hostd *h);

/* One line; < 0 with the reason when etcd, the heartbeat or libvirt is not as it should. */
int hostd_health(struct hostd *h, struct err *e) MUST_USE;

#endif
