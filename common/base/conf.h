/*
 * Options: one table per program says each option once, for its configuration file, its
 * `setup` subcommand, `--help`, and the documentation (a test compares docs/ with it).
 *
 * Files are INI (inih): `name = value`, one section named after the program, repeatable
 * options stand on several lines. Names are spelled with underscores; on the command line
 * dashes work too. An unknown name in a file is an error that names the line.
 *
 * What is given replaces what was there: the file's list replaces the default, the command
 * line's list replaces the file's. An empty value ("name =", "--name ''") makes a list empty.
 * A line begins with its name (blanks before it do not matter) and may have CONF_LINE_MAX
 * bytes; `;` after a blank begins a comment, so no value may contain that.
 */
#ifndef UCLOUD_CONF_H
#define UCLOUD_CONF_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

#define CONF_LINE_MAX 4000
#define CONF_FILE_MAX (1024 * 1024)

enum conf_kind {
	CONF_END,
	CONF_STR,      /* char * */
	CONF_STRV,     /* struct strv; repeatable */
	CONF_INT,      /* int64_t, min..max */
	CONF_BOOL,     /* bool; on the command line `--x` alone is yes */
	CONF_DURATION, /* int64_t seconds: "90s", "10m", "24h" */
	CONF_ENUM      /* int: names */
};

enum {
	CONF_NEED = 1 << 0, /* no default, must be given */
	CONF_SECRET =
		1 << 1, /* logged as ***; on the command line "@FILE" or "-" (standard
				   input) reads it from there */
	CONF_CLI_ONLY = 1 << 2, /* only on the command line */
};

struct conf_opt {
	const char *name;
	enum conf_kind kind;
	size_t off;
	unsigned flags;
	const char *def;  /* parsed like any value; NULL: zero */
	const char *meta; /* "URL", "FILE", ...: for --help */
	const char *help;
	int64_t min, max; /* both 0: no limit */
	const char *const *names;
	/* Optional further check of one value. */
	int (*check)(const char *value, struct err *e);
};

/* Options whose offsets count from a struct embedded at base in the whole one. */
struct conf_part {
	const struct conf_opt *opts; /* ends with a zeroed one */
	size_t base;
};

/* A program's struct is made of parts: its own, etcd's, the daemon's. */
struct conf_table {
	const char *section;	       /* "ucloud-api" */
	const struct conf_part *parts; /* ends with a zeroed one */
	size_t size;		       /* of the struct */
};

void conf_set_defaults(const struct conf_table *t, void *conf);
/* Errors say "FILE:LINE: ...". */
int conf_read_file(
	const struct conf_table *t, const char *path, void *conf, struct err *e) MUST_USE;
/* As conf_read_file(), of a text; path is for errors only. Pure. */
int conf_read_text(const struct conf_table *t, const char *path, const char *text,
	size_t size, void *conf, struct err *e) MUST_USE;
/* --name value, --name=value, dashes or underscores; argv[0] is skipped. What is no option
 * is added to rest when rest is not NULL, else it is an error. */
int conf_read_argv(const struct conf_table *t, int argc, char **argv, void *conf,
	struct strv *rest, struct err *e) MUST_USE;
/* The value (as typed, "yes" for a bool without one) of the last --name among argv, NULL when
 * there is none. Reads nothing and reports nothing. */
const char *conf_peek_argv(
	const struct conf_table *t, int argc, char **argv, const char *name);
/* Are all CONF_NEED ones there (not empty, not 0)? */
int conf_check(const struct conf_table *t, const void *conf, struct err *e) MUST_USE;
/* Writes the file (0600, atomically: temporary name, fsync, rename). A file that exists is
 * an error unless overwrite; the old one is then kept as PATH.old. What equals the default
 * is written as a comment. A value that could not be read back is an error. */
int conf_write_file(const struct conf_table *t, const char *path, const void *conf,
	bool overwrite, struct err *e) MUST_USE;
/* The text that conf_write_file() writes. Pure. */
int conf_format(const struct conf_table *t, const void *conf, struct buf *out,
	struct err *e) MUST_USE;
/* The options as lines for --help. */
void conf_help(const struct conf_table *t, struct buf *out);
void conf_done(const struct conf_table *t, void *conf);

#endif
