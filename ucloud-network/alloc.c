#include "ucloud-network/alloc.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/parse.h"

#define POOL_LEN_MIN 32
#define POOL_LEN_MAX 63

/* ---------------------------------------------------------------- /64s and pools */

static uint64_t upper_half(const struct in6_addr *a)
{
	uint64_t half = 0;

	for (size_t i = 0; i < 8; i++)
		half = half << 8 | a->s6_addr[i];
	return half;
}

static bool has_lower_half(const struct in6_addr *a)
{
	static const unsigned char none[8];

	return memcmp(a->s6_addr + 8, none, sizeof(none)) != 0;
}

/* "ADDRESS/LEN" */
static int parse_prefix(const char *text, int64_t min, int64_t max, struct in6_addr *a,
	int64_t *len, struct err *e)
{
	const char *slash = strchr(text, '/');
	CLEANUP_STR char *address = xstrndup(text, strcspn(text, "/"));

	if (slash && inet_pton(AF_INET6, address, a) == 1 &&
		parse_int64(slash + 1, min, max, len, NULL) == 0)
		return 0;
	return err_set(e, ERR_INVALID,
		"\"%s\" is no IPv6 prefix of /%d to /%d, as 2001:db8:1000::/36", text,
		(int)min, (int)max);
}

static char *format_prefix(uint64_t first, int len)
{
	struct in6_addr a = { 0 };
	char text[INET6_ADDRSTRLEN];

	for (size_t i = 0; i < 8; i++)
		a.s6_addr[i] = (unsigned char)(first >> (56 - 8 * i));
	return xasprintf("%s/%d", inet_ntop(AF_INET6, &a, text, sizeof(text)), len);
}

static uint64_t host_bits(int len)
{
	assert(len > 0 && len <= 64);
	return (UINT64_C(1) << (64 - len)) - 1;
}

int alloc_pool_parse(const char *text, struct alloc_pool *out, struct err *e)
{
	struct in6_addr a = { 0 };
	int64_t len = 0;

	if (parse_prefix(text, POOL_LEN_MIN, POOL_LEN_MAX, &a, &len, e) < 0)
		return -1;
	if (has_lower_half(&a) || (upper_half(&a) & host_bits((int)len)))
		return err_set(e, ERR_INVALID,
			"\"%s\" has bits set behind its first %d: they must be 0", text,
			(int)len);
	*out = (struct alloc_pool){ upper_half(&a), (int)len };
	return 0;
}

uint64_t alloc_pool_last(const struct alloc_pool *p)
{
	return p->first | host_bits(p->len);
}

char *alloc_pool_format(const struct alloc_pool *p)
{
	return format_prefix(p->first, p->len);
}

void alloc_pools_done(struct alloc_pools *p)
{
	free(p->v);
	*p = (struct alloc_pools){ 0 };
}

static int add_pool(struct alloc_pools *p, const char *text, struct err *e)
{
	struct alloc_pool new = { 0 };

	if (alloc_pool_parse(text, &new, e) < 0)
		return -1;
	for (size_t i = 0; i < p->len; i++)
		if (p->v[i].first <= alloc_pool_last(&new) &&
			new.first <= alloc_pool_last(&p->v[i])) {
			CLEANUP_STR char *other = alloc_pool_format(&p->v[i]);

			return err_set(e, ERR_INVALID,
				"%s and %s lie inside each other: keep the larger one",
				text, other);
		}
	p->v = xreallocarray(p->v, p->len + 1, sizeof(*p->v));
	p->v[p->len++] = new;
	return 0;
}

int alloc_pools_parse(const struct strv *texts, struct alloc_pools *out, struct err *e)
{
	struct alloc_pools p = { 0 };

	for (size_t i = 0; i < texts->len; i++)
		if (add_pool(&p, texts->v[i], e) < 0) {
			alloc_pools_done(&p);
			return -1;
		}
	*out = p;
	return 0;
}

bool alloc_pools_has(const struct alloc_pools *p, uint64_t prefix)
{
	for (size_t i = 0; i < p->len; i++)
		if (prefix >= p->v[i].first && prefix <= alloc_pool_last(&p->v[i]))
			return true;
	return false;
}

int alloc_prefix_parse(const char *text, uint64_t *out, struct err *e)
{
	struct in6_addr a = { 0 };
	int64_t len = 0;

	if (parse_prefix(text, 64, 64, &a, &len, e) < 0)
		return -1;
	if (has_lower_half(&a))
		return err_set(e, ERR_INVALID,
			"\"%s\" has bits set behind its first 64: they must be 0", text);
	*out = upper_half(&a);
	return 0;
}

char *alloc_prefix_format(uint64_t prefix)
{
	return format_prefix(prefix, 64);
}

/* ---------------------------------------------------------------- what is there */

static void add(struct alloc_present *p, uint64_t v)
{
	if (p->len == p->cap) {
		p->cap = p->cap ? 2 * p->cap : 64;
		p->v = xreallocarray(p->v, p->cap, sizeof(*p->v));
	}
	p->v[p->len++] = v;
	p->is_sorted = false;
}

static void note_rest(struct alloc_state *s, int64_t free_at)
{
	if (free_at == 0)
		return;
	s->n_resting++;
	if (s->first_free_at == 0 || free_at < s->first_free_at)
		s->first_free_at = free_at;
}

void alloc_add_vni(struct alloc_state *s, const char *name, int64_t free_at)
{
	int64_t vni;

	if (parse_int64(name, ALLOC_VNI_MIN, ALLOC_VNI_MAX, &vni, NULL) < 0)
		return;
	add(&s->vnis, (uint64_t)vni);
	note_rest(s, free_at);
}

void alloc_add_prefix(struct alloc_state *s, const char *name, int64_t free_at)
{
	uint64_t prefix = 0;

	if (alloc_prefix_parse(name, &prefix, NULL) < 0)
		return;
	add(&s->prefixes, prefix);
	note_rest(s, free_at);
}

void alloc_state_done(struct alloc_state *s)
{
	free(s->vnis.v);
	free(s->prefixes.v);
	*s = (struct alloc_state){ 0 };
}

bool alloc_is_over(int64_t free_at, int64_t now)
{
	return free_at != 0 && free_at <= now;
}

/* ---------------------------------------------------------------- picking */

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Index of the first that is v or more. */
static size_t lower_bound(const struct alloc_present *p, uint64_t v)
{
	size_t lo = 0, hi = p->len;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->v[mid] < v)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The lowest from min to max that is not there. Each may be there twice. */
static bool lowest_free(
	struct alloc_present *p, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t want = min;

	if (!p->is_sorted && p->len > 0)
		qsort(p->v, p->len, sizeof(*p->v), compare);
	p->is_sorted = true;
	for (size_t i = lower_bound(p, min); i < p->len && p->v[i] <= want; i++) {
		if (p->v[i] < want)
			continue;
		if (want == max)
			return false;
		want++;
	}
	*out = want;
	return true;
}

/* " (2 rest after use, the first until ...)" */
static char *resting_text(const struct alloc_state *s)
{
	char until[TIME_STR_SIZE];

	if (s->n_resting == 0)
		return xstrdup("");
	time_format(s->first_free_at, until);
	return xasprintf(" (%zu rest%s after use, the first until %s)", s->n_resting,
		s->n_resting == 1 ? "s" : "", until);
}

static int no_vni(const struct alloc_conf *c, const struct alloc_state *s, struct err *e)
{
	CLEANUP_STR char *resting = resting_text(s);

	return err_set(e, ERR_NO_SPACE,
		"all VXLAN ids from %jd to %jd are in use%s: delete networks that are "
		"not needed, or let an operator raise vni_max of ucloud-network on the "
		"routers",
		(intmax_t)c->vni_min, (intmax_t)c->vni_max, resting);
}

static int no_prefix(
	const struct alloc_conf *c, const struct alloc_state *s, struct err *e)
{
	CLEANUP_STR char *resting = resting_text(s);
	CLEANUP(strv_done) struct strv names = { 0 };
	CLEANUP_STR char *pools = NULL;

	if (c->pools->len == 0)
		return err_set(e, ERR_NO_SPACE,
			"there is no prefix to take a /64 from: an operator must give "
			"ucloud-network on the routers one (option prefix)");
	for (size_t i = 0; i < c->pools->len && i < 8; i++)
		strv_add_take(&names, alloc_pool_format(&c->pools->v[i]));
	pools = strv_join(&names, ", ");
	return err_set(e, ERR_NO_SPACE,
		"all /64s of %s%s are in use%s: delete networks that are not needed, or "
		"let an operator add a prefix to ucloud-network on the routers",
		pools, c->pools->len > names.len ? ", ..." : "", resting);
}

static bool pick_prefix(
	const struct alloc_pools *pools, struct alloc_present *p, uint64_t *out)
{
	for (size_t i = 0; i < pools->len; i++)
		if (lowest_free(p, pools->v[i].first, alloc_pool_last(&pools->v[i]), out))
			return true;
	return false;
}

int alloc_pick(const struct alloc_conf *c, struct alloc_state *s, bool want_prefix,
	struct alloc *out, struct err *e)
{
	struct alloc got = { 0 };
	uint64_t vni;

	assert(c->vni_min >= ALLOC_VNI_MIN && c->vni_max <= ALLOC_VNI_MAX);
	if (c->vni_min > c->vni_max ||
		!lowest_free(&s->vnis, (uint64_t)c->vni_min, (uint64_t)c->vni_max, &vni))
		return no_vni(c, s, e);
	if (want_prefix && !pick_prefix(c->pools, &s->prefixes, &got.prefix))
		return no_prefix(c, s, e);
	got.vni = (int64_t)vni;
	*out = got;
	return 0;
}
