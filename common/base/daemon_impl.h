/*
 * Between the files of the daemon skeleton; nobody else includes this.
 *
 * daemon.c      the command line: help, version, setup, subcommands, configuration
 * daemon_run.c  running: signals, health and metrics, privileges, readiness, stopping
 */
#ifndef UCLOUD_DAEMON_IMPL_H
#define UCLOUD_DAEMON_IMPL_H

#include "common/base/daemon.h"

/* Runs until it is told to stop; the process's exit status. Logs its errors. */
int daemon_run(const struct daemon_spec *spec, void *conf);

static inline struct daemon_conf *daemon_conf_of(
	const struct daemon_spec *spec, void *conf)
{
	return (struct daemon_conf *)((char *)conf + spec->daemon_conf_off);
}

#endif
