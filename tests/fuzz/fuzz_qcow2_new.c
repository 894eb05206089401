/* A new disk from bytes: eight that tell its size, then the name of what lies under it. The
 * reader of headers finds in it what was ordered. */
#include <assert.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/disk/image_header.h"
#include "common/disk/qcow2_new.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size)
{
	CLEANUP(qcow2_new_done) struct qcow2_new q = { 0 };
	CLEANUP_STR char *name = NULL;
	struct image_header h = { 0 };
	struct err e = { 0 };
	int64_t n = 0;

	if (size < 8)
		return 0;
	for (size_t i = 0; i < 6; i++)
		n = n << 8 | p[i];
	n = n / 512 * 512 + 512;
	if (n > QCOW2_SIZE_MAX)
		n = QCOW2_SIZE_MAX;
	name = xstrndup((const char *)p + 8, size - 8);
	if (qcow2_new_make(n, p[6] ? name : NULL, p[7] ? "raw" : "qcow2", &q, &e) != 0) {
		assert(strlen(name) > QCOW2_BACKING_MAX);
		return 0;
	}
	assert(q.header_size <= sizeof(q.header));
	if (image_header_parse(q.header, q.header_size, q.file_size, &h, &e) != 0)
		assert(!"a header of ours is refused");
	assert(h.kind == IMAGE_KIND_QCOW2 && h.virtual_bytes == n);
	assert(!h.has_data_file && !h.is_encrypted && !h.is_corrupt);
	assert(h.has_backing_file == (p[6] != 0) || (p[6] && name[0] == '\0'));
	return 0;
}
