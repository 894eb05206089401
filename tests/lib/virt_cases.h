/*
 * What every implementation of ucloud-host/virt.h must do: the cases of tests/contract, run
 * against the fake, libvirt's test driver, and QEMU.
 */
#ifndef UCLOUD_VIRT_CASES_H
#define UCLOUD_VIRT_CASES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ucloud-host/virt.h"

struct virt_cases {
	const char *uri;
	/* Makes a running domain that is not ours. */
	void (*add_foreign)(const char *uuid, const char *name);
	void (*remove_foreign)(const char *uuid);
	/* Do guests obey virt_shutdown()? */
	bool has_obedient_guests;
	/* Makes a disk of that many GiB (qcow2); its path, the caller's. NULL: the cases of disks
	 * are left out. */
	char *(*make_disk)(const char *uuid, unsigned index, int64_t size_gib);
	bool has_secrets;
	/* The bridge ucb1 is there, for interfaces. false: their case is left out. */
	bool has_bridge;
};

/* Before the cases run. */
void virt_cases_set(const struct virt_cases *c);
extern const struct CMUnitTest virt_cases[];
extern const size_t virt_cases_len;

/* For an implementation's own tests: opens, and counts events. */
struct virt_seen {
	struct virt *v;
	int n_events;  /* atomic, of any domain */
	int n_reviews; /* atomic: "look at all" */
};
struct virt_seen *virt_seen_open(void);
void virt_seen_close(struct virt_seen *s);
/* Waits until there were more than n. */
bool virt_seen_wait(const int *counter, int n);
/* A domain of ours as XML, the caller's: boot number, and a disk image (NULL: none). */
char *virt_cases_xml(
	struct virt *v, const char *uuid, int64_t boot, const char *disk_path);
/* Waits for the state; false after some seconds. */
bool virt_cases_wait_state(struct virt *v, const char *uuid, enum virt_state state);

#endif
