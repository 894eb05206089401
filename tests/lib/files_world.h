/*
 * What tests of users' files share: a real etcd, an API beside a real directory, and one that
 * sends its clients there; three users; calls, and a client that sends byte by byte. One
 * world for each test program. All of these fail the test when something does not work.
 */
#ifndef UCLOUD_TEST_FILES_WORLD_H
#define UCLOUD_TEST_FILES_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/lib/test_api.h"

struct files_world {
	struct test_etcd *etcd;
	struct kv *kv;
	struct httpd *otp;
	struct api_conf conf, away_conf;
	struct api *api;  /* beside the files */
	struct api *away; /* sends its clients there */
	char *base;
	char *alice, *bob, *admin; /* "Bearer ..." */
};

extern struct files_world fw;

/* The first thing, before any thread: makes the directory. */
void fw_prepare(void);
/* For cmocka_run_group_tests(). */
int fw_start(void **state);
int fw_stop(void **state);
/* What one more API is opened with; it knows no directory yet. */
void fw_configure(struct api_conf *conf);
void fw_open_api(struct api_conf *conf, struct api **out);
/* What says that the directory is mounted. */
void fw_set_marker(bool is_there);

/* ---------------------------------------------------------------- calling */

struct answer {
	int status;
	json_t *json;
	char *text, *location;
};

void answer_done(struct answer *a);
/* "": there is no such string. */
const char *answer_member(const struct answer *a, const char *name);
/* -1: there is no such number. */
int64_t answer_number(const struct answer *a, const char *name);
void answer_is_at(int line, const struct answer *a, int status);
#define expect(a, status) answer_is_at(__LINE__, a, status)

/* headers ends with NULL, or is NULL; who is "Bearer ...". */
void fw_call_api(struct api *api, struct answer *out, const char *method,
	const char *path, const char *who, const char *const *headers, const char *body,
	size_t size);
/* The API beside the files; body may be NULL. */
void fw_call(struct answer *out, const char *method, const char *path, const char *who,
	const char *body);
/* An upload, with one more header or NULL. */
void fw_put(struct answer *out, const char *who, const char *name, const char *header,
	const char *body, size_t size);
/* "Bearer ..." of user "name@realm", the caller's. */
char *fw_log_in(const char *user);

/* ---------------------------------------------------------------- what is on the disk */

/* Paths are below the directory; what these return is the caller's. */
char *fw_content(const char *path);
bool fw_exists(const char *path);
/* Where an upload is until it is complete. */
char *fw_part_path(const char *owner, const char *realm, const char *name);
/* Has alice such an upload? */
bool fw_has_part(const char *name);
/* The SHA-512 in hex, and as a header that says it. */
char *fw_hex(const char *p, size_t size);
char *fw_digest(const char *p, size_t size);
/* The file's entry, as ucloud-filescan makes it. */
void fw_publish(const char *owner, const char *realm, const char *name, int64_t size,
	const char *sha512);

/* ---------------------------------------------------------------- a client of its own */

/* A connection to the API beside the files. */
int fw_dial(void);
void fw_send(int fd, const char *p, size_t size);
/* An upload's beginning, with these further headers. */
void fw_send_head(int fd, const char *name, const char *who, const char *headers);
/* Until the text has `want` in it, or (NULL) the connection ends; the caller's. */
char *fw_receive(int fd, const char *want);

#endif
