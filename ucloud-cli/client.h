/*
 * Calls of the API. A session is made when one is needed (login.h) and once more when the
 * API no longer knows it; a call whose answer was lost is repeated when that is safe.
 * One thread.
 */
#ifndef UCLOUD_CLI_CLIENT_H
#define UCLOUD_CLI_CLIENT_H

#include <jansson.h>

#include "common/base/http.h"
#include "ucloud-cli/conffile.h"

/* What the client needs of the world beside the API; tests replace it. */
struct cli_world {
	void (*sleep_msec)(void *aux, int64_t msec);
	void (*note)(void *aux, const char *line); /* for people */
	void *aux;
	const char *cache_dir; /* of sessions; NULL: the user's */
};

struct cli_client;

struct cli_answer {
	int status;
	json_t *json;	/* NULL when the body is none */
	char *text;	/* the body, never NULL */
	size_t size;	/* of text */
	char *location; /* NULL none */
};

/* conf is copied. world may be NULL: the real one, with notes on stderr. */
struct cli_client *cli_client_new(
	const struct cli_conf *conf, const struct cli_world *world);
void cli_client_free(struct cli_client *cl);
const struct cli_conf *cli_client_conf(const struct cli_client *cl);
const struct cli_world *cli_client_world(const struct cli_client *cl);
struct http *cli_client_http(struct cli_client *cl);

struct cli_call {
	const char *method;
	const char *path;	     /* "/v1/vms?limit=5" */
	json_t *body;		     /* borrowed, NULL none */
	const char *idempotency_key; /* NULL none */
	int64_t limit_msec;	     /* 0: 30 s */
	/* The body instead, from a file; with further headers. */
	const struct http_upload *upload;
	const char *const *headers; /* NULL-terminated, may be NULL */
};

/* Follows a redirect (307) to another machine of the same cloud, with the token: to where it
 * would be sent no less safely. 0 only for a status 2xx; all others are errors made from the problem document. ERR_TIMEOUT
 * is never the network's: what does not answer is ERR_UNAVAILABLE. */
int cli_call(struct cli_client *cl, const struct cli_call *call, struct cli_answer *out,
	struct err *e) MUST_USE;
int cli_get(
	struct cli_client *cl, const char *path, json_t **out, struct err *e) MUST_USE;
/* All pages of a collection (has_pages: it takes limit and after): {"<member>": [...]} as
 * one. The caller's. */
int cli_get_all(struct cli_client *cl, const char *path, bool has_pages, json_t **out,
	struct err *e) MUST_USE;
/* GET of a stream that goes on. fn as in http_stream(). */
int cli_stream(struct cli_client *cl, const char *path, http_piece_fn *fn, void *aux,
	struct err *e) MUST_USE;
/* Without a token: how login.h asks. As cli_call(), but every status is 0. */
int cli_call_as(struct cli_client *cl, const struct cli_call *call,
	const char *authorization, struct cli_answer *out, struct err *e) MUST_USE;
void cli_answer_done(struct cli_answer *an);
/* The array in a list's answer, whatever it is called; NULL none. Borrowed. */
json_t *cli_list_of(const json_t *page, const char **member);
/* The error that a problem document (RFC 9457) says. Returns -1. Pure. */
int cli_problem(const struct cli_answer *an, struct err *e);

#endif
