#include "common/base/daemon.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/crypt.h"
#include "common/base/daemon_impl.h"
#include "common/base/log.h"

#define CONF_DIR "/etc/ucloud"

enum { EXIT_USAGE = 2 };

static const char *const level_names[] = { "error", "warn", "info", "debug", NULL };

const struct conf_opt daemon_opts[] = {
	{ "config", CONF_STR, offsetof(struct daemon_conf, config), CONF_CLI_ONLY,
		.meta = "FILE",
		.help = "configuration file, default " CONF_DIR "/<program>.conf" },
	{ "metrics_listen", CONF_STR, offsetof(struct daemon_conf, metrics_listen),
		.meta = "ADDRESS",
		.help = "where to serve /metrics and /healthz, empty: nowhere" },
	{ "log_level", CONF_ENUM, offsetof(struct daemon_conf, log_level), .def = "info",
		.names = level_names, .meta = "LEVEL", .help = "how much to log" },
	{ "user", CONF_STR, offsetof(struct daemon_conf, user), .meta = "NAME",
		.help = "user to run as, when started by root" },
	{ 0 },
};

/* Options that are about this invocation only. */
struct own_conf {
	bool wants_help, wants_version;
	char *path;
	bool is_forced;
};

static const struct conf_opt always_opts[] = {
	{ "help", CONF_BOOL, offsetof(struct own_conf, wants_help), CONF_CLI_ONLY,
		.help = "show this" },
	{ "version", CONF_BOOL, offsetof(struct own_conf, wants_version), CONF_CLI_ONLY,
		.help = "show the version" },
	{ 0 },
};

static const struct conf_opt setup_opts[] = {
	{ "path", CONF_STR, offsetof(struct own_conf, path), CONF_CLI_ONLY,
		.def = CONF_DIR, .meta = "DIR",
		.help = "directory of the configuration file" },
	{ "force", CONF_BOOL, offsetof(struct own_conf, is_forced), CONF_CLI_ONLY,
		.help = "replace a file that exists; it is kept as FILE.old" },
	{ 0 },
};

/*
 * One invocation. conf is the program's struct with a struct own_conf behind it; the table
 * is the program's with ours added, and with its own default for metrics_listen.
 */
struct invocation {
	const struct daemon_spec *spec;
	const struct daemon_verb *verb; /* NULL: run, or setup */
	bool is_setup;
	int argc; /* without the verb */
	char **argv;
	void *conf;
	struct own_conf *own;
	struct conf_opt *shared; /* daemon_opts with the program's default */
	struct conf_part *parts;
	struct conf_table table;
};

/* --------------------------------------------------------------- the table */

static size_t n_parts(const struct conf_part *parts)
{
	size_t n = 0;

	while (parts[n].opts)
		n++;
	return n;
}

static void make_table(struct invocation *in)
{
	const struct conf_table *t = &in->spec->conf;
	size_t own_off = (t->size + 15) / 16 * 16, n = n_parts(t->parts), i;

	in->conf = xcalloc(1, own_off + sizeof(struct own_conf));
	in->own = (struct own_conf *)((char *)in->conf + own_off);
	in->shared = xcalloc(ARRAY_LEN(daemon_opts), sizeof(*in->shared));
	memcpy(in->shared, daemon_opts, sizeof(daemon_opts));
	for (i = 0; in->shared[i].kind; i++)
		if (strcmp(in->shared[i].name, "metrics_listen") == 0)
			in->shared[i].def = in->spec->default_metrics_listen;

	in->parts = xcalloc(n + 4, sizeof(*in->parts));
	for (i = 0; i < n; i++) {
		in->parts[i] = t->parts[i];
		if (t->parts[i].opts == daemon_opts)
			in->parts[i].opts = in->shared;
	}
	in->parts[i++] = (struct conf_part){ always_opts, own_off };
	if (in->is_setup)
		in->parts[i++] = (struct conf_part){ setup_opts, own_off };
	if (in->verb && in->verb->opts)
		in->parts[i++] = (struct conf_part){ in->verb->opts, 0 };
	in->table = (struct conf_table){ t->section, in->parts,
		own_off + sizeof(struct own_conf) };
	conf_set_defaults(&in->table, in->conf);
}

static void invocation_done(struct invocation *in)
{
	if (in->conf)
		conf_done(&in->table, in->conf);
	free(in->conf);
	free(in->parts);
	free(in->shared);
}

/* --------------------------------------------------------- help and errors */

static int complain(const struct daemon_spec *spec, const struct err *e, int status)
{
	fprintf(stderr, "%s: %s\n", spec->name, e->msg);
	return status;
}

static void help_verbs(const struct daemon_spec *spec, struct buf *out)
{
	buf_addf(out, "usage: %s [--config FILE] [--option value]...\n", spec->name);
	buf_addf(out, "       %s setup [--path DIR] [--force] [--option value]...\n",
		spec->name);
	for (const struct daemon_verb *v = spec->verbs; v && v->name; v++) {
		buf_addf(
			out, "       %s %s\n", spec->name, v->usage ? v->usage : v->name);
		buf_addf(out, "           %s\n", v->help ? v->help : "");
	}
}

static int show_help(const struct invocation *in)
{
	CLEANUP(buf_done) struct buf out = { 0 };
	const struct daemon_spec *spec = in->spec;

	buf_addf(&out, "%s: %s\n\n", spec->name, spec->summary);
	if (in->verb)
		buf_addf(&out, "usage: %s %s\n%s\n", spec->name,
			in->verb->usage ? in->verb->usage : in->verb->name,
			in->verb->help ? in->verb->help : "");
	else
		help_verbs(spec, &out);
	buf_add_str(&out, "\noptions:\n");
	conf_help(&in->table, &out);
	fputs(out.s, stdout);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ------------------------------------------------------- the configuration */

static int find_verb(struct invocation *in, int argc, char **argv, struct err *e)
{
	in->argc = argc;
	in->argv = argv;
	if (argc < 2 || argv[1][0] == '-')
		return 0;
	in->argc--;
	in->argv++;
	in->is_setup = strcmp(argv[1], "setup") == 0;
	if (in->is_setup)
		return 0;
	for (const struct daemon_verb *v = in->spec->verbs; v && v->name; v++)
		if (strcmp(v->name, argv[1]) == 0) {
			in->verb = v;
			return 0;
		}
	return err_set(
		e, ERR_INVALID, "there is no subcommand \"%s\" (see --help)", argv[1]);
}

/* The file, when there is one. Only subcommands may do without the default one. */
static int read_file(struct invocation *in, const char *given, struct err *e)
{
	CLEANUP_STR char *path =
		given ? xstrdup(given) : xasprintf(CONF_DIR "/%s.conf", in->spec->name);

	if (conf_read_file(&in->table, path, in->conf, e) == 0)
		return 0;
	if (given || e->kind != ERR_NOT_FOUND)
		return err_wrap(e, "configuration");
	if (in->verb)
		return 0;
	return err_set(e, ERR_NOT_FOUND,
		"there is no %s: make it with \"%s setup\", or name another file with "
		"--config",
		path, in->spec->name);
}

static int check(const struct invocation *in, struct err *e)
{
	if (conf_check(&in->table, in->conf, e) < 0)
		return -1;
	return in->spec->check ? in->spec->check(in->conf, e) : 0;
}

/* ------------------------------------------------------------------- setup */

int daemon_give_file(
	const char *name, const struct daemon_conf *dc, const char *file, struct err *e)
{
	bool is_named = !str_is_empty(dc->user);
	struct passwd pw, *found = NULL;
	char text[4096];

	if (geteuid() != 0)
		return 0;
	if (getpwnam_r(is_named ? dc->user : name, &pw, text, sizeof(text), &found) !=
			0 ||
		!found)
		return is_named ? err_set_field(e, ERR_INVALID, "user",
					  "there is no user \"%s\" on this machine",
					  dc->user)
				: 0;
	if (chown(file, pw.pw_uid, pw.pw_gid) < 0)
		return err_errno(e, errno, "%s", file);
	return 0;
}

static void show_how_to_start(
	const struct daemon_spec *spec, const char *dir, const char *file)
{
	printf("wrote %s\n", file);
	if (strcmp(dir, CONF_DIR) != 0)
		printf("start it with: %s --config %s\n", spec->name, file);
	else if (access("/run/openrc", F_OK) == 0)
		printf("start it with: rc-service %s start\n", spec->name);
	else
		printf("start it with: systemctl enable --now %s\n", spec->name);
}

static int set_up(struct invocation *in, struct err *e)
{
	const struct daemon_spec *spec = in->spec;
	const char *dir = in->own->path;
	CLEANUP_STR char *file = xasprintf("%s/%s.conf", dir, spec->name);

	if (!in->own->is_forced && access(file, F_OK) == 0)
		return err_set(e, ERR_EXISTS,
			"%s exists already: with --force it is replaced, and kept as "
			"%s.old",
			file, file);
	if (spec->setup && spec->setup(in->conf, e) < 0)
		return -1;
	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return err_errno(e, errno, "%s", dir);
	if (conf_write_file(&in->table, file, in->conf, in->own->is_forced, e) < 0 ||
		daemon_give_file(spec->name, daemon_conf_of(spec, in->conf), file, e) < 0)
		return -1;
	show_how_to_start(spec, dir, file);
	return 0;
}

/* -------------------------------------------------------------------- main */

static int run_setup(struct invocation *in)
{
	struct err e = { 0 };

	if (conf_read_argv(&in->table, in->argc, in->argv, in->conf, NULL, &e) < 0 ||
		check(in, &e) < 0)
		return complain(in->spec, &e, EXIT_USAGE);
	if (set_up(in, &e) < 0)
		return complain(in->spec, &e, EXIT_FAILURE);
	return EXIT_SUCCESS;
}

/* Runs the daemon or a subcommand. */
static int run_other(struct invocation *in)
{
	CLEANUP(strv_done) struct strv rest = { 0 };
	const struct daemon_conf *dc = daemon_conf_of(in->spec, in->conf);
	struct err e = { 0 }, usage = { 0 };
	const char *file = conf_peek_argv(&in->table, in->argc, in->argv, "config");
	int file_rc = read_file(in, file, &e);

	/* Wrong usage is told first, whatever is wrong with the file. */
	if (conf_read_argv(&in->table, in->argc, in->argv, in->conf,
		    in->verb ? &rest : NULL, &usage) < 0)
		return complain(in->spec, &usage, EXIT_USAGE);
	log_init(in->spec->name, (enum log_level)dc->log_level);
	if (file_rc < 0 || check(in, &e) < 0) {
		if (in->verb)
			return complain(in->spec, &e, EXIT_FAILURE);
		log_error("cannot start: %s", e.msg);
		return EXIT_FAILURE;
	}
	return in->verb ? in->verb->run(in->conf, &rest) : daemon_run(in->spec, in->conf);
}

/* 0, 1 and 2 are open in every process of ours: no other file ever gets these numbers. */
static void open_standard_files(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

int daemon_main(int argc, char **argv, const struct daemon_spec *spec)
{
	CLEANUP(invocation_done) struct invocation in = { .spec = spec };
	struct err e = { 0 };

	open_standard_files();
	mem_init();
	crypt_init();
	log_init(spec->name, LOG_INFO);
	if (find_verb(&in, argc, argv, &e) < 0)
		return complain(spec, &e, EXIT_USAGE);
	make_table(&in);
	if (conf_peek_argv(&in.table, in.argc, in.argv, "help"))
		return show_help(&in);
	if (conf_peek_argv(&in.table, in.argc, in.argv, "version")) {
		printf("%s %s\n", spec->name, ucloud_version());
		return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
	}
	return in.is_setup ? run_setup(&in) : run_other(&in);
}
