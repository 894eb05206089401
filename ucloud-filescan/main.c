/*
 * ucloud-filescan: finds the files that users put on the upload machine, hashes them, and
 * publishes them in etcd.
 */
#include <stddef.h>

#include "common/base/daemon.h"
#include "common/model/names.h"
#include "common/store/kv_etcd.h"
#include "ucloud-filescan/filescan.h"
#include "ucloud-filescan/hashfile.h"
#include "ucloud-filescan/walk.h"

/* Whoever may write into users' directories beside them: ucloud-api's uploads. */
#define FILES_GROUP "ucloud-files"

struct main_conf {
	struct filescan_conf filescan;
	struct etcd_conf etcd;
	struct daemon_conf daemon;
};

struct state {
	struct kv *kv;
	struct filescan *filescan;
};

#define AT(member) offsetof(struct filescan_conf, member)

static const struct conf_opt opts[] = {
	{ "base_dir", CONF_STR, AT(scan.base_dir), CONF_NEED, NULL, "DIR",
		"where users' directories are, each called NAME or NAME@REALM; setup "
		"makes it when absent" },
	{ "realm_allowed", CONF_STRV, AT(scan.realms), CONF_NEED, NULL, "REALM",
		"a realm whose users' files are published; may be repeated. Users of the "
		"first one have directories called NAME",
		.check = realm_check },
	{ "settle", CONF_DURATION, AT(scan.settle_sec), 0, "5s", "TIME",
		"a file that is not closed is published when it has not changed for so "
		"long",
		.min = 1, .max = 3600 },
	{ "rescan", CONF_DURATION, AT(scan.rescan_sec), 0, "10m", "TIME",
		"look at everything that often, whatever the kernel tells", .min = 1,
		.max = 86400 },
	{ "rescan_unwatched", CONF_DURATION, AT(scan.unwatched_sec), 0, "15s", "TIME",
		"list directories that often that the kernel does not watch", .min = 1,
		.max = 86400 },
	{ "n_hashers", CONF_INT, AT(scan.n_hashers), 0, "2", "N",
		"files that are hashed at the same time; of several, one is for files up "
		"to 256 MiB",
		.min = 1, .max = HASHERS_MAX },
	{ "files_max", CONF_INT, AT(scan.files_max), 0, "100000", "N",
		"files, directories and other names that are looked at below one user's "
		"directory",
		.min = 1, .max = 10000000 },
	{ "file_gib_max", CONF_INT, AT(scan.file_gib_max), 0, "1024", "GIB",
		"larger files are not published", .min = 1, .max = 1 << 20 },
	{ "lease_ttl", CONF_DURATION, AT(lease_ttl_sec), 0, "10s", "TIME",
		"when the process that works dies, another one takes over after this "
		"time",
		.min = 2, .max = 300 },
	{ 0 },
};

static const struct conf_part parts[] = {
	{ opts, offsetof(struct main_conf, filescan) },
	{ keys_opts, offsetof(struct main_conf, filescan.keys) },
	{ etcd_opts, offsetof(struct main_conf, etcd) },
	{ daemon_opts, offsetof(struct main_conf, daemon) },
	{ 0 },
};

static int check(void *conf, struct err *e)
{
	struct main_conf *c = conf;
	const char *base = c->filescan.scan.base_dir;

	if (base[0] != '/')
		return err_set_field(e, ERR_INVALID, "base_dir",
			"base_dir is a whole path, like \"/srv/ucloud/files\"");
	return keys_check(&c->filescan.keys, e);
}

static int setup(void *conf, struct err *e)
{
	struct main_conf *c = conf;

	if (kv_etcd_check(&c->etcd, e) != 0)
		return -1;
	return base_setup(c->filescan.scan.base_dir, FILES_GROUP, e);
}

/* Does not wait for etcd: the session and the cache do, each in its own thread. */
static int start(void *conf, void **state, struct err *e)
{
	struct main_conf *c = conf;
	struct kv *kv = NULL;

	if (kv_etcd_open(&c->etcd, &kv, e) < 0)
		return -1;
	struct state *s = xcalloc(1, sizeof(*s));
	s->kv = kv;
	s->filescan = filescan_new(kv, &c->filescan);
	filescan_start(s->filescan);
	*state = s;
	return 0;
}

static int health(void *state, struct err *e)
{
	struct state *s = state;

	return filescan_health(s->filescan, e);
}

static void stop(void *state)
{
	struct state *s = state;

	filescan_free(s->filescan);
	kv_close(s->kv);
	free(s);
}

int main(int argc, char **argv)
{
	static const struct daemon_spec spec = {
		.name = "ucloud-filescan",
		.summary = "finds, hashes and publishes users' files",
		.conf = { "ucloud-filescan", parts, sizeof(struct main_conf) },
		.daemon_conf_off = offsetof(struct main_conf, daemon),
		.default_metrics_listen = "[::1]:9475",
		.check = check,
		.setup = setup,
		.start = start,
		.health = health,
		.stop = stop,
	};

	return daemon_main(argc, argv, &spec);
}
