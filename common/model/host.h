/*
 * The host entry (`/v1/host/<host>`) and the heartbeat (`/v1/alive/<host>`). Pure.
 *
 * Who writes what: the admin (through the api) labels, overcommit, reserved, is_draining;
 * the host its inventory, version, accel; the scheduler status. All by compare-and-swap.
 */
#ifndef UCLOUD_HOST_H
#define UCLOUD_HOST_H

#include "common/base/jtab.h"

enum host_status {
	HOST_REGISTERED, /* never seen alive */
	HOST_ALIVE,
	HOST_DEAD
};
extern const char *const host_status_names[];

struct host_store {
	char *name;	   /* of the image store */
	int64_t total_gib; /* -1: unknown */
	int64_t free_gib;  /* -1: unknown */
	json_t *rest;
};

struct host {
	char *hostname;
	json_t *labels;
	/* Percent: 100 is none. */
	int64_t cpu_overcommit, ram_overcommit, disk_overcommit;
	int64_t reserved_ram_mib; /* for the host itself */
	bool is_draining;	  /* "draining" in JSON */
	int status;		  /* enum host_status */
	int64_t status_since;
	int64_t cpus, ram_mib;	 /* inventory; 0 until the host reported */
	struct jtab_list stores; /* struct host_store: what it reaches */
	char *accel;		 /* "kvm", "tcg" */
	char *version;
	int64_t created;
	json_t *rest;
};

extern const struct jtab host_jtab, host_store_jtab;

int host_parse(const char *json, size_t size, struct host *out, struct err *e) MUST_USE;
char *host_format(const struct host *h);
void host_done(struct host *h);
void *host_parse_item(const char *name, json_t *json, struct err *e);
void host_free_item(void *h);
const struct host_store *host_find_store(const struct host *h, const char *name);

/* The heartbeat: {"host":..., "machine": <machine-id>, "instance": <uuid of this run>,
 * "since": time}. */
char *alive_new(const char *host, const char *machine, const char *instance, int64_t now);

#endif
