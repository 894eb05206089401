/* Interfaces of VMs, and who uses a network, as lines. */
#include <string.h>

#include "ucloud-cli/view.h"

/* Behind two blanks, when there is something. */
static void add_cell(struct buf *out, const char *s)
{
	if (!*s)
		return;
	buf_add_str(out, "  ");
	cli_text_clean(s, strlen(s), out);
}

static void add_rate(struct buf *out, const json_t *nic)
{
	int64_t mbit = json_integer_value(json_object_get(nic, "rate_mbit"));

	if (mbit > 0 && mbit % 1000 == 0)
		buf_addf(out, "  %lld Gbit/s", (long long)(mbit / 1000));
	else if (mbit > 0)
		buf_addf(out, "  %lld Mbit/s", (long long)mbit);
}

static void add_nic(struct buf *out, size_t i, const json_t *nic)
{
	const char *name = cli_json_text(nic, CLI_NETWORK_NAME);

	buf_addf(out, "  %zu:", i);
	add_cell(out, cli_json_text(nic, "mac"));
	add_cell(out, *name ? name : cli_json_text(nic, "network"));
	add_cell(out, cli_json_text(nic, "address"));
	add_rate(out, nic);
	add_cell(out, json_is_true(json_object_get(nic, "leaving")) ? "(leaving)" : "");
}

static void add_user(struct buf *out, const json_t *user)
{
	const char *name = cli_json_text(user, "name");

	add_cell(out, *name ? name : cli_json_text(user, "uuid"));
	buf_addf(out, "  interface %lld",
		(long long)json_integer_value(json_object_get(user, "index")));
	add_cell(out, cli_json_text(user, "mac"));
	add_cell(out, cli_json_text(user, "address"));
}

static void add_place(struct buf *out, const json_t *place)
{
	const json_t *roles = json_object_get(place, "roles");
	const char *problem = cli_json_text(place, "problem");

	add_cell(out, cli_json_text(place, "hostname"));
	for (size_t i = 0; i < json_array_size(roles); i++)
		add_cell(out, json_string_value(json_array_get(roles, i))
				      ? json_string_value(json_array_get(roles, i))
				      : "");
	if (*problem)
		add_cell(out, "problem:");
	if (*problem)
		buf_add_char(out, ' ');
	cli_text_clean(problem, strlen(problem), out);
}

void cli_view_network_lines(enum cli_view_kind kind, const json_t *list, struct buf *out)
{
	json_t *item;
	size_t i;

	json_array_foreach (list, i, item) {
		if (kind == VIEW_NIC_LINES)
			add_nic(out, i, item);
		else if (kind == VIEW_NET_USERS)
			add_user(out, item);
		else
			add_place(out, item);
		buf_add_char(out, '\n');
	}
}
