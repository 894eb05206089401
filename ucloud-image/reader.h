/*
 * The process that reads an upload: qemu-nbd(8), read only, with its format stated, in a
 * sandbox (sandbox.h) as a user of its own. It is given the open file and connections of
 * ours, and answers on these with the disk's content: the NBD protocol. Whatever a hostile
 * image makes of QEMU, it has no other file, no network, no new process, and ends with us.
 *
 * The thread that starts it stops it (proc.h).
 */
#ifndef UCLOUD_IMAGE_READER_H
#define UCLOUD_IMAGE_READER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/err.h"

#define READER_CLIENTS_MAX 16

struct reader_conf {
	const char *program; /* NULL: qemu-nbd; tests put others in its place */
	uid_t uid;	     /* 0: as we are, when we are not root */
	gid_t gid;
	uint64_t limit_mem; /* bytes */
	int64_t limit_sec;
};

/* Is QEMU's program there? ERR_UNSUPPORTED says what is to be installed. */
int reader_check(struct err *e) MUST_USE;

struct reader;

/*
 * format is QEMU's name of it. fd is the file, open for reading; borrowed. The n_clients
 * connections are made already: reader_take_client(). ERR_UNAVAILABLE: there is no such
 * program. ERR_INVALID: the file's rights keep it from being read, here without Landlock.
 */
int reader_start(const struct reader_conf *conf, int fd, const char *format,
	unsigned n_clients, struct reader **out, struct err *e) MUST_USE;
/* A connected socket, the caller's; -1 when all have been taken. */
int reader_take_client(struct reader *r);
/* Has it ended by itself? Waits for that, at most wait_msec. */
bool reader_has_ended(struct reader *r, int64_t wait_msec);
/* Whoever waits for an answer gets an error. Any thread. */
void reader_kill(struct reader *r);
/* Stops and frees it; NULL is fine. When it ended by itself, or complained, *why (may be
 * NULL) gets what it has said of the file, or how it ended; else it stays as it is. */
void reader_stop(struct reader *r, struct err *why);

#endif
