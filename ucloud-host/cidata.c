#include "ucloud-host/cidata.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Else the header would want libburn's, too. */
#define LIBISOFS_WITHOUT_LIBBURN
#include <libisofs/libisofs.h>

#include "common/base/crash.h"
#include "common/base/file.h"
#include "common/base/log.h"

#define VOLUME	      "cidata"
#define SECTOR	      2048
#define IMAGE_MAX     (16 * 1024 * 1024)
#define IMAGE_MODE    0600 /* libvirt gives it to QEMU's user while the domain runs */
#define DIR_MODE      0711
#define TEMPORARY_SEC 600
/* All times in it: it would be another image at each start otherwise. */
#define IMAGE_TIME ((time_t)946684800) /* 2000-01-01 */

/* ------------------------------------------------------------------ the image */

/* The library keeps counters of its own without a lock. */
static pthread_mutex_t library_lock = PTHREAD_MUTEX_INITIALIZER;

static void init_library(void)
{
	char never[] = "NEVER", none[] = "";

	if (iso_init() < 0)
		abort();
	iso_set_msgs_severities(never, never, none);
}

static int iso_failed(const char *what, int code, struct err *e)
{
	return err_set(e, ERR_INTERNAL, "the boot configuration's CD: %s: %s", what,
		iso_error_to_msg(code));
}

static int add_file(IsoImage *image, const char *name, const char *text, struct err *e)
{
	size_t size = strlen(text);
	unsigned char *copy = xmalloc(size + 1);
	IsoStream *stream = NULL;
	IsoFile *file = NULL;
	int rc;

	memcpy(copy, text, size + 1);
	rc = iso_memory_stream_new(copy, size, &stream); /* takes it */
	if (rc < 0) {
		free(copy);
		return iso_failed(name, rc, e);
	}
	rc = iso_tree_add_new_file(iso_image_get_root(image), name, stream, &file);
	if (rc < 0) {
		iso_stream_unref(stream);
		return iso_failed(name, rc, e);
	}
	iso_node_set_permissions((IsoNode *)file, 0444);
	return 0;
}

static int add_files(IsoImage *image, const struct nocloud *n, struct err *e)
{
	if (add_file(image, "meta-data", n->meta_data, e) < 0 ||
		add_file(image, "user-data", n->user_data, e) < 0)
		return -1;
	return add_file(image, "network-config", n->network_config, e);
}

static void set_options(IsoWriteOpts *opts)
{
	char no_uuid[] = "";

	iso_write_opts_set_rockridge(opts, 1);
	iso_write_opts_set_joliet(opts, 1);
	iso_write_opts_set_replace_mode(opts, 1, 1, 1, 1);
	iso_write_opts_set_default_file_mode(opts, 0444);
	iso_write_opts_set_default_dir_mode(opts, 0555);
	iso_write_opts_set_default_uid(opts, 0);
	iso_write_opts_set_default_gid(opts, 0);
	iso_write_opts_set_replace_timestamps(opts, 2);
	iso_write_opts_set_default_timestamp(opts, IMAGE_TIME);
	iso_write_opts_set_pvd_times(opts, IMAGE_TIME, IMAGE_TIME, 0, 0, no_uuid);
}

/* A thread of the library's makes it, until all of it was read. */
static int read_image(struct burn_source *source, struct buf *out)
{
	unsigned char sector[SECTOR];
	int n;

	while ((n = source->read_xt != NULL ? source->read_xt(source, sector, SECTOR)
					    : source->read(source, sector, SECTOR)) > 0)
		buf_add(out, sector, (size_t)n);
	return n;
}

static int write_image(IsoImage *image, struct buf *out, struct err *e)
{
	struct burn_source *source = NULL;
	IsoWriteOpts *opts = NULL;
	int rc = iso_write_opts_new(&opts, 0);

	if (rc < 0)
		return iso_failed("options", rc, e);
	set_options(opts);
	rc = iso_image_create_burn_source(image, opts, &source);
	if (rc >= 0) {
		rc = read_image(source, out);
		source->free_data(source);
		free(source);
	}
	iso_write_opts_free(opts);
	return rc < 0 ? iso_failed("image", rc, e) : 0;
}

static int format_image(const struct nocloud *n, struct buf *out, struct err *e)
{
	IsoImage *image = NULL;
	int rc = iso_image_new(VOLUME, &image);

	if (rc < 0)
		return iso_failed("image", rc, e);
	rc = add_files(image, n, e);
	if (rc == 0)
		rc = write_image(image, out, e);
	iso_image_unref(image);
	return rc;
}

int cidata_format(const struct nocloud *n, struct buf *out, struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	CLEANUP(buf_done) struct buf image = { 0 };
	int rc;

	pthread_once(&once, init_library);
	/* It works in memory only. */
	pthread_mutex_lock(&library_lock);
	rc = format_image(n, &image, e);
	pthread_mutex_unlock(&library_lock);
	if (rc == 0)
		buf_add(out, image.s, image.size);
	return rc;
}

/* ------------------------------------------------------------------ the file */

static char *dir_path(const struct host_env *env)
{
	return xasprintf("%s/nocloud", env->state_dir);
}

static char *image_path(const struct host_env *env, const char *vm_uuid)
{
	return xasprintf("%s/nocloud/%s.iso", env->state_dir, vm_uuid);
}

static bool is_so_already(const char *path, const struct buf *want)
{
	CLEANUP(buf_done) struct buf have = { 0 };
	struct err ignored = { 0 };

	return file_read(path, IMAGE_MAX, &have, &ignored) == 0 &&
	       have.size == want->size &&
	       memcmp(buf_str(&have), buf_str(want), want->size) == 0;
}

static int ensure_file(const struct host_env *env, const char *path,
	const struct buf *image, struct err *e)
{
	CLEANUP_STR char *dir = dir_path(env);
	int rc;

	if (is_so_already(path, image))
		return 0;
	if (mkdir(dir, DIR_MODE) < 0 && errno != EEXIST)
		return err_errno(e, errno, "%s", dir);
	CRASH_POINT("cidata.write.before");
	rc = file_write(path, image->s, image->size, IMAGE_MODE, FILE_REPLACE, e);
	CRASH_POINT("cidata.write.after");
	return rc;
}

int cidata_ensure(const struct host_env *env, const struct vm *vm,
	const struct vmnets *nets, char **path, struct err *e)
{
	CLEANUP(nocloud_done) struct nocloud n = { 0 };
	CLEANUP(buf_done) struct buf image = { 0 };
	CLEANUP_STR char *file = NULL;

	if (env->state_dir == NULL) {
		*path = NULL;
		return 0;
	}
	file = image_path(env, vm->uuid);
	nocloud_format(vm, nets, &n);
	if (cidata_format(&n, &image, e) < 0 || ensure_file(env, file, &image, e) < 0)
		return -1;
	*path = MOVE(file);
	return 0;
}

int cidata_remove(const struct host_env *env, const char *vm_uuid, struct err *e)
{
	CLEANUP_STR char *path = NULL;

	if (env->state_dir == NULL)
		return 0;
	path = image_path(env, vm_uuid);
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	CRASH_POINT("cidata.remove.before");
	if (unlink(path) < 0 && errno != ENOENT)
		return err_errno(e, errno, "%s", path);
	CRASH_POINT("cidata.remove.after");
	return 0;
}

/* "<uuid>.iso"; "<uuid>.iso.XXXXXX" is being written, or was when its writer died. */
static void look_at_name(int dir_fd, const char *name, struct strv *uuids)
{
	CLEANUP_STR char *uuid = xstrndup(name, UUID_STR_SIZE - 1);
	struct err ignored = { 0 };
	struct stat st;

	if (uuid_check(uuid, &ignored) < 0)
		return;
	if (strcmp(name + UUID_STR_SIZE - 1, ".iso") == 0)
		strv_add(uuids, uuid);
	else if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		 st.st_mtime + TEMPORARY_SEC < time(NULL) &&
		 unlinkat(dir_fd, name, 0) < 0)
		log_debug("%s: %s", name, strerror(errno));
}

int cidata_list(const struct host_env *env, struct strv *uuids, struct err *e)
{
	CLEANUP_STR char *dir = NULL;
	struct dirent *entry;
	DIR *d;

	if (env->state_dir == NULL)
		return 0;
	dir = dir_path(env);
	d = opendir(dir);
	if (d == NULL)
		return errno == ENOENT ? 0 : err_errno(e, errno, "%s", dir);
	/* cppcheck-suppress readdirCalled */
	while ((entry = readdir(d)) != NULL)
		look_at_name(dirfd(d), entry->d_name, uuids);
	closedir(d);
	return 0;
}
