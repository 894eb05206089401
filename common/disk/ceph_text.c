#include "common/disk/ceph_text.h"

#include <string.h>

#include "common/base/jtab.h"

/* ---------------------------------------------------------------- keyrings */

/* A line without the blanks around it. */
static void trim(const char **s, size_t *size)
{
	while (*size > 0 && strchr(" \t\r", (*s)[0])) {
		(*s)++;
		(*size)--;
	}
	while (*size > 0 && strchr(" \t\r", (*s)[*size - 1]))
		(*size)--;
}

static bool is_section(const char *s, size_t size, const char *entity)
{
	size_t len = strlen(entity);

	return size == len + 2 && s[0] == '[' && s[size - 1] == ']' &&
	       memcmp(s + 1, entity, len) == 0;
}

/* The value of "key = value"; NULL when the line says something else. */
static char *key_of(const char *s, size_t size)
{
	if (size < 4 || memcmp(s, "key", 3) != 0)
		return NULL;
	s += 3;
	size -= 3;
	trim(&s, &size);
	if (size == 0 || s[0] != '=')
		return NULL;
	s++;
	size--;
	trim(&s, &size);
	if (size >= 2 && s[0] == '"' && s[size - 1] == '"') {
		s++;
		size -= 2;
	}
	return size > 0 ? xstrndup(s, size) : NULL;
}

char *ceph_keyring_find(const char *text, const char *entity)
{
	bool is_ours = false;

	while (*text) {
		size_t len = strcspn(text, "\n"), size = len;
		const char *s = text;
		char *key;

		trim(&s, &size);
		if (size > 0 && s[0] == '[')
			is_ours = is_section(s, size, entity);
		key = is_ours ? key_of(s, size) : NULL;
		if (key)
			return key;
		text += len + (text[len] == '\n');
	}
	return NULL;
}

/* ---------------------------------------------------------------- answers */

static int refuse(const char *what, struct err *e)
{
	return err_set(e, ERR_UNAVAILABLE,
		"a monitor of Ceph's answered \"%s\" with something else", what);
}

/* One monitor: {"public_addrs": {"addrvec": [{"type": "v2", "addr": "[::1]:3300"}]}}. */
static const char *address_of(json_t *mon)
{
	json_t *addrs = json_object_get(json_object_get(mon, "public_addrs"), "addrvec");
	const char *found = NULL;
	json_t *one;
	size_t i;

	json_array_foreach (addrs, i, one) {
		const char *type = json_string_value(json_object_get(one, "type"));
		const char *addr = json_string_value(json_object_get(one, "addr"));

		if (addr && (!found || (type && strcmp(type, "v2") == 0)))
			found = addr;
	}
	return found;
}

int ceph_mons_parse(const char *json, size_t size, struct strv *mons, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *root = NULL;
	CLEANUP(strv_done) struct strv found = { 0 };
	json_t *mon;
	size_t i;

	if (json_parse(json, size, &root, e) != 0)
		return refuse("mon dump", e);
	json_array_foreach (json_object_get(root, "mons"), i, mon) {
		const char *addr = address_of(mon);

		if (addr)
			strv_add(&found, addr);
	}
	if (found.len == 0)
		return refuse("mon dump", e);
	strv_copy(mons, &found);
	return 0;
}

static int64_t number(json_t *object, const char *name)
{
	json_t *j = json_object_get(object, name);

	return json_is_integer(j) ? json_integer_value(j) : 0;
}

static json_t *find_pool(json_t *pools, const char *name)
{
	json_t *pool;
	size_t i;

	json_array_foreach (pools, i, pool) {
		const char *s = json_string_value(json_object_get(pool, "name"));

		if (s && strcmp(s, name) == 0)
			return json_object_get(pool, "stats");
	}
	return NULL;
}

static int64_t at_least_0(int64_t n)
{
	return n < 0 ? 0 : n;
}

int ceph_df_parse(const char *json, size_t size, const char *pool, int64_t *total_bytes,
	int64_t *free_bytes, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *root = NULL;
	json_t *stats;
	int64_t used, available, quota;

	if (json_parse(json, size, &root, e) != 0 || !json_is_object(root))
		return refuse("df", e);
	stats = find_pool(json_object_get(root, "pools"), pool);
	/* Without a manager daemon there is nothing but zeros, and no error. */
	if (!stats || number(json_object_get(root, "stats"), "total_bytes") <= 0) {
		*total_bytes = *free_bytes = -1;
		return 0;
	}
	used = at_least_0(number(stats, "stored"));
	available = at_least_0(number(stats, "max_avail"));
	quota = number(stats, "quota_bytes");
	if (quota > 0 && quota - used < available)
		available = at_least_0(quota - used);
	*total_bytes = used + available;
	*free_bytes = available;
	return 0;
}
