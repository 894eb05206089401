/*
 * Entries of the API as people read them: which members, in which order, how each is
 * written. One table serves lists (a column for each) and another `show` (a line for each).
 * Pure.
 */
#ifndef UCLOUD_CLI_VIEW_H
#define UCLOUD_CLI_VIEW_H

#include <jansson.h>

#include "ucloud-cli/table.h"

enum cli_view_kind {
	VIEW_END,
	VIEW_TEXT,
	VIEW_STATUS, /* coloured */
	VIEW_NUMBER, /* 0 is shown */
	VIEW_MIB,    /* 1536 is "1536 MiB", 2048 "2 GiB" */
	VIEW_GIB,    /* -1 is "unknown" */
	VIEW_BYTES,  /* "1.5 GiB"; 0 is left out */
	VIEW_PERCENT,
	VIEW_PROGRESS, /* "37 %", while an image is being made */
	VIEW_YES,      /* "yes"; nothing for false */
	VIEW_BOOL,     /* "yes" or "no" */
	VIEW_LABELS,   /* "a=b, c=d" */
	VIEW_OWNER,    /* "name@realm", of the members owner and owner_realm */
	VIEW_DISKS,    /* "0: 20 GiB, 1: 100 GiB hdd" */
	VIEW_DISK_SUM,
	VIEW_SNAPSHOTS, /* "before, after (creating)" */
	VIEW_NICS,	/* addresses, or MACs where there is none */
	VIEW_STRINGS,	/* "a, b" */
	VIEW_INGRESS,	/* of a VM that is closed: what is let in */
	VIEW_STORES,	/* "demo (free 10 of 20 GiB)" */
	VIEW_KEYS,	/* how many, and their comments */
	/* A line each; only in `show`: */
	VIEW_LOG,
	VIEW_NIC_LINES,
	VIEW_NET_USERS, /* VMs in a network */
	VIEW_NET_PLACES /* hosts it is on */
};

struct cli_field {
	const char *title; /* "NAME" of a column, "name" of a line */
	const char *path;  /* "specs.cpu" */
	enum cli_view_kind kind;
};

/* The member at a path, NULL when there is none. Borrowed. */
json_t *cli_json_at(const json_t *json, const char *path);
/* The string there, "" when there is none. Borrowed. */
const char *cli_json_text(const json_t *json, const char *path);

/* The member as text, cleaned; "" when there is nothing to show. The caller's. */
char *cli_view_text(const json_t *entry, const struct cli_field *f);
enum cli_color cli_status_color(const char *status);

/* list: an array of entries. */
void cli_view_list(const json_t *list, const struct cli_field *columns, bool has_color,
	struct buf *out);
/* "name: value" lines; what is empty is left out. */
void cli_view_entry(const json_t *entry, const struct cli_field *lines, bool has_color,
	struct buf *out);
/* Log lines, oldest first, each behind indent. */
void cli_view_log(const json_t *log, const char *indent, struct buf *out);

/* Interfaces, VMs in a network or hosts it is on, each on a line behind two blanks. kind is one of
 * VIEW_NIC_LINES, VIEW_NET_USERS, VIEW_NET_PLACES. */
void cli_view_network_lines(enum cli_view_kind kind, const json_t *list, struct buf *out);
/* Member of an interface that says how its network is called; the API does not have it. */
#define CLI_NETWORK_NAME "network_name"

#endif
