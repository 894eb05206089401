/*
 * Idempotency-Keys (draft-ietf-httpapi-idempotency-key-header): a create that is repeated
 * with the same key is carried out once, for at least a day.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "ucloud-api/orders_impl.h"

enum { KEY_LEN_MAX = 128, HOUR_SEC = 3600, LEASE_TTL_SEC = 25 * HOUR_SEC };

struct idem_value {
	char *digest, *subject;
};

static const struct jtab_field idem_fields[] = {
	{ "digest", JT_STR, offsetof(struct idem_value, digest), JT_NEED,
		.max = SHA256_HEX_SIZE },
	{ "subject", JT_STR, offsetof(struct idem_value, subject), JT_NEED, .max = 256 },
	{ 0 },
};
static const struct jtab idem_jtab = { "idempotency", sizeof(struct idem_value),
	idem_fields };

static void idem_value_done(struct idem_value *v)
{
	jtab_done(&idem_jtab, v);
}

int idempotency_key_check(const char *s, struct err *e)
{
	size_t len = strlen(s), n_printable = 0;

	while (n_printable < len && s[n_printable] >= 0x20 && s[n_printable] <= 0x7e)
		n_printable++;
	if (len == 0 || len > KEY_LEN_MAX || n_printable < len)
		return err_set_field(e, ERR_INVALID, "Idempotency-Key",
			"an Idempotency-Key is 1-%d printable ASCII characters",
			KEY_LEN_MAX);
	return 0;
}

/* One lease serves all keys of an hour. */
static int lease_get(struct orders *o, int64_t now, int64_t *lease, struct err *e)
{
	int64_t hour = now / HOUR_SEC;

	pthread_mutex_lock(&o->lock);
	*lease = o->idem_hour == hour ? o->idem_lease : 0;
	pthread_mutex_unlock(&o->lock);
	if (*lease)
		return 0;
	if (kv_lease_grant(o->kv, LEASE_TTL_SEC, lease, e) < 0)
		return -1;
	pthread_mutex_lock(&o->lock);
	o->idem_hour = hour;
	o->idem_lease = *lease;
	pthread_mutex_unlock(&o->lock);
	return 0;
}

bool idem_failed(struct orders *o, const struct idem *idem, const struct err *e)
{
	if (!idem->key || e->kind != ERR_NOT_FOUND)
		return false;
	pthread_mutex_lock(&o->lock);
	if (o->idem_lease == idem->lease)
		o->idem_lease = 0;
	pthread_mutex_unlock(&o->lock);
	return true;
}

/* The same for bodies that say the same. */
static void digest_of(const char *what, json_t *body, char out[SHA256_HEX_SIZE])
{
	CLEANUP(buf_done) struct buf b = { 0 };
	char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);

	buf_addf(&b, "%s\n%s", what, text ? text : "");
	free(text);
	sha256_hex(b.s, b.size, out);
}

int idem_init(struct orders *o, const struct who *who, const char *what,
	const char *idempotency_key, json_t *body, int64_t now, struct idem *out,
	struct err *e)
{
	struct idem idem = { 0 };
	char id[SHA256_HEX_SIZE];

	if (!idempotency_key) {
		*out = idem;
		return 0;
	}
	if (idempotency_key_check(idempotency_key, e) < 0 ||
		lease_get(o, now, &idem.lease, e) < 0)
		return -1;
	sha256_hex(idempotency_key, strlen(idempotency_key), id);
	idem.key = key_idempotency(who->realm, who->name, id);
	digest_of(what, body, idem.digest);
	*out = idem;
	return 0;
}

int idem_look(const struct idem *idem, struct draft *d, char **subject, struct err *e)
{
	CLEANUP(idem_value_done) struct idem_value v = { 0 };
	struct seen seen;

	if (!idem->key)
		return 0;
	if (!draft_see_new(d, idem->key, &seen))
		return DRAFT_MORE;
	if (!seen.value)
		return 0;
	if (jtab_parse_text(&idem_jtab, seen.value, seen.size, JTAB_STORED, &v, e) < 0)
		return err_set(e, ERR_INTERNAL,
			"what is stored for this Idempotency-Key cannot be read");
	if (!str_eq(v.digest, idem->digest))
		return err_set_field(e, ERR_CONFLICT, "Idempotency-Key",
			"this Idempotency-Key was used for another order: choose a new "
			"one for each");
	str_set(subject, MOVE(v.subject));
	return DRAFT_AS_IT_IS;
}

void idem_write(const struct idem *idem, struct draft *d, const char *subject)
{
	CLEANUP(idem_value_done) struct idem_value v = { 0 };
	CLEANUP_STR char *text = NULL;

	if (!idem->key)
		return;
	v.digest = xstrdup(idem->digest);
	v.subject = xstrdup(subject);
	text = jtab_format_text(&idem_jtab, &v);
	draft_same(d, idem->key);
	draft_put_lease(d, idem->key, text, idem->lease);
}

void idem_done(struct idem *idem)
{
	str_set(&idem->key, NULL);
}
