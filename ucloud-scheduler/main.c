/*
 * ucloud-scheduler: picks a host for each VM, and declares hosts dead or alive.
 */
#include <stdio.h>

#include "common/base/daemon.h"
#include "common/base/mem.h"
#include "common/store/kv_etcd.h"
#include "ucloud-scheduler/explain.h"
#include "ucloud-scheduler/place.h"
#include "ucloud-scheduler/sched.h"

struct scheduler_conf {
	struct sched_conf sched;
	struct etcd_conf etcd;
	struct daemon_conf daemon;
};

struct scheduler {
	struct kv *kv;
	struct sched *sched;
};

#define AT(member) offsetof(struct sched_conf, member)

static const struct conf_opt opts[] = {
	{ "strategy", CONF_ENUM, AT(strategy), 0, "spread", "NAME",
		"spread VMs over all hosts, or pack them onto few",
		.names = place_strategy_names },
	{ "grace", CONF_DURATION, AT(grace_sec), 0, "30s", "TIME",
		"a host whose heartbeat is missing for longer is DEAD", .min = 1,
		.max = 86400 },
	{ "lease_ttl", CONF_DURATION, AT(lease_ttl_sec), 0, "10s", "TIME",
		"when the leading scheduler dies, another one takes over after this time",
		.min = 2, .max = 300 },
	{ "deadline", CONF_DURATION, AT(deadline_sec), 0, "24h", "TIME",
		"a VM that has found no host for so long goes to ERROR; 0: never",
		.min = 0, .max = 366LL * 86400 },
	{ 0 },
};

static const struct conf_part parts[] = {
	{ opts, offsetof(struct scheduler_conf, sched) },
	{ keys_opts, offsetof(struct scheduler_conf, sched.keys) },
	{ etcd_opts, offsetof(struct scheduler_conf, etcd) },
	{ daemon_opts, offsetof(struct scheduler_conf, daemon) },
	{ 0 },
};

static int check(void *conf, struct err *e)
{
	struct scheduler_conf *c = conf;

	return keys_check(&c->sched.keys, e);
}

static int setup(void *conf, struct err *e)
{
	struct scheduler_conf *c = conf;

	return kv_etcd_check(&c->etcd, e);
}

/* Does not wait for etcd: the session and the caches do, each in its own thread. */
static int start(void *conf, void **state, struct err *e)
{
	struct scheduler_conf *c = conf;
	struct kv *kv = NULL;

	if (kv_etcd_open(&c->etcd, &kv, e) < 0)
		return -1;
	struct scheduler *s = xcalloc(1, sizeof(*s));
	s->kv = kv;
	s->sched = sched_new(kv, &c->sched);
	sched_start(s->sched);
	*state = s;
	return 0;
}

static int health(void *state, struct err *e)
{
	struct scheduler *s = state;

	if (!sched_is_synced(s->sched))
		return err_set(e, ERR_UNAVAILABLE,
			"the entries have not been read yet: does etcd answer?");
	err_set(e, ERR_NONE, "%s",
		sched_is_leader(s->sched) ? "this scheduler leads"
					  : "another scheduler leads");
	return 0;
}

static void stop(void *state)
{
	struct scheduler *s = state;

	sched_stop(s->sched);
	if (!sched_free(s->sched))
		return; /* it is still used, and the process ends anyway */
	kv_close(s->kv);
	free(s);
}

static int run_explain(void *conf, const struct strv *rest)
{
	struct scheduler_conf *c = conf;
	CLEANUP(buf_done) struct buf out = { 0 };
	struct kv *kv = NULL;
	struct err e = { 0 };

	if (rest->len != 1) {
		fprintf(stderr, "ucloud-scheduler explain: which VM? Give its uuid or "
				"its name\n");
		return 2;
	}
	struct etcd_conf quiet = c->etcd;
	quiet.is_quiet = true;
	int rc = kv_etcd_open(&quiet, &kv, &e);
	if (rc == 0)
		rc = explain_vm(kv, &c->sched, rest->v[0], &out, &e);
	if (kv)
		kv_close(kv);
	if (rc < 0) {
		fprintf(stderr, "ucloud-scheduler explain: %s\n", e.msg);
		return 1;
	}
	fputs(buf_str(&out), stdout);
	return 0;
}

static const struct daemon_verb verbs[] = {
	{ "explain", "explain VM",
		"say host by host why a VM (its uuid or name) fits or not", run_explain },
	{ 0 },
};

int main(int argc, char **argv)
{
	static const struct daemon_spec spec = {
		.name = "ucloud-scheduler",
		.summary = "picks a host for each VM, and watches over the hosts",
		.conf = { "ucloud-scheduler", parts, sizeof(struct scheduler_conf) },
		.daemon_conf_off = offsetof(struct scheduler_conf, daemon),
		.default_metrics_listen = "[::1]:9472",
		.check = check,
		.setup = setup,
		.start = start,
		.health = health,
		.stop = stop,
		.verbs = verbs,
	};

	return daemon_main(argc, argv, &spec);
}
