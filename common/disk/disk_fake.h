/*
 * Disks in memory for tests and the simulation: stores of type "fake", told apart by their
 * names. They play the real disks: what is in them survives disk_store_close() and
 * disk_store_open() until disk_fake_reset(). Only programs that call disk_fake_register()
 * have them. Every image is there, and as large as its virtual_bytes. Any thread.
 */
#ifndef UCLOUD_DISK_FAKE_H
#define UCLOUD_DISK_FAKE_H

#include "common/disk/disk.h"

/* Before threads start; again is fine. */
void disk_fake_register(void);
/* The same for stores of another type: STORE_CEPH is shared by all hosts, "fake" is local. */
void disk_fake_register_as(enum store_type type);
/* Forgets all disks and faults. */
void disk_fake_reset(void);

/* The next n calls of disk_ensure(), disk_remove_all(), disk_stat(), disk_list() and
 * disk_space() fail with this kind, before they do anything. */
void disk_fake_fail(const char *store, unsigned n, enum err_kind kind);
/* The next n changes (a disk made, the disks of a VM removed) are done and then reported as
 * failed: the answer is lost. */
void disk_fake_fail_after(const char *store, unsigned n, enum err_kind kind);
/* No room for new disks. */
void disk_fake_set_full(const char *store, bool is_full);
/* What disk_space() says; -1 (the beginning): unknown. */
void disk_fake_set_space(const char *store, int64_t total_gib, int64_t free_gib);
/* "<uuid>/<index>" of every disk, sorted. */
void disk_fake_disks(const char *store, struct strv *out);
/* How many disks were ever made: a disk made twice counts twice. */
unsigned disk_fake_n_made(const char *store);

#endif
