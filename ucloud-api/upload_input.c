#include "ucloud-api/upload_input.h"

#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/crypt.h"
#include "common/base/parse.h"
#include "common/model/file.h"

#define DIGITS "0123456789"

/* ---------------------------------------------------------------- Content-Range */

/* A number at *s, which is moved behind it. */
static bool take_number(const char **s, int64_t *out)
{
	size_t len = strspn(*s, DIGITS);
	CLEANUP_STR char *text = xstrndup(*s, len < 20 ? len : 20);
	struct err ignored;

	*s += len;
	return parse_int64(text, 0, UPLOAD_SIZE_MAX, out, &ignored) == 0;
}

static bool take_char(const char **s, char c)
{
	if (**s != c)
		return false;
	++*s;
	return true;
}

int content_range_parse(
	const char *s, int64_t *first, int64_t *last, int64_t *total, struct err *e)
{
	int64_t a = -1, b = -1, n = 0;
	bool is_fine = str_has_prefix(s, "bytes ");

	if (is_fine) {
		s += strlen("bytes ");
		is_fine = take_char(&s, '*') ||
			  (take_number(&s, &a) && take_char(&s, '-') &&
				  take_number(&s, &b) && a <= b);
	}
	if (!is_fine || !take_char(&s, '/') || !take_number(&s, &n) || *s != '\0' ||
		b >= n + (b < 0))
		return err_set_field(e, ERR_INVALID, "Content-Range",
			"Content-Range must be like \"bytes 1000-1999/2000\", or \"bytes "
			"*/2000\" with an empty body to ask how much is there");
	*first = a;
	*last = b;
	*total = n;
	return 0;
}

/* ---------------------------------------------------------------- Repr-Digest */

static void skip_blanks(const char **s)
{
	*s += strspn(*s, " \t");
}

/* The value of a member: what stands between colons, else *len is 0. *s goes to the next
 * comma or the end. */
static bool take_value(const char **s, const char **value, size_t *len)
{
	*len = 0;
	if (take_char(s, '=') && take_char(s, ':')) {
		*value = *s;
		*len = strcspn(*s, ":");
		*s += *len;
		if (!take_char(s, ':'))
			return false;
	}
	*s += strcspn(*s, ",");
	return true;
}

static bool hex_of(const char *base64, size_t len, char out[SHA512_HEX_SIZE])
{
	CLEANUP_STR char *bytes = NULL;
	struct err ignored;
	size_t size;

	if (base64_parse(base64, len, &bytes, &size, &ignored) < 0 ||
		size != SHA512_HEX_SIZE / 2)
		return false;
	for (size_t i = 0; i < size; i++)
		snprintf(out + 2 * i, 3, "%02x", (unsigned char)bytes[i]);
	return true;
}

/* A dictionary of structured fields (RFC 8941 section 3.2), as far as this one needs it. */
int repr_digest_parse(const char *s, char out[SHA512_HEX_SIZE], struct err *e)
{
	char hex[SHA512_HEX_SIZE] = "";
	bool is_fine = true;

	while (is_fine && *s) {
		size_t key_len, len;
		const char *key, *value = NULL;

		skip_blanks(&s);
		key = s;
		key_len = strspn(s, "abcdefghijklmnopqrstuvwxyz" DIGITS "_-.*");
		s += key_len;
		is_fine = key_len > 0 && take_value(&s, &value, &len);
		if (is_fine && key_len == strlen("sha-512") &&
			memcmp(key, "sha-512", key_len) == 0)
			is_fine = len > 0 && hex_of(value, len, hex);
		if (is_fine && take_char(&s, ',')) {
			skip_blanks(&s);
			is_fine = *s != '\0';
		}
	}
	if (!is_fine)
		return err_set_field(e, ERR_INVALID, "Repr-Digest",
			"Repr-Digest must be like \"sha-512=:BASE64:\" with the 64 bytes "
			"of the whole file's SHA-512 (RFC 9530)");
	memcpy(out, hex, sizeof(hex));
	return 0;
}

/* ---------------------------------------------------------------- together */

static int length_missing(bool *needs_length, struct err *e)
{
	*needs_length = true;
	return err_set_field(e, ERR_INVALID, "Content-Length",
		"say how large the file is: Content-Length is missing");
}

static int check_ask(const struct upload_input *in, struct err *e)
{
	if (in->size == 0)
		return 0;
	return err_set_field(e, ERR_INVALID, "Content-Range",
		"\"bytes */TOTAL\" asks how much is there: the body must be empty");
}

static int take_range(const char *content_range, struct upload_input *in, struct err *e)
{
	int64_t last = -1;

	if (content_range_parse(content_range, &in->from, &last, &in->total, e) < 0)
		return -1;
	if (in->from < 0) {
		in->kind = UPLOAD_ASK;
		return check_ask(in, e);
	}
	in->kind = UPLOAD_PART;
	if (in->size < 0)
		in->size = last - in->from + 1;
	if (in->size != last - in->from + 1)
		return err_set_field(e, ERR_INVALID, "Content-Length",
			"Content-Range and Content-Length do not say the same");
	return 0;
}

int upload_input_parse(const char *content_range, const char *content_length,
	bool is_chunked, const char *repr_digest, struct upload_input *out,
	bool *needs_length, struct err *e)
{
	struct upload_input in = { .size = -1, .total = -1 };

	*needs_length = false;
	if (!content_length && !is_chunked)
		return length_missing(needs_length, e);
	if (!is_chunked &&
		parse_int64(content_length, 0, UPLOAD_SIZE_MAX, &in.size, e) < 0)
		return err_set_field(e, ERR_INVALID, "Content-Length",
			"Content-Length must be a number of bytes");
	if (!content_range)
		in.total = in.size;
	else if (take_range(content_range, &in, e) < 0)
		return -1;
	if (repr_digest && repr_digest_parse(repr_digest, in.sha512, e) < 0)
		return -1;
	*out = in;
	return 0;
}

int upload_name_check(const char *name, struct err *e)
{
	CLEANUP(strv_done) struct strv parts = { 0 };

	if (rel_path_check(name, e) < 0)
		return -1;
	strv_split(&parts, name, '/');
	for (size_t i = 0; i < parts.len; i++) {
		if (str_has_prefix(parts.v[i], FILE_OWN_PREFIX))
			return err_set_field(e, ERR_INVALID, "name",
				"names that begin with %s are ucloud's own: choose "
				"another one",
				FILE_OWN_PREFIX);
	}
	return 0;
}
