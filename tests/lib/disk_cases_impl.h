/*
 * The cases of disk_cases.h, and what their files share. Only for tests/lib/disk_cases*.c.
 */
#ifndef UCLOUD_DISK_CASES_IMPL_H
#define UCLOUD_DISK_CASES_IMPL_H

#include "tests/lib/disk_cases.h"

/* What is being tested. */
const struct disk_kind *disk_cases_kind(void);
void disk_lab_must(int rc, const struct err *e);
/* Begins an image; writes to it. */
struct image_sink *disk_lab_begin(
	struct disk_store *s, const char *uuid, int64_t virtual_bytes);
void disk_lab_fill(struct image_sink *k, int64_t offset, size_t size, unsigned char byte);
/* Keeps a string for as long as the lab. */
char *disk_lab_keep(struct disk_lab *lab, const char *s);

void disk_case_disks_come_and_go(void **state);
void disk_case_ensure_is_idempotent(void **state);
void disk_case_disks_outlive_the_daemon(void **state);
void disk_case_smaller_disk_is_left_alone(void **state);
void disk_case_image_larger_than_the_disk(void **state);
void disk_case_what_is_no_disk_is_refused(void **state);
void disk_case_largest_disk(void **state);
void disk_case_domain_reaches_the_disk(void **state);
void disk_case_space(void **state);
void disk_case_same_disk_at_once(void **state);
void disk_case_made_and_removed_at_once(void **state);
void disk_case_one_disk_is_removed(void **state);
void disk_case_disks_grow(void **state);
void disk_case_flattened_disks_need_no_image(void **state);
void disk_case_snapshots_come_and_go(void **state);
void disk_case_snapshots_keep_the_size(void **state);
void disk_case_snapshots_that_are_not_there(void **state);
void disk_case_disks_in_use(void **state);
void disk_case_images_come_and_go(void **state);
void disk_case_images_that_are_given_up(void **state);
void disk_case_images_that_are_begun_anew(void **state);
void disk_case_images_that_cannot_be(void **state);
void disk_case_images_are_written_by_many(void **state);
void disk_case_images_with_disks_on_them_stay(void **state);
void disk_case_images_of_another_store_are_copied(void **state);

#endif
