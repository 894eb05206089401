#include "ucloud-api/calls.h"

#include <string.h>

#include "common/base/parse.h"
#include "common/model/names.h"
#include "ucloud-api/waits.h"

int call_range(
	struct call *c, jtab_check_fn *check, struct list_range *out, struct err *e)
{
	const char *limit = httpd_query(c->req, "limit");
	const char *after = httpd_query(c->req, "after");
	int64_t n = LIST_LIMIT_DEFAULT;

	if (limit && parse_int64(limit, 1, LIST_LIMIT_MAX, &n, e) < 0)
		return err_set_field(e, ERR_INVALID, "limit",
			"limit must be a number from 1 to %d", LIST_LIMIT_MAX);
	if (after && check && check(after, e) < 0)
		return err_set_field(e, ERR_INVALID, "after",
			"after must be what `next` of the page before said");
	*out = (struct list_range){ .limit = (size_t)n, .after = after };
	return 0;
}

int call_flag(struct call *c, const char *name, bool *out, struct err *e)
{
	const char *value = httpd_query(c->req, name);

	*out = false;
	if (!value || parse_bool(value, out, e) == 0)
		return 0;
	return err_set_field(e, ERR_INVALID, name, "%s must be yes or no", name);
}

int call_timeout(struct call *c, int64_t *sec, struct err *e)
{
	const char *timeout = httpd_query(c->req, "timeout");

	*sec = WAIT_SEC_DEFAULT;
	if (!timeout || parse_int64(timeout, 0, WAIT_SEC_MAX, sec, e) == 0)
		return 0;
	return err_set_field(e, ERR_INVALID, "timeout",
		"timeout must be a number of seconds from 0 to %d", WAIT_SEC_MAX);
}

int call_user_ref(struct call *c, const char *param, const char *value, char **name,
	char **realm, struct err *e)
{
	const char *at = value ? strrchr(value, '@') : NULL;

	(void)c;
	*name = *realm = NULL;
	if (!value)
		return 0;
	if (at) {
		*name = xstrndup(value, (size_t)(at - value));
		*realm = xstrdup(at + 1);
	}
	if (at && user_name_check(*name, NULL) == 0 && realm_check(*realm, NULL) == 0)
		return 0;
	str_set(name, NULL);
	str_set(realm, NULL);
	return err_set_field(
		e, ERR_INVALID, param, "\"%.100s\" is no user: write name@realm", value);
}

enum route_result answer_json(struct call *c, int status, json_t *json)
{
	httpd_answer_json(c->req, status, json);
	return ROUTE_ANSWERED;
}

enum route_result answer_entry(
	struct call *c, int status, const struct jtab *t, const void *entry)
{
	return answer_json(c, status, jtab_format_public(t, entry));
}

enum route_result answer_made(struct call *c, int order, int status, const char *path,
	const char *id, json_t *json)
{
	CLEANUP_STR char *location = xasprintf("%s/%s", path, id);

	httpd_add_header(c->req, "Location", location);
	return answer_json(c, order == 0 ? status : 200, json);
}

enum route_result answer_list(struct call *c, const char *name, struct list_page *p)
{
	return answer_json(c, 200, list_page_json(name, p));
}

enum route_result answer_nothing(struct call *c)
{
	httpd_answer(c->req, 204, NULL, "", 0);
	return ROUTE_ANSWERED;
}
