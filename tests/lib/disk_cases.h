/*
 * What every kind of disk store must do: the cases of tests/contract, run against the one in
 * memory, a directory and Ceph. Each case begins with two empty stores.
 */
#ifndef UCLOUD_DISK_CASES_H
#define UCLOUD_DISK_CASES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/disk/disk.h"
#include "common/disk/images.h"

#define VM1   "123e4567-e89b-42d3-a456-426614174000"
#define VM2   "223e4567-e89b-42d3-a456-426614174000"
#define IMAGE "333e4567-e89b-42d3-a456-426614174000"
#define GIB   (INT64_C(1) << 30)
#define MIB   (INT64_C(1) << 20)

/* How long a program that a test runs may take. */
#define RUN_MSEC 60000

/* One case's stores. */
struct disk_lab {
	struct image_store conf; /* its strings are the lab's */
	struct disk_store *store;
	/* Where images are that are copied; of any kind. */
	struct image_store other_conf;
	struct disk_store *other;
	char *dir;	     /* private, empty in the beginning */
	void *aux;	     /* the kind's */
	struct strv strings; /* what is freed in the end */
};

/* A kind of store. What may be NULL says so. */
struct disk_kind {
	/* Fills in both confs, and makes the stores that they name, empty. */
	void (*make)(struct disk_lab *lab);
	/* After the stores were closed; NULL: nothing is left but what is in lab->dir. */
	void (*remove)(struct disk_lab *lab);
	/* The disk as qemu-io(1) names it, the caller's. NULL: disks hold nothing here. */
	char *(*url)(struct disk_lab *lab, const struct disk_source *src);
	/* Opens a disk as a domain would, until it is released. NULL: no case needs it. */
	void *(*hold)(struct disk_lab *lab, const char *vm_uuid, unsigned index);
	void (*release)(struct disk_lab *lab, void *held);
	int64_t largest_gib; /* that a test can wait for; 0: the largest disk there is */
	/* Is it known which images disks lie on? */
	bool has_users;
};

/* Before the cases run. */
void disk_cases_set(const struct disk_kind *kind);
extern const struct CMUnitTest disk_cases[];
extern const size_t disk_cases_len;

/* For a kind's own tests: the same beginning and end. */
int disk_lab_set_up(void **state);
int disk_lab_tear_down(void **state);
#define DISK_CASE(test)                                                                  \
	cmocka_unit_test_setup_teardown(test, disk_lab_set_up, disk_lab_tear_down)

/* ------------------------------------------------------------------ helpers */

/* Opens lab->store again, from lab->conf. */
void disk_lab_open(struct disk_lab *lab);
/* Runs a command, split at blanks; a tab stands for a blank within an argument. */
void disk_lab_run(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* An image entry "debian" of the store; path is borrowed. */
struct image disk_lab_entry(char *path, enum image_format format, int64_t virtual_bytes);
/* Makes an image in s, one of the lab's stores, which reads as `byte` in its first MiB and in
 * its last 64 KiB. What it says is the lab's. */
struct image disk_lab_image(struct disk_lab *lab, struct disk_store *s, const char *uuid,
	int64_t virtual_bytes, unsigned char byte);

/* disk_ensure(); checks that what it says shows no path of ours. */
int disk_lab_ensure(struct disk_lab *lab, const char *vm, unsigned index,
	int64_t size_gib, const struct image *im, struct err *e);
void disk_lab_must_ensure(struct disk_lab *lab, const char *vm, unsigned index,
	int64_t size_gib, const struct image *im);
/* VM1 on this image must be refused so, and leave nothing behind. */
void disk_lab_must_refuse(struct disk_lab *lab, const struct image *im,
	enum err_kind kind, const char *words);
void disk_lab_must_remove(struct disk_lab *lab, const char *vm);
/* In bytes; -1 when it does not exist. */
int64_t disk_lab_size(struct disk_lab *lab, const char *vm, unsigned index);
/* The store's VMs, with blanks between; the caller's. */
char *disk_lab_list(struct disk_lab *lab);
void disk_lab_list_is(struct disk_lab *lab, const char *want);
/* A command of qemu-io(1) on a disk; "read -P" must find what it says. Nothing is done where
 * disks hold nothing. */
void disk_lab_io(
	struct disk_lab *lab, const char *vm, unsigned index, const char *command);

#endif
