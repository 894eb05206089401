/*
 * The headers of uploads: Content-Range, Content-Length, Repr-Digest, and names. What is
 * accepted keeps the rules that its users rely on.
 */
#include <assert.h>
#include <string.h>

#include "common/base/buf.h"
#include "ucloud-api/upload_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_range(const char *text)
{
	int64_t first, last, total;

	if (content_range_parse(text, &first, &last, &total, NULL) < 0)
		return;
	assert(total >= 0 && total <= UPLOAD_SIZE_MAX && last < total + (last < 0));
	assert((first < 0 && last < 0) || (first >= 0 && first <= last));
}

static void fuzz_digest(const char *text)
{
	char hex[SHA512_HEX_SIZE];

	if (repr_digest_parse(text, hex, NULL) < 0)
		return;
	assert(strlen(hex) == 0 || strlen(hex) == SHA512_HEX_SIZE - 1);
	assert(strspn(hex, "0123456789abcdef") == strlen(hex));
}

static void fuzz_name(const char *text)
{
	if (upload_name_check(text, NULL) < 0)
		return;
	assert(text[0] != '\0' && text[0] != '/' && !strstr(text, "//"));
	assert(strcmp(text, "..") != 0 && strncmp(text, "../", 3) != 0 &&
		!strstr(text, "/../") && !str_has_suffix(text, "/.."));
}

/* Three lines: a header each. */
static void fuzz_all(const char *text)
{
	CLEANUP(strv_done) struct strv lines = { 0 };
	struct upload_input in;
	bool needs_length;

	strv_split(&lines, text, '\n');
	if (upload_input_parse(lines.len > 0 ? lines.v[0] : NULL,
		    lines.len > 1 ? lines.v[1] : NULL, lines.len > 3,
		    lines.len > 2 ? lines.v[2] : NULL, &in, &needs_length, NULL) < 0)
		return;
	assert(in.size >= -1 && in.total >= -1);
	assert(in.kind != UPLOAD_PART || (in.from >= 0 && in.from + in.size <= in.total));
	assert(in.kind != UPLOAD_ASK || in.size == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const fns[])(
		const char *) = { fuzz_range, fuzz_digest, fuzz_name, fuzz_all };
	CLEANUP_STR char *text = NULL;

	if (size == 0)
		return 0;
	text = xstrndup((const char *)data + 1, size - 1);
	fns[data[0] % 4](text);
	return 0;
}
