#include "common/model/request.h"

#include "common/model/entry.h"
#include "common/model/names.h"

#define BACKOFF_MAX_SEC 60
#define LAST_ERROR_MAX	2048

const char *const request_type_names[] = {
	[REQ_SCHEDULE_VM] = "ScheduleVM",
	[REQ_START_VM] = "StartVM",
	[REQ_STOP_VM] = "StopVM",
	[REQ_REBOOT_VM] = "RebootVM",
	[REQ_DELETE_VM] = "DeleteVM",
	[REQ_CHANGE_VM] = "ChangeVM",
	[REQ_INIT_VM_MIGRATION] = "InitVMMigration",
	[REQ_TRANSFER_VM] = "TransferVM",
	[REQ_CREATE_NETWORK] = "CreateNetwork",
	[REQ_DELETE_NETWORK] = "DeleteNetwork",
	[REQ_CREATE_IMAGE] = "CreateImage",
	[REQ_DELETE_IMAGE] = "DeleteImage",
	[REQ_N_TYPES] = NULL,
};

#define AT(member) offsetof(struct request, member)

static const struct jtab_field request_fields[] = {
	{ "type", JT_ENUM, AT(type), JT_NEED | JT_ALWAYS, .names = request_type_names,
		.help = "what is to be done" },
	{ "uuid", JT_STR, AT(uuid), JT_NEED, .min = 1, .check = uuid_check,
		.help = "of the VM, network or image it is about" },
	{ "hostname", JT_STR, AT(hostname), JT_ALWAYS, .check = hostname_check,
		.help = "the host that it is addressed to, \"\" for a service" },
	{ "destination", JT_STR, AT(destination), 0, .check = hostname_check,
		.help = "the host that a VM moves to" },
	{ "force", JT_BOOL, AT(is_force), 0,
		.help = "do not wait for the guest: pull the plug" },
	{ "migration", JT_STR, AT(migration), 0, .max = 64, .help = "how a VM moves" },
	{ "created", JT_TIME, AT(created), 0, .help = "when it was ordered" },
	{ "deadline", JT_TIME, AT(deadline), 0,
		.help = "when it is given up; missing: never" },
	{ "attempts", JT_INT, AT(attempts), JT_ALWAYS, .max = INT32_MAX,
		.help = "attempts that failed" },
	{ "not_before", JT_TIME, AT(not_before), 0, .help = "when it is tried (again)" },
	{ "last_error", JT_STR, AT(last_error), 0, .max = LAST_ERROR_MAX,
		.help = "why the last attempt failed" },
	{ "unchecked", JT_BOOL, AT(is_unchecked), 0,
		.help = "whether it may be done is still being looked at" },
	{ 0 },
};

const struct jtab request_jtab = { "request", sizeof(struct request), request_fields,
	.rest_off = AT(rest), .has_rest = true };

static const struct entry_class request_class = { &request_jtab, AT(uuid), true, NULL };

int request_parse(const char *json, size_t size, struct request *out, struct err *e)
{
	return entry_parse(&request_class, json, size, out, e);
}

char *request_format(const struct request *r)
{
	return jtab_format_text(&request_jtab, r);
}

void request_done(struct request *r)
{
	jtab_done(&request_jtab, r);
}

void *request_parse_item(const char *name, json_t *json, struct err *e)
{
	return entry_parse_item(&request_class, name, json, e);
}

void request_free_item(void *r)
{
	entry_free_item(&request_class, r);
}

char *request_new(enum request_type type, const char *uuid, const char *hostname,
	int64_t now, int64_t deadline)
{
	CLEANUP_STR char *subject = xstrdup(uuid), *host = xstrdup(hostname);
	struct request r = {
		.type = (int)type,
		.uuid = subject,
		.hostname = host,
		.created = now,
		.deadline = deadline,
	};

	return request_format(&r);
}

static int64_t backoff_sec(int64_t attempts)
{
	int64_t sec = 1;

	for (int64_t i = 1; i < attempts && sec < BACKOFF_MAX_SEC; i++)
		sec *= 2;
	return sec < BACKOFF_MAX_SEC ? sec : BACKOFF_MAX_SEC;
}

void request_failed(struct request *r, int64_t now, const struct err *why)
{
	r->attempts += r->attempts < INT32_MAX;
	r->not_before = now + backoff_sec(r->attempts);
	str_set(&r->last_error, xstrdup(why->msg));
}
