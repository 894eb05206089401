/*
 * Fills etcd with N stopped VMs of one user, as the API would have written them, for looking
 * at memory and lists in a full store. Not a figure by itself.
 *
 *	bench_load ETCD_URL N
 */
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/parse.h"
#include "common/model/keys.h"
#include "common/model/names.h"
#include "common/model/vm.h"
#include "common/store/kv_etcd.h"

#define PER_TXN 50

static void add_vm(struct kv_txn *t, const struct keys *keys, int64_t i)
{
	char uuid[UUID_STR_SIZE];
	CLEANUP(vm_done) struct vm vm = { 0 };
	uuid_new(uuid);
	vm.uuid = xstrdup(uuid);
	vm.name = xasprintf("load-%lld", (long long)i);
	vm.owner = xstrdup("load");
	vm.owner_realm = xstrdup("demo");
	vm.specs.cpu = 1;
	vm.specs.ram_mib = 1024;
	struct vm_disk *disk = jtab_list_add(&vm_disk_jtab, &vm.specs.disks);
	disk->size_gib = 10;
	vm.image_uuid = xstrdup(uuid);
	vm.store = xstrdup("demo");
	vm.want = VM_WANT_STOPPED;
	vm.status = VM_STOPPED;
	vm.created = clock_unix_sec();
	for (int k = 0; k < 5; k++)
		vm_log(&vm, vm.created + k,
			"line %d of a log like that of a VM that lived", k);
	CLEANUP_STR char *key = key_vm(keys, uuid);
	CLEANUP_STR char *name = key_vm_name("demo", "load", vm.name);
	CLEANUP_STR char *text = vm_format(&vm);
	CLEANUP_STR char *ref = xasprintf("{\"uuid\":\"%s\"}", uuid);
	kv_txn_put(t, key, text);
	kv_txn_put(t, name, ref);
}

int main(int argc, char **argv)
{
	int64_t n;
	struct err e;
	struct kv *kv;
	struct keys keys = { 0 };
	struct etcd_conf conf = { .limit_sec = 30 };
	mem_init();
	crypt_init();
	if (argc != 3 || parse_int64(argv[2], 1, 1000000, &n, &e)) {
		fprintf(stderr, "usage: bench_load ETCD_URL N\n");
		return 2;
	}
	keys_set_defaults(&keys);
	strv_add(&conf.url, argv[1]);
	int r = kv_etcd_open(&conf, &kv, &e);
	for (int64_t i = 0; !r && i < n; i += PER_TXN) {
		CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
		for (int64_t k = i; k < n && k < i + PER_TXN; k++)
			add_vm(t, &keys, k);
		r = kv_txn_commit(kv, t, NULL, &e);
	}
	if (r) {
		fprintf(stderr, "bench_load: %s\n", e.msg);
		return 1;
	}
	kv_close(kv);
	keys_done(&keys);
	strv_done(&conf.url);
	return 0;
}
