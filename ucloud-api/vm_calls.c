/*
 * Calls about VMs.
 */
#include <pthread.h>
#include <string.h>

#include "common/base/parse.h"
#include "common/model/names.h"
#include "ucloud-api/api.h"
#include "ucloud-api/calls.h"
#include "ucloud-api/console.h"

enum { CONSOLE_LIMIT_MSEC = 10 * 1000, CONSOLES_MAX = 4 };

struct force {
	bool is_force;
};
static const struct jtab_field force_fields[] = {
	{ "force", JT_BOOL, offsetof(struct force, is_force),
		.help = "do not wait for the guest: pull the plug" },
	{ 0 },
};
const struct jtab force_jtab = { "force", sizeof(struct force), force_fields };

static const struct jtab_field explain_fields[] = {
	{ "status", JT_ENUM, offsetof(struct vm, status), JT_ALWAYS,
		.names = vm_status_names },
	{ "hostname", JT_STR, offsetof(struct vm, hostname), JT_ALWAYS },
	{ "why", JT_STR, offsetof(struct vm, why), JT_ALWAYS,
		.help = "the scheduler's last word: why it is there, or why it still "
			"waits" },
	{ "log", JT_LIST, offsetof(struct vm, log), JT_ALWAYS, .sub = &vm_log_jtab },
	{ 0 },
};
const struct jtab explain_jtab = { "explanation", sizeof(struct vm), explain_fields };

/* What a host answers; only described here, passed on as it is. */
struct console {
	char *text;
	int64_t time;
	bool is_cut;
};
static const struct jtab_field console_fields[] = {
	{ "text", JT_STR, offsetof(struct console, text), JT_TEXT | JT_ALWAYS,
		.help = "the last 64 KiB of the serial console" },
	{ "time", JT_TIME, offsetof(struct console, time) },
	{ "is_cut", JT_BOOL, offsetof(struct console, is_cut), JT_ALWAYS,
		.help = "there was more before" },
	{ 0 },
};
const struct jtab console_jtab = { "console", sizeof(struct console), console_fields };

char *call_vm_ref(struct call *c)
{
	const char *owner = httpd_query(c->req, "owner");

	return owner ? xasprintf("%s:%s", owner, c->params[0]) : xstrdup(c->params[0]);
}

enum route_result answer_vm(struct call *c, int status, const struct vm *vm)
{
	return answer_json(c, status, vm_json(vm));
}

/* ---------------------------------------------------------------- create, list, show */

enum route_result call_vm_create(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	int r = orders_vm_create(c->api->orders, &c->who, c->body,
		httpd_header(c->req, "Idempotency-Key"), c->now, &vm, e);

	if (r < 0)
		return ROUTE_FAILED;
	return answer_made(c, r, 202, "/v1/vms", vm.uuid, vm_json(&vm));
}

/* Whose VMs: one's own; an admin may ask for others', for all, for those on a host. */
static int list_filter(
	struct call *c, struct vm_filter *f, char **owner, char **realm, struct err *e)
{
	const char *status = httpd_query(c->req, "status");
	bool is_all;

	f->status = -1;
	f->host = httpd_query(c->req, "host");
	f->name_prefix = httpd_query(c->req, "name");
	if (call_flag(c, "all", &is_all, e) < 0 ||
		call_user_ref(c, "owner", httpd_query(c->req, "owner"), owner, realm, e) <
			0)
		return -1;
	if (status && (f->status = names_find(vm_status_names, status)) < 0)
		return err_set_field(e, ERR_INVALID, "status",
			"\"%.60s\" is no status of a VM", status);
	if (f->host && hostname_check(f->host, NULL) < 0)
		return err_set_field(
			e, ERR_INVALID, "host", "\"%.60s\" is no host name", f->host);
	if (f->name_prefix &&
		(strlen(f->name_prefix) > 63 ||
			strspn(f->name_prefix, "abcdefghijklmnopqrstuvwxyz0123456789-") !=
				strlen(f->name_prefix)))
		return err_set_field(e, ERR_INVALID, "name",
			"\"%.60s\" is not the beginning of a VM's name", f->name_prefix);
	if ((is_all || *owner) && !c->who.is_admin &&
		(is_all || !str_eq(*owner, c->who.name) || !str_eq(*realm, c->who.realm)))
		return err_set_field(e, ERR_DENIED, is_all ? "all" : "owner",
			"only admins may list others' VMs");
	f->owner = *owner ? *owner : c->who.name;
	f->realm = *realm ? *realm : c->who.realm;
	if (is_all || (!*owner && f->host && c->who.is_admin))
		f->owner = f->realm = NULL;
	if (!f->owner && f->name_prefix)
		return err_set_field(e, ERR_INVALID, "name",
			"names can be looked up among one owner's VMs only");
	return 0;
}

enum route_result call_vm_list(struct call *c, struct err *e)
{
	CLEANUP_STR char *owner = NULL;
	CLEANUP_STR char *realm = NULL;
	struct vm_filter f = { 0 };
	struct list_range range;
	struct list_page page = { 0 };

	/* A uuid fits a name's rule, too. */
	if (list_filter(c, &f, &owner, &realm, e) < 0 ||
		call_range(c, f.owner ? name_check : uuid_check, &range, e) < 0 ||
		list_vms(c->api->kv, &c->api->conf->keys, &f, &range, &page, e) < 0)
		return ROUTE_FAILED;
	return answer_list(c, "vms", &page);
}

static enum route_result wait_for(
	struct call *c, const char *uuid, int want, struct err *e)
{
	const char *timeout = httpd_query(c->req, "timeout");
	int64_t sec = WAIT_SEC_DEFAULT;

	if (timeout && (parse_int64(timeout, 0, WAIT_SEC_MAX, &sec, e) < 0))
		return err_set_field(e, ERR_INVALID, "timeout",
			"timeout must be a number of seconds from 0 to %d", WAIT_SEC_MAX);
	if (waits_park(c->api->waits, c->req, &c->who, uuid, want, sec, e) < 0)
		return ROUTE_FAILED;
	return ROUTE_PARKED;
}

enum route_result call_vm_show(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);
	const char *wait = httpd_query(c->req, "wait");
	int r, want = 0;

	if (wait && wait_parse(wait, &want, e) < 0)
		return ROUTE_FAILED;
	r = orders_vm_get(c->api->orders, &c->who, ref, &vm, e);
	if (r < 0 && wait && want == (int)WAIT_DELETED && e->kind == ERR_NOT_FOUND)
		return answer_json(c, 200, json_pack("{s:s}", "status", "DELETED"));
	if (r < 0)
		return ROUTE_FAILED;
	if (wait)
		return wait_for(c, vm.uuid, want, e);
	return answer_vm(c, 200, &vm);
}

/* ---------------------------------------------------------------- change */

enum route_result call_vm_patch(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);

	if (orders_vm_patch(c->api->orders, &c->who, ref, c->body, c->now, &vm, e) < 0)
		return ROUTE_FAILED;
	return answer_vm(c, 200, &vm);
}

enum route_result call_vm_delete(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);

	if (orders_vm_delete(c->api->orders, &c->who, ref, c->now, &vm, e) < 0)
		return ROUTE_FAILED;
	return answer_vm(c, 202, &vm);
}

static int read_force(struct call *c, bool *is_force, struct err *e)
{
	struct force f = { 0 };

	if (c->body && jtab_parse(&force_jtab, c->body, JTAB_INPUT, &f, e) < 0)
		return -1;
	*is_force = f.is_force;
	return 0;
}

enum route_result call_vm_start(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);
	bool is_force;
	int r;

	if (read_force(c, &is_force, e) < 0)
		return ROUTE_FAILED;
	r = orders_vm_start(c->api->orders, &c->who, ref, c->now, &vm, e);
	return r < 0 ? ROUTE_FAILED : answer_vm(c, r == 0 ? 202 : 200, &vm);
}

enum route_result call_vm_stop(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);
	bool is_force;
	int r;

	if (read_force(c, &is_force, e) < 0)
		return ROUTE_FAILED;
	r = orders_vm_stop(c->api->orders, &c->who, ref, is_force, c->now, &vm, e);
	return r < 0 ? ROUTE_FAILED : answer_vm(c, r == 0 ? 202 : 200, &vm);
}

enum route_result call_vm_reboot(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);
	bool is_force;
	int r;

	if (read_force(c, &is_force, e) < 0)
		return ROUTE_FAILED;
	r = orders_vm_reboot(c->api->orders, &c->who, ref, is_force, c->now, &vm, e);
	return r < 0 ? ROUTE_FAILED : answer_vm(c, r == 0 ? 202 : 200, &vm);
}

/* ---------------------------------------------------------------- explain, console */

enum route_result call_vm_explain(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);

	if (orders_vm_get(c->api->orders, &c->who, ref, &vm, e) < 0)
		return ROUTE_FAILED;
	return answer_entry(c, 200, &explain_jtab, &vm);
}

/* Each of these calls keeps a worker until the host has answered. */
static int console_begin(struct api *api, struct err *e)
{
	bool is_free;

	pthread_mutex_lock(&api->lock);
	is_free = api->n_consoles < CONSOLES_MAX;
	api->n_consoles += is_free;
	pthread_mutex_unlock(&api->lock);
	if (is_free)
		return 0;
	return err_set(e, ERR_TOO_MANY,
		"%d consoles are being asked for just now: try again in a few seconds",
		CONSOLES_MAX);
}

static void console_end(struct api *api)
{
	pthread_mutex_lock(&api->lock);
	api->n_consoles--;
	pthread_mutex_unlock(&api->lock);
}

enum route_result call_vm_console(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);
	json_t *json = NULL;
	const char *host;
	int r;

	if (orders_vm_get(c->api->orders, &c->who, ref, &vm, e) < 0)
		return ROUTE_FAILED;
	host = vm_has_host(&vm) ? vm.hostname : vm.disk_host;
	if (str_is_empty(host))
		return err_set(e, ERR_CONFLICT,
			"the VM \"%s\" is on no host: there is no console output of it",
			vm.name);
	if (console_begin(c->api, e) < 0)
		return ROUTE_FAILED;
	r = console_fetch(c->api->kv, host, vm.uuid, CONSOLE_LIMIT_MSEC, &json, e);
	console_end(c->api);
	if (r == 0)
		return answer_json(c, 200, json);
	/* 504 is the host's silence, and that alone. */
	if (e->kind != ERR_TIMEOUT)
		return ROUTE_FAILED;
	httpd_answer_err(c->req, e);
	return ROUTE_ANSWERED;
}
