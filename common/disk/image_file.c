#include "common/disk/image_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void close_fd(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* O_NONBLOCK: opening a FIFO that somebody put there must not wait for its writer. */
int open_beneath_with(int dir_fd, const char *path, int flags, uint64_t resolve)
{
	struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (unsigned)flags,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
			   resolve,
	};
	long fd;

	/* EAGAIN: a rename elsewhere made the kernel unsure; a few times at most. */
	for (int i = 0; i < 8; i++) {
		fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return (int)fd;
}

int open_beneath(int dir_fd, const char *path)
{
	return open_beneath_with(dir_fd, path, 0, 0);
}

static ssize_t read_file(void *aux, int64_t offset, void *p, size_t size, struct err *e)
{
	const int *fd = aux;
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(
			*fd, (char *)p + done, size - done, (off_t)offset + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, errno, "it cannot be read");
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int scan(int fd, bool is_thorough, struct image_header *out, int64_t *file_size,
	struct err *e)
{
	struct image_reader r = {
		.read = read_file, .aux = &fd, .is_thorough = is_thorough
	};
	struct stat st;

	if (fstat(fd, &st) != 0)
		return err_errno(e, errno, "it cannot be read");
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_INVALID, "it is not a regular file");
	r.file_size = st.st_size;
	if (image_header_scan(&r, out, e) != 0)
		return -1;
	*file_size = st.st_size;
	return 0;
}

int image_header_read(int fd, struct image_header *out, int64_t *file_size, struct err *e)
{
	return scan(fd, false, out, file_size, e);
}

int image_header_read_all(
	int fd, struct image_header *out, int64_t *file_size, struct err *e)
{
	return scan(fd, true, out, file_size, e);
}

static int refuse_open(const struct image *im, int errnum, struct err *e)
{
	switch (errnum) {
	case ENOENT:
	case ENOTDIR:
		return err_set(e, ERR_NOT_FOUND,
			"the file of image \"%s\" is missing in store \"%s\"", im->name,
			im->store);
	case ELOOP:
	case EXDEV:
		return err_set(e, ERR_INVALID,
			"the file of image \"%s\" is or lies behind a symbolic link, "
			"which is not followed: put the file itself into store \"%s\"",
			im->name, im->store);
	case ENOSYS:
		return err_set(e, ERR_UNSUPPORTED,
			"images cannot be opened safely on this host: it needs Linux "
			"5.6");
	default:
		return err_errno(
			e, errnum, "image \"%s\" in store \"%s\"", im->name, im->store);
	}
}

static int check_qcow2(
	const struct image *im, const struct image_header *h, struct err *e)
{
	if (h->kind != IMAGE_KIND_QCOW2)
		return err_set(
			e, ERR_INVALID, "image \"%s\" is not a qcow2 image", im->name);
	if (image_header_check(h, INT64_MAX, e) != 0)
		return err_wrap(e, "image \"%s\" cannot be used", im->name);
	return 0;
}

/* What is no disk of a format we know is the admin's own affair. */
static int check_raw(const struct image *im, const struct image_header *h, struct err *e)
{
	if (h->kind == IMAGE_KIND_QCOW2)
		return err_set(e, ERR_INVALID,
			"image \"%s\" was registered as raw, but it is a qcow2 image: "
			"register it as qcow2",
			im->name);
	if (h->kind != IMAGE_KIND_RAW)
		return err_set(e, ERR_INVALID,
			"image \"%s\" was registered as raw, but it is a %s image: "
			"convert "
			"it with \"qemu-img convert -f %s -O qcow2\"",
			im->name, image_kind_names[h->kind], image_kind_names[h->kind]);
	if (h->virtual_bytes == 0)
		return err_set(e, ERR_INVALID,
			"image \"%s\" is not a disk image: it is empty", im->name);
	if (h->virtual_bytes % 512 != 0)
		return err_set(e, ERR_INVALID,
			"image \"%s\" is not a disk image: its %jd bytes are not a whole "
			"number of sectors of 512 bytes",
			im->name, (intmax_t)h->virtual_bytes);
	return 0;
}

/* Of one that was made, size_bytes is what it takes; it is raw, and as long as the disk. */
static int check_size(const struct image *im, int64_t file_size, struct err *e)
{
	int64_t size = im->is_made ? im->virtual_bytes : im->size_bytes;

	if (size <= 0 || size == file_size)
		return 0;
	return err_set(e, ERR_INVALID,
		"the file of image \"%s\" has %jd bytes, not the %jd it had when it was "
		"%s: it was changed, or not copied to the end",
		im->name, (intmax_t)file_size, (intmax_t)size,
		im->is_made ? "made" : "registered");
}

/* What we made ourselves is raw, whatever a guest's disk looks like. */
static int read_image(int fd, const struct image *im, struct image_header *h,
	int64_t *file_size, struct err *e)
{
	struct stat st;

	if (!im->is_made || im->format != IMAGE_RAW)
		return image_header_read(fd, h, file_size, e);
	if (fstat(fd, &st) != 0)
		return err_errno(e, errno, "it cannot be read");
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_INVALID, "it is not a regular file");
	h->virtual_bytes = *file_size = st.st_size;
	return 0;
}

int image_file_check(
	int dir_fd, const struct image *im, int64_t *virtual_bytes, struct err *e)
{
	CLEANUP(close_fd)
	int fd = open_beneath(dir_fd, im->path);
	struct image_header h = { 0 };
	int64_t file_size = 0;
	int rc;

	if (fd < 0)
		return refuse_open(im, errno, e);
	if (read_image(fd, im, &h, &file_size, e) != 0)
		return err_wrap(e, "image \"%s\" cannot be used", im->name);
	if (check_size(im, file_size, e) != 0)
		return -1;
	rc = im->format == IMAGE_QCOW2 ? check_qcow2(im, &h, e) : check_raw(im, &h, e);
	if (rc == 0)
		*virtual_bytes = h.virtual_bytes;
	return rc;
}
