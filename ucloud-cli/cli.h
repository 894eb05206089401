/*
 * What the commands share: the configuration, the connection to the API, how to print. One
 * thread. Commands are functions of the table in cmdtab.h: 0 done, < 0 failed.
 */
#ifndef UCLOUD_CLI_CLI_H
#define UCLOUD_CLI_CLI_H

#include <jansson.h>

#include "ucloud-cli/args.h"
#include "ucloud-cli/client.h"
#include "ucloud-cli/view.h"

/* Exit statuses. */
enum {
	CLI_EXIT_DONE = 0,
	CLI_EXIT_FAILED = 1,	  /* refused, or failed */
	CLI_EXIT_USAGE = 2,	  /* wrong usage */
	CLI_EXIT_UNREACHABLE = 3, /* the API does not answer, or cannot serve now */
	CLI_EXIT_TIMEOUT = 4	  /* --wait took too long */
};

struct cli {
	struct cli_client *client; /* made by cli_need_client() */
	bool is_json, is_quiet;
	bool is_out_tty, is_err_tty;
	bool has_color;
};

/* Reads the configuration and makes the client, once. */
int cli_need_client(struct cli *c, const struct cli_args *a, struct err *e) MUST_USE;
void cli_done(struct cli *c);
int cli_exit_status(enum err_kind kind);

/* A line on stderr for people, unless --quiet. */
void cli_note(const struct cli *c, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* "/v1/vms/<escaped name><tail>", the caller's. */
char *cli_path(const char *collection, const char *name, const char *tail);
/* path with the parameters that options give; takes path, the result is the caller's. */
char *cli_with_query(const struct cli_args *a, char *path);
/* "/v1/vms/<the command's argument><tail>?<options>", the caller's. */
char *cli_arg_path(const struct cli_args *a, const char *collection, const char *tail);
/* An answer as it came, with --json. */
void cli_print_json(json_t *json);

/* The usual commands, each of one call: */
/* Prints a collection as a table: all its pages, when it has pages. */
int cli_list(struct cli *c, const struct cli_args *a, const char *collection,
	bool has_pages, const struct cli_field *columns, struct err *e) MUST_USE;
int cli_show(struct cli *c, const struct cli_args *a, const char *path,
	const struct cli_field *lines, struct err *e) MUST_USE;
/* An entry as cli_show() prints it: JSON, or lines. */
void cli_print_entry(const struct cli *c, json_t *entry, const struct cli_field *lines);
/* POST of the body made from the options. What is printed of the answer is its member
 * `id`. *out (may be NULL) is the answer, the caller's. */
int cli_create(struct cli *c, const struct cli_args *a, const char *collection,
	const char *what, const char *id, json_t **out, struct err *e) MUST_USE;
/* What --idempotency-key gives, else a random one. The caller's. */
char *cli_idempotency_key(const struct cli_args *a);
/* Any change; body may be NULL (borrowed). Says `done` unless --quiet or --json. */
int cli_change(struct cli *c, const struct cli_args *a, const char *method,
	const char *path, json_t *body, const char *done, json_t **out,
	struct err *e) MUST_USE;
/* PATCH of the body made from the options; at least one is needed. */
int cli_patch(struct cli *c, const struct cli_args *a, const char *path, const char *done,
	struct err *e) MUST_USE;

#define CLI_RUN(name) int name(struct cli *c, const struct cli_args *a, struct err *e)
CLI_RUN(cli_vm_create);
CLI_RUN(cli_vm_list);
CLI_RUN(cli_vm_show);
CLI_RUN(cli_vm_start);
CLI_RUN(cli_vm_stop);
CLI_RUN(cli_vm_reboot);
CLI_RUN(cli_vm_delete);
CLI_RUN(cli_vm_change);
CLI_RUN(cli_vm_resize);
CLI_RUN(cli_snapshot_create);
CLI_RUN(cli_snapshot_list);
CLI_RUN(cli_snapshot_restore);
CLI_RUN(cli_snapshot_delete);
CLI_RUN(cli_disk_attach);
CLI_RUN(cli_disk_detach);
CLI_RUN(cli_disk_grow);
CLI_RUN(cli_disk_list);
CLI_RUN(cli_disk_flatten);
CLI_RUN(cli_vm_log);
CLI_RUN(cli_vm_explain);
CLI_RUN(cli_vm_console_log);
CLI_RUN(cli_file_upload);
CLI_RUN(cli_file_list);
CLI_RUN(cli_file_show);
CLI_RUN(cli_file_delete);
CLI_RUN(cli_image_create);
CLI_RUN(cli_image_list);
CLI_RUN(cli_image_show);
CLI_RUN(cli_image_change);
CLI_RUN(cli_image_delete);
CLI_RUN(cli_network_create);
CLI_RUN(cli_network_list);
CLI_RUN(cli_network_show);
CLI_RUN(cli_network_change);
CLI_RUN(cli_network_delete);
CLI_RUN(cli_network_attach);
CLI_RUN(cli_network_detach);
CLI_RUN(cli_store_create);
CLI_RUN(cli_store_list);
CLI_RUN(cli_store_show);
CLI_RUN(cli_store_delete);
CLI_RUN(cli_key_add);
CLI_RUN(cli_key_list);
CLI_RUN(cli_key_remove);
CLI_RUN(cli_host_create);
CLI_RUN(cli_host_list);
CLI_RUN(cli_host_show);
CLI_RUN(cli_host_change);
CLI_RUN(cli_host_drain);
CLI_RUN(cli_host_undrain);
CLI_RUN(cli_host_delete);
CLI_RUN(cli_request_list);
CLI_RUN(cli_request_show);
CLI_RUN(cli_request_retry);
CLI_RUN(cli_request_abort);
CLI_RUN(cli_user_show);
CLI_RUN(cli_user_list);
CLI_RUN(cli_user_quota);
CLI_RUN(cli_event_follow);
CLI_RUN(cli_configure);
CLI_RUN(cli_login);
CLI_RUN(cli_logout);
CLI_RUN(cli_manual);
CLI_RUN(cli_help);

#endif
