#include "ucloud-cli/body.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/parse.h"
#include "common/model/names.h"

#define TEXT_MAX ((size_t)1 << 20)
#define MIB	 ((int64_t)1 << 20)
#define GIB	 ((int64_t)1 << 30)

static int read_stdin(struct buf *out, struct err *e)
{
	char piece[4096];
	size_t size = 0;
	ssize_t n;

	while ((n = read(STDIN_FILENO, piece, sizeof(piece))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, errno, "standard input");
		size += (size_t)n;
		if (size > TEXT_MAX)
			return err_set(
				e, ERR_TOO_LARGE, "standard input: more than 1 MiB");
		buf_add(out, piece, (size_t)n);
	}
	return 0;
}

int cli_read_file(const char *path, struct buf *out, struct err *e)
{
	if (str_eq(path, "-")) {
		if (read_stdin(out, e) < 0)
			return -1;
	} else if (file_read(path, TEXT_MAX, out, e) < 0) {
		return -1;
	}
	if (!str_is_text(buf_str(out), out->size, true))
		return err_set(e, ERR_INVALID, "%s is not a text in UTF-8",
			str_eq(path, "-") ? "standard input" : path);
	return 0;
}

static char *trimmed(const char *s)
{
	size_t len;

	s += strspn(s, " \t\r\n");
	len = strlen(s);
	while (len > 0 && strchr(" \t\r\n", s[len - 1]))
		len--;
	return xstrndup(s, len);
}

int cli_read_value(const char *s, cli_read_fn *read_fn, char **out, struct err *e)
{
	CLEANUP(buf_done) struct buf text = { 0 };

	if (s[0] != '@' && !str_eq(s, "-")) {
		*out = xstrdup(s);
		return 0;
	}
	if (read_fn(s[0] == '@' ? s + 1 : s, &text, e) < 0)
		return -1;
	*out = trimmed(buf_str(&text));
	return 0;
}

static int set_text(json_t **out, const char *s, struct err *e)
{
	*out = json_string(s);
	if (!*out)
		return err_set(e, ERR_INVALID, "it is not valid UTF-8");
	return 0;
}

static int make_file_text(
	const char *path, cli_read_fn *read_fn, json_t **out, struct err *e)
{
	CLEANUP(buf_done) struct buf text = { 0 };

	if (read_fn(path, &text, e) < 0)
		return -1;
	return set_text(out, buf_str(&text), e);
}

static int make_or_file(const char *s, cli_read_fn *read_fn, json_t **out, struct err *e)
{
	CLEANUP_STR char *text = NULL;

	if (cli_read_value(s, read_fn, &text, e) < 0)
		return -1;
	/* The wrong file: it must not leave this machine. */
	if (strstr(text, "PRIVATE KEY") && ssh_key_check(text, e) < 0)
		return -1;
	return set_text(out, text, e);
}

static int make_disk(const char *s, json_t **out, struct err *e)
{
	CLEANUP_STR char *class = NULL;
	int64_t size_gib;

	if (cli_disk_parse(s, &size_gib, &class, e) < 0)
		return -1;
	*out = json_pack("{s:I, s:s*}", "size_gib", (json_int_t)size_gib, "class", class);
	return *out ? 0 : err_set(e, ERR_INVALID, "it is not valid UTF-8");
}

/* Of a class that the option says. */
static int make_disk_of(const char *s, const char *class, json_t **out, struct err *e)
{
	int64_t size_gib;

	if (cli_size_parse(s, GIB, "GiB", &size_gib, e) < 0)
		return -1;
	*out = json_pack("{s:I, s:s}", "size_gib", (json_int_t)size_gib, "class", class);
	return 0;
}

static int make_label(const char *s, json_t **out, struct err *e)
{
	CLEANUP_STR char *name = NULL;
	CLEANUP_STR char *value = NULL;

	if (cli_label_parse(s, &name, &value, e) < 0)
		return -1;
	*out = json_object();
	if (json_object_set_new(*out, name, json_string(value)) == 0)
		return 0;
	json_decref(*out);
	return err_set(e, ERR_INVALID, "it is not valid UTF-8");
}

int cli_network_body(const char *s, json_t **out, struct err *e)
{
	CLEANUP_STR char *name = NULL;
	int64_t rate_mbit;

	if (cli_network_parse(s, &name, &rate_mbit, e) < 0)
		return -1;
	*out = json_pack("{s:s}", "network", name);
	if (!*out)
		return err_set(e, ERR_INVALID, "it is not valid UTF-8");
	if (rate_mbit > 0)
		json_object_set_new(*out, "rate_mbit", json_integer(rate_mbit));
	return 0;
}

static int make_ingress(const char *s, json_t **out, struct err *e)
{
	CLEANUP(strv_done) struct strv parts = { 0 };

	if (cli_ingress_parse(s, &parts, e) < 0)
		return -1;
	*out = json_array();
	for (size_t i = 0; i < parts.len; i++)
		json_array_append_new(*out, json_string(parts.v[i]));
	return 0;
}

static int make_number(const struct cli_given *g, json_t **out, struct err *e)
{
	int64_t n = 0;
	int r;

	if (g->opt->kind == CLI_INT)
		r = parse_int64(g->value, 0, INT64_MAX, &n, e);
	else if (g->opt->kind == CLI_DURATION)
		r = parse_duration(g->value, &n, e);
	else if (g->opt->kind == CLI_MIB)
		r = cli_size_parse(g->value, MIB, "MiB", &n, e);
	else
		r = cli_size_parse(g->value, GIB, "GiB", &n, e);
	if (r < 0)
		return -1;
	*out = json_integer(n);
	return 0;
}

static int make_value(
	const struct cli_given *g, cli_read_fn *read_fn, json_t **out, struct err *e)
{
	switch (g->opt->kind) {
	case CLI_FLAG:
		*out = json_true();
		return 0;
	case CLI_EMPTY:
		*out = json_object();
		return 0;
	case CLI_BOOL:
		*out = json_boolean(str_eq(g->value, "yes"));
		return 0;
	case CLI_NULL:
		*out = json_null();
		return 0;
	case CLI_INT:
	case CLI_MIB:
	case CLI_GIB:
	case CLI_DURATION:
		return make_number(g, out, e);
	case CLI_DISK:
		return make_disk(g->value, out, e);
	case CLI_BOOT_DISK:
		return make_disk_of(g->value, "ssd", out, e);
	case CLI_HDD:
		return make_disk_of(g->value, "hdd", out, e);
	case CLI_LABEL:
		return make_label(g->value, out, e);
	case CLI_FILE:
		return make_file_text(g->value, read_fn, out, e);
	case CLI_OR_FILE:
		return make_or_file(g->value, read_fn, out, e);
	case CLI_NETWORK:
		return cli_network_body(g->value, out, e);
	case CLI_INGRESS:
		return make_ingress(g->value, out, e);
	default:
		return set_text(out, g->value, e);
	}
}

/* The object that holds the last part of "a.b.c", made on the way; *last is that part. */
static json_t *object_for(json_t *body, const char *member, const char **last)
{
	const char *dot;

	while ((dot = strchr(member, '.')) != NULL) {
		CLEANUP_STR char *part = xstrndup(member, (size_t)(dot - member));
		json_t *next = json_object_get(body, part);

		if (!json_is_object(next)) {
			next = json_object();
			json_object_set_new(body, part, next);
		}
		body = next;
		member = dot + 1;
	}
	*last = member;
	return body;
}

/* Takes value. */
static void put_value(json_t *body, const struct cli_opt *opt, json_t *value)
{
	const char *name;
	json_t *at = object_for(body, opt->member, &name), *old;

	old = json_object_get(at, name);
	if (opt->kind == CLI_BOOT_DISK) {
		if (!json_is_array(old)) {
			old = json_array();
			json_object_set_new(at, name, old);
		}
		json_array_insert_new(old, 0, value);
	} else if (!(opt->flags & CLI_MANY)) {
		json_object_set_new(at, name, value);
	} else if (opt->kind == CLI_LABEL && json_is_object(old)) {
		json_object_update(old, value);
		json_decref(value);
	} else if (opt->kind == CLI_INGRESS && json_is_array(old)) {
		json_array_extend(old, value);
		json_decref(value);
	} else if (opt->kind == CLI_LABEL || opt->kind == CLI_INGRESS) {
		json_object_set_new(at, name, value);
	} else {
		if (!json_is_array(old)) {
			old = json_array();
			json_object_set_new(at, name, old);
		}
		json_array_append_new(old, value);
	}
}

int cli_body_make(
	const struct cli_args *a, cli_read_fn *read_fn, json_t **out, struct err *e)
{
	json_t *body = json_object(), *value;

	for (size_t i = 0; i < a->n_given; i++) {
		const struct cli_given *g = &a->given[i];

		if (!g->opt->member || (g->opt->flags & CLI_QUERY))
			continue;
		if (make_value(g, read_fn, &value, e) < 0) {
			json_decref(body);
			return err_wrap(e, "--%s", g->opt->name);
		}
		put_value(body, g->opt, value);
	}
	*out = body;
	return 0;
}
