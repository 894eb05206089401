#include "ucloud-network/checkverb.h"

#include <arpa/inet.h>
#include <string.h>

#include "common/model/names.h"
#include "ucloud-network/limits.h"
#include "ucloud-network/probe_ask.h"

/* What /v1/underlay/ says. */
struct others {
	struct probe_targets targets;
	int64_t *mtus;	   /* of targets, as they say */
	bool is_own_there; /* our address is in it: the others answer us */
};

static void others_done(struct others *o)
{
	probe_targets_done(&o->targets);
	free(o->mtus);
}

static void problem(struct buf *text, size_t *n_problems, const char *sentence)
{
	buf_addf(text, "%s\n", sentence);
	++*n_problems;
}

/* ---------------------------------------------------------------- this machine */

int check_machine(const struct check_conf *c, struct underlay_if *out, struct buf *text,
	size_t *n_problems, struct err *e)
{
	CLEANUP(strv_done) struct strv low = { 0 };

	if (underlay_look(c->underlay, out, e) < 0)
		return -1;
	limits_look(c->is_router, &low);
	for (size_t i = 0; i < low.len; i++)
		problem(text, n_problems, low.v[i]);
	return 0;
}

/* ---------------------------------------------------------------- who is there */

static void add_other(struct others *o, const struct check_conf *c,
	const struct underlay_if *u, const char *host, const struct underlay *other)
{
	struct in6_addr address;

	if (other->address && inet_pton(AF_INET6, other->address, &address) == 1 &&
		memcmp(&address, &u->address, sizeof(address)) == 0)
		o->is_own_there = true;
	if (str_eq(host, c->host) || !probe_targets_add(&o->targets, host, other->address,
					     other->mtu, &u->address, u->mtu))
		return;
	o->mtus = xreallocarray(o->mtus, o->targets.len, sizeof(*o->mtus));
	o->mtus[o->targets.len - 1] = other->mtu;
}

/* What one sends to a group is not heard by one that has none. */
static void look_at_flood(const struct check_conf *c, const char *host,
	const struct underlay *other, struct buf *text, size_t *n_problems)
{
	const char *ours = flood_names[c->flood];

	if (str_is_empty(other->flood) || str_eq(other->flood, ours))
		return;
	CLEANUP_STR char *sentence = xasprintf(
		"%s sends what floods by %s, this machine by %s: VMs on the two may not "
		"find each other; give every ucloud-network the same --flood",
		host, other->flood, ours);

	problem(text, n_problems, sentence);
}

/* One that cannot be read is a problem of its own. */
static void read_other(struct others *o, const struct check_conf *c,
	const struct underlay_if *u, const struct kv_pair *pair, struct buf *text,
	size_t *n_problems)
{
	const char *host = pair->key + strlen(KEY_UNDERLAY);
	struct underlay other = { 0 };
	struct err why = { 0 };

	if (hostname_check(host, &why) == 0 &&
		jtab_parse_text(&underlay_jtab, pair->value, pair->value_size,
			JTAB_STORED, &other, &why) == 0) {
		add_other(o, c, u, host, &other);
		if (!str_eq(host, c->host))
			look_at_flood(c, host, &other, text, n_problems);
		jtab_done(&underlay_jtab, &other);
	} else {
		CLEANUP_STR char *sentence = xasprintf(
			"an entry in " KEY_UNDERLAY " cannot be read: %s", why.msg);

		problem(text, n_problems, sentence);
	}
}

/* ---------------------------------------------------------------- the table */

static const char *word(unsigned asked, unsigned answered, enum probe_how how)
{
	if ((asked & PROBE_BIT(how)) == 0)
		return "-";
	return answered & PROBE_BIT(how) ? "yes" : "no";
}

struct widths {
	int host, address;
};

static void widen(int *width, const char *text)
{
	int len = (int)strlen(text);

	if (len > *width)
		*width = len;
}

static const char *address_text(const struct in6_addr *a, char out[INET6_ADDRSTRLEN])
{
	return inet_ntop(AF_INET6, a, out, INET6_ADDRSTRLEN);
}

static struct widths widths_of(
	const struct check_conf *c, const struct underlay_if *u, const struct others *o)
{
	struct widths w = { (int)strlen("HOST"), (int)strlen("ADDRESS") };
	char address[INET6_ADDRSTRLEN];

	widen(&w.host, c->host);
	widen(&w.address, address_text(&u->address, address));
	for (size_t i = 0; i < o->targets.len; i++) {
		widen(&w.host, o->targets.v[i].host);
		widen(&w.address, address_text(&o->targets.v[i].address, address));
	}
	return w;
}

static void add_row(struct buf *text, const struct widths *w, const char *host,
	const struct in6_addr *a, int64_t mtu, const char *multicast, const char *large)
{
	char address[INET6_ADDRSTRLEN];

	buf_addf(text, "%-*s  %-*s  %5jd  %-9s  %s\n", w->host, host, w->address,
		address_text(a, address), (intmax_t)mtu, multicast, large);
}

static void add_table(const struct check_conf *c, const struct underlay_if *u,
	const struct others *o, unsigned asked, struct buf *text)
{
	struct widths w = widths_of(c, u, o);

	buf_addf(text, "%-*s  %-*s  %5s  %-9s  %s\n", w.host, "HOST", w.address,
		"ADDRESS", "MTU", "MULTICAST", "LARGE");
	add_row(text, &w, c->host, &u->address, u->mtu, "-", "- (this machine)");
	for (size_t i = 0; i < o->targets.len; i++) {
		const struct probe_target *t = &o->targets.v[i];

		add_row(text, &w, t->host, &t->address, o->mtus[i],
			word(asked, t->answered, PROBE_MULTICAST),
			word(asked, t->answered, PROBE_LARGE));
	}
}

/* ---------------------------------------------------------------- what is wrong */

static void add_problems(const struct check_conf *c, struct others *o, unsigned asked,
	struct buf *text, size_t *n_problems)
{
	for (size_t i = 0; i < o->targets.len; i++)
		o->targets.v[i].lacks = probe_lacks(asked, o->targets.v[i].answered);
	for (int lack = 0; lack < PROBE_N_LACKS; lack++) {
		CLEANUP(buf_done) struct buf sentence = { 0 };

		if (probe_tell(&o->targets, (enum probe_lack)lack, false, c->port,
			    &sentence))
			problem(text, n_problems, buf_str(&sentence));
	}
}

/* They answer only those that they know. */
static void add_absent(const struct check_conf *c, const struct underlay_if *u,
	struct buf *text, size_t *n_problems)
{
	CLEANUP_STR char *own = underlay_address(u);
	CLEANUP_STR char *sentence = xasprintf(
		"the others do not know this machine as %s (%s), so they answer nothing: "
		"start ucloud-network here first",
		c->host, own);

	problem(text, n_problems, sentence);
}

int check_others(const struct check_conf *c, const struct underlay_if *u, struct kv *kv,
	struct buf *text, size_t *n_problems, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	CLEANUP(others_done) struct others o = { 0 };
	const struct probe_ask ask = { .underlay = u,
		.port = c->port,
		.is_multicast = c->flood == FLOOD_MULTICAST,
		.limit_msec = c->time_sec * 1000,
		.stop_fd = -1 };
	unsigned asked = 0;

	if (kv_range(kv, KEY_UNDERLAY, 0, &list, e) != 0)
		return -1;
	for (size_t i = 0; i < list.len; i++)
		read_other(&o, c, u, &list.v[i], text, n_problems);
	if (o.targets.len > 0 && o.is_own_there && c->port != 0) {
		if (probe_ask(&ask, &o.targets, e) != 0)
			return -1;
		asked = probe_asked(&ask);
	}
	add_table(c, u, &o, asked, text);
	if (asked != 0)
		add_problems(c, &o, asked, text, n_problems);
	if (o.targets.len == 0)
		buf_add_str(text, "no other machine is known\n");
	else if (c->port == 0)
		buf_add_str(text, "check_port is 0: nobody was asked\n");
	else if (!o.is_own_there)
		add_absent(c, u, text, n_problems);
	return 0;
}
