/* The header of an image from bytes: two that tell the size of the file beyond them, then
 * its beginning. What is accepted lies within bounds. */
#include <assert.h>

#include "common/disk/image_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size)
{
	struct image_header h;
	struct err e = { 0 };
	int64_t file_size;

	if (size < 2)
		return 0;
	file_size = (int64_t)(size - 2) + p[0] * 4096 - p[1];
	if (image_header_parse(p + 2, size - 2, file_size, &h, &e) != 0) {
		assert(e.kind == ERR_INVALID && e.msg[0] != '\0');
		return 0;
	}
	assert(h.virtual_bytes >= 0);
	assert(h.is_qcow2 || h.virtual_bytes == file_size);
	assert(h.is_qcow2 || !(h.has_backing_file || h.has_data_file || h.is_encrypted));
	return 0;
}
