#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/conf.h"
#include "common/base/daemon.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/model/names.h"
#include "common/store/kv_etcd.h"
#include "ucloud-host/accel.h"
#include "ucloud-host/hostd.h"

struct host_conf {
	struct daemon_conf daemon;
	struct etcd_conf etcd;
	struct keys keys;
	char *hostname;
	char *libvirt_uri;
	char *ssh_username, *ssh_key_path, *ssh_key_pass;
	struct strv store;
	int accel;
	int64_t workers;
	int64_t shutdown_timeout, lease_ttl, orphan_keep, resync;
	int64_t max_crashes;
	char *state_dir;
	int disk_cache;
};

enum { CACHE_AUTO };
static const char *const cache_names[] = { "auto", "none", "writeback", "writethrough",
	"directsync", "unsafe", NULL };

#define AT(member) offsetof(struct host_conf, member)

static const struct conf_opt host_opts[] = {
	{ "hostname", CONF_STR, AT(hostname), .meta = "NAME", .check = hostname_check,
		.help = "name of this host in ucloud (default: the machine's name)" },
	{ "libvirt_uri", CONF_STR, AT(libvirt_uri), .def = "qemu:///system",
		.meta = "URI", .help = "libvirt to use" },
	{ "ssh_username", CONF_STR, AT(ssh_username), .meta = "USER",
		.help = "user on other hosts, for migration over SSH" },
	{ "ssh_key_path", CONF_STR, AT(ssh_key_path), .meta = "FILE",
		.help = "private key for migration over SSH" },
	{ "ssh_key_pass", CONF_STR, AT(ssh_key_pass), CONF_SECRET, .meta = "PASSWORD",
		.help = "password of that key" },
	{ "store", CONF_STRV, AT(store), .meta = "NAME", .check = name_check,
		.help = "image store that this host uses; repeatable (default: all that "
			"it reaches)" },
	{ "accel", CONF_ENUM, AT(accel), .def = "auto", .names = accel_names,
		.meta = "KIND",
		.help = "how VMs run; auto: kvm when it proves to work, else tcg" },
	{ "workers", CONF_INT, AT(workers), .def = "4", .min = 1, .max = 64,
		.meta = "NUMBER", .help = "how many VMs are worked on at once" },
	{ "shutdown_timeout", CONF_DURATION, AT(shutdown_timeout), .def = "60s", .min = 1,
		.max = 86400, .meta = "TIME",
		.help = "time a guest has to power off before it is turned off" },
	{ "max_crashes", CONF_INT, AT(max_crashes), .def = "5", .min = 1, .max = 1000,
		.meta = "NUMBER",
		.help = "crashes in a row after which a VM is not started again" },
	{ "lease_ttl", CONF_DURATION, AT(lease_ttl), .def = "10s", .min = 2, .max = 3600,
		.meta = "TIME",
		.help = "time without a sign of life after which this host's heartbeat "
			"ends" },
	{ "resync", CONF_DURATION, AT(resync), .def = "10m", .min = 1, .max = 86400,
		.meta = "TIME",
		.help = "how often each VM is looked at without an occasion" },
	{ "orphan_keep", CONF_DURATION, AT(orphan_keep), .def = "24h", .max = 315360000,
		.meta = "TIME",
		.help = "how long a disk is kept whose VM does not exist; 0: for ever" },
	{ "state_dir", CONF_STR, AT(state_dir), .def = "/var/lib/ucloud-host",
		.meta = "DIR",
		.help = "where console logs and guests' boot configuration are kept" },
	{ "disk_cache", CONF_ENUM, AT(disk_cache), .def = "auto", .names = cache_names,
		.meta = "MODE",
		.help = "QEMU's cache mode of disks; auto: none where the file system "
			"can, else writeback" },
	{ 0 },
};

static const struct conf_part parts[] = {
	{ host_opts, 0 },
	{ etcd_opts, AT(etcd) },
	{ keys_opts, AT(keys) },
	{ daemon_opts, AT(daemon) },
	{ 0 },
};

struct state {
	struct kv *kv;
	struct virt *virt;
	struct hostd *hostd;
};

static int set_hostname(struct host_conf *c, struct err *e)
{
	char name[256] = "";

	if (str_is_empty(c->hostname)) {
		if (gethostname(name, sizeof(name) - 1) < 0)
			return err_errno(e, errno, "the name of this machine");
		str_set(&c->hostname, xstrdup(name));
	}
	if (hostname_check(c->hostname, e) < 0)
		return err_wrap(e, "hostname");
	return 0;
}

static int check(void *conf, struct err *e)
{
	struct host_conf *c = conf;

	if (str_is_empty(c->state_dir) || c->state_dir[0] != '/')
		return err_set_field(e, ERR_INVALID, "state_dir",
			"state_dir must be an absolute path");
	if (set_hostname(c, e) < 0)
		return -1;
	return keys_check(&c->keys, e);
}

/* Does libvirt answer? */
static int check_libvirt(const struct host_conf *c, struct err *e)
{
	struct virt *virt = NULL;
	char driver[32];
	int rc;

	if (virt_open(c->libvirt_uri, NULL, NULL, &virt, e) < 0)
		return -1;
	rc = virt_driver(virt, driver, sizeof(driver), e);
	virt_close(virt);
	return rc;
}

static int setup(void *conf, struct err *e)
{
	struct host_conf *c = conf;

	if (kv_etcd_check(&c->etcd, e) < 0)
		return -1;
	return check_libvirt(c, e);
}

/* The machine, for the heartbeat: only it may take its own heartbeat over. */
static char *read_machine(void)
{
	static const char *const paths[] = { "/etc/machine-id",
		"/proc/sys/kernel/random/boot_id" };

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		CLEANUP(buf_done) struct buf text = { 0 };
		struct err ignored = { 0 };

		if (file_read(paths[i], 256, &text, &ignored) < 0)
			continue;
		if (strcspn(buf_str(&text), "\n") > 0)
			return xstrndup(buf_str(&text), strcspn(buf_str(&text), "\n"));
	}
	return NULL;
}

static const char *choose_accel(const struct host_conf *c)
{
	/* libvirt's test driver runs nothing. */
	if (str_has_prefix(c->libvirt_uri, "test:"))
		return accel_names[ACCEL_TCG];
	return accel_names[accel_choose((enum accel)c->accel, c->state_dir)];
}

static void start_hostd(struct state *s, const struct host_conf *c)
{
	CLEANUP_STR char *machine = read_machine();
	struct hostd_conf conf = {
		.host = c->hostname,
		.keys = &c->keys,
		.machine = machine,
		.accel = choose_accel(c),
		.stores = &c->store,
		.state_dir = c->state_dir,
		.disk_cache =
			c->disk_cache == CACHE_AUTO ? NULL : cache_names[c->disk_cache],
		.lease_ttl_sec = c->lease_ttl,
		.shutdown_sec = c->shutdown_timeout,
		.max_crashes = c->max_crashes,
		.orphan_keep_sec = c->orphan_keep == 0 ? -1 : c->orphan_keep,
		.resync_sec = c->resync,
		.n_workers = (unsigned)c->workers,
	};

	s->hostd = hostd_new(s->kv, s->virt, &conf);
	hostd_start(s->hostd);
}

static int make_state_dir(const char *dir, struct err *e)
{
	/* QEMU's user may pass, to the image with its guest's configuration. */
	if (mkdir(dir, 0711) < 0 && errno != EEXIST)
		return err_errno(e, errno, "state_dir %s", dir);
	if (access(dir, W_OK | X_OK) < 0)
		return err_errno(e, errno, "state_dir %s", dir);
	return 0;
}

static int start(void *conf, void **out, struct err *e)
{
	struct host_conf *c = conf;
	struct state *s = xcalloc(1, sizeof(*s));

	if (make_state_dir(c->state_dir, e) < 0 ||
		kv_etcd_open(&c->etcd, &s->kv, e) < 0 ||
		virt_open(c->libvirt_uri, NULL, NULL, &s->virt, e) < 0) {
		kv_close(s->kv);
		free(s);
		return -1;
	}
	start_hostd(s, c);
	*out = s;
	return 0;
}

static int health(void *state, struct err *e)
{
	return hostd_health(((struct state *)state)->hostd, e);
}

static void stop(void *state)
{
	struct state *s = state;

	/* What hangs goes with the process. */
	if (!hostd_free(s->hostd, true)) {
		log_warn("something under way could not be ended");
		return;
	}
	virt_close(s->virt);
	kv_close(s->kv);
	free(s);
}

int main(int argc, char **argv)
{
	static const struct daemon_spec spec = {
		.name = "ucloud-host",
		.summary = "runs the VMs that are placed on this host",
		.conf = { "ucloud-host", parts, sizeof(struct host_conf) },
		.daemon_conf_off = AT(daemon),
		.default_metrics_listen = "[::1]:9473",
		.check = check,
		.setup = setup,
		.start = start,
		.health = health,
		.stop = stop,
	};

	return daemon_main(argc, argv, &spec);
}
