#include "tests/lib/disk_kind_file.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/test_util.h"

static void make(struct disk_lab *lab)
{
	CLEANUP_STR char *images = xasprintf("%s/images", lab->dir);

	test_mkdir(images);
	lab->conf = (struct image_store){ .name = xstrdup("local"),
		.type = STORE_FILESYSTEM,
		.path = xstrdup(lab->dir) };
	lab->other_conf = (struct image_store){ .name = xstrdup("other"),
		.type = STORE_FILESYSTEM,
		.path = xasprintf("%s-other, 2", lab->dir) };
	test_mkdir(lab->other_conf.path);
}

static void remove_other(struct disk_lab *lab)
{
	test_remove(lab->other_conf.path);
}

static char *url(struct disk_lab *lab, const struct disk_source *src)
{
	(void)lab;
	return xstrdup(src->path);
}

struct held {
	pid_t pid;
	char *disk, *log;
};

/* QEMU locks what it has open. */
static bool is_locked(void *aux)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 200
	};
	int fd = open(aux, O_RDWR | O_CLOEXEC);
	int rc = fcntl(fd, F_OFD_GETLK, &lock);

	close(fd);
	return rc == 0 && lock.l_type != F_UNLCK;
}

/* A process of QEMU's that has it open as a guest's would. */
static void *hold(struct disk_lab *lab, const char *vm_uuid, unsigned index)
{
	struct held *h = xcalloc(1, sizeof(*h));

	h->disk = xasprintf("%s/vms/%s/%u.qcow2", lab->dir, vm_uuid, index);
	h->log = xasprintf("%s/held", lab->dir);
	const char *const argv[] = { "qemu-io", "-f", "qcow2", "-c", "sleep 60000",
		h->disk, NULL };
	h->pid = test_spawn(argv, h->log);
	assert_true(wait_until(is_locked, h->disk, RUN_MSEC));
	return h;
}

static void release(struct disk_lab *lab, void *held)
{
	struct held *h = held;

	(void)lab;
	assert_int_equal(kill(h->pid, SIGKILL), 0);
	assert_int_equal(test_wait(h->pid, RUN_MSEC), 128 + SIGKILL);
	assert_int_equal(unlink(h->log), 0);
	free(h->disk);
	free(h->log);
	free(h);
}

char *disk_kind_file_disk(struct disk_lab *lab, const char *vm, unsigned index)
{
	return xasprintf("%s/vms/%s/%u.qcow2", lab->dir, vm, index);
}

char *disk_kind_file_image(struct disk_lab *lab, const char *name)
{
	return xasprintf("%s/images/%s", lab->dir, name);
}

struct image disk_kind_file_good(struct disk_lab *lab)
{
	static char path[] = "good.qcow2";

	disk_lab_run("qemu-img create -q -f qcow2 %s/images/%s 1G", lab->dir, path);
	return disk_lab_entry(path, IMAGE_QCOW2, GIB);
}

const struct disk_kind disk_kind_file = {
	.make = make, .remove = remove_other, .url = url, .hold = hold, .release = release
};
