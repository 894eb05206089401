/*
 * Between the files of the HTTP server; nobody else includes this.
 *
 * httpd.c       listening, connections, the reaper of slow ones, workers, closing
 * httpd_mhd.c   libmicrohttpd's callbacks: from bytes to a complete request and back
 * httpd_req.c   what a handler sees of a request, and its answers
 * httpd_stream.c  answers that go on
 * httpd_body.c  bodies that come in pieces
 *
 * A request's life. All moves but the first and the last happen under d->lock:
 *
 *	reading -> queued -> running -> (parked) -> claimed -> completed
 *	   \____________ refused (400, 413, 503) ______________/
 *
 * "Claimed" is the one decision who answers: the handler's side or httpd_close(). From
 * queued until claimed the connection is suspended: libmicrohttpd does not look at it, so
 * it cannot go away. After MHD_resume_connection() only libmicrohttpd's thread may touch
 * it. The struct is counted: one for libmicrohttpd (until "completed"), one for whoever has
 * to answer, one for the worker while it runs the handler.
 */
#ifndef UCLOUD_HTTPD_IMPL_H
#define UCLOUD_HTTPD_IMPL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdint.h>

#include "common/base/httpd.h"

/* One client connection; known to the reaper. */
enum conn_state { CONN_IDLE, CONN_READING, CONN_BUSY, CONN_BODY };

/* Where clients come from, as far as limits are concerned: one who has an IPv6 address has a
 * whole /64 of them. The beginning of the address, zeros behind it. */
struct httpd_net {
	uint8_t bytes[16];
};

struct httpd_conn {
	struct httpd_conn *prev, *next;
	int fd;
	struct httpd_net net;
	enum conn_state state;
	int64_t since_msec;  /* in this state */
	uint64_t bytes_base; /* received when the last request was complete; of CONN_BODY:
				at since_msec */
	bool is_cut, is_left;
};

struct httpd_pair {
	char *name, *value;
};

struct httpd_pairs {
	struct httpd_pair *v;
	size_t len;
};

struct httpd_req {
	struct httpd *d;
	unsigned refs; /* atomic */
	struct MHD_Connection *mhd;

	/* Filled while reading, fixed once it is queued. */
	struct httpd_conn *conn;
	char *method, *path, *peer;
	struct httpd_pairs query, headers;
	struct buf body;
	size_t n_seen;	    /* bytes of the body, also those that were dropped */
	size_t n_counted;   /* of them, in d->n_body_bytes */
	bool has_begun;	    /* headers are in */
	bool is_dispatched; /* a worker has had it */
	struct err refusal; /* why no handler shall see it */

	/* Of those whose body comes in pieces. */
	bool is_streamed;
	bool has_passed;       /* the handler has decided, the body may come */
	struct httpd_body *in; /* the handler took it; NULL: the body is dropped */

	/* Under d->lock. */
	bool is_running, is_parked, is_claimed;
	bool is_taken; /* by httpd_take_body(): what the handler gives back means nothing */
	struct httpd_req *prev, *next; /* in d->held: dispatched and not claimed */
	struct httpd_req *next_queued;

	/* Whoever claimed it, then libmicrohttpd's thread. */
	struct httpd_pairs answer_headers;
	struct MHD_Response *resp;
	int status;
};

struct httpd_stream {
	struct httpd *d;
	struct MHD_Connection *mhd;
	struct httpd_conn *conn;	  /* NULL: gone; under d->lock */
	struct httpd_stream *prev, *next; /* in d->streams, under d->lock */
	unsigned refs;			  /* atomic: the sender's and the response's */
	int64_t last_msec;		  /* atomic: something was sent */
	bool is_sse;
	pthread_mutex_t lock;
	struct buf queued;
	bool is_suspended, is_closed, is_gone, is_over;
};

/*
 * A body under way. The list and the queue have it until its sink's last call; the struct
 * itself lives as long as its request. All under bodies.lock.
 */
struct httpd_body {
	struct httpd_req *req;
	const struct httpd_sink *sink;
	void *aux;
	struct buf filling; /* what has come since a worker took the last */
	struct buf spare;   /* with the worker */
	struct err why;	    /* of is_failed */
	bool is_queued;	    /* waits for a worker, or is with one */
	bool is_suspended;  /* by us: who clears it, resumes */
	bool has_all;	    /* it is complete */
	bool is_gone;	    /* the connection is no more */
	bool is_failed;	    /* the sink wants no more */
	struct httpd_body *prev, *next, *next_queued;
};

struct httpd_bodies {
	pthread_mutex_t lock;
	pthread_cond_t work; /* queue, is_ending */
	struct httpd_body *list, *queue, **queue_end;
	unsigned n, max;
	bool is_closing; /* no new ones, and those there are get cut off */
	bool is_ending;	 /* workers go when the queue is empty */
	pthread_t *workers;
	unsigned n_workers;
};

struct httpd_listen {
	struct MHD_Daemon *mhd;
	int fd;
	uint16_t port;
	char *text; /* as it was configured */
};

struct httpd {
	unsigned refs; /* atomic: the opener's and one for each request */
	httpd_handler_fn *fn;
	void *aux;
	char *server;
	size_t max_body, max_bodies;
	unsigned max_conns_per_net;
	int64_t request_msec, keepalive_msec, body_msec;
	bool (*is_streamed)(void *aux, const char *method, const char *path);
	struct httpd_bodies bodies;
	struct httpd_listen *listens;
	size_t n_listens;
	pthread_t *workers;
	unsigned n_workers;
	pthread_t reaper;
	bool has_reaper;

	unsigned n_suspended; /* atomic; going down under lock */
	size_t n_body_bytes;  /* atomic */
	pthread_mutex_t lock;
	pthread_cond_t work; /* queue, is_stopping */
	/* is_stopping; while closing, n_running, n_suspended and n_open, too. */
	pthread_cond_t changed;
	bool is_closing, is_stopping;
	unsigned n_running, n_open;
	struct httpd_req *queue, **queue_end;
	struct httpd_req *held;
	struct httpd_conn *conns;
	struct httpd_stream *streams;
	char mhd_said[256];
};

/* Real monotonic time: sockets do not follow a replaced clock. */
int64_t httpd_now_msec(void);
void httpd_unref(struct httpd *d);
/* Under the lock, after one of the counts went down. */
void httpd_count_changed(struct httpd *d);
/* Continues a connection that was suspended and counted in n_suspended. */
void httpd_resume(struct httpd *d, struct MHD_Connection *mhd);
/* Closes the socket's both sides; d->lock is held: the connection is still in the list. */
void httpd_conn_cut(struct httpd_conn *c);
/* Gives a complete request to the workers. */
void httpd_enqueue(struct httpd_req *req);

/* httpd_mhd.c */
/* Starts libmicrohttpd on l->fd. */
int httpd_mhd_start(struct httpd *d, const struct httpd_conf *conf,
	struct httpd_listen *l, const char *cert, const char *key,
	struct err *e) MUST_USE;
uint64_t httpd_conn_bytes(const struct httpd_conn *c);
/* Has the client closed the connection, or its side of it? */
bool httpd_conn_is_left(const struct httpd_conn *c);

/* httpd_req.c */
void httpd_pairs_add(struct httpd_pairs *p, const char *name, const char *value);
void httpd_req_ref(struct httpd_req *req);
void httpd_req_unref(struct httpd_req *req);
/* True for one caller only: it must answer. */
bool httpd_req_claim(struct httpd_req *req);
/* For the claimer: hands the response (taken) to libmicrohttpd. */
void httpd_req_finish(struct httpd_req *req, int status, struct MHD_Response *resp);
/* A problem document for e. */
struct MHD_Response *httpd_problem(const struct err *e);
/* The body is needed no more. */
void httpd_body_drop(struct httpd_req *req);
/* Answers with e when nobody else has; the answerer's count is not touched. */
void httpd_req_refuse(struct httpd_req *req, const struct err *e);

/* httpd_body.c */
void httpd_bodies_init(struct httpd *d, const struct httpd_conf *conf);
int httpd_bodies_start(struct httpd *d, unsigned n_workers, struct err *e) MUST_USE;
/* Takes no more, and cuts those off that are under way. */
void httpd_bodies_close(struct httpd *d);
/* Waits for the sinks' last calls; no connection is there any more. */
void httpd_bodies_end(struct httpd *d);
void httpd_bodies_done(struct httpd *d);
/* For libmicrohttpd's thread, each for a request with `in`: bytes have come (what is left in
 * *size is offered again); all have come: suspends, or gives false with req->refusal; the
 * connection is no more. */
enum MHD_Result httpd_body_piece(struct httpd_req *req, const char *p, size_t *size);
bool httpd_body_complete(struct httpd_req *req);
void httpd_body_gone(struct httpd_req *req);
void httpd_body_free(struct httpd_body *b);

/* httpd_stream.c */
/* Ends every stream, for closing. */
void httpd_streams_end(struct httpd *d);
/* Ends streams whose client has gone. */
void httpd_streams_end_left(struct httpd *d);
/* The connection is about to go. Under d->lock. */
void httpd_streams_forget_conn(struct httpd *d, const struct httpd_conn *c);
/* Sends a comment on streams that were silent for a while. */
void httpd_streams_keepalive(struct httpd *d, int64_t now_msec);

#endif
