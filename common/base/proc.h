/*
 * Child processes: no shell, a time limit, bounded output, nothing inherited but what is
 * said. The child dies with us (PR_SET_PDEATHSIG) and is always reaped by its own pid. It
 * reads nothing (/dev/null), and what it left running in its process group is killed when
 * it ends. Any thread.
 */
#ifndef UCLOUD_PROC_H
#define UCLOUD_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/buf.h"
#include "common/base/err.h"

struct sandbox;

#define PROC_PASS_MAX 8

struct proc {
	const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH */
	const char *const
		*env;	     /* "NAME=value", NULL-terminated; NULL none. PATH, HOME and
				    LC_ALL=C are always there, nothing else is */
	int64_t limit_msec;  /* then SIGKILL to its process group; 0: 60 s */
	uint64_t limit_mem;  /* RLIMIT_AS in bytes, 0 none */
	uint64_t limit_file; /* RLIMIT_FSIZE in bytes, 0 none */
	uid_t uid;	     /* 0: stay as we are */
	gid_t gid;
	/* All of stdout as it comes, in the thread that called; NULL: nobody. It must not
	 * take long: the time limit is not looked at meanwhile. */
	void (*on_out)(void *aux, const char *p, size_t size);
	void *aux;
	const struct sandbox *sandbox; /* sandbox.h; NULL none */
	/* Descriptors that become 3, 4, ... in it; at most PROC_PASS_MAX. has_listener: the
	 * first one is a socket that listens, and is announced as systemd does it
	 * (sd_listen_fds(3)). */
	const int *pass;
	size_t n_pass;
	bool has_listener;
};

/* Runs it; *status is the exit status (128 + signal when killed). out and err_out get at
 * most 64 KiB each and may be NULL. < 0 when it could not be started or took too long
 * (ERR_TIMEOUT). */
int proc_run(const struct proc *p, int *status, struct buf *out, struct buf *err_out,
	struct err *e) MUST_USE;

/* As proc_run(), and an exit status other than 0 is an error with its last line of stderr. */
int proc_run_ok(const struct proc *p, struct buf *out, struct err *e) MUST_USE;

/*
 * A child that works for us until we stop it; limit_msec and on_out do not count. It dies when the
 * thread that started it ends: that one stops it as well. The other calls may come from any
 * thread, one at a time.
 */
struct proc_child;

/* < 0 when it could not be started. */
int proc_start(const struct proc *p, struct proc_child **out, struct err *e) MUST_USE;
/* Has it ended? Waits for that, at most wait_msec, and takes what it prints meanwhile (of
 * which 64 KiB are kept): to be called now and then. */
bool proc_has_ended(struct proc_child *c, int64_t wait_msec);
/* Kills it and its process group. Any thread, also while another one is in one of the other
 * calls, but not once proc_stop() has begun. */
void proc_kill(struct proc_child *c);
/* Sends it, and it alone, a signal; as proc_kill(). */
void proc_signal(struct proc_child *c, int sig);
/* Ends it when it still runs, reaps and frees it; NULL is fine. *status (may be NULL) as in
 * proc_run(). out and err_out may be NULL. */
void proc_stop(struct proc_child *c, int *status, struct buf *out, struct buf *err_out);

#endif
