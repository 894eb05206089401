#include "ucloud-host/accel.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/proc.h"

#define LIMIT_MSEC 6000
/* (0x2a << 1) | 1: see probe64.S. */
#define STATUS_PROVEN 0x55
#define STATUS_WRONG  0x03

const char *const accel_names[] = { "auto", "kvm", "tcg", NULL };

extern const char probe64[];
extern const uint32_t probe64_size;

static void remove_file(char **path)
{
	if (*path != NULL)
		unlink(*path);
	free(*path);
}

static void close_fd(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* The boot sector as a file, the caller's to remove. */
static int write_sector(const char *dir, char **out, struct err *e)
{
	CLEANUP(remove_file) char *path = xasprintf("%s/.probe64-XXXXXX", dir);
	CLEANUP(close_fd)
	int fd = mkostemp(path, O_CLOEXEC);

	if (fd < 0 || write(fd, probe64, probe64_size) != (ssize_t)probe64_size)
		return err_errno(e, errno, "%s", path);
	*out = MOVE(path);
	return 0;
}

static int check_status(
	enum accel accel, int status, const struct buf *output, struct err *e)
{
	CLEANUP(strv_done) struct strv lines = { 0 };

	if (status == STATUS_PROVEN)
		return 0;
	if (status == STATUS_WRONG)
		return err_set(e, ERR_UNSUPPORTED,
			"64-bit guests compute wrongly with %s", accel_names[accel]);
	strv_split(&lines, buf_str(output), '\n');
	return err_set(e, ERR_UNSUPPORTED, "64-bit guests do not run with %s: %s",
		accel_names[accel],
		lines.len > 0 ? lines.v[0] : "QEMU ended without a word");
}

int accel_probe(enum accel accel, const char *dir, struct err *e)
{
	CLEANUP(remove_file) char *path = NULL;
	CLEANUP_STR char *drive = NULL;
	CLEANUP(buf_done) struct buf output = { 0 };
	int status;

	if (accel == ACCEL_KVM && access("/dev/kvm", R_OK | W_OK) < 0)
		return err_errno(e, errno, "/dev/kvm");
	if (write_sector(dir, &path, e) < 0)
		return -1;
	drive = xasprintf("file=%s,format=raw,if=ide,readonly=off,snapshot=on", path);
	{
		/* The processor model is the one that domains get (domxml.c). */
		const char *const argv[] = { "qemu-system-x86_64", "-accel",
			accel_names[accel], "-machine", "pc", "-cpu",
			accel == ACCEL_KVM ? "host" : "max", "-m", "16", "-nodefaults",
			"-no-user-config", "-display", "none", "-no-reboot", "-device",
			"isa-debug-exit,iobase=0xf4,iosize=0x04", "-drive", drive, NULL };
		const struct proc proc = { .argv = argv, .limit_msec = LIMIT_MSEC };

		if (proc_run(&proc, &status, NULL, &output, e) < 0)
			return err_wrap(e, "64-bit guests do not run with %s",
				accel_names[accel]);
	}
	return check_status(accel, status, &output, e);
}

enum accel accel_choose(enum accel wanted, const char *dir)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static enum accel found = ACCEL_AUTO;
	struct err e = { 0 };

	if (wanted != ACCEL_AUTO)
		return wanted;
	pthread_mutex_lock(&lock);
	if (found == ACCEL_AUTO && accel_probe(ACCEL_KVM, dir, &e) == 0) {
		found = ACCEL_KVM;
		log_info("VMs run with KVM");
	} else if (found == ACCEL_AUTO) {
		found = ACCEL_TCG;
		log_warn("VMs are emulated (TCG), which is slow: %s", e.msg);
	}
	pthread_mutex_unlock(&lock);
	return found;
}
