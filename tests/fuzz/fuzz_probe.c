/* Datagrams that anybody may send to ucloud-network: read without harm, and written back as the
 * same when they are answers. */
#include <assert.h>
#include <string.h>

#include "ucloud-network/probe_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t answer[PROBE_SIZE];
	struct probe p, got;

	if (!probe_parse(data, size, &p))
		return 0;
	assert(size >= PROBE_SIZE && p.how <= PROBE_PLAIN);
	assert(!p.is_answer || size == PROBE_SIZE);
	p.is_answer = true;
	probe_format(&p, answer);
	assert(probe_parse(answer, sizeof(answer), &got));
	assert(got.is_answer && got.how == p.how &&
		memcmp(got.nonce, p.nonce, sizeof(p.nonce)) == 0);
	return 0;
}
