#include "common/store/kv_token.h"

#include <pthread.h>

#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/store/cond.h"

struct kv_token {
	kv_token_fn *fn;
	void *aux;
	pthread_mutex_t lock;
	pthread_cond_t cond; /* is_logging_in became false */
	char *token;	     /* NULL: none yet */
	unsigned serial;
	bool is_logging_in;
	unsigned n_failed; /* log-ins that failed, and why the last one did */
	struct err why;
};

struct kv_token *kv_token_new(kv_token_fn *fn, void *aux)
{
	struct kv_token *t = xcalloc(1, sizeof(*t));

	t->fn = fn;
	t->aux = aux;
	pthread_mutex_init(&t->lock, NULL);
	cond_init(&t->cond);
	return t;
}

void kv_token_free(struct kv_token *t)
{
	if (!t)
		return;
	secret_wipe(t->token);
	free(t->token);
	pthread_cond_destroy(&t->cond);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* Under the lock. 0: the one who logs in has brought a token. */
static int wait_for_other(struct kv_token *t, int64_t end_msec, struct err *e)
{
	struct timespec end = cond_deadline(end_msec - clock_mono_msec());
	unsigned n_failed = t->n_failed;

	while (t->is_logging_in && cond_wait_until(&t->cond, &t->lock, &end))
		;
	if (t->is_logging_in)
		return err_set(e, ERR_TIMEOUT, "logging in to etcd takes too long");
	if (t->n_failed == n_failed)
		return 0;
	*e = t->why;
	return -1;
}

/* Under the lock. */
static void log_in_ended(struct kv_token *t, int result, char *token, const struct err *e)
{
	t->is_logging_in = false;
	if (result == 0) {
		secret_wipe(t->token);
		str_set(&t->token, token);
		t->serial++;
	} else {
		t->n_failed++;
		t->why = *e;
	}
	pthread_cond_broadcast(&t->cond);
}

int kv_token_renew(struct kv_token *t, int64_t end_msec, unsigned serial, struct err *e)
{
	char *token = NULL;
	int r = 0;

	pthread_mutex_lock(&t->lock);
	if (t->is_logging_in || t->serial != serial) {
		if (t->is_logging_in)
			r = wait_for_other(t, end_msec, e);
		pthread_mutex_unlock(&t->lock);
		return r;
	}
	t->is_logging_in = true;
	pthread_mutex_unlock(&t->lock);

	r = t->fn(t->aux, end_msec, &token, e);

	pthread_mutex_lock(&t->lock);
	log_in_ended(t, r, token, e);
	pthread_mutex_unlock(&t->lock);
	return r;
}

/* NULL: none yet. */
static char *copy_token(struct kv_token *t, unsigned *serial)
{
	char *token;

	pthread_mutex_lock(&t->lock);
	token = xstrdup(t->token);
	*serial = t->serial;
	pthread_mutex_unlock(&t->lock);
	return token;
}

int kv_token_get(struct kv_token *t, int64_t end_msec, char **token, unsigned *serial,
	struct err *e)
{
	char *got = copy_token(t, serial);

	if (!got && kv_token_renew(t, end_msec, *serial, e) < 0)
		return -1;
	if (!got)
		got = copy_token(t, serial);
	if (!got)
		return err_set(e, ERR_UNAUTHENTICATED, "etcd gave no token");
	*token = got;
	return 0;
}
