/*
 * Calls about hosts, images, image stores, users and requests.
 */
#include <stdio.h>
#include <string.h>

#include "common/model/names.h"
#include "ucloud-api/api.h"
#include "ucloud-api/calls.h"

/* ---------------------------------------------------------------- hosts */

enum route_result call_host_create(struct call *c, struct err *e)
{
	CLEANUP(host_done) struct host h = { 0 };
	int r = orders_host_create(c->api->orders, &c->who, c->body,
		httpd_header(c->req, "Idempotency-Key"), c->now, &h, e);

	if (r < 0)
		return ROUTE_FAILED;
	return answer_made(
		c, r, 201, "/v1/hosts", h.hostname, jtab_format_public(&host_jtab, &h));
}

enum route_result call_host_list(struct call *c, struct err *e)
{
	struct list_range range;
	struct list_page page = { 0 };

	if (call_range(c, hostname_check, &range, e) < 0 ||
		list_hosts(c->api->kv, &c->api->conf->keys, &range, &page, e) < 0)
		return ROUTE_FAILED;
	return answer_list(c, "hosts", &page);
}

enum route_result call_host_show(struct call *c, struct err *e)
{
	CLEANUP(host_done) struct host h = { 0 };

	if (orders_host_get(c->api->orders, &c->who, c->params[0], &h, e) < 0)
		return ROUTE_FAILED;
	return answer_entry(c, 200, &host_jtab, &h);
}

enum route_result call_host_patch(struct call *c, struct err *e)
{
	CLEANUP(host_done) struct host h = { 0 };

	if (orders_host_patch(c->api->orders, &c->who, c->params[0], c->body, &h, e) < 0)
		return ROUTE_FAILED;
	return answer_entry(c, 200, &host_jtab, &h);
}

enum route_result call_host_delete(struct call *c, struct err *e)
{
	if (orders_host_delete(c->api->orders, &c->who, c->params[0], e) < 0)
		return ROUTE_FAILED;
	return answer_nothing(c);
}

static enum route_result drain(struct call *c, bool is_draining, struct err *e)
{
	CLEANUP(host_done) struct host h = { 0 };

	if (orders_host_drain(c->api->orders, &c->who, c->params[0], is_draining, &h, e) <
		0)
		return ROUTE_FAILED;
	return answer_entry(c, 200, &host_jtab, &h);
}

enum route_result call_host_drain(struct call *c, struct err *e)
{
	return drain(c, true, e);
}

enum route_result call_host_undrain(struct call *c, struct err *e)
{
	return drain(c, false, e);
}

/* ---------------------------------------------------------------- images */

enum route_result call_image_create(struct call *c, struct err *e)
{
	CLEANUP(image_done) struct image im = { 0 };
	int r = orders_image_create(c->api->orders, &c->who, c->body,
		httpd_header(c->req, "Idempotency-Key"), c->now, &im, e);

	if (r < 0)
		return ROUTE_FAILED;
	return answer_made(c, r, im.is_made ? 202 : 201, "/v1/images", im.uuid,
		jtab_format_public(&image_jtab, &im));
}

enum route_result call_image_list(struct call *c, struct err *e)
{
	struct list_range range;
	struct list_page page = { 0 };

	if (call_range(c, uuid_check, &range, e) < 0 ||
		list_images(c->api->kv, &c->api->conf->keys, &c->who, &range, &page, e) <
			0)
		return ROUTE_FAILED;
	return answer_list(c, "images", &page);
}

enum route_result call_image_show(struct call *c, struct err *e)
{
	CLEANUP(image_done) struct image im = { 0 };
	const char *wait = httpd_query(c->req, "wait");
	int want = 0, r;
	int64_t sec;

	if ((wait && wait_parse_image(wait, &want, e) < 0) ||
		call_timeout(c, &sec, e) < 0)
		return ROUTE_FAILED;
	r = orders_image_get(c->api->orders, &c->who, c->params[0], &im, e);
	if (r < 0 && want == (int)WAIT_IMAGE_DELETED && e->kind == ERR_NOT_FOUND)
		return answer_json(c, 200, json_pack("{s:s}", "status", "DELETED"));
	if (r < 0)
		return ROUTE_FAILED;
	if (!wait)
		return answer_entry(c, 200, &image_jtab, &im);
	if (waits_park_image(c->api->waits, c->req, &c->who, im.uuid, want, sec, e) < 0)
		return ROUTE_FAILED;
	return ROUTE_PARKED;
}

enum route_result call_image_patch(struct call *c, struct err *e)
{
	CLEANUP(image_done) struct image im = { 0 };

	if (orders_image_patch(c->api->orders, &c->who, c->params[0], c->body, &im, e) <
		0)
		return ROUTE_FAILED;
	return answer_entry(c, 200, &image_jtab, &im);
}

enum route_result call_image_delete(struct call *c, struct err *e)
{
	CLEANUP(image_done) struct image im = { 0 };
	int r = orders_image_delete(
		c->api->orders, &c->who, c->params[0], c->now, &im, e);

	if (r < 0)
		return ROUTE_FAILED;
	return r == ORDER_IMAGE_GOES ? answer_entry(c, 202, &image_jtab, &im)
				     : answer_nothing(c);
}

/* ---------------------------------------------------------------- image stores */

enum route_result call_store_create(struct call *c, struct err *e)
{
	CLEANUP(image_store_done) struct image_store s = { 0 };
	int r = orders_store_create(c->api->orders, &c->who, c->body,
		httpd_header(c->req, "Idempotency-Key"), c->now, &s, e);

	if (r < 0)
		return ROUTE_FAILED;
	return answer_made(c, r, 201, "/v1/image_stores", s.name,
		jtab_format_public(&image_store_jtab, &s));
}

enum route_result call_store_list(struct call *c, struct err *e)
{
	struct list_range range;
	struct list_page page = { 0 };

	if (call_range(c, name_check, &range, e) < 0 ||
		list_stores(c->api->kv, &range, &page, e) < 0)
		return ROUTE_FAILED;
	return answer_list(c, "image_stores", &page);
}

enum route_result call_store_show(struct call *c, struct err *e)
{
	CLEANUP(image_store_done) struct image_store s = { 0 };

	if (orders_store_get(c->api->orders, &c->who, c->params[0], &s, e) < 0)
		return ROUTE_FAILED;
	return answer_entry(c, 200, &image_store_jtab, &s);
}

enum route_result call_store_delete(struct call *c, struct err *e)
{
	if (orders_store_delete(c->api->orders, &c->who, c->params[0], e) < 0)
		return ROUTE_FAILED;
	return answer_nothing(c);
}

/* ---------------------------------------------------------------- users */

static int user_ref_check(const char *s, struct err *e)
{
	CLEANUP_STR char *name = NULL;
	CLEANUP_STR char *realm = NULL;

	return call_user_ref(NULL, "after", s, &name, &realm, e);
}

enum route_result call_user_list(struct call *c, struct err *e)
{
	const struct amounts *quota = &orders_conf_of(c->api->orders)->quota;
	struct list_range range;
	struct list_page page = { 0 };

	if (call_range(c, user_ref_check, &range, e) < 0 ||
		list_users(c->api->kv, quota, &range, &page, e) < 0)
		return ROUTE_FAILED;
	return answer_list(c, "users", &page);
}

enum route_result call_user_show(struct call *c, struct err *e)
{
	CLEANUP(user_done) struct user u = { 0 };
	CLEANUP_STR char *name = NULL;
	CLEANUP_STR char *realm = NULL;

	if (call_user_ref(c, "user", c->params[0], &name, &realm, e) < 0 ||
		orders_user_get(c->api->orders, &c->who, name, realm, &u, e) < 0)
		return ROUTE_FAILED;
	return answer_entry(c, 200, &user_jtab, &u);
}

enum route_result call_user_patch(struct call *c, struct err *e)
{
	CLEANUP(user_done) struct user u = { 0 };
	CLEANUP_STR char *name = NULL;
	CLEANUP_STR char *realm = NULL;

	if (call_user_ref(c, "user", c->params[0], &name, &realm, e) < 0 ||
		orders_user_set_quota(
			c->api->orders, &c->who, name, realm, c->body, c->now, &u, e) < 0)
		return ROUTE_FAILED;
	return answer_entry(c, 200, &user_jtab, &u);
}

/* ---------------------------------------------------------------- requests */

/* Of all requests, `after` is "scheduler/<uuid>" or "host/<host>/<uuid>". */
static int request_after_check(const char *s, struct err *e)
{
	size_t len = strlen(s);

	if (len > 0 && len < 400 &&
		strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
			  "-./") == len)
		return 0;
	return err_set(e, ERR_INVALID, "no such request");
}

/* Of one's own, it is list_requests_of()'s. */
static int own_request_after_check(const char *s, struct err *e)
{
	if (str_has_prefix(s, LIST_IMAGE_AFTER))
		s += strlen(LIST_IMAGE_AFTER);
	else if (str_has_prefix(s, LIST_NETWORK_AFTER))
		s += strlen(LIST_NETWORK_AFTER);
	else
		return name_check(s, e);
	return *s == '\0' ? 0 : name_check(s, e);
}

enum route_result call_request_list(struct call *c, struct err *e)
{
	const struct keys *keys = &c->api->conf->keys;
	bool is_all = c->who.is_admin && !httpd_query(c->req, "owner");
	CLEANUP_STR char *name = NULL;
	CLEANUP_STR char *realm = NULL;
	struct list_range range;
	struct list_page page = { 0 };
	int r;

	if (call_user_ref(c, "owner", httpd_query(c->req, "owner"), &name, &realm, e) <
			0 ||
		call_range(c, is_all ? request_after_check : own_request_after_check,
			&range, e) < 0)
		return ROUTE_FAILED;
	if (name && !c->who.is_admin &&
		(!str_eq(name, c->who.name) || !str_eq(realm, c->who.realm)))
		return err_set_field(
			e, ERR_DENIED, "owner", "only admins may list others' requests");
	if (is_all)
		r = list_requests(c->api->kv, keys, &range, &page, e);
	else
		r = list_requests_of(c->api->kv, keys, name ? name : c->who.name,
			realm ? realm : c->who.realm, &range, &page, e);
	return r < 0 ? ROUTE_FAILED : answer_list(c, "requests", &page);
}

enum route_result call_request_show(struct call *c, struct err *e)
{
	CLEANUP(request_done) struct request r = { 0 };

	if (orders_request_get(c->api->orders, &c->who, c->params[0], &r, e) < 0)
		return ROUTE_FAILED;
	return answer_entry(c, 200, &request_jtab, &r);
}

enum route_result call_request_retry(struct call *c, struct err *e)
{
	CLEANUP(request_done) struct request r = { 0 };

	if (orders_request_retry(c->api->orders, &c->who, c->params[0], &r, e) < 0)
		return ROUTE_FAILED;
	return answer_entry(c, 200, &request_jtab, &r);
}

enum route_result call_request_abort(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(image_done) struct image im = { 0 };
	CLEANUP(network_done) struct network net = { 0 };

	if (orders_request_abort(
		    c->api->orders, &c->who, c->params[0], c->now, &vm, &im, e) < 0)
		return ROUTE_FAILED;
	if (im.uuid)
		return answer_entry(c, 200, &image_jtab, &im);
	if (!vm.uuid &&
		orders_network_get(c->api->orders, &c->who, c->params[0], &net, e) < 0)
		return ROUTE_FAILED;
	if (net.uuid)
		return answer_entry(c, 200, &network_jtab, &net);
	return answer_json(c, 200, vm_json(&vm));
}
