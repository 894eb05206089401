#include "ucloud-network/probe_wire.h"

#include <string.h>

static const char magic[8] = { 'u', 'c', 'l', 'o', 'u', 'd', 'P', 'B' };

enum { AT_VERSION = 8, AT_KIND = 9, AT_HOW = 10, AT_NONCE = 16 };
enum { VERSION = 1, QUESTION = 1, ANSWER = 2 };

void probe_format(const struct probe *p, uint8_t out[PROBE_SIZE])
{
	memset(out, 0, PROBE_SIZE);
	memcpy(out, magic, sizeof(magic));
	out[AT_VERSION] = VERSION;
	out[AT_KIND] = p->is_answer ? ANSWER : QUESTION;
	out[AT_HOW] = (uint8_t)p->how;
	memcpy(out + AT_NONCE, p->nonce, sizeof(p->nonce));
}

bool probe_parse(const void *datagram, size_t size, struct probe *out)
{
	const uint8_t *d = datagram;
	struct probe p = { 0 };

	if (size < PROBE_SIZE || memcmp(d, magic, sizeof(magic)) != 0 ||
		d[AT_VERSION] != VERSION || d[AT_HOW] > PROBE_PLAIN ||
		(d[AT_KIND] != QUESTION && d[AT_KIND] != ANSWER))
		return false;
	p.is_answer = d[AT_KIND] == ANSWER;
	if (p.is_answer && size != PROBE_SIZE)
		return false;
	p.how = (enum probe_how)d[AT_HOW];
	memcpy(p.nonce, d + AT_NONCE, sizeof(p.nonce));
	*out = p;
	return true;
}

bool probe_budget_take(struct probe_budget *b, int64_t now_msec)
{
	int64_t more = (now_msec - b->at_msec) * PROBE_RATE / 1000;

	if (more > 0) {
		b->used = more < b->used ? b->used - more : 0;
		b->at_msec = now_msec;
	}
	if (b->used >= PROBE_RATE)
		return false;
	b->used++;
	return true;
}
