/*
 * A server for tests of httpd.h, at a port of [::1], whose handler does what the path says:
 *
 *   /park    parks the request, for site_take_parked()
 *   /stream  begins a stream, for site_take_stream()
 *   /gate    waits for site_open_gate() and answers "through"
 *   /size    answers with the size of the body
 *   /err     a conflict, with a field
 *   /forget  no answer
 *   else     JSON of the request: site_answer_show()
 */
#ifndef UCLOUD_TEST_HTTPD_SITE_H
#define UCLOUD_TEST_HTTPD_SITE_H

#include <pthread.h>
#include <stdbool.h>

#include "common/base/httpd.h"

/* What the handler and the tests share. */
struct site {
	struct httpd *d;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct httpd_req *parked[64];
	size_t n_parked;
	struct httpd_stream *stream;
	unsigned n_running;
	bool is_open_gate; /* "/gate" waits for it */
};

/* conf's addresses are chosen here. Fails the test when it cannot. */
void site_open(struct site *s, struct httpd_conf conf);
void site_close(struct site *s);
/* For httpd_open(); aux is the site. */
enum httpd_result site_handle(void *aux, struct httpd_req *req);
/* Method, path, peer, query, the header X-Test, body. */
void site_answer_show(struct httpd_req *req);
/* Wakes all who wait, and unlocks. */
void site_changed(struct site *s);

/* These wait until there is one. */
struct httpd_req *site_take_parked(struct site *s);
struct httpd_stream *site_take_stream(struct site *s);
/* Until so many requests are at the gate. */
void site_wait_running(struct site *s, unsigned n);
void site_open_gate(struct site *s);

/* A connection: http_raw.h. */
int site_dial(const struct site *s);
/* One request on a connection of its own; the whole answer, the caller's. */
char *site_ask(const struct site *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* n times c; the caller's. */
char *site_text(char c, size_t n);

#endif
