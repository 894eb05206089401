#include "ucloud-network/probe_judge.h"

#include <arpa/inet.h>
#include <string.h>

/* So many machines are named in a sentence. */
#define NAMED_MAX 8

#define LACK_BIT(lack) (1u << (lack))

const char *const probe_lack_names[] = {
	[LACK_MULTICAST] = "multicast", [LACK_LARGE] = "large", [LACK_ALL] = "all", NULL
};

struct probe_known {
	char *host;
	struct in6_addr address;
	int64_t packet;
	unsigned found; /* what the last round found to lack */
	unsigned said;
};

void probe_targets_done(struct probe_targets *t)
{
	for (size_t i = 0; i < t->len; i++)
		free(t->v[i].host);
	free(t->v);
	*t = (struct probe_targets){ 0 };
}

static int64_t smaller(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

bool probe_targets_add(struct probe_targets *t, const char *host, const char *address,
	int64_t mtu, const struct in6_addr *own, int64_t own_mtu)
{
	struct probe_target new = { 0 };

	if (!address || inet_pton(AF_INET6, address, &new.address) != 1 ||
		memcmp(&new.address, own, sizeof(*own)) == 0)
		return false;
	new.host = xstrdup(host);
	new.packet = smaller(own_mtu, PROBE_PACKET_MAX);
	if (mtu >= PROBE_OVERHEAD + PROBE_SIZE)
		new.packet = smaller(mtu, new.packet);
	t->v = xreallocarray(t->v, t->len + 1, sizeof(*t->v));
	t->v[t->len++] = new;
	return true;
}

static bool has_host(const struct probe_targets *t, const char *host)
{
	for (size_t i = 0; i < t->len; i++)
		if (str_eq(t->v[i].host, host))
			return true;
	return false;
}

void probe_targets_keep(struct probe_targets *t, const struct probe_targets *there)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->len; i++) {
		if (has_host(there, t->v[i].host))
			t->v[kept++] = t->v[i];
		else
			free(t->v[i].host);
	}
	t->len = kept;
}

unsigned probe_lacks(unsigned asked, unsigned answered)
{
	unsigned lost = asked & ~answered, lacks = 0;

	if ((asked & answered) == 0)
		return LACK_BIT(LACK_ALL);
	if (lost & PROBE_BIT(PROBE_MULTICAST))
		lacks |= LACK_BIT(LACK_MULTICAST);
	if (lost & PROBE_BIT(PROBE_LARGE))
		lacks |= LACK_BIT(LACK_LARGE);
	return lacks;
}

/* ---------------------------------------------------------------- earlier rounds */

static void known_done(struct probe_known *k)
{
	free(k->host);
}

void probe_memory_done(struct probe_memory *m)
{
	for (size_t i = 0; i < m->len; i++)
		known_done(&m->v[i]);
	free(m->v);
	*m = (struct probe_memory){ 0 };
}

static struct probe_known *find(const struct probe_memory *m, const char *host)
{
	for (size_t i = 0; i < m->len; i++)
		if (str_eq(m->v[i].host, host))
			return &m->v[i];
	return NULL;
}

static bool is_same(const struct probe_known *k, const struct probe_target *t)
{
	return memcmp(&k->address, &t->address, sizeof(k->address)) == 0 &&
	       k->packet == t->packet;
}

bool probe_memory_is_due(const struct probe_memory *m, const struct probe_target *t)
{
	const struct probe_known *k = find(m, t->host);

	return !k || !is_same(k, t) || k->found != 0;
}

static struct probe_known *add(struct probe_memory *m, const char *host)
{
	struct probe_known *k;

	m->v = xreallocarray(m->v, m->len + 1, sizeof(*m->v));
	k = &m->v[m->len++];
	*k = (struct probe_known){ .host = xstrdup(host) };
	return k;
}

void probe_memory_note(struct probe_memory *m, unsigned asked, struct probe_targets *t)
{
	for (size_t i = 0; i < t->len; i++) {
		struct probe_target *target = &t->v[i];
		unsigned found = probe_lacks(asked, target->answered);
		struct probe_known *k = find(m, target->host);

		if (!k)
			k = add(m, target->host);
		if (!is_same(k, target))
			k->found = 0; /* of what it was before */
		target->was = k->said;
		target->lacks = k->said = k->found ? found : 0;
		k->found = found;
		k->address = target->address;
		k->packet = target->packet;
	}
}

void probe_memory_keep(struct probe_memory *m, const struct probe_targets *t)
{
	size_t kept = 0;

	for (size_t i = 0; i < m->len; i++) {
		if (has_host(t, m->v[i].host))
			m->v[kept++] = m->v[i];
		else
			known_done(&m->v[i]);
	}
	m->len = kept;
}

size_t probe_memory_count(const struct probe_memory *m, enum probe_lack lack)
{
	size_t n = 0;

	for (size_t i = 0; i < m->len; i++)
		n += (m->v[i].said & LACK_BIT(lack)) != 0;
	return n;
}

bool probe_memory_has_lacks(const struct probe_memory *m)
{
	for (size_t i = 0; i < m->len; i++)
		if (m->v[i].found != 0)
			return true;
	return false;
}

/* ---------------------------------------------------------------- in words */

static void add_name(const struct probe_target *t, enum probe_lack lack, struct buf *out)
{
	char address[INET6_ADDRSTRLEN];

	buf_addf(out, "%s (%s", t->host,
		inet_ntop(AF_INET6, &t->address, address, sizeof(address)));
	if (lack == LACK_LARGE)
		buf_addf(out, ", %jd bytes", (intmax_t)t->packet);
	if (lack == LACK_ALL && t->errnum)
		buf_addf(out, ": %s", strerrordesc_np(t->errnum));
	buf_add_char(out, ')');
}

/* "h2 (fd00::2), h3 (fd00::3) and 5 more" of those that is_it() says; how many. */
static size_t add_names(const struct probe_targets *t,
	bool (*is_it)(const struct probe_target *t, unsigned bit, bool only_new),
	enum probe_lack lack, bool only_new, struct buf *out)
{
	size_t n = 0;

	for (size_t i = 0; i < t->len; i++) {
		if (!is_it(&t->v[i], LACK_BIT(lack), only_new))
			continue;
		if (n++ >= NAMED_MAX)
			continue;
		if (n > 1)
			buf_add_str(out, ", ");
		add_name(&t->v[i], lack, out);
	}
	if (n > NAMED_MAX)
		buf_addf(out, " and %zu more", n - NAMED_MAX);
	return n;
}

static bool lacks_it(const struct probe_target *t, unsigned bit, bool only_new)
{
	return (t->lacks & bit) != 0 && !(only_new && (t->was & bit) != 0);
}

static bool is_healed(const struct probe_target *t, unsigned bit, bool only_new)
{
	(void)bit;
	(void)only_new;
	return t->was != 0 && t->lacks == 0;
}

bool probe_tell(const struct probe_targets *t, enum probe_lack lack, bool only_new,
	int64_t port, struct buf *out)
{
	CLEANUP(buf_done) struct buf names = { 0 };
	size_t n = add_names(t, lacks_it, lack, only_new, &names);

	if (n == 0)
		return false;
	if (lack == LACK_MULTICAST)
		buf_addf(out,
			"%s %s not reached by multicast: let the switches forward MLD "
			"groups (snooping needs a querier), or give every "
			"ucloud-network --flood unicast",
			buf_str(&names), n == 1 ? "is" : "are");
	else if (lack == LACK_LARGE)
		buf_addf(out,
			"%s %s not get packets as large as the underlay's MTU: give all "
			"switches and routers between the machines this MTU, or lower "
			"that of the underlay interfaces",
			buf_str(&names), n == 1 ? "does" : "do");
	else
		buf_addf(out,
			"%s %s not answer: is there a way between the machines, of at "
			"most 3 routers, and is UDP port %jd let in from the underlay "
			"there?",
			buf_str(&names), n == 1 ? "does" : "do", (intmax_t)port);
	return true;
}

bool probe_tell_healed(const struct probe_targets *t, struct buf *out)
{
	CLEANUP(buf_done) struct buf names = { 0 };
	size_t n = add_names(t, is_healed, LACK_MULTICAST, true, &names);

	if (n == 0)
		return false;
	buf_addf(out, "%s %s reached again", buf_str(&names), n == 1 ? "is" : "are");
	return true;
}
