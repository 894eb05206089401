/*
 * What a child process may do that reads what nobody may trust: read the files that are
 * named here, compute, and answer on descriptors that it was given; nothing else. A part of
 * struct proc (proc.h).
 *
 * Three walls, each of which would do alone for most of it: Landlock (landlock(7)) lets it
 * open the files named and no others, and write to none; a system call filter (seccomp(2))
 * takes sockets, new processes and other processes' memory away; limits and a network
 * namespace of its own do the rest. Landlock is left out where the kernel has none, the
 * namespace where we may not make one. The filter is never left out.
 *
 * sandbox_new() and sandbox_free(): any thread. The others are called by proc.c between
 * fork() and execve(), where only system calls are allowed.
 */
#ifndef UCLOUD_SANDBOX_H
#define UCLOUD_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct sandbox;

struct sandbox_conf {
	/* Directories and files that may be read and executed, NULL-terminated; what does not
	 * exist is left out. */
	const char *const *read_paths;
	/* An open file (not a directory) that may be opened again; 0 none. */
	int read_fd;
	/* May it read files whose rights would not let it (CAP_DAC_READ_SEARCH)? Only granted
	 * where Landlock bounds that to the files above. */
	bool may_read_any_mode;
	uint64_t limit_cpu_sec; /* 0 none */
	uint64_t limit_threads; /* of its user, all processes together; 0 none */
	uint64_t limit_fds;	/* 0 none */
};

/* Landlock's ABI in this kernel (landlock_create_ruleset(2)), 0: none. */
int sandbox_landlock_abi(void);

int sandbox_new(
	const struct sandbox_conf *conf, struct sandbox **out, struct err *e) MUST_USE;
void sandbox_free(struct sandbox *s); /* NULL is fine */

/* In the child: while it still has our rights, and after it has become its user. -1 with
 * errno. */
int sandbox_prepare(const struct sandbox *s);
int sandbox_enter(const struct sandbox *s);

#endif
