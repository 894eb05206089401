/* What the commands share: see cli.h. */
#include "ucloud-cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "common/base/crypt.h"
#include "ucloud-cli/body.h"

int cli_need_client(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP(cli_conf_done) struct cli_conf conf = { 0 };
	CLEANUP_STR char *path = cli_conf_path(cli_args_get(a, "config"));

	if (c->client)
		return 0;
	if (cli_conf_load(path, cli_args_get(a, "api"), cli_args_get(a, "ca"), &conf, e) <
		0)
		return -1;
	c->client = cli_client_new(&conf, NULL);
	return 0;
}

void cli_done(struct cli *c)
{
	cli_client_free(c->client);
	*c = (struct cli){ 0 };
}

int cli_exit_status(enum err_kind kind)
{
	switch (kind) {
	case ERR_NONE:
		return CLI_EXIT_DONE;
	case ERR_UNAVAILABLE:
		return CLI_EXIT_UNREACHABLE;
	case ERR_TIMEOUT:
		return CLI_EXIT_TIMEOUT;
	default:
		return CLI_EXIT_FAILED;
	}
}

void cli_note(const struct cli *c, const char *fmt, ...)
{
	char text[1024];
	CLEANUP_STR char *clean = NULL;
	va_list ap;

	if (c->is_quiet)
		return;
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	clean = cli_text_cleaned(text);
	fprintf(stderr, "%s\n", clean);
}

char *cli_path(const char *collection, const char *name, const char *tail)
{
	CLEANUP_STR char *escaped = url_escape(name);

	return xasprintf("%s/%s%s", collection, escaped, tail);
}

void cli_print_json(json_t *json)
{
	char *text = json_dumps(json, JSON_ENCODE_ANY | JSON_INDENT(2));

	puts(text ? text : "null");
	free(text);
}

char *cli_with_query(const struct cli_args *a, char *path)
{
	for (size_t i = 0; i < a->n_given; i++) {
		const struct cli_given *g = &a->given[i];
		CLEANUP_STR char *value = NULL;

		if (!(g->opt->flags & CLI_QUERY))
			continue;
		value = url_escape(cli_opt_has_value(g->opt) ? g->value : "yes");
		str_set(&path, xasprintf("%s%s%s=%s", path, strchr(path, '?') ? "&" : "?",
				       g->opt->member, value));
	}
	return path;
}

char *cli_arg_path(const struct cli_args *a, const char *collection, const char *tail)
{
	return cli_with_query(a, cli_path(collection, a->arg, tail));
}

static void print_buf(struct buf *b)
{
	fwrite(buf_str(b), 1, b->size, stdout);
	buf_done(b);
}

/* The names of a list's entries, each on a line. */
static void print_names(const json_t *list)
{
	static const char *const names[] = { "name", "hostname", "filename", "uuid" };
	size_t i;
	json_t *entry;

	json_array_foreach (list, i, entry) {
		CLEANUP_STR char *clean = NULL;

		for (size_t k = 0; k < ARRAY_LEN(names) && !clean; k++)
			if (*cli_json_text(entry, names[k]))
				clean = cli_text_cleaned(cli_json_text(entry, names[k]));
		if (clean)
			puts(clean);
	}
}

int cli_list(struct cli *c, const struct cli_args *a, const char *collection,
	bool has_pages, const struct cli_field *columns, struct err *e)
{
	CLEANUP_STR char *path = cli_with_query(a, xstrdup(collection));
	struct buf out = { 0 };
	json_t *all;

	if (cli_need_client(c, a, e) < 0 ||
		cli_get_all(c->client, path, has_pages, &all, e) < 0)
		return -1;
	if (c->is_json) {
		cli_print_json(all);
	} else if (c->is_quiet) {
		print_names(cli_list_of(all, NULL));
	} else {
		cli_view_list(cli_list_of(all, NULL), columns, c->has_color, &out);
		print_buf(&out);
	}
	json_decref(all);
	return 0;
}

void cli_print_entry(const struct cli *c, json_t *entry, const struct cli_field *lines)
{
	struct buf out = { 0 };

	if (c->is_json) {
		cli_print_json(entry);
	} else {
		cli_view_entry(entry, lines, c->has_color, &out);
		print_buf(&out);
	}
}

int cli_show(struct cli *c, const struct cli_args *a, const char *path,
	const struct cli_field *lines, struct err *e)
{
	json_t *entry;

	if (cli_need_client(c, a, e) < 0 || cli_get(c->client, path, &entry, e) < 0)
		return -1;
	cli_print_entry(c, entry, lines);
	json_decref(entry);
	return 0;
}

/* The one given, or a random one in random[]; NULL for what does not take one. */
static const char *idempotency_key(const struct cli_args *a, char random[TOKEN_STR_SIZE])
{
	const char *given = cli_args_get(a, "idempotency-key");

	if (given || !cli_opt_find(a->cmd, "idempotency-key"))
		return given;
	token_new(random);
	return random;
}

char *cli_idempotency_key(const struct cli_args *a)
{
	char random[TOKEN_STR_SIZE];

	return xstrdup(idempotency_key(a, random));
}

int cli_create(struct cli *c, const struct cli_args *a, const char *collection,
	const char *what, const char *id, json_t **out, struct err *e)
{
	CLEANUP(cli_answer_done) struct cli_answer an = { 0 };
	char random[TOKEN_STR_SIZE];
	struct cli_call call = { .method = "POST", .path = collection };
	CLEANUP_STR char *shown = NULL;
	int r;

	call.idempotency_key = idempotency_key(a, random);
	if (cli_need_client(c, a, e) < 0 ||
		cli_body_make(a, cli_read_file, &call.body, e) < 0)
		return -1;
	r = cli_call(c->client, &call, &an, e);
	json_decref(call.body);
	if (r < 0)
		return -1;
	shown = cli_text_cleaned(cli_json_text(an.json, id));
	if (out)
		*out = MOVE(an.json);
	else if (c->is_json)
		cli_print_json(an.json);
	else if (c->is_quiet)
		puts(shown);
	else
		printf("%s %s is registered\n", what, shown);
	return 0;
}

int cli_change(struct cli *c, const struct cli_args *a, const char *method,
	const char *path, json_t *body, const char *done, json_t **out, struct err *e)
{
	CLEANUP(cli_answer_done) struct cli_answer an = { 0 };
	struct cli_call call = { .method = method, .path = path, .body = body };

	if (cli_need_client(c, a, e) < 0 || cli_call(c->client, &call, &an, e) < 0)
		return -1;
	if (out)
		*out = MOVE(an.json);
	else if (c->is_json && an.json)
		cli_print_json(an.json);
	else if (!c->is_quiet && !c->is_json)
		puts(done);
	return 0;
}

int cli_patch(struct cli *c, const struct cli_args *a, const char *path, const char *done,
	struct err *e)
{
	json_t *body;
	int r;

	if (cli_body_make(a, cli_read_file, &body, e) < 0)
		return -1;
	if (json_object_size(body) == 0)
		r = err_set(e, ERR_INVALID,
			"nothing is to be changed; \"ucloud-cli help %s %s\" shows what "
			"can be",
			a->cmd->noun, a->cmd->verb);
	else
		r = cli_change(c, a, "PATCH", path, body, done, NULL, e);
	json_decref(body);
	return r;
}
