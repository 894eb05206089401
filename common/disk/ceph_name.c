#include "common/disk/ceph_name.h"

#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/disk/ceph_conn.h"
#include "common/model/vm.h"

#define UNFINISHED ".tmp-"
#define RANDOM_LEN 12

void ceph_name_disk(char out[CEPH_NAME_SIZE], const char *vm_uuid, unsigned index)
{
	if (index == 0)
		snprintf(out, CEPH_NAME_SIZE, "%s", vm_uuid);
	else
		snprintf(out, CEPH_NAME_SIZE, "%s.%u", vm_uuid, index);
}

void ceph_name_unfinished(char out[CEPH_NAME_SIZE], const char *name)
{
	char random[UUID_STR_SIZE];

	/* The end of a random uuid is random. */
	uuid_new(random);
	snprintf(out, CEPH_NAME_SIZE, "%s" UNFINISHED "%s", name,
		random + UUID_STR_SIZE - 1 - RANDOM_LEN);
}

/* ".<index>" without leading zeros; the disk of index 0 has none. */
static bool parse_index(const char **s, unsigned *index)
{
	const char *c = *s;
	unsigned n = 0;

	if (c[0] != '.' || c[1] < '1' || c[1] > '9')
		return true;
	for (c++; *c >= '0' && *c <= '9'; c++) {
		n = n * 10 + (unsigned)(*c - '0');
		if (n >= VM_DISKS_MAX)
			return false;
	}
	*s = c;
	*index = n;
	return true;
}

static bool parse_unfinished(const char *s)
{
	size_t len = strlen(UNFINISHED);

	return strncmp(s, UNFINISHED, len) == 0 && strlen(s + len) == RANDOM_LEN &&
	       strspn(s + len, "0123456789abcdef") == RANDOM_LEN;
}

bool ceph_name_parse(const char *name, struct ceph_name *out)
{
	struct ceph_name n = { 0 };
	const char *s = name + UUID_STR_SIZE - 1;

	if (strlen(name) < UUID_STR_SIZE - 1)
		return false;
	memcpy(n.uuid, name, UUID_STR_SIZE - 1);
	if (uuid_check(n.uuid, NULL) != 0 || !parse_index(&s, &n.index))
		return false;
	n.is_unfinished = parse_unfinished(s);
	if (*s && !n.is_unfinished)
		return false;
	ceph_name_disk(n.finished, n.uuid, n.index);
	*out = n;
	return true;
}

/* QEMU splits at these. */
static void add_escaped(struct buf *b, const char *s)
{
	for (; *s; s++) {
		if (strchr("\\:@/=", *s))
			buf_add_char(b, '\\');
		buf_add_char(b, *s);
	}
}

char *ceph_name_url(const char *pool, const char *name, const char *snapshot,
	const char *user, const char *conf)
{
	struct buf b = { 0 };

	buf_add_str(&b, "rbd:");
	add_escaped(&b, pool);
	buf_add_char(&b, '/');
	add_escaped(&b, name);
	if (snapshot) {
		buf_add_char(&b, '@');
		add_escaped(&b, snapshot);
	}
	buf_add_str(&b, ":id=");
	add_escaped(&b, user);
	buf_add_str(&b, ":conf=");
	add_escaped(&b, conf);
	buf_add_str(&b, ":client_mount_timeout=" CEPH_LIMIT_CONNECT
			":rados_mon_op_timeout=" CEPH_LIMIT_MON
			":rados_osd_op_timeout=" CEPH_LIMIT_OSD);
	return buf_take(&b);
}
