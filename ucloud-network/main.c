/*
 * ucloud-network: the networks on a VM host, and on a router.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "common/base/daemon.h"
#include "common/base/jtab.h"
#include "common/base/log.h"
#include "common/model/names.h"
#include "common/store/kv_etcd.h"
#include "ucloud-network/alloc.h"
#include "ucloud-network/checkverb.h"
#include "ucloud-network/limits.h"
#include "ucloud-network/netd.h"
#include "ucloud-network/routerrole.h"

struct network_conf {
	struct daemon_conf daemon;
	struct etcd_conf etcd;
	struct keys keys;
	char *hostname;
	struct strv role, prefix;
	struct router_conf router;
	char *underlay;
	int flood;
	int64_t lease_ttl, resync, linger, check_port;
	int64_t check_time; /* of the subcommand */
};

#define AT(member) offsetof(struct network_conf, member)

/* "host" or "host,router": each part is a role of ours. */
static int role_check(const char *value, struct err *e)
{
	CLEANUP(strv_done) struct strv parts = { 0 };

	strv_split(&parts, value, ',');
	for (size_t i = 0; i < parts.len; i++)
		if (!netd_find_role(parts.v[i]))
			return err_set(e, ERR_INVALID,
				"there is no role \"%s\": host or router", parts.v[i]);
	return parts.len > 0 ? 0 : err_set(e, ERR_INVALID, "a role is host or router");
}

/* A pool that /64s are taken from. */
static int pool_check(const char *value, struct err *e)
{
	struct alloc_pool pool;

	return alloc_pool_parse(value, &pool, e);
}

static const struct conf_opt network_opts[] = {
	{ "hostname", CONF_STR, AT(hostname), .meta = "NAME", .check = hostname_check,
		.help = "name of this machine in ucloud (default: the machine's name)" },
	{ "role", CONF_STRV, AT(role), .def = "host", .meta = "ROLE", .check = role_check,
		.help = "what it does: host (networks of the VMs placed here), router "
			"(hands out ids and prefixes, routes, announces); repeatable, or "
			"with commas" },
	{ "underlay", CONF_STR, AT(underlay), CONF_NEED, .meta = "IFACE",
		.help = "interface that reaches the other hosts and routers; needs IPv6 "
			"and an MTU of 1350 or more" },
	{ "prefix", CONF_STRV, AT(prefix), .meta = "PREFIX", .check = pool_check,
		.help = "router: networks get their /64s out of it, /32 to /63; "
			"repeatable" },
	{ "flood", CONF_ENUM, AT(flood), .def = "multicast", .names = flood_names,
		.meta = "HOW",
		.help = "how frames reach all machines of a network: multicast groups, "
			"or unicast, a copy for each machine" },
	{ "linger", CONF_DURATION, AT(linger), .def = "5m", .max = 86400, .meta = "TIME",
		.help = "how long a network stays on this host after its last VM left" },
	{ "check_port", CONF_INT, AT(check_port), .def = "30145", .max = 65535,
		.meta = "PORT",
		.help = "UDP port on which the machines find out whether they reach each "
			"other; the same on all of them; 0: they do not" },
	{ "lease_ttl", CONF_DURATION, AT(lease_ttl), .def = "10s", .min = 2, .max = 3600,
		.meta = "TIME",
		.help = "time without a sign of life after which the others forget this "
			"machine" },
	{ "resync", CONF_DURATION, AT(resync), .def = "10m", .min = 1, .max = 86400,
		.meta = "TIME",
		.help = "how often everything is looked at without an occasion" },
	{ 0 },
};

static const struct conf_part parts[] = {
	{ network_opts, 0 },
	{ router_opts, AT(router) },
	{ etcd_opts, AT(etcd) },
	{ keys_opts, AT(keys) },
	{ daemon_opts, AT(daemon) },
	{ 0 },
};

struct state {
	struct kv *kv;
	struct netd *netd;
};

/* ---------------------------------------------------------------- what is true of options */

static int set_hostname(struct network_conf *c, struct err *e)
{
	char name[256] = "";

	if (str_is_empty(c->hostname)) {
		if (gethostname(name, sizeof(name) - 1) < 0)
			return err_errno(e, errno, "the name of this machine");
		str_set(&c->hostname, xstrdup(name));
	}
	if (hostname_check(c->hostname, e) < 0)
		return err_wrap(e, "hostname");
	return 0;
}

/* "host,router" becomes two, each once. */
static void split_roles(struct strv *role)
{
	struct strv each = { 0 };

	for (size_t i = 0; i < role->len; i++) {
		CLEANUP(strv_done) struct strv names = { 0 };

		strv_split(&names, role->v[i], ',');
		for (size_t k = 0; k < names.len; k++)
			if (!strv_has(&each, names.v[k]))
				strv_add(&each, names.v[k]);
	}
	strv_done(role);
	*role = each;
}

static int check(void *conf, struct err *e)
{
	struct network_conf *c = conf;

	if (set_hostname(c, e) < 0)
		return -1;
	split_roles(&c->role);
	if (c->role.len == 0)
		return err_set_field(e, ERR_INVALID, "role", "role must be given");
	if (!str_is_empty(c->daemon.user))
		return err_set_field(e, ERR_INVALID, "user",
			"ucloud-network needs capabilities, which a change of user takes "
			"away: let systemd choose the user, as its unit does");
	if (router_conf_check(&c->router, &c->prefix, e) < 0)
		return -1;
	return keys_check(&c->keys, e);
}

static int setup(void *conf, struct err *e)
{
	struct network_conf *c = conf;
	struct underlay_if underlay;

	if (underlay_look(c->underlay, &underlay, e) < 0)
		return -1;
	return kv_etcd_check(&c->etcd, e);
}

/* ---------------------------------------------------------------- running */

static int start(void *conf, void **out, struct err *e)
{
	struct network_conf *c = conf;
	struct netd_conf n = { .host = c->hostname,
		.keys = &c->keys,
		.roles = &c->role,
		.prefixes = &c->prefix,
		.router = &c->router,
		.flood = (enum flood_kind)c->flood,
		.lease_ttl_sec = c->lease_ttl,
		.resync_sec = c->resync,
		.linger_sec = c->linger,
		.check = { .port = (uint16_t)c->check_port } };
	CLEANUP(strv_done) struct strv low = { 0 };
	struct state *s;

	if (underlay_look(c->underlay, &n.underlay, e) < 0)
		return -1;
	limits_raise(strv_has(&c->role, router_role.name), &low);
	for (size_t i = 0; i < low.len; i++)
		log_warn("%s", low.v[i]);
	s = xcalloc(1, sizeof(*s));
	if (kv_etcd_open(&c->etcd, &s->kv, e) < 0) {
		free(s);
		return -1;
	}
	s->netd = netd_new(s->kv, &n);
	if (netd_start(s->netd, e) < 0)
		return -1; /* the process ends */
	*out = s;
	return 0;
}

static int health(void *state, struct err *e)
{
	return netd_health(((struct state *)state)->netd, e);
}

static void stop(void *state)
{
	struct state *s = state;

	if (!netd_free(s->netd)) {
		log_warn("something under way could not be ended");
		return; /* it is still used, and the process ends anyway */
	}
	kv_close(s->kv);
	free(s);
}

/* ---------------------------------------------------------------- check */

static int check_all(
	struct network_conf *c, struct buf *text, size_t *n_problems, struct err *e)
{
	const struct check_conf check_conf = { .host = c->hostname,
		.underlay = c->underlay,
		.flood = (enum flood_kind)c->flood,
		.is_router = strv_has(&c->role, router_role.name),
		.port = (uint16_t)c->check_port,
		.time_sec = c->check_time };
	struct etcd_conf quiet = c->etcd;
	struct underlay_if underlay;
	struct kv *kv = NULL;
	int rc;

	if (check_machine(&check_conf, &underlay, text, n_problems, e) < 0)
		return -1;
	quiet.is_quiet = true;
	if (kv_etcd_open(&quiet, &kv, e) < 0)
		return -1;
	rc = check_others(&check_conf, &underlay, kv, text, n_problems, e);
	kv_close(kv);
	return rc;
}

static int run_check(void *conf, const struct strv *rest)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	size_t n_problems = 0;
	struct err e = { 0 };
	int rc;

	if (rest->len > 0) {
		fprintf(stderr, "ucloud-network check: \"%s\" means nothing here\n",
			rest->v[0]);
		return 2;
	}
	rc = check_all(conf, &text, &n_problems, &e);
	fputs(buf_str(&text), stdout);
	if (rc < 0)
		fprintf(stderr, "ucloud-network check: %s\n", e.msg);
	return fflush(stdout) == 0 && rc == 0 && n_problems == 0 ? 0 : 1;
}

static const struct conf_opt check_opts[] = {
	{ "time", CONF_DURATION, AT(check_time), CONF_CLI_ONLY, .def = "3s", .min = 1,
		.max = 60, .meta = "TIME", .help = "how long to wait for answers" },
	{ 0 },
};

static const struct daemon_verb verbs[] = {
	{ "check", "check [--time TIME]",
		"say which machines are reached over the underlay, and what to do about "
		"the others",
		run_check, check_opts },
	{ 0 },
};

int main(int argc, char **argv)
{
	static const struct daemon_spec spec = {
		.name = "ucloud-network",
		.summary = "makes the networks of VMs on this host, or routes them",
		.conf = { "ucloud-network", parts, sizeof(struct network_conf) },
		.daemon_conf_off = AT(daemon),
		.default_metrics_listen = "[::1]:9477",
		.check = check,
		.setup = setup,
		.start = start,
		.health = health,
		.stop = stop,
		.verbs = verbs,
	};

	return daemon_main(argc, argv, &spec);
}
