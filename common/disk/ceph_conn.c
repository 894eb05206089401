#include "common/disk/ceph_conn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/crypt.h"
#include "common/base/file.h"
#include "common/disk/ceph_text.h"

#define KEYRING_MAX (64 * 1024)
#define OPTION_SIZE 4096

/* One that works; or one that is broken, until its last user has given it back. */
struct ceph_session {
	rados_t cluster;
	rados_ioctx_t images, vms;
	unsigned n_users; /* and one more while it is the connection's */
};

struct ceph_conn {
	char *store, *pool, *vm_pool, *conf, *user;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	const struct ceph_lib *lib;   /* as below */
	struct ceph_session *session; /* NULL: to be connected */
	bool is_connecting;	      /* a thread does */
	unsigned n_tries;
	struct err error; /* of the newest try that failed */
};

struct ceph_conn *ceph_conn_new(const struct image_store *conf)
{
	struct ceph_conn *c = xcalloc(1, sizeof(*c));

	c->store = xstrdup(conf->name);
	c->pool = xstrdup(conf->pool);
	c->vm_pool = xstrdup(conf->vm_pool);
	c->conf = xstrdup(
		str_is_empty(conf->ceph_conf) ? CEPH_CONF_DEFAULT : conf->ceph_conf);
	c->user = xstrdup(
		str_is_empty(conf->ceph_user) ? CEPH_USER_DEFAULT : conf->ceph_user);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	return c;
}

static void session_free(const struct ceph_lib *lib, struct ceph_session *s)
{
	if (s->images)
		lib->rados_ioctx_destroy(s->images);
	if (s->vms)
		lib->rados_ioctx_destroy(s->vms);
	if (s->cluster)
		lib->rados_shutdown(s->cluster);
	free(s);
}

void ceph_conn_free(struct ceph_conn *c)
{
	if (!c)
		return;
	assert(!c->is_connecting);
	if (c->session) {
		assert(c->session->n_users == 1);
		session_free(c->lib, c->session);
	}
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	free(c->store);
	free(c->pool);
	free(c->vm_pool);
	free(c->conf);
	free(c->user);
	free(c);
}

const char *ceph_conn_user(const struct ceph_conn *c)
{
	return c->user;
}

const char *ceph_conn_conf(const struct ceph_conn *c)
{
	return c->conf;
}

/* ---------------------------------------------------------------- configuration */

struct limit {
	const char *option;
	const char *untouched; /* its default: somebody must have set another value */
	const char *value;
};

/* Theirs are five minutes, or none at all. */
static const struct limit limits[] = {
	{ "client_mount_timeout", "300", CEPH_LIMIT_CONNECT },
	{ "rados_mon_op_timeout", "0", CEPH_LIMIT_MON },
	{ "rados_osd_op_timeout", "0", CEPH_LIMIT_OSD },
};

static bool is_untouched(const char *value, const char *untouched)
{
	size_t len = strlen(untouched);

	return strncmp(value, untouched, len) == 0 &&
	       strspn(value + len, ".0") == strlen(value + len);
}

static void set_limits(const struct ceph_lib *lib, rados_t cluster)
{
	char value[64];

	for (size_t i = 0; i < ARRAY_LEN(limits); i++)
		if (lib->rados_conf_get(
			    cluster, limits[i].option, value, sizeof(value)) != 0 ||
			is_untouched(value, limits[i].untouched))
			lib->rados_conf_set(cluster, limits[i].option, limits[i].value);
	/* What we write is written once, and has to be there when we say so. */
	lib->rados_conf_set(cluster, "rbd_cache", "false");
	/* A library says nothing by itself, and opens no socket. */
	lib->rados_conf_set(cluster, "log_to_stderr", "false");
	lib->rados_conf_set(cluster, "err_to_stderr", "false");
	lib->rados_conf_set(cluster, "admin_socket", "");
}

static int configure(
	struct ceph_conn *c, const struct ceph_lib *lib, rados_t *out, struct err *e)
{
	CLEANUP_STR char *entity = xasprintf("client.%s", c->user);
	int rc = lib->rados_create2(out, "ceph", entity, 0);

	if (rc < 0)
		return err_errno(e, -rc, "store \"%s\": Ceph's library", c->store);
	/* As we are, with our capabilities: access(2) would ask as who started us. */
	if (faccessat(AT_FDCWD, c->conf, R_OK, AT_EACCESS) != 0)
		return err_set(e, ERR_UNAVAILABLE, "store \"%s\": %s: %s", c->store,
			c->conf, strerror(errno));
	rc = lib->rados_conf_read_file(*out, c->conf);
	if (rc < 0)
		return err_set(e, ERR_UNAVAILABLE,
			"store \"%s\": %s is not a configuration of Ceph's: %s", c->store,
			c->conf, strerror(-rc));
	set_limits(lib, *out);
	return 0;
}

/* ---------------------------------------------------------------- the key */

/* As librados found it; "" when it is not set. */
static void option(const struct ceph_lib *lib, rados_t cluster, const char *name,
	char out[OPTION_SIZE])
{
	if (lib->rados_conf_get(cluster, name, out, OPTION_SIZE) != 0)
		out[0] = '\0';
}

/* As librados does: the first file that is there counts. */
static char *key_in_keyrings(
	const struct ceph_lib *lib, rados_t cluster, const char *user)
{
	CLEANUP(strv_done) struct strv files = { 0 };
	CLEANUP_STR char *entity = xasprintf("client.%s", user);
	char list[OPTION_SIZE];

	option(lib, cluster, "keyring", list);
	strv_split(&files, list, ',');
	for (size_t i = 0; i < files.len; i++) {
		CLEANUP(buf_done) struct buf text = { 0 };
		char *key;

		if (file_read(files.v[i], KEYRING_MAX, &text, NULL) != 0)
			continue;
		key = ceph_keyring_find(buf_str(&text), entity);
		secret_wipe(text.s);
		return key;
	}
	return NULL;
}

static char *find_key(const struct ceph_lib *lib, rados_t cluster, const char *user)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	char value[OPTION_SIZE];
	char *key;

	option(lib, cluster, "key", value);
	if (value[0]) {
		key = xstrdup(value);
		explicit_bzero(value, sizeof(value));
		return key;
	}
	option(lib, cluster, "keyfile", value);
	if (value[0] && file_read(value, KEYRING_MAX, &text, NULL) == 0) {
		key = xstrndup(buf_str(&text), strcspn(buf_str(&text), " \t\r\n"));
		secret_wipe(text.s);
		return key;
	}
	return key_in_keyrings(lib, cluster, user);
}

/* ---------------------------------------------------------------- connecting */

static int refuse_key(
	struct ceph_conn *c, const struct ceph_lib *lib, rados_t cluster, struct err *e)
{
	char *key = find_key(lib, cluster, c->user);

	if (!key)
		return err_set(e, ERR_UNAVAILABLE,
			"store \"%s\": there is no key of user client.%s in the files "
			"that "
			"\"keyring\" in %s names",
			c->store, c->user, c->conf);
	secret_wipe(key);
	free(key);
	return err_set(e, ERR_UNAVAILABLE,
		"store \"%s\": the Ceph cluster does not take the key of user client.%s",
		c->store, c->user);
}

static int refuse_connection(struct ceph_conn *c, const struct ceph_lib *lib,
	rados_t cluster, int rc, struct err *e)
{
	switch (-rc) {
	case ETIMEDOUT:
		return err_set(e, ERR_UNAVAILABLE,
			"store \"%s\": the Ceph cluster does not answer (its monitors "
			"as %s says them)",
			c->store, c->conf);
	case EACCES:
	case EPERM:
		return refuse_key(c, lib, cluster, e);
	case ENOENT:
		return err_set(e, ERR_UNAVAILABLE,
			"store \"%s\": %s names no monitor of the Ceph cluster, or "
			"client.%s has no key in its keyring",
			c->store, c->conf, c->user);
	default:
		return err_set(e, ERR_UNAVAILABLE,
			"store \"%s\": connecting to the Ceph cluster: %s", c->store,
			strerror(-rc));
	}
}

static int open_pool(struct ceph_conn *c, const struct ceph_lib *lib, rados_t cluster,
	const char *pool, rados_ioctx_t *out, struct err *e)
{
	int rc = lib->rados_ioctx_create(cluster, pool, out);

	if (rc == -ENOENT)
		return err_set(e, ERR_UNAVAILABLE,
			"store \"%s\": the Ceph cluster has no pool \"%s\"", c->store,
			pool);
	if (rc < 0)
		return err_set(e, ERR_UNAVAILABLE, "store \"%s\": pool \"%s\": %s",
			c->store, pool, strerror(-rc));
	/* A full pool is an error; else writing would wait until there is room. */
	lib->rados_set_pool_full_try(*out);
	/* Removing needs this object, and a full pool would not let it be made then. Whoever
	 * may only read here does without. */
	(void)!lib->rados_write(*out, "rbd_trash", "", 0, 0);
	return 0;
}

/* Blocks; without the lock. */
static int connect_session(struct ceph_conn *c, const struct ceph_lib *lib,
	struct ceph_session *s, struct err *e)
{
	int rc;

	if (configure(c, lib, &s->cluster, e) != 0)
		return -1;
	rc = lib->rados_connect(s->cluster);
	if (rc < 0)
		return refuse_connection(c, lib, s->cluster, rc, e);
	if (open_pool(c, lib, s->cluster, c->pool, &s->images, e) != 0)
		return -1;
	return open_pool(c, lib, s->cluster, c->vm_pool, &s->vms, e);
}

static struct ceph_session *session_new(
	struct ceph_conn *c, const struct ceph_lib *lib, struct err *e)
{
	struct ceph_session *s = xcalloc(1, sizeof(*s));

	s->n_users = 1;
	if (connect_session(c, lib, s, e) == 0)
		return s;
	session_free(lib, s);
	return NULL;
}

/* With the lock, which it leaves meanwhile. */
static void try_to_connect(struct ceph_conn *c)
{
	const struct ceph_lib *lib;
	struct ceph_session *s = NULL;
	struct err e = { 0 };

	c->is_connecting = true;
	pthread_mutex_unlock(&c->lock);
	lib = ceph_lib_get(&e);
	if (lib)
		s = session_new(c, lib, &e);
	pthread_mutex_lock(&c->lock);
	c->lib = lib;
	c->session = s;
	c->error = e;
	c->is_connecting = false;
	c->n_tries++;
	pthread_cond_broadcast(&c->changed);
}

int ceph_io_take(struct ceph_conn *c, struct ceph_io *io, struct err *e)
{
	unsigned n_tries;
	int rc = -1;

	pthread_mutex_lock(&c->lock);
	n_tries = c->n_tries;
	/* Who waits for another one's try shares how it ends. */
	while (!c->session && c->n_tries == n_tries) {
		if (c->is_connecting)
			pthread_cond_wait(&c->changed, &c->lock);
		else
			try_to_connect(c);
	}
	if (c->session) {
		c->session->n_users++;
		*io = (struct ceph_io){ c->lib, c->session->images, c->session->vms, c,
			c->session };
		rc = 0;
	} else if (e) {
		*e = c->error;
	}
	pthread_mutex_unlock(&c->lock);
	return rc;
}

static void session_put(
	struct ceph_conn *c, const struct ceph_lib *lib, struct ceph_session *s)
{
	bool is_last;

	pthread_mutex_lock(&c->lock);
	is_last = --s->n_users == 0;
	pthread_mutex_unlock(&c->lock);
	if (is_last)
		session_free(lib, s);
}

void ceph_io_give(struct ceph_io *io)
{
	if (io->session)
		session_put(io->conn, io->lib, io->session);
	memset(io, 0, sizeof(*io));
}

/* The next one who needs a session makes a new one. */
static void session_forget(struct ceph_io *io)
{
	struct ceph_conn *c = io->conn;
	bool is_current;

	pthread_mutex_lock(&c->lock);
	is_current = c->session == io->session;
	if (is_current)
		c->session = NULL;
	pthread_mutex_unlock(&c->lock);
	if (is_current)
		session_put(c, io->lib, io->session);
}

/* ---------------------------------------------------------------- errors */

static int error_of(struct ceph_conn *c, int errnum, struct err *e)
{
	switch (errnum) {
	case ETIMEDOUT:
		return err_set(
			e, ERR_UNAVAILABLE, "the Ceph cluster did not answer in time");
	case ENOSPC:
	case EDQUOT:
		return err_set(e, ERR_NO_SPACE, "the pool is full");
	case EPERM:
	case EACCES:
		return err_set(e, ERR_UNAVAILABLE,
			"the Ceph cluster does not let user client.%s do that (its caps)",
			c->user);
	case ESHUTDOWN:
	case EROFS:
		return err_set(e, ERR_UNAVAILABLE,
			"the Ceph cluster has shut this client out (blocklist)");
	case EBUSY:
		return err_set(e, ERR_UNAVAILABLE, "it is in use");
	case EEXIST:
		return err_set(e, ERR_EXISTS, "it exists");
	case ENOENT:
		return err_set(e, ERR_NOT_FOUND, "it is not there");
	default:
		return err_set(e, ERR_IO, "%s", strerror(errnum));
	}
}

int ceph_io_error(struct ceph_io *io, int rc, struct err *e, const char *fmt, ...)
{
	char what[ERR_MSG_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	/* A client that was shut out stays so; a new one is another to the cluster. */
	if (rc == -ESHUTDOWN || rc == -EROFS || rc == -EPERM || rc == -EACCES)
		session_forget(io);
	error_of(io->conn, -rc, e);
	return err_wrap(e, "store \"%s\": %s", io->conn->store, what);
}

/* ---------------------------------------------------------------- questions */

static int ask(
	struct ceph_io *io, const char *command, char **out, size_t *size, struct err *e)
{
	const char *commands[] = { command };
	char *status = NULL;
	size_t status_size = 0;
	int rc = io->lib->rados_mon_command(io->session->cluster, commands, 1, "", 0, out,
		size, &status, &status_size);

	if (status)
		io->lib->rados_buffer_free(status);
	return rc < 0 ? ceph_io_error(io, rc, e, "asking a monitor") : 0;
}

int ceph_io_mons(struct ceph_io *io, struct strv *mons, struct err *e)
{
	char *out = NULL;
	size_t size = 0;
	int rc;

	if (ask(io, "{\"prefix\":\"mon dump\",\"format\":\"json\"}", &out, &size, e) != 0)
		return -1;
	rc = ceph_mons_parse(out, size, mons, e);
	io->lib->rados_buffer_free(out);
	return rc == 0 ? 0 : err_wrap(e, "store \"%s\"", io->conn->store);
}

int ceph_io_space(
	struct ceph_io *io, int64_t *total_bytes, int64_t *free_bytes, struct err *e)
{
	char *out = NULL;
	size_t size = 0;
	int rc;

	if (ask(io, "{\"prefix\":\"df\",\"detail\":\"detail\",\"format\":\"json\"}", &out,
		    &size, e) != 0)
		return -1;
	rc = ceph_df_parse(out, size, io->conn->vm_pool, total_bytes, free_bytes, e);
	io->lib->rados_buffer_free(out);
	return rc == 0 ? 0 : err_wrap(e, "store \"%s\"", io->conn->store);
}

int ceph_io_key(struct ceph_io *io, char **key, struct err *e)
{
	char wanted[OPTION_SIZE];

	option(io->lib, io->session->cluster, "auth_client_required", wanted);
	*key = NULL;
	if (!strstr(wanted, "cephx"))
		return 0;
	*key = find_key(io->lib, io->session->cluster, io->conn->user);
	if (*key || strstr(wanted, "none"))
		return 0;
	return err_set(e, ERR_UNAVAILABLE,
		"store \"%s\": the key of user client.%s is in none of the files that "
		"\"keyring\" in %s names",
		io->conn->store, io->conn->user, io->conn->conf);
}
