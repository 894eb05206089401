/*
 * Disks in memory for tests and the simulation: stores of type "fake", told apart by their
 * names. They play the real disks: what is in them survives disk_store_close() and
 * disk_store_open() until disk_fake_reset(). Only programs that call disk_fake_register()
 * have them. Every image is there, and as large as its virtual_bytes, but those that say they
 * were made: these are there when they were. Disks hold nothing; images hold what was written.
 * Any thread.
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

/* The next n calls, but for disk_source_get(), fail with this kind before they do anything. */
void disk_fake_fail(const char *store, unsigned n, enum err_kind kind);
/* The next n changes (a disk made or changed, an image committed, either removed) are done
 * and then reported as failed: the answer is lost. */
void disk_fake_fail_after(const char *store, unsigned n, enum err_kind kind);
/* No room for new disks, for growing ones, for snapshots and images. */
void disk_fake_set_full(const char *store, bool is_full);
/* What disk_space() says; -1 (the beginning): unknown. */
void disk_fake_set_space(const char *store, int64_t total_gib, int64_t free_gib);
/* "<uuid>/<index>" of every disk, sorted. */
void disk_fake_disks(const char *store, struct strv *out);
/* Who knows which VMs run, on whatever host: their disks are not changed in a store that is
 * local. NULL (the beginning): none runs. Before threads start. */
void disk_fake_set_in_use(bool (*fn)(void *aux, const char *vm_uuid), void *aux);
/* The size of a disk in bytes; -1: there is none. */
int64_t disk_fake_size(const char *store, const char *vm_uuid, unsigned index);
/* What an image, complete or not, holds at an offset: a sector of 512 bytes. False: there is
 * no such image. */
bool disk_fake_image_read(const char *store, const char *image_uuid, int64_t offset,
	unsigned char sector[512]);
/* How many disks were ever made: a disk made twice counts twice. */
unsigned disk_fake_n_made(const char *store);

#endif
