/*
 * A host for tests of the whole of ucloud-host, without threads unless the test starts them:
 * its daemon between an etcd in memory, a fake hypervisor and fake disks. The test plays the
 * others: the scheduler, the API, the admin. In etcd are the host, the image store "local",
 * an image and a user "joe"; VM, joe's "web", is put there when the test wants it.
 *
 * All but the daemon itself from the main thread only. A failure fails the test.
 */
#ifndef UCLOUD_TEST_HOSTD_WORLD_H
#define UCLOUD_TEST_HOSTD_WORLD_H

#include "common/model/request.h"
#include "common/model/vm.h"
#include "common/store/kv_fake.h"
#include "ucloud-host/hostd.h"
#include "ucloud-host/virt_fake.h"

#define HOST  "h1"
#define VM    "0b5f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a10"
#define VM2   "1c6f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a11"
#define IMAGE "2d7f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a12"

struct hostd_world {
	struct fake_etcd *etcd;
	struct kv *admin, *kv; /* the test's and the daemon's */
	struct fake_hyper *hyper;
	struct virt *virt;
	struct hostd *hostd;
	struct keys keys;
	/* Of a daemon that is opened from now on. */
	char *dir; /* its state_dir and sysfs; removed with the world. NULL: none */
	int64_t resync_sec; /* 0: ucloud-host's default */
	bool is_release;    /* its heartbeat's key goes with it, not with its lease */
	/* How far hostd_world_pass() goes at a time; 500 at first. */
	int64_t step_msec;
};

/* At the beginning of main(): the clock stands, and goes on by hostd_world_pass(). An error
 * in the log fails the test. VERBOSE in the environment: the log is shown, and fails none. */
void hostd_world_init(const char *program);

/* Without a daemon. */
struct hostd_world *hostd_world_new(void);
void hostd_world_free(struct hostd_world *w);
/* The daemon alone, which is dead between the two. */
void hostd_world_open(struct hostd_world *w);
void hostd_world_close(struct hostd_world *w);
/* For cmocka: a world whose daemon has come to rest. */
int hostd_world_setup(void **state);
int hostd_world_teardown(void **state);

/* Until nothing is to do at this time. */
void hostd_world_settle(struct hostd_world *w);
/* The same again and again, until so much time is over. */
void hostd_world_pass(struct hostd_world *w, int64_t msec);

/* Keys and values that are given are freed. */
void hostd_world_put(struct hostd_world *w, char *key, char *value);
void hostd_world_del(struct hostd_world *w, char *key);
/* The value, the caller's; NULL: there is none. */
char *hostd_world_get(struct hostd_world *w, char *key);
bool hostd_world_has(struct hostd_world *w, char *key);

/* As it is registered: nothing of its inventory. */
void hostd_world_put_host(struct hostd_world *w);
/* VM, placed here. Its networks: JSON objects with commas between. */
void hostd_world_put_vm(struct hostd_world *w, const char *status, const char *networks);
/* A request about VM to this host. */
void hostd_world_order(
	struct hostd_world *w, enum request_type type, int64_t deadline_sec);
bool hostd_world_has_order(struct hostd_world *w);
/* What is stored of VM, which must be there; the caller's to vm_done(). */
struct vm hostd_world_get_vm(struct hostd_world *w);
void hostd_world_edit_vm(struct hostd_world *w, enum vm_status status, enum vm_want want);
void hostd_world_assert_status(struct hostd_world *w, enum vm_status want);
/* The part is in VM's entry, as JSON has it. */
void hostd_world_assert_log(struct hostd_world *w, const char *part);

/* VM is put, without networks, and started: it runs. */
void hostd_world_run_vm(struct hostd_world *w);
/* As the API does, of a VM that runs; nothing has been done about it yet. */
void hostd_world_order_stop(struct hostd_world *w);

#endif
