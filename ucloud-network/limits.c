#include "ucloud-network/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/parse.h"

struct limit {
	const char *name, *path;
	int64_t min, raised; /* below min it is raised */
	int64_t per;	     /* so much of it is one of... */
	const char *what;
	bool is_for_router;
};

/* All VXLANs share one socket, which remembers 56 bytes for each group that it joins. Kernels
 * before 6.7 come with 20480, later ones with 131072. The neighbours (RFC 4861) of all
 * interfaces are in one table; beyond gc_thresh1 the kernel begins to drop some, at gc_thresh3
 * it takes no more. */
static const struct limit limits[] = {
	{ "net.core.optmem_max", "/proc/sys/net/core/optmem_max", 65536, 131072, 56,
		"networks", false },
	{ "net.ipv6.neigh.default.gc_thresh3",
		"/proc/sys/net/ipv6/neigh/default/gc_thresh3", 8192, 65536, 1,
		"addresses of VMs that it talks with", true },
	{ "net.ipv6.neigh.default.gc_thresh2",
		"/proc/sys/net/ipv6/neigh/default/gc_thresh2", 4096, 32768, 1,
		"addresses of VMs before it forgets some", true },
};

/* False: it is not shown here. */
static bool read_limit(const struct limit *l, int64_t *value)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	CLEANUP_STR char *number = NULL;
	struct err ignored = { 0 };

	if (file_read(l->path, 64, &text, &ignored) < 0)
		return false;
	number = xstrndup(buf_str(&text), strcspn(buf_str(&text), "\n"));
	return parse_int64(number, 0, INT64_MAX, value, &ignored) == 0;
}

static bool write_limit(const struct limit *l)
{
	CLEANUP_STR char *text = xasprintf("%jd", (intmax_t)l->raised);
	int fd = open(l->path, O_WRONLY | O_CLOEXEC);
	bool is_done;

	if (fd < 0)
		return false;
	is_done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return is_done;
}

static void look(bool is_router, bool may_raise, struct strv *low)
{
	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		const struct limit *l = &limits[i];
		int64_t value;

		if ((l->is_for_router && !is_router) || !read_limit(l, &value) ||
			value >= l->min)
			continue;
		if (may_raise && write_limit(l))
			log_info("a limit of the kernel is raised sysctl=%s from=%jd "
				 "to=%jd",
				l->name, (intmax_t)value, (intmax_t)l->raised);
		else
			strv_add_take(low,
				xasprintf("the sysctl %s is %jd, which is room for %jd "
					  "%s at most: set it to %jd",
					l->name, (intmax_t)value,
					(intmax_t)(value / l->per), l->what,
					(intmax_t)l->raised));
	}
}

void limits_look(bool is_router, struct strv *low)
{
	look(is_router, false, low);
}

void limits_raise(bool is_router, struct strv *low)
{
	look(is_router, true, low);
}
