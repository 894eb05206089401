/*
 * `GET /v1/vms/{vm}?wait=STATUS`: requests that are held until their VM gets there; likewise
 * for images (`?wait=CREATED`), networks (`?wait=ACTIVE`) and files (`?wait=SHA512`). Each costs
 * a socket; one thread serves them all. It is woken by the watch of events.h, and then reads
 * the entry linearizably. A request is looked at once after it was parked, so nothing is lost
 * between reading and watching.
 */
#ifndef UCLOUD_WAITS_H
#define UCLOUD_WAITS_H

#include "common/base/httpd.h"
#include "common/base/sha512.h"
#include "common/model/image.h"
#include "common/model/keys.h"
#include "common/model/network.h"
#include "common/model/vm.h"
#include "common/store/kv.h"
#include "ucloud-api/who.h"

struct waits;

/* So many one user may have, per process. */
#define WAITS_PER_USER 100

#define WAIT_DELETED	 VM_N_STATUS /* beside enum vm_status: until the entry is gone */
#define WAIT_SEC_DEFAULT 60
#define WAIT_SEC_MAX	 300

/* "RUNNING" or "DELETED" to a number. */
int wait_parse(const char *s, int *want, struct err *e) MUST_USE;

enum wait_verdict { WAIT_ON, WAIT_REACHED, WAIT_GONE };
/* vm is NULL when its entry is gone. ERROR ends every wait: nothing more will happen by
 * itself. Pure. */
enum wait_verdict wait_judge(int want, const struct vm *vm);

struct waits *waits_new(struct kv *kv, const struct keys *keys);
void waits_start(struct waits *w);
/* Answers 503 to whoever still waits. */
void waits_free(struct waits *w);

/* Takes req unless it is refused (< 0: who has too many already): it is answered with the entry, with {"status":"DELETED"}, 404 when it is gone
 * instead of what was waited for, 504 after limit_sec, 503 when the store does not answer. */
int waits_park(struct waits *w, struct httpd_req *req, const struct who *who,
	const char *uuid, int want, int64_t limit_sec, struct err *e) MUST_USE;
/* The same for an image: until it has the status (enum image_status, or
 * WAIT_IMAGE_DELETED). ERROR ends every wait; limit_sec over: 504 says how far it is. */
#define WAIT_IMAGE_DELETED (IMAGE_TO_BE_DELETED + 1)
int wait_parse_image(const char *s, int *want, struct err *e) MUST_USE;
int waits_park_image(struct waits *w, struct httpd_req *req, const struct who *who,
	const char *uuid, int want, int64_t limit_sec, struct err *e) MUST_USE;
/* The same for a network (enum network_status, or WAIT_NETWORK_DELETED), answered with who uses
 * it and where it is, too (network_use.h). */
#define WAIT_NETWORK_DELETED (NET_ERROR + 1)
int wait_parse_network(const char *s, int *want, struct err *e) MUST_USE;
int waits_park_network(struct waits *w, struct httpd_req *req, const struct who *who,
	const char *uuid, int want, int64_t limit_sec, struct err *e) MUST_USE;
/* Until a file is published with this content; it need not be there yet. */
int waits_park_file(struct waits *w, struct httpd_req *req, const struct who *who,
	const char *uuid, const char *sha512, int64_t limit_sec, struct err *e) MUST_USE;
/* Something happened to this VM, image, network or file, or (NULL) perhaps to all. */
void waits_poke(struct waits *w, const char *uuid);

/* The entry as users see it; a new object. */
json_t *vm_json(const struct vm *vm);

#endif
