/*
 * Calls about networks.
 */
#include <string.h>

#include "common/model/names.h"
#include "ucloud-api/api.h"
#include "ucloud-api/calls.h"
#include "ucloud-api/network_use.h"

enum route_result call_network_create(struct call *c, struct err *e)
{
	CLEANUP(network_done) struct network n = { 0 };
	int r = orders_network_create(c->api->orders, &c->who, c->body,
		httpd_header(c->req, "Idempotency-Key"), c->now, &n, e);

	if (r < 0)
		return ROUTE_FAILED;
	return answer_made(
		c, r, 202, "/v1/networks", n.uuid, jtab_format_public(&network_jtab, &n));
}

/* Whose: one's own; an admin may ask for others', or for all (*is_all). */
static int list_owner(
	struct call *c, char **owner, char **realm, bool *is_all, struct err *e)
{
	if (call_flag(c, "all", is_all, e) < 0 ||
		call_user_ref(c, "owner", httpd_query(c->req, "owner"), owner, realm, e) <
			0)
		return -1;
	if (!*owner) {
		*owner = xstrdup(c->who.name);
		*realm = xstrdup(c->who.realm);
	}
	if (!c->who.is_admin && (*is_all || !str_eq(*owner, c->who.name) ||
					!str_eq(*realm, c->who.realm)))
		return err_set_field(e, ERR_DENIED, *is_all ? "all" : "owner",
			"only admins may list others' networks");
	return 0;
}

enum route_result call_network_list(struct call *c, struct err *e)
{
	CLEANUP_STR char *owner = NULL;
	CLEANUP_STR char *realm = NULL;
	struct list_range range;
	struct list_page page = { 0 };
	bool is_all;

	if (list_owner(c, &owner, &realm, &is_all, e) < 0 ||
		call_range(c, is_all ? uuid_check : name_check, &range, e) < 0 ||
		list_networks(c->api->kv, &c->api->conf->keys, is_all ? NULL : owner,
			realm, &range, &page, e) < 0)
		return ROUTE_FAILED;
	return answer_list(c, "networks", &page);
}

/* The entry, and what else there is to say. */
static enum route_result answer_use(
	struct call *c, const struct network *n, struct err *e)
{
	json_t *json;

	if (network_use_json(c->api->kv, &c->api->conf->keys, n, &json, e) < 0)
		return ROUTE_FAILED;
	return answer_json(c, 200, json);
}

enum route_result call_network_show(struct call *c, struct err *e)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);
	const char *wait = httpd_query(c->req, "wait");
	int want = 0, r;
	int64_t sec;

	if ((wait && wait_parse_network(wait, &want, e) < 0) ||
		call_timeout(c, &sec, e) < 0)
		return ROUTE_FAILED;
	r = orders_network_get(c->api->orders, &c->who, ref, &n, e);
	if (r < 0 && want == (int)WAIT_NETWORK_DELETED && e->kind == ERR_NOT_FOUND)
		return answer_json(c, 200, json_pack("{s:s}", "status", "DELETED"));
	if (r < 0)
		return ROUTE_FAILED;
	if (!wait)
		return answer_use(c, &n, e);
	if (waits_park_network(c->api->waits, c->req, &c->who, n.uuid, want, sec, e) < 0)
		return ROUTE_FAILED;
	return ROUTE_PARKED;
}

enum route_result call_network_patch(struct call *c, struct err *e)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);

	if (orders_network_patch(c->api->orders, &c->who, ref, c->body, &n, e) < 0)
		return ROUTE_FAILED;
	return answer_entry(c, 200, &network_jtab, &n);
}

enum route_result call_network_delete(struct call *c, struct err *e)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);
	int r = orders_network_delete(c->api->orders, &c->who, ref, c->now, &n, e);

	if (r < 0)
		return ROUTE_FAILED;
	return answer_entry(c, r == 0 ? 202 : 200, &network_jtab, &n);
}

/* ---------------------------------------------------------------- interfaces of a VM */

/* 202: its host carries it out. */
static enum route_result answer_nic(struct call *c, int r, const struct vm *vm)
{
	if (r < 0)
		return ROUTE_FAILED;
	return answer_vm(c, r == 0 && vm->is_changing ? 202 : 200, vm);
}

enum route_result call_nic_attach(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);
	int r = orders_nic_attach(c->api->orders, &c->who, ref, c->body,
		httpd_header(c->req, "Idempotency-Key"), c->now, &vm, e);

	return answer_nic(c, r, &vm);
}

enum route_result call_nic_detach(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);
	int r = orders_nic_detach(
		c->api->orders, &c->who, ref, c->params[1], c->now, &vm, e);

	return answer_nic(c, r, &vm);
}
