/*
 * What tests of ucloud-image share: a real etcd with one store and one user, alice, who has
 * uploads; the API's transactions; and what is waited for. One world for each test program.
 */
#ifndef UCLOUD_TEST_IMAGE_WORLD_H
#define UCLOUD_TEST_IMAGE_WORLD_H

#include <stdbool.h>

#include "common/model/names.h"
#include "common/model/request.h"
#include "tests/lib/test_etcd.h"
#include "ucloud-image/imaged.h"

#define IW_LIMIT_MSEC 60000
#define IW_REALM      "users"
#define IW_STORE      "here"

struct image_world {
	struct image_store store_conf; /* set before iw_start(), but for its name */
	struct test_etcd *etcd;
	struct kv *kv;
	struct imaged_conf conf;
	struct imaged *imaged;
	struct disk_store *store; /* the test's own */
	char *base, *alice;
};

extern struct image_world iw;

/* With a daemon, in this process; fails the program when something does not work, as all of
 * these do. */
void iw_start(void);
void iw_stop(void);
void iw_start_daemon(void);
void iw_stop_daemon(void);

void iw_commit(struct kv_txn *t); /* takes it */
/* An upload of so many MiB of noise, and its entry. */
void iw_upload(const char *name, unsigned mib, char file_uuid[UUID_STR_SIZE]);
void iw_put_user(int64_t n_images);
int64_t iw_user_images(void);
void iw_put_vm(const char *uuid, const char *image_uuid);

/* TO_BE_CREATED, without a request. */
struct image iw_new_image(const char *uuid, const char *name, const char *file_uuid);
void iw_put_image(struct kv_txn *t, const struct image *im);
void iw_put_request(struct kv_txn *t, enum request_type type, const char *uuid);
void iw_order_create(const char *name, const char *file_uuid, char uuid[UUID_STR_SIZE]);
/* Whatever is done with it meanwhile: until it has worked. */
void iw_order_delete(const char *uuid);

/* False: there is no entry. */
bool iw_read_image(const char *uuid, struct image *out);
/* Waits for it; status -1: no entry. */
void iw_reaches(const char *uuid, int status);
bool iw_is_there(const char *key);
bool iw_has_request(const char *uuid);
bool iw_store_has(const char *uuid);
/* For wait_until(); aux is the image's uuid. */
bool iw_is_request_gone(void *aux);
bool iw_is_out_of_store(void *aux);
/* Of a store that is a directory. */
void iw_same_content(const char *upload_name, const char *uuid);
/* Of an image that was deleted. */
void iw_nothing_is_left(const char *uuid, const char *name);

#endif
