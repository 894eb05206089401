/*
 * The skeleton of every daemon. A daemon's main.c is tables plus
 * `return daemon_main(argc, argv, &spec);`. Everything common exists once, here:
 *
 *	ucloud-X [--config FILE] [--log_level L]     run in the foreground
 *	ucloud-X setup --path DIR ...                check etcd, write DIR/ucloud-X.conf
 *	ucloud-X --version | --help
 *	ucloud-X VERB ...                            the daemon's own further subcommands
 *
 * The default FILE is /etc/ucloud/ucloud-X.conf. Words of the command line win over the file.
 *
 * Running: read the configuration, block signals, serve /metrics and /healthz (which says 503
 * for now) on `metrics_listen`, call start() (which opens etcd and waits for it itself),
 * become `user`, say READY=1 to $NOTIFY_SOCKET (sd_notify(3)), wait for SIGTERM or SIGINT or
 * daemon_fail(), say STOPPING=1, call stop(), exit 0 (or 1 after daemon_fail()). Stopping
 * that takes longer than 5 s, start() giving up included, is cut short by _exit(). A start
 * that fails is one line on stderr and exit status 1; wrong usage is status 2. SIGHUP is
 * ignored, SIGPIPE too. All signals that matter are blocked in every thread.
 */
#ifndef UCLOUD_DAEMON_H
#define UCLOUD_DAEMON_H

#include "common/base/conf.h"
#include "common/base/err.h"

struct daemon_conf {
	char *config;	      /* --config */
	char *metrics_listen; /* "[::1]:PORT", "" none */
	int log_level;
	char *user; /* run as: after start(), when we are root; "" stay */
};

struct daemon_verb {
	const char *name; /* "explain" or "user" */
	const char *usage;
	const char *help;
	/* conf is read (file and command line), rest has the words after the verb. Returns the
	 * exit status; prints its own errors as one line on stderr. */
	int (*run)(void *conf, const struct strv *rest);
	/* Options of this verb alone, or NULL. */
	const struct conf_opt *opts;
};

struct daemon_spec {
	const char *name;    /* "ucloud-api" */
	const char *summary; /* one line for --help */
	struct conf_table conf;
	size_t daemon_conf_off; /* of the struct daemon_conf in the conf struct */
	const char *default_metrics_listen; /* "[::1]:PORT"; NULL none */
	/* Beyond the table: what must be true of the options together. May be NULL. */
	int (*check)(void *conf, struct err *e);
	/* For `setup`, before the file is written: does etcd (and what else) answer? */
	int (*setup)(void *conf, struct err *e);
	/* For running. *state goes to the others. */
	int (*start)(void *conf, void **state, struct err *e);
	/* For /healthz: 0, and what is in e->msg then follows the "ok"; < 0 with the reason
	 * when not healthy (503). Not called any more when stop() is. May be NULL. */
	int (*health)(void *state, struct err *e);
	void (*stop)(void *state);
	const struct daemon_verb *verbs; /* ends with a zeroed one; may be NULL */
};

int daemon_main(int argc, char **argv, const struct daemon_spec *spec);
/* For setup: a daemon must be able to read its files. When root runs setup, the file comes to
 * belong to the user that the daemon runs as: dc->user, else the one named like the program,
 * when there is one. */
int daemon_give_file(const char *name, const struct daemon_conf *dc, const char *file,
	struct err *e) MUST_USE;
/* From any thread: this daemon cannot go on; logs the reason and ends it with status 1. */
void daemon_fail(const struct err *e);
/* What the daemon is at, for `systemctl status`. From any thread. */
void daemon_status(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* True once stopping has begun; start() must give up soon when it is waiting. */
bool daemon_is_stopping(void);

/* The shared options: a part of every program's table, offsets within struct daemon_conf. */
extern const struct conf_opt daemon_opts[];

/* The version, from the build ("0.1.0"). */
const char *ucloud_version(void);

#endif
