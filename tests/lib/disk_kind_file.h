/*
 * A directory as the kind of store that the cases of disk_cases.h are run against. The store
 * is lab->dir itself, the other one lies beside it.
 */
#ifndef UCLOUD_DISK_KIND_FILE_H
#define UCLOUD_DISK_KIND_FILE_H

#include "tests/lib/disk_cases.h"

extern const struct disk_kind disk_kind_file;

/* Where they are, the caller's. */
char *disk_kind_file_disk(struct disk_lab *lab, const char *vm_uuid, unsigned index);
char *disk_kind_file_image(struct disk_lab *lab, const char *name);
/* A sound image "good.qcow2" of 1 GiB that an admin put there. */
struct image disk_kind_file_good(struct disk_lab *lab);

#endif
