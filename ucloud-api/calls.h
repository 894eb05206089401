/*
 * The handlers of the route table (routes.c): each turns one call into an order or a look,
 * and its outcome into an answer.
 */
#ifndef UCLOUD_CALLS_H
#define UCLOUD_CALLS_H

#include "ucloud-api/list.h"
#include "ucloud-api/route.h"

/* vm_calls.c */
route_fn call_vm_create, call_vm_list, call_vm_show, call_vm_patch, call_vm_delete,
	call_vm_start, call_vm_stop, call_vm_reboot, call_vm_explain, call_vm_console;

/* disk_calls.c */
route_fn call_disk_attach, call_disk_list, call_disk_patch, call_disk_detach;
route_fn call_snapshot_create, call_snapshot_list, call_snapshot_restore,
	call_snapshot_delete;

/* network_calls.c */
route_fn call_network_create, call_network_list, call_network_show, call_network_patch,
	call_network_delete, call_nic_attach, call_nic_detach;

/* file_calls.c */
route_fn call_file_put, call_file_list, call_file_show, call_file_delete;

/* admin_calls.c */
route_fn call_host_create, call_host_list, call_host_show, call_host_patch,
	call_host_delete, call_host_drain, call_host_undrain;
route_fn call_image_create, call_image_list, call_image_show, call_image_patch,
	call_image_delete;
route_fn call_store_create, call_store_list, call_store_show, call_store_delete;
route_fn call_user_list, call_user_show, call_user_patch;
route_fn call_request_list, call_request_show, call_request_retry, call_request_abort;

/* user_calls.c */
route_fn call_session_create, call_session_delete, call_user_sessions_delete;
route_fn call_me, call_key_list, call_key_add, call_key_delete;
route_fn call_events, call_openapi, call_health, call_metrics;

/* Shapes that only the API has, for the table and the OpenAPI document. */
extern const struct jtab force_jtab, session_jtab, explain_jtab, console_jtab,
	health_jtab;

/* `limit` and `after` of a list; check (may be NULL) says what `after` may be. */
int call_range(struct call *c, jtab_check_fn *check, struct list_range *out,
	struct err *e) MUST_USE;
/* ?name=yes or no; false when it is missing. */
int call_flag(struct call *c, const char *name, bool *out, struct err *e) MUST_USE;
/* ?timeout= of a call that waits, in seconds. */
int call_timeout(struct call *c, int64_t *sec, struct err *e) MUST_USE;
/* "name@realm" of ?name=, split; both NULL when it is missing. The caller's. */
int call_user_ref(struct call *c, const char *param, const char *value, char **name,
	char **realm, struct err *e) MUST_USE;

/* The VM or network of the path, in ?owner='s name space when that is there. The caller's. */
char *call_vm_ref(struct call *c);

/* Each answers and ends the call. */
enum route_result answer_json(struct call *c, int status, json_t *json); /* takes json */
enum route_result answer_entry(
	struct call *c, int status, const struct jtab *t, const void *entry);
/* 202 (or 201) with Location for what was made, 200 for what was there (order is the
 * order's result). */
enum route_result answer_made(struct call *c, int order, int status, const char *path,
	const char *id, json_t *json);
enum route_result answer_list(struct call *c, const char *name, struct list_page *p);
enum route_result answer_vm(struct call *c, int status, const struct vm *vm);
enum route_result answer_nothing(struct call *c); /* 204 */

#endif
