/*
 * Child processes: no shell, a time limit, bounded output, nothing inherited but what is
 * said. The child dies with us (PR_SET_PDEATHSIG) and is always reaped by its own pid. It
 * reads nothing (/dev/null), and what it left running in its process group is killed when
 * it ends. Any thread.
 */
#ifndef UCLOUD_PROC_H
#define UCLOUD_PROC_H

#include <stdint.h>
#include <sys/types.h>

#include "common/base/buf.h"
#include "common/base/err.h"

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
};

/* Runs it; *status is the exit status (128 + signal when killed). out and err_out get at
 * most 64 KiB each and may be NULL. < 0 when it could not be started or took too long
 * (ERR_TIMEOUT). */
int proc_run(const struct proc *p, int *status, struct buf *out, struct buf *err_out,
	struct err *e) MUST_USE;

/* As proc_run(), and an exit status other than 0 is an error with its last line of stderr. */
int proc_run_ok(const struct proc *p, struct buf *out, struct err *e) MUST_USE;

#endif
