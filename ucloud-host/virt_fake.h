/*
 * Driving the hypervisors of virt_fake.c: what guests, machines and libvirt do by themselves.
 *
 * A struct fake_hyper is one machine's hypervisor: its domains outlive the daemons that use
 * it. Disks that domains have open are those of disk_fake.h when their paths say so
 * ("/fake/STORE/vms/..."). virt_open("fake:NAME") leads to the one that was made under that name. Events are
 * delivered on the caller's thread. Any thread; single-threaded use is deterministic.
 */
#ifndef UCLOUD_VIRT_FAKE_H
#define UCLOUD_VIRT_FAKE_H

#include "common/base/buf.h"
#include "ucloud-host/virt.h"

struct fake_hyper;

struct fake_hyper *fake_hyper_new(const char *name, int64_t cpus, int64_t ram_mib);
/* After every struct virt that leads here is closed. */
void fake_hyper_free(struct fake_hyper *h);
/* Guests that were asked to power off do so when their time (clock.h) has come. True when
 * something happened. */
bool fake_hyper_step(struct fake_hyper *h);
/* Milliseconds until fake_hyper_step() has something to do: 0 now, -1 never. */
int64_t fake_hyper_next_msec(struct fake_hyper *h);

/* False when there is no such domain, or it does not run. */
bool fake_hyper_guest_off(struct fake_hyper *h, const char *uuid);
bool fake_hyper_crash(struct fake_hyper *h, const char *uuid);
bool fake_hyper_pause(struct fake_hyper *h, const char *uuid);
/* The domain is gone, definition and all, without an event. */
bool fake_hyper_vanish(struct fake_hyper *h, const char *uuid);
/* The machine restarts: everything is off, for a reason that nobody knows. */
void fake_hyper_reboot(struct fake_hyper *h);
/* libvirt was restarted: clients are told to look at everything. */
void fake_hyper_reconnect(struct fake_hyper *h);
/* A domain that is not ucloud's. */
void fake_hyper_add_foreign(struct fake_hyper *h, const char *uuid, const char *name);

struct fake_hyper_fault {
	bool is_down; /* every call is ERR_UNAVAILABLE */
	/* Asked before each call, with its name ("start"): 0 let it pass; 1 fail without
	 * effect; 2 do it, but answer ERR_UNAVAILABLE. */
	int (*on_call)(void *aux, const char *call);
	void *aux;
	bool ignores_shutdown; /* guests do not answer the power button */
	bool loses_events;     /* nobody is told of anything */
	int64_t shutdown_msec; /* how long a guest takes to power off */
	bool keeps_disks;      /* guests do not let go of disks and interfaces */
	int64_t detach_msec;   /* how long they take for it */
	bool has_agent;	       /* agents answer in guests */
	int64_t call_msec;     /* each call sleeps that long (real time) */
};
void fake_hyper_set_fault(struct fake_hyper *h, const struct fake_hyper_fault *fault);

/* What is there: false when absent. Foreign ones too. */
bool fake_hyper_get(struct fake_hyper *h, const char *uuid, struct virt_dom *out);
/* Does this thread do what a hypervisor does, just now: change disks that are in use? For
 * disk_fake_set_in_use(). */
bool fake_hyper_is_inside(void);
/* The disks that it has open (bit n: disk n); 0 when it is off. */
uint32_t fake_hyper_disks(struct fake_hyper *h, const char *uuid);
/* The MACs of its interfaces; none when it is off. *macs is the caller's, and emptied
 * first. */
void fake_hyper_nics(struct fake_hyper *h, const char *uuid, struct strv *macs);
/* Its file systems are frozen. */
bool fake_hyper_is_frozen(struct fake_hyper *h, const char *uuid);
size_t fake_hyper_n_domains(struct fake_hyper *h);
size_t fake_hyper_n_running(struct fake_hyper *h);
/* How often it was started, ever. */
uint64_t fake_hyper_n_starts(struct fake_hyper *h, const char *uuid);
/* All that run here, by uuid; ours only. */
void fake_hyper_list_running(struct fake_hyper *h, struct strv *uuids);

#endif
