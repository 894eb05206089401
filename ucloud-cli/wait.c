#include "ucloud-cli/wait.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/clock.h"

#define SLICE_TTY_SEC 2 /* of a long poll: how often the line changes */
#define SLICE_SEC     10
#define PATIENCE_MSEC 60000 /* with an API that does not answer */
#define SHORT_MSEC    500
/* Between two looks at a request: most end soon. */
#define PAUSE_FIRST_MSEC 50
#define PAUSE_MSEC	 1000
#define SPARE_MSEC	 15000 /* that an answer may take longer than its poll */

struct waiter {
	struct cli *c;
	const struct cli_wait *w;
	int64_t started, away_since; /* msec; away_since 0: the API answers */
	char *shown;		     /* the last line printed */
	json_t *vm;		     /* as it was seen last */
};

static const json_t *last_line(const json_t *vm)
{
	const json_t *log = json_object_get(vm, "log");
	size_t n = json_array_size(log);

	return n ? json_array_get(log, n - 1) : NULL;
}

const char *cli_vm_last_log(const json_t *vm)
{
	return cli_json_text(last_line(vm), "text");
}

static bool is_waiting_for_host(const json_t *vm)
{
	const char *status = cli_json_text(vm, "status");

	return str_eq(status, "REQUESTED_NEW") || str_eq(status, "REQUESTED_START");
}

const char *cli_vm_news(const json_t *vm)
{
	const char *why = cli_json_text(vm, "why");

	return is_waiting_for_host(vm) && *why ? why : cli_vm_last_log(vm);
}

enum cli_verdict cli_wait_judge(const json_t *vm, const json_t *first, const char *target)
{
	const char *status = cli_json_text(vm, "status");

	if (target && str_eq(status, target))
		return CLI_REACHED;
	if (!str_eq(status, "ERROR"))
		return CLI_GO_ON;
	if (str_eq(cli_json_text(first, "status"), "ERROR") &&
		json_equal(last_line(vm), last_line(first)))
		return CLI_GO_ON;
	return CLI_BROKEN;
}

static char *vm_news(const json_t *vm)
{
	return xstrdup(cli_vm_news(vm));
}

static char *vm_reason(const json_t *vm)
{
	return xstrdup(cli_vm_last_log(vm));
}

static char *image_news(const json_t *im)
{
	const json_t *progress = json_object_get(im, "progress");

	return str_eq(cli_json_text(im, "status"), "TO_BE_CREATED")
		       ? xasprintf("%lld %%", (long long)json_integer_value(progress))
		       : xstrdup("");
}

static char *stored_reason(const json_t *im)
{
	return xstrdup(cli_json_text(im, "reason"));
}

static char *no_news(const json_t *entry)
{
	(void)entry;
	return xstrdup("");
}

static const struct cli_wait_class wait_vms = { "/v1/vms", "VM", vm_news, vm_reason };
const struct cli_wait_class cli_wait_images = { "/v1/images", "image", image_news,
	stored_reason };
const struct cli_wait_class cli_wait_networks = { "/v1/networks", "network", no_news,
	stored_reason };

static const struct cli_wait_class *class_of(const struct waiter *wr)
{
	return wr->w->class ? wr->w->class : &wait_vms;
}

/* -------------------------------------------------------------- progress */

static int64_t seconds(const struct waiter *wr)
{
	return (clock_mono_msec() - wr->started) / 1000;
}

/* Columns of the terminal. */
static size_t tty_width(void)
{
	struct winsize w;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 30 ? w.ws_col : 80;
}

/* One line that changes; it must not be longer than the terminal is wide, or \r would not
 * come back to its beginning. */
static void show_tty(const struct waiter *wr, const char *line)
{
	size_t room = tty_width() - 12, len = strlen(line);

	while (len > room || (len > 0 && ((unsigned char)line[len] & 0xc0) == 0x80))
		len--;
	fprintf(stderr, "\r\x1b[K%.*s (%lld s)", (int)len, line, (long long)seconds(wr));
}

/* On a terminal the line changes; elsewhere there is a line for each change. */
static void show(struct waiter *wr, const char *status, const char *news)
{
	CLEANUP_STR char *text = NULL;
	CLEANUP_STR char *line = NULL;

	if (wr->c->is_quiet)
		return;
	text = xasprintf("%s %s: %s%s%.300s", class_of(wr)->noun, wr->w->name, status,
		*news ? ": " : "", news);
	line = cli_text_cleaned(text);
	if (wr->c->is_err_tty)
		show_tty(wr, line);
	else if (!str_eq(wr->shown, line))
		fprintf(stderr, "%s\n", line);
	fflush(stderr);
	str_set(&wr->shown, MOVE(line));
}

static void show_end(const struct waiter *wr)
{
	if (wr->shown && wr->c->is_err_tty)
		fputs("\r\x1b[K", stderr);
}

/* ------------------------------------------------------------- questions */

static int too_late(const struct waiter *wr, struct err *e)
{
	const char *status = cli_json_text(wr->vm, "status");
	CLEANUP_STR char *news = class_of(wr)->news(wr->vm);

	return err_set(e, ERR_TIMEOUT,
		"%s %s is still %s after %lld s%s%.400s; the order stands, only the "
		"waiting for it has ended",
		class_of(wr)->noun, wr->w->name, *status ? status : "under way",
		(long long)seconds(wr), *news ? ": " : "", news);
}

static int broken(const struct waiter *wr, struct err *e)
{
	CLEANUP_STR char *reason = class_of(wr)->reason(wr->vm);

	return err_set(e, ERR_CONFLICT, "%s %s is in ERROR: %s", class_of(wr)->noun,
		wr->w->name, reason);
}

/* One GET of the VM; 0 with a new wr->vm, NULL when it is gone. ERR_TIMEOUT: the long poll
 * has ended without the VM getting there. */
static int get_vm(struct waiter *wr, const char *tail, int64_t limit_msec, struct err *e)
{
	CLEANUP(cli_answer_done) struct cli_answer an = { 0 };
	CLEANUP_STR char *path = cli_path(class_of(wr)->collection, wr->w->uuid, tail);
	struct cli_call call = {
		.method = "GET", .path = path, .limit_msec = limit_msec
	};
	int r;

	r = cli_call(wr->c->client, &call, &an, e);
	if (r < 0 && e->kind != ERR_NOT_FOUND)
		return -1;
	json_decref(wr->vm);
	wr->vm = r == 0 ? MOVE(an.json) : NULL;
	if (str_eq(cli_json_text(wr->vm, "status"), "DELETED")) {
		json_decref(wr->vm);
		wr->vm = NULL;
	}
	return 0;
}

/* The next look at the VM: when it gets there, or after a while. */
static int look(struct waiter *wr, int64_t left_msec, struct err *e)
{
	int64_t slice = wr->c->is_err_tty ? SLICE_TTY_SEC : SLICE_SEC;
	CLEANUP_STR char *tail = NULL;

	if (slice > (left_msec + 999) / 1000)
		slice = (left_msec + 999) / 1000;
	tail = xasprintf("?wait=%s&timeout=%lld",
		wr->w->target ? wr->w->target : "DELETED", (long long)slice);
	if (get_vm(wr, tail, slice * 1000 + SPARE_MSEC, e) == 0)
		return 0;
	if (e->kind != ERR_TIMEOUT)
		return -1;
	return get_vm(wr, "", 0, e);
}

static void pause_msec(const struct waiter *wr, int64_t msec)
{
	const struct cli_world *world = cli_client_world(wr->c->client);

	world->sleep_msec(world->aux, msec);
}

/* An error while waiting: is it one that passes? */
static bool may_pass(struct waiter *wr, const struct err *e)
{
	int64_t now = clock_mono_msec();

	if (e->kind != ERR_UNAVAILABLE && e->kind != ERR_TOO_MANY)
		return false;
	if (!wr->away_since)
		wr->away_since = now;
	if (now - wr->away_since > PATIENCE_MSEC)
		return false;
	show(wr, "waiting", e->msg);
	pause_msec(wr, 1000);
	return true;
}

/* 0: it is so; 1: not yet. */
static int judge(struct waiter *wr, struct err *e)
{
	if (!wr->vm)
		return wr->w->target
			       ? err_set(e, ERR_CONFLICT, "%s %s was deleted meanwhile",
					 class_of(wr)->noun, wr->w->name)
			       : 0;
	CLEANUP_STR char *news = class_of(wr)->news(wr->vm);

	switch (cli_wait_judge(wr->vm, wr->w->first, wr->w->target)) {
	case CLI_REACHED:
		return 0;
	case CLI_BROKEN:
		return broken(wr, e);
	default:
		show(wr, cli_json_text(wr->vm, "status"), news);
		return 1;
	}
}

static int wait_loop(struct waiter *wr, struct err *e)
{
	int64_t limit = wr->w->limit_sec * 1000, left;
	int r;

	if (wr->vm && (r = judge(wr, e)) <= 0)
		return r;
	while ((left = limit - (clock_mono_msec() - wr->started)) > 0) {
		if (look(wr, left, e) < 0) {
			if (!may_pass(wr, e))
				return -1;
			continue;
		}
		wr->away_since = 0;
		r = judge(wr, e);
		if (r <= 0)
			return r;
		/* Polls that end at once must not become a busy loop. */
		if (limit - (clock_mono_msec() - wr->started) > left - SHORT_MSEC)
			pause_msec(wr, SHORT_MSEC);
	}
	return too_late(wr, e);
}

/* Until no request is open: there is no long poll for that. */
static int wait_request(struct waiter *wr, struct err *e)
{
	CLEANUP_STR char *path = cli_path("/v1/requests", wr->w->uuid, "");
	int64_t limit = wr->w->limit_sec * 1000;
	int64_t pause = PAUSE_FIRST_MSEC;
	json_t *request;

	while (clock_mono_msec() - wr->started < limit) {
		if (cli_get(wr->c->client, path, &request, e) == 0) {
			show(wr, cli_json_text(request, "type"),
				cli_json_text(request, "last_error"));
			json_decref(request);
			wr->away_since = 0;
			pause_msec(wr, pause);
			pause = pause < PAUSE_MSEC / 2 ? 2 * pause : PAUSE_MSEC;
		} else if (e->kind == ERR_NOT_FOUND) {
			return 0;
		} else if (!may_pass(wr, e)) {
			return -1;
		}
	}
	return too_late(wr, e);
}

int cli_wait_request(struct cli *c, const struct cli_wait *w, json_t **out, struct err *e)
{
	struct waiter wr = { .c = c, .w = w, .started = clock_mono_msec() };
	int r = wait_request(&wr, e);

	while (r == 0 && get_vm(&wr, "", 0, e) < 0)
		if (!may_pass(&wr, e))
			r = -1;
	show_end(&wr);
	free(wr.shown);
	if (r == 0)
		*out = MOVE(wr.vm);
	json_decref(wr.vm);
	return r;
}

int cli_wait_vm(struct cli *c, const struct cli_wait *w, json_t **out, struct err *e)
{
	struct waiter wr = { .c = c, .w = w, .started = clock_mono_msec() };
	int r = 0;

	if (w->is_request)
		r = wait_request(&wr, e);
	else if (w->first)
		wr.vm = json_incref((json_t *)(uintptr_t)w->first);
	if (r == 0)
		r = wait_loop(&wr, e);
	show_end(&wr);
	free(wr.shown);
	if (r == 0)
		*out = MOVE(wr.vm);
	json_decref(wr.vm);
	return r;
}
