#include "ucloud-cli/view.h"

#include <string.h>

json_t *cli_json_at(const json_t *json, const char *path)
{
	const char *dot;

	while ((dot = strchr(path, '.')) != NULL) {
		json = json_object_getn(json, path, (size_t)(dot - path));
		path = dot + 1;
	}
	return json_object_get(json, path);
}

const char *cli_json_text(const json_t *json, const char *path)
{
	const char *s = json_string_value(cli_json_at(json, path));

	return s ? s : "";
}

enum cli_color cli_status_color(const char *status)
{
	static const char *const green[] = { "RUNNING", "ALIVE", "CREATED", "ACTIVE",
		NULL };
	static const char *const red[] = { "ERROR", "KILLED", "DEAD", NULL };

	for (size_t i = 0; green[i]; i++)
		if (str_eq(green[i], status))
			return CLI_GREEN;
	for (size_t i = 0; red[i]; i++)
		if (str_eq(red[i], status))
			return CLI_RED;
	return CLI_PLAIN;
}

/* ---------------------------------------------------------------- values */

static void add_clean(struct buf *out, const char *s)
{
	cli_text_clean(s, strlen(s), out);
}

static void add_scalar(const json_t *v, struct buf *out)
{
	if (json_is_string(v))
		cli_text_clean(json_string_value(v), json_string_length(v), out);
	else if (json_is_integer(v))
		buf_addf(out, "%lld", (long long)json_integer_value(v));
	else if (json_is_real(v))
		buf_addf(out, "%g", json_real_value(v));
	else if (json_is_boolean(v))
		buf_add_str(out, json_is_true(v) ? "yes" : "no");
}

static void add_mib(int64_t n, struct buf *out)
{
	if (n >= 1024 && n % 1024 == 0)
		buf_addf(out, "%lld GiB", (long long)(n / 1024));
	else
		buf_addf(out, "%lld MiB", (long long)n);
}

static void add_gib(int64_t n, struct buf *out)
{
	if (n < 0)
		buf_add_str(out, "unknown");
	else
		buf_addf(out, "%lld GiB", (long long)n);
}

static void add_bytes(int64_t n, struct buf *out)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
	size_t u = 0;
	double x = (double)n;

	if (n <= 0)
		return;
	while (x >= 1024 && u + 1 < ARRAY_LEN(units)) {
		x /= 1024;
		u++;
	}
	buf_addf(out, x == (double)(int64_t)x ? "%.0f %s" : "%.1f %s", x, units[u]);
}

static void add_labels(const json_t *v, struct buf *out)
{
	const char *name;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)v, name, value) {
		buf_add_str(out, out->size > 0 ? ", " : "");
		add_clean(out, name);
		buf_add_char(out, '=');
		add_scalar(value, out);
	}
}

static void add_disks(const json_t *v, struct buf *out)
{
	size_t i;
	json_t *disk;

	json_array_foreach (v, i, disk) {
		const char *class = cli_json_text(disk, "class");

		buf_addf(out, "%s%lld: ", i ? ", " : "",
			(long long)json_integer_value(json_object_get(disk, "index")));
		add_gib(json_integer_value(json_object_get(disk, "size_gib")), out);
		buf_add_str(out, *class ? " " : "");
		add_clean(out, class);
		if (json_is_true(json_object_get(disk, "leaving")))
			buf_add_str(out, " (leaving)");
	}
}

static void add_snapshots(const json_t *v, struct buf *out)
{
	size_t i;
	json_t *snapshot;

	json_array_foreach (v, i, snapshot) {
		const char *state = cli_json_text(snapshot, "state");

		buf_add_str(out, i ? ", " : "");
		add_clean(out, cli_json_text(snapshot, "name"));
		if (str_eq(state, "ready"))
			continue;
		buf_add_str(out, " (");
		add_clean(out, state);
		buf_add_char(out, ')');
	}
}

static void add_disk_sum(const json_t *v, struct buf *out)
{
	int64_t sum = 0;
	size_t i;
	json_t *disk;

	json_array_foreach (v, i, disk)
		sum += json_integer_value(json_object_get(disk, "size_gib"));
	if (json_array_size(v) > 0)
		add_gib(sum, out);
}

static void add_nics(const json_t *v, struct buf *out)
{
	size_t i;
	json_t *nic;

	json_array_foreach (v, i, nic) {
		const char *address = cli_json_text(nic, "address");

		buf_add_str(out, i ? ", " : "");
		add_clean(out, *address ? address : cli_json_text(nic, "mac"));
	}
}

static void add_strings(const json_t *v, struct buf *out)
{
	size_t i;
	json_t *s;

	json_array_foreach (v, i, s) {
		buf_add_str(out, i ? ", " : "");
		add_scalar(s, out);
	}
}

static void add_ingress(const json_t *entry, const json_t *v, struct buf *out)
{
	if (!json_is_true(json_object_get(entry, "closed")))
		return;
	if (json_array_size(v) == 0)
		buf_add_str(out, "nothing");
	add_strings(v, out);
}

static void add_stores(const json_t *v, struct buf *out)
{
	size_t i;
	json_t *store;

	json_array_foreach (v, i, store) {
		int64_t total = json_integer_value(json_object_get(store, "total_gib"));

		buf_add_str(out, i ? ", " : "");
		add_clean(out, cli_json_text(store, "name"));
		if (total >= 0)
			buf_addf(out, " (free %lld of %lld GiB)",
				(long long)json_integer_value(
					json_object_get(store, "free_gib")),
				(long long)total);
	}
}

/* "ssh-ed25519 AAAA... me@home": the type and the comment tell them apart. */
static void add_keys(const json_t *v, struct buf *out)
{
	size_t i;
	json_t *key;

	json_array_foreach (v, i, key) {
		const char *s = json_string_value(key), *comment;

		if (!s)
			continue;
		comment = strchr(s, ' ');
		comment = comment ? strchr(comment + 1, ' ') : NULL;
		buf_add_str(out, i ? ", " : "");
		cli_text_clean(s, strcspn(s, " "), out);
		add_clean(out, comment ? comment : "");
	}
}

static void add_owner(const json_t *entry, struct buf *out)
{
	if (!*cli_json_text(entry, "owner"))
		return;
	add_clean(out, cli_json_text(entry, "owner"));
	buf_add_char(out, '@');
	add_clean(out, cli_json_text(entry, "owner_realm"));
}

/* Kinds whose value is a number. */
static void add_number(enum cli_view_kind kind, int64_t n, struct buf *out)
{
	if (kind == VIEW_MIB)
		add_mib(n, out);
	else if (kind == VIEW_GIB)
		add_gib(n, out);
	else if (kind == VIEW_BYTES)
		add_bytes(n, out);
	else
		buf_addf(out, kind == VIEW_PERCENT ? "%lld %%" : "%lld", (long long)n);
}

static void add_progress(const json_t *entry, const json_t *v, struct buf *out)
{
	if (str_eq(cli_json_text(entry, "status"), "TO_BE_CREATED"))
		buf_addf(out, "%lld %%", (long long)json_integer_value(v));
}

char *cli_view_text(const json_t *entry, const struct cli_field *f)
{
	const json_t *v = cli_json_at(entry, f->path);
	struct buf out = { 0 };

	if (f->kind == VIEW_OWNER)
		add_owner(entry, &out);
	else if (f->kind == VIEW_PROGRESS)
		add_progress(entry, v, &out);
	else if (f->kind == VIEW_LABELS)
		add_labels(v, &out);
	else if (f->kind == VIEW_DISKS)
		add_disks(v, &out);
	else if (f->kind == VIEW_DISK_SUM)
		add_disk_sum(v, &out);
	else if (f->kind == VIEW_SNAPSHOTS)
		add_snapshots(v, &out);
	else if (f->kind == VIEW_NICS)
		add_nics(v, &out);
	else if (f->kind == VIEW_STRINGS)
		add_strings(v, &out);
	else if (f->kind == VIEW_INGRESS)
		add_ingress(entry, v, &out);
	else if (f->kind == VIEW_STORES)
		add_stores(v, &out);
	else if (f->kind == VIEW_KEYS)
		add_keys(v, &out);
	else if (f->kind == VIEW_YES)
		buf_add_str(&out, json_is_true(v) ? "yes" : "");
	else if (f->kind == VIEW_BOOL)
		buf_add_str(&out, json_is_true(v) ? "yes" : "no");
	else if (json_is_integer(v) && f->kind != VIEW_TEXT)
		add_number(f->kind, json_integer_value(v), &out);
	else
		add_scalar(v, &out);
	return buf_take(&out);
}

/* ------------------------------------------------------------ the layout */

static size_t count_fields(const struct cli_field *f)
{
	size_t n = 0;

	while (f[n].title)
		n++;
	return n;
}

void cli_view_list(const json_t *list, const struct cli_field *columns, bool has_color,
	struct buf *out)
{
	struct cli_table t = { .n_cols = count_fields(columns) };
	struct cli_cell *cells = xcalloc(t.n_cols, sizeof(*cells));
	size_t i;
	json_t *entry;

	for (size_t c = 0; c < t.n_cols; c++)
		cells[c] = (struct cli_cell){ xstrdup(columns[c].title), CLI_PLAIN };
	cli_table_add(&t, cells);
	json_array_foreach (list, i, entry) {
		for (size_t c = 0; c < t.n_cols; c++) {
			cells[c].text = cli_view_text(entry, &columns[c]);
			cells[c].color = columns[c].kind == VIEW_STATUS
						 ? cli_status_color(cells[c].text)
						 : CLI_PLAIN;
		}
		cli_table_add(&t, cells);
	}
	cli_table_format(&t, has_color, out);
	cli_table_done(&t);
	free(cells);
}

void cli_view_log(const json_t *log, const char *indent, struct buf *out)
{
	size_t i;
	json_t *line;

	json_array_foreach (log, i, line) {
		buf_add_str(out, indent);
		add_clean(out, cli_json_text(line, "time"));
		buf_add_str(out, "  ");
		add_clean(out, cli_json_text(line, "text"));
		buf_add_char(out, '\n');
	}
}

static bool is_lines(enum cli_view_kind kind)
{
	return kind == VIEW_LOG || kind == VIEW_NIC_LINES || kind == VIEW_NET_USERS ||
	       kind == VIEW_NET_PLACES;
}

static void add_lines(const struct cli_field *f, const json_t *list, struct buf *out)
{
	if (json_array_size(list) == 0)
		return;
	buf_addf(out, "%s:\n", f->title);
	if (f->kind == VIEW_LOG)
		cli_view_log(list, "  ", out);
	else
		cli_view_network_lines(f->kind, list, out);
}

void cli_view_entry(const json_t *entry, const struct cli_field *lines, bool has_color,
	struct buf *out)
{
	for (const struct cli_field *f = lines; f->title; f++) {
		CLEANUP_STR char *text = NULL;
		enum cli_color color;

		if (is_lines(f->kind)) {
			add_lines(f, cli_json_at(entry, f->path), out);
			continue;
		}
		text = cli_view_text(entry, f);
		if (!*text)
			continue;
		color = f->kind == VIEW_STATUS && has_color ? cli_status_color(text)
							    : CLI_PLAIN;
		buf_addf(out, "%s: %s%s%s\n", f->title,
			color == CLI_GREEN ? "\x1b[32m"
					   : (color == CLI_RED ? "\x1b[31m" : ""),
			text, color == CLI_PLAIN ? "" : "\x1b[0m");
	}
}
