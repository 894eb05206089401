/*
 * The API's calls, one row each: what is matched, what may be sent, what comes back. The
 * router, the checks before a handler, and the OpenAPI document all come from this table.
 */
#ifndef UCLOUD_ROUTE_H
#define UCLOUD_ROUTE_H

#include <jansson.h>

#include "common/base/httpd.h"
#include "common/base/jtab.h"
#include "ucloud-api/who.h"

struct api;
struct route;

enum { ROUTE_PARAMS_MAX = 2 };

/* One call under way. Borrowed by its handler; what a parked one needs it copies. */
struct call {
	struct api *api;
	struct httpd_req *req; /* gone after the answer */
	const struct route *route;
	char *params[ROUTE_PARAMS_MAX]; /* what stood for {...} in the path */
	struct who who;			/* zero for ROUTE_OPEN */
	int64_t session_expires;	/* 0: no session */
	const char *session;		/* its key in the store, NULL: no session */
	json_t *body;			/* an object, or NULL */
	int64_t now;			/* Unix time */
};

/* Answers, now or later (httpd.h); < 0: the router answers with the error. */
enum route_result { ROUTE_FAILED = -1, ROUTE_ANSWERED, ROUTE_PARKED };
typedef enum route_result route_fn(struct call *c, struct err *e);

enum route_access { ROUTE_OPEN, ROUTE_USER, ROUTE_ADMIN };

enum route_body {
	ROUTE_NO_BODY,
	ROUTE_BODY,	/* a JSON object */
	ROUTE_MAY_BODY, /* the same, or nothing */
	ROUTE_BYTES	/* of any number, in pieces: httpd_take_body() */
};

struct route_query {
	const char *name;
	const char *help;
};

struct route {
	const char *method;
	const char *path; /* "/v1/vms/{vm}/start"; "{name...}" takes the rest, "/" too */
	route_fn *fn;
	enum route_access access;
	const char *summary; /* of the OpenAPI document, as all that follows */
	const char *help;
	enum route_body body_kind;
	const struct jtab *in;
	const struct jtab *out;	     /* NULL: see out_schema */
	const char *out_list;	     /* out are the elements of this member */
	const char *out_leaves;	     /* members of out that are left out, blank between */
	const struct jtab *out_more; /* members that out has besides */
	int status;		     /* when it worked; 202: 200 when nothing was to do */
	const struct route_query *query; /* ends with a zeroed one; NULL none */
	bool is_create;			 /* takes an Idempotency-Key */
	const char *out_type;		 /* content type, NULL: application/json */
};

/* All of them; ends with a zeroed one. */
extern const struct route api_routes[];

enum route_found { ROUTE_FOUND, ROUTE_NO_PATH, ROUTE_NO_METHOD };

struct route_match {
	const struct route *route;
	char *params[ROUTE_PARAMS_MAX]; /* the caller's */
	char allow[64];			/* the methods there are, for ROUTE_NO_METHOD */
};
void route_match_done(struct route_match *m);
/* Pure. */
enum route_found route_find(const struct route *routes, const char *method,
	const char *path, struct route_match *out);

/* Is this a call with ROUTE_BYTES? For struct httpd_conf. */
bool route_is_streamed(void *aux, const char *method, const char *path);
/* The whole way of a request: find, authenticate, check, handle. */
enum httpd_result route_run(struct api *api, struct httpd_req *req);

#endif
