/*
 * The request entry: a durable work item; at most one is open per subject and handler,
 * because its key is named after the subject. Pure.
 */
#ifndef UCLOUD_REQUEST_H
#define UCLOUD_REQUEST_H

#include "common/base/jtab.h"

enum request_type {
	REQ_SCHEDULE_VM, /* scheduler: find a host */
	REQ_START_VM,	 /* host: prepare and start */
	REQ_STOP_VM,	 /* host: stop (is_force: pull the plug) and release */
	REQ_REBOOT_VM,	 /* host: boot again (vm.boot) */
	REQ_DELETE_VM,	 /* host or scheduler: remove everything */
	REQ_CHANGE_VM,	 /* host (scheduler: finds one): disks and snapshots as ordered */
	REQ_INIT_VM_MIGRATION, /* later issues */
	REQ_TRANSFER_VM,
	REQ_CREATE_NETWORK,
	REQ_DELETE_NETWORK,
	REQ_CREATE_IMAGE, /* ucloud-image: make it of its file */
	REQ_DELETE_IMAGE, /* ucloud-image: remove it and its entry */
	REQ_N_TYPES
};
/* "ScheduleVM", "StartVM", "StopVM", "RebootVM", "DeleteVM", "InitVMMigration", ... */
extern const char *const request_type_names[];

/* How long ChangeVM is tried before what could not be done is undone. */
#define REQUEST_CHANGE_SEC 300

struct request {
	int type;	   /* enum request_type */
	char *uuid;	   /* of the subject */
	char *hostname;	   /* addressee, "" for services */
	char *destination; /* of a migration */
	bool is_force;	   /* "force" in JSON */
	char *migration;
	int64_t created;
	int64_t deadline;   /* time, 0 none */
	int64_t attempts;   /* failed ones */
	int64_t not_before; /* time */
	char *last_error;
	/* Whether it may be done is still being looked at by who ordered it: it is tried at
	 * not_before, should he have died, by one who looks himself. */
	bool is_unchecked; /* "unchecked" in JSON */
	json_t *rest;
};

extern const struct jtab request_jtab;

int request_parse(
	const char *json, size_t size, struct request *out, struct err *e) MUST_USE;
char *request_format(const struct request *r);
void request_done(struct request *r);
void *request_parse_item(const char *name, json_t *json, struct err *e);
void request_free_item(void *r);

/* A new one as JSON text, the caller's. hostname may be NULL; deadline 0 none. */
char *request_new(enum request_type type, const char *uuid, const char *hostname,
	int64_t now, int64_t deadline);
/* Counts a failed attempt: last_error, attempts, not_before (1 s doubled up to 60 s). */
void request_failed(struct request *r, int64_t now, const struct err *why);

#endif
