/*
 * radvd, running: one process for all networks, which reads a new configuration without being
 * restarted, and is started again when it dies. A configuration is put in place only after
 * radvd itself has said that it can read it, because one that it cannot read would end it.
 *
 * It is killed when we end: told to end, it would first tell all VMs that they have no router
 * any more, although its successor comes within seconds.
 */
#ifndef UCLOUD_NETWORK_RADVDRUN_H
#define UCLOUD_NETWORK_RADVDRUN_H

#include <stdbool.h>

#include "common/base/err.h"

struct radvdrun;

/* program: "radvd" or a path. Its files are in dir, which is made when it is missing. */
struct radvdrun *radvdrun_new(const char *program, const char *dir);
/* An earlier one of us may have left a configuration: radvd goes on with that. */
void radvdrun_start(struct radvdrun *r);
/* What it should do from now on; without networks it does not run, and has no configuration. Nothing happens when that is
 * what it does already. On an error everything stays as it was. One thread. */
int radvdrun_set(
	struct radvdrun *r, const char *text, bool has_networks, struct err *e) MUST_USE;
/* 0: it runs, or need not; else why not. Any thread. */
int radvdrun_health(struct radvdrun *r, struct err *e);
void radvdrun_stop(struct radvdrun *r);
void radvdrun_free(struct radvdrun *r); /* stops it first; NULL is fine */

#endif
