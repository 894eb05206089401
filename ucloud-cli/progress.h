/*
 * A line about something that takes long, with a bar, a rate and the time that is left. Pure
 * but for cli_progress_show().
 */
#ifndef UCLOUD_CLI_PROGRESS_H
#define UCLOUD_CLI_PROGRESS_H

#include "ucloud-cli/cli.h"

struct cli_progress {
	const struct cli *c;
	const char *what; /* "uploading debian.qcow2", cleaned */
	int64_t total;	  /* bytes */
	int64_t begun;	  /* there already when it began: not part of the rate */
	/* Its own; zeroed before. */
	int64_t start_msec, shown_msec;
	bool is_shown;
};

/* On a terminal: the line, at most some times in a second. Elsewhere and with --quiet
 * nothing. */
void cli_progress_show(struct cli_progress *p, int64_t done);
/* Takes the line away. */
void cli_progress_end(struct cli_progress *p);

/* The line, not wider than width; rate: bytes in a second, 0 unknown. */
void cli_progress_format(const char *what, int64_t done, int64_t total, int64_t rate,
	size_t width, struct buf *out);
/* "1.5 GiB", "1:02:03" or "2:03". */
void cli_bytes_format(int64_t n, struct buf *out);
void cli_seconds_format(int64_t sec, struct buf *out);
/* Columns of the terminal of stderr. */
size_t cli_tty_width(void);

#endif
