/*
 * ucloud-image: makes images of uploaded files.
 */
#include <errno.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/daemon.h"
#include "common/base/log.h"
#include "common/base/sandbox.h"
#include "common/store/kv_etcd.h"
#include "ucloud-image/imaged.h"
#include "ucloud-image/storeverb.h"

/* Connections to the reader; more gain nothing (tests/bench/bench_image.c). */
#define N_THREADS 4

struct image_conf {
	struct daemon_conf daemon;
	struct etcd_conf etcd;
	struct keys keys;
	char *base_dir;
	struct strv realm_allowed;
	char *convert_user;
	int64_t n_jobs, reader_mem_mib;
	int64_t time_limit, lease_ttl, resync, orphan_keep;
	struct store_opts store;
	struct imaged_conf imaged; /* made of the others */
};

struct state {
	struct kv *kv;
	struct imaged *imaged;
};

#define AT(member) offsetof(struct image_conf, member)

static const struct conf_opt image_opts[] = {
	{ "base_dir", CONF_STR, AT(base_dir), CONF_NEED, .meta = "DIR",
		.help = "where users' uploads are: <DIR>/<name>[@<realm>]/..." },
	{ "realm_allowed", CONF_STRV, AT(realm_allowed), CONF_NEED, .meta = "REALM",
		.help = "realm of users that may have files; repeatable. The directories "
			"of the first one's users have no @<realm>" },
	{ "n_jobs", CONF_INT, AT(n_jobs), .def = "2", .min = 1, .max = 8,
		.meta = "NUMBER", .help = "how many images are made at the same time" },
	{ "convert_user", CONF_STR, AT(convert_user), .def = "ucloud-convert",
		.meta = "NAME",
		.help = "user that uploads are read as: one that owns nothing and runs "
			"nothing else" },
	{ "time_limit", CONF_DURATION, AT(time_limit), .def = "6h", .min = 1,
		.max = 30LL * 86400, .meta = "TIME",
		.help = "what takes longer to be made goes to ERROR" },
	{ "reader_mem_mib", CONF_INT, AT(reader_mem_mib), .def = "1024", .min = 128,
		.max = 1048576, .meta = "MIB",
		.help = "address space of the process that reads an upload" },
	{ "lease_ttl", CONF_DURATION, AT(lease_ttl), .def = "10s", .min = 2, .max = 300,
		.meta = "TIME",
		.help = "when the leading ucloud-image dies, another one takes over "
			"after this time" },
	{ "resync", CONF_DURATION, AT(resync), .def = "10m", .min = 1, .max = 86400,
		.meta = "TIME",
		.help = "how often stores and entries are compared without an occasion" },
	{ "orphan_keep", CONF_DURATION, AT(orphan_keep), .def = "24h", .max = 315360000,
		.meta = "TIME",
		.help = "how long an image in a store is kept that has no entry; 0: for "
			"ever" },
	{ 0 },
};

static const struct conf_part parts[] = {
	{ image_opts, 0 },
	{ etcd_opts, AT(etcd) },
	{ keys_opts, AT(keys) },
	{ daemon_opts, AT(daemon) },
	{ 0 },
};

static const struct conf_opt store_verb_opts[] = {
	{ "type", CONF_ENUM, AT(store.type), CONF_CLI_ONLY, .def = "filesystem",
		.meta = "TYPE", .names = store_type_names,
		.help = "filesystem: a directory; ceph: pools" },
	{ "path", CONF_STR, AT(store.path), CONF_CLI_ONLY, .meta = "DIR",
		.help = "filesystem: the directory, the same on all hosts that have it" },
	{ "pool", CONF_STR, AT(store.pool), CONF_CLI_ONLY, .meta = "POOL",
		.help = "ceph: pool of images (default images)" },
	{ "vm_pool", CONF_STR, AT(store.vm_pool), CONF_CLI_ONLY, .meta = "POOL",
		.help = "ceph: pool of disks (default uservms)" },
	{ "ceph_conf", CONF_STR, AT(store.ceph_conf), CONF_CLI_ONLY, .meta = "FILE",
		.help = "ceph: configuration file, the same path on all hosts" },
	{ "ceph_user", CONF_STR, AT(store.ceph_user), CONF_CLI_ONLY, .meta = "NAME",
		.help = "ceph: user" },
	{ "max_image_gib", CONF_INT, AT(store.max_image_gib), CONF_CLI_ONLY, .min = 0,
		.max = 65536, .meta = "GIB",
		.help = "largest virtual size of an image (default 2048)" },
	{ 0 },
};

/* ---------------------------------------------------------------- who reads */

static bool has_capability(int cap)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct has[2] = { 0 };

	return syscall(SYS_capget, &head, has) == 0 &&
	       (has[cap / 32].effective >> cap % 32 & 1);
}

static int find_user(const char *name, struct reader_conf *r, struct err *e)
{
	struct passwd pw, *found = NULL;
	char text[4096];

	if (getpwnam_r(name, &pw, text, sizeof(text), &found) != 0 || !found)
		return err_set_field(e, ERR_INVALID, "convert_user",
			"there is no user \"%s\" on this machine: make one "
			"(systemd-sysusers), or name another one that owns nothing",
			name);
	if (pw.pw_uid == 0)
		return err_set_field(e, ERR_INVALID, "convert_user",
			"convert_user must not be root: it is who reads uploads");
	r->uid = pw.pw_uid;
	r->gid = pw.pw_gid;
	return 0;
}

/* Uploads are read as another user, when we may choose. */
static int set_reader(const struct image_conf *c, struct reader_conf *r, struct err *e)
{
	struct err why = { 0 };

	if (reader_check(&why) < 0)
		log_error("%s", why.msg);
	*r = (struct reader_conf){ .limit_mem = (uint64_t)c->reader_mem_mib << 20,
		.limit_sec = c->time_limit };
	if (has_capability(CAP_SETUID) && has_capability(CAP_SETGID)) {
		if (find_user(c->convert_user, r, e) < 0)
			return -1;
	} else {
		log_warn("uploads are read as the user that ucloud-image runs as: it "
			 "lacks the capabilities to become convert_user");
	}
	if (sandbox_landlock_abi() == 0)
		log_warn("this kernel has no Landlock: uploads must be readable for "
			 "convert_user, and who reads one could read whatever else that "
			 "user may");
	return 0;
}

/* ---------------------------------------------------------------- the daemon */

static int check_absolute(const struct image_conf *c, struct err *e)
{
	if (c->base_dir[0] == '/')
		return 0;
	return err_set_field(
		e, ERR_INVALID, "base_dir", "base_dir must be an absolute path");
}

static int check(void *conf, struct err *e)
{
	struct image_conf *c = conf;

	if (!str_is_empty(c->base_dir) && check_absolute(c, e) < 0)
		return -1;
	if (!str_is_empty(c->daemon.user))
		return err_set_field(e, ERR_INVALID, "user",
			"ucloud-image needs capabilities, which a change of user takes "
			"away: let systemd choose the user, as its unit does");
	return keys_check(&c->keys, e);
}

static int check_base_dir(const struct image_conf *c, struct err *e)
{
	struct stat st;

	if (stat(c->base_dir, &st) < 0)
		return err_errno(e, errno, "base_dir %s", c->base_dir);
	if (!S_ISDIR(st.st_mode))
		return err_set_field(e, ERR_INVALID, "base_dir",
			"base_dir %s is not a directory", c->base_dir);
	return 0;
}

static int setup(void *conf, struct err *e)
{
	struct image_conf *c = conf;

	if (check_base_dir(c, e) < 0 || reader_check(e) < 0)
		return -1;
	return kv_etcd_check(&c->etcd, e);
}

static int set_imaged(struct image_conf *c, struct err *e)
{
	struct imaged_conf *d = &c->imaged;

	*d = (struct imaged_conf){
		.import = { .base_dir = c->base_dir,
			.default_realm = c->realm_allowed.v[0],
			.n_threads = N_THREADS },
		.keys = c->keys,
		.n_jobs = (unsigned)c->n_jobs,
		.lease_ttl_sec = c->lease_ttl,
		.resync_sec = c->resync,
		.orphan_keep_sec = c->orphan_keep == 0 ? -1 : c->orphan_keep,
	};
	return set_reader(c, &d->import.reader, e);
}

/* Does not wait for etcd: the session and the cache do, each in its own thread. */
static int start(void *conf, void **out, struct err *e)
{
	struct image_conf *c = conf;
	struct kv *kv = NULL;

	if (set_imaged(c, e) < 0 || kv_etcd_open(&c->etcd, &kv, e) < 0)
		return -1;
	struct state *s = xcalloc(1, sizeof(*s));
	s->kv = kv;
	s->imaged = imaged_new(kv, &c->imaged);
	imaged_start(s->imaged);
	*out = s;
	return 0;
}

static int health(void *state, struct err *e)
{
	struct state *s = state;

	if (!imaged_is_synced(s->imaged))
		return err_set(e, ERR_UNAVAILABLE,
			"the requests have not been read yet: does etcd answer?");
	err_set(e, ERR_NONE, "%s",
		imaged_is_leader(s->imaged) ? "this ucloud-image leads"
					    : "another ucloud-image leads");
	return 0;
}

static void stop(void *state)
{
	struct state *s = state;

	if (!imaged_free(s->imaged)) {
		log_warn("something under way could not be ended");
		return; /* it is still used, and the process ends anyway */
	}
	kv_close(s->kv);
	free(s);
}

/* ---------------------------------------------------------------- store add|list|... */

static int usage(const char *why)
{
	fprintf(stderr,
		"ucloud-image: %s; usage: ucloud-image store add NAME --type "
		"ceph|filesystem ... | store list | store delete NAME\n",
		why);
	return 2;
}

static int run_store_verb(
	struct image_conf *c, const char *what, const char *name, struct err *e)
{
	struct etcd_conf quiet = c->etcd;
	struct kv *kv = NULL;
	int rc;

	quiet.is_quiet = true;
	if (kv_etcd_open(&quiet, &kv, e) < 0)
		return -1;
	if (str_eq(what, "add"))
		rc = store_add(kv, name, &c->store, clock_unix_sec(), e);
	else if (str_eq(what, "delete"))
		rc = store_delete(kv, &c->keys, name, e);
	else
		rc = store_list(kv, stdout, e);
	kv_close(kv);
	return rc;
}

static int run_store(void *conf, const struct strv *rest)
{
	static const char *const verbs[] = { "add", "delete", "list", NULL };
	const char *what = rest->len > 0 ? rest->v[0] : "";
	struct err e = { 0 };

	if (names_find(verbs, what) < 0)
		return usage("what about stores?");
	if (rest->len != (str_eq(what, "list") ? 1 : 2))
		return usage("wrong number of names");
	if (run_store_verb(conf, what, rest->len > 1 ? rest->v[1] : NULL, &e) == 0) {
		if (rest->len > 1)
			printf("image store \"%s\": %s\n", rest->v[1],
				str_eq(what, "add") ? "added" : "deleted");
		return 0;
	}
	fprintf(stderr, "ucloud-image: %s\n", e.msg);
	return 1;
}

static const struct daemon_verb verbs[] = {
	{ "store", "store add|list|delete [NAME]",
		"manage image stores; add checks that the store is reached from here",
		run_store, store_verb_opts },
	{ 0 },
};

int main(int argc, char **argv)
{
	static const struct daemon_spec spec = {
		.name = "ucloud-image",
		.summary = "makes images of uploaded files, in image stores",
		.conf = { "ucloud-image", parts, sizeof(struct image_conf) },
		.daemon_conf_off = AT(daemon),
		.default_metrics_listen = "[::1]:9476",
		.check = check,
		.setup = setup,
		.start = start,
		.health = health,
		.stop = stop,
		.verbs = verbs,
	};

	return daemon_main(argc, argv, &spec);
}
