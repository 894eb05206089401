#include "common/disk/ceph_lib.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#define LIBRADOS "librados.so.2"
#define LIBRBD	 "librbd.so.1"

struct symbol {
	const char *name;
	size_t offset; /* of its pointer in struct ceph_lib */
};

#define CEPH_LIB_SYMBOL(name) { #name, offsetof(struct ceph_lib, name) },

static const struct symbol rados_symbols[] = { CEPH_LIB_RADOS(CEPH_LIB_SYMBOL) };
static const struct symbol rbd_symbols[] = { CEPH_LIB_RBD(CEPH_LIB_SYMBOL) };

/* For the whole process, as loaded libraries are. Written once. */
static struct {
	pthread_mutex_t lock;
	bool is_loaded;
	struct ceph_lib lib;
} loaded = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* One that has been loaded stays, also when it turns out to be too old. */
static int load(const char *file, const char *package, const struct symbol *symbols,
	size_t n, struct err *e)
{
	void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);

	if (!library)
		return err_set(e, ERR_UNAVAILABLE,
			"stores of type ceph need the package %s: %s", package,
			dlerror());
	for (size_t i = 0; i < n; i++) {
		void *p = dlsym(library, symbols[i].name);

		if (!p)
			return err_set(e, ERR_UNAVAILABLE,
				"stores of type ceph need a newer package %s: this one "
				"has no %s",
				package, symbols[i].name);
		memcpy((char *)&loaded.lib + symbols[i].offset, &p, sizeof(p));
	}
	return 0;
}

const struct ceph_lib *ceph_lib_get(struct err *e)
{
	const struct ceph_lib *lib = NULL;

	pthread_mutex_lock(&loaded.lock);
	if (!loaded.is_loaded &&
		load(LIBRADOS, "librados2", rados_symbols, ARRAY_LEN(rados_symbols), e) ==
			0 &&
		load(LIBRBD, "librbd1", rbd_symbols, ARRAY_LEN(rbd_symbols), e) == 0)
		loaded.is_loaded = true;
	if (loaded.is_loaded)
		lib = &loaded.lib;
	pthread_mutex_unlock(&loaded.lock);
	return lib;
}
