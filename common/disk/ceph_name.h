/*
 * What the RBD images of ours are called (disk.h says where they are). Pure.
 */
#ifndef UCLOUD_CEPH_NAME_H
#define UCLOUD_CEPH_NAME_H

#include <stdbool.h>

#include "common/model/names.h"

#define CEPH_NAME_SIZE 80

/* <vm uuid> for index 0, else <vm uuid>.<index>. */
void ceph_name_disk(char out[CEPH_NAME_SIZE], const char *vm_uuid, unsigned index);
/* <name>.tmp-<random>: what is being made and is to have this name. */
void ceph_name_unfinished(char out[CEPH_NAME_SIZE], const char *name);

struct ceph_name {
	char uuid[UUID_STR_SIZE];
	unsigned index;
	bool is_unfinished;
	char finished[CEPH_NAME_SIZE]; /* the name it has, or is to have */
};
/* Is it one that the above make? Of an image: with index 0. */
bool ceph_name_parse(const char *name, struct ceph_name *out);

/* "rbd:pool/name@snapshot:id=...:conf=..." as QEMU wants it; snapshot may be NULL. The
 * caller's. */
char *ceph_name_url(const char *pool, const char *name, const char *snapshot,
	const char *user, const char *conf);

#endif
