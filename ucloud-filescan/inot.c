#include "ucloud-filescan/inot.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "common/base/mem.h"

#define MASK                                                                             \
	(IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY | IN_ATTRIB |   \
		IN_CLOSE_WRITE | IN_ONLYDIR | IN_EXCL_UNLINK)
#define READ_SIZE (64 * 1024)

struct inot {
	int fd;
	char *text; /* what is read */
};

struct inot *inot_open(void)
{
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	struct inot *in;

	if (fd < 0)
		return NULL;
	in = xcalloc(1, sizeof(*in));
	in->fd = fd;
	in->text = xmalloc(READ_SIZE);
	return in;
}

void inot_close(struct inot *in)
{
	if (!in)
		return;
	close(in->fd);
	free(in->text);
	free(in);
}

int inot_fd(const struct inot *in)
{
	return in->fd;
}

/* By its descriptor: whatever may be put at its path meanwhile, this directory is watched. */
int inot_add(struct inot *in, int dir_fd, uint32_t more_mask)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", dir_fd);
	return inotify_add_watch(in->fd, path, MASK | more_mask);
}

/* Fails when it has gone by itself, which is fine. */
void inot_remove(struct inot *in, int wd)
{
	(void)inotify_rm_watch(in->fd, wd);
}

void inot_read(struct inot *in, inot_fn *fn, void *aux)
{
	for (;;) {
		ssize_t size = read(in->fd, in->text, READ_SIZE);

		if (size < 0 && errno == EINTR)
			continue;
		if (size <= 0)
			return;
		for (ssize_t at = 0; at < size;) {
			const struct inotify_event *ev = (const void *)(in->text + at);

			fn(aux, ev->wd, ev->mask, ev->len ? ev->name : NULL);
			at += (ssize_t)(sizeof(*ev) + ev->len);
		}
	}
}
