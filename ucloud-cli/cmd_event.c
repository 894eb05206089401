/* event follow */
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/parse.h"
#include "ucloud-cli/cli.h"
#include "ucloud-cli/sse.h"

#define AGAIN_MSEC    1000
#define PATIENCE_MSEC 60000 /* with an API that does not answer, once it did */

struct follower {
	struct cli *c;
	bool was_there; /* an event has come */
	int64_t away_since;
};

static void json_done(json_t **j)
{
	json_decref(*j);
}

/* "2026-11-23T04:00:00Z  vm one: RUNNING on h1". The entry is the member named like the
 * event. */
static void print_change(const char *event, const json_t *json)
{
	const json_t *entry = json_object_get(json, event);
	const char *name = cli_json_text(entry, "name");
	const char *id = cli_json_text(json, "uuid");
	const char *host = cli_json_text(entry, "hostname");
	bool is_gone = str_eq(cli_json_text(json, "change"), "delete");
	CLEANUP_STR char *clean = NULL;
	CLEANUP_STR char *text = NULL;
	char now[TIME_STR_SIZE];

	if (!*name)
		name = *host ? host : (*id ? id : cli_json_text(json, "hostname"));
	if (!str_eq(event, "vm"))
		host = "";
	text = xasprintf("%s %s: %s%s%s", event, name,
		is_gone ? "deleted" : cli_json_text(entry, "status"), *host ? " on " : "",
		host);
	clean = cli_text_cleaned(text);
	time_format(clock_unix_sec(), now);
	printf("%s  %s\n", now, clean);
}

static int on_event(void *aux, const char *event, const char *data)
{
	struct follower *f = aux;
	CLEANUP(json_done) json_t *json = json_loads(data, JSON_REJECT_DUPLICATES, NULL);

	f->was_there = true;
	f->away_since = 0;
	if (!json_is_object(json) || str_eq(event, "reset"))
		return 0;
	if (f->c->is_json) {
		CLEANUP_STR char *line = json_dumps(json, JSON_COMPACT);

		puts(line);
	} else {
		print_change(event, json);
	}
	return fflush(stdout) != 0;
}

/* The connection has ended: is it worth another one? */
static bool may_go_on(struct follower *f, int result, const struct err *e)
{
	const struct cli_world *w = cli_client_world(f->c->client);
	int64_t now = clock_mono_msec();

	if (ferror(stdout) ||
		(result < 0 && (e->kind != ERR_UNAVAILABLE || !f->was_there)))
		return false;
	if (!f->away_since) {
		f->away_since = now;
		cli_note(f->c, "the connection has ended; what happens until there is a "
			       "new one is not seen");
	}
	if (result < 0 && now - f->away_since > PATIENCE_MSEC)
		return false;
	w->sleep_msec(w->aux, AGAIN_MSEC);
	return true;
}

int cli_event_follow(struct cli *c, const struct cli_args *a, struct err *e)
{
	struct follower f = { .c = c };
	int r;

	if (cli_need_client(c, a, e) < 0)
		return -1;
	do {
		CLEANUP(cli_sse_done) struct cli_sse sse = { .fn = on_event, .aux = &f };

		r = cli_stream(c->client, "/v1/events", cli_sse_feed, &sse, e);
	} while (may_go_on(&f, r, e));
	return r;
}
