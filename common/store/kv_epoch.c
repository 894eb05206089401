#include "common/store/kv_epoch.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include "common/base/log.h"

/* More different prefixes than a daemon watches at a time. Of those that made room for others
 * the oldest epoch is remembered: who comes and is not here may be one of them. */
#define MAX_WATCHED 256

struct watched {
	char *prefix;
	unsigned epoch;
};

struct kv_epoch {
	pthread_mutex_t lock;
	struct kv_epoch_mark now;
	char cluster_id[24]; /* "" before the first answer */
	struct watched watched[MAX_WATCHED];
	size_t n_watched;
	size_t next_out; /* which one makes room when there is none */
	bool has_forgotten;
	unsigned oldest_forgotten; /* epoch */
};

struct kv_epoch *kv_epoch_new(void)
{
	struct kv_epoch *ep = xcalloc(1, sizeof(*ep));

	pthread_mutex_init(&ep->lock, NULL);
	return ep;
}

void kv_epoch_free(struct kv_epoch *ep)
{
	if (!ep)
		return;
	for (size_t i = 0; i < ep->n_watched; i++)
		free(ep->watched[i].prefix);
	pthread_mutex_destroy(&ep->lock);
	free(ep);
}

struct kv_epoch_mark kv_epoch_mark(struct kv_epoch *ep)
{
	struct kv_epoch_mark mark;

	pthread_mutex_lock(&ep->lock);
	mark = ep->now;
	pthread_mutex_unlock(&ep->lock);
	return mark;
}

static void see(struct kv_epoch *ep, const struct kv_epoch_mark *before,
	const struct kv_wire_head *head, int64_t oldest_rev)
{
	char id[sizeof(ep->cluster_id)] = "";
	bool is_other = false;

	pthread_mutex_lock(&ep->lock);
	if (before->epoch != ep->now.epoch) { /* this answer is of the time before */
		pthread_mutex_unlock(&ep->lock);
		return;
	}
	if (head->cluster_id[0] && !str_eq(head->cluster_id, ep->cluster_id)) {
		is_other = ep->cluster_id[0] != '\0';
		snprintf(id, sizeof(id), "%s", ep->cluster_id);
		snprintf(ep->cluster_id, sizeof(ep->cluster_id), "%s", head->cluster_id);
	}
	if (is_other || head->rev < oldest_rev) {
		is_other = true;
		ep->now.epoch++;
		ep->now.rev = head->rev;
	} else if (head->rev > ep->now.rev && oldest_rev > 0) {
		ep->now.rev = head->rev;
	}
	pthread_mutex_unlock(&ep->lock);
	if (is_other)
		log_error("etcd is another store than before, or an older one: "
			  "everything is read again cluster_id=%s before=%s rev=%" PRId64
			  " before=%" PRId64,
			head->cluster_id, id[0] ? id : head->cluster_id, head->rev,
			before->rev);
}

void kv_epoch_see(struct kv_epoch *ep, const struct kv_epoch_mark *before,
	const struct kv_wire_head *head)
{
	see(ep, before, head, before->rev > 0 ? before->rev : 1);
}

void kv_epoch_see_id(struct kv_epoch *ep, const struct kv_epoch_mark *before,
	const struct kv_wire_head *head)
{
	see(ep, before, head, 0);
}

static struct watched *make_room(struct kv_epoch *ep)
{
	struct watched *w = &ep->watched[ep->next_out];

	if (ep->n_watched < MAX_WATCHED)
		return &ep->watched[ep->n_watched++];
	ep->next_out = (ep->next_out + 1) % MAX_WATCHED;
	if (!ep->has_forgotten || w->epoch < ep->oldest_forgotten)
		ep->oldest_forgotten = w->epoch;
	ep->has_forgotten = true;
	return w;
}

static struct watched *find_watched(struct kv_epoch *ep, const char *prefix)
{
	struct watched *w;

	for (size_t i = 0; i < ep->n_watched; i++)
		if (str_eq(ep->watched[i].prefix, prefix))
			return &ep->watched[i];
	w = make_room(ep);
	str_set(&w->prefix, xstrdup(prefix));
	w->epoch = ep->has_forgotten ? ep->oldest_forgotten : ep->now.epoch;
	return w;
}

bool kv_epoch_is_void(struct kv_epoch *ep, const char *prefix)
{
	struct watched *w;
	bool is_void;

	pthread_mutex_lock(&ep->lock);
	w = find_watched(ep, prefix);
	is_void = w->epoch != ep->now.epoch;
	w->epoch = ep->now.epoch;
	pthread_mutex_unlock(&ep->lock);
	return is_void;
}
